"""Records for tests of the server's inside."""

from __future__ import annotations

import attrs

from ecompute_server.core import edits
from ecompute_server.core.lifecycle import Command
from ecompute_server.core.record import ContainerRecord
from ecompute_server.identity.accounts import account
from ecompute_server.store.database import SqliteFile
from ecompute_server.store.interface import ContainerStore, User
from ecompute_server.store.people import SqliteUsers


def record(id_: str = "aaaaaaaa", **more: object) -> ContainerRecord:
    values = {
        "id": id_,
        "user_id": "u1",
        "name": "box",
        "instance_type": "nano",
        "memory_mb": 512,
        "storage_gb": 5,
        "mount_paths": ("/root", "/srv/ä"),
        "ssh_enabled": True,
        "authorized_keys": ("ssh-ed25519 AAAA",),
        "created_at": 1_700_000_000,
        "external_ip": f"127.77.0.{ord(id_[0])}",
        "ssh_host_key": "ssh-ed25519 BBBB",
        "image": "micro",
    }
    return ContainerRecord(**{**values, **more})  # type: ignore[arg-type]


def user(id_: str = "u1") -> User:
    """An account to which records can belong."""
    return attrs.evolve(account(id_, "", now=1), id=id_)


async def make_users(file: SqliteFile, *ids: str) -> None:
    """Accounts with these ids."""
    for id_ in ids:
        await SqliteUsers(file).add(user(id_))


async def order(store: ContainerStore, id_: str, command: Command) -> ContainerRecord | None:
    """What a handler does with a command."""
    edited = await store.edit(id_, lambda found: edits.command(found, command))
    return None if edited is None else edited.record
