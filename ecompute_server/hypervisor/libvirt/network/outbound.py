"""The way out of a machine's private network namespace: one slirp4netns per machine.

It is not a child of the server's: it survives the server, as QEMU does, and ends with QEMU, by the fifo that
QEMU holds open.
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from pathlib import Path

from ecompute_server.hypervisor.interface import HypervisorError
from ecompute_server.hypervisor.libvirt.files import Owner

CIDR = "10.0.3.0/24"
DEVICE = "tap0"
"""What it makes inside the namespace; without it, it ends."""
PATIENCE = 10.0
TUN = Path("/dev/net/tun")


def command(program: str, pid: int, *, exit_fd: int, ready_fd: int) -> list[str]:
    """Source: slirp4netns(1). The namespace is named by process id: by path, its own sandbox kills it."""
    return [
        program,
        "--configure",
        "--mtu=65520",
        "--disable-host-loopback",
        "--enable-sandbox",
        "--enable-seccomp",
        "--enable-ipv6",
        f"--cidr={CIDR}",
        f"--userns-path=/proc/{pid}/ns/user",
        f"--exit-fd={exit_fd}",
        f"--ready-fd={ready_fd}",
        str(pid),
        DEVICE,
    ]


def start(program: str, pid: int, owner: Owner | None, *, alive: Path, log: Path) -> int:
    """Gives the namespace of `pid` a way out and returns slirp4netns's process id. Blocks, for about 20 ms.

    `alive` is the fifo that the process holds; `log` takes what slirp4netns prints. It reads what guests
    send, so it runs as QEMU's user too where the host lets that user open the tunnel device.

    Raises:
        HypervisorError: slirp4netns ended or said nothing in time.
    """
    lowered = owner if owner is not None and TUN.stat().st_mode & 0o006 == 0o006 else None
    exit_fd = os.open(alive, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    ready, ready_fd = os.pipe()
    try:
        arguments = command(program, pid, exit_fd=exit_fd, ready_fd=ready_fd)
        with log.open("ab") as output:
            # The shell ends at once, which makes slirp4netns nobody's child but the reaper's.
            launched = subprocess.run(
                ["/bin/sh", "-c", '"$@" >&2 & echo $!', "sh", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=output,
                pass_fds=(exit_fd, ready_fd),
                start_new_session=True,
                user=lowered.uid if lowered else None,
                group=lowered.gid if lowered else None,
                extra_groups=[] if lowered else None,
                cwd="/",
                check=True,
            )
        os.close(ready_fd)
        ready_fd = -1
        if not _said_ready(ready, time.monotonic() + PATIENCE):
            words = log.read_text(errors="replace").strip().splitlines()
            raise HypervisorError(
                f"slirp4netns gave the machine no way out: {words[-1] if words else 'it ended silently'}"
            )
        return int(launched.stdout)
    except (OSError, subprocess.SubprocessError) as error:
        raise HypervisorError(f"slirp4netns cannot be started: {error}") from error
    finally:
        os.close(exit_fd)
        os.close(ready)
        if ready_fd >= 0:
            os.close(ready_fd)


def _said_ready(fd: int, deadline: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000)) and os.read(fd, 1) == b"1"
