"""What all flows of a client share: clocks, chance, who listens, and what is known of the server.

A client is made with it, before it has anything to do: so it loads little.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from ecompute.contract.resources import Container

if TYPE_CHECKING:
    from ecompute.errors import Error
    from ecompute.exchange import HTTPAnswer, HTTPRequest

    from .policy import Retries


class Observer:
    """Who is told. This one does not listen."""

    def sent(self, request: HTTPRequest, attempt: int, channel: bool) -> None:
        """A request goes out."""

    def answered(self, request: HTTPRequest, attempt: int, answer: HTTPAnswer, seconds: float) -> None:
        """An answer has come."""

    def retrying(self, request: HTTPRequest, attempt: int, error: Error, pause: float) -> None:
        """There will be another attempt."""

    def reconnecting(self, request: HTTPRequest, attempt: int, error: Error | None, pause: float) -> None:
        """A feed will try to come back."""


SILENT = Observer()


def honours_keys(answer: HTTPAnswer) -> bool:
    """Whether an answer says that its server gives a create that is repeated under its idempotency key the
    first answer again.
    """
    return answer.headers.get("idempotency-supported", "").strip().lower() == "true"


@define
class Server:
    """What is known of the server: its address, and what its answers to one credential have told."""

    base_url: str = ""
    honours_keys: bool = False
    """Whether one has said that it honours idempotency keys."""
    user_id: str | None = None
    """Whose credential it is, once one has said so."""

    def hear(self, answer: HTTPAnswer) -> None:
        """Learn from an answer."""
        # a gateway may answer in its place, and knows nothing of keys: once said is said
        self.honours_keys = self.honours_keys or honours_keys(answer)


@frozen
class Context:
    """What all flows of a client share. `now` is a clock that only goes forward, `wall` one that tells the
    time of day, both in seconds; `random` gives 0 to 1; `retries` None is the usual; `container` is the class
    that containers in answers are made of.
    """

    now: Callable[[], float]
    random: Callable[[], float]
    wall: Callable[[], float]
    observer: Observer = SILENT
    server: Server = field(factory=Server)
    retries: Retries | None = None
    container: type[Container] = Container

    def sent(self, message: HTTPRequest, attempt: int, channel: bool = False) -> float:
        """Tell that a request goes out; gives the moment."""
        self.observer.sent(message, attempt, channel)
        return self.now()
