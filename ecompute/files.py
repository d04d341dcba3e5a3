"""The small files that a caller may name instead of their content."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .errors import InvalidArgument

_MOST = 16 * 1024
"""Bytes of the largest key file: an RSA key of 16,384 bits has less than three thousand."""


def public_key_text(key: str | os.PathLike[str]) -> Any:
    """A public key's line from itself, or from the file of a path.

    Raises:
        InvalidArgument: the file cannot be read, or holds a private key, which must not be sent anywhere.
    """
    if not isinstance(key, os.PathLike):
        _refuse_private(key)
        return key
    try:
        path = Path(key).expanduser()
        with path.open("rb") as file:
            content = file.read(_MOST + 1)
        text = content.decode().strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InvalidArgument(f"The public key file cannot be read: {reason}.") from error
    if len(content) > _MOST:
        raise InvalidArgument("The public key file is too large to hold a key.")
    _refuse_private(text)
    return text


def _refuse_private(text: Any) -> None:
    if isinstance(text, str) and "PRIVATE KEY-----" in text:
        raise InvalidArgument("This is a private key: pass the public one, whose file ends in `.pub`.")
