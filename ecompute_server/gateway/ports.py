"""Binding of TCP ports, and what a failure to do so means to the operator."""

from __future__ import annotations

import errno
import socket


def bind_obstacle(address: str, port: int) -> str | None:
    """Why nobody may listen on `address:port`, as one sentence; None when it works. Really tries it."""
    try:
        open_port(address, port).close()
    except OSError as error:
        return bind_sentence(error, address, port)
    return None


def can_bind_low_ports(address: str = "127.77.0.1", port: int = 22) -> bool:
    """Whether this process may bind ports under 1024. A port that is merely in use counts as one that may."""
    try:
        open_port(address, port).close()
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return True


def open_port(address: str, port: int) -> socket.socket:
    """A TCP socket bound to `address:port`, not listening yet.

    Raises:
        OSError: it may not be bound.
    """
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((address, port))
    except BaseException:
        bound.close()
        raise
    return bound


PORT_OFFSET = "serve with --port-offset 20000"
"""What helps where a port of containers' addresses cannot be had."""


def bind_sentence(error: OSError, address: str, port: int, *, remedy: str = PORT_OFFSET) -> str:
    """What a failure to listen on `address:port` means to the operator."""
    where = f"{address}:{port}"
    match error.errno:
        case errno.EADDRINUSE:
            hint = " (the host's own SSH server often does)" if port == 22 else ""
            return (
                f"{where} is in use by another program. If that listens on port {port} of all"
                f" addresses{hint}, bind it to its own address, or {remedy}."
            )
        case errno.EACCES | errno.EPERM:
            return (
                f"{where} may not be bound by this user; {remedy}, or allow it by"
                " sysctl -w net.ipv4.ip_unprivileged_port_start=0."
            )
        case errno.EADDRNOTAVAIL:
            return f"{where} cannot be bound, because this host does not have that address."
        case errno.EMFILE | errno.ENFILE:
            return f"{where} cannot be bound, because too many files are open (see ulimit -n)."
        case _:
            return f"{where} cannot be bound: {error.strerror or error}."
