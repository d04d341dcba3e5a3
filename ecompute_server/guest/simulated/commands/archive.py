"""`tar`, streaming: no member is held in memory, whatever its size.

The standard library knows the headers; it is given one member's header blocks at a time. Names from an
archive only ever lead into the guest's file system.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import posixpath
import tarfile
import zlib
from collections.abc import Mapping, Sequence

from attrs import define, field

from ecompute_server.guest.simulated.call import READ, WRITE, Call, Command, UsageFault, encode, open_stream
from ecompute_server.guest.simulated.commands.files import remove_tree, walk
from ecompute_server.guest.simulated.streams import CHUNK, FileStream, Sink, Source
from ecompute_server.hypervisor.simulated import Kind, Node

BLOCK = tarfile.BLOCKSIZE
RECORD = tarfile.RECORDSIZE
LAST_TIME = 1 << 33
HEADER_LIMIT = 1 << 20
EXTENSIONS = b"xgLK"  # headers that say more about the member that follows
IGNORED = frozenset(
    (
        "--no-same-owner",
        "--same-owner",
        "--numeric-owner",
        "--no-same-permissions",
        "--same-permissions",
        "--preserve-permissions",
    )
)


class BadArchive(Exception):
    """The input is no tar archive, or ends too early."""


@define
class Options:
    """What the command line asks for."""

    action: str = ""
    file: str = "-"
    folder: str = "."
    zipped: bool = False
    verbose: bool = False
    keep_time: bool = True
    follow: bool = False
    members: list[tuple[str, str]] = field(factory=list)  # each with the directory it is meant in


async def tar(call: Call) -> int:
    options = _options(call.args)
    action = {"c": _create, "x": _extract, "t": _list}[options.action]
    try:
        return await action(call, options)
    except (BadArchive, zlib.error) as error:
        await call.complain(str(error))
        return 1


def _options(args: Sequence[str]) -> Options:
    options = Options()
    rest = list(args)
    if rest and not rest[0].startswith("-"):
        rest[0] = "-" + rest[0]  # the old style: tar xf FILE
    while rest:
        argument = rest.pop(0)
        name, _, value = argument.partition("=")
        if argument in IGNORED:
            continue
        if name in ("--directory", "--file") and value:
            _set(options, {"--directory": "C", "--file": "f"}[name], value)
        elif argument in LONG:
            _set(options, LONG[argument], "")
        elif argument == "--":
            options.members += [(options.folder, name) for name in rest]
            break
        elif argument.startswith("--"):
            raise UsageFault(f"unrecognized option '{argument}'")
        elif argument.startswith("-") and argument != "-":
            letters = argument[1:]
            while letters:
                letter, letters = letters[0], letters[1:]
                if letter in "fC":
                    if not letters and not rest:
                        raise UsageFault(f"option requires an argument -- '{letter}'")
                    _set(options, letter, letters or rest.pop(0))
                    break
                _set(options, letter, "")
        else:
            options.members.append((options.folder, argument))
    if not options.action:
        raise UsageFault("one of -c, -x, -t is needed")
    return options


LONG = {"--create": "c", "--extract": "x", "--list": "t", "--gzip": "z", "--verbose": "v", "--touch": "m"}


def _set(options: Options, letter: str, value: str) -> None:
    match letter:
        case "c" | "x" | "t":
            if options.action not in ("", letter):
                raise UsageFault("only one of -c, -x, -t may be given")
            options.action = letter
        case "f":
            options.file = value
        case "C":
            options.folder = posixpath.join(options.folder, value)
        case "z":
            options.zipped = True
        case "v":
            options.verbose = True
        case "m":
            options.keep_time = False
        case "h":
            options.follow = True
        case "p" | "o" | "S":
            pass
        case _:
            raise UsageFault(f"unrecognized option '{letter}'")


# writing


class _Zip:
    """A sink that compresses what goes on to another."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._squeeze = zlib.compressobj(wbits=31)

    async def write(self, data: bytes) -> None:
        if squeezed := self._squeeze.compress(data):
            await self._sink.write(squeezed)

    async def finish(self) -> None:
        await self._sink.write(self._squeeze.flush())


