"""Commands on names: listing, making, moving and removing files and directories."""

from __future__ import annotations

import asyncio
import errno
import os
import posixpath
import stat
import time
from collections.abc import AsyncIterator, Iterator, Mapping

from ecompute_server.guest.simulated.call import APPEND, WRITE, Call, Command, UsageFault
from ecompute_server.guest.simulated.streams import CHUNK, FileStream
from ecompute_server.hypervisor.simulated import Kind, Node


async def ls(call: Call) -> int:
    options, names = call.options("1adlAhFtr")
    status = 0
    listed: list[tuple[str, Node]] = []
    folders: list[str] = []
    for name in names or ["."]:
        path = call.path(name)
        try:
            node = call.files.lstat(path) if "l" in options or "d" in options else call.files.stat(path)
        except OSError as error:
            await call.complain_of(error, name)
            status = 1
            continue
        if node.kind is Kind.DIRECTORY and "d" not in options:
            folders.append(name)
        else:
            listed.append((name, node))
    await _show(call, listed, options)
    for number, name in enumerate(folders):
        if len(names) > 1:
            await call.print(("\n" if number or listed else "") + f"{name}:\n")
        entries = call.files.list_directory(call.path(name))
        if not options.keys() & {"a", "A"}:
            entries = [(entry, node) for entry, node in entries if not entry.startswith(".")]
        if "a" in options:
            here = call.path(name)
            dots = [(".", call.files.stat(here)), ("..", call.files.stat(posixpath.join(here, "..")))]
            entries = [*dots, *entries]
        await _show(call, entries, options)
    return status


async def _show(call: Call, entries: list[tuple[str, Node]], options: Mapping[str, str]) -> None:
    """Print one line each, or one line with all of them on a terminal."""
    if "t" in options:
        entries = sorted(entries, key=lambda entry: -entry[1].mtime)
    if "r" in options:
        entries = entries[::-1]
    if "l" not in options:
        names = [name + "/" * ("F" in options and node.kind is Kind.DIRECTORY) for name, node in entries]
        separator = "  " if call.io.output is call.shell.tty and "1" not in options else "\n"
        if names:
            await call.print(separator.join(names) + "\n")
        return
    for name, node in entries:
        when = time.strftime("%b %e %H:%M", time.gmtime(max(node.mtime, 0)))
        arrow = f" -> {node.target}" if node.kind is Kind.LINK else ""
        size = 4096 if node.kind is Kind.DIRECTORY else node.size
        await call.print(f"{stat.filemode(node.st_mode)} 1 root root {size:>8} {when} {name}{arrow}\n")


async def mkdir(call: Call) -> int:
    options, names = call.options("pv", "m")
    mode = _mode(options.get("m", "755"))
    status = 0
    for name in _needed(names):
        try:
            if "p" in options:
                call.files.make_directories(call.path(name))
            else:
                call.files.make_directory(call.path(name))
            if "m" in options:
                call.files.change_mode(call.path(name), mode)
        except OSError as error:
            await call.complain(f"can't create directory '{name}': {error.strerror}")
            status = 1
    return status


async def rmdir(call: Call) -> int:
    _, names = call.options("")
    status = 0
    for name in _needed(names):
        try:
            call.files.remove_directory(call.path(name))
        except OSError as error:
            await call.complain_of(error, name)
            status = 1
    return status


async def rm(call: Call) -> int:
    options, names = call.options("rRfv")
    status = 0
    for name in names if "f" in options else _needed(names):
        path = call.path(name)
        try:
            if options.keys() & {"r", "R"} and call.files.lstat(path).kind is Kind.DIRECTORY:
                await remove_tree(call, path)
            else:
                call.files.unlink(path)
        except OSError as error:
            if error.errno != errno.ENOENT or "f" not in options:
                await call.complain(f"can't remove '{name}': {error.strerror}")
                status = 1
    return status


async def remove_tree(call: Call, path: str) -> None:
    """Remove a directory with all below it; raises at the first thing that cannot go."""
    waiting = [path]
    found: list[str] = []
    while waiting:
        here = waiting.pop()
        found.append(here)
        await asyncio.sleep(0)
        for name, node in call.files.list_directory(here):
            below = posixpath.join(here, name)
            if node.kind is Kind.DIRECTORY:
                waiting.append(below)
            else:
                call.files.unlink(below)
                await asyncio.sleep(0)
    for folder in reversed(found):
        call.files.remove_directory(folder)


async def touch(call: Call) -> int:
    options, names = call.options("cam")
    status = 0
    for name in _needed(names):
        path = call.path(name)
        try:
            if not call.files.exists(path):
                if "c" in options:
                    continue
                call.files.open(path, APPEND).close()
            call.files.change_time(path, time.time())
        except OSError as error:
            await call.complain_of(error, name)
            status = 1
    return status


async def mv(call: Call) -> int:
    _, names = call.options("fn")
    status = 0
    for name, target in _pairs(call, names):
        try:
            call.files.rename(call.path(name), target)
        except OSError as error:
            await call.complain(f"can't rename '{name}': {error.strerror}")
            status = 1
    return status


