"""What can go wrong, as data: the machine word of each error, its HTTP status and what it means.

The server answers from this table, the client makes its exceptions from it, and the reference prints it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from attrs import frozen


class Code(StrEnum):
    """The `code` of an error body."""

    INVALID_REQUEST = "invalid_request"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CONFLICT = "conflict"
    LIMIT_REACHED = "limit_reached"
    NOT_RUNNING = "not_running"
    TOO_LARGE = "too_large"
    RATE_LIMITED = "rate_limited"
    INTERNAL = "internal"
    UNAVAILABLE = "unavailable"


@frozen
class Problem:
    """One row of the error table. `headers` are those that a server must send along."""

    code: Code
    status: int
    meaning: str
    headers: tuple[str, ...] = ()


_ROWS = (
    Problem(Code.INVALID_REQUEST, 400, "The request breaks a rule; every fault found is listed."),
    Problem(
        Code.UNAUTHENTICATED,
        401,
        "There is no credential, or it is malformed, expired or revoked.",
        ("WWW-Authenticate",),
    ),
    Problem(Code.FORBIDDEN, 403, "The credential is valid but lacks the scope that the answer names."),
    Problem(Code.NOT_FOUND, 404, "No such path, or nothing of the caller's has this id."),
    Problem(Code.METHOD_NOT_ALLOWED, 405, "The path exists, the method does not.", ("Allow",)),
    Problem(Code.CONFLICT, 409, "Not possible in the present state."),
    Problem(Code.LIMIT_REACHED, 409, "The user has as many of these as allowed."),
    Problem(Code.NOT_RUNNING, 409, "Only a running container can do this."),
    Problem(Code.TOO_LARGE, 413, "The request is larger than the server reads."),
    Problem(Code.RATE_LIMITED, 429, "Too many requests; wait as long as the answer says.", ("Retry-After",)),
    Problem(Code.INTERNAL, 500, "The server has a bug; its log has the details under the request id."),
    Problem(Code.UNAVAILABLE, 503, "The server or its host is not ready now.", ("Retry-After",)),
)

PROBLEMS: Mapping[Code, Problem] = {problem.code: problem for problem in _ROWS}
"""Every error of the API by its code."""


@frozen
class Fault:
    """One broken rule of a request: where (`ssh_key_ids[1]`, empty for the body as a whole) and what."""

    path: str
    problem: str


class InvalidFields(ValueError):
    """A request or a message breaks the contract's rules; `faults` lists all that was found."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("; ".join(f"{f.path}: {f.problem}" if f.path else f.problem for f in faults))
        self.faults = faults


def dotted(path: str) -> str:
    """A path as the end of another one."""
    return f".{path}" if path and not path.startswith("[") else path
