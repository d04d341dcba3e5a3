"""The exit codes of the command, and which error ends with which.

`run`, `ssh` and `terminal` end with the status of what ran in the container; what went wrong before or beside
that is `Exit.BESIDE`, as for ssh(1), so that the two are told apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from ecompute import errors


class Exit(IntEnum):
    """How the command ended, for scripts."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    NOT_FOUND = 3
    NO_ACCESS = 4
    UNREACHABLE = 5
    DEADLINE = 6
    CONTAINER_FAILED = 7
    PACKAGES = 8
    UNKNOWN = 9
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    BESIDE = 255


MEANINGS: Mapping[Exit, str] = {
    Exit.OK: "Done.",
    Exit.REFUSED: "The server refused it, or something else went wrong.",
    Exit.USAGE: "The command line or a setting is wrong, or a name is ambiguous; nothing was done.",
    Exit.NOT_FOUND: "There is no such container, key, rule or token.",
    Exit.NO_ACCESS: "No server is known, or there is no credential, or it is not valid or may not do this.",
    Exit.UNREACHABLE: "The server cannot be reached, is not ready, or is none of this API.",
    Exit.DEADLINE: "The time given was not enough.",
    Exit.CONTAINER_FAILED: "The container that was waited for has failed.",
    Exit.PACKAGES: "The packages of the extra `cli` are missing.",
    Exit.UNKNOWN: "A request was sent and its answer lost: it may or may not have happened.",
    Exit.INTERRUPTED: "Interrupted by Ctrl-C.",
    Exit.BROKEN_PIPE: "Who read the output has left.",
    Exit.BESIDE: "`run`, `ssh` and `terminal`: not the command's status, but any of the failures above.",
}
"""What each code means."""

PASSING = frozenset(("run", "ssh", "terminal"))
"""The commands whose exit code is that of what ran in the container."""

_BY_CLASS: Mapping[type[errors.Error], Exit] = {
    errors.NotFound: Exit.NOT_FOUND,
    errors.Unauthenticated: Exit.NO_ACCESS,
    errors.Forbidden: Exit.NO_ACCESS,
    errors.Unavailable: Exit.UNREACHABLE,
    errors.ConnectError: Exit.UNREACHABLE,
    errors.InvalidAnswer: Exit.UNREACHABLE,
    errors.DeadlineExceeded: Exit.DEADLINE,
    errors.ContainerFailed: Exit.CONTAINER_FAILED,
    errors.OutcomeUnknown: Exit.UNKNOWN,
    errors.MissingServer: Exit.NO_ACCESS,
    errors.MissingToken: Exit.NO_ACCESS,
    errors.InvalidArgument: Exit.USAGE,
}


class CommandError(Exception):
    """A command cannot do what was asked; `str()` is one sentence."""

    def __init__(self, message: str, code: Exit = Exit.USAGE) -> None:
        super().__init__(message)
        self.code = code


def code_of(error: Exception) -> Exit:
    """The exit code for an error of the library or of a command."""
    if isinstance(error, CommandError):
        return error.code
    return next((code for kind, code in _BY_CLASS.items() if isinstance(error, kind)), Exit.REFUSED)