async def cp(call: Call) -> int:
    options, names = call.options("rRafp")
    status = 0
    for name, target in _pairs(call, names):
        source = call.path(name)
        try:
            if call.files.stat(source).kind is not Kind.DIRECTORY:
                await _copy_file(call, source, target)
            elif options.keys() & {"r", "R", "a"}:
                await _copy_tree(call, source, target)
            else:
                await call.complain(f"omitting directory '{name}'")
                status = 1
        except OSError as error:
            await call.complain(f"can't copy '{name}': {error.strerror}")
            status = 1
    return status


async def _copy_tree(call: Call, source: str, target: str) -> None:
    if (call.files.real_path(target) + "/").startswith(call.files.real_path(source) + "/"):
        raise OSError(errno.EINVAL, "cannot be copied into itself")
    async for path, node in walk(call, source):
        copy = posixpath.join(target, posixpath.relpath(path, source)) if path != source else target
        match node.kind:
            case Kind.DIRECTORY:
                call.files.make_directories(copy)
                call.files.change_mode(copy, node.mode)
            case Kind.LINK:
                call.files.make_link(node.target, copy)
            case Kind.FILE:
                await _copy_file(call, path, copy)


async def walk(call: Call, path: str) -> AsyncIterator[tuple[str, Node]]:
    """The node at a path, then all below it, each directory before what is in it."""
    waiting = [path]
    while waiting:
        here = waiting.pop()
        await asyncio.sleep(0)
        node = call.files.lstat(here)
        yield here, node
        if node.kind is Kind.DIRECTORY:
            names = [name for name, _ in call.files.list_directory(here)]
            waiting += [posixpath.join(here, name) for name in reversed(names)]


async def _copy_file(call: Call, source: str, target: str) -> None:
    node = call.files.stat(source)
    if call.files.exists(target) and call.files.stat(target).id == node.id:
        raise OSError(errno.EINVAL, "source and target are the same file")
    reading = FileStream(call.files.open(source, os.O_RDONLY))
    try:
        writing = FileStream(call.files.open(target, WRITE, node.mode))
        try:
            while chunk := await reading.read(CHUNK):
                await writing.write(chunk)
        finally:
            writing.close()
    finally:
        reading.close()


async def ln(call: Call) -> int:
    options, names = call.options("sfn")
    if "s" not in options or len(names) != 2:
        raise UsageFault("only symbolic links: ln -s TARGET NAME")
    target, name = names
    path = call.path(name)
    if call.files.exists(path) and call.files.stat(path).kind is Kind.DIRECTORY:
        path = posixpath.join(path, posixpath.basename(target))
    try:
        if "f" in options and _there(call, path):
            call.files.unlink(path)
        call.files.make_link(target, path)
    except OSError as error:
        await call.complain_of(error, name)
        return 1
    return 0


async def readlink(call: Call) -> int:
    options, names = call.options("f")
    for name in _needed(names):
        if "f" in options:
            await call.print(call.files.real_path(call.path(name)) + "\n")
            continue
        node = call.files.lstat(call.path(name))
        if node.kind is not Kind.LINK:
            return 1
        await call.print(f"{node.target}\n")
    return 0


async def chmod(call: Call) -> int:
    """Octal modes, and `+x`."""
    recursive = call.args[:1] == ["-R"]
    wanted, *names = call.args[1:] if recursive else [*call.args] or [""]
    mode = None if wanted in ("+x", "a+x") else _mode(wanted)
    status = 0
    for name in _needed(names):
        top = call.path(name)
        try:
            paths = [path async for path, _ in walk(call, top)] if recursive else [top]
            for path in paths:
                call.files.change_mode(path, call.files.stat(path).mode | 0o111 if mode is None else mode)
        except OSError as error:
            await call.complain_of(error, name)
            status = 1
    return status


def _mode(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        raise UsageFault(f"invalid mode '{text}'") from None
    if not 0 <= mode <= 0o7777:
        raise UsageFault(f"invalid mode '{text}'")
    return mode


def _needed(names: list[str]) -> list[str]:
    if not names:
        raise UsageFault("missing operand")
    return names


def _pairs(call: Call, names: list[str]) -> Iterator[tuple[str, str]]:
    """Each source with the path that it is to have."""
    if len(names) < 2:
        raise UsageFault("missing operand")
    *sources, target = names
    path = call.path(target)
    into = call.files.exists(path) and call.files.stat(path).kind is Kind.DIRECTORY
    if len(sources) > 1 and not into:
        raise UsageFault(f"target '{target}' is not a directory")
    for name in sources:
        yield name, posixpath.join(path, posixpath.basename(name.rstrip("/"))) if into else path


def _there(call: Call, path: str) -> bool:
    try:
        call.files.lstat(path)
    except OSError:
        return False
    return True


COMMANDS: Mapping[str, Command] = {
    "chmod": chmod,
    "cp": cp,
    "ln": ln,
    "ls": ls,
    "mkdir": mkdir,
    "mv": mv,
    "readlink": readlink,
    "rm": rm,
    "rmdir": rmdir,
    "touch": touch,
}
