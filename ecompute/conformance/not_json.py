"""Bodies that are no JSON objects (RFC 8259), each for a reason of its own."""

from __future__ import annotations

NO_JSON = (
    b"",
    b" ",
    b"{",
    b"}",
    b"x",
    b"{'name': 'x'}",
    b'{"name": "x",}',
    b'{"name": "x"} x',
    b"{} {}",
    b'{name: "x"}',
    b'{"name" "x"}',
    b'{"name": x}',
    b'{"name": "x" // y\n}',
    b'{"name": "\\x"}',
    b'{"name": "a\nb"}',
    b'{"name": 01}',
    b'{"name": 1.}',
    b'{"name": +1}',
    b'{"name": tru}',
    b"name=x&ssh_key_ids=1",
    b"<name>x</name>",
    b"\0",
    b"\x1f\x8b\x08\0",
)
"""What is no JSON text."""
NO_OBJECT = (b"[]", b"null", b"true", b"1", b'"x"', b'[{"name":"x"}]', b"0", b'""', b'"{}"')
"""JSON that is no object."""
NO_UTF8 = (b'{"name":"\xff"}', b'{"name":"\xc0\xaf"}', b'{"name":"\xed\xa0\x80"}', b'{"x":"\xe9"}', b"\xff")
"""Bytes that are not UTF-8."""
