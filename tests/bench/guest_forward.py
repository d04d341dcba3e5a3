"""A real guest behind QEMU's own forward, for the gateway's bench: the micro image and its web server."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "images"))

import plain_qemu  # type: ignore[import-not-found]
from proxies import free_port

from ecompute_server.images.catalogue import Catalogue, default_cache

SIZE = 20 << 20
"""Bytes of the guest's `/big`."""


@contextlib.contextmanager
def web_guest(folder: Path, arch: str = "arm64") -> Iterator[int]:
    """The port of this host that QEMU forwards to the guest's web server."""
    image = Catalogue(default_cache()).find("micro", arch)
    if image is None:
        raise RuntimeError(f"The micro image for {arch} is not built: ecompute-server images build")
    folder.mkdir()
    key = folder / "key"
    public = plain_qemu.make_key(key)
    identity = plain_qemu.make_identity(folder, (public,))
    volume = plain_qemu.make_volume(folder / "volume")
    port = free_port()
    with plain_qemu.Guest(image, folder / "guest", volume, memory_mb=256) as guest:
        guest.configure(identity)
        guest.ssh(
            f"mkdir /tmp/www && echo hello >/tmp/www/index.html && head -c {SIZE} /dev/zero >/tmp/www/big"
            " && httpd -h /tmp/www -p 80",
            key=key,
        )
        order = f"hostfwd_add net tcp:127.0.0.1:{port}-:80"
        guest.command("human-monitor-command", **{"command-line": order})
        guest.qmp.receive(**{"return": ""})
        yield port
