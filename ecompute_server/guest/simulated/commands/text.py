"""Commands that make, pass on or measure streams of bytes."""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Mapping

from ecompute_server.guest.simulated.call import APPEND, WRITE, Call, Command, UsageFault, encode, open_stream
from ecompute_server.guest.simulated.streams import CHUNK, FileStream, Source

SIZE = re.compile(r"([0-9]+)([bkKMG]?)B?")
UNITS = {"": 1, "b": 512, "k": 1 << 10, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
TAIL_LIMIT = 8 << 20
ESCAPE = re.compile(r"\\(?:([abfnrtv\\\"])|0?([0-7]{1,3})|x([0-9a-fA-F]{1,2}))")
ESCAPES = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, '"': 34}
WIDEST = 4096
DIRECTIVE = re.compile(r"%([-0]*)([0-9]*)(?:\.([0-9]+))?([sdiuxXoc%b])")


async def echo(call: Call) -> int:
    args = list(call.args)
    newline, escapes = b"\n", False
    while args and re.fullmatch(r"-[neE]+", args[0]):
        flags = args.pop(0)
        newline = b"" if "n" in flags else newline
        escapes = "e" in flags or (escapes and "E" not in flags)
    text = " ".join(args)
    await call.io.output.write((unescape(text) if escapes else encode(text)) + newline)
    return 0


async def printf(call: Call) -> int:
    if not call.args:
        raise UsageFault("missing operand")
    form, values = call.args[0], deque(call.args[1:])
    while True:
        before = len(values)
        output, at = b"", 0
        for found in DIRECTIVE.finditer(form):
            output += unescape(form[at : found.start()]) + _formatted(found, values)
            at = found.end()
        await call.io.output.write(output + unescape(form[at:]))
        if not values or len(values) == before:
            return 0


def _formatted(found: re.Match[str], values: deque[str]) -> bytes:
    flags, width, precision, kind = found.groups()
    if kind == "%":
        return b"%"
    value = values.popleft() if values else ""
    if kind in "sb":
        text = unescape(value) if kind == "b" else encode(value)
        text = text[: int(precision)] if precision else text
    elif kind == "c":
        text = encode(value[:1])
    else:
        try:
            number = int(value or "0", 0)
        except ValueError:
            raise UsageFault(f"{value}: invalid number") from None
        text = (f"%{kind}" % number).encode()
    size = min(int(width or 0), WIDEST)
    if "-" in flags:
        return text.ljust(size)
    return text.rjust(size, b"0" if "0" in flags and kind not in "sbc" else b" ")


def unescape(text: str) -> bytes:
    """The bytes of a text with backslash escapes."""
    output, at = b"", 0
    for found in ESCAPE.finditer(text):
        letter, octal, hexadecimal = found.groups()
        value = ESCAPES[letter] if letter else int(octal, 8) & 0xFF if octal else int(hexadecimal, 16)
        output += encode(text[at : found.start()]) + bytes((value,))
        at = found.end()
    return output + encode(text[at:])


async def cat(call: Call) -> int:
    _, names = call.options("u")
    status = 0
    for name in names or ["-"]:
        try:
            with call.source(name) as source:
                while chunk := await source.read():
                    await call.io.output.write(chunk)
        except OSError as error:
            await call.complain_of(error, name)
            status = 1
    return status


async def head(call: Call) -> int:
    args = [f"-n{arg[1:]}" if re.fullmatch(r"-[0-9]+", arg) else arg for arg in call.args]
    options, names = Call(call.shell, call.name, args, call.io).options("q", "nc")
    status = 0
    for name in names or ["-"]:
        try:
            with call.source(name) as source:
                if len(names) > 1 and "q" not in options:
                    await call.print(f"==> {name} <==\n")
                if "c" in options:
                    await _copy_bytes(source, call, size(options["c"]))
                else:
                    await _copy_lines(source, call, size(options.get("n", "10")))
        except OSError as error:
            await call.complain_of(error, name)
            status = 1
    return status


async def _copy_bytes(source: Source, call: Call, left: int) -> None:
    while left and (chunk := await source.read(min(left, CHUNK))):
        left -= len(chunk)
        await call.io.output.write(chunk)


