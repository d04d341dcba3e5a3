"""Judging a step of a sequence: the answer by what the model expects, and then what is there by the model's
world.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve

from ecompute.contract import requests as ask
from ecompute.contract.endpoint import Endpoint
from ecompute.contract.problems import Code

from .credential import Tenant
from .lab import Lab
from .model import Expected, unordered
from .wire import Answer
from .world import Box, World

SUCCEEDS, NOT_FOUND, LIMIT, INVALID, SCOPE, REVOKED, CONFLICT = (
    "SEQ-001",
    "SEQ-002",
    "SEQ-003",
    "SEQ-004",
    "SEQ-005",
    "SEQ-006",
    "SEQ-007",
)
CONTAINERS, KEYS, PARTS, REFUSED, STATUS, ORDER, OTHERS, NEW = (
    "SEQ-008",
    "SEQ-009",
    "SEQ-010",
    "SEQ-011",
    "SEQ-012",
    "SEQ-016",
    "SEQ-017",
    "SEQ-018",
)

_REFUSALS = {
    Code.NOT_FOUND: NOT_FOUND,
    Code.LIMIT_REACHED: LIMIT,
    Code.INVALID_REQUEST: INVALID,
    Code.FORBIDDEN: SCOPE,
    Code.UNAUTHENTICATED: REVOKED,
    Code.CONFLICT: CONFLICT,
}


class Comparison:
    """The model's world beside the server. `told` are what a step's requests are judged by."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def answer(self, expected: Expected, answer: Answer) -> None:
        """An answer is the expected one."""
        if expected.code is not None:
            self._lab.refused(_REFUSALS[expected.code], answer, expected.code)
            return
        self._lab.holds(SUCCEEDS, answer.status == 200, "200", answer)
        for name, value in expected.answer.items():
            self._lab.holds(SUCCEEDS, answer.body.get(name) == value, f"{name} {value!r}", answer)
        if expected.restarted:
            allowed = sorted(expected.restarted)
            self._lab.holds(STATUS, answer.body.get("restarted") in allowed, f"restarted {allowed}", answer)

    def container(self, requirement: str, box: Box, told: Mapping[str, Any]) -> None:
        """What is told of a container is what the model knows of it."""
        different = box.differences(told)
        self._lab.holds(requirement, not different, f"{different} of the container {box.id}", told)
        possible = sorted(box.statuses)
        fits = told.get("status") in possible
        self._lab.holds(STATUS, fits, f"of the container {box.id} a status among {possible}", told)

    def made(
        self,
        before: World,
        row: Endpoint[Any, Any],
        parameters: Mapping[str, str],
        expected: Expected,
        answer: Answer,
    ) -> None:
        """What a success tells besides: whole containers, new ids, mount paths."""
        told, id_ = answer.body, answer.body.get("id")
        if expected.box is not None:
            if row.request is ask.CreateContainer:
                self._new(before, "container", id_, answer)
            self.container(SUCCEEDS, evolve(expected.box, id=str(id_)), told)
        if row.request is ask.AddSSHKey:
            self._new(before, "key", id_, answer)
        box = before.box(parameters.get("id", ""))
        if row.request is ask.AddIngress and box is not None and "id" not in expected.answer:
            new = type(id_) is int and id_ not in box.spent_rules
            self._lab.holds(NEW, new, "an id that no rule of the container ever had", answer)
        if row.request is ask.SetMounts and box is not None:
            after = expected.after(told).box(box.id)
            wanted = sorted(after.mount_paths) if after else []
            same = unordered(told.get("mount_paths")) == wanted
            self._lab.holds(SUCCEEDS, same, f"the mount paths {wanted}", answer)

    def _new(self, before: World, kind: str, id: Any, answer: Answer) -> None:
        form = isinstance(id, str) if kind == "container" else type(id) is int
        new = form and (kind, id) not in before.made
        self._lab.holds(NEW, new, f"an id that no {kind} ever had", answer)

    def containers(self, requirement: str, world: World, tenant: Tenant) -> World:
        """The list has all of the tenant's containers and none that is gone or another's; the world that
        comes back knows the statuses in it.
        """
        answer = self._lab.get("/compute/containers", tenant)
        listed = _of_model(world, "container", answer.body.get("containers"))
        mine = {box.id: box for box in world.boxes_of(tenant.symbol)}
        self._same_ids(requirement, world, "container", tenant, listed, set(mine), answer)
        for told in listed:
            self.container(requirement, mine[told["id"]], told)
            world = world.with_box(mine[told["id"]].seen(told))
        return world

    def keys(self, requirement: str, world: World, tenant: Tenant) -> None:
        """The list has all of the tenant's keys and none that is gone or another's."""
        answer = self._lab.get("/compute/ssh-keys", tenant)
        listed = _of_model(world, "key", answer.body.get("ssh_keys"))
        mine = {key.id: key for key in world.keys_of(tenant.symbol)}
        self._same_ids(requirement, world, "key", tenant, listed, set(mine), answer)
        for told in listed:
            wanted = mine[told["id"]].fields
            fits = all(told.get(name) == value for name, value in wanted.items())
            self._lab.holds(requirement, fits, f"{wanted} in the list", told)

    def parts(self, requirement: str, box: Box, tenant: Tenant) -> None:
        """A container's rules and mount paths are those of the model."""
        path = f"/compute/containers/{box.id}"
        answer = self._lab.get(f"{path}/ingress", tenant)
        wanted = [{"id": r.id, "port": r.port, "target_port": r.target_port} for r in box.rules]
        told = [_only(rule, ("id", "port", "target_port")) for rule in _objects(answer.body.get("rules"))]
        self._lab.holds(requirement, told == wanted, f"the rules {wanted}", answer)
        answer = self._lab.get(f"{path}/mounts", tenant)
        paths = sorted(box.mount_paths)
        same = unordered(answer.body.get("mount_paths")) == paths
        self._lab.holds(requirement, same, f"the mount paths {paths}", answer)
        answer = self._lab.get(f"{path}/ssh", tenant)
        same = answer.body.get("ssh_enabled") is box.ssh_enabled
        self._lab.holds(requirement, same, f"ssh_enabled {box.ssh_enabled}", answer)

    def _same_ids(
        self,
        requirement: str,
        world: World,
        kind: str,
        tenant: Tenant,
        listed: list[dict[str, Any]],
        wanted: set[Any],
        answer: Answer,
    ) -> None:
        ids = [told["id"] for told in listed]
        foreign = [id_ for id_ in ids if world.made[kind, id_] != tenant.symbol]
        if self._lab.has_second:
            self._lab.holds(OTHERS, not foreign, f"nothing of another user's, as {foreign} are", answer)
        expected = f"of these, each once: {sorted(wanted)}"
        self._lab.holds(requirement, sorted(ids) == sorted(wanted), expected, answer)
        ages = [(str(told.get("created_at")), told["id"]) for told in listed]
        newest_first = ages == sorted(ages, reverse=True)
        self._lab.holds(ORDER, newest_first, "the newest first, of equally old ones the highest id", answer)


def _of_model(world: World, kind: str, listed: Any) -> list[dict[str, Any]]:
    """What the model has ever had of a list; others may be in it as well."""
    return [told for told in _objects(listed) if (kind, told.get("id")) in world.made]


def _objects(listed: Any) -> list[dict[str, Any]]:
    return [told for told in listed if isinstance(told, dict)] if isinstance(listed, list) else []


def _only(told: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: told.get(name) for name in names}
