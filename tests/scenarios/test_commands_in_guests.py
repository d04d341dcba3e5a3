"""Commands and terminals by their subprotocols, the same in simulated and in real guests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest

import ecompute
from ecompute_server.testing import RunningServer
from examples.first_light import Person
from tests.server.http.wire import EXEC, TERMINAL, Closed, Wire

from .conftest import BOOT_SECONDS

KINDS = {"nano": "aarch64", "tiny": "x86_64"}


@pytest.fixture(scope="module")
def boxes(any_server: RunningServer, person: Person) -> Iterator[dict[str, ecompute.Container]]:
    """A running container of each architecture."""
    with any_server.client() as client:
        key = client.ssh_keys.add("ed25519", person.public_key("ed25519"))
        made = [client.containers.create(kind, [key.id], instance_type=kind, memory_mb=192) for kind in KINDS]
        yield {box.name: client.containers.wait(box.id, "running", timeout=BOOT_SECONDS) for box in made}
        for box in made:
            client.containers.delete(box.id)


@pytest.fixture(params=KINDS)
def box(request: pytest.FixtureRequest, boxes: dict[str, ecompute.Container]) -> ecompute.Container:
    return boxes[request.param]


def opened(server: RunningServer, box: ecompute.Container, offer: str, query: str = "") -> Wire:
    wire = Wire(server, f"/compute/containers/{box.id}/terminal{query}", offer=offer)
    wire.link.settimeout(BOOT_SECONDS)
    assert wire.subprotocol == offer
    return wire


def execute(
    server: RunningServer, box: ecompute.Container, command: str, query: str = "", **options: Any
) -> Wire:
    wire = opened(server, box, EXEC, query)
    wire.send({"command": command, **options})
    return wire


def ending(wire: Wire) -> tuple[bytes, bytes, int, int]:
    """Both streams, the exit status and the close code."""
    found = {1: bytearray(), 2: bytearray()}
    statuses = []
    while not isinstance(message := wire.receive(), Closed):
        if isinstance(message, bytes):
            assert len(message) <= 32 * 1024
            assert not statuses
            found[message[0]] += message[1:]
        elif isinstance(message, str):
            statuses.append(json.loads(message))
    (told,) = statuses
    assert told["type"] == "exit"
    return bytes(found[1]), bytes(found[2]), told["status"], message.code


def test_a_command_has_streams_and_a_status(any_server: RunningServer, box: ecompute.Container) -> None:
    """Output and errors apart, input until its end, and what it exits with."""
    with execute(any_server, box, "uname -m; cat; echo problem >&2; exit 7") as wire:
        wire.send(b"\0some ")
        wire.send(b"\0input\n")
        wire.send({"type": "eof"})
        machine = KINDS[box.name]
        assert ending(wire) == (f"{machine}\nsome input\n".encode(), b"problem\n", 7, 1000)


def test_every_byte_goes_there_and_back(any_server: RunningServer, box: ecompute.Container) -> None:
    """256 KiB, sent and received at the same time."""
    sent = bytes(range(256)) * 1024
    with execute(any_server, box, "cat") as wire:

        def send() -> None:
            for start in range(0, len(sent), 32 * 1000):
                wire.send(b"\0" + sent[start : start + 32 * 1000])
            wire.send({"type": "eof"})

        sender = Thread(target=send)
        sender.start()
        assert ending(wire) == (sent, b"", 0, 1000)
        sender.join()


def test_a_signal_overtakes_input(any_server: RunningServer, box: ecompute.Container) -> None:
    """A command that reads nothing is ended all the same; told as a shell tells it."""
    with execute(any_server, box, "echo begun; exec sleep 1000") as wire:
        assert wire.receive() == b"\x01begun\n"
        for _ in range(8):
            wire.send(b"\0" + bytes(32 * 1024 - 1))
        wire.send({"type": "signal", "name": "TERM"})
        assert ending(wire) == (b"", b"", 128 + 15, 1000)


def test_a_command_with_a_terminal(any_server: RunningServer, box: ecompute.Container) -> None:
    """Of the size that was asked for; all output is one stream."""
    with execute(any_server, box, "stty size; echo problem >&2", "?rows=7&cols=90", pty=True) as wire:
        assert ending(wire) == (b"7 90\r\nproblem\r\n", b"", 0, 1000)


def test_a_terminal_is_resized_and_tells_its_exit(any_server: RunningServer, box: ecompute.Container) -> None:
    """While its shell runs; the status is that of the shell."""
    with opened(any_server, box, TERMINAL, "?rows=10&cols=20") as wire:
        shown = b""

        def read_until(text: bytes) -> None:
            nonlocal shown
            while text not in shown:
                message = wire.receive()
                assert isinstance(message, bytes)
                shown += message

        wire.send(b"stty size\n")
        read_until(b"\n10 20\r\n")
        wire.send({"type": "resize", "rows": 33, "cols": 5000})
        wire.send({"type": "unheard of"})
        wire.send(b"stty size\n")
        read_until(b"\n33 1000\r\n")
        wire.send(b"exit 9\n")
        _, texts, closed = wire.until_closed()
    assert [json.loads(text) for text in texts] == [{"type": "exit", "status": 9}]
    assert closed == Closed(1000)


def test_a_stop_is_the_loss_of_what_runs(
    any_server: RunningServer, boxes: dict[str, ecompute.Container]
) -> None:
    """1011 for commands and terminals; last, as it ends the containers."""
    wires = [execute(any_server, one, "echo begun; sleep 1000") for one in boxes.values()]
    wires += [opened(any_server, one, TERMINAL) for one in boxes.values()]
    for wire in wires:
        assert isinstance(wire.receive(), bytes)
    with any_server.client() as client:
        for one in boxes.values():
            client.containers.stop(one.id)
    for wire in wires:
        with wire:
            _, texts, closed = wire.until_closed()
            assert texts == []
            assert closed is not None
            assert closed.code == 1011
