"""The terminal's WebSocket and its subprotocols, on the simulated host."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Iterator
from queue import Queue
from threading import Thread
from typing import Any

import pytest
from wsproto.events import CloseConnection

import ecompute
from ecompute_server.guest.simulated.process import SimulatedProcess
from ecompute_server.handlers import exec
from ecompute_server.testing import RunningServer, running_server
from tests.server.http.wire import EXEC, PATIENCE, TERMINAL, Closed, Wire, frame

OUT, ERR = b"\x01", b"\x02"
EVERY_BYTE = bytes(range(256))
INPUT = 32 * 1024 - 1
"""Bytes of input in one of our frames."""


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """One server for all tests here, with a user who may have many containers."""
    with running_server(max_containers_per_user=100) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[ecompute.Client]:
    with server.client() as made:
        yield made


@pytest.fixture
def box(client: ecompute.Client, public_key: str) -> Iterator[ecompute.Container]:
    """A running container."""
    key = client.ssh_keys.add("k", public_key)
    made = client.containers.create("box", [key.id])
    yield client.containers.wait(made.id, "running", timeout=PATIENCE)
    client.ssh_keys.delete(key.id)
    if made.id in {one.id for one in client.containers.list()}:
        client.containers.delete(made.id)


def terminal(server: RunningServer, box: ecompute.Container, query: str = "", **options: Any) -> Wire:
    return Wire(server, f"/compute/containers/{box.id}/terminal{query}", **options)


def execute(
    server: RunningServer, box: ecompute.Container, command: str, query: str = "", **options: Any
) -> Wire:
    """A conversation of `ecompute.exec.v1` whose command has been sent."""
    wire = terminal(server, box, query, offer=EXEC)
    assert wire.subprotocol == EXEC
    wire.send({"command": command, **options})
    return wire


def streams(wire: Wire) -> tuple[bytes, bytes, int, Closed | None]:
    """Standard output, standard error, the exit status and the close of a command."""
    found = {OUT: bytearray(), ERR: bytearray()}
    status = -1
    while (message := wire.receive()) is not None:
        match message:
            case bytes():
                assert 1 < len(message) <= 32 * 1024
                found[message[:1]] += message[1:]
            case str():
                told = json.loads(message)
                assert told.keys() == {"type", "status"}
                assert told["type"] == "exit"
                assert status == -1
                status = told["status"]
            case Closed():
                return bytes(found[OUT]), bytes(found[ERR]), status, message
            case _:
                pass
    return bytes(found[OUT]), bytes(found[ERR]), status, None


@pytest.fixture
def hung_up(monkeypatch: pytest.MonkeyPatch) -> Queue[SimulatedProcess]:
    """The processes whose conversation has let go of them, when they have ended."""
    processes: Queue[SimulatedProcess] = Queue()
    close = SimulatedProcess.close

    async def close_and_tell(self: SimulatedProcess) -> None:
        await close(self)
        processes.put(self)

    monkeypatch.setattr(SimulatedProcess, "close", close_and_tell)
    return processes


# --- a shell


def test_without_a_subprotocol_every_frame_is_input(server: RunningServer, box: ecompute.Container) -> None:
    """Texts as well, whatever they look like; output is binary, and the end is a close."""
    with terminal(server, box) as wire:
        assert wire.subprotocol is None
        wire.send('echo {"type":"resize","rows":1,"cols":1}\n')
        wire.send(b"stty size; exit 3\n")
        shown, texts, closed = wire.until_closed()
    assert (texts, closed) == ([], Closed(1000))
    assert b"\n{type:resize,rows:1,cols:1}" in shown.replace(b"\r", b"") or b"type:resize" in shown
    assert b"24 80" in shown


def test_an_unknown_subprotocol_is_answered_without_one(
    server: RunningServer, box: ecompute.Container
) -> None:
    """The client sees that it was not understood."""
    with terminal(server, box, offer="ecompute.terminal.v9, chat") as wire:
        assert (wire.status, wire.subprotocol) == (101, None)
        wire.send("exit\n")
        assert wire.until_closed()[1:] == ([], Closed(1000))


def test_the_first_known_subprotocol_counts(server: RunningServer, box: ecompute.Container) -> None:
    """Clients offer them by preference."""
    for offer, chosen in ((f"x, {TERMINAL}, {EXEC}", TERMINAL), (f"{EXEC}, {TERMINAL}", EXEC)):
        with terminal(server, box, offer=offer) as wire:
            assert wire.subprotocol == chosen


def test_a_controlled_terminal_tells_how_its_shell_ended(
    server: RunningServer, box: ecompute.Container
) -> None:
    """After all output, before the close."""
    with terminal(server, box, offer=TERMINAL) as wire:
        wire.send(b"head -c 300000 /dev/zero; exit 42\n")
        shown, texts, closed = wire.until_closed()
    assert shown.count(0) == 300000
    assert [json.loads(text) for text in texts] == [{"type": "exit", "status": 42}]
    assert closed == Closed(1000)


def test_a_resize_is_seen_inside(server: RunningServer, box: ecompute.Container) -> None:
    """Sizes that no terminal has become the nearest."""
    for rows, cols, size in ((50, 132, b"50 132"), (0, -5, b"1 1"), (10**30, 1001, b"1000 1000")):
        with terminal(server, box, "?rows=10&cols=20", offer=TERMINAL) as wire:
            wire.send({"type": "resize", "rows": rows, "cols": cols})
            wire.send(b"stty size; exit\n")
            assert b"\n" + size + b"\r\n" in wire.until_closed()[0]


def test_control_messages_of_unknown_types_are_ignored(
    server: RunningServer, box: ecompute.Container
) -> None:
    """A newer client may know more; what belongs to commands is not for shells."""
    with terminal(server, box, offer=TERMINAL) as wire:
        for message in ({"type": "zoom", "x": 1}, {"type": "eof"}, {"type": "exit", "status": 1}):
            wire.send(message)
        wire.send({"type": "resize", "rows": 5, "cols": 6, "pixels": True})
        wire.send(b"stty size; exit\n")
        shown, _, closed = wire.until_closed()
    assert b"\n5 6\r\n" in shown
    assert closed == Closed(1000)


MALFORMED = ["", "no JSON", "[]", '"resize"', "{}", '{"type": 3}', '{"type": "resize", "rows": 5}',
    '{"type": "resize", "rows": 5.0, "cols": 5}', '{"type": "resize", "rows": true, "cols": 5}',
    '{"type": "resize", "rows": "5", "cols": 5}', '{"type": "resize", "type": "x"}', "[" * 10_000,
]  # fmt: skip


@pytest.mark.parametrize("text", MALFORMED, ids=lambda text: text[:40])
@pytest.mark.parametrize("offer", [TERMINAL, EXEC])
def test_malformed_control_messages_end_it(
    server: RunningServer, box: ecompute.Container, offer: str, text: str
) -> None:
    """1007 with a short reason, which does not repeat what was sent."""
    wire = execute(server, box, "cat") if offer == EXEC else terminal(server, box, offer=offer)
    with wire:
        wire.send(text)
        closed = wire.until_closed()[2]
        assert closed is not None
        assert closed.code == 1007
        assert closed.reason.startswith("No control message: ")


# --- a command


def test_a_command_carries_every_byte_both_ways(server: RunningServer, box: ecompute.Container) -> None:
    """Nothing is translated, and the streams stay apart."""
    with execute(server, box, "cat; echo problem >&2; exit 7") as wire:
        wire.send(b"\0" + EVERY_BYTE)
        wire.send(b"\0")
        wire.send(b"\0" + EVERY_BYTE[::-1])
        wire.send({"type": "eof"})
        assert streams(wire) == (EVERY_BYTE + EVERY_BYTE[::-1], b"problem\n", 7, Closed(1000))


@pytest.mark.parametrize(("command", "status"), [("true", 0), ("false", 1), ("exit 255", 255), ("nope", 127)])
def test_a_command_tells_its_status(
    server: RunningServer, box: ecompute.Container, command: str, status: int
) -> None:
    """As a shell would."""
    with execute(server, box, command) as wire:
        _, errors, found, closed = streams(wire)
    assert (found, closed) == (status, Closed(1000))
    assert bool(errors) == (status == 127)


def test_much_goes_through_and_nobody_keeps_it(server: RunningServer, box: ecompute.Container) -> None:
    """An echo whose client does not read is held up, and comes whole when it does."""
    with execute(server, box, "cat") as wire:
        begun, rest = fill(wire)
        assert begun * INPUT < 64 * 1024 * 1024
        more = max(256 - begun, 16)

        def send() -> None:
            wire.link.sendall(rest)
            for _ in range(more):
                wire.send(b"\0" + bytes(INPUT))
            wire.send({"type": "eof"})

        sender = Thread(target=send)
        sender.start()
        output, errors, status, closed = streams(wire)
        sender.join()
    assert len(output) == (begun + more) * INPUT
    assert (errors, status, closed) == (b"", 0, Closed(1000))


def test_a_signal_overtakes_input_that_is_not_taken(server: RunningServer, box: ecompute.Container) -> None:
    """The process need not read for it."""
    with execute(server, box, "sleep 1000") as wire:
        for _ in range(8):
            wire.send(b"\0" + bytes(32 * 1024 - 1))
        wire.send({"type": "signal", "name": "TERM"})
        assert streams(wire) == (b"", b"", 128 + 15, Closed(1000))


def test_a_command_may_have_a_terminal(server: RunningServer, box: ecompute.Container) -> None:
    """Of the size that the query asks for; all output is one stream, and a resize is heard."""
    with execute(server, box, "stty size; read x; stty size; echo e >&2", "?rows=7&cols=9", pty=True) as wire:
        assert wire.receive() == b"\x017 9\r\n"
        wire.send({"type": "resize", "rows": 70, "cols": 90})
        wire.send(b"\0\n")
        assert streams(wire) == (b"\r\n70 90\r\ne\r\n", b"", 0, Closed(1000))


def test_what_a_command_does_not_read_is_dropped(server: RunningServer, box: ecompute.Container) -> None:
    """Input for what has ended holds up nothing."""
    with execute(server, box, "true") as wire:
        for _ in range(20):
            wire.send(b"\0" + bytes(32 * 1024))
        assert streams(wire) == (b"", b"", 0, Closed(1000))


@pytest.mark.parametrize("text", ["", "ls", "{}", '{"type": "eof"}', '{"command": 1}', '{"command": null}',
    '{"command": "true", "pty": 1}', '{"command": "a\\u0000b"}', '{"command": "\\ud800"}'])  # fmt: skip
def test_a_first_frame_that_is_no_command_ends_it(
    server: RunningServer, box: ecompute.Container, text: str
) -> None:
    """1007, before anything was started."""
    with terminal(server, box, offer=EXEC) as wire:
        wire.send(text)
        closed = wire.until_closed()[2]
        assert closed is not None
        assert closed.code == 1007


def test_a_command_longer_than_the_kernel_takes_is_refused(
    server: RunningServer, box: ecompute.Container
) -> None:
    """One byte less is a command."""
    with execute(server, box, "#" * exec.COMMAND_BYTES) as wire:
        assert streams(wire)[2:] == (0, Closed(1000))
    with execute(server, box, "#" * (exec.COMMAND_BYTES + 1)) as wire:
        closed = wire.until_closed()[2]
        assert closed is not None
        assert closed.code == 1009


def test_input_before_the_command_ends_it(server: RunningServer, box: ecompute.Container) -> None:
    """1002: frames out of order."""
    with terminal(server, box, offer=EXEC) as wire:
        wire.send(b"\0early")
        assert wire.until_closed()[2] == Closed(1002, "The command comes first, as a text.")


def test_input_after_its_end_ends_it(server: RunningServer, box: ecompute.Container) -> None:
    """1002 as well; a second end is none."""
    with execute(server, box, "sleep 1000") as wire:
        wire.send({"type": "eof"})
        wire.send({"type": "eof"})
        wire.send(b"\0late")
        assert wire.until_closed()[2] == Closed(1002, "The input had ended.")


@pytest.mark.parametrize("data", [b"", b"\1out", b"\2err", b"x"])
def test_input_of_another_stream_ends_it(server: RunningServer, box: ecompute.Container, data: bytes) -> None:
    """1007; also a frame that names none."""
    with execute(server, box, "cat") as wire:
        wire.send(data)
        closed = wire.until_closed()[2]
        assert closed is not None
        assert closed.code == 1007


def test_who_sends_no_command_is_closed(
    server: RunningServer, box: ecompute.Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a time."""
    monkeypatch.setattr(exec, "EXECUTE_SECONDS", 0.1)
    with terminal(server, box, offer=EXEC) as wire:
        assert wire.until_closed()[2] == Closed(1002, "No command came.")


