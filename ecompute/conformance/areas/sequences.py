"""Sequences: what must hold after any operations in any order, found by a machine beside a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ecompute.conformance.check import check
from ecompute.conformance.lab import Lab
from ecompute.conformance.machine import run_sequences
from ecompute.conformance.requirement import Area, must, ours, should
from ecompute.conformance.sequence import Sequence, Step, walk
from ecompute.conformance.setting import Hand
from ecompute.contract import requests as ask
from ecompute.contract.scopes import Action

AREA = Area(
    "sequences",
    "SEQ",
    "Sequences of operations",
    (
        must(
            1,
            "After any operations an allowed request succeeds, and tells what they have led to.",
            "Reference",
        ),
        must(
            2,
            "What is gone, was never there or is another user's is not found, at any time.",
            "contract notes: answers",
        ),
        must(
            3, "The container limit counts exactly what there is at that moment.", "Reference: Default Limits"
        ),
        must(4, "A malformed request is refused in any state.", "contract notes: answers"),
        must(
            5,
            "A token is refused whatever its scopes do not cover, at any time.",
            "contract notes: credentials and scopes",
        ),
        should(
            6,
            "A revoked token is refused from then on, whatever it was.",
            "contract notes: credentials and scopes",
        ),
        should(7, "A key can be added again only once it was deleted.", "contract notes: requests"),
        must(
            8,
            "The list has each container that was made and not deleted, as the operations have left it.",
            "GET /compute/containers",
        ),
        must(
            9,
            "The list has each key that was added and not deleted, as it was added.",
            "GET /compute/ssh-keys",
        ),
        must(
            10,
            "A container has the rules, mount paths and SSH access that the operations have left.",
            "GET /compute/containers/{id}/ingress",
        ),
        must(11, "A refused operation has no effect.", "contract notes: answers"),
        must(12, "A status changes only by an operation, or onwards by itself.", "contract notes: lifecycle"),
        must(13, "The feed tells every change of a status, in order.", "GET /compute/ws"),
        ours(
            14,
            "The feed tells the end of a container once, and nothing of it afterwards.",
            "contract notes: WebSockets",
        ),
        must(15, "The feed tells nothing of another user's containers.", "contract notes: answers"),
        should(16, "Lists have the newest first, also after deletions.", "contract notes: requests"),
        must(17, "A list has nothing of another user's.", "contract notes: answers"),
        should(18, "Ids are never used a second time.", "contract notes: requests"),
    ),
)

_ALL = tuple(requirement.id for requirement in AREA.requirements)


@check(*_ALL)
def short(lab: Lab) -> None:
    """Short sequences by all users and their tokens, beside the model."""
    run_sequences(lab, count=8, steps=40)


@check(*_ALL)
def tour(lab: Lab) -> None:
    """One sequence that comes to everything."""
    walk(lab, _TOUR)


@check(*_ALL, standard=True)
def long(lab: Lab) -> None:
    """Long sequences by all users and their tokens, beside the model."""
    run_sequences(lab, count=40, steps=40)


def _subscribe(sequence: Sequence) -> None:
    for tenant in sequence.setting.tenants:
        sequence.subscribe(tenant)


def _add_key(slot: int) -> Step:
    return lambda sequence: sequence.add_key(_me(sequence), slot, sequence.lab.name())


def _create(sequence: Sequence) -> None:
    mine = [key.id for key in sequence.world.keys_of(_me(sequence).symbol)]
    sequence.create(_me(sequence), mine)


def _delete_key(sequence: Sequence) -> None:
    mine = [key.id for key in sequence.world.keys_of(_me(sequence).symbol)]
    if mine[-1] != sequence.shared_key(_me(sequence)):
        sequence.do(_me(sequence), ask.DeleteSSHKey, {"id": str(mine[-1])})
        sequence.create(_me(sequence), mine)


def _me(sequence: Sequence) -> Hand:
    return sequence.setting.hands[0]


def _other(sequence: Sequence) -> Hand:
    return sequence.setting.hands[-1]


def _on(cls: type, body: dict[str, Any] | None = None, **parameters: str) -> tuple[Step, Step]:
    """An operation on the first container, by another user and then by its owner."""

    def by(who: Callable[[Sequence], Hand]) -> Step:
        return lambda sequence: sequence.do(
            who(sequence), cls, {"id": sequence.first_box(), **parameters}, body or {}
        )

    return by(_other), by(_me)


def _use_token(sequence: Sequence) -> None:
    """What a token may do while it holds, and afterwards."""
    if not sequence.setting.makes_tokens:
        return
    box = sequence.first_box()
    token = sequence.make_token(_me(sequence), {".containers.<id>": {Action.READ, Action.UPDATE}}, box)
    assert token is not None
    for _ in range(2):
        for cls in (ask.GetContainer, ask.StopContainer, ask.DeleteContainer):
            sequence.do(token, cls, {"id": box})
        sequence.do(token, ask.ListContainers, {})
        sequence.revoke(_me(sequence), token)


def _fill(sequence: Sequence) -> None:
    sequence.fill(_me(sequence))


_TOUR: tuple[Step, ...] = (
    _subscribe,
    _add_key(0),
    _add_key(1),
    _add_key(0),
    _create,
    _delete_key,
    _add_key(1),
    *_on(ask.SetSSHAccess, {"ssh_enabled": True}),
    *_on(ask.SetSSHAccess, {"ssh_enabled": 0}),
    *_on(ask.AddIngress, {"port": 443}),
    *_on(ask.AddIngress, {"port": 8080, "target_port": 80}),
    *_on(ask.AddIngress, {"port": 8080, "target_port": 81}),
    *_on(ask.RemoveIngress, port="8080"),
    *_on(ask.RemoveIngress, port="8080"),
    *_on(ask.AddIngress, {"port": 8000}),
    *_on(ask.AddIngress, {"port": 9000}),
    *_on(ask.RemoveIngress, port="443"),
    *_on(ask.SetMounts, {"mount_paths": ["/data//", "/root"]}),
    *_on(ask.SetMounts, {"mount_paths": ["/root", "/data"]}),
    *_on(ask.StopContainer),
    *_on(ask.SetMounts, {"mount_paths": ["/srv"]}),
    *_on(ask.StopContainer),
    *_on(ask.StartContainer),
    *_on(ask.StartContainer),
    *_on(ask.GetContainer),
    _use_token,
    _fill,
    *_on(ask.DeleteContainer),
    *_on(ask.DeleteContainer),
    *_on(ask.GetContainer),
    *_on(ask.StartContainer),
    _fill,
)
