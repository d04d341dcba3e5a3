"""Reading of programs and kernel modules."""

from __future__ import annotations

import pytest

from ecompute_server.images import elf
from ecompute_server.images.interface import ImageError

from .packages import make_elf, make_module


def test_needs_of_a_program() -> None:
    """Libraries in their order, with the interpreter."""
    assert elf.needs(make_elf("libb.so.1", "liba.so.2", interpreter="/lib/ld.so")) == elf.Needs(
        "/lib/ld.so", ("libb.so.1", "liba.so.2")
    )


def test_a_program_may_need_nothing() -> None:
    """As static ones do."""
    assert elf.needs(make_elf()) == elf.Needs("", ())


def test_notes_of_a_module() -> None:
    """Every key with its value, empty values too."""
    assert elf.module_notes(make_module(name="x", depends="")) == {"name": "x", "depends": ""}


@pytest.mark.parametrize("size", [0, 4, 40, 63, 100, 230])
def test_what_is_cut_off_is_an_error(size: int) -> None:
    """Wherever the file ends."""
    with pytest.raises(ImageError):
        elf.needs(make_elf("liba.so.1", interpreter="/lib/ld.so")[:size])
    with pytest.raises(ImageError):
        elf.module_notes(make_module(name="x")[:size])


def test_other_word_sizes_are_refused() -> None:
    """32-bit programs have another layout."""
    with pytest.raises(ImageError, match="64-bit"):
        elf.needs(b"\x7fELF\x01\x01" + bytes(200))
