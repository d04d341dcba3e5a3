"""A reference server with one fault, as a process: `python -m tests.faults.server FAULT`, none by `-`.

Prints one line of JSON with the server's url, the tokens of two users, and a socket; who connects to that has
the server restarted, and reads until it answers again. Ends with its standard input.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import tempfile
from pathlib import Path

from . import load


def main(name: str) -> None:
    """Put a fault on, and serve."""
    faults = load()
    if name != "-":
        faults[name].put_on()
    # the server is loaded after the fault, so that it starts with it
    from ecompute_server.http.serving import listen
    from ecompute_server.testing import running_server

    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    with (
        tempfile.TemporaryDirectory(prefix="ecompute-fault-") as folder,
        socket.socket(socket.AF_UNIX) as control,
    ):
        state, place = Path(folder, "state"), str(Path(folder, "control"))
        control.bind(place)
        control.listen()
        second_token = None
        asked: socket.socket | None = None
        while True:
            with running_server(state=state, port=port) as server:
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
    main(sys.argv[1])
