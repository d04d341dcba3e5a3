"""Changes of a container that a request names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ecompute_server.core.edits import Edited
from ecompute_server.core.record import ContainerRecord
from ecompute_server.core.refusal import not_found

from .call import Call

T = TypeVar("T")


async def edit(
    call: Call[Any],
    change: Callable[[ContainerRecord], Edited[T]],
    present: Callable[[Edited[T]], Any] | None = None,
) -> Edited[T]:
    """Change the container of the request. `present` makes the answer, for rows that keep theirs under an
    idempotency key.

    Raises:
        Refusal: another request has deleted the container meanwhile.
    """
    receipt = call.receipt(present) if present else None
    edited = await call.services.containers.edit(call.container.id, change, receipt=receipt)
    if edited is None:
        raise not_found("container")
    return edited
