"""The small files that a caller may name instead of their content."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

from .errors import InvalidArgument, one_line

_MOST = 16 * 1024
"""Bytes of the largest key file: an RSA key of 16,384 bits has less than three thousand."""


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path with its home folder in place of `~`.

    Raises:
        InvalidArgument: that is unknown.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InvalidArgument(f"The home folder in {os.fspath(path)!r} is unknown.") from None


def small_file(path: Path, most: int) -> tuple[bytes, os.stat_result]:
    """The content and the status of a regular file of at most `most` bytes. Nothing is waited for: a pipe
    without a writer is refused as every other kind of file.

    Raises:
        OSError: it is none, or cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError:
        # whose text tells of encodings
        raise OSError(errno.EINVAL, "it is no path") from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        if status.st_size > most or len(content := file.read(most + 1)) > most:
            raise OSError(errno.EFBIG, "it is too large")
    return content, status


def public_key_text(key: str | os.PathLike[str]) -> Any:
    """A public key's line from itself, or from the file of a path.

    Raises:
        InvalidArgument: the file cannot be read, or holds a private key, which must not be sent anywhere.
    """
    if not isinstance(key, os.PathLike):
        _refuse_private(key)
        if isinstance(key, str) and (key.startswith(("/", "~", "./", "../")) or key.endswith(".pub")):
            raise InvalidArgument("This looks like the path of a key's file: pass it as a pathlib.Path.")
        return key
    path = expanded(key)
    try:
        with path.open("rb") as file:
            content = file.read(_MOST + 1)
        text = content.decode().strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        advice = "; `ssh-keygen` makes a key" if isinstance(error, FileNotFoundError) else ""
        raise InvalidArgument(
            f"The public key file {one_line(str(path))} cannot be read: {reason}{advice}."
        ) from error
    if len(content) > _MOST:
        raise InvalidArgument("The public key file is too large to hold a key.")
    _refuse_private(text)
    return text


def _refuse_private(text: Any) -> None:
    if isinstance(text, str) and "PRIVATE KEY-----" in text:
        raise InvalidArgument("This is a private key: pass the public one, whose file ends in `.pub`.")
