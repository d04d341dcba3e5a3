"""Copies as decisions: what is run in the container, where things come to lie, what went wrong.

Of the container's side only what POSIX promises of its shell is asked for, and `tar` with the options that
all have.
"""

from __future__ import annotations

import os
import posixpath
import shlex
from typing import Any

from attrs import define, field, frozen

from ecompute.errors import CommandFailed, CommandResult, Error, InvalidArgument, Unsupported, one_line

_NO_INPUT, _UNAVAILABLE = 66, 69
"""What the commands here exit with (sysexits.h); `tar` has one and two."""
_NEEDS_TAR = f"command -v tar >/dev/null || exit {_UNAVAILABLE}"
_MAX_WORDS = 4096


def path_text(path: Any, what: str) -> str:
    """A path as text.

    Raises:
        InvalidArgument: it is none.
    """
    try:
        text = os.fspath(path)
    except TypeError:
        text = None
    if not isinstance(text, str) or not text or "\0" in text:
        raise InvalidArgument(f"The {what} of a copy is a path, as a text or path object, without NUL.")
    return text


def split(path: str) -> tuple[str, str]:
    """The folder that a path's last step is in, and that step; none when it has no name of its own."""
    folder, name = posixpath.split(path.rstrip("/") or "/")
    return folder or ".", "" if name in (".", "..") else name


def _word(path: str) -> str:
    """A path as a word of the shell."""
    try:
        path.encode()
    except UnicodeEncodeError:
        # commands travel as Unicode, names need not be
        data = path.encode("utf-8", "surrogateescape")
        if data.endswith(b"\n"):
            raise InvalidArgument("A path that is no Unicode cannot end with a newline.") from None
        return '"$(printf %b ' + shlex.quote("".join(f"\\0{byte:03o}" for byte in data)) + ')"'
    return shlex.quote(path)


# into a container


@frozen
class Place:
    """Where a copy comes to lie: below a folder, under a name, none for in it directly."""

    folder: str
    name: str


def look(target: str) -> str:
    """The command that finds out what is at a target."""
    folder, _ = split(target)
    return (
        f"{_NEEDS_TAR}; t={_word(target)}; p={_word(folder)}; "
        'if [ -d "$t" ]; then echo folder; elif [ -e "$t" ] || [ -L "$t" ]; then echo file; '
        'elif [ -d "$p" ]; then echo absent; else echo missing; fi'
    )


def place(id: str, name: str, is_folder: bool, target: str, found: CommandResult) -> Place:
    """Where a source with this name goes, by what `look` has found.

    Raises:
        CommandFailed: it cannot go there.
        Unsupported: the container has no `tar`.
    """
    check(id, found)
    state = found.text.split()[-1:]
    if state == ["folder"]:
        return Place(target, name)
    folder, own = split(target)
    shown = one_line(target)
    if state == ["file"] and is_folder:
        raise CommandFailed(f"{shown} in container {id} is no folder, but the source is.", result=found)
    if state in (["file"], ["absent"]) and own and not target.endswith("/"):
        return Place(folder, own)
    missing = target if state == ["absent"] else folder
    raise CommandFailed(f"There is no folder {one_line(missing)} in container {id}.", result=found)


def extract(folder: str) -> str:
    """The command that takes an archive."""
    return f"exec tar -x -f - -C {_word(folder)}"


# out of a container


def create(source: str) -> str:
    """The command that sends an archive: of a folder, in which that is `.`, or of a file alone."""
    folder, name = split(source)
    return (
        f'{_NEEDS_TAR}; s={_word(source)}; if [ -d "$s" ]; then exec tar -c -f - -C "$s" .; '
        f'elif [ -e "$s" ]; then exec tar -c -h -f - -C {_word(folder)} {_word("./" + name)}; '
        f"else exit {_NO_INPUT}; fi"
    )


# what went wrong


@define
class Words:
    """The beginning of what a command says, of one that may go on for ever."""

    output: bytearray = field(factory=bytearray)
    error: bytearray = field(factory=bytearray)

    def take_output(self, data: bytes) -> None:
        """More of its output."""
        self.output += data[: _MAX_WORDS - len(self.output)]

    def take_error(self, data: bytes) -> None:
        """More of what it complains about."""
        self.error += data[: _MAX_WORDS - len(self.error)]

    def result(self, exit_status: int) -> CommandResult:
        """A command's result with these words."""
        return CommandResult(exit_status, bytes(self.output), bytes(self.error))


def check(id: str, result: CommandResult, source: str = "") -> None:
    """Judge a command of a copy.

    Raises:
        CommandFailed: it failed.
        Unsupported: the container has no `tar`.
    """
    if result.exit_status == 0:
        return
    if result.exit_status == _UNAVAILABLE:
        raise Unsupported(f"Container {id} has no `tar`, which copies need: install it there.")
    if result.exit_status == _NO_INPUT:
        raise CommandFailed(f"There is no {one_line(source)} in container {id}.", result=result)
    words = result.error.decode("utf-8", "replace").strip().splitlines()
    said = f": {one_line(words[0])}" if words else ""
    raise CommandFailed(
        f"Copying failed in container {id}, with exit status {result.exit_status}{said}.", result=result
    )


@define
class LeftOut:
    """What could not be copied while all else was."""

    count: int = 0
    first: str = ""

    def add(self, name: str, reason: str) -> None:
        """One more."""
        self.count += 1
        self.first = self.first or f"{one_line(name)} ({reason})"

    def check(self) -> None:
        """
        Raises:
            Unsupported: there was something.
        """
        if self.count:
            others = f" and {self.count - 1} more" if self.count > 1 else ""
            raise Unsupported(f"All was copied but {self.first}{others}: such things cannot be copied.")


def unusable(path: object, verb: str, error: OSError) -> Error:
    """The exception for a file of this machine."""
    return Error(f"{one_line(str(path))} cannot be {verb}: {error.strerror or type(error).__name__}.")
