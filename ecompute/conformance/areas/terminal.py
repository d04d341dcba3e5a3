"""The terminal: a shell on a pseudo-terminal in a running container."""

from __future__ import annotations

import json
import re

from ecompute.conformance.check import Need, check
from ecompute.conformance.lab import Lab
from ecompute.conformance.requirement import Area, must, ours
from ecompute.conformance.sockets import Closed
from ecompute.conformance.terminals import (
    Conversation,
    given_back,
    has_line,
    path_of,
    shell_of,
    smallest_side,
)
from ecompute.contract import catalog
from ecompute.contract.problems import Code

ROW = "GET /compute/containers/{id}/terminal"
NOTES = "contract notes: WebSockets"
V1 = catalog.TERMINAL_PROTOCOL
FRAME = catalog.MAX_TERMINAL_FRAME_BYTES

AREA = Area(
    "terminal",
    "TRM",
    "Terminal",
    (
        must(1, "A terminal of a running container is a shell that does what is typed.", ROW),
        must(2, "It has 24 rows and 80 columns.", ROW),
        ours(3, "rows and cols in the query give it another size, each by itself.", NOTES),
        ours(4, "A size outside 1 to 1000, or none at all, is refused before the upgrade.", NOTES),
        must(5, "Its type is xterm-256color.", ROW),
        must(6, "Text frames and binary frames are input.", NOTES),
        must(7, "Output comes in binary frames.", ROW),
        must(8, "A frame of output has at most 32 KiB.", NOTES),
        must(9, "Every byte passes unchanged, in both directions.", ROW),
        must(10, "Much output is complete, also around the size of a frame.", ROW),
        must(11, "A reader that pauses loses nothing.", NOTES),
        must(12, "When the shell ends, the close code is 1000.", NOTES),
        ours(13, "The terminal of a container that does not run is refused as not_running.", ROW),
        must(14, "The terminal of a container that does not exist is refused before the upgrade.", ROW),
        must(15, "Without a valid credential it is refused before the upgrade.", ROW),
        must(16, "A token without update on the container is refused before the upgrade.", ROW),
        must(17, "A token with update on that container opens it, by header and by query.", ROW),
        ours(18, "When the container goes away, the close code is 1011.", NOTES),
        must(19, "When the credential is revoked, the terminal is closed with 1008.", NOTES),
        ours(20, "A resize of ecompute.terminal.v1 is seen inside; sizes beyond become the nearest.", NOTES),
        ours(21, "By ecompute.terminal.v1 the exit status is told once, behind all output.", NOTES),
        ours(22, "By ecompute.terminal.v1 a text that is no control message ends it.", NOTES),
        ours(23, "By ecompute.terminal.v1 messages of unknown types change nothing.", NOTES),
        must(24, "An unknown subprotocol is answered without one, and every frame is input.", NOTES),
        ours(25, "Of several subprotocols the first known one counts.", NOTES),
        must(26, "Two terminals of a container have nothing of each other's.", ROW),
        must(27, "The shell is that of the container in the path.", ROW),
        must(28, "Ctrl-C ends what runs in the shell, and the shell goes on.", ROW),
    ),
)


@check("TRM-001", "TRM-002", "TRM-005", "TRM-006", "TRM-007", "TRM-012", needs=(Need.RUNNING,))
def shell(lab: Lab) -> None:
    """A shell is asked for its surroundings, and left."""
    shell = Conversation.open(lab, lab.running())
    for piece in ("echo te", b'""xt; st', "", b"", b"ty size", "; en", b"v; echo by", 'e""s; exit 3\n'):
        shell.say(piece)
    code = shell.end()
    shown = bytes(shell.output)
    lab.holds("TRM-001", shown, "output", shell.closed)
    lab.holds("TRM-006", has_line(shell, "text") and has_line(shell, "byes"), "text and byes", shown)
    lab.holds("TRM-007", not shell.texts, "no text frames", shell.texts)
    lab.holds("TRM-002", has_line(shell, "24 80"), "24 80 of stty size", shown)
    lab.holds("TRM-005", has_line(shell, "TERM=xterm-256color"), "TERM=xterm-256color", shown)
    lab.holds("TRM-012", code == 1000, "the code 1000", shell.closed)


