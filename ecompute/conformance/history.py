"""What was said to a server, kept so that anybody can say it again: as Python and as lines for curl.

What a server makes up (ids, tokens) gets a symbol in the step that brought it, so that a replay puts in what
the server makes up then. Secrets that were given are called by their symbols from the start.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from attrs import evolve, frozen


@frozen
class Request:
    """One HTTP exchange. `who` is the symbol of the credential, `gives` those of what the answer brought: by
    the name of the field in the answer."""

    method: str
    path: str
    who: str | None
    body: Any = None
    content: bytes | None = None
    headers: Mapping[str, str] = {}
    status: int | None = None
    gives: Mapping[str, str] = {}


@frozen
class Opened:
    """A WebSocket; an open one has a symbol."""

    path: str
    who: str | None
    subprotocols: tuple[str, ...] = ()
    headers: Mapping[str, str] = {}
    symbol: str = ""
    status: int | None = None


@frozen
class Sent:
    """A message to the server; `raw` bytes are no message but what goes over the wire."""

    symbol: str
    data: str | bytes
    raw: bool = False


@frozen
class Heard:
    """The beginning of a message from the server, or the code with which it closed."""

    symbol: str
    data: str | bytes | int


@frozen
class Raw:
    """Bytes on a connection of their own."""

    data: bytes


@frozen
class Waited:
    """Until a container has a status."""

    container: str
    status: str
    who: str


@frozen
class Restarted:
    """The operator's command has restarted the server."""


Step = Request | Opened | Sent | Heard | Raw | Waited | Restarted


@frozen
class Known:
    """What a value that a server has made up is called."""

    value: str | int
    symbol: str
    kind: str


_MAKERS: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("POST", "/compute/containers"): {"id": "container"},
    ("POST", "/compute/ssh-keys"): {"id": "key"},
    ("POST", "/api/tokens"): {"id": "token_id", "token": "token"},
    ("POST", "/api/login"): {"token": "token"},
}
"""What answers make up: the kind of value by its field."""


class History:
    """The steps of a check, after those of the preface: things that several checks share."""

    def __init__(self) -> None:
        self._preface: list[Step] = []
        self._steps: list[Step] = []
        self._writing = self._steps
        self._known: dict[tuple[str, str], Known] = {}
        self._counts: dict[str, int] = {}

    def add(self, step: Step) -> None:
        """One step more."""
        self._writing.append(step)

    def amend(self, step: Step) -> None:
        """The last step, now that its end is known."""
        self._writing[-1] = step

    @contextmanager
    def as_preface(self) -> Iterator[None]:
        """What is added inside is a part of the preface."""
        outer, self._writing = self._writing, self._preface
        try:
            yield
        finally:
            self._writing = outer

    def answered(self, step: Request, status: int, body: Mapping[str, Any]) -> Request:
        """A request with its end: what the server has made up in its answer gets symbols."""
        gives = {}
        kind = _MAKERS.get((step.method, step.path))
        if 200 <= status < 300 and kind is not None:
            for name, called in kind.items():
                value = body.get(name)
                # an empty text would be everywhere
                if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
                    gives[name] = self.symbol(called, value)
        return evolve(step, status=status, gives=gives)

    def opened(self, step: Opened, status: int) -> Opened:
        """A WebSocket with the answer to its handshake; an open one gets a symbol."""
        if status != 101:
            return evolve(step, status=status)
        self._counts["socket"] = number = self._counts.get("socket", 0) + 1
        return evolve(step, status=status, symbol=f"socket_{number}")

    def symbol(self, kind: str, value: str | int) -> str:
        """The symbol of a value, a new one if need be: `container_1`, `key_2`."""
        place = (kind, str(value))
        if place not in self._known:
            number = self._counts[kind] = self._counts.get(kind, 0) + 1
            self._known[place] = Known(value, f"{kind}_{number}", kind)
        return self._known[place].symbol

    @property
    def secrets(self) -> tuple[str, ...]:
        """The tokens that the server has made."""
        return tuple(str(known.value) for known in self._known.values() if known.kind == "token")

    def mark(self) -> int:
        """Where the history is now, for `rewind`."""
        return len(self._writing)

    def rewind(self, mark: int = 0) -> None:
        """Forget all steps after a mark; without one, all but the preface."""
        del self._writing[mark:]

    def since(self, mark: int) -> tuple[Step, ...]:
        """The steps after a mark."""
        return tuple(self._writing[mark:])

    def told(self) -> list[Step]:
        """The steps that matter: those of this check, and what of the preface they build on."""
        needed = set().union(*map(self._uses, self._steps)) if self._steps else set()
        before: list[Step] = []
        for step in reversed(self._preface):
            if isinstance(step, Request) and needed & set(step.gives.values()):
                needed |= self._uses(step)
                before.append(step)
            elif isinstance(step, Waited) and self.name(step.container, "container") in needed:
                before.append(step)
        return [*reversed(before), *self._steps]

    def name(self, value: str | int, kind: str) -> str | None:
        """The symbol of a value, if it has one."""
        found = self._known.get((kind, str(value)))
        return found.symbol if found else None

    def _uses(self, step: Step) -> set[str]:
        match step:
            case Request():
                texts: list[Any] = [step.path, step.body, *step.headers.values()]
                used = {step.who} if step.who else set()
            case Opened():
                texts, used = [step.path], {step.who} if step.who else set()
            case Waited():
                texts, used = [step.container], {step.who}
            case _:
                return set()
        return used | {symbol for text in texts for symbol in self.mentions(text)}

    def mentions(self, thing: Any, key: str = "") -> Iterator[str]:
        """The symbols of all that a path or a body names."""
        match thing:
            case str():
                yield from (symbol for _, symbol in self.split(thing) if symbol)
            case Mapping():
                for name, value in thing.items():
                    yield from self.mentions(name)
                    yield from self.mentions(value, name)
            case list() | tuple():
                for value in thing:
                    yield from self.mentions(value, key)
            case int() if key == "ssh_key_ids" and not isinstance(thing, bool):
                if symbol := self.name(thing, "key"):
                    yield symbol

    def split(self, text: str) -> list[tuple[str, str | None]]:
        """A text as its literal parts and, between them, what has a symbol."""
        pieces: list[tuple[str, str | None]] = [(text, None)]
        for known in self._mentioned(text):
            if known.kind == "key":
                pieces = _cut(pieces, f"/ssh-keys/{known.value}", "/ssh-keys/", known.symbol, whole=True)
            else:
                pieces = _cut(pieces, str(known.value), "", known.symbol, whole=False)
        return [(literal, symbol) for literal, symbol in pieces if literal or symbol]

    def _mentioned(self, text: str) -> list[Known]:
        return [known for known in self._known.values() if str(known.value) in text]


def _cut(
    pieces: Iterable[tuple[str, str | None]], value: str, before: str, symbol: str, *, whole: bool
) -> list[tuple[str, str | None]]:
    made: list[tuple[str, str | None]] = []
    for text, found in pieces:
        if found is not None or value not in text or (whole and not text.endswith(value)):
            made.append((text, found))
            continue
        first, *rest = text.split(value)
        made.append((first + before, None))
        for part in rest:
            made.append(("", symbol))
            made.append((part, None))
    return made
