"""What is read from ELF files: the libraries that a program needs, and a kernel module's notes.

64-bit little-endian only, as both architectures of the guest images are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from attrs import frozen

from ecompute_server.images.interface import ImageError

MAGIC = b"\x7fELF\x02\x01"
PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NULL, DT_NEEDED, DT_STRTAB = 0, 1, 5


@frozen
class Needs:
    """What a program wants at its start: its `interpreter`'s path (empty for a static one) and the names of
    `libraries`, in the order of the file.
    """

    interpreter: str
    libraries: tuple[str, ...]


def is_elf(data: bytes) -> bool:
    return data.startswith(b"\x7fELF")


def needs(data: bytes) -> Needs:
    """The interpreter and libraries of a program or library.

    Raises:
        ImageError: no 64-bit little-endian ELF file, or a damaged one.
    """
    try:
        return _needs(data)
    except (struct.error, ValueError, IndexError) as error:
        raise ImageError(f"an ELF file is damaged: {error}") from error


def module_notes(data: bytes) -> dict[str, str]:
    """The `.modinfo` section of a kernel module (`name`, `depends`, `vermagic`, …); of keys that come more
    than once the last one is kept.

    Raises:
        ImageError: no ELF file, a damaged one, or one without such a section.
    """
    try:
        section = dict(_sections(data)).get(".modinfo")
    except (struct.error, ValueError, IndexError) as error:
        raise ImageError(f"a kernel module is damaged: {error}") from error
    if section is None:
        raise ImageError("a kernel module has no .modinfo section")
    notes = (entry.decode("utf-8", "replace").partition("=") for entry in section.split(b"\0") if entry)
    return {key: value for key, _, value in notes}


def _check(data: bytes) -> None:
    if not data.startswith(MAGIC):
        raise ValueError("not a 64-bit little-endian ELF file")


def _slice(data: bytes, offset: int, size: int) -> bytes:
    if offset + size > len(data):
        raise ValueError("a part lies beyond its end")
    return data[offset : offset + size]


def _text(table: bytes, offset: int) -> str:
    return table[offset : table.index(b"\0", offset)].decode()


def _needs(data: bytes) -> Needs:
    _check(data)
    start, size, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    interpreter, dynamic, loads = "", b"", []
    for index in range(count):
        kind, _, offset, address, _, length, *_ = struct.unpack_from("<IIQQQQQQ", data, start + index * size)
        if kind == PT_LOAD:
            loads.append((address, offset, length))
        elif kind == PT_DYNAMIC:
            dynamic = _slice(data, offset, length)
        elif kind == PT_INTERP:
            interpreter = _slice(data, offset, length).rstrip(b"\0").decode()
    tags = list(_tags(dynamic))
    table = next((value for tag, value in tags if tag == DT_STRTAB), None)
    if table is None:
        return Needs(interpreter, ())
    # The string table is named by its address in memory; the segment that is loaded there has its offset.
    where = next((o + table - a for a, o, length in loads if a <= table < a + length), None)
    if where is None:
        raise ValueError("its string table is in no segment")
    strings = data[where:]
    return Needs(interpreter, tuple(_text(strings, value) for tag, value in tags if tag == DT_NEEDED))


def _tags(dynamic: bytes) -> Iterator[tuple[int, int]]:
    for tag, value in struct.iter_unpack("<QQ", dynamic[: len(dynamic) // 16 * 16]):
        if tag == DT_NULL:
            return
        yield tag, value


def _sections(data: bytes) -> Iterator[tuple[str, bytes]]:
    _check(data)
    start = struct.unpack_from("<Q", data, 40)[0]
    size, count, names_index = struct.unpack_from("<HHH", data, 58)
    headers = [struct.unpack_from("<IIQQQQ", data, start + index * size) for index in range(count)]
    names = _slice(data, headers[names_index][4], headers[names_index][5])
    for name, kind, _, _, offset, length in headers:
        if kind == 1:  # SHT_PROGBITS; others, as .bss, may have no bytes in the file
            yield _text(names, name), _slice(data, offset, length)