@check("TRM-003", needs=(Need.RUNNING,))
def sizes(lab: Lab) -> None:
    """Sizes of the query, the smallest and the largest among them."""
    rows, cols = lab.random.randrange(2, 1000), lab.random.randrange(2, 1000)
    least = smallest_side(lab)
    asked = {
        f"?rows={rows}&cols={cols}": f"{rows} {cols}",
        f"?cols=1000&rows={least}": f"{least} 1000",
        "?rows=1000": "1000 80",
        f"?cols={least}": f"24 {least}",
    }
    for query, size in asked.items():
        shell = shell_of(lab, "stty size; exit", query)
        lab.holds("TRM-003", has_line(shell, size), f"{size} for {query}", bytes(shell.output))


@check("TRM-004", needs=(Need.RUNNING,))
def wrong_sizes(lab: Lab) -> None:
    """Sizes that no terminal has."""
    path = path_of(lab.running())
    values = ("0", "1001", "-1", "x", "1.5", "9" * 30, "1e2", "0x10")
    for name in ("rows", "cols"):
        for value in values:
            lab.refused(
                "TRM-004", lab.socket(f"{path}?{name}={value}", lab.first).answer, Code.INVALID_REQUEST
            )
    both = lab.socket(f"{path}?rows=24&cols=0", lab.first).answer
    lab.refused("TRM-004", both, Code.INVALID_REQUEST)


@check("TRM-009", "TRM-008", needs=(Need.RUNNING,))
def transparency(lab: Lab) -> None:
    """Every value of a byte, in order and at random, in frames of many sizes."""
    data = bytes(range(256)) + lab.random.randbytes(lab.pick(80_000, 800_000))
    pieces, at = [data[:256]], 256
    first = [FRAME + 1, 1, 125, 126, 127, FRAME]
    while at < len(data):
        size = first.pop(0) if first else lab.random.choice((1, 127, 1000, FRAME - 1, FRAME, 2 * FRAME))
        pieces.append(data[at : at + size])
        at += size
    shell = given_back(lab, len(data), pieces)
    found = bytes(shell.output[: len(data)])
    same = next((i for i, (one, other) in enumerate(zip(data, found, strict=False)) if one != other), None)
    seen = f"{len(found)} bytes; the first one that differs: {same}; {shell.closed}"
    lab.holds("TRM-009", found == data, f"the {len(data)} bytes that were sent", seen)
    largest = max(shell.socket.frame_sizes)
    lab.holds("TRM-008", largest <= FRAME, f"frames of at most {FRAME} bytes", largest)


@check("TRM-008", "TRM-010", needs=(Need.RUNNING,))
def much_output(lab: Lab) -> None:
    """Runs of zeros around the size of a frame, and a long one."""
    counts = [FRAME - 1, FRAME, FRAME + 1, 2 * FRAME, lab.pick(500_000, 5_000_000)]
    shell = shell_of(lab, "".join(f'head -c {count} /dev/zero; echo o""k; ' for count in counts) + "exit")
    found = [len(run) for run in re.findall(rb"\0+", bytes(shell.output))]
    lab.holds("TRM-010", found == counts, f"runs of {counts} zeros", f"{found}, {shell.closed}")
    largest = max(shell.socket.frame_sizes)
    lab.holds("TRM-008", largest <= FRAME, f"frames of at most {FRAME} bytes", largest)


@check("TRM-011", standard=True, needs=(Need.RUNNING,))
def pausing_reader(lab: Lab) -> None:
    """More output than is kept anywhere, of which nothing is read while other requests are answered."""
    count = 24_000_000
    shell = Conversation.open(lab, lab.running())
    shell.socket.narrow()
    shell.say(f"head -c {count} /dev/zero; exit\n")
    for _ in range(100):
        lab.status(lab.container())
    shell.end()
    found = shell.output.count(0)
    lab.holds("TRM-011", found == count, f"{count} zeros", f"{found} and {shell.closed}")


@check("TRM-013", "TRM-004")
def not_running(lab: Lab) -> None:
    """A container that was stopped, with every subprotocol; before that, one on its way."""
    lab.make_room(1)
    id_ = lab.new_container()
    early = lab.socket(path_of(id_), lab.first)
    if not early.is_open:
        lab.refused("TRM-013", early.answer, Code.NOT_RUNNING)
    lab.post(f"/compute/containers/{id_}/stop")
    for offered in ((), (V1,), (catalog.EXEC_PROTOCOL,)):
        lab.refused(
            "TRM-013", lab.socket(path_of(id_), lab.first, subprotocols=offered).answer, Code.NOT_RUNNING
        )
    lab.refused("TRM-004", lab.socket(f"{path_of(id_)}?rows=0", lab.first).answer, Code.INVALID_REQUEST)


