"""What the operator decides about the libvirt driver; nothing here belongs to one machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from attrs import field, frozen

from ecompute_server.hypervisor.interface import HypervisorError
from ecompute_server.hypervisor.libvirt.network.interface import Mode
from ecompute_server.images.interface import Image

FindImage = Callable[[str, str], Image | None]
"""`(name, arch)` to the built image, None when it is not there. Called in a worker thread."""

Outbound = Literal["filtered", "none"]

URIS = ("embed", "qemu:///system", "qemu:///session")


def _known_uri(instance: object, attribute: object, value: str) -> None:
    if value not in URIS:
        raise HypervisorError(
            f"The libvirt address {value!r} is not supported: only {', '.join(URIS)}, because the driver"
            " needs the guests' files and processes on its own host."
        )


@frozen
class LibvirtSettings:
    """Settings of `LibvirtHypervisor`.

    `state` is the server's state directory; the driver keeps to `state/libvirt`. `uri` is `embed` (libvirt's
    QEMU driver inside this process, no daemon) or one of this host's libvirt daemons. `outbound` says whether
    guests may open connections: `filtered` (to everything but this host and the other guests), `none`, or
    None for the best that the host allows. `walls` is the best kind too unless it is named, which is for
    tests.

    Raises:
        HypervisorError: `uri` is another address than those.
    """

    state: Path
    find_image: FindImage
    uri: str = field(default="embed", validator=_known_uri)
    outbound: Outbound | None = None
    walls: Mode | None = None
