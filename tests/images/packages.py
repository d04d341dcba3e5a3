"""Small packages and ELF files made by hand, sound and unsound."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}


def make_tar(files: dict[str, bytes | str]) -> bytes:
    """Bytes are a file's content, a string is a symbolic link's target; names that end with a slash are
    directories.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            if name.endswith("/"):
                info.type, info.mode = tarfile.DIRTYPE, 0o750
                tar.addfile(info)
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size, info.mode = len(content), 0o4711
                tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def make_ar(members: dict[str, bytes]) -> bytes:
    parts = [b"!<arch>\n"]
    for name, data in members.items():
        parts.append(
            f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode()
            + data
            + b"\n" * (len(data) % 2)
        )
    return b"".join(parts)


def make_deb(
    path: Path, files: dict[str, bytes | str], *, suffix: str = ".xz", control: str = "Package: p\n",
    scripts: dict[str, bytes | str] | None = None,
) -> Path:  # fmt: skip
    """A package; `scripts` are what else its control archive has."""
    compress = COMPRESSIONS[suffix]
    path.write_bytes(
        make_ar(
            {
                "debian-binary": b"2.0\n",
                f"control.tar{suffix}": compress(make_tar({"./control": control.encode()} | (scripts or {}))),
                f"data.tar{suffix}": compress(make_tar(files)),
            }
        )
    )
    return path


def make_elf(*libraries: str, interpreter: str = "") -> bytes:
    """A program that needs these libraries; loaded at an address that is not its offset, as real ones are."""
    base = 0x40000
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in libraries)
    offsets = [strings.index(b"\0" + name.encode() + b"\0") + 1 for name in libraries]
    body = 64 + 3 * 56
    text = interpreter.encode() + b"\0"
    tags = [(1, offset) for offset in offsets] + [(5, base + body), (0, 0)]
    dynamic = b"".join(struct.pack("<QQ", *tag) for tag in tags)
    where = body + len(strings)
    size = where + len(text) + len(dynamic)
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 3, 64, 0, 0
    )
    programs = [
        (1, 5, 0, base, base, size, size, 4096),
        (3 if interpreter else 0, 4, where, base, base, len(text), len(text), 1),
        (2, 6, where + len(text), base, base, len(dynamic), len(dynamic), 8),
    ]
    return (
        header
        + b"".join(struct.pack("<IIQQQQQQ", *program) for program in programs)
        + strings
        + text
        + dynamic
    )


def make_module(**notes: str) -> bytes:
    """A kernel module with nothing but notes."""
    info = b"".join(f"{key}={value}".encode() + b"\0" for key, value in notes.items())
    names = b"\0.modinfo\0.shstrtab\0"
    start = 64
    table = start + len(info) + len(names)
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, table, 0, 64, 0, 0, 64, 3, 2
    )

    def section(name: int, kind: int, offset: int, size: int) -> bytes:
        return struct.pack("<IIQQQQIIQQ", name, kind, 0, 0, offset, size, 0, 0, 1, 0)

    sections = (
        section(0, 0, 0, 0) + section(1, 1, start, len(info)) + section(10, 3, start + len(info), len(names))
    )
    return header + info + names + sections
