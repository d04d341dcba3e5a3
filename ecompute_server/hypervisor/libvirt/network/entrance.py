"""The way into a machine's private network namespace: sockets that were made inside and carried out.

A namespace can be entered by a process only, and by one without threads, so a helper is started in it
(entrance_helper.py) when somebody wants in, and ended after half a minute without work. Data never passes
through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from pathlib import Path

from ecompute_server.hypervisor.interface import HypervisorError
from ecompute_server.hypervisor.libvirt.network.handle import Handle

IDLE = 30.0
PATIENCE = 10.0

HELPER = Path(__file__).with_name("entrance_helper.py")


class _Helper:
    """One helper process and our end of its socket."""

    def __init__(self, pid: int) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # The file is read here and passed as text: inside, a helper of root's is a user whom the
            # directories above our own code may be closed to.
            self._process = subprocess.Popen(
                # --preserve-credentials: as root we have no name in the machine's user namespace.
                [
                    *("nsenter", "--target", str(pid), "--user", "--net", "--preserve-credentials", "--"),
                    *(sys.executable, "-I", "-S", "-c", HELPER.read_text(), str(theirs.fileno())),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                cwd="/",
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        self._ours = ours

    async def make(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._ours, b"s")
        arrived: asyncio.Future[socket.socket] = loop.create_future()

        def take() -> None:
            if arrived.done():
                return
            try:
                data, fds, _, _ = socket.recv_fds(self._ours, 1, 1)
            except BlockingIOError:
                return
            except OSError as error:
                arrived.set_exception(error)
                return
            if data and fds:
                made = socket.socket(fileno=fds[0])
                made.setblocking(False)
                arrived.set_result(made)
            else:
                arrived.set_exception(EOFError())

        loop.add_reader(self._ours, take)
        try:
            async with asyncio.timeout(PATIENCE):
                return await arrived
        finally:
            loop.remove_reader(self._ours)

    async def end(self) -> None:
        """Returns when the process is gone."""
        self._ours.close()
        try:
            await asyncio.to_thread(self._process.wait, PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)


class Entrance:
    """Sockets of the namespace that a process is in; one helper at most, ended after `idle` seconds without
    work. The handle stays its maker's.
    """

    def __init__(self, process: Handle, *, idle: float = IDLE) -> None:
        self._process = process
        self._patience = idle
        self._helper: _Helper | None = None
        self._turn = asyncio.Lock()
        self._idle: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

    async def socket(self) -> socket.socket:
        """A new, unconnected, non-blocking TCP socket of the namespace; the caller owns it.

        Raises:
            HypervisorError: the namespace cannot be entered (the machine is gone, most of the time).
        """
        async with self._turn:
            if self._idle is not None:
                self._idle.cancel()
            if self._closed:
                raise HypervisorError("The machine's network is closed.")
            try:
                if self._helper is None:
                    self._helper = await asyncio.to_thread(_Helper, self._process.pid)
                    await self._prove(self._helper)
                return await self._helper.make()
            except (OSError, EOFError, TimeoutError) as error:
                self._let_go()
                raise HypervisorError(
                    f"The machine's network cannot be entered (process {self._process.pid}):"
                    f" {error or 'it is gone'}"
                ) from error
            except asyncio.CancelledError:
                # A socket may be under way to a caller who has left; the next one must not get its answer.
                self._let_go()
                raise
            finally:
                self._idle = asyncio.get_running_loop().call_later(self._patience, self._let_go)

    async def _prove(self, helper: _Helper) -> None:
        """A helper that answers has entered some namespace; it was this machine's if its process still lives.
        Else the number may have become another process's, perhaps one in the host's own network.
        """
        (await helper.make()).close()
        if not self._process.lives:
            raise ProcessLookupError

    async def warm(self) -> None:
        """Starts the helper ahead of the first caller. Failures show when a socket is asked for."""
        with contextlib.suppress(HypervisorError):
            (await self.socket()).close()

    def _let_go(self) -> None:
        helper, self._helper = self._helper, None
        if helper is not None:
            task = asyncio.create_task(helper.end())
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        self._closed = True
        async with self._turn:
            if self._idle is not None:
                self._idle.cancel()
            self._let_go()
        await asyncio.gather(*self._ending, return_exceptions=True)
