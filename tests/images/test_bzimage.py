"""Unpacking of an x86 kernel."""

from __future__ import annotations

import struct

import pytest

from ecompute_server.images import bzimage
from ecompute_server.images.interface import ImageError

LONG = bytes(range(256)) + bytes(44)
# Literals "\x7fELFab"; the last two repeated, overlapping, 20 bytes in all; 300 literals with a long length.
BLOCK = b"\x6f" + b"\x7fELFab" + b"\x02\x00" + b"\x01" + b"\xf0" + b"\xff\x1e" + LONG
PLAIN = b"\x7fELF" + b"ab" * 11 + LONG


def make_kernel(block: bytes = BLOCK, size: int = len(PLAIN), magic: int = bzimage.LZ4_LEGACY) -> bytes:
    payload = struct.pack("<II", magic, len(block)) + block + struct.pack("<I", size)
    head = bytearray(1024)
    head[0x1F1] = 1
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", head, 0x248, 64, len(payload))
    return bytes(head) + bytes(64) + payload


def test_the_kernel_inside_is_found() -> None:
    """Literals, overlapping copies and long lengths."""
    assert bzimage.vmlinux(make_kernel()) == PLAIN


def test_other_kernels_are_left_as_they_are() -> None:
    """Packed otherwise, or of another architecture."""
    assert bzimage.vmlinux(make_kernel(magic=1)) is None
    assert bzimage.vmlinux(b"MZ" + bytes(4000)) is None
    assert bzimage.vmlinux(b"") is None


@pytest.mark.parametrize(
    "kernel",
    [
        make_kernel(size=1),
        make_kernel(BLOCK[:200]),
        make_kernel(b"\x10a\x09\x00"),
        make_kernel(b"\xff"),
        make_kernel(b"\x40ABCD", 4),
    ],
)
def test_damage_is_an_error(kernel: bytes) -> None:
    """Wrong size, cut off, a copy from nowhere, no end, no ELF file."""
    with pytest.raises(ImageError, match="damaged"):
        bzimage.vmlinux(kernel)
