"""Commands that steer the shell itself: its directory and variables, conditions, other shells, time."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import shlex
from collections.abc import Mapping

from ecompute_server.guest.simulated.call import Call, Command, UsageFault, decode
from ecompute_server.guest.simulated.grammar import NAME
from ecompute_server.guest.simulated.shell import SCRIPT_LIMIT, Exit, LoopExit, read_all
from ecompute_server.hypervisor.simulated import Kind

DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([smhd]?)")
LINE_LIMIT = 64 * 1024
SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


async def true(call: Call) -> int:
    return 0


async def false(call: Call) -> int:
    return 1


async def cd(call: Call) -> int:
    shell = call.shell
    target = call.args[0] if call.args else shell.value("HOME") or "/"
    if target == "-":
        target = shell.value("OLDPWD") or shell.directory
        await call.print(f"{target}\n")
    path = call.path(target)
    try:
        if call.files.stat(path).kind is not Kind.DIRECTORY:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        path = call.files.real_path(path)
    except OSError as error:
        await call.complain_of(error, target)
        return 1
    shell.assign("OLDPWD", shell.directory)
    shell.assign("PWD", path)
    shell.directory = path
    return 0


async def pwd(call: Call) -> int:
    await call.print(f"{call.shell.directory}\n")
    return 0


async def export(call: Call) -> int:
    shell = call.shell
    if not call.args or call.args[0] == "-p":
        for name, value in sorted(shell.environment.items()):
            await call.print(f"export {name}={shlex.quote(value)}\n")
    for argument in call.args:
        name, assigned, value = argument.partition("=")
        if not NAME.fullmatch(name):
            if argument != "-p":
                raise UsageFault(f"{argument}: bad variable name")
            continue
        if assigned:
            shell.assign(name, value)
        shell.exported.add(name)
    return 0


async def unset(call: Call) -> int:
    for name in call.args:
        call.shell.variables.pop(name, None)
        call.shell.exported.discard(name)
    return 0


async def env(call: Call) -> int:
    args = list(call.args)
    inner = call.shell.fork()
    if args and args[0] in ("-i", "-"):
        args.pop(0)
        inner.variables, inner.exported = {}, set()
    while args and "=" in args[0]:
        name, _, value = args.pop(0).partition("=")
        inner.assign(name, value)
        inner.exported.add(name)
    if args:
        return await inner.call(args, call.io)
    for name, value in inner.environment.items():
        await call.print(f"{name}={value}\n")
    return 0


async def leave(call: Call) -> int:
    raise Exit(_number(call.args[0]) & 0xFF if call.args else call.shell.status)


async def break_or_continue(call: Call) -> int:
    levels = _number(call.args[0]) if call.args else 1
    if levels < 1:
        raise UsageFault(f"{levels}: loop count out of range")
    if call.shell.loops:
        raise LoopExit(levels, again=call.name == "continue")
    return 0


async def sh(call: Call) -> int:
    args = list(call.args)
    while args and args[0] in ("-l", "-e", "-x", "--login"):
        args.pop(0)
    if args and args[0].startswith("-") and args[0].endswith("c") and len(args) > 1:
        name = args[2] if len(args) > 2 else "sh"
        return await call.shell.run_apart(args[1].encode("utf-8", "surrogateescape"), name, args[3:], call.io)
    name = args[0] if args else "-"
    with call.source(name) as source:
        text = await read_all(source, SCRIPT_LIMIT)
    return await call.shell.run_apart(text, name if args else "sh", args[1:], call.io)


async def evaluate(call: Call) -> int:
    return await call.shell.evaluate(" ".join(call.args), call.io)


async def execute(call: Call) -> int:
    if call.args:
        raise Exit(await call.shell.call(call.args, call.io))
    return 0


async def command(call: Call) -> int:
    if not call.args or call.args[0] not in ("-v", "-V"):
        return await call.shell.call(call.args, call.io) if call.args else 0
    return await which(call)


async def which(call: Call) -> int:
    status = 0
    for name in call.args:
        if name.startswith("-"):
            continue
        if call.shell.find(name):
            await call.print(f"/bin/{name.rpartition('/')[2]}\n")
        else:
            status = 1
    return status


async def read(call: Call) -> int:
    """`read [-r] NAME…`"""
    _, names = call.options("r")
    line, byte = b"", b""
    while len(line) < LINE_LIMIT and (byte := await call.io.input.read(1)) and byte != b"\n":
        line += byte
    words = decode(line).split(None, max(len(names) - 1, 0)) if len(names) != 1 else [decode(line).strip()]
    for number, name in enumerate(names or ["REPLY"]):
        call.shell.assign(name, words[number] if number < len(words) else "")
    return int(not byte)


async def sleep(call: Call) -> int:
    seconds = 0.0
    if not call.args:
        raise UsageFault("missing operand")
    for argument in call.args:
        matched = DURATION.fullmatch(argument)
        if matched is None:
            raise UsageFault(f"invalid number '{argument}'")
        seconds += float(matched[1]) * SECONDS[matched[2]]
    await asyncio.sleep(seconds)
    return 0


async def test(call: Call) -> int:
    args = list(call.args)
    if call.name == "[" and (not args or args.pop() != "]"):
        raise UsageFault("missing ]")
    return int(not _holds(call, args))


def _holds(call: Call, args: list[str]) -> bool:
    match args:
        case []:
            return False
        case [value]:
            return value != ""
        case ["!", *rest]:
            return not _holds(call, rest)
        case ["-z", value]:
            return value == ""
        case ["-n", value]:
            return value != ""
        case ["-t", descriptor]:
            stream = {"0": call.io.input, "1": call.io.output, "2": call.io.error}.get(descriptor)
            return stream is not None and stream is call.shell.tty
        case [flag, name] if flag in ("-e", "-f", "-d", "-s", "-L", "-h", "-r", "-w", "-x"):
            return _file_holds(call, flag, name)
        case [left, "=" | "==", right]:
            return left == right
        case [left, "!=", right]:
            return left != right
        case [left, ("-eq" | "-ne" | "-lt" | "-le" | "-gt" | "-ge") as comparison, right]:
            difference = _number(left) - _number(right)
            return {
                "-eq": difference == 0,
                "-ne": difference != 0,
                "-lt": difference < 0,
                "-le": difference <= 0,
                "-gt": difference > 0,
                "-ge": difference >= 0,
            }[comparison]
        case [*left, "-o", _] | [*left, "-o", _, _] if left:
            return _holds(call, left) or _holds(call, args[len(left) + 1 :])
        case [*left, "-a", _] | [*left, "-a", _, _] if left:
            return _holds(call, left) and _holds(call, args[len(left) + 1 :])
    raise UsageFault("unexpected operator")


def _file_holds(call: Call, flag: str, name: str) -> bool:
    path = call.path(name)
    try:
        if flag in ("-L", "-h"):
            return call.files.lstat(path).kind is Kind.LINK
        node = call.files.stat(path)
    except OSError:
        return False
    match flag:
        case "-f":
            return node.kind is Kind.FILE and not call.files.real_path(path).startswith("/dev/")
        case "-d":
            return node.kind is Kind.DIRECTORY
        case "-s":
            return node.kind is Kind.DIRECTORY or node.size > 0
        case "-x":
            return bool(node.mode & 0o111)
    return True


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageFault(f"Illegal number: {text}") from None


COMMANDS: Mapping[str, Command] = {
    ":": true,
    "[": test,
    "bash": sh,
    "break": break_or_continue,
    "cd": cd,
    "command": command,
    "continue": break_or_continue,
    "env": env,
    "eval": evaluate,
    "exec": execute,
    "exit": leave,
    "export": export,
    "false": false,
    "logout": leave,
    "printenv": env,
    "pwd": pwd,
    "read": read,
    "sh": sh,
    "sleep": sleep,
    "test": test,
    "true": true,
    "unset": unset,
    "which": which,
}
