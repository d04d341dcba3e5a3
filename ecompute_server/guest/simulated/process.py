"""A process in a simulated guest, as its caller sees it: a shell or a command, its streams and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from ecompute_server.guest.interface import GuestLost, Stream, Terminal
from ecompute_server.guest.simulated import grammar
from ecompute_server.guest.simulated.call import Io, decode, encode
from ecompute_server.guest.simulated.commands import COMMANDS
from ecompute_server.guest.simulated.shell import Exit, Shell
from ecompute_server.guest.simulated.streams import Closed, Outlet, Pipe
from ecompute_server.guest.simulated.terminal import Tty
from ecompute_server.hypervisor.simulated import SimulatedMachine

SIGNALS: Mapping[str, int] = {
    "HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "ABRT": 6, "FPE": 8, "KILL": 9, "USR1": 10, "SEGV": 11,
    "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15,
}  # fmt: skip
KEYBOARD = frozenset(("INT", "QUIT"))
"""The signals that an interactive shell passes to what it runs."""
UNFINISHED_LIMIT = 16 * 1024
"""Characters of a command over several lines; each line parses it anew."""
BROKEN = "the guest went away"
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
HOME = "/root"


class SimulatedProcess:
    """A `GuestProcess` whose shell runs in this event loop."""

    def __init__(self, machine: SimulatedMachine, command: str | None, terminal: Terminal | None) -> None:
        self._command = command
        self._outlet = Outlet()
        self._pipe = Pipe()
        self._tty = Tty(terminal, self._outlet, self._interrupt) if terminal else None
        self._status: int | None = None
        self._signal = 0
        self._lost = False
        self._ended = asyncio.Event()
        self._foreground: asyncio.Task[bool] | None = None
        self._shell = self._new_shell(machine)
        self._unwatch = machine.watch(self._break)
        self._task = asyncio.get_running_loop().create_task(self._main())
        self._task.add_done_callback(self._finish)

    # the interface

    async def read(self) -> tuple[Stream, bytes] | None:
        output = await self._outlet.read()
        if output is None and self._lost:
            raise GuestLost(BROKEN)
        return output

    async def write(self, data: bytes) -> None:
        if self._ended.is_set():
            raise GuestLost("nothing reads there any more")
        try:
            await (self._tty.feed(data) if self._tty else self._pipe.write(data))
        except Closed:
            raise GuestLost("nothing reads there any more") from None

    async def write_eof(self) -> None:
        if self._tty:
            self._tty.end()
        self._pipe.end_writing()

    async def resize(self, rows: int, cols: int) -> None:
        if self._tty:
            self._tty.rows, self._tty.cols = rows, cols

    async def signal(self, name: str) -> None:
        if name not in SIGNALS or self._ended.is_set():
            return
        interactive = self._command is None and self._tty is not None
        if interactive and name in KEYBOARD:
            self._interrupt(name)
        elif not (interactive and name == "TERM"):  # which an interactive shell ignores
            self._kill(name)

    async def wait(self) -> int:
        await self._ended.wait()
        if self._status is None:
            raise GuestLost(BROKEN)
        return self._status

    def when_ended(self, callback: Callable[[SimulatedProcess], None]) -> None:
        """Have `callback` called when the process has ended, in whatever way."""
        self._task.add_done_callback(lambda _: callback(self))

    async def close(self) -> None:
        self._unwatch()
        self._task.cancel()
        await asyncio.wait([self._task])

    # the life of the process

    async def _main(self) -> int:
        try:
            if self._command is not None:
                return await self._shell.run(self._command, self._io())
            if self._tty:
                return await self._converse(self._tty)
            return await self._obey()
        except Closed:
            return 128 + SIGNALS["PIPE"]

    def _finish(self, task: asyncio.Task[int]) -> None:
        """Tell the end: by itself, killed by a signal, hung up, or lost with the machine."""
        if task.cancelled():
            self._status = 128 + self._signal if self._signal and not self._lost else None
        elif (error := task.exception()) is not None:
            task.get_loop().call_exception_handler(
                {"message": "a simulated guest's shell failed", "exception": error}
            )
        else:
            self._status = task.result()
        self._unwatch()
        self._outlet.end()
        self._pipe.end_reading()
        if self._tty:
            self._tty.end()
        self._ended.set()

    def _io(self) -> Io:
        if self._tty:
            return Io(self._tty, self._tty, self._tty)
        return Io(self._pipe, self._outlet.sink(Stream.OUTPUT), self._outlet.sink(Stream.ERROR))

    async def _converse(self, tty: Tty) -> int:
        """Prompt, read and run until the end; each turn can be interrupted."""
        while True:
            self._foreground = asyncio.get_running_loop().create_task(self._turn(tty))
            try:
                await asyncio.wait([self._foreground])
            except asyncio.CancelledError:
                self._foreground.cancel()
                await asyncio.wait([self._foreground])
                raise
            if self._foreground.cancelled():
                self._shell.status = 128 + self._signal
                self._signal = 0
                await tty.write(b"\n")
            elif not self._foreground.result():
                return self._shell.status

    async def _turn(self, tty: Tty) -> bool:
        """One command from the keyboard; whether another may follow."""
        shell = self._shell
        home = shell.value("HOME") or HOME
        here = "~" + shell.directory.removeprefix(home) if _inside(shell.directory, home) else shell.directory
        prompt = f"root@{shell.machine.spec.identity.hostname}:{here}# "
        text = ""
        while True:
            await tty.write(encode(prompt))
            line = await _typed_line(tty)
            if not line:
                await tty.write(b"\n")
                return bool(text)
            text += decode(line)
            try:
                script = grammar.parse(text)
            except grammar.SyntaxFault as fault:
                if fault.incomplete and len(text) < UNFINISHED_LIMIT:
                    prompt = "> "
                    continue
                await shell.complain(str(fault), self._io())
                shell.status = 2
                return True
            try:
                await shell.script(script, self._io())
            except Exit as leave:
                shell.status = leave.status
                return False
            return True

    async def _obey(self) -> int:
        """Run a script that comes line by line, of which commands may read their share."""
        text = ""
        while line := await self._pipe.read_line():
            text += decode(line)
            try:
                script = grammar.parse(text)
            except grammar.SyntaxFault as fault:
                if fault.incomplete and len(text) < UNFINISHED_LIMIT:
                    continue
                await self._shell.complain(str(fault), self._io())
                return 2
            text = ""
            try:
                await self._shell.script(script, self._io())
            except Exit as leave:
                return leave.status
        return await self._shell.run(text, self._io()) if text else self._shell.status

    def _interrupt(self, name: str) -> None:
        """A signal from the keyboard: it ends what runs in the foreground."""
        if self._foreground is not None and not self._foreground.done():
            self._signal = SIGNALS[name]
            self._foreground.cancel()
        elif self._command is not None:
            self._kill(name)

    def _kill(self, name: str) -> None:
        self._signal = SIGNALS[name]
        self._task.cancel()

    def _break(self) -> None:
        """The machine is gone."""
        self._lost = True
        self._task.cancel()

    def _new_shell(self, machine: SimulatedMachine) -> Shell:
        home = HOME if machine.files.exists(HOME) else "/"
        variables = {
            "HOME": HOME, "LOGNAME": "root", "PATH": PATH, "PWD": home, "SHELL": "/bin/sh", "USER": "root",
        }  # fmt: skip
        if self._tty:
            variables["TERM"] = self._tty.type
        exported = set(variables)
        return Shell(machine, COMMANDS, variables, exported, tty=self._tty, directory=home)


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


async def _typed_line(tty: Tty) -> bytes:
    """A line with its end, however the terminal is set; empty at the end of the input."""
    line = b""
    while not line.endswith((b"\n", b"\r")):
        chunk = await tty.read()
        if not chunk and (not line or tty.ended):
            break
        line += chunk
    return line.replace(b"\r", b"\n")