@check("TRM-014", "TRM-015")
def nothing_there(lab: Lab) -> None:
    """Ids of nothing, credentials of nobody."""
    id_ = lab.container()
    for wrong in ("zzzzzzzz", "x", "a" * 500, id_ + "x", id_[:-1]):
        lab.refused("TRM-014", lab.socket(path_of(wrong), lab.first).answer, Code.NOT_FOUND)
    lab.refused("TRM-014", lab.socket(f"{path_of('zzzzzzzz')}?rows=0", lab.first).answer, Code.NOT_FOUND)
    for query in ("", "?token=", "?token=ecloud_x"):
        for some in (id_, "zzzzzzzz"):
            lab.refused("TRM-015", lab.socket(path_of(some) + query).answer, Code.UNAUTHENTICATED)


@check("TRM-016", "TRM-017", needs=(Need.SESSION, Need.RUNNING))
def scopes(lab: Lab) -> None:
    """Tokens with every right but that one, and with that one only."""
    id_ = lab.running()
    own = f"compute.<uid>.containers.{id_}"
    lacking = (
        {own: ["create", "read", "delete"]},
        {"compute.<uid>.containers.zzzzzzzz": ["update"], "compute.<uid>.keys": ["update"]},
    )
    for scope in lacking:
        lab.refused("TRM-016", lab.socket(path_of(id_), lab.token(scope)).answer, Code.FORBIDDEN)
    token = lab.token({own: ["update"]})
    for in_query in (False, True):
        opened = lab.socket(path_of(id_), token, in_query=in_query)
        lab.holds("TRM-017", opened.is_open, "101", opened.answer)


@check("TRM-019", needs=(Need.SESSION, Need.RUNNING))
def revocation(lab: Lab) -> None:
    """The token of an open terminal is revoked."""
    token = lab.token({"compute.<uid>.containers": ["update"]})
    revoked = lab.things.all("token")[-1].path
    shell = Conversation.open(lab, lab.running(), who=token)
    shell.read(lab.target.timeout)
    lab.delete(revoked)
    code = shell.end()
    lab.holds("TRM-019", code == 1008, "the code 1008", shell.closed)


@check("TRM-018", needs=(Need.RUNNING,))
def lost(lab: Lab) -> None:
    """A container is stopped under its shell, started again, and deleted under another one."""
    lab.make_room(1)
    id_ = lab.new_container()
    # a shell may see the shutdown of its guest, and end before it
    for action, codes in (("stop", (1011, 1000)), ("delete", (1011,))):
        lab.start(id_)
        shell = Conversation.open(lab, id_)
        shell.read(lab.target.timeout)
        if action == "stop":
            lab.post(f"/compute/containers/{id_}/stop")
        else:
            lab.delete(f"/compute/containers/{id_}")
        code = shell.end()
        lab.holds("TRM-018", code in codes, f"the code 1011 after {action}", shell.closed)


@check("TRM-020", "TRM-023", needs=(Need.TERMINAL_PROTOCOL,))
def resize(lab: Lab) -> None:
    """The window changes, also to sizes that none has, amid messages from the future."""
    shell = Conversation.open(lab, lab.running(), "?rows=10&cols=20", V1)
    rows, cols = lab.random.randrange(2, 1000), lab.random.randrange(2, 1000)
    sizes = {(rows, cols): f"{rows} {cols}", (10**12, 1001): "1000 1000"}
    if smallest_side(lab) == 1:
        sizes[(0, -5)] = "1 1"
    for (row, col), size in sizes.items():
        shell.control(type="zoom", factor=2)
        shell.control(type="resize", rows=row, cols=col, pixels=True)
        shell.say(b"stty size\n")
        if not shell.until(size.encode() + b"\r\n"):
            lab.holds("TRM-023", shell.closed is None, "a shell that goes on", shell.closed)
            lab.holds("TRM-020", False, f"{size} of stty size", bytes(shell.output))
    for kind in ("eof", "exit", "newer"):
        shell.control(type=kind, status=1)
    shell.say(b'echo al""ive\n')
    lab.holds("TRM-023", shell.until(b"alive"), "a shell that goes on", shell.closed)
    lab.holds("TRM-020", True, "the sizes", sizes)


