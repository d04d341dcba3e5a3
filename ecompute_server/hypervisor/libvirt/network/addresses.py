"""The kernel's word that an address of this host came or went."""

from __future__ import annotations

import asyncio
import errno
import socket

# linux/rtnetlink.h; Python names the protocol only
RTMGRP_IPV4_IFADDR = 0x10
RTMGRP_IPV6_IFADDR = 0x100


class Addresses:
    """Listens from the moment it is made. Source: rtnetlink(7), netlink(7).

    Raises:
        OSError: the kernel does not tell.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        try:
            self._socket.setblocking(False)
            self._socket.bind((0, RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR))
        except OSError:
            self._socket.close()
            raise

    async def changed(self) -> None:
        """Returns when something changed since the last call. Which address it was, whoever asks looks up:
        of many changes at once the kernel may leave some out.
        """
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_recv(self._socket, 65536)
            while True:
                self._socket.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise

    def close(self) -> None:
        self._socket.close()