async def _create(call: Call, options: Options) -> int:
    if not options.members:
        raise UsageFault("cowardly refusing to create an empty archive")
    output = call.io.output if options.file == "-" else open_stream(call.shell, options.file, WRITE)
    sink = _Zip(output) if options.zipped else output
    status, written = 0, 0
    try:
        for folder, name in options.members:
            base = call.files.real_path(posixpath.join(call.shell.directory, folder))
            top = posixpath.normpath(posixpath.join(base, name)) if name else ""
            try:
                if options.follow:
                    # what is named only: a simulated guest has no use for links below that are followed
                    top = call.files.real_path(top)
                async for path, node in walk(call, top):
                    below = posixpath.relpath(path, top)
                    member = name if below == "." else posixpath.join(name, below)
                    written += await _add(call, options, sink, path, member, node)
            except OSError as error:
                await call.complain_of(error, name)
                status = 1
        written += 2 * BLOCK
        await sink.write(bytes(2 * BLOCK + -written % RECORD))
        if isinstance(sink, _Zip):
            await sink.finish()
    finally:
        if isinstance(output, FileStream):
            output.close()
    return status


async def _add(call: Call, options: Options, sink: Sink, path: str, member: str, node: Node) -> int:
    """Write one member; how many bytes it took."""
    info = tarfile.TarInfo(member.lstrip("/") or ".")
    info.mode, info.mtime, info.uname, info.gname = node.mode, int(node.mtime), "root", "root"
    if options.verbose:
        shown = info.name + "/" * (node.kind is Kind.DIRECTORY)
        await (call.io.error if options.file == "-" else call.io.output).write(encode(f"{shown}\n"))
    match node.kind:
        case Kind.DIRECTORY:
            info.type = tarfile.DIRTYPE
        case Kind.LINK:
            info.type, info.linkname = tarfile.SYMTYPE, node.target
        case Kind.FILE:
            with call.files.open(path, READ) as file:
                info.size = file.size
                header = info.tobuf(tarfile.GNU_FORMAT, errors="surrogateescape")
                await sink.write(header)
                left = info.size
                while left:
                    # a file that became shorter is filled up: its header is gone already
                    chunk = file.read(min(left, CHUNK)) or bytes(min(left, CHUNK))
                    await sink.write(chunk)
                    left -= len(chunk)
                await sink.write(bytes(-info.size % BLOCK))
                return len(header) + info.size + -info.size % BLOCK
    header = info.tobuf(tarfile.GNU_FORMAT, errors="surrogateescape")
    await sink.write(header)
    return len(header)


# reading


class _Input:
    """Exact amounts from a source, unzipped when it is zipped."""

    def __init__(self, source: Source, *, zipped: bool) -> None:
        self._source = source
        self._unzip = zlib.decompressobj(wbits=31) if zipped else None
        self._begun = False
        self._buffer = b""

    async def take(self, size: int) -> bytes:
        """At most `size` bytes, fewer only at the end."""
        taken = bytearray()
        while len(taken) < size and (chunk := await self.some(size - len(taken))):
            taken += chunk
        return bytes(taken)

    async def some(self, limit: int) -> bytes:
        if not self._buffer:
            self._buffer = await self._more()
            await asyncio.sleep(0)  # much can come of little when it is zipped
        chunk, self._buffer = self._buffer[:limit], self._buffer[limit:]
        return chunk

    async def drain(self) -> None:
        """Read what is left, so that who writes it is not broken off."""
        self._buffer = b""
        while await self._source.read():
            pass

    async def _more(self) -> bytes:
        while True:
            pending = self._unzip.unconsumed_tail if self._unzip else b""
            raw = pending or await self._source.read()
            if not self._begun:
                self._begun = True
                if raw.startswith(b"\x1f\x8b") and self._unzip is None:
                    self._unzip = zlib.decompressobj(wbits=31)
            if self._unzip is None or not raw:
                return raw
            if plain := self._unzip.decompress(raw, CHUNK):
                return plain
            if self._unzip.eof:
                return b""


async def _next_member(source: _Input) -> tarfile.TarInfo | None:
    """The next header; None at the end of the archive."""
    blocks = b""
    while True:
        block = await source.take(BLOCK)
        if not blocks and (not block or block == bytes(BLOCK)):
            return None
        if len(block) < BLOCK:
            raise BadArchive("short read")
        blocks += block
        if len(blocks) > HEADER_LIMIT:
            raise BadArchive("a header is too long")
        if block[156:157] not in [bytes((kind,)) for kind in EXTENSIONS]:
            break
        try:
            size = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape").size
        except tarfile.HeaderError:
            raise BadArchive("invalid tar magic") from None
        if not 0 <= size <= HEADER_LIMIT:
            raise BadArchive("a header is too long")
        blocks += await source.take(size + -size % BLOCK)
    try:
        with tarfile.open(fileobj=io.BytesIO(blocks), mode="r:", errors="surrogateescape") as archive:
            info = archive.next()
    except (tarfile.TarError, ValueError, EOFError):
        raise BadArchive("invalid tar magic") from None
    if info is None or info.size < 0 or info.issparse():
        raise BadArchive("this kind of member is not supported")
    return info


