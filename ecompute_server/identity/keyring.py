"""The one secret of an installation, and the keys derived from it.

Keys of containers and sessions are derived (HKDF, RFC 5869) from a master secret that lies in a file of its
own, so the database holds no secret and a copy of it opens nothing.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from attrs import field, frozen
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ecompute_server.guest.keys import KeyPair, derive_key_pair


class KeyringError(Exception):
    """The secret file cannot be used; `str()` is one sentence for the operator."""


@frozen
class Keyring:
    """Derives keys; the same question always gives the same key."""

    _master: bytes = field(repr=False)

    @classmethod
    def load(cls, path: Path) -> Keyring:
        """Read the master secret, or make it the first time (mode 0600).

        Raises:
            KeyringError: the file can be read by others, is damaged or cannot be written.
        """
        try:
            _create(path)
            mode = path.stat().st_mode
            if stat.S_IMODE(mode) & 0o077:
                raise KeyringError(f"Others can read the key file {path}; run: chmod 600 {path}")
            master = bytes.fromhex(path.read_text().strip())
        except OSError as error:
            raise KeyringError(f"The key file {path} cannot be used: {error.strerror}.") from error
        except ValueError:
            master = b""
        if len(master) != 32:
            raise KeyringError(f"The key file {path} is damaged; restore it from a backup.")
        return cls(master)

    def session_key(self, key_id: str) -> bytes:
        """What signs session tokens under this key id."""
        return self._derive(f"session/{key_id}")

    def host_key(self, container_id: str) -> KeyPair:
        """The SSH host key of a container, pinned for its whole life."""
        return self._ssh_key(f"container/{container_id}/host", f"host@{container_id}")

    def client_key(self, container_id: str) -> KeyPair:
        """The key by which the server itself enters this container, and no other."""
        return self._ssh_key(f"container/{container_id}/client", f"server@{container_id}")

    def machine_id(self, container_id: str) -> str:
        """The guest's `/etc/machine-id`: 32 hex digits."""
        return self._derive(f"container/{container_id}/machine-id")[:16].hex()

    def _derive(self, purpose: str) -> bytes:
        return HKDF(hashes.SHA256(), 32, salt=None, info=f"ecompute/{purpose}".encode()).derive(self._master)

    def _ssh_key(self, purpose: str, comment: str) -> KeyPair:
        return derive_key_pair(self._derive(purpose), comment)


def _create(path: Path) -> None:
    if path.exists():
        return
    # two processes may come here at the same time: the first link wins, and the file is never there half
    # written
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(secrets.token_hex(32) + "\n")
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