@check("TRM-021", "TRM-012", needs=(Need.TERMINAL_PROTOCOL,))
def exit_status(lab: Lab) -> None:
    """Shells end with several statuses, behind much output."""
    for status in (0, 1, lab.random.randrange(2, 128), lab.random.randrange(128, 255), 255):
        shell = shell_of(lab, f"head -c 70000 /dev/zero; exit {status}", "", V1)
        texts = [json.loads(text) for text in shell.texts]
        lab.holds("TRM-021", texts == [{"type": "exit", "status": status}], f"exit {status}, once", texts)
        lab.holds("TRM-021", not shell.binary_after_text, "no output behind it", shell.texts)
        found = shell.output.count(0)
        lab.holds("TRM-021", found == 70_000, "all output before it", f"{found} of 70000 zeros")
        lab.holds("TRM-012", shell.closed == Closed(1000), "the code 1000", shell.closed)


@check("TRM-022", needs=(Need.TERMINAL_PROTOCOL,))
def no_control_messages(lab: Lab) -> None:
    """Texts that are nothing."""
    for text in ("", "ls\n", "[]", '"resize"', "{}", '{"type":1}', '{"type":"resize","rows":"5","cols":5}'):
        shell = Conversation.open(lab, lab.running(), "", V1)
        shell.say(text)
        code = shell.end()
        lab.holds("TRM-022", code in (1002, 1007), f"1007 for {text!r}", shell.closed)


@check("TRM-024", "TRM-025", needs=(Need.RUNNING,))
def subprotocols(lab: Lab) -> None:
    """Offers of nothing known, and of several."""
    id_ = lab.running()
    for offered in ((), ("ecompute.terminal.v99", "chat")):
        socket = lab.opened(path_of(id_), subprotocols=offered)
        lab.holds("TRM-024", socket.subprotocol is None, "no subprotocol", socket.subprotocol)
        shell = Conversation(lab, socket)
        shell.say('{"type":"resize","rows":7,"cols":7}')
        shell.say("\nstty size; exit\n")
        shell.end()
        lab.holds("TRM-024", has_line(shell, "24 80"), "a text as input only", bytes(shell.output))
        lab.holds("TRM-024", not shell.texts, "no text frames", shell.texts)
    for first, then in ((V1, catalog.EXEC_PROTOCOL), (catalog.EXEC_PROTOCOL, V1)):
        chosen = lab.opened(path_of(id_), subprotocols=("chat", first, then)).subprotocol
        if chosen is None:
            lab.undecided("TRM-025", "The server knows no subprotocol.")
        else:
            lab.holds("TRM-025", chosen == first, first, chosen)


@check("TRM-026", "TRM-028", needs=(Need.RUNNING,))
def two_shells(lab: Lab) -> None:
    """What is typed in one shell is not in the other, and neither is Ctrl-C."""
    one, other = (Conversation.open(lab, lab.running()) for _ in range(2))
    one.say('echo fi""rst; sleep 1000\n')
    other.say('echo sec""ond; exit\n')
    lab.holds("TRM-028", one.until(b"first"), "first", bytes(one.output))
    code = other.end()
    shown = bytes(other.output)
    lab.holds("TRM-026", b"second" in shown and b"rst" not in shown, "second and nothing else", shown)
    lab.holds("TRM-026", code == 1000, "the code 1000", other.closed)
    # what is typed before the shell has begun to wait may be lost by the line discipline (termios(3), ISIG)
    for _ in range(10):
        one.say(b"\x03")
        one.say('echo al""ive\n')
        while one.read(1.0) and b"alive" not in one.output:
            pass
        if b"alive" in one.output:
            break
    lab.holds("TRM-028", b"alive" in one.output, "a shell that goes on", bytes(one.output))
    lab.holds("TRM-026", b"second" not in one.output, "nothing of the other shell", bytes(one.output))


@check("TRM-027", needs=(Need.RUNNING,))
def right_container(lab: Lab) -> None:
    """A file that is written in one container is not in another."""
    lab.make_room(2)
    shared = lab.running()
    id_ = lab.new_container()
    lab.wait(id_, "running")
    script = "cat /root/conformance; exit\n"
    for place, typed in (
        (id_, 'echo wri""tten > /root/conformance; exit\n'),
        (id_, script),
        (shared, script),
    ):
        shell = Conversation.open(lab, place)
        shell.say(typed)
        shell.end()
        there = b"written" in shell.output
        if typed == script:
            lab.holds("TRM-027", there is (place == id_), "the file where it is", bytes(shell.output))