# --- how it ends from outside


@pytest.mark.parametrize("offer", ["", TERMINAL, EXEC])
def test_what_does_not_run_has_no_terminal(
    server: RunningServer, client: ecompute.Client, box: ecompute.Container, offer: str
) -> None:
    """409 before the upgrade, whatever is offered."""
    client.containers.stop(box.id)
    with terminal(server, box, offer=offer) as wire:
        assert wire.refusal is not None
        assert (wire.status, wire.refusal["code"]) == (409, "not_running")


@pytest.mark.parametrize("offer", ["", TERMINAL, EXEC])
@pytest.mark.parametrize("action", ["stop", "delete"])
def test_the_end_of_the_container_is_told(
    server: RunningServer, client: ecompute.Client, box: ecompute.Container, offer: str, action: str
) -> None:
    """1011: the guest is lost."""
    wire = execute(server, box, "echo; sleep 1000") if offer == EXEC else terminal(server, box, offer=offer)
    with wire:
        assert wire.receive()
        getattr(client.containers, action)(box.id)
        _, texts, closed = wire.until_closed()
        assert texts == []
        assert closed is not None
        assert closed.code == 1011


def test_a_guest_that_cannot_start_a_command_is_lost(
    server: RunningServer, client: ecompute.Client, box: ecompute.Container
) -> None:
    """1011, as the upgrade has been answered already."""
    with terminal(server, box, offer=EXEC) as wire, terminal(server, box) as other:
        client.containers.stop(box.id)
        assert other.until_closed()[2] is not None  # the stop is answered before the machine is off
        wire.send({"command": "true"})
        closed = wire.until_closed()[2]
        assert closed is not None
        assert closed.code == 1011
        assert closed.reason


