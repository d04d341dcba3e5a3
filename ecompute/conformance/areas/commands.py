"""Commands by `ecompute.exec.v1`: streams apart, input, signals and statuses."""

from __future__ import annotations

from hypothesis import strategies as st

from ecompute.conformance.check import Need, check
from ecompute.conformance.frames import BINARY, frame
from ecompute.conformance.lab import Lab
from ecompute.conformance.requirement import Area, ours
from ecompute.conformance.sockets import Closed
from ecompute.conformance.terminals import EOF, INPUT, Command, path_of
from ecompute.contract import catalog

NOTES = "contract notes: WebSockets"
FRAME = catalog.MAX_TERMINAL_FRAME_BYTES
NEEDS = (Need.COMMANDS,)

AREA = Area(
    "commands",
    "EXE",
    "Commands",
    (
        ours(1, "Output and errors come in binary frames that begin with 1 and 2.", NOTES),
        ours(2, "The exit status is that of the command, from 0 to 255.", NOTES),
        ours(3, "The exit is told once, in a text behind all output, and the close code is 1000.", NOTES),
        ours(4, "Input passes unchanged, whatever its bytes and however it is cut.", NOTES),
        ours(5, "eof ends the command's input.", NOTES),
        ours(6, "A signal reaches the command, which ends with 128 and its number.", NOTES),
        ours(7, "With pty there is a terminal of the size asked for, and one stream.", NOTES),
        ours(8, "Without pty there is no terminal.", NOTES),
        ours(9, "Much input and output is complete, also around the size of a frame.", NOTES),
        ours(10, "A frame has at most 32 KiB, with the byte of its stream.", NOTES),
        ours(11, "A first message that is no command ends it, with nothing done.", NOTES),
        ours(12, "Messages of unknown types change nothing.", NOTES),
        ours(13, "A text behind the command that is no control message ends it.", NOTES),
        ours(14, "A binary frame of another stream than 0 ends it.", NOTES),
        ours(15, "The command is a line for a shell, of any characters.", NOTES),
        ours(16, "Commands at the same time have nothing of each other's.", NOTES),
        ours(17, "Input that a command does not read is not taken without bound.", NOTES),
        ours(18, "A resize reaches the terminal of a command.", NOTES),
        ours(19, "A command that is lost with its container ends with 1011.", NOTES),
        ours(20, "A command whose credential is revoked ends with 1008.", NOTES),
    ),
)


def _run(lab: Lab, command: str, *pieces: bytes, query: str = "", pty: bool = False) -> Command:
    more = {"pty": True} if pty else {}
    return Command.run(lab, lab.running(), command, *pieces, query=query, **more)


def _ended(lab: Lab, done: Command, status: int) -> None:
    """The end of a command as it should be."""
    seen = f"{done.texts} and {done.closed}; {bytes(done.error)!r}"
    lab.holds("EXE-002", done.statuses == [status], f"the exit status {status}", seen)
    lab.holds("EXE-003", len(done.texts) == 1 and not done.binary_after_text, "one text, at the end", seen)
    lab.holds("EXE-003", done.closed == Closed(1000), "the code 1000", seen)
    lab.holds("EXE-001", not done.stray, "binary frames of the streams 1 and 2", done.stray[:3])


@check("EXE-001", "EXE-002", "EXE-003", "EXE-015", needs=NEEDS)
def streams(lab: Lab) -> None:
    """Output and errors, by turns and as one."""
    done = _run(lab, "echo one; echo two >&2; echo three | cat; echo four >&2 && false || exit 7")
    _ended(lab, done, 7)
    lab.holds("EXE-001", done.output == b"one\nthree\n", "one and three", bytes(done.output))
    lab.holds("EXE-001", done.error == b"two\nfour\n", "two and four", bytes(done.error))
    words = "ä 漢 🦆 \u200f \\ ; $HOME " + "x" * 30_000
    done = _run(lab, f"echo '{words}'")
    lab.holds("EXE-015", done.output == words.encode() + b"\n", "the words as they are", bytes(done.output))
    done = _run(lab, "echo a\necho b")
    lab.holds("EXE-015", done.output == b"a\nb\n", "two lines", bytes(done.output))


