"""The ELF kernel inside an x86 `bzImage`.

Emulated, a kernel takes half a second to unpack itself, and much longer when it does so again after a reset.
QEMU also starts the ELF file directly (by its PVH note). Debian packs it as an LZ4 stream of the old form.
"""

from __future__ import annotations

import struct

from ecompute_server.images.interface import ImageError

BOOT_MAGIC = b"HdrS"
LZ4_LEGACY = 0x184C2102
ELF_MAGIC = b"\x7fELF"


def vmlinux(kernel: bytes) -> bytes | None:
    """The kernel unpacked; `None` when it is packed in another way than LZ4 or is no `bzImage`.

    Raises:
        ImageError: the packed data is damaged.
    """
    if kernel[0x202:0x206] != BOOT_MAGIC:
        return None
    sectors = kernel[0x1F1] or 4
    offset, length = struct.unpack_from("<II", kernel, 0x248)
    start = (sectors + 1) * 512 + offset
    # The stream is followed by its unpacked size.
    packed, size = kernel[start : start + length - 4], struct.unpack_from("<I", kernel, start + length - 4)[0]
    if len(packed) < 4 or struct.unpack_from("<I", packed)[0] != LZ4_LEGACY:
        return None
    try:
        data = b"".join(_blocks(packed))
    except (IndexError, struct.error) as error:
        raise ImageError("The kernel's packed data is damaged.") from error
    if len(data) != size or not data.startswith(ELF_MAGIC):
        raise ImageError("The kernel's packed data is damaged.")
    return data


def _blocks(stream: bytes) -> list[bytes]:
    blocks, position = [], 4
    while position < len(stream):
        length = struct.unpack_from("<I", stream, position)[0]
        blocks.append(_unpack(stream[position + 4 : position + 4 + length]))
        position += 4 + length
    return blocks


def _unpack(source: bytes) -> bytes:
    """One block: sequences of literals and a copy of what came before. Written for speed, not beauty."""
    output = bytearray()
    position, end = 0, len(source)
    while position < end:
        token = source[position]
        position += 1
        length = token >> 4
        if length == 15:
            while (more := source[position]) == 255:
                length += 255
                position += 1
            length += more
            position += 1
        if length:
            output += source[position : position + length]
            position += length
        if position >= end:
            break  # the last sequence has literals only
        distance = source[position] | source[position + 1] << 8
        position += 2
        length = token & 15
        if length == 15:
            while (more := source[position]) == 255:
                length += 255
                position += 1
            length += more
            position += 1
        length += 4
        start = len(output) - distance
        if distance == 0 or start < 0:
            raise IndexError("a copy from before the start")
        if distance >= length:
            output += output[start : start + length]
        else:  # the copy overlaps itself: a pattern is repeated
            pattern = output[start:]
            output += (pattern * (length // distance + 1))[:length]
    return bytes(output)
