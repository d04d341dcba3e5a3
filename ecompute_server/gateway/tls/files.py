"""Files of certificates and keys: made once, whole or not at all, for the server's user only; and read
without waiting for anybody.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from ecompute_server.gateway.tls.errors import CertificateError
from ecompute_server.logs import get_logger

_log = get_logger(__name__)

_OTHERS = 0o077

MOST_BYTES = 2**20
"""Of one file: some hundred certificates."""


def private_directory(path: Path) -> None:
    """Make the directory (mode 0700), and tighten it where it has wider rights.

    Raises:
        OSError: it can be neither made nor tightened.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    rights = stat.S_IMODE(path.stat().st_mode)
    if rights & _OTHERS:
        path.chmod(0o700)
        _log.warning("directory tightened to 0700", path=str(path), was=oct(rights))


def make_once(path: Path, content: bytes) -> None:
    """Write a file of mode 0600 that is on disk when this returns, unless there is one of that name.

    Of several processes and threads that do so at the same time one wins; what the others wrote is dropped.

    Raises:
        OSError: it cannot be written.
    """
    file, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(file, "wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(file)
        try:
            # unlike a rename, a link takes nobody's place
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        Path(draft).unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_file(path: Path) -> bytes:
    """The content of a regular file of at most `MOST_BYTES`. Waits for nobody, such as a writer of a FIFO.

    Raises:
        CertificateError: it is no regular file, or larger.
        OSError: it cannot be read.
    """
    return _read(path, others=0)


def read_secret(path: Path, others: int = _OTHERS) -> bytes:
    """The content of a key file; otherwise as `read_file`.

    Raises:
        CertificateError: it is no regular file, or larger, or somebody whom `others` (bits of a mode) names
            may use it.
        OSError: it cannot be read.
    """
    return _read(path, others)


def _read(path: Path, others: int) -> bytes:
    with open(path, "rb", opener=_open_at_once) as opened:
        mode = os.fstat(opened.fileno()).st_mode
        if not stat.S_ISREG(mode):
            raise CertificateError(f"{path} cannot be used: it is no regular file.")
        if mode & others:
            raise CertificateError(f"Others can read the key file {path}; run: chmod 600 {path}")
        # None is what a file of /proc gives that has nothing to tell yet
        content = opened.read(MOST_BYTES + 1) or b""
        if len(content) > MOST_BYTES:
            raise CertificateError(f"{path} cannot be used: it is larger than {MOST_BYTES >> 20} MiB.")
        return content


def _open_at_once(path: str, flags: int) -> int:
    # opened before it is looked at, so that what was looked at is what is read
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
