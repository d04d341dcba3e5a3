"""Mistakes on WebSockets and below HTTP: the feed, terminals, commands, frames, bytes."""

from __future__ import annotations

from typing import Any

import attrs

from .fault import fault, request_field, wrap


@fault("FED-003", area="feed")
def event_lost() -> None:
    """`initializing` is never told."""
    from ecompute_server import broadcast

    def news(old: Any, before: Any, after: Any) -> Any:
        told = old(before, after)
        return None if getattr(told, "status", "") == "initializing" else told

    wrap(broadcast, "news", news)


@fault("FED-007", area="feed")
def every_tenth_event_lost() -> None:
    """One event of ten is lost."""
    from ecompute_server.broadcast import Broadcast

    count = 0

    def publish(old: Any, self: Any, before: Any, after: Any) -> None:
        nonlocal count
        count += 1
        if count % 10:
            old(self, before, after)

    wrap(Broadcast, "publish", publish)


@fault("FED-003", area="feed")
def events_out_of_order() -> None:
    """Two events that wait for their reader are told in the wrong order."""
    from ecompute_server.broadcast import Subscription

    def put(old: Any, self: Any, message: Any) -> None:
        held = getattr(self, "_held", None)
        if held is None and b"pending" in message.frames[0]:
            self._held = message
            return
        old(self, message)
        if held is not None:
            self._held = None
            old(self, held)

    wrap(Subscription, "put", put)


@fault("FED-007", area="feed")
def event_told_twice() -> None:
    """Every event is told twice."""
    from ecompute_server.broadcast import Subscription

    def put(old: Any, self: Any, message: Any) -> None:
        old(self, message)
        old(self, message)

    wrap(Subscription, "put", put)


@fault("FED-007", area="feed")
def deletion_not_told() -> None:
    """That a container was deleted is not told, though it usually is."""
    from ecompute_server import broadcast

    count = 0

    def news(old: Any, before: Any, after: Any) -> Any:
        nonlocal count
        told = old(before, after)
        if type(told).__name__ == "ContainerDeleted":
            count += 1
            return None if count > 1 else told
        return told

    wrap(broadcast, "news", news)


@fault("FED-003", area="feed")
def new_container_not_told() -> None:
    """A new container is told only when it runs."""
    from ecompute_server import broadcast

    def news(old: Any, before: Any, after: Any) -> Any:
        return None if before is None else old(before, after)

    wrap(broadcast, "news", news)


@fault("FED-001", area="feed")
def snapshot_without_names() -> None:
    """The first message has containers without names."""
    from ecompute.contract import codec

    def write(old: Any, message: Any) -> Any:
        made = old(message)
        if made["type"] == "containers":
            for item in made["data"]:
                item.pop("name")
        return made

    wrap(codec, "write_message", write)


@fault("FED-002", area="feed")
def snapshot_is_stale() -> None:
    """The first message is as old as the first one that was ever made for the user."""
    from ecompute_server import broadcast

    made: dict[str, Any] = {}
    old = broadcast.Broadcast.snapshot

    def snapshot(self: Any, user_id: str) -> Any:
        return made.setdefault(user_id, old(self, user_id))

    broadcast.Broadcast.snapshot = snapshot  # type: ignore[method-assign]


@fault("FED-012", area="feed")
def slow_reader_loses() -> None:
    """What does not fit a slow reader's queue is dropped, without a new snapshot."""
    from ecompute_server.broadcast import Subscription

    def put(old: Any, self: Any, message: Any) -> None:
        if len(self) < 4:
            old(self, message)

    wrap(Subscription, "put", put)


@fault("FED-020", area="feed")
def event_without_address() -> None:
    """`external_ip` is not told with a status."""
    from ecompute_server import broadcast

    def news(old: Any, before: Any, after: Any) -> Any:
        told = old(before, after)
        return attrs.evolve(told, external_ip=None) if hasattr(told, "external_ip") else told

    wrap(broadcast, "news", news)


@fault("FED-018", area="feed")
def feed_ends_at_a_message() -> None:
    """The feed ends when a client says something."""
    from ecompute_server.handlers import feed

    async def hear(old: Any, socket: Any) -> None:
        await socket.receive()
        from ecompute_server.http.sockets import CloseCode

        await socket.close(CloseCode.PROTOCOL_ERROR)

    wrap(feed, "_hear", hear)


@fault("TRM-009", area="terminal")
def byte_lost_at_32_kib() -> None:
    """Of output that fills a frame the last byte is lost."""
    from ecompute_server.handlers.terminal import Plain

    wrap(Plain, "write", lambda old, self, stream, data: [data[:-1] if len(data) >= 32 * 1024 else data])


