"""Mistakes in the life of containers, in limits, idempotency keys, and over a restart."""

from __future__ import annotations

from typing import Any

import attrs

from ecompute.contract.catalog import Status

from .fault import fault, handler, wrap


def _life(around: Any) -> None:
    from ecompute_server.core import edits, lifecycle
    from ecompute_server.store import containers

    old = lifecycle.step

    def step(life: Any, event: Any) -> Any:
        return around(old, life, event)

    lifecycle.step = step
    edits.step = step  # type: ignore[attr-defined]
    containers.step = step  # type: ignore[attr-defined]


@fault("LIF-007", area="lifecycle")
def status_goes_backwards() -> None:
    """A running container is told as initializing again, shortly."""
    from ecompute_server.core.presentation import View

    asked: dict[str, int] = {}

    def container(old: Any, self: Any, record: Any, usage: Any) -> Any:
        made = old(self, record, usage)
        if made.status == "running":
            asked[record.id] = asked.get(record.id, 0) + 1
            if asked[record.id] == 2:
                self._written.pop(record.id, None)
                return attrs.evolve(made, status="initializing")
        return made

    wrap(View, "_container", container)
    wrap(View, "json", lambda old, self, record: self._written.clear() or old(self, record))


@fault("LIF-003", area="lifecycle")
def stop_is_answered_running() -> None:
    """`stop` is answered with the status that the container had."""

    async def stop(old: Any, call: Any) -> Any:
        return attrs.evolve(await old(call), status=str(call.container.life.status))

    handler("containers.stop", stop)


@fault("LIF-007", area="lifecycle")
def start_of_a_running_container_restarts() -> None:
    """`start` of a running container boots it again."""
    from ecompute_server.core.lifecycle import Command

    def around(old: Any, life: Any, event: Any) -> Any:
        again = event is Command.START and life.status is Status.RUNNING
        return old(life, Command.RESTART if again else event)

    _life(around)


@fault("LIF-008", area="lifecycle")
def stop_twice_conflicts() -> None:
    """`stop` of a stopped container is a conflict."""
    from ecompute.contract.problems import Code
    from ecompute_server.core.refusal import Refusal

    async def stop(old: Any, call: Any) -> Any:
        if call.container.life.status is Status.STOPPED:
            raise Refusal(Code.CONFLICT, "The container is stopped.")
        return await old(call)

    handler("containers.stop", stop)


@fault("LIF-005", area="lifecycle")
def start_says_initializing() -> None:
    """A started container is `initializing` at once, never `pending`."""
    from ecompute_server.core.lifecycle import Command

    def around(old: Any, life: Any, event: Any) -> Any:
        step = old(life, event)
        if event is not Command.START or step.life == life:
            return step
        return attrs.evolve(step, life=attrs.evolve(step.life, status=Status.INITIALIZING))

    _life(around)


@fault("LIF-003", area="lifecycle")
def pending_cannot_be_stopped() -> None:
    """`stop` while a container is on its way changes nothing."""
    from ecompute_server.core.lifecycle import BOOTING, Command, Step

    def around(old: Any, life: Any, event: Any) -> Any:
        return Step(life) if event is Command.STOP and life.status in BOOTING else old(life, event)

    _life(around)


@fault("LIF-003", area="lifecycle")
def reads_lag_behind() -> None:
    """After a stop, the container is read as it was, once."""

    shown: dict[str, bool] = {}

    async def stop(old: Any, call: Any) -> Any:
        before = call.container
        answer = await old(call)
        shown[before.id] = True
        old_records[before.id] = before
        return answer

    old_records: dict[str, Any] = {}

    async def get(old: Any, call: Any) -> Any:
        before = old_records.pop(call.container.id, None)
        return await old(attrs.evolve(call, container_or_none=before) if before is not None else call)

    handler("containers.stop", stop)
    handler("containers.get", get)


@fault("LIM-002", area="limits")
def one_container_too_many() -> None:
    """A user may have one container more than the limit."""
    from ecompute_server.handlers import containers

    wrap(containers, "_container_limit", lambda old, call: old(call) + 1)


@fault("LIM-001", area="limits")
def one_container_too_few() -> None:
    """The last container that the limit allows is refused."""
    from ecompute_server.handlers import containers

    wrap(containers, "_container_limit", lambda old, call: old(call) - 1)


@fault("LIM-008", area="limits")
def one_key_too_many() -> None:
    """A user may have one SSH key more than the limit."""
    from ecompute_server.store.people import SqliteKeys

    async def add(old: Any, self: Any, *, limit: int, **more: Any) -> Any:
        return await old(self, limit=limit + 1, **more)

    wrap(SqliteKeys, "add", add)