@check("EXE-001", "EXE-002", "EXE-003", needs=NEEDS)
def statuses(lab: Lab) -> None:
    """Commands that end in all ways."""
    some = {0, 1, 2, 126, 127, 128, 129, 254, 255, *lab.random.sample(range(256), lab.pick(3, 60))}
    for status in sorted(some):
        _ended(lab, _run(lab, f"exit {status}"), status)
    for command, status in (("true", 0), ("false", 1), ("no-such-command-there", 127)):
        _ended(lab, _run(lab, command), status)


@check("EXE-001", "EXE-002", "EXE-003", "EXE-004", "EXE-005", needs=NEEDS)
def binary_input(lab: Lab) -> None:
    """Every byte, in pieces of which some are empty, and line ends of all kinds."""
    every = bytes(range(256))
    pieces = (every, b"", b"\r\n", b"\n\r", b"\x04\x03\x1a", every[::-1], b"\0", b"\xff" * 3)
    done = _run(lab, "cat; exit 3", *pieces)
    lab.holds("EXE-005", done.statuses, "an exit behind eof", done.closed)
    lab.holds("EXE-004", done.output == b"".join(pieces), "the input", bytes(done.output))
    _ended(lab, done, 3)
    done = _run(lab, "cat; echo over")
    lab.holds("EXE-005", done.output == b"over\n", "over, without any input", bytes(done.output))
    # `read` takes byte by byte from a pipe; `head` may take more than it gives
    waiting = Command.start(lab, lab.running(), 'read -r line; echo "$line"; cat')
    waiting.say(INPUT + b"abc\nd")
    lab.holds("EXE-004", waiting.until(b"abc\nd"), "abc and d, before eof", bytes(waiting.output))
    lab.holds("EXE-005", not waiting.texts, "no exit before eof", waiting.texts)
    waiting.say(EOF)
    waiting.end()
    lab.holds("EXE-005", waiting.statuses == [0], "an exit behind eof", waiting.texts)


@check("EXE-004", "EXE-009", "EXE-010", needs=NEEDS)
def sizes(lab: Lab) -> None:
    """An echo of random bytes around the size of a frame."""
    for size in (1, FRAME - 2, FRAME - 1, FRAME, FRAME + 1, 2 * FRAME - 1, 3 * FRAME, 100_000):
        data = lab.random.randbytes(size)
        _echo(lab, [data])
    lab.examples(
        st.lists(st.integers(0, 3 * FRAME), min_size=1, max_size=4),
        lambda counts: _echo(lab, [lab.random.randbytes(count) for count in counts]),
        quick=2,
        standard=40,
    )


def _echo(lab: Lab, pieces: list[bytes]) -> None:
    done = _run(lab, "cat", *pieces)
    sent, found = b"".join(pieces), bytes(done.output)
    lengths = [len(piece) for piece in pieces]
    seen = f"{len(found)} bytes, {done.closed}"
    lab.holds("EXE-009", len(found) == len(sent), f"{len(sent)} bytes, as sent in {lengths}", seen)
    at = next((at for at, both in enumerate(zip(sent, found, strict=True)) if both[0] != both[1]), None)
    lab.holds("EXE-004", at is None, f"the bytes that were sent in {lengths}", f"another byte at {at}")
    largest = max(done.socket.frame_sizes, default=0)
    lab.holds("EXE-010", largest <= FRAME, f"frames of at most {FRAME} bytes", largest)


