"""Requests that may come again: the same key gets the first answer, and nothing happens twice.

The answer is kept in the transaction of its effect, so there is no moment at which a crash could separate
them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
from starlette.requests import Request
from starlette.responses import Response

from ecompute.contract.catalog import IDEMPOTENCY_KEY_LENGTH, IDEMPOTENCY_SECONDS
from ecompute.contract.endpoint import Endpoint
from ecompute.contract.problems import Code, Fault
from ecompute_server.core.refusal import Refusal, invalid
from ecompute_server.handlers.call import Call, Repeatable
from ecompute_server.store.interface import ReceiptTaken, TooManyReceipts

from . import responses

HEADER = "Idempotency-Key"
SUPPORTED = (b"idempotency-supported", b"true")


def repeatable(row: Endpoint[Any, Any], request: Request, body: bytes, decoded: Any) -> Repeatable | None:
    """The request's idempotency key, if it has one and the row takes it.

    Raises:
        Refusal: the key is malformed.
    """
    given = request.headers.getlist(HEADER)
    if not given or not row.takes_idempotency_key:
        return None
    key = given[0]
    fits = len(given) == 1 and len(key) in IDEMPOTENCY_KEY_LENGTH and key.isascii() and key.isprintable()
    if not fits:
        most = IDEMPOTENCY_KEY_LENGTH[-1]
        raise invalid((Fault(HEADER, f"must be one header of 1 to {most} printable ASCII characters"),))
    # another order of names is the same question
    asked = json.dumps(decoded, sort_keys=True).encode() if row.has_body else body
    return Repeatable(request.scope["path"], key, hashlib.sha256(asked).hexdigest())


class Repeats:
    """Answers repeatable requests. Lives on the event loop."""

    def __init__(self) -> None:
        self._under_way: set[tuple[str, str, str]] = set()

    async def answer(
        self, call: Call[Any], handle: Callable[[Call[Any]], Awaitable[Any]], asked: Repeatable
    ) -> Response:
        """The kept answer, else a new one, which is kept if it is a success.

        Raises:
            Refusal: the key belongs to another request, or to one that is not answered yet.
        """
        services = call.services
        name = (call.caller.user_id, asked.path, asked.key)
        if name in self._under_way:
            raise _under_way()
        self._under_way.add(name)
        try:
            kept = services.receipts.find(*name, since=int(services.clock()) - IDEMPOTENCY_SECONDS)
            if kept is not None:
                if kept.asked != asked.asked:
                    raise _conflict("was used for another request body")
                return responses.success_of(kept.body)
            return responses.success(await handle(attrs.evolve(call, repeatable=asked)))
        except ReceiptTaken:
            raise _under_way() from None
        except TooManyReceipts:
            message = "Too many answers are kept for you already; send this without an Idempotency-Key."
            raise Refusal(Code.RATE_LIMITED, message, headers={"Retry-After": "3600"}) from None
        finally:
            self._under_way.discard(name)


def _conflict(reason: str) -> Refusal:
    return Refusal(Code.CONFLICT, f"This Idempotency-Key {reason}.")


def _under_way() -> Refusal:
    # which tells it from a conflict that waiting does not mend
    headers = {"Retry-After": "1"}
    message = "This Idempotency-Key is in use by a request that is not answered yet."
    return Refusal(Code.CONFLICT, message, headers=headers)
