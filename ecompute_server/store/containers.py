"""Containers and their journal: the file for what lasts, memory for what is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, TypeVar

from attrs import astuple
from sqlite_utils import Database

from ecompute.contract.catalog import Status
from ecompute_server.core.edits import Edited
from ecompute_server.core.lifecycle import BIRTH, EffectKind, Life, Observation, step
from ecompute_server.core.record import ContainerRecord, Rule

from .database import SqliteFile, insert, must_exist
from .interface import Change, Duplicate, Effect, LimitReached, Listener, Receipt
from .receipts import keep

T = TypeVar("T")


class SqliteContainers:
    """`ContainerStore` on SQLite. Holds all records in memory: about 2 KB for each container."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._listeners: list[Listener] = []
        self._records: dict[str, ContainerRecord] = {}
        self._by_user: dict[str, dict[str, ContainerRecord]] = {}
        for row in file.reader.query("SELECT * FROM containers"):
            self._remember(_from_row(row))

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def get(self, container_id: str) -> ContainerRecord | None:
        return self._records.get(container_id)

    def of_user(self, user_id: str) -> Sequence[ContainerRecord]:
        mine = self._by_user.get(user_id, {})
        return sorted(mine.values(), key=lambda record: record.sort_key, reverse=True)

    def all(self) -> Collection[ContainerRecord]:
        return self._records.values()

    async def create(
        self, record: ContainerRecord, *, limit: int, receipt: Receipt[ContainerRecord] | None = None
    ) -> None:
        def change(db: Database) -> Change:
            must_exist(db, record.user_id)
            table = db.table("containers")
            if table.count_where("user_id = ? AND deleted = 0", [record.user_id]) >= limit:
                raise LimitReached
            if table.count_where("id = ? OR external_ip = ?", [record.id, record.external_ip]):
                raise Duplicate
            table.insert(_to_row(record))
            keep(db, receipt, record)
            return Change(None, record, _journal(db, record, BIRTH.effects))

        await self._file.write(change, self._committed)

    async def observe(self, container_id: str, seen: Observation) -> ContainerRecord | None:
        def change(db: Database) -> Change | None:
            before = _find(db, container_id)
            if before is None:
                return None
            taken = step(before.life, seen)
            return _replace(db, before, before.with_life(taken.life), taken.effects)

        result = await self._file.write(change, self._committed)
        return result.after if result else None

    async def edit(
        self,
        container_id: str,
        change: Callable[[ContainerRecord], Edited[T]],
        *,
        receipt: Receipt[Edited[T]] | None = None,
    ) -> Edited[T] | None:
        def write(db: Database) -> tuple[Change, Edited[T]] | None:
            before = _find(db, container_id)
            if before is None or before.life.deleted:
                return None
            edited = change(before)
            keep(db, receipt, edited)
            return _replace(db, before, edited.record, edited.effects), edited

        def committed(written: tuple[Change, Edited[T]] | None) -> None:
            self._committed(written[0] if written else None)

        written = await self._file.write(write, committed)
        return written[1] if written else None

    async def strike(self, effect: Effect) -> None:
        await self._file.write(lambda db: db.conn.execute("DELETE FROM effects WHERE id = ?", [effect.id]))

    async def purge(self, container_id: str) -> None:
        def change(db: Database) -> Change | None:
            db.conn.execute("DELETE FROM effects WHERE container_id = ?", [container_id])
            record = _find(db, container_id)
            db.conn.execute("DELETE FROM containers WHERE id = ?", [container_id])
            return Change(record, None) if record else None

        await self._file.write(change, self._committed)

    async def journal(self) -> Sequence[Effect]:
        rows = self._file.reader.query("SELECT * FROM effects ORDER BY id")
        return [Effect(r["id"], r["container_id"], r["generation"], EffectKind(r["kind"])) for r in rows]

    def _committed(self, change: Change | None) -> None:
        if change is None:
            return
        if change.after is not None:
            self._remember(change.after)
        elif change.before is not None:
            self._forget(change.before)
        for listener in self._listeners:
            listener(change)

    def _remember(self, record: ContainerRecord) -> None:
        self._records[record.id] = record
        mine = self._by_user.setdefault(record.user_id, {})
        if record.life.deleted:
            mine.pop(record.id, None)
        else:
            mine[record.id] = record

    def _forget(self, record: ContainerRecord) -> None:
        self._records.pop(record.id, None)
        mine = self._by_user.get(record.user_id, {})
        mine.pop(record.id, None)
        if not mine:
            self._by_user.pop(record.user_id, None)


def _find(db: Database, container_id: str) -> ContainerRecord | None:
    row = next(iter(db.query("SELECT * FROM containers WHERE id = ?", [container_id])), None)
    return None if row is None else _from_row(row)


def _replace(
    db: Database, before: ContainerRecord, after: ContainerRecord, effects: Iterable[EffectKind]
) -> Change:
    old, new = _to_row(before), _to_row(after)
    if changed := {name: value for name, value in new.items() if value != old[name]}:
        db.table("containers").update(after.id, changed)
    return Change(before, after, _journal(db, after, effects))


def _journal(db: Database, record: ContainerRecord, kinds: Iterable[EffectKind]) -> tuple[Effect, ...]:
    effects = []
    for kind in kinds:
        values = {"container_id": record.id, "generation": record.life.generation, "kind": str(kind)}
        id_ = insert(db, "effects", values)
        effects.append(Effect(id_, record.id, record.life.generation, kind))
    return tuple(effects)


def _to_row(record: ContainerRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "user_id": record.user_id,
        "name": record.name,
        "instance_type": record.instance_type,
        "memory_mb": record.memory_mb,
        "storage_gb": record.storage_gb,
        "mount_paths": json.dumps(record.mount_paths),
        "ssh_enabled": int(record.ssh_enabled),
        "authorized_keys": json.dumps(record.authorized_keys),
        "created_at": record.created_at,
        "external_ip": record.external_ip,
        "ssh_host_key": record.ssh_host_key,
        "image": record.image,
        "status": str(record.life.status),
        "generation": record.life.generation,
        "reason": record.life.reason,
        "deleted": int(record.life.deleted),
        "ingress": json.dumps([astuple(rule) for rule in record.ingress]),
        "rules_made": record.rules_made,
    }


def _from_row(row: dict[str, Any]) -> ContainerRecord:
    return ContainerRecord(
        id=row["id"],
        user_id=row["user_id"],
        name=row["name"],
        instance_type=row["instance_type"],
        memory_mb=row["memory_mb"],
        storage_gb=row["storage_gb"],
        mount_paths=tuple(json.loads(row["mount_paths"])),
        ssh_enabled=bool(row["ssh_enabled"]),
        authorized_keys=tuple(json.loads(row["authorized_keys"])),
        created_at=row["created_at"],
        external_ip=row["external_ip"],
        ssh_host_key=row["ssh_host_key"],
        image=row["image"],
        life=Life(Status(row["status"]), row["generation"], row["reason"], bool(row["deleted"])),
        ingress=tuple(Rule(*values) for values in json.loads(row["ingress"])),
        rules_made=row["rules_made"],
    )