async def _copy_lines(source: Source, call: Call, left: int) -> None:
    while left > 0 and (chunk := await source.read()):
        lines = re.findall(rb"[^\n]*\n|[^\n]+", chunk)
        taken = b"".join(lines[:left])
        left -= taken.count(b"\n")
        await call.io.output.write(taken)


async def tail(call: Call) -> int:
    args = [f"-n{arg[1:]}" if re.fullmatch(r"-[0-9]+", arg) else arg for arg in call.args]
    options, names = Call(call.shell, call.name, args, call.io).options("q", "nc")
    for name in names or ["-"]:
        kept = bytearray()
        with call.source(name) as source:
            while chunk := await source.read():
                kept += chunk
                del kept[:-TAIL_LIMIT]
        if "c" in options:
            wanted = size(options["c"])
            await call.io.output.write(bytes(kept[-wanted:]) if wanted else b"")
        else:
            wanted = size(options.get("n", "10"))
            lines = bytes(kept).split(b"\n")
            ended = lines[-1] == b""
            await call.io.output.write(b"\n".join(lines[-(wanted + ended) :]) if wanted else b"")
    return 0


async def wc(call: Call) -> int:
    options, names = call.options("clwm")
    wanted = [letter for letter in "lwc" if letter in options or (letter == "c" and "m" in options)]
    wanted = wanted or ["l", "w", "c"]
    status = 0
    for name in names or ["-"]:
        counts = {"l": 0, "w": 0, "c": 0}
        blank = True
        try:
            with call.source(name) as source:
                while chunk := await source.read():
                    counts["c"] += len(chunk)
                    counts["l"] += chunk.count(b"\n") if "l" in wanted else 0
                    if "w" in wanted:
                        counts["w"] += len(chunk.split()) - (not blank and not chunk[:1].isspace())
                        blank = chunk[-1:].isspace()
        except OSError as error:
            await call.complain_of(error, name)
            status = 1
            continue
        figures = " ".join(str(counts[letter]) for letter in wanted)
        await call.print(f"{figures} {name}\n" if names else f"{figures}\n")
    return status


async def sha256sum(call: Call) -> int:
    _, names = call.options("b")
    status = 0
    for name in names or ["-"]:
        digest = hashlib.sha256()
        try:
            with call.source(name) as source:
                while chunk := await source.read():
                    digest.update(chunk)
        except OSError as error:
            await call.complain_of(error, name)
            status = 1
            continue
        await call.print(f"{digest.hexdigest()}  {name}\n")
    return status


async def tee(call: Call) -> int:
    options, names = call.options("a")
    streams = [open_stream(call.shell, name, APPEND if "a" in options else WRITE) for name in names]
    try:
        while chunk := await call.io.input.read():
            for sink in (call.io.output, *streams):
                await sink.write(chunk)
    finally:
        for stream in streams:
            if isinstance(stream, FileStream):
                stream.close()
    return 0


async def yes(call: Call) -> int:
    line = encode(" ".join(call.args) or "y") + b"\n"
    block = line * max(1, CHUNK // len(line))
    while True:
        await call.io.output.write(block)


async def seq(call: Call) -> int:
    try:
        numbers = [int(argument) for argument in call.args]
    except ValueError:
        raise UsageFault("invalid number") from None
    if not 1 <= len(numbers) <= 3:
        raise UsageFault("one to three numbers are needed")
    first, last = (numbers[0], numbers[-1]) if len(numbers) > 1 else (1, numbers[0])
    step = numbers[1] if len(numbers) == 3 else 1
    if not step:
        raise UsageFault("the step must not be zero")
    for number in range(first, last + (1 if step > 0 else -1), step):
        await call.print(f"{number}\n")
    return 0


def size(text: str) -> int:
    """A number with a unit.

    Raises:
        UsageFault: it is none.
    """
    found = SIZE.fullmatch(text)
    if found is None:
        raise UsageFault(f"invalid number '{text}'")
    return int(found[1]) * UNITS[found[2]]


COMMANDS: Mapping[str, Command] = {
    "cat": cat,
    "echo": echo,
    "head": head,
    "printf": printf,
    "seq": seq,
    "sha256sum": sha256sum,
    "tail": tail,
    "tee": tee,
    "wc": wc,
    "yes": yes,
}
