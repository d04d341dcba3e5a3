"""One WebSocket without a network: heartbeats, bounds, ends, on a clock that only the test turns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage

from ecompute.errors import ConnectError, Error, InvalidAnswer
from ecompute.protocol.websocket import MAX_FRAME, QUIET, SILENCE, WebSocket, check_upgrade, upgrade_headers


class Notebook:
    """A sink that writes everything down."""

    def __init__(self) -> None:
        self.full = False
        self.data = b""
        self.messages: list[bytes] = []
        self.texts: list[str] = []
        self.ends: list[Error | None] = []

    def on_bytes(self, data: bytes, starts: bool) -> None:
        self.data += data
        if starts:
            self.messages.append(b"")
        self.messages[-1] += data

    def on_text(self, text: str) -> None:
        self.texts.append(text)

    def lost(self, error: Error | None) -> None:
        self.ends.append(error)


class Pair:
    """A WebSocket and a peer that can read it."""

    def __init__(self, **options: int) -> None:
        self.sink = Notebook()
        self.websocket = WebSocket(self.sink, 0.0, **options)
        self.peer = Connection(ConnectionType.SERVER)

    def tell(self, *events: Event, now: float = 0.0) -> None:
        self.websocket.receive(b"".join(self.peer.send(event) for event in events), now)

    def heard(self, now: float = 0.0) -> list[Event]:
        self.peer.receive_data(self.websocket.take(10**9, now))
        return list(self.peer.events())


def test_pings_are_answered() -> None:
    """With their own payload."""
    pair = Pair()
    pair.tell(Ping(b"x"), Ping(b"y"))
    assert pair.heard() == [Pong(b"x"), Pong(b"y")]


def test_a_quiet_connection_is_kept_alive() -> None:
    """After thirty seconds without a word of ours a ping goes out, and one per thirty seconds."""
    pair = Pair()
    pair.websocket.tick(QUIET - 1)
    assert pair.heard(now=0.0) == []
    assert pair.websocket.due == QUIET
    pair.websocket.tick(QUIET)
    assert pair.heard(now=QUIET) == [Ping()]
    pair.websocket.tick(QUIET + 1)
    assert pair.websocket.outgoing == 0
    assert pair.websocket.due == 2 * QUIET


def test_a_silent_peer_is_given_up() -> None:
    """One that does not even answer pings is gone, and the error says it was silent."""
    pair = Pair()
    pair.tell(Pong(), now=10.0)
    pair.websocket.tick(10.0 + SILENCE - 0.1)
    assert pair.sink.ends == []
    pair.websocket.tick(10.0 + SILENCE)
    (error,) = pair.sink.ends
    assert isinstance(error, ConnectError)
    assert error.timed_out


def test_who_does_not_listen_does_not_complain() -> None:
    """A full sink stops reading; its peer is not held to be silent, and still hears from us."""
    pair = Pair()
    pair.sink.full = True
    for now in range(0, 600, 5):
        pair.websocket.tick(float(now))
    assert pair.sink.ends == []
    assert len(pair.heard()) > 10


@given(st.binary(max_size=200_000))
def test_long_data_goes_in_small_frames(data: bytes) -> None:
    """No frame above the limit, nothing lost."""
    pair = Pair()
    pair.websocket.send_bytes(data)
    events = pair.heard()
    assert b"".join(bytes(e.data) for e in events if isinstance(e, BytesMessage)) == data
    assert all(isinstance(e, BytesMessage) and len(e.data) <= MAX_FRAME for e in events)


@given(st.binary(max_size=2000), st.text(max_size=500), st.integers(1, 700))
def test_bytes_may_come_in_any_pieces(data: bytes, text: str, size: int) -> None:
    """Frames do not care how the network cuts them; texts come whole."""
    pair = Pair()
    wire = pair.peer.send(BytesMessage(data)) + pair.peer.send(TextMessage(text))
    for start in range(0, len(wire), size):
        pair.websocket.receive(wire[start : start + size], 0.0)
    assert (pair.sink.data, pair.sink.texts) == (data, [text])


@given(st.lists(st.tuples(st.binary(max_size=200), st.binary(max_size=200)), max_size=5), st.integers(1, 50))
def test_binary_messages_keep_their_bounds(messages: list[tuple[bytes, bytes]], size: int) -> None:
    """Where a message starts is told, however the network or the peer cuts it."""
    pair = Pair()
    wire = b""
    for first, second in messages:
        wire += pair.peer.send(BytesMessage(first, message_finished=False))
        wire += pair.peer.send(BytesMessage(second)) + pair.peer.send(BytesMessage(first + second))
    for start in range(0, len(wire), size):
        pair.websocket.receive(wire[start : start + size], 0.0)
    assert pair.sink.messages == [first + second for first, second in messages for _ in range(2)]


@given(st.binary(min_size=1, max_size=300))
def test_no_bytes_break_it(data: bytes) -> None:
    """Whatever comes ends in an exception of ours, or in nothing yet."""
    pair = Pair()
    pair.websocket.receive(data, 0.0)
    pair.websocket.receive(b"", 0.0)
    assert len(pair.sink.ends) == 1


def test_texts_are_bounded() -> None:
    """A message beyond the limit ends the connection with 1009."""
    pair = Pair(max_message=10)
    pair.tell(TextMessage("1234567890"), TextMessage("12345678901"))
    assert pair.sink.texts == ["1234567890"]
    assert isinstance(pair.sink.ends[0], InvalidAnswer)
    assert [e.code for e in pair.heard() if isinstance(e, CloseConnection)] == [1009]


@pytest.mark.parametrize("code", [1000, None])
def test_an_agreed_end(code: int | None) -> None:
    """The peer's ordinary close is answered and is no error."""
    pair = Pair()
    pair.tell(CloseConnection(code if code is not None else 1005))
    assert pair.sink.ends == [None]
    assert isinstance(pair.heard()[0], CloseConnection)


