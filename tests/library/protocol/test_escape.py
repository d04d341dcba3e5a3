"""The way out of a terminal, wherever what is typed is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecompute.protocol.escape import Escape


@pytest.mark.parametrize(
    ("typed", "passed", "left"),
    [
        (b"ls ~.\r", b"ls ~.\r", False),
        (b"~.", b"", True),
        (b"ls\r~.rest", b"ls\r", True),
        (b"ls\n~.", b"ls\n", True),
        (b"~~.", b"~.", False),
        (b"~~~.", b"~~.", False),
        (b"~x\r", b"~x\r", False),
        (b"~\r~.", b"~\r", True),
        (b"~", b"", False),
    ],
)
def test_what_is_typed(typed: bytes, passed: bytes, left: bool) -> None:
    """Only at the beginning of a line, at once, and all in any pieces."""
    whole, single = Escape(), Escape()
    assert (whole.filter(typed), whole.left) == (passed, left)
    pieces = b""
    for byte in typed:
        if not single.left:
            pieces += single.filter(bytes([byte]))
    assert (pieces, single.left) == (passed, left)


@given(st.binary())
def test_without_tildes_all_passes(typed: bytes) -> None:
    """Every other byte is the shell's."""
    typed = typed.replace(b"~", b"")
    escape = Escape()
    assert (escape.filter(typed), escape.left) == (typed, False)
