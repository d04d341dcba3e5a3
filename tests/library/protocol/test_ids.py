"""What may stand for an id."""

from __future__ import annotations

from typing import Any

import pytest

from ecompute.contract.resources import Container, SSHKey, Token
from ecompute.protocol.ids import problem_of_id

IS_TOKEN = "is a token itself, not its id"


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("abc12345", str, None),
        ("ecloudy", str, None),
        ("eyJ", str, None),
        ("eyJ.eyJ", str, None),
        (7, int, None),
        (Container("a", "a", "running"), str, "is another kind of thing"),
        (SSHKey(1, "k", "ssh-ed25519 A"), int, "is another kind of thing"),
        (Token("t", "t", {}), str, "is another kind of thing"),
        (Container("a", "a", "running"), int, "is another kind of thing"),
        (3, str, "must be a text"),
        (None, str, "must be a text"),
        ("laptop", int, "must be an integer"),
        ("7", int, "must be an integer"),
        (True, int, "must be an integer"),
        ("", str, "must not be empty"),
        (".", str, "is no id"),
        ("..", str, "is no id"),
        ("\ud800", str, "must be valid Unicode text"),
        ("ecloud_abc", str, IS_TOKEN),
        (" ecloud_abc", str, IS_TOKEN),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1MSJ9.c2ln-_", str, IS_TOKEN),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1MSJ9.c2ln\n", str, IS_TOKEN),
    ],
)
def test_each_mistake_has_its_own_words(value: Any, kind: type, expected: str | None) -> None:
    """One thing is said, and what would help."""
    assert problem_of_id(value, kind) == expected
