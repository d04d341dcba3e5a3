"""Walls of namespaces: QEMU is in a user and network namespace of its own, in which the host's addresses are
prohibited. What it opens leaves through slirp4netns; whoever wants in is given a socket from inside.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
from pathlib import Path

from attrs import frozen

from ecompute_server.hypervisor.interface import HypervisorError
from ecompute_server.hypervisor.libvirt.disks import make_fifo
from ecompute_server.hypervisor.libvirt.files import Owner
from ecompute_server.hypervisor.libvirt.layout import MachineFiles
from ecompute_server.hypervisor.libvirt.network import outbound, routes, wrapper
from ecompute_server.hypervisor.libvirt.network.entrance import Entrance
from ecompute_server.hypervisor.libvirt.network.forwards import HOST, Forwards
from ecompute_server.hypervisor.libvirt.network.handle import Handle
from ecompute_server.hypervisor.libvirt.network.interface import Ask, GuestNetwork

PATIENCE = 10.0


@frozen
class Namespace:
    """A kind of `Walls`. `emulators` is where wrappers lie; `slirp4netns` is empty when guests have no way
    out.
    """

    emulators: Path
    owner: Owner | None
    slirp4netns: str

    def hold(self) -> None:
        """Each machine has its own, and is asked for them by `keep_up`."""

    def release(self) -> None:
        """As the interface says."""

    def emulator(self, qemu: Path) -> Path:
        """The wrapper that goes behind the walls and becomes QEMU."""
        return wrapper.install(self.emulators, qemu)

    def prepare(self, files: MachineFiles) -> None:
        """As the interface says."""
        files.walls.write_text(routes.for_this_host())
        make_fifo(files.alive, self.owner)

    def enter(self, pid: int, files: MachineFiles, ask: Ask) -> GuestNetwork:
        """As the interface says."""
        return NamespaceNetwork(pid, files, ask, self)


class NamespaceNetwork:
    """A `GuestNetwork`."""

    def __init__(self, pid: int, files: MachineFiles, ask: Ask, walls: Namespace) -> None:
        self._process = Handle(pid)
        self._files = files
        self._walls = walls
        self._entrance = Entrance(self._process)
        self._forwards = Forwards(ask, "same")

    async def connect(self, port: int) -> socket.socket:
        """As the interface says."""
        way = await self._forwards.ensure(port)
        connection = await self._entrance.socket()
        try:
            await asyncio.get_running_loop().sock_connect(connection, (HOST, way))
        except BaseException:
            connection.close()
            raise
        return connection

    async def warm(self, port: int) -> None:
        """As the interface says."""
        with contextlib.suppress(HypervisorError):
            await self._forwards.ensure(port)
        await self._entrance.warm()

    def open_out(self) -> int | None:
        """Starts slirp4netns."""
        walls, files = self._walls, self._files
        if not walls.slirp4netns:
            return None
        return outbound.start(
            walls.slirp4netns, self._process.pid, walls.owner, alive=files.alive, log=files.outbound_log
        )

    def keep_up(self) -> None:
        """Prohibits the addresses that the host has taken since the machine's walls were last looked at, and
        takes back a way out that an earlier server gave and this one may not.
        """
        try:
            self._prohibit(routes.for_this_host())
            devices = Path(f"/proc/{self._process.pid}/net/dev").read_text()
            if not self._walls.slirp4netns and f" {outbound.DEVICE}:" in devices:
                self._inside(f"link delete {outbound.DEVICE}\n")
        except (OSError, subprocess.SubprocessError) as error:
            raise HypervisorError(f"The machine's walls cannot be kept up: {error}") from error

    def _prohibit(self, wanted: str) -> None:
        commands = routes.missing(wanted, self._files.walls.read_text())
        self._inside(commands)
        # Never made anew: the file goes with the machine, which may be ending.
        if commands:
            with contextlib.suppress(FileNotFoundError), self._files.walls.open("r+") as record:
                record.seek(0, os.SEEK_END)
                record.write(commands)

    def _inside(self, commands: str) -> None:
        """Has `ip` carry out a batch in the machine's namespace; an empty one proves that there is one."""
        with contextlib.ExitStack() as stack:
            opened = []
            for kind in ("user", "net"):
                opened.append(os.open(f"/proc/{self._process.pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC))
                stack.callback(os.close, opened[-1])
            user, net = opened
            if not self._process.lives or os.fstat(net).st_ino == Path("/proc/self/ns/net").stat().st_ino:
                raise ProcessLookupError("its process is not behind them")
            if not commands:
                return
            # QEMU's user is root in there. Whoever is that user stays it; root has to become it.
            stay = ("--preserve-credentials",) if self._walls.owner is None else ()
            done = subprocess.run(
                [
                    *("nsenter", *stay, f"--user=/proc/self/fd/{user}", f"--net=/proc/self/fd/{net}", "--"),
                    *("ip", "-batch", "-"),
                ],
                input=commands,
                pass_fds=opened,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
                cwd="/",
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
        if done.returncode != 0:
            raise OSError(done.stderr.strip() or f"exit status {done.returncode}")

    async def close(self) -> None:
        """As the interface says."""
        await self._entrance.close()
        self._process.close()
