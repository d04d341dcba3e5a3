"""Has a server of `server` restarted: `python -m tests.faults.restart SOCKET`."""

from __future__ import annotations

import socket
import sys


def main(place: str) -> None:
    """Ask for it, and wait until it is done."""
    with socket.socket(socket.AF_UNIX) as control:
        control.connect(place)
        while control.recv(1):
            pass


if __name__ == "__main__":
    main(sys.argv[1])