@fault("TRM-010", area="terminal")
def byte_lost_now_and_then() -> None:
    """In much output one byte is lost."""
    from ecompute_server.handlers import terminal

    total = 0

    def write(old: Any, self: Any, stream: Any, data: bytes) -> list[bytes]:
        nonlocal total
        before, total = total, total + len(data)
        return [data[:-1] if before // 100_000 != total // 100_000 and len(data) > 1 else data]

    wrap(terminal.Plain, "write", write)


@fault("TRM-001", area="terminal")
def output_as_text() -> None:
    """Output comes in text frames."""
    from ecompute_server.handlers.terminal import Plain

    wrap(Plain, "write", lambda old, self, stream, data: [data.decode("utf-8", "replace")])


@fault("TRM-002", area="terminal")
def size_swapped() -> None:
    """Rows and columns are swapped."""
    from ecompute_server.handlers import terminal

    wrap(terminal, "Terminal", lambda old, rows, cols, kind: old(cols, rows, kind))


@fault("TRM-002", area="terminal")
def default_size_25() -> None:
    """A terminal has 25 rows unless told otherwise."""
    from ecompute.contract import requests as ask

    request_field(ask.OpenTerminal, "rows", default=25)


@fault("TRM-004", area="terminal")
def any_size() -> None:
    """1001 columns are taken."""
    from ecompute.contract import requests as ask

    request_field(ask.OpenTerminal, "cols", rule=None)


@fault("TRM-013", area="terminal")
def terminal_of_a_stopped_container() -> None:
    """The terminal of a stopped container is answered with 404."""
    from ecompute_server.core.refusal import not_found
    from ecompute_server.handlers import terminal

    def refusal(old: Any, code: Any, message: str, **more: Any) -> Any:
        return not_found("container") if "running" in message else old(code, message, **more)

    wrap(terminal, "Refusal", refusal)


@fault("TRM-020", area="terminal")
def resize_ignored() -> None:
    """A resize is taken and ignored."""
    from ecompute_server.guest.simulated.process import SimulatedProcess

    async def resize(old: Any, self: Any, rows: int, cols: int) -> None:
        return None

    wrap(SimulatedProcess, "resize", resize)


@fault("TRM-021", area="terminal")
def exit_status_zero() -> None:
    """The exit status is always 0."""
    from ecompute_server.handlers import relay

    wrap(relay, "Exit", lambda old, status: old(0))


@fault("TRM-006", area="terminal")
def text_input_dropped() -> None:
    """Text frames are not taken as input."""
    from ecompute_server.handlers.terminal import Plain

    wrap(Plain, "read", lambda old, self, message: b"" if isinstance(message, str) else old(self, message))


@fault("TRM-008", area="terminal")
def large_frames() -> None:
    """Output comes in frames of more than 32 KiB."""
    from ecompute_server.handlers.terminal import Plain

    held: list[bytes] = []

    def write(old: Any, self: Any, stream: Any, data: bytes) -> list[bytes]:
        if len(data) < 16 * 1024 and not held:
            return [data]
        held.append(data)
        if sum(map(len, held)) <= 64 * 1024 and len(data) >= 16 * 1024:
            return []
        whole = b"".join(held)
        held.clear()
        return [whole]

    wrap(Plain, "write", write)


@fault("TRM-012", area="terminal")
def close_code_1001() -> None:
    """A shell that ends closes the terminal with 1001."""
    from ecompute_server.handlers import relay
    from ecompute_server.http.sockets import CloseCode

    def farewell(old: Any, code: Any, reason: str = "") -> Any:
        return old(CloseCode.GOING_AWAY if code is CloseCode.NORMAL else code, reason)

    wrap(relay, "Farewell", farewell)


@fault("TRM-024", area="terminal")
def claims_every_subprotocol() -> None:
    """Whatever subprotocol is offered is taken."""
    from ecompute_server.http.sockets import Socket

    async def accept(old: Any, self: Any, subprotocol: str | None = None) -> None:
        offered = self._websocket.scope.get("subprotocols") or [None]
        await old(self, subprotocol or offered[0])

    wrap(Socket, "accept", accept)


@fault("EXE-001", area="commands")
def streams_mixed() -> None:
    """Errors come as output."""
    from ecompute_server.guest.interface import Stream
    from ecompute_server.handlers.exec import Streams

    wrap(Streams, "write", lambda old, self, stream, data: old(self, Stream.OUTPUT, data))


@fault("EXE-005", area="commands")
def end_of_input_ignored() -> None:
    """The end of input is not told to the command."""
    from ecompute_server.handlers.relay import _Input

    wrap(_Input, "end", lambda old, self: None)


@fault("EXE-009", area="commands")
def input_byte_lost() -> None:
    """Input of more than 32 KiB loses a byte."""
    from ecompute_server.handlers.exec import Streams

    def read(old: Any, self: Any, message: Any) -> Any:
        meaning = old(self, message)
        return meaning[:-1] if isinstance(meaning, bytes) and len(meaning) > 32 * 1024 else meaning

    wrap(Streams, "read", read)


@fault("EXE-004", area="commands")
def input_newlines_changed() -> None:
    """CR LF in input becomes LF."""
    from ecompute_server.handlers.exec import Streams

    def read(old: Any, self: Any, message: Any) -> Any:
        meaning = old(self, message)
        return meaning.replace(b"\r\n", b"\n") if isinstance(meaning, bytes) else meaning

    wrap(Streams, "read", read)


@fault("EXE-002", area="commands")
def exit_status_signed() -> None:
    """Exit statuses above 127 are told as negative."""
    from ecompute_server.handlers import relay

    wrap(relay, "Exit", lambda old, status: old(status - 256 if status > 127 else status))


@fault("EXE-011", area="commands")
def binary_command_hangs_up() -> None:
    """A binary first frame ends the connection without a close frame's code."""
    from ecompute_server.handlers import exec

    async def first(old: Any, socket: Any) -> Any:
        from ecompute_server.handlers.relay import Misspoken
        from ecompute_server.http.sockets import CloseCode

        try:
            return await old(socket)
        except Misspoken:
            raise Misspoken(CloseCode.NORMAL, "") from None

    wrap(exec, "_first", first)


@fault("WSK-004", area="websockets")
def any_origin() -> None:
    """A page of any origin may open WebSockets."""
    from ecompute_server.http.cors import Origins

    wrap(Origins, "may_open", lambda old, self, origin, host: True)


@fault("WSK-018", area="websockets")
def pings_unanswered() -> None:
    """Pings are not answered."""
    from ecompute_server.http.protocols import WebSocketProtocol

    wrap(WebSocketProtocol, "handle_ping", lambda old, self, event: None)


@fault("WSK-018", area="websockets")
def pongs_empty() -> None:
    """A pong has nothing of its ping."""
    from wsproto import events

    from ecompute_server.http.protocols import WebSocketProtocol

    wrap(WebSocketProtocol, "handle_ping", lambda old, self, event: old(self, events.Ping(payload=b"")))


@fault("WSK-019", area="websockets")
def refused_after_the_upgrade() -> None:
    """A feed without the scope is opened and then closed, instead of being refused with 403."""
    from ecompute_server.core.refusal import Refusal
    from ecompute_server.http import app

    old = app.authorise

    def authorise(services: Any, row: Any, connection: Any) -> Any:
        try:
            return old(services, row, connection)
        except Refusal as error:
            if row.name != "events" or error.needed is None:
                raise
            return old(services, attrs.evolve(row, scope=None), connection)

    app.authorise = authorise


@fault("WSK-006", area="websockets")
def unmasked_frames_taken() -> None:
    """Frames of a client that are not masked are taken."""
    from wsproto import frame_protocol

    def parse(old: Any, self: Any) -> Any:
        # as if the frame came from a server
        client, self.client = self.client, True
        try:
            return old(self)
        finally:
            self.client = client

    wrap(frame_protocol.FrameDecoder, "parse_header", parse)


@fault("HTP-018", area="http")
def too_large_is_400() -> None:
    """A body over 64 KiB is answered with 400."""
    from ecompute.contract.problems import Code
    from ecompute_server.core.refusal import Refusal
    from ecompute_server.http import reading

    wrap(reading, "_too_large", lambda old: Refusal(Code.INVALID_REQUEST, "The body is too large."))


@fault("HTP-018", area="http")
def body_limit_off_by_one() -> None:
    """A body of 64 KiB exactly is refused."""
    from ecompute_server.http import reading

    reading.MAX_BODY_BYTES = 64 * 1024 - 1  # type: ignore[attr-defined]


@fault("HTP-004", area="http")
def header_without_end() -> None:
    """Headers of any size are read."""
    from ecompute_server.http import app, serving

    serving._MAX_HEADER_BYTES = 64 * 1024 * 1024
    app.MAX_HEADER_BYTES = 64 * 1024 * 1024


@fault("HTP-017", area="http")
def two_credentials_taken() -> None:
    """Of two Authorization headers the last one counts."""
    from ecompute_server.http import gate

    def bearer(old: Any, connection: Any, *, query_allowed: bool) -> Any:
        given = connection.headers.getlist("authorization")
        if len(given) > 1:
            return given[-1].partition(" ")[2]
        return old(connection, query_allowed=query_allowed)

    wrap(gate, "bearer", bearer)


@fault("HTP-019", area="http")
def slash_redirected() -> None:
    """A trailing slash is redirected."""
    from ecompute_server.http import app

    wrap(app, "Router", lambda old, **more: old(**{**more, "redirect_slashes": True}))
