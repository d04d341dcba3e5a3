"""The reference behaviour, pure: what a server must answer to a request in a given world, and the world after
it. It shares the contract with servers and clients, and no code with any of them.

Where a server is free, the model says what it may do: a status may have moved on since it was last seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import evolve, frozen

from ecompute.contract import codec
from ecompute.contract import requests as ask
from ecompute.contract.catalog import Status
from ecompute.contract.endpoint import Auth, Endpoint
from ecompute.contract.problems import Code, InvalidFields
from ecompute.contract.public_key import PublicKey
from ecompute.contract.rules import Bounds
from ecompute.contract.scopes import Grants, Scope

from .world import UP, Box, Key, Pass, Rule, World

Body = Mapping[str, Any]


_PENDING = frozenset({str(Status.PENDING)})


@frozen
class Expected:
    """What must come of a request.

    `code` is that of the refusal, None for a success, then `faults` are the paths of what is wrong and
    `answer` holds fields of the answer. `box` is the container that the answer must tell, `restarted` what it
    may say about a restart. `news` are the container and the statuses one of which the feed must tell, none
    for its end; `hints` what it may tell. `after` gives the next world from the answer's body.
    """

    after: Callable[[Body], World]
    code: Code | None = None
    faults: tuple[str, ...] = ()
    answer: Mapping[str, Any] = {}
    box: Box | None = None
    restarted: frozenset[bool] = frozenset()
    news: tuple[tuple[str, frozenset[str]], ...] = ()
    hints: tuple[tuple[str, str], ...] = ()


def expect(
    world: World, row: Endpoint[Any, Any], who: str, parameters: Mapping[str, str], body: Body
) -> Expected:
    """What a row must answer to whom a pass belongs. Checks come in the contract's order: 401, 403, 404 of a
    container, 400, and last what depends on the state.
    """
    held = world.passes[who]
    if held.revoked:
        return _refusal(world, Code.UNAUTHENTICATED)
    if not _may(world, row, held, parameters.get("id")):
        return _refusal(world, Code.FORBIDDEN)
    box = world.box(parameters["id"], held.owner) if _is_about_container(row) else None
    if _is_about_container(row) and box is None:
        return _refusal(world, Code.NOT_FOUND)
    try:
        request = codec.read_request(row.request, parameters, body, Bounds())
    except InvalidFields as error:
        return _refusal(world, Code.INVALID_REQUEST, *(fault.path for fault in error.faults))
    return _of_container(world, box, request) if box is not None else _of_user(world, held.owner, request)


def _may(world: World, row: Endpoint[Any, Any], held: Pass, id: str | None) -> bool:
    if held.grants is None:
        return True
    if row.scope is None or row.action is None:
        return row.auth is not Auth.SESSION
    user_id = world.accounts[held.owner].user_id
    return held.grants.allows(Scope.fill(row.scope, user_id=user_id, id=id), row.action)


def _is_about_container(row: Endpoint[Any, Any]) -> bool:
    return (row.scope or "").endswith(".containers.<id>")


def _refusal(world: World, code: Code, *faults: str) -> Expected:
    return Expected(lambda body: world, code=code, faults=faults)


def _of_user(world: World, owner: str, request: Any) -> Expected:
    match request:
        case ask.ListContainers() | ask.ListSSHKeys():
            return Expected(lambda body: world)
        case ask.CreateContainer():
            return _create(world, owner, request)
        case ask.AddSSHKey():
            return _add_key(world, owner, request)
        case ask.DeleteSSHKey():
            return _delete_key(world, owner, request.id)
        case ask.CreateToken():
            return _create_token(world, owner, request)
        case ask.DeleteToken():
            return _delete_token(world, owner, request.id)
        case _:
            raise LookupError(f"the model knows no {type(request).__name__}")


def _create(world: World, owner: str, request: ask.CreateContainer) -> Expected:
    mine = {key.id for key in world.keys_of(owner)}
    if not mine.issuperset(request.ssh_key_ids):
        wrong = [n for n, key_id in enumerate(request.ssh_key_ids) if key_id not in mine]
        return _refusal(world, Code.INVALID_REQUEST, *(f"ssh_key_ids[{n}]" for n in wrong))
    if world.room(owner) <= 0:
        return _refusal(world, Code.LIMIT_REACHED)
    fixed = {
        "name": request.name,
        "instance_type": request.instance_type,
        "memory_mb": request.memory_mb,
        "storage_gb": request.storage_gb,
    }
    box = Box("", owner, fixed, bool(request.ssh_enabled), request.mount_paths or ())

    def after(body: Body) -> World:
        id_ = str(body.get("id"))
        return world.with_box(evolve(box, id=id_, fixed={"id": id_, **fixed}).seen(body))

    return Expected(after, box=box)


def _add_key(world: World, owner: str, request: ask.AddSSHKey) -> Expected:
    account, mine = world.accounts[owner], world.keys_of(owner)
    blob = PublicKey.parse(request.public_key).blob
    if any(PublicKey.parse(key.public_key).blob == blob for key in mine):
        return _refusal(world, Code.CONFLICT)
    if len(mine) + account.other_keys >= account.key_limit:
        return _refusal(world, Code.LIMIT_REACHED)
    answer = {"name": request.name, "public_key": request.public_key}

    def after(body: Body) -> World:
        return world.with_key(Key(body.get("id", 0), owner, request.name, request.public_key))

    return Expected(after, answer=answer)


def _delete_key(world: World, owner: str, id: int) -> Expected:
    if all(key.id != id for key in world.keys_of(owner)):
        return _refusal(world, Code.NOT_FOUND)
    return Expected(lambda body: world.without_key(id), answer={"status": "ok"})


def _create_token(world: World, owner: str, request: ask.CreateToken) -> Expected:
    user_id = world.accounts[owner].user_id
    if any(Scope.parse(scope).user_id != user_id for scope in request.scopes):
        return _refusal(world, Code.INVALID_REQUEST, "scopes")
    made = Pass(owner, Grants(request.scopes))

    def after(body: Body) -> World:
        id_ = str(body.get("id"))
        return world.with_pass(id_, evolve(made, id=id_))

    return Expected(after, answer={"name": request.name})


def _delete_token(world: World, owner: str, id: str) -> Expected:
    found = world.passes.get(id)
    if found is None or found.owner != owner or found.revoked or not found.id:
        return _refusal(world, Code.NOT_FOUND)
    gone = evolve(found, revoked=True)
    return Expected(lambda body: world.with_pass(id, gone), answer={"status": "ok"})


def _of_container(world: World, box: Box, request: Any) -> Expected:
    match request:
        case ask.GetContainer():
            return Expected(lambda body: world.with_box(box.seen(body)), box=box)
        case ask.DeleteContainer():
            return Expected(
                lambda body: world.without_box(box.id), answer={"status": "ok"}, news=((box.id, frozenset()),)
            )
        case ask.StartContainer():
            return _start(world, box)
        case ask.StopContainer():
            return _stop(world, box)
        case ask.GetSSHAccess():
            return Expected(lambda body: world, answer={"ssh_enabled": box.ssh_enabled})
        case ask.SetSSHAccess(_, enabled):
            return _changed(world, evolve(box, ssh_enabled=enabled), {"ssh_enabled": enabled})
        case ask.ListIngress() | ask.GetMounts():
            return Expected(lambda body: world)
        case ask.AddIngress():
            return _publish(world, box, request.port, request.target_port or request.port)
        case ask.RemoveIngress(_, port):
            kept = tuple(rule for rule in box.rules if rule.port != port)
            if kept == box.rules:
                return _refusal(world, Code.NOT_FOUND)
            return _changed(world, evolve(box, rules=kept), {"status": "ok"})
        case ask.SetMounts():
            return _mount(world, box, request.mount_paths)
        case _:
            raise LookupError(f"the model knows no {type(request).__name__}")


def _changed(world: World, box: Box, answer: Body) -> Expected:
    return Expected(lambda body: world.with_box(box), answer=answer)


def _start(world: World, box: Box) -> Expected:
    before, down = box.statuses, box.statuses - UP
    # what is down begins anew, and what is up stays on its way
    after = box.moved(*(before & UP), *({Status.PENDING} if down else ()))
    news = ((box.id, _PENDING),) if before == down else ()
    hints = ((box.id, str(Status.PENDING)),) if down and not news else ()
    return _told(world, after, news=news, hints=hints)


def _stop(world: World, box: Box) -> Expected:
    stands = box.statuses == {Status.STOPPED}
    news = () if stands else ((box.id, frozenset({str(Status.STOPPED)})),)
    return _told(world, box.moved(Status.STOPPED), news=news)


def _told(world: World, box: Box, **more: Any) -> Expected:
    return Expected(lambda body: world.with_box(box.seen(body)), box=box, **more)


def _publish(world: World, box: Box, port: int, target: int) -> Expected:
    old = next((rule for rule in box.rules if rule.port == port), None)
    others = tuple(rule for rule in box.rules if rule.port != port)
    answer: dict[str, Any] = {"port": port, "target_port": target}
    if old is not None:
        answer["id"] = old.id

    def after(body: Body) -> World:
        rule = Rule(body.get("id", 0), port, target)
        rules = tuple(sorted((*others, rule), key=lambda one: one.port))
        return world.with_box(evolve(box, rules=rules, spent_rules=box.spent_rules | {rule.id}))

    return Expected(after, answer=answer)


def _mount(world: World, box: Box, paths: tuple[str, ...]) -> Expected:
    up, down = box.statuses & UP, box.statuses - UP
    changed = evolve(box, mount_paths=paths)
    if set(paths) == set(box.mount_paths) or not up:
        return Expected(lambda body: world.with_box(changed), restarted=frozenset({False}))

    def after(body: Body) -> World:
        again = bool(body.get("restarted"))
        return world.with_box(changed.moved(Status.PENDING) if again else evolve(changed, statuses=down))

    restarted = frozenset({True, False} if down else {True})
    # from pending to pending is no change that a server must tell
    sure = not down and Status.PENDING not in up
    return Expected(
        after,
        restarted=restarted,
        news=((box.id, _PENDING),) if sure else (),
        hints=() if sure else ((box.id, str(Status.PENDING)),),
    )


def unordered(paths: Any) -> list[str] | None:
    """Mount paths in an order for comparing: which one a server keeps is its own business."""
    if not isinstance(paths, list | tuple) or not all(isinstance(path, str) for path in paths):
        return None
    return sorted(paths)
