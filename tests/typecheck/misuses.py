"""What a type checker must find: each line has a mistake, and a line without one would be reported."""

from __future__ import annotations

import ecompute
from ecompute import AsyncClient, Client, Container, SSHKey


def misuses(client: Client, other: AsyncClient, box: Container, key: SSHKey) -> None:
    # a name that is none, in spite of the names that load late
    _ = ecompute.Contianer  # type: ignore[attr-defined]  # pyright: ignore
    client.containers.stop(3)  # type: ignore[arg-type]  # pyright: ignore
    client.containers.stop(key)  # type: ignore[arg-type]  # pyright: ignore
    client.containers.create("name")  # type: ignore[call-arg]  # pyright: ignore
    client.containers.create("name", [1], memory="512M")  # type: ignore[call-arg]  # pyright: ignore
    client.containers.create("name", ["one"])  # type: ignore[list-item]  # pyright: ignore
    client.ssh_keys.delete(box)  # type: ignore[arg-type]  # pyright: ignore
    client.run(box, ["ls", 3])  # type: ignore[list-item]  # pyright: ignore
    client.containers.list(5)  # type: ignore[call-arg]  # pyright: ignore
    Client(timeout="3")  # type: ignore[arg-type]  # pyright: ignore
    box.status = "running"  # type: ignore[misc]  # pyright: ignore
    # a coroutine is no container
    _ = other.containers.get("abc12345").status  # type: ignore[attr-defined]  # pyright: ignore
    with client.events() as events:
        _ = next(events).status  # type: ignore[union-attr]  # pyright: ignore
