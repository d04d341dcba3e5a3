"""How a request is refused: one row of the error table, with words for this case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ecompute.contract.problems import PROBLEMS, Code, Fault

from .access import Needed


class Refusal(Exception):
    """Ends a request with an error answer.

    `message` is one sentence for the caller and never repeats an id, a token or a body.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        faults: tuple[Fault, ...] = (),
        needed: Needed | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.faults = faults
        self.needed = needed
        self.headers = dict(headers or {})

    @property
    def status(self) -> int:
        return PROBLEMS[self.code].status

    def body(self) -> dict[str, Any]:
        """The JSON body of the answer."""
        body: dict[str, Any] = {"error": self.message, "code": str(self.code)}
        if self.faults:
            body["fields"] = [{"path": fault.path, "problem": fault.problem} for fault in self.faults]
        if self.needed is not None:
            body["needed"] = {"scope": self.needed.scope, "action": self.needed.action}
        return body


def no_such_path() -> Refusal:
    """The server has no such path."""
    return Refusal(Code.NOT_FOUND, "There is no such path.")


def not_found(thing: str) -> Refusal:
    """The one answer for whatever is not there or is not the caller's; always the same bytes."""
    return Refusal(Code.NOT_FOUND, f"No {thing} of yours is named by this path.")


def invalid(faults: tuple[Fault, ...]) -> Refusal:
    """A request that breaks rules, all of them told."""
    if len(faults) == 1 and not faults[0].path:
        return Refusal(Code.INVALID_REQUEST, faults[0].problem, faults=faults)
    words = "; ".join(f"{fault.path} {fault.problem}" for fault in faults[:3])
    more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
    return Refusal(Code.INVALID_REQUEST, f"The request cannot be carried out: {words}{more}.", faults=faults)


def unavailable(message: str, *, retry_after: int = 5) -> Refusal:
    """The host cannot do this now; `retry_after` is in seconds."""
    return Refusal(Code.UNAVAILABLE, message, headers={"Retry-After": str(retry_after)})
