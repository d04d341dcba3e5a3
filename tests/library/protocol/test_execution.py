"""A command's state: frames out, streams in, and what counts as its end."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecompute.contract.codec import read_execute
from ecompute.contract.messages import Execute, Stream
from ecompute.errors import CommandResult, ConnectError, Unsupported
from ecompute.protocol.execution import Execution
from ecompute.protocol.websocket import MAX_FRAME

EXIT = '{"type":"exit","status":0}'


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=20)), max_size=6), st.integers(1, 5))
def test_streams_may_come_in_any_pieces(messages: list[tuple[int, bytes]], size: int) -> None:
    """The first byte of a message says the stream, wherever the network cuts it; empty pieces say nothing."""
    state = Execution("x", None)
    for stream, data in messages:
        message = bytes([stream]) + data
        pieces = [message[start : start + size] for start in range(0, len(message), size)]
        for index, piece in enumerate([b"", *pieces]):
            state.on_bytes(piece, index == 0)
    state.on_bytes(b"", True)
    state.on_text(EXIT)
    output, error = (b"".join(data for of, data in messages if of == stream) for stream in (1, 2))
    assert state.result() == CommandResult(0, output, error)


@given(st.binary(max_size=3 * MAX_FRAME))
def test_what_is_sent(data: bytes) -> None:
    """The command, the input in frames of bounded size, its end."""
    first, *frames, last = Execution("echo 'ü'", data).messages()
    assert isinstance(first, str)
    assert read_execute(first) == Execute("echo 'ü'", pty=False)
    assert last == '{"type":"eof"}'
    assert all(isinstance(f, bytes) and f[0] == Stream.INPUT and 1 < len(f) <= MAX_FRAME for f in frames)
    assert b"".join(bytes(f[1:]) for f in frames if isinstance(f, bytes)) == data


def test_the_exit_is_the_end() -> None:
    """What comes after it changes nothing, an error of the connection included."""
    state = Execution("x", None)
    state.on_bytes(b"\x01before", True)
    assert not state.ended
    state.on_text(json.dumps({"type": "exit", "status": 137}))
    assert state.ended
    state.on_bytes(b"\x01after", True)
    state.on_text(EXIT)
    state.lost(ConnectError("x"))
    assert state.result() == CommandResult(137, b"before", b"")


@pytest.mark.parametrize("chosen", [None, "ecompute.terminal.v1"])
def test_another_protocol_will_not_do(chosen: str | None) -> None:
    """A server that did not choose this one would take the command for typing."""
    Execution("x", None).opened("ecompute.exec.v1")
    with pytest.raises(Unsupported):
        Execution("x", None).opened(chosen)