@pytest.mark.parametrize("offer", ["", TERMINAL, EXEC])
@pytest.mark.parametrize("how", ["close", "end", "reset"])
def test_a_client_that_leaves_ends_the_process(
    server: RunningServer, box: ecompute.Container, hung_up: Queue[SimulatedProcess], offer: str, how: str
) -> None:
    """In order or not."""
    wire = execute(server, box, "echo; sleep 1000") if offer == EXEC else terminal(server, box, offer=offer)
    with wire:
        assert wire.receive()
        if how == "close":
            wire.control(CloseConnection(1000))
            assert wire.until_closed()[2] == Closed(1000)
        elif how == "end":
            wire.link.shutdown(socket.SHUT_WR)
        else:
            wire.leave()
        hung_up.get(timeout=PATIENCE)


@pytest.mark.parametrize("how", ["end", "reset"])
def test_a_client_that_leaves_behind_blocked_input_ends_the_process(
    server: RunningServer, box: ecompute.Container, hung_up: Queue[SimulatedProcess], how: str
) -> None:
    """Its leaving is noticed although nothing is read from it."""
    with execute(server, box, "echo; sleep 1000") as wire:
        assert wire.receive()
        fill(wire)
        assert hung_up.empty()
        if how == "end":
            wire.link.close()
        else:
            wire.leave()
        hung_up.get(timeout=PATIENCE)