@fault("LIM-004", area="limits")
def limit_races() -> None:
    """The limit is looked at before the container is written, so that two creates at once both pass."""
    import asyncio

    from ecompute_server.store.containers import SqliteContainers

    async def create(old: Any, self: Any, record: Any, *, limit: int, receipt: Any = None) -> Any:
        await asyncio.sleep(0.02)
        return await old(self, record, limit=limit + 100, receipt=receipt)

    wrap(SqliteContainers, "create", create)


@fault("LIM-010", area="limits")
def key_limit_races() -> None:
    """The limit of keys is looked at before the key is written."""
    import asyncio

    from ecompute_server.store.interface import LimitReached
    from ecompute_server.store.people import SqliteKeys

    async def add(old: Any, self: Any, *, limit: int, user_id: str, **more: Any) -> Any:
        if len(self.of_user(user_id)) >= limit:
            raise LimitReached
        await asyncio.sleep(0.02)
        return await old(self, limit=limit + 100, user_id=user_id, **more)

    wrap(SqliteKeys, "add", add)


@fault("LIM-006", area="limits")
def stopped_containers_do_not_count() -> None:
    """Stopped containers are not counted for the limit."""
    from ecompute_server.handlers import containers

    def limit(old: Any, call: Any) -> int:
        mine = call.services.containers.of_user(call.caller.user_id)
        return int(old(call)) + sum(record.life.status is Status.STOPPED for record in mine)

    wrap(containers, "_container_limit", limit)


@fault("LIM-005", area="limits")
def deleted_containers_count() -> None:
    """A deleted container counts for the limit until a second has passed."""
    import time

    from ecompute_server.handlers import containers

    gone: list[float] = []

    async def delete(old: Any, call: Any) -> Any:
        answer = await old(call)
        gone.append(time.monotonic())
        return answer

    def limit(old: Any, call: Any) -> int:
        return int(old(call)) - sum(time.monotonic() - moment < 1.0 for moment in gone)

    handler("containers.delete", delete)
    wrap(containers, "_container_limit", limit)


@fault("LIM-002", area="limits")
def limit_is_forbidden() -> None:
    """A reached limit is answered with 403."""
    from ecompute.contract.problems import Code
    from ecompute_server.core.refusal import Refusal
    from ecompute_server.handlers import containers

    wrap(containers, "_too_many", lambda old, limit: Refusal(Code.FORBIDDEN, "You have too many containers."))


@fault("LIM-013", area="limits")
def refused_create_leaves_a_container() -> None:
    """A create with another's key is refused, and the container is there all the same."""
    from ecompute_server.core.refusal import Refusal
    from ecompute_server.handlers import containers

    def keys(old: Any, call: Any) -> Any:
        try:
            return old(call)
        except Refusal as error:
            waiting.append(error)
            return ("ssh-ed25519 AAAA",)

    async def create(old: Any, call: Any) -> Any:
        answer = await old(call)
        if waiting:
            raise waiting.pop()
        return answer

    waiting: list[Refusal] = []
    wrap(containers, "_authorized_keys", keys)
    handler("containers.create", create)


@fault("IDM-002", area="idempotency")
def key_has_a_double_effect() -> None:
    """A repeated create under one idempotency key makes a second container and answers with the first."""
    from ecompute_server.http.idempotency import Repeats

    async def answer(old: Any, self: Any, call: Any, handle: Any, asked: Any) -> Any:
        kept = call.services.receipts.find(call.caller.user_id, asked.path, asked.key, since=0)
        if kept is not None and kept.asked == asked.asked:
            await handle(call)
        return await old(self, call, handle, asked)

    wrap(Repeats, "answer", answer)


@fault("IDM-011", area="idempotency")
def key_ignored() -> None:
    """Idempotency keys are ignored, though they are said to be supported."""
    from ecompute_server.http import idempotency

    wrap(idempotency, "repeatable", lambda old, *args: None)


@fault("IDM-002", area="idempotency")
def key_ignored_for_rules() -> None:
    """Idempotency keys are ignored on ingress rules."""
    from ecompute_server.http import idempotency

    wrap(
        idempotency,
        "repeatable",
        lambda old, row, request, *more: None if "ingress" in request.url.path else old(row, request, *more),
    )


@fault("IDM-003", area="idempotency")
def another_body_gets_the_first_answer() -> None:
    """Another body under the same key gets the first answer instead of a conflict."""
    from ecompute_server.http import idempotency

    def repeatable(old: Any, *args: Any) -> Any:
        made = old(*args)
        return made and attrs.evolve(made, asked="")

    wrap(idempotency, "repeatable", repeatable)


