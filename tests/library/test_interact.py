"""The caller's own terminal connected with one in a container: processes on real pseudo-terminals."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import pexpect
import pytest

import ecompute
from ecompute.async_connection import Background
from ecompute.keyboard import Keyboard, wait_for
from ecompute_server.testing import RunningServer, running_server

from .fake_server import LIMIT

PROGRAM = Path(__file__).with_name("interacting.py")
ROOT = Path(__file__).parents[2]
PROMPT = "# "


def heeding_hang_ups() -> None:
    """Also where whoever started the tests ignores them, as nohup does: children inherit that."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Screen:
    """A process on a pseudo-terminal, of which this side is who sits before it."""

    def __init__(self, arguments: list[str]) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "", "LINES": ""}
        self.child = pexpect.spawn(
            sys.executable,
            [str(PROGRAM), *arguments],
            dimensions=(30, 100),
            timeout=LIMIT,
            env=environment,  # type: ignore[arg-type]
            encoding="utf-8",
            preexec_fn=heeding_hang_ups,
        )
        # the terminal outlives the process, so that its mode can be looked at
        self._device = os.open(f"/proc/{self.child.pid}/fd/0", os.O_RDWR | os.O_NOCTTY)
        self.before = self.mode()

    def mode(self) -> list[Any]:
        return termios.tcgetattr(self._device)

    @property
    def is_raw(self) -> bool:
        return not self.mode()[3] & (termios.ICANON | termios.ECHO | termios.ISIG)

    def wait_for(self, text: str) -> str:
        self.child.expect_exact(text)
        return self.child.before or ""

    def type(self, text: str) -> None:
        self.child.send(text)

    def begin(self) -> None:
        self.wait_for(PROMPT)
        assert self.is_raw

    def end(self) -> str:
        """What the program tells; its terminal is then as before."""
        told = self.wait_for("over")
        assert self.mode() == self.before
        self.child.sendline("")
        self.child.wait()
        assert self.child.exitstatus == 0
        return told

    def close(self) -> None:
        self.child.close(force=True)
        os.close(self._device)


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """One server for all of these."""
    with running_server() as running:
        yield running


@pytest.fixture(scope="module")
def box(server: RunningServer) -> Iterator[str]:
    """The id of a running container."""
    with server.client() as client, client.temporary() as made:
        yield made.id


@pytest.fixture
def run(server: RunningServer, box: str, kind: str) -> Iterator[Callable[..., Screen]]:
    """Starts the program on a new pseudo-terminal."""
    with ExitStack() as undo:

        def start(
            special: str = "", *, url: str = server.url, token: str = server.token, id: str = box
        ) -> Screen:
            screen = Screen([kind, url, token, id, special])
            undo.callback(screen.close)
            return screen

        yield start


def test_a_session(run: Callable[..., Screen]) -> None:
    """Keys go there as they are, output comes back, and the exit status is told; then all is as before."""
    screen = run()
    screen.begin()
    screen.type("echo $((\r")
    screen.type("\x03")
    screen.wait_for(PROMPT)
    screen.type("echo h\u00e9llo | cat\r")
    screen.wait_for("\r\nh\u00e9llo\r\n")
    screen.wait_for(PROMPT)
    screen.type("sleep 1000\r")
    screen.wait_for("\r\n")
    screen.type("\x03")
    screen.wait_for(PROMPT)
    screen.type("exit 7\r")
    assert "status 7\r\n" in screen.end()


def test_the_size_of_the_window(run: Callable[..., Screen]) -> None:
    """The shell has it from the start, and each new one."""
    screen = run()
    screen.begin()
    screen.type("stty size\r")
    screen.wait_for("\r\n30 100\r\n")
    for rows, cols in ((40, 120), (10, 20)):
        screen.child.setwinsize(rows, cols)
        # the new size is on its way when the first answer to it is asked for
        while True:
            screen.wait_for(PROMPT)
            screen.type("stty size\r")
            screen.child.expect(r"\r\n(\d+ \d+)\r\n")
            if screen.child.match.group(1) == f"{rows} {cols}":  # type: ignore[union-attr]
                break
    screen.wait_for(PROMPT)
    screen.type("exit\r")
    assert "status 0\r\n" in screen.end()


def test_a_flood(run: Callable[..., Screen]) -> None:
    """Keys get through while there is more to show than anybody can read, and so does the way out."""
    screen = run()
    screen.begin()
    screen.type("yes\r")
    screen.wait_for("y\r\ny\r\n")
    screen.type("\x03")
    screen.wait_for(PROMPT)
    screen.type("yes\r")
    screen.wait_for("y\r\ny\r\n")
    screen.type("\r~.")
    assert "status None\r\n" in screen.end()


def test_the_way_out(run: Callable[..., Screen]) -> None:
    """`~.` at the beginning of a line; elsewhere it is text, and `~~` is one."""
    screen = run()
    screen.begin()
    screen.type("echo ~.\r")
    screen.wait_for("\r\n~.\r\n")
    screen.wait_for(PROMPT)
    screen.type("~~.\x03")
    screen.wait_for("~.")
    screen.wait_for(PROMPT)
    screen.type("\r")
    screen.wait_for(PROMPT)
    screen.type("~.")
    assert "status None\r\n" in screen.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_the_process(run: Callable[..., Screen], number: signal.Signals) -> None:
    """It does, once the terminal is as before."""
    screen = run()
    screen.begin()
    screen.child.kill(number)
    screen.child.wait()
    assert screen.child.signalstatus == number
    assert screen.mode() == screen.before


def test_signals_that_have_a_handler(run: Callable[..., Screen]) -> None:
    """Are its business, but for a new size; afterwards it has that again too."""
    screen = run("handlers")
    screen.begin()
    screen.child.kill(signal.SIGTERM)
    screen.wait_for("handled SIGTERM")
    screen.type("exit\r")
    assert "status 0\r\n" in screen.end()


