"""Changing the file of profiles, line by line: the standard library reads TOML and does not write it.

What a line means is asked from the parser, one line at a time; what came of a change is read again and
compared with what was meant, so that a file in an unusual form is refused rather than spoiled.

What touches the content returns faults instead of raising them: a traceback with local variables would show
the tokens of all profiles.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import profiles
from .credentials import Token
from .errors import InvalidArgument
from .files import small_file
from .locking import locked

_BARE = re.compile(r"[A-Za-z0-9_-]+")


@contextmanager
def changing(path: Path) -> Iterator[profiles.Profiles]:
    """Keep others from changing the file, and give what it says.

    Raises:
        InvalidArgument: as for `profiles.save`.
    """
    # a file that is refused gets no lock beside it
    profiles.load(path)
    real = Path(os.path.realpath(path))
    try:
        real.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(real):
            yield profiles.load(path)
    except OSError as error:
        raise InvalidArgument(f"{path} cannot be written: {error.strerror}.") from None


def change(path: Path, edit: Callable[[Document], bool]) -> None:
    """Change the file, or make it, as long as no other can. A link stays one, and what it leads to is
    replaced. `edit` tells whether it could do its work.

    Raises:
        InvalidArgument: as for `profiles.save`.
    """
    fault = _change(path, edit)
    if fault is not None:
        raise InvalidArgument(fault)


def _change(path: Path, edit: Callable[[Document], bool]) -> str | None:
    real = Path(os.path.realpath(path))
    try:
        document = Document(small_file(real, profiles.MOST)[0] if real.exists() else b"")
        changed = document.content if edit(document) and document.says_what_is_meant else None
        if changed is None:
            return f"{path} has a form that cannot be changed here: edit it by hand."
        if len(changed) > profiles.MOST:
            return f"{path} would become too large."
        found = profiles.read(changed, path)
        if isinstance(found, str):
            return found
        _replace(real, changed)
    except OSError as error:
        return f"{path} cannot be written: {error.strerror}."
    return None


def _replace(path: Path, content: bytes) -> None:
    import tempfile

    descriptor, name = tempfile.mkstemp(prefix=".config-", dir=path.parent)  # with mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise


class Document:
    """The lines of a file, and what they are to say."""

    def __init__(self, content: bytes) -> None:
        self._lines = content.decode().splitlines()
        self._meant: dict[str, Any] = profiles.parse(content) or {}

    @property
    def content(self) -> bytes:
        """The lines as a file."""
        return "".join(f"{line}\n" for line in self._lines).encode()

    @property
    def says_what_is_meant(self) -> bool:
        """Whether a reader would find what was put and all that was there, and nothing else."""
        found = profiles.parse(self.content)
        return found is not None and _without_empty(found) == _without_empty(self._meant)

    def put(self, name: str, values: Mapping[str, str | Token], make_default: bool) -> bool:
        """Set some keys of a profile, which need not be there; False if its lines cannot be found."""
        known = self._meant.setdefault("profiles", {})
        if name not in known:
            known[name] = {}
            self._lines += ([""] if self._lines else []) + [f"[profiles.{_key(name)}]"]
        for key, value in reversed([*values.items()]):
            section = self._section(name)
            if section is None:
                return False
            text = value.reveal() if isinstance(value, Token) else value
            known[name][key] = text
            self._set(*section, key, text)
        if make_default:
            self._meant["default_profile"] = name
            self._set(0, self._next_header(0), "default_profile", name)
        return True

    def take_out(self, name: str) -> bool:
        """Remove a profile; False if its lines cannot be found."""
        section = self._section(name)
        if section is None:
            return False
        start, end = section
        # what stands right above the next header belongs to that
        while end > start and self._lines[end - 1].lstrip().startswith("#") and end < len(self._lines):
            end -= 1
        del self._lines[start - 1 : end]
        del self._meant["profiles"][name]
        if self._meant.get("default_profile") == name:
            del self._meant["default_profile"]
            found = self._find(0, self._next_header(0), "default_profile")
            del self._lines[found : found + 1]
        return True

    def drop(self, name: str, key: str) -> bool:
        """Take a key out of a profile that has it; False if its line cannot be found."""
        section = self._section(name)
        if section is None:
            return False
        found = self._find(*section, key)
        if found == section[1]:
            return False
        del self._lines[found]
        del self._meant["profiles"][name][key]
        return True

    def _section(self, name: str) -> tuple[int, int] | None:
        """Where a profile's lines begin, after its header, and end."""
        wanted: dict[str, Any] = {"profiles": {name: {}}}
        for number, line in enumerate(self._lines):
            if line.lstrip().startswith("[") and _meaning(line) == wanted:
                return number + 1, self._next_header(number + 1)
        return None

    def _next_header(self, start: int) -> int:
        for number in range(start, len(self._lines)):
            if self._lines[number].lstrip().startswith("["):
                return number
        return len(self._lines)

    def _find(self, start: int, end: int, key: str) -> int:
        """The line that sets a key, or `end`."""
        for number in range(start, end):
            if list(_meaning(self._lines[number])) == [key]:
                return number
        return end

    def _set(self, start: int, end: int, key: str, value: str) -> None:
        number = self._find(start, end, key)
        line = f"{key} = {_quoted(value)}"
        if number < end:
            self._lines[number] = line
        else:
            self._lines.insert(start, line)


def _without_empty(tables: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in tables.items() if value != {}}


def _meaning(line: str) -> dict[str, Any]:
    return profiles.parse(line.encode()) or {}


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _quoted(name)


def _quoted(text: str) -> str:
    # for printable text, a string of JSON is a basic string of TOML
    return json.dumps(text, ensure_ascii=False)
