"""A client that was there before a fork: parent and child do not talk over the same connection."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection

import ecompute
from ecompute_server.testing import running_server

CALLS = 40
FORK = multiprocessing.get_context("fork")


def _names(client: ecompute.Client, ids: dict[str, str], end: Connection | None = None) -> list[str]:
    seen = [client.containers.get(id_).name for _ in range(CALLS) for id_ in ids.values()]
    if end is not None:
        client.containers.wait(next(iter(ids.values())))
        end.send(seen)
    return seen


def test_both_get_their_own_answers() -> None:
    """However their requests mix, over the client that the child inherits."""
    with running_server() as server, server.client() as client:
        key = client.ssh_keys.add(
            "k", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIzaa/8na28UvdjmnFylx1dNh7bL6NicXsin11lguhE6"
        )
        ids = {name: client.containers.create(name, key, wait=True).id for name in ("a", "b")}
        here, there = FORK.Pipe()
        child = FORK.Process(target=_names, args=(client, ids, there))
        child.start()
        mine = _names(client, ids)
        assert here.poll(60)
        assert here.recv() == mine == ["a", "b"] * CALLS
        child.join(60)
        assert child.exitcode == 0