def test_an_interruption_from_elsewhere(run: Callable[..., Screen]) -> None:
    """Is an exception as always."""
    screen = run()
    screen.begin()
    screen.child.kill(signal.SIGINT)
    assert "error KeyboardInterrupt" in screen.end()


def test_an_interruption_of_a_task_in_the_background() -> None:
    """Is no group of exceptions: trio raises it in whichever task is running."""

    async def interrupt() -> None:
        raise KeyboardInterrupt

    async def main() -> None:
        async with Background() as tasks:
            tasks.start_soon(interrupt)
            await anyio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        anyio.run(main, backend="trio")


@pytest.mark.parametrize("who", ["container", "server"])
def test_one_goes_away(run: Callable[..., Screen], public_key: str, who: str) -> None:
    """The error is raised when the terminal is as before."""
    with ExitStack() as life:
        server = life.enter_context(running_server())
        with server.client() as client:
            key = client.ssh_keys.add("key", public_key)
            made = client.containers.create("box", [key.id])
            client.containers.wait(made.id, "running", timeout=LIMIT)
            screen = run(url=server.url, token=server.token, id=made.id)
            screen.begin()
            if who == "container":
                client.containers.stop(made.id)
            else:
                life.close()
            assert "error ConnectError" in screen.end()


@pytest.fixture
def handled() -> Iterator[list[int]]:
    """The signals SIGUSR1 that were handled."""
    numbers: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: numbers.append(number))
    yield numbers
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def keyboard() -> Iterator[Keyboard]:
    """One that is no terminal, and that nobody types on."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as stdin, os.fdopen(writing, "w") as stdout, Keyboard(stdin, stdout) as entered:
        yield entered


def test_a_signal_that_another_thread_gets(handled: list[int], keyboard: Keyboard) -> None:
    """Wakes the one who waits, as does one that comes just before: it is the system that rings."""

    def get_it() -> None:
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    thread = threading.Thread(target=get_it)
    thread.start()
    assert wait_for([keyboard.alarm], LIMIT) == {keyboard.alarm}
    thread.join()
    assert handled == [signal.SIGUSR1]


def test_an_event_loop_keeps_its_own_bell() -> None:
    """Where somebody else is woken by signals already, that stays so; afterwards all is as before."""
    with socket.socket() as theirs:
        theirs.setblocking(False)
        for before in (-1, theirs.fileno()):
            signal.set_wakeup_fd(before)
            reading, writing = os.pipe()
            with os.fdopen(reading) as stdin, os.fdopen(writing, "w") as stdout, Keyboard(stdin, stdout):
                during = signal.set_wakeup_fd(-1)
                signal.set_wakeup_fd(during)
            assert (during == before) is (before != -1)
            assert signal.set_wakeup_fd(-1) == before


def test_the_output_is_closed(run: Callable[..., Screen]) -> None:
    """Who shows nothing any more ends it."""
    screen = run("no-output")
    assert "error Closed" in screen.end()


def test_in_another_thread(run: Callable[..., Screen]) -> None:
    """Everything but signals."""
    screen = run("thread")
    screen.begin()
    screen.type("stty size\r")
    screen.wait_for("\r\n30 100\r\n")
    screen.type("exit 3\r")
    assert "status 3\r\n" in screen.end()


@pytest.mark.parametrize(
    ("typed", "status"),
    [(b"echo hello\nexit 3\n", 3), (b"echo hello\n", 0), (b"~.\necho hello\n", 0), (b"echo hello", 0)],
)
@pytest.mark.parametrize("of_disk", [False, True])
def test_without_a_terminal(
    server: RunningServer, box: str, kind: str, tmp_path: Path, typed: bytes, status: int, of_disk: bool
) -> None:
    """Bytes are passed on, none is special, and their end ends the shell."""
    command = [sys.executable, str(PROGRAM), kind, server.url, server.token, box, "piped"]
    (tmp_path / "typed").write_bytes(typed)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (tmp_path / "typed").open("rb") as file:
        given: dict[str, Any] = {"stdin": file} if of_disk else {"input": typed}
        done = subprocess.run(command, **given, capture_output=True, timeout=LIMIT, env=environment)
    assert done.stderr == b""
    assert b"hello\r\n" in done.stdout
    assert done.stdout.endswith(f"status {status}\nover\n".encode())


def test_it_is_loaded_late() -> None:
    """Neither an import nor a client loads what only some systems have."""
    code = (
        "import sys, ecompute\n"
        "ecompute.Client('t', 'http://x').close()\n"
        "import ecompute.terminal, ecompute.async_terminal\n"
        "print({'termios', 'tty', 'ecompute.keyboard', 'ecompute.interact'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT, cwd=ROOT
    )
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_a_system_without_terminals(server: RunningServer, box: str) -> None:
    """Says so when it is called, and not before."""
    code = (
        "import sys; sys.modules['termios'] = None\n"
        "import ecompute\n"
        f"with ecompute.Client({server.token!r}, {server.url!r}) as client, client.terminal({box!r}) as it:\n"
        "    try: it.interact()\n"
        "    except ecompute.Unsupported as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT, cwd=ROOT
    )
    assert done.stdout.startswith("interact() needs")


def test_what_is_no_file_of_the_system(server: RunningServer, box: str) -> None:
    """Is refused before anything happens."""
    with server.client() as client:
        terminal = client.terminal(box)
        with pytest.raises(ecompute.Closed):
            terminal.interact()
        with terminal, pytest.raises(ecompute.InvalidArgument, match="stdin is no file"):
            terminal.interact(stdin=object())  # type: ignore[arg-type]
