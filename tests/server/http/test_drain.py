"""SIGTERM, as a supervisor of services sends it: everybody is told, nothing is lost."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from ecompute_server.testing import running_server
from tests.server.http.wire import EXEC, TERMINAL, Closed, Wire


def test_everybody_is_told_and_what_was_answered_is_kept(tmp_path: Path, public_key: str) -> None:
    """Feeds, terminals and commands end with 1001; the next server has the container that was created last,
    and the machine of the other runs on.
    """
    with ExitStack() as after:
        with running_server(state=tmp_path, in_process=False) as server, server.client() as client:
            key = client.ssh_keys.add("k", public_key)
            box = client.containers.create("box", [key.id])
            client.containers.wait(box.id, "running")
            place = f"/compute/containers/{box.id}/terminal"
            feed = after.enter_context(Wire(server, "/compute/ws"))
            terminal = after.enter_context(Wire(server, place, offer=TERMINAL))
            command = after.enter_context(Wire(server, place, offer=EXEC))
            command.send({"command": "echo up; sleep 1000"})
            assert command.receive() == b"\x01up\n"
            terminal.send(b"echo up\n")
            terminal.receive()
            last = client.containers.create("last", [key.id])
        # leaving the block has sent the signal and waited for the server's end
        closed = [wire.until_closed()[2] for wire in (feed, terminal, command)]
        assert [end.code for end in closed if isinstance(end, Closed)] == [1001] * 3
    with running_server(state=tmp_path, in_process=False) as server, server.client() as client:
        assert {one.id for one in client.containers.list()} == {last.id, box.id}
        assert client.run(box.id, "uname -m").exit_status == 0
