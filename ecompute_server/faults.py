"""What can go wrong with an embedded server, on demand.

The server itself has no such switch. Its application is wrapped, its connections are made breakable, and the
simulated host is told how machines boot; all from here, and only by `testing`.
"""

from __future__ import annotations

import json
import secrets
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from random import Random
from typing import Any, Self, TypeVar

import attrs
from attrs import define, field, frozen

from ecompute.contract.endpoints import EVENTS
from ecompute.contract.matching import row_named, row_of
from ecompute.contract.problems import PROBLEMS

from .handlers.call import Services
from .http import idempotency
from .http.app import Api
from .http.protocols import HttpProtocol
from .http.serving import Server
from .hypervisor.simulated import Boot, Phase, SimulatedHypervisor

T = TypeVar("T")
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_GATEWAY_PAGE = b"<html><head><title>Bad gateway</title></head><body><h1>Bad gateway</h1></body></html>\n"


@frozen
class Injection:
    """One fault that came to pass: in which operation (`boot` for a machine's), and the call that asks for
    it.
    """

    operation: str
    call: str


@define(eq=False)
class Fault:
    """A fault that is to come. As a context manager it is taken away at the end of the block."""

    _faults: Faults = field(repr=False)
    call: str
    """The call that made it."""
    kind: str = field(repr=False)
    operation: str | None = field(repr=False)
    act: Any = field(repr=False)
    left: int | None
    """How often it is still to come; None is without end."""
    _chance: float = field(repr=False)
    _number: int = field(repr=False)
    _seen: int = field(default=0, init=False, repr=False)

    def remove(self) -> None:
        """Take it away; doing so twice is no fault."""
        self._faults._remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.remove()

    def comes(self, seed: int) -> bool:
        """Whether it comes to pass this time."""
        self._seen += 1
        if self._chance < 1 and Random(f"{seed}/{self._number}/{self._seen}").random() >= self._chance:
            return False
        if self.left is not None:
            self.left -= 1
        return True


class Cut(int):
    """How many feeds were cut. As a context manager: no new one can be opened until the end of the block."""

    _faults: Faults
    _fault: Fault

    def __enter__(self) -> Self:
        self._fault = self._faults.lose_answer(EVENTS.name, times=None)
        # those that came back between the call and the block
        self._faults._cut()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._fault.remove()


class Faults:
    """The faults of one embedded server; threads may share it.

    Every method is a plain call, whose effect lasts until it is used up, and a context manager, which takes
    the fault away at the end. `times` is how often it comes to pass (None: always), `chance` how likely it
    does each time; `seed` decides on that, so that the same calls and requests lead to the same faults. An
    operation is a row's name such as `containers.create`, or its last part. Of several faults for one request
    the oldest comes to pass.
    """

    def __init__(
        self, machines: SimulatedHypervisor, call: Callable[[Coroutine[Any, Any, Any]], Any]
    ) -> None:
        self._on_loop = call
        self._lock = threading.Lock()
        self._seed = secrets.randbelow(1 << 32)
        self._made = 0
        self._standing: list[Fault] = []
        self._history: list[Injection] = []
        self._feeds: set[Link] = set()
        machines.choose_boot = self._boot

    @property
    def seed(self) -> int:
        """What decides where there is a chance; drawn anew for each server unless it is set."""
        return self._seed

    @seed.setter
    def seed(self, value: int) -> None:
        self._seed = value

    @property
    def history(self) -> tuple[Injection, ...]:
        """All that came to pass, in its order."""
        with self._lock:
            return tuple(self._history)

    def lose_answer(
        self, operation: str, *, after_bytes: int = 0, times: int | None = 1, chance: float = 1.0
    ) -> Fault:
        """Do what is asked, and break the connection after so many bytes of the answer, its head included.

        Of a WebSocket that is the answer to its opening and the frames behind it.
        """
        name = row_named(operation).name
        call = f"lose_answer({name!r}, after_bytes={after_bytes})"
        return self._stand("request", name, after_bytes, call, times, chance)

    def refuse(
        self,
        status: int = 503,
        operation: str | None = None,
        *,
        retry_after: float | None = None,
        times: int | None = 1,
        chance: float = 1.0,
    ) -> Fault:
        """Answer with this status, and do nothing of what is asked; without an operation, whatever that is.

        A status that the API does not know comes with a web page, as gateways send it.
        """
        name = None if operation is None else row_named(operation).name
        call = f"refuse({status}, {name!r}, retry_after={retry_after!r})"
        return self._stand("request", name, _Answer(status, retry_after), call, times, chance)

    def slow_boot(self, seconds: float, *, times: int | None = 1, chance: float = 1.0) -> Fault:
        """Let the next container take so long to boot."""
        return self._stand("slow", None, seconds, f"slow_boot({seconds!r})", times, chance)

    def fail_boot(
        self,
        reason: str = "The guest would not start.",
        *,
        times: int | None = 1,
        chance: float = 1.0,
    ) -> Fault:
        """Let the next container fail to boot, for this reason."""
        return self._stand("fail", None, reason, f"fail_boot({reason!r})", times, chance)

    def cut_feed(self) -> Cut:
        """Break off all open feeds abruptly; gives how many there were. Clients come back by themselves,
        unless it is used as a context manager: then none can, until the end of the block.
        """
        cut = Cut(self._cut())
        cut._faults = self
        return cut

    def clear(self) -> None:
        """Take all faults away that are still to come."""
        with self._lock:
            self._standing.clear()

    def __repr__(self) -> str:
        with self._lock:
            return f"<Faults seed={self._seed} standing={self._standing}>"

    # within

    def _stand(
        self, kind: str, operation: str | None, act: Any, call: str, times: int | None, chance: float
    ) -> Fault:
        if times is not None and times < 1:
            raise ValueError("times must be at least 1, or None for always.")
        if not 0 <= chance <= 1:
            raise ValueError("chance must be from 0 to 1.")
        with self._lock:
            self._made += 1
            fault = Fault(self, call, kind, operation, act, times, chance, self._made)
            self._standing.append(fault)
        return fault

    def _remove(self, fault: Fault) -> None:
        with self._lock:
            if fault in self._standing:
                self._standing.remove(fault)

    def _next(self, kind: str, operation: str) -> Any:
        """What the next fault of this kind does, or None where there is none."""
        with self._lock:
            for fault in self._standing:
                if fault.kind != kind or fault.operation not in (None, operation):
                    continue
                if fault.comes(self._seed):
                    if fault.left == 0:
                        self._standing.remove(fault)
                    self._history.append(Injection(operation, fault.call))
                    return fault.act
        return None

    def _boot(self, usual: Boot) -> Boot:
        seconds, reason = self._next("slow", "boot"), self._next("fail", "boot")
        if seconds is not None:
            usual = attrs.evolve(usual, seconds=seconds)
        if reason is not None:
            usual = attrs.evolve(usual, outcome=Phase.REFUSED, reason=reason)
        return usual

    def _cut(self) -> int:
        async def cut() -> int:
            cut = sum(link.reset() for link in self._feeds)
            self._feeds.clear()
            return cut

        count: int = self._on_loop(cut())
        with self._lock:
            self._history.append(Injection(EVENTS.name, "cut_feed()"))
        return count

    @contextmanager
    def _feed(self, link: Link) -> Iterator[None]:
        self._feeds.add(link)
        try:
            yield
        finally:
            self._feeds.discard(link)


