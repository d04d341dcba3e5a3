"""The program that libvirt takes for QEMU: it goes behind walls first, and then becomes QEMU.

libvirt gives a QEMU the network namespace that it has itself. A user network there is no wall: QEMU connects
wherever the guest asks it to, the host's loopback included. So `<emulator>` names this script. It stays the
same process all the way (each step is an `exec`), which keeps libvirt's idea of QEMU's process id right.

libvirt caches what a QEMU can do by the emulator's path and change time. The script therefore lies in one
place for ever, is rewritten only when its text would differ, and its text names QEMU's size and date: after
an upgrade of QEMU libvirt looks again.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from ecompute_server.hypervisor.libvirt.files import placed

RESOLVER = "nameserver 10.0.3.3\n"
"""slirp4netns's own name server in the network of `outbound.CIDR`."""

_PATH = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"

# A shell can name the descriptors 0 to 9 only. libvirt hands over four at most (monitor, console, agent, pid
# file), so one of 3 to 9 is free. `-machine none` is libvirt asking what QEMU can do: no guest, no walls.
_EMULATOR = """\
#!/bin/sh
# {stamp}
{path}
case " $* " in *" -machine none"*) exec {qemu} "$@" ;; esac
for fd in 3 4 5 6 7 8 9; do
    [ -e "/proc/self/fd/$fd" ] || break
done
eval "exec $fd<>\\"\\$ECOMPUTE_MACHINE/alive\\"" || exit 1
exec unshare --user --map-root-user --net --mount -- {enter} {qemu} "$@"
"""

# Port 22 and 80 are forwarded inside the namespace, where nobody is in the way; QEMU has no capability left
# to take them, hence the sysctl.
_ENTER = """\
#!/bin/sh
set -e
{path}
ip -batch "$ECOMPUTE_MACHINE/walls"
echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start
if [ -e /etc/resolv.conf ]; then mount --bind {resolver} /etc/resolv.conf; fi
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all -- "$@"
"""


def emulator_text(qemu: Path, enter: Path, stamp: str) -> str:
    return _EMULATOR.format(
        stamp=stamp, path=_PATH, qemu=shlex.quote(str(qemu)), enter=shlex.quote(str(enter))
    )


def enter_text(resolver: Path) -> str:
    return _ENTER.format(path=_PATH, resolver=shlex.quote(str(resolver)))


def install(folder: Path, qemu: Path) -> Path:
    """The wrapper of one QEMU, written where it is missing or stale.

    Raises:
        OSError: `qemu` does not exist, or the folder cannot be written.
    """
    found = qemu.stat()
    stamp = f"{qemu.resolve()} {found.st_size} {found.st_mtime_ns}"
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    resolver, enter, emulator = folder / "resolv.conf", folder / "enter", folder / qemu.name
    _write(resolver, RESOLVER, 0o644)
    _write(enter, enter_text(resolver), 0o755)
    _write(emulator, emulator_text(qemu, enter, stamp), 0o755)
    return emulator


def _write(path: Path, text: str, mode: int) -> None:
    try:
        if path.read_text() == text and path.stat().st_mode & 0o777 == mode:
            return
    except FileNotFoundError:
        pass

    def write(fresh: Path) -> None:
        fresh.write_text(text)
        fresh.chmod(mode)

    placed(path, write)