@pytest.mark.parametrize("offer", ["", TERMINAL, EXEC])
def test_a_revoked_credential_ends_it(
    server: RunningServer,
    client: ecompute.Client,
    box: ecompute.Container,
    hung_up: Queue[SimulatedProcess],
    offer: str,
) -> None:
    """1008 at once, also while the client's input is blocked and its output is not read."""
    token = client.tokens.create("t", {f"compute.{server.user_id}": ["update"]}, expires_in="30d")
    assert token.token is not None
    with terminal(server, box, offer=offer, token=token.token) as wire:
        if offer == EXEC:
            wire.send({"command": "echo; cat /dev/zero"})
        else:
            wire.send(b"cat /dev/zero\n")
        assert wire.receive()
        fill(wire)
        assert hung_up.empty()
        client.tokens.delete(token.id)
        hung_up.get(timeout=PATIENCE)
        assert wire.until_closed()[2] == Closed(1008)


def fill(wire: Wire) -> tuple[int, bytes]:
    """Send input until nothing is taken any more; how many frames were begun, and what the last one lacks."""
    writable = select.poll()
    writable.register(wire.link, select.POLLOUT)
    wire.link.setblocking(False)
    frames, rest = 0, b""
    # what lies in the kernel's buffers moves on for a moment after they are full
    while writable.poll(300):
        if not rest:
            frames, rest = frames + 1, frame(2, b"\0" + bytes(INPUT))
        rest = rest[wire.link.send(rest) :]
    wire.link.settimeout(PATIENCE)
    return frames, rest
