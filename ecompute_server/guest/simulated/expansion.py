"""From the words of a command to its arguments: parameters, substitutions, splitting, file names.

Three kinds of text go through here: what was quoted stays as it is, literal text may match file names, and
the values of unquoted parameters are split at blanks as well.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import posixpath
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Protocol

from ecompute_server.guest.simulated.grammar import Parameter, Part, Script, Substitution, Text, Word
from ecompute_server.hypervisor.simulated import Files, Kind

EXPANSION_LIMIT = 4 << 20
PATTERN = re.compile(r"[*?[]")


class Surroundings(Protocol):
    """What an expansion looks up; a shell is one."""

    @property
    def files(self) -> Files: ...
    @property
    def directory(self) -> str: ...
    @property
    def arguments(self) -> Sequence[str]: ...

    def value(self, name: str) -> str | None:
        """A variable's or special parameter's value; None when it is unset."""


Substitute = Callable[[Script], Awaitable[str]]


async def expand(words: Sequence[Word], shell: Surroundings, substitute: Substitute) -> list[str]:
    """The arguments that the words become."""
    arguments: list[str] = []
    budget = _Budget()
    for word in words:
        if word in ALL_ARGUMENTS:
            found = list(shell.arguments)
        else:
            fields = await _fields(word, shell, substitute, budget)
            found = [name for field in fields for name in _matching(field, shell)]
        arguments += budget.spend(found)
    return arguments


async def expand_one(word: Word, shell: Surroundings, substitute: Substitute) -> str:
    """The single value that a word becomes where nothing is split: an assignment, a redirection's target."""
    return await _joined(word, shell, substitute, _Budget())


class _Budget:
    """Bounds how much one expansion may make of a short text."""

    def __init__(self) -> None:
        self._left = EXPANSION_LIMIT

    def spend(self, texts: list[str]) -> list[str]:
        """The texts themselves, as long as there is room.

        Raises:
            OSError: E2BIG
        """
        self._left -= sum(map(len, texts)) + len(texts)
        if self._left < 0:
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
        return texts


async def _joined(word: Word, shell: Surroundings, substitute: Substitute, budget: _Budget) -> str:
    values: list[str] = []
    for part in _home(word, shell):
        values += budget.spend([await _value(part, shell, substitute, budget)])
    return "".join(values)


ALL_ARGUMENTS: tuple[Word, ...] = (
    (Text("", True), Text("", True), Parameter("@", True), Text("", True)),
    (Parameter("@", False),),
)
"""`"$@"` as the parser gives it, and without quotes."""

Field = list[tuple[str, bool]]  # pieces, each quoted or not


async def _fields(word: Word, shell: Surroundings, substitute: Substitute, budget: _Budget) -> list[Field]:
    fields: list[Field] = []
    current: Field | None = None
    for part in _home(word, shell):
        (value,) = budget.spend([await _value(part, shell, substitute, budget)])
        if part.quoted or isinstance(part, Text):
            current = [*(current or []), (value, part.quoted)]
            continue
        pieces = value.split()
        if current is not None and value[:1].isspace():
            fields.append(current)
            current = None
        for number, piece in enumerate(pieces):
            if number and current is not None:
                fields.append(current)
                current = None
            current = [*(current or []), (piece, False)]
        if current is not None and pieces and value[-1:].isspace():
            fields.append(current)
            current = None
    return fields if current is None else [*fields, current]


def _home(word: Word, shell: Surroundings) -> Word:
    """The word with a leading `~` replaced."""
    if word and isinstance(word[0], Text) and not word[0].quoted:
        name, slash, rest = word[0].text.partition("/")
        if name == "~" and (slash or len(word) == 1):
            return (Text(shell.value("HOME") or "/", True), Text(slash + rest, False), *word[1:])
    return word


async def _value(part: Part, shell: Surroundings, substitute: Substitute, budget: _Budget) -> str:
    match part:
        case Text(text):
            return text
        case Substitution(body):
            return (await substitute(body)).rstrip("\n")
        case Parameter(name, _, rule, word):
            value = shell.value(name)
            absent = value is None or (rule.startswith(":") and not value)
            match rule.lstrip(":"):
                case "#":
                    return str(len(value or ""))
                case "-" if absent:
                    return await _joined(word, shell, substitute, budget)
                case "+":
                    return "" if absent else await _joined(word, shell, substitute, budget)
            return value or ""


def _matching(field: Field, shell: Surroundings) -> list[str]:
    """The file names that a field matches, or the field itself when it is no pattern or matches none."""
    literal = "".join(text for text, _ in field)
    if not any(PATTERN.search(text) for text, quoted in field if not quoted):
        return [literal]
    pattern = "".join(PATTERN.sub(r"[\g<0>]", text) if quoted else text for text, quoted in field)
    start = "/" if pattern.startswith("/") else ""
    steps = [step for step in pattern.split("/") if step]
    return sorted(_walk(start, steps, shell)) or [literal]


def _walk(prefix: str, steps: Sequence[str], shell: Surroundings) -> Iterator[str]:
    if not steps:
        yield prefix
        return
    here = posixpath.join(shell.directory, prefix)
    try:
        listed = shell.files.list_directory(here)
    except OSError:
        return
    for name, node in listed:
        if name.startswith(".") and not steps[0].startswith("."):
            continue
        if fnmatch.fnmatchcase(name, steps[0]) and (len(steps) == 1 or node.kind is not Kind.FILE):
            yield from _walk(posixpath.join(prefix, name), steps[1:], shell)
