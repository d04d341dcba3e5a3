"""The interpreter of a simulated guest's shell."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from attrs import define, evolve

from ecompute_server.guest.simulated import grammar
from ecompute_server.guest.simulated.call import (
    APPEND,
    READ,
    WRITE,
    Call,
    Command,
    Io,
    UsageFault,
    decode,
    encode,
    open_stream,
)
from ecompute_server.guest.simulated.expansion import expand, expand_one
from ecompute_server.guest.simulated.streams import Closed, FileStream, Pipe, Sink, Source, Text, Unwritable
from ecompute_server.guest.simulated.terminal import Tty
from ecompute_server.hypervisor.simulated import Files, Kind, SimulatedMachine

BINARIES = ("/bin", "/sbin", "/usr/bin", "/usr/sbin")
NOT_FOUND, NOT_EXECUTABLE, BROKEN_PIPE = 127, 126, 128 + 13
BUILTINS = frozenset(("echo", "printf", "pwd", "export", "eval"))
SUBSTITUTION_LIMIT = 1 << 20
SCRIPT_LIMIT = grammar.TEXT_LIMIT
VARIABLES_LIMIT = 1 << 20
VARIABLE_COUNT = 1000
DEPTH_LIMIT = 40


class Exit(Exception):
    """`exit`"""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class LoopExit(Exception):
    """`break`, or with `again` `continue`, of so many loops."""

    def __init__(self, levels: int, *, again: bool) -> None:
        super().__init__(levels)
        self.levels = levels
        self.again = again


@define
class Shell:
    """A shell's state. `run` carries out scripts in it, one at a time."""

    machine: SimulatedMachine
    commands: dict[str, Command]
    variables: dict[str, str]
    exported: set[str]
    tty: Tty | None = None
    directory: str = "/"
    arguments: Sequence[str] = ()
    name: str = "sh"
    status: int = 0
    depth: int = 0
    loops: int = 0

    @property
    def files(self) -> Files:
        return self.machine.files

    @property
    def environment(self) -> dict[str, str]:
        """What commands get."""
        return {name: value for name, value in self.variables.items() if name in self.exported}

    def value(self, name: str) -> str | None:
        match name:
            case "?":
                return str(self.status)
            case "$":
                return "100"
            case "#":
                return str(len(self.arguments))
            case "@" | "*":
                return " ".join(self.arguments)
            case "!" | "-":
                return ""
            case "0":
                return self.name
            case _ if name.isdecimal():
                return self.arguments[int(name) - 1] if int(name) <= len(self.arguments) else None
            case _:
                return self.variables.get(name)

    def assign(self, name: str, value: str) -> None:
        """Give a variable its value.

        Raises:
            OSError: E2BIG, all values together would be too much.
        """
        others = sum(len(value) for known, value in self.variables.items() if known != name)
        if others + len(value) > VARIABLES_LIMIT or len(self.variables) > VARIABLE_COUNT:
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
        self.variables[name] = value

    def fork(self) -> Shell:
        """A shell of its own that begins as this one is."""
        return evolve(self, variables=dict(self.variables), exported=set(self.exported), depth=self.depth + 1)

    async def run(self, text: str, io: Io) -> int:
        """Carry out a whole text as the shell's last; the exit status."""
        try:
            return await self.evaluate(text, io)
        except Exit as leave:
            return leave.status

    async def evaluate(self, text: str, io: Io) -> int:
        """Carry out a text that may steer this shell: end it, or its loops."""
        try:
            script = grammar.parse(text)
        except grammar.SyntaxFault as fault:
            await self.complain(str(fault), io)
            self.status = 2
            return self.status
        return await self.script(script, io)

    async def complain(self, text: str, io: Io) -> None:
        with suppress(Closed, Unwritable):
            await io.error.write(encode(f"{self.name}: {text}\n"))

    # the tree

    async def script(self, script: grammar.Script, io: Io) -> int:
        for step in script:
            if (step.operator == "&&" and self.status != 0) or (step.operator == "||" and self.status == 0):
                continue
            self.status = await self.pipeline(step.pipeline, io)
        return self.status

    async def pipeline(self, pipeline: grammar.Pipeline, io: Io) -> int:
        if len(pipeline.commands) == 1:
            status = await self.command(pipeline.commands[0], io)
        else:
            status = await self.connected(pipeline.commands, io)
        return int(status == 0) if pipeline.negated else status

    async def connected(self, commands: Sequence[grammar.Command], io: Io) -> int:
        """Run the commands at the same time, each in a shell of its own, joined by pipes."""
        pipes = [Pipe() for _ in commands[1:]]

        async def stage(number: int) -> int:
            before = pipes[number - 1] if number else None
            after = pipes[number] if number < len(pipes) else None
            own = Io(before or io.input, after or io.output, io.error)
            try:
                return await self.apart(commands[number], own)
            finally:
                if before:
                    before.end_reading()
                if after:
                    after.end_writing()

        async with asyncio.TaskGroup() as group:
            stages = [group.create_task(stage(number)) for number in range(len(commands))]
        return stages[-1].result()

    async def apart(self, command: grammar.Command, io: Io) -> int:
        """Run a command in a shell of its own."""
        if self.depth >= DEPTH_LIMIT:
            await self.complain("nested too deeply", io)
            return 2
        inner = self.fork()
        inner.loops = 0
        try:
            return await inner.command(command, io)
        except Exit as leave:
            return leave.status
        except Closed:
            return BROKEN_PIPE

    async def command(self, command: grammar.Command, io: Io) -> int:
        await asyncio.sleep(0)  # a loop of commands that never wait must not hold up the server
        try:
            async with self.redirected(command.redirects, io) as inner:
                match command:
                    case grammar.Simple():
                        return await self.simple(command, inner)
                    case grammar.Group(body, True):
                        return await self.apart(grammar.Group(body, False), inner)
                    case grammar.Group(body):
                        return await self.script(body, inner)
                    case grammar.If():
                        return await self.conditional(command, inner)
                    case grammar.While():
                        return await self.repeat(command, inner)
                    case grammar.For():
                        return await self.each(command, inner)
        except OSError as error:
            name = f"{error.filename}: " if error.filename else ""
            await self.complain(f"{name}{error.strerror}", io)
            return 1

    async def conditional(self, command: grammar.If, io: Io) -> int:
        for condition, body in command.branches:
            if await self.script(condition, io) == 0:
                self.status = 0
                return await self.script(body, io)
        self.status = 0
        return await self.script(command.otherwise, io)

    async def repeat(self, command: grammar.While, io: Io) -> int:
        status = 0
        while (await self.script(command.condition, io) == 0) is not command.until:
            going, status = await self.turn(command.body, io)
            if not going:
                break
        return status

    async def each(self, command: grammar.For, io: Io) -> int:
        status = 0
        for value in await expand(command.words, self, self.substitute(io)):
            self.assign(command.name, value)
            going, status = await self.turn(command.body, io)
            if not going:
                break
        return status

    async def turn(self, body: grammar.Script, io: Io) -> tuple[bool, int]:
        """Run a loop's body once; whether the loop goes on, and the status."""
        self.loops += 1
        try:
            return True, await self.script(body, io)
        except LoopExit as leave:
            if leave.levels > 1 and self.loops > 1:
                raise LoopExit(leave.levels - 1, again=leave.again) from None
            return leave.again, 0
        finally:
            self.loops -= 1

    async def simple(self, command: grammar.Simple, io: Io) -> int:
        substitute = self.substitute(io)
        if not command.words:
            self.status = 0
        args = await expand(command.words, self, substitute)
        assigned = {name: await expand_one(word, self, substitute) for name, word in command.assignments}
        if not args:
            for name, value in assigned.items():
                self.assign(name, value)
            return self.status
        if not assigned:
            return await self.call(args, io)
        before, exported = dict(self.variables), set(self.exported)
        try:
            for name, value in assigned.items():
                self.assign(name, value)
                self.exported.add(name)
            return await self.call(args, io)
        finally:
            self.variables, self.exported = before, exported

    # commands

    async def call(self, args: Sequence[str], io: Io) -> int:
        """Run a command by its name and arguments."""
        name = args[0]
        command = self.find(name)
        if command is None:
            return await self.run_file(args, io)
        call = Call(self, name.rpartition("/")[2], args[1:], io)
        try:
            return await command(call)
        except UsageFault as fault:
            with suppress(Closed, Unwritable):
                await call.complain(str(fault))
            return 2
        except OSError as error:
            with suppress(Closed, Unwritable):
                await call.complain(f"{error.filename}: " * bool(error.filename) + f"{error.strerror}")
            return 1
        except Unwritable as fault:
            with suppress(Closed, Unwritable):
                await call.complain(f"write error: {fault}")
            return 1
        except Closed:
            if call.name in BUILTINS:
                raise  # the shell itself wrote there: the signal is the shell's
            return BROKEN_PIPE

    def find(self, name: str) -> Command | None:
        """The command of that name, which may have a path in front."""
        folder, _, short = name.rpartition("/")
        return self.commands.get(short) if not folder or folder in BINARIES else None

    async def run_file(self, args: Sequence[str], io: Io) -> int:
        """Run a file of the guest as a script, where the name has a slash."""
        name = args[0]
        if "/" not in name:
            await self.complain(f"{name}: not found", io)
            return NOT_FOUND
        call = Call(self, name, args[1:], io)
        node = self.files.stat(call.path(name))
        if node.kind is Kind.DIRECTORY or not node.mode & 0o111:
            await self.complain(f"{name}: Permission denied", io)
            return NOT_EXECUTABLE
        with call.source(name) as source:
            return await self.run_apart(await read_all(source, SCRIPT_LIMIT), name, args[1:], io)

    async def run_apart(self, text: bytes, name: str, arguments: Sequence[str], io: Io) -> int:
        """Run a script as a process of its own does."""
        if self.depth >= DEPTH_LIMIT:
            await self.complain("nested too deeply", io)
            return 2
        inner = self.fork()
        inner.variables = self.environment
        inner.name, inner.arguments, inner.status, inner.loops = name, tuple(arguments), 0, 0
        try:
            return await inner.run(decode(text), io)
        except Closed:
            return BROKEN_PIPE

    def substitute(self, io: Io) -> _Substitute:
        return _Substitute(self, io)

    @asynccontextmanager
    async def redirected(self, redirects: Sequence[grammar.Redirect], io: Io) -> AsyncIterator[Io]:
        """The streams as the redirections make them; files are closed at the end."""
        async with AsyncExitStack() as opened:
            for redirect in redirects:
                io = await self.redirect(redirect, io, opened)
            yield io

    async def redirect(self, redirect: grammar.Redirect, io: Io, opened: AsyncExitStack) -> Io:
        target = await expand_one(redirect.target, self, self.substitute(io))
        if redirect.operator in (">&", "<&"):
            match redirect.fd, target:
                case 0, "0":
                    return io
                case 0, "-":
                    return evolve(io, input=Text())
                case ((1 | 2), ("-" | "1" | "2")):
                    sink: Sink = {"-": Text(), "1": io.output, "2": io.error}[target]
                    return evolve(io, output=sink) if redirect.fd == 1 else evolve(io, error=sink)
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), target)
        stream = open_stream(self, target, {"<": READ, ">": WRITE, ">>": APPEND}[redirect.operator])
        if isinstance(stream, FileStream):
            opened.callback(stream.close)
        match redirect.fd:
            case 0:
                return evolve(io, input=stream)
            case 1:
                return evolve(io, output=stream)
            case 2:
                return evolve(io, error=stream)
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), str(redirect.fd))


class _Substitute:
    """Runs `$( )` for an expansion."""

    def __init__(self, shell: Shell, io: Io) -> None:
        self._shell = shell
        self._io = io

    async def __call__(self, body: grammar.Script) -> str:
        pipe = Pipe()
        io = evolve(self._io, output=pipe)

        async def produce() -> int:
            try:
                return await self._shell.apart(grammar.Group(body, False), io)
            finally:
                pipe.end_writing()

        output: bytes | OSError
        async with asyncio.TaskGroup() as group:
            producer = group.create_task(produce())
            try:
                output = await read_all(pipe, SUBSTITUTION_LIMIT)
            except OSError as error:
                output = error
            pipe.end_reading()
        self._shell.status = producer.result()
        if isinstance(output, OSError):
            raise output
        return decode(output)


async def read_all(source: Source, limit: int) -> bytes:
    """All that comes.

    Raises:
        OSError: E2BIG, it is more than `limit`.
    """
    gathered = bytearray()
    while chunk := await source.read():
        gathered += chunk
        if len(gathered) > limit:
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
    return bytes(gathered)