@check("EXE-009", "EXE-010", needs=NEEDS)
def much(lab: Lab) -> None:
    """Megabytes out, apart, and in."""
    count = lab.pick(300_000, 8_000_000)
    done = _run(lab, f"head -c {count} /dev/zero; head -c {count + 1} /dev/zero >&2")
    for stream, wanted in ((done.output, count), (done.error, count + 1)):
        lab.holds("EXE-009", stream == bytes(wanted), f"{wanted} zeros", f"{len(stream)}, {done.closed}")
    largest = max(done.socket.frame_sizes)
    lab.holds("EXE-010", largest <= FRAME, f"frames of at most {FRAME} bytes", largest)
    data = lab.random.randbytes(FRAME + 1) * (count // FRAME)
    done = _run(lab, "cat", *(data[at : at + 2 * FRAME] for at in range(0, len(data), 2 * FRAME)))
    seen = f"{len(done.output)} bytes, {done.closed}"
    lab.holds("EXE-009", done.output == data, f"the {len(data)} bytes that were sent", seen)


@check("EXE-006", needs=NEEDS)
def signals(lab: Lab) -> None:
    """Signals to a command that waits, also behind input that it does not read."""
    for name, number, pieces in (("TERM", 15, 0), ("KILL", 9, 0), ("INT", 2, 0), ("TERM", 15, 8)):
        started = Command.start(lab, lab.running(), "echo here; sleep 1000")
        started.until(b"here")
        for _ in range(pieces):
            started.say(INPUT + bytes(FRAME - 1))
        started.control(type="signal", name=name)
        started.end()
        seen = f"{started.texts}, {started.closed}"
        lab.holds("EXE-006", started.statuses == [128 + number], f"the status {128 + number}", seen)


@check("EXE-007", "EXE-008", "EXE-018", needs=NEEDS)
def terminals(lab: Lab) -> None:
    """The same command with a terminal and without, and with one that changes its size."""
    rows, cols = lab.random.randrange(2, 1000), lab.random.randrange(2, 1000)
    for query, size in ((f"?rows={rows}&cols={cols}", f"{rows} {cols}"), ("", "24 80")):
        done = Command.start(lab, lab.running(), "stty size; echo e >&2; exit 4", query, pty=True)
        done.end()
        lab.holds("EXE-007", done.output == f"{size}\r\ne\r\n".encode(), f"{size}, e", bytes(done.output))
        lab.holds("EXE-007", not done.error, "one stream", bytes(done.error))
        lab.holds("EXE-007", done.statuses == [4], "the status 4", done.texts)
    for more in ({}, {"pty": False}):
        plain = Command.run(lab, lab.running(), "stty size; echo $?; echo e >&2", **more)
        output = bytes(plain.output)
        right = b"\r" not in output and output.strip() not in (b"0", b"") and b"e\n" in plain.error
        lab.holds("EXE-008", right and output.count(b"\n") == 1, "a failure of stty, and two streams", output)
    done = Command.start(lab, lab.running(), "echo here; head -n 1; stty size", pty=True)
    done.until(b"here")
    done.control(type="resize", rows=cols, cols=rows)
    done.say(INPUT + b"\n")
    done.end()
    seen = bytes(done.output)
    lab.holds("EXE-018", seen.endswith(f"{cols} {rows}\r\n".encode()), f"{cols} {rows}", seen)


@check("EXE-011", needs=NEEDS)
def first_messages(lab: Lab) -> None:
    """First messages that are no command, and one that could be one but for its type."""
    make = '"command": "echo done > /root/conformance-first"'
    wrong: tuple[str | bytes, ...] = (
        "", "ls", "[]", "{}", '"ls"', EOF, '{"command": 1}', '{"command": null}', '{"command": ["ls"]}',
        f'{{{make}, "pty": 1}}', f'{{{make}, "pty": "true"}}', f'{{{make}', '{"command": "a\\u0000b"}',
        INPUT + b"early", f"{{{make}}}".encode(),
    )  # fmt: skip
    for message in wrong:
        socket = lab.opened(path_of(lab.running()), subprotocols=(catalog.EXEC_PROTOCOL,))
        started = Command(lab, socket)
        started.say(message)
        code = started.end()
        lab.holds("EXE-011", code in (1002, 1007), f"1002 or 1007 for {message!r}", started.closed)
        lab.holds("EXE-011", not started.texts, "no exit", started.texts)
    done = _run(lab, "cat /root/conformance-first")
    lab.holds("EXE-011", not done.output, "nothing done", bytes(done.output))


@check("EXE-012", "EXE-013", "EXE-014", needs=NEEDS)
def later_messages(lab: Lab) -> None:
    """Behind the command: messages from the future, of no form, and of other streams."""
    started = Command.start(lab, lab.running(), "cat", newer=True)
    for kind in ("newer", "exit", "resize"):
        started.control(type=kind, status=1, rows=1, cols=1)
    started.say(INPUT + b"still here")
    started.say(EOF)
    started.end()
    seen = f"{bytes(started.output)!r}, {started.closed}"
    lab.holds("EXE-012", started.output == b"still here", "the input given back", seen)
    for text in ("", "x", "[]", "{}", '{"type":1}', '{"type":"signal","name":9}', '{"type":"resize"}'):
        started = Command.start(lab, lab.running(), "cat")
        started.say(text)
        lab.holds("EXE-013", started.end() in (1002, 1007), f"1007 for {text!r}", started.closed)
    for data in (b"", b"\1out", b"\2error", b"\3", b"x"):
        started = Command.start(lab, lab.running(), "cat")
        started.say(data)
        lab.holds("EXE-014", started.end() in (1002, 1007), f"1007 for {data!r}", started.closed)
        lab.holds("EXE-014", not started.output, "none of it as input", bytes(started.output))


@check("EXE-016", needs=NEEDS)
def side_by_side(lab: Lab) -> None:
    """Several commands at once, which end in another order than they began."""
    started = [Command.start(lab, lab.running(), f"cat; echo {number}; exit {number}") for number in range(4)]
    for number, each in enumerate(started):
        each.say(INPUT + b"%d\n" % number * 1000)
    for number in (2, 0, 3, 1):
        started[number].say(EOF)
        started[number].end()
        wanted = b"%d\n" % number * 1001
        lab.holds("EXE-016", started[number].output == wanted, "its own", bytes(started[number].output[:200]))
        lab.holds("EXE-016", started[number].statuses == [number], f"exit {number}", started[number].texts)


@check("EXE-017", "EXE-009", standard=True, needs=NEEDS)
def unread_input(lab: Lab) -> None:
    """Input without end for a command that does not read, and an echo that is read late."""
    message = frame(BINARY, INPUT + bytes(FRAME - 1))
    started = Command.start(lab, lab.running(), "sleep 1000")
    most = 1500
    sent = started.socket.push(message * most, 0.5)
    lab.holds("EXE-017", sent < len(message) * most, "input that has to wait", f"{sent} bytes were taken")
    started = Command.start(lab, lab.running(), "cat")
    started.socket.narrow()
    stream = message * 700
    sent = started.socket.push(stream, 0.5)
    sender = started.pour_raw([stream[sent:], frame(1, EOF.encode())])
    started.end()
    sender.join(lab.target.timeout)
    found = len(started.output)
    lab.holds("EXE-009", found == 700 * (FRAME - 1), f"{700 * (FRAME - 1)} bytes", f"{found}")


@check("EXE-019", needs=NEEDS)
def lost(lab: Lab) -> None:
    """A container is deleted under a command."""
    lab.make_room(1)
    id_ = lab.new_container()
    lab.wait(id_, "running")
    started = Command.start(lab, id_, "echo here; sleep 1000")
    started.until(b"here")
    lab.delete(f"/compute/containers/{id_}")
    lab.holds("EXE-019", started.end() == 1011, "the code 1011", started.closed)
    lab.holds("EXE-019", not started.texts, "no exit status", started.texts)


@check("EXE-020", needs=(Need.COMMANDS, Need.SESSION))
def revoked(lab: Lab) -> None:
    """The token of a command under way is revoked."""
    token = lab.token({"compute.<uid>.containers": ["update"]})
    path = lab.things.all("token")[-1].path
    socket = lab.opened(path_of(lab.running()), token, subprotocols=(catalog.EXEC_PROTOCOL,))
    started = Command(lab, socket)
    started.control(command="echo here; sleep 1000")
    started.until(b"here")
    lab.delete(path)
    lab.holds("EXE-020", started.end() == 1008, "the code 1008", started.closed)
