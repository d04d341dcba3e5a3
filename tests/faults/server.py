"""A reference server with one fault, as a process: `python -m tests.faults.server FAULT [HYPERVISOR]`, or
with none by `-`.

Prints one line of JSON with the server's url, the tokens of two users, and a socket; who connects to that has
the server restarted, and reads until it answers again. Ends with its standard input.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import load


def main(name: str, hypervisor: str = "simulated") -> None:
    """Put a fault on, and serve. Faults are for the simulated host, whose server is in this process."""
    faults = load()
    if name != "-":
        faults[name].put_on()
    # the server is loaded after the fault, so that it starts with it
    from ecompute_server.gateway.ports import can_bind_low_ports
    from ecompute_server.http.serving import listen

    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    settings = {"hypervisor": hypervisor, "port": port, "port_offset": 0 if can_bind_low_ports() else 20000}
    with (
        tempfile.TemporaryDirectory(prefix="ecompute-fault-") as folder,
        socket.socket(socket.AF_UNIX) as control,
    ):
        state, place = Path(folder, "state"), str(Path(folder, "control"))
        control.bind(place)
        control.listen()
        try:
            serve(state, place, control, settings)
        finally:
            if hypervisor != "simulated":
                # machines outlive a server that is given its state directory, and are not to outlive this one
                down = [sys.executable, "-m", "ecompute_server", "down", "--state", str(state)]
                subprocess.run(down, check=True, stdout=subprocess.DEVNULL)


def serve(state: Path, place: str, control: socket.socket, settings: Mapping[str, Any]) -> None:
    """Servers, one after the other, until standard input ends."""
    from ecompute_server.testing import running_server

    second_token = None
    asked: socket.socket | None = None
    while True:
        with running_server(state=state, **settings) as server:
            if second_token is None:
                second_token = server.add_user("bob").token
                told = {"url": server.url, "token": server.token, "second_token": second_token}
                print(json.dumps({**told, "control": place}), flush=True)
            if asked is not None:
                asked.close()
            ready, _, _ = select.select([sys.stdin, control], [], [])
            if sys.stdin in ready:
                return
            asked, _ = control.accept()


if __name__ == "__main__":
    main(*sys.argv[1:])