def test_our_end() -> None:
    """After our close nothing more is heard or sent, and the peer's agreement ends it."""
    pair = Pair()
    pair.websocket.send_bytes(b"last")
    pair.websocket.close()
    pair.websocket.send_bytes(b"too late")
    pair.tell(BytesMessage(b"unheard"))
    last, goodbye = pair.heard()
    assert isinstance(last, BytesMessage)
    assert isinstance(goodbye, CloseConnection)
    pair.tell(goodbye.response())
    assert (pair.sink.data, pair.sink.ends) == (b"", [None])


def test_the_end_of_the_network() -> None:
    """Without a goodbye it is an error, after ours it is agreed."""
    pair, leaving = Pair(), Pair()
    pair.websocket.receive(b"", 0.0)
    leaving.websocket.close()
    leaving.websocket.receive(b"", 0.0)
    assert isinstance(pair.sink.ends[0], ConnectError)
    assert pair.sink.ends[0].close_code == 1006
    assert leaving.sink.ends == [None]


KEY = b"0123456789abcdef"


def agreed(**changes: str) -> dict[str, str]:
    # the example's form of RFC 6455, 1.3, for this key
    headers = {
        "upgrade": "WebSocket",
        "connection": "keep-alive, Upgrade",
        "sec-websocket-accept": "BACScCJPNqyz+UBoqMH89VmURoA=",
    }
    return {**headers, **{k.replace("_", "-"): v for k, v in changes.items()}}


def test_the_handshake() -> None:
    """What is asked for, and what counts as agreement."""
    assert upgrade_headers(b"the sample nonce", ["a", "b"]) == {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol": "a, b",
    }
    # key and answer of RFC 6455, 1.3
    sample = agreed(sec_websocket_accept="s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    assert check_upgrade(sample, b"the sample nonce") is None
    chosen = {**sample, "sec-websocket-protocol": "b"}
    assert check_upgrade(chosen, b"the sample nonce", ["a", "b"]) == "b"


@pytest.mark.parametrize(
    "changes",
    [
        {"upgrade": "h2c"},
        {"connection": "close"},
        {"sec_websocket_accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="},
        {"sec_websocket_protocol": "b"},
        {"sec_websocket_extensions": "permessage-deflate"},
    ],
)
def test_a_handshake_that_is_broken(changes: dict[str, str]) -> None:
    """Anything that was not asked for is refused."""
    assert check_upgrade(agreed(), KEY) is None
    with pytest.raises(InvalidAnswer):
        check_upgrade(agreed(**changes), KEY, ["a"])
