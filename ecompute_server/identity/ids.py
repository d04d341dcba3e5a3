"""Ids that nobody can guess."""

from __future__ import annotations

import secrets
import string

_ALPHABET = string.ascii_lowercase + string.digits


def random_id(length: int) -> str:
    """So many characters of `[a-z0-9]`, from a secure random source."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
