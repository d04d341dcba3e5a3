"""What a `configure` message changes in the guest, step by step, each of which may be done again."""

import fcntl
import os
import time
from struct import pack

from . import mounting, netlink, sshd
from .messages import Identity

RUN = "/run/ecompute"
VOLUME = f"{RUN}/volume"
CONFIGURED = f"{RUN}/configured"
_ADDRESS = f"{RUN}/address"

_ADD_ENTROPY = 0x40085203  # RNDADDENTROPY and RNDRESEEDCRNG of random(4)
_RESEED = 0x5207


def apply(identity: Identity) -> None:
    """Returns when the guest is that container: its volume mounted, its SSH server listening.

    Raises:
    Refused, NoServer, OSError, ValueError: a step failed; those before it hold.
    """
    mix_entropy(identity.entropy)
    time.clock_settime(time.CLOCK_REALTIME, identity.clock)
    set_names(identity.hostname, identity.machine_id)
    set_network(identity)
    mounting.mount_volume(identity.volume, VOLUME)
    for path in identity.mount_paths:
        mounting.carry(path, VOLUME)
    write(f"{RUN}/mount_paths", "".join(f"{path}\n" for path in identity.mount_paths if "\n" not in path))
    write("/etc/ssh/authorized_keys.d/root", "".join(f"{key}\n" for key in identity.authorized_keys))
    sshd.give_key(identity.host_key)


def mix_entropy(entropy: bytes) -> None:
    """Counted as random and in use at once: a restored guest has the pool of all its siblings."""
    descriptor = os.open("/dev/urandom", os.O_WRONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _ADD_ENTROPY, pack("=ii", 8 * len(entropy), len(entropy)) + entropy)
        fcntl.ioctl(descriptor, _RESEED)
    finally:
        os.close(descriptor)


def set_names(hostname: str, machine_id: str) -> None:
    if not hostname or len(hostname.encode()) > 64 or not hostname.isprintable() or " " in hostname:
        raise ValueError("the host name was refused")
    with open("/proc/sys/kernel/hostname", "w") as file:
        file.write(hostname)
    write("/etc/hostname", f"{hostname}\n")
    try:
        with open("/etc/hosts", errors="surrogateescape") as file:
            before = file.read()
    except FileNotFoundError:
        before = ""
    write("/etc/hosts", hosts(before, hostname))
    write("/etc/machine-id", f"{machine_id}\n", 0o444)


def hosts(before: str, hostname: str) -> str:
    """`/etc/hosts` with this host's name, whatever else is in it kept."""
    kept = [line for line in before.splitlines() if line.split()[:1] != ["127.0.1.1"]]
    for name, address in (("ip6-localhost", "::1"), ("localhost", "127.0.0.1")):
        if not any(line.split()[:1] == [address] for line in kept):
            kept.insert(0, f"{address} localhost {name}" if name != "localhost" else f"{address} {name}")
    kept.insert(1, f"127.0.1.1 {hostname}")
    return "".join(f"{line}\n" for line in kept)


def set_network(identity: Identity) -> None:
    try:
        with open(_ADDRESS) as file:
            before = file.read()
    except FileNotFoundError:
        before = None
    netlink.apply(netlink.requests(netlink.first_card(), identity.address, identity.gateway, before))
    write(_ADDRESS, identity.address)
    write("/etc/resolv.conf", "".join(f"nameserver {server}\n" for server in identity.dns))


def write(path: str, text: str, mode: int = 0o644) -> None:
    """The whole file at once, in the place of whatever has that name."""
    new = f"{path}.ecompute-new"
    with open(new, "w", errors="surrogateescape") as file:
        file.write(text)
        os.fchmod(file.fileno(), mode)
    os.replace(new, path)