@fault("IDM-004", area="idempotency")
def key_shared_by_users() -> None:
    """One user's key gets another user's answer."""
    from ecompute_server.store import receipts

    def find(old: Any, self: Any, user_id: str, path: str, key: str, *, since: int) -> Any:
        row = self._file.reader.conn.execute(
            "SELECT user_id FROM receipts WHERE path = ? AND key = ?", [path, key]
        ).fetchone()
        return old(self, row[0] if row else user_id, path, key, since=since)

    wrap(receipts.SqliteReceipts, "find", find)


@fault("IDM-005", area="idempotency")
def key_shared_by_paths() -> None:
    """The same key on another path is a conflict."""
    from ecompute_server.http import idempotency

    def repeatable(old: Any, *args: Any) -> Any:
        made = old(*args)
        return made and attrs.evolve(made, path="/compute")

    wrap(idempotency, "repeatable", repeatable)


@fault("IDM-001", area="idempotency")
def refusals_are_kept() -> None:
    """A refusal is kept under its key, so that a repetition is refused when it could be done."""
    from ecompute_server.core.refusal import Refusal
    from ecompute_server.http.idempotency import Repeats

    refused: dict[tuple[str, str, str], Refusal] = {}

    async def answer(old: Any, self: Any, call: Any, handle: Any, asked: Any) -> Any:
        name = (call.caller.user_id, asked.path, asked.key)
        if name in refused:
            raise refused[name]
        try:
            return await old(self, call, handle, asked)
        except Refusal as error:
            refused[name] = error
            raise

    wrap(Repeats, "answer", answer)


@fault("IDM-008", area="idempotency")
def key_under_way_is_served() -> None:
    """Two requests with the same key at once both have their effect."""
    from ecompute_server.http.idempotency import Repeats
    from ecompute_server.store import containers, people

    class Forgetful(set[Any]):
        def __contains__(self, thing: object) -> bool:
            return False

    def init(old: Any, self: Any) -> None:
        self._under_way = Forgetful()

    wrap(Repeats, "__init__", init)
    for module in (containers, people):
        wrap(module, "keep", lambda old, db, receipt, result: _keep_anyway(old, db, receipt, result))


def _keep_anyway(old: Any, db: Any, receipt: Any, result: Any) -> None:
    from ecompute_server.store.interface import ReceiptTaken

    try:
        old(db, receipt, result)
    except ReceiptTaken:
        return


@fault("IDM-006", area="idempotency")
def long_keys_refused() -> None:
    """A key of 255 characters is refused."""
    from ecompute_server.http import idempotency

    idempotency.IDEMPOTENCY_KEY_LENGTH = range(1, 255)  # type: ignore[attr-defined]


@fault("IDM-009", area="idempotency")
def any_key_taken() -> None:
    """A key of 256 characters is taken."""
    from ecompute_server.http import idempotency

    idempotency.IDEMPOTENCY_KEY_LENGTH = range(1, 257)  # type: ignore[attr-defined]


def _at_start(statement: str) -> None:
    """Run a statement whenever the server opens its store, as a migration that went wrong would."""
    import sqlite3

    from ecompute_server.store.containers import SqliteContainers

    def init(old: Any, self: Any, file: Any) -> None:
        path = file.reader.conn.execute("PRAGMA database_list").fetchone()[2]
        with sqlite3.connect(path) as connection:
            connection.execute(statement)
        old(self, file)

    wrap(SqliteContainers, "__init__", init)


@fault("PER-002", area="persistence")
def rules_lost_by_a_restart() -> None:
    """After a restart there are no ingress rules."""
    _at_start("UPDATE containers SET ingress = '[]'")


@fault("PER-002", area="persistence")
def names_lost_by_a_restart() -> None:
    """After a restart containers have their ids as names."""
    _at_start("UPDATE containers SET name = id")


@fault("PER-003", area="persistence")
def containers_stay_down_after_a_restart() -> None:
    """After a restart containers that ran are stopped."""
    _at_start("UPDATE containers SET status = 'stopped'")


@fault("PER-007", area="persistence")
def tokens_lost_by_a_restart() -> None:
    """After a restart API tokens are not valid any more."""
    _at_start("DELETE FROM tokens")


@fault("PER-010", area="persistence")
def key_ids_begin_again() -> None:
    """After a restart the ids of keys that were deleted are given again."""
    _at_start("DELETE FROM sqlite_sequence WHERE name = 'ssh_keys'")


@fault("PER-011", area="persistence")
def idempotency_keys_forgotten() -> None:
    """A restart forgets the answers that were kept under idempotency keys."""
    _at_start("DELETE FROM receipts")
