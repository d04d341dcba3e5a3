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
    state = Execution("x")
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
    state = Execution("echo 'ü'")
    assert read_execute(state.beginning()) == Execute("echo 'ü'", pty=False)
    frames = list(state.frames(memoryview(data)))
    assert all(frame[0] == Stream.INPUT and 1 < len(frame) <= MAX_FRAME for frame in frames)
    assert b"".join(frame[1:] for frame in frames) == data
    assert state.end_of_input() == '{"type":"eof"}'


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=20), st.booleans()), max_size=12))
def test_what_is_given_away(messages: list[tuple[int, bytes, bool]]) -> None:
    """In order, whenever it is taken, and not kept; the other stream is."""
    state = Execution("x", [Stream.OUTPUT])
    taken = []
    for stream, data, take in messages:
        state.on_bytes(bytes([stream]) + data, True)
        taken += state.take() if take else []
    assert state.takeable == any(data for _, data in taken_after(messages))
    taken += state.take()
    state.on_text(EXIT)
    assert all(stream is Stream.OUTPUT and data for stream, data in taken)
    output, error = (b"".join(data for of, data, _ in messages if of == stream) for stream in (1, 2))
    assert b"".join(data for _, data in taken) == output
    assert state.result() == CommandResult(0, b"", error)


def taken_after(messages: list[tuple[int, bytes, bool]]) -> list[tuple[int, bytes]]:
    """What came for the first stream behind the last taking."""
    last = max((number for number, (*_, take) in enumerate(messages) if take), default=-1)
    return [(stream, data) for stream, data, _ in messages[last + 1 :] if stream == Stream.OUTPUT]


def test_what_waits_is_bounded() -> None:
    """Many small pieces fill it before they cost much; taking makes room."""
    state = Execution("x", [Stream.OUTPUT, Stream.ERROR])
    count = 0
    while not state.full:
        state.on_bytes(bytes([1 + count % 2]) + b"x", True)
        count += 1
    assert count < 5000
    assert b"".join(data for _, data in state.take()) == b"x" * count
    assert not state.full


def test_the_exit_is_the_end() -> None:
    """What comes after it changes nothing, an error of the connection included."""
    state = Execution("x")
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
    Execution("x").opened("ecompute.exec.v1")
    with pytest.raises(Unsupported):
        Execution("x").opened(chosen)