def _data_size(info: tarfile.TarInfo) -> int:
    """How many bytes of content follow the header."""
    return info.size if info.isreg() or info.type not in tarfile.SUPPORTED_TYPES else 0


async def _list(call: Call, options: Options) -> int:
    with call.source(options.file) as raw:
        source = _Input(raw, zipped=options.zipped)
        while (info := await _next_member(source)) is not None:
            if _wanted(info.name, options):
                await call.print(info.name + "/" * info.isdir() + "\n")
            await _skip(source, info)
        await source.drain()
    return 0


async def _extract(call: Call, options: Options) -> int:
    status = 0
    base = posixpath.join(call.shell.directory, options.folder)
    if call.files.stat(base).kind is not Kind.DIRECTORY:
        raise UsageFault(f"{options.folder}: not a directory")
    with call.source(options.file) as raw:
        source = _Input(raw, zipped=options.zipped)
        while (info := await _next_member(source)) is not None:
            steps = [step for step in info.name.split("/") if step not in ("", ".")]
            if not _wanted(info.name, options):
                await _skip(source, info)
                continue
            if ".." in steps:
                await call.complain(f"{info.name}: member name contains '..'")
                await _skip(source, info)
                status = 1
                continue
            if options.verbose:
                await call.print(info.name + "/" * info.isdir() + "\n")
            left = 0
            try:
                await _unpack(call, source, info, posixpath.join(base, *steps), base, options)
            except _Unwritten as error:
                left = error.left
                await call.complain(f"{info.name}: {error.cause.strerror}")
                status = 1
            await _drop(source, left + -_data_size(info) % BLOCK)
        await source.drain()
    return status


class _Unwritten(Exception):
    """A member could not be written; so many bytes of it are still to be read."""

    def __init__(self, cause: OSError, left: int) -> None:
        super().__init__(cause)
        self.cause = cause
        self.left = left


async def _unpack(
    call: Call, source: _Input, info: tarfile.TarInfo, path: str, base: str, options: Options
) -> None:
    """Bring one member into being; its content is read, the padding is not."""
    left = _data_size(info)
    files = call.files
    mtime = info.mtime if 0 <= info.mtime < LAST_TIME else 0
    try:
        if info.isdir():
            files.make_directories(path)
            files.change_mode(path, info.mode)
            return
        if path == base:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        files.make_directories(posixpath.dirname(path))
        await _make_way(call, path)
        if info.issym():
            files.make_link(info.linkname, path)
            return
        if info.islnk():
            await _copy(call, posixpath.join(base, info.linkname.lstrip("/")), path)
            return
        if not info.isreg():
            raise OSError(errno.EOPNOTSUPP, "this kind of file is not supported")
        with files.open(path, WRITE, info.mode) as file:
            while left:
                chunk = await source.some(min(left, CHUNK))
                if not chunk:
                    raise BadArchive("short read")
                left -= len(chunk)
                file.write(chunk)
        files.change_mode(path, info.mode)
        if options.keep_time:
            files.change_time(path, mtime)
    except OSError as error:
        raise _Unwritten(error, left) from error


async def _make_way(call: Call, path: str) -> None:
    """Let nothing stand where a member is to be, so that it is never written through a link."""
    try:
        node = call.files.lstat(path)
    except FileNotFoundError:
        return
    if node.kind is not Kind.DIRECTORY:
        call.files.unlink(path)
    elif not call.files.list_directory(path):
        await remove_tree(call, path)


async def _copy(call: Call, source: str, target: str) -> None:
    """A hard link becomes a copy: two names for one file are not kept here."""
    node = call.files.stat(source)
    with call.files.open(source, READ) as reading, call.files.open(target, WRITE, node.mode) as writing:
        while chunk := reading.read(CHUNK):
            writing.write(chunk)


async def _skip(source: _Input, info: tarfile.TarInfo) -> None:
    await _drop(source, _data_size(info) + -_data_size(info) % BLOCK)


async def _drop(source: _Input, left: int) -> None:
    while left:
        chunk = await source.some(min(left, CHUNK))
        if not chunk:
            raise BadArchive("short read")
        left -= len(chunk)


def _wanted(name: str, options: Options) -> bool:
    """Whether the command line names this member, one above it, or none at all."""
    chosen = [posixpath.normpath(member) for _, member in options.members]
    shown = posixpath.normpath(name)
    return not chosen or any(shown == one or shown.startswith(one + "/") for one in chosen)


COMMANDS: Mapping[str, Command] = {"tar": tar}