@frozen
class _Answer:
    """A refusal in the place of the server's answer."""

    status: int
    retry_after: float | None

    async def send(self, scope: Message, send: Send) -> None:
        problem = next((p for p in PROBLEMS.values() if p.status == self.status), None)
        headers = [(b"x-request-id", secrets.token_hex(8).encode())]
        if problem is None:
            body, kind = _GATEWAY_PAGE, b"text/html"
        else:
            sentence = "This refusal was asked for by a test."
            body = json.dumps({"error": sentence, "code": str(problem.code)}).encode()
            kind = b"application/json"
            headers.append(idempotency.SUPPORTED)
        headers += [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        if self.retry_after is not None:
            headers.append((b"retry-after", f"{self.retry_after:g}".encode()))
        prefix = "websocket." if scope["type"] == "websocket" else ""
        await send({"type": prefix + "http.response.start", "status": self.status, "headers": headers})
        await send({"type": prefix + "http.response.body", "body": body})


class Link:
    """The transport of one connection, which can be made to break."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._left: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if self._left is None:
            self._transport.write(data)
            return
        self._transport.write(data[: self._left])
        self._left = max(0, self._left - len(data))
        if not self._left:
            self._transport.close()

    @contextmanager
    def breaking(self, after_bytes: int) -> Iterator[None]:
        """Break after so many bytes more, or at the end of the block."""
        self._left = after_bytes
        try:
            yield
        finally:
            self._transport.close()

    def reset(self) -> bool:
        """Break at once, also for what is on its way; tells whether there was something to break."""
        if self._transport.is_closing():
            return False
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()
        return True


_link: ContextVar[Link] = ContextVar("link")


class _Breakable(HttpProtocol):
    """HTTP over a `Link`, which the tasks of its requests know."""

    def connection_made(self, transport: Any) -> None:
        self._own_link = Link(transport)
        super().connection_made(self._own_link)  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        # a task has the context of where it was made
        _link.set(self._own_link)
        super().data_received(data)


class _FaultyApi(Api):
    def __init__(self, services: Services, faults: Faults) -> None:
        super().__init__(services)
        self._faults = faults

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        row = row_of(scope.get("method", "GET"), scope["path"])
        name = "" if row is None else row.name
        act, link = self._faults._next("request", name), _link.get()
        if isinstance(act, _Answer):
            await act.send(scope, send)
        elif act is not None:
            with link.breaking(act):
                await super().__call__(scope, receive, send)
        elif name == EVENTS.name:
            with self._faults._feed(link):
                await super().__call__(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


class FaultyServer(Server):
    """The server with its faults put on."""

    def __init__(
        self,
        services: Services,
        faults: Faults,
        *,
        started: Callable[[], None],
        trusted_proxies: tuple[str, ...],
    ) -> None:
        super().__init__(_FaultyApi(services, faults), started=started, trusted_proxies=trusted_proxies)
        self.config.http = _Breakable
