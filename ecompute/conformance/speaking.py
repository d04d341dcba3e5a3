"""Speaking with the tested server: requests, WebSockets and bytes, all of them written down."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from .check import Need
from .credential import Tenant, Who, credential_of
from .history import History, Opened, Raw, Request
from .raw import Line, connect
from .sockets import Socket
from .target import Target
from .things import Things
from .verdict import NotThere
from .wire import NOTHING, Answer, Wire


class Speaker:
    """Says what a check wants said, as one of the tenants or as nobody.

    `first` is the tenant whose token the run was given.
    """

    def __init__(self, target: Target, wire: Wire, tenants: tuple[Tenant, ...]) -> None:
        self.target = target
        self.wire = wire
        self.history: History = History()
        self.things: Things = Things()
        self._tenants = {tenant.symbol: tenant for tenant in tenants}
        self._open = ExitStack()

    @property
    def first(self) -> Tenant:
        """The tenant whose token was given."""
        return self._tenants["first"]

    @property
    def second(self) -> Tenant:
        """Another tenant.

        Raises:
            NotThere: the run has the token of one only.
        """
        try:
            return self._tenants["second"]
        except KeyError:
            raise NotThere(f"It needs {Need.SECOND_TENANT}.") from None

    @property
    def has_second(self) -> bool:
        """Whether there is another tenant."""
        return "second" in self._tenants

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must be in no report: the tokens that were given, and those that were made."""
        return (*(tenant.credential.token for tenant in self._tenants.values()), *self.history.secrets)

    def ask(
        self,
        method: str,
        path: str,
        who: Who = None,
        body: Any = None,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] = NOTHING,
    ) -> Answer:
        """One exchange; `body` is sent as JSON, `content` as it is.

        Raises:
            Lost: there was no answer.
            Foreign: it would change what is not the kit's own.
        """
        self.things.guard(method, path)
        credential = credential_of(who)
        symbol = credential.symbol if credential else None
        step = Request(method, path, symbol, body, content, headers)
        self.history.add(step)
        answer = self.wire.send(
            method,
            path,
            token=credential.token if credential else None,
            body=body,
            content=content,
            headers=headers,
        )
        self.history.amend(self.history.answered(step, answer.status, answer.body))
        self.things.saw(method, path, credential, answer)
        return answer

    def get(self, path: str, who: Who = None) -> Answer:
        """A GET, as the first tenant unless told otherwise."""
        return self.ask("GET", path, who or self.first)

    def post(self, path: str, body: Any = None, who: Who = None) -> Answer:
        """A POST, as the first tenant unless told otherwise."""
        return self.ask("POST", path, who or self.first, body)

    def put(self, path: str, body: Any, who: Who = None) -> Answer:
        """A PUT, as the first tenant unless told otherwise."""
        return self.ask("PUT", path, who or self.first, body)

    def delete(self, path: str, who: Who = None) -> Answer:
        """A DELETE, as the first tenant unless told otherwise."""
        return self.ask("DELETE", path, who or self.first)

    def socket(
        self,
        path: str,
        who: Who = None,
        *,
        in_query: bool = False,
        subprotocols: tuple[str, ...] = (),
        headers: Mapping[str, str] = NOTHING,
    ) -> Socket:
        """A WebSocket, open or refused (`.answer`), that is closed at the end of the check or example.

        Raises:
            Lost: there was no answer.
        """
        credential = credential_of(who)
        step = Opened(path, credential.symbol if credential else None, subprotocols, headers)
        self.history.add(step)
        opened = Socket(
            self.wire,
            path,
            token=credential.token if credential else None,
            in_query=in_query,
            subprotocols=subprotocols,
            headers=headers,
        )
        self._open.callback(opened.drop)
        step = self.history.opened(step, opened.answer.status)
        self.history.amend(step)
        opened.listen(self.history, step.symbol)
        return opened

    def opened(self, path: str, who: Who = None, **more: Any) -> Socket:
        """An open WebSocket, as the first tenant unless told otherwise.

        Raises:
            NotThere: the server refuses it.
        """
        socket = self.socket(path, who or self.first, **more)
        if not socket.is_open:
            raise NotThere(f"The WebSocket {path.partition('?')[0]} was refused: {socket.answer}")
        return socket

    def line(self, sent: bytes = b"") -> Line:
        """A connection on which these bytes have gone out, closed at the end of the check or example."""
        self.wire.turn()
        line = connect(self.wire)
        self._open.callback(line.close)
        if sent:
            self.history.add(Raw(sent))
            line.send(sent)
        return line
