"""Limits: how many containers and SSH keys a user may have."""

from __future__ import annotations

from typing import Any

from ecompute.conformance.check import Need, check
from ecompute.conformance.creating import CONTAINERS, at, listed
from ecompute.conformance.lab import Lab
from ecompute.conformance.requirement import Area, must, should
from ecompute.conformance.together import Asked, together
from ecompute.conformance.verdict import NotThere
from ecompute.conformance.wire import Answer
from ecompute.contract.problems import Code

CREATE, ADD, LIMITS = f"POST {CONTAINERS}", "POST /compute/ssh-keys", "Reference: Default Limits"
KEYS = "/compute/ssh-keys"

AREA = Area(
    "limits",
    "LIM",
    "Limits",
    (
        must(1, "A user may have as many containers as the limit says.", LIMITS),
        must(2, "One container more is refused with limit_reached.", LIMITS),
        must(3, "A container that is refused for the limit is not there afterwards.", CREATE),
        must(4, "Creates at the same time do not get past the limit.", LIMITS),
        should(5, "A deletion makes room at once.", "contract notes: lifecycle"),
        must(6, "Stopped containers count.", LIMITS),
        must(7, "A user may have as many SSH keys as the limit says.", LIMITS),
        must(8, "One SSH key more is refused with limit_reached.", LIMITS),
        must(9, "An SSH key that is refused for the limit is not there afterwards.", ADD),
        must(10, "SSH keys added at the same time do not get past the limit.", LIMITS),
        should(11, "A deleted SSH key makes room at once.", "DELETE /compute/ssh-keys/{id}"),
        must(12, "Each user has limits of their own.", LIMITS),
        should(13, "What is refused for another reason takes no room.", LIMITS),
        should(14, "At the limit a faulty body is told as such.", "contract notes: answers"),
    ),
)

_MANY = 25


def _create(lab: Lab) -> Answer:
    return lab.post(CONTAINERS, {"name": lab.name(), "ssh_key_ids": [lab.key()]})


def _fill(lab: Lab) -> list[str]:
    """As many containers as there may be; the new ones."""
    if lab.target.container_limit > _MANY:
        raise NotThere(f"More than {_MANY} containers are more than the kit makes.")
    lab.make_room(2)
    made = []
    for _ in range(lab.room()):
        answer = _create(lab)
        lab.holds(
            "LIM-001", answer.status == 200, f"200 below the limit {lab.target.container_limit}", answer
        )
        made.append(str(answer.body["id"]))
    return made


@check("LIM-001", "LIM-002", "LIM-003", "LIM-005", "LIM-006", "LIM-014")
def containers(lab: Lab) -> None:
    """All containers that there may be, one more, and one in the place of another."""
    made = _fill(lab)
    before = {item["id"] for item in listed(lab)}
    for round_ in ("full", "with one stopped", "with another in the place of one"):
        if round_ == "with one stopped":
            lab.stop(made[0])
        elif round_ == "with another in the place of one":
            gone = made.pop()
            lab.delete(at(gone))
            answer = _create(lab)
            lab.holds("LIM-005", answer.status == 200, "200 after a deletion", answer)
            made.append(str(answer.body["id"]))
            before = before - {gone} | {made[-1]}
        answer = _create(lab)
        stopped = round_ == "with one stopped"
        lab.holds("LIM-006" if stopped else "LIM-002", answer.status != 200, f"a refusal, {round_}", answer)
        lab.refused("LIM-002", answer, Code.LIMIT_REACHED)
        now = {item["id"] for item in listed(lab)}
        lab.holds("LIM-003", now == before, f"{sorted(before)}", sorted(now))
    lab.refused("LIM-014", lab.post(CONTAINERS, {"name": "", "ssh_key_ids": []}), Code.INVALID_REQUEST)


@check("LIM-001", "LIM-003", "LIM-004", "LIM-005")
def containers_at_once(lab: Lab) -> None:
    """More creates at the same time than there is room for, and again after their deletion."""
    if lab.target.container_limit > _MANY:
        raise NotThere(f"More than {_MANY} containers are more than the kit makes.")
    lab.make_room(2)
    key = lab.key()
    for _ in range(lab.pick(2, 5)):
        with lab.tidy():
            room = lab.room()
            before = {item["id"] for item in listed(lab)}
            bodies = [{"name": lab.name(), "ssh_key_ids": [key]} for _ in range(room + 6)]
            answers = together(lab, [Asked("POST", CONTAINERS, body) for body in bodies])
            made = {answer.body["id"] for answer in answers if answer.status == 200}
            _all_or_limit(lab, "LIM-004", "LIM-001", answers, room)
            now = {item["id"] for item in listed(lab)}
            lab.holds("LIM-003", now == before | made, f"{sorted(before | made)}", sorted(now))
            together(lab, [Asked("DELETE", at(id_)) for id_ in sorted(made)])
            lab.holds("LIM-005", lab.room() == room, f"room for {room} again", lab.room())


def _all_or_limit(lab: Lab, most: str, least: str, answers: list[Answer], room: int) -> None:
    good = [answer for answer in answers if answer.status == 200]
    lab.holds(most, len(good) <= room, f"at most {room} of {len(answers)} answered with 200", len(good))
    lab.holds(least, len(good) == room, f"{room} of {len(answers)} answered with 200", _statuses(answers))


def _statuses(answers: list[Answer]) -> list[str]:
    return [f"{answer.status} {answer.code}".strip() for answer in answers]


@check("LIM-013")
def refusals(lab: Lab) -> None:
    """Creates that are refused for their bodies, as many as there may be containers, and a good one."""
    lab.make_room(1)
    key = lab.key()
    for number in range(min(lab.target.container_limit, _MANY) + 1):
        body = {"name": "x", "ssh_key_ids": [key], "memory_mb": -number - 1}
        lab.post(CONTAINERS, body)
        lab.post(CONTAINERS, {"name": "x", "ssh_key_ids": [10**9 + number]})
    answer = _create(lab)
    lab.holds("LIM-013", answer.status == 200, "200", answer)


@check("LIM-012", needs=(Need.SECOND_TENANT,))
def of_each_user(lab: Lab) -> None:
    """One user is at the limit, another one makes a container."""
    lab.make_room(1, lab.second)
    _fill_quietly(lab)
    body = {"name": lab.name(), "ssh_key_ids": [lab.key(lab.second)]}
    answer = lab.post(CONTAINERS, body, lab.second)
    lab.holds("LIM-012", answer.status == 200, "200 for the other user", answer)
    answer = _create(lab)
    lab.holds("LIM-012", answer.status != 200, "a refusal for the user at the limit", answer)


def _fill_quietly(lab: Lab) -> None:
    if lab.target.container_limit > _MANY:
        raise NotThere(f"More than {_MANY} containers are more than the kit makes.")
    lab.make_room(1)
    for _ in range(lab.room()):
        lab.new_container()


def _keys(lab: Lab) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = lab.get(KEYS).body["ssh_keys"]
    return found


def _key_body(lab: Lab) -> dict[str, Any]:
    return {"name": lab.name(), "public_key": lab.public_key()}


def _room_for_keys(lab: Lab) -> int:
    if lab.target.key_limit > _MANY:
        raise NotThere(f"More than {_MANY} SSH keys are more than the kit makes.")
    room = lab.target.key_limit - len(_keys(lab))
    if room < 1:
        raise NotThere("The user has as many SSH keys as there may be.")
    return room


@check("LIM-007", "LIM-008", "LIM-009", "LIM-011", "LIM-014")
def keys(lab: Lab) -> None:
    """All SSH keys that there may be, one more, and one in the place of another."""
    made: list[int] = []
    for _ in range(_room_for_keys(lab)):
        answer = lab.post(KEYS, _key_body(lab))
        lab.holds("LIM-007", answer.status == 200, f"200 below the limit {lab.target.key_limit}", answer)
        made.append(answer.body["id"])
    count = len(_keys(lab))
    lab.holds("LIM-007", count == lab.target.key_limit, f"{lab.target.key_limit} keys in the list", count)
    for _ in range(2):
        body = _key_body(lab)
        answer = lab.post(KEYS, body)
        lab.holds("LIM-008", answer.status != 200, "a refusal at the limit", answer)
        lab.refused("LIM-008", answer, Code.LIMIT_REACHED)
        found = [key for key in _keys(lab) if key["public_key"] == body["public_key"]]
        lab.holds("LIM-009", not found, "no key that was refused", found)
        lab.delete(f"{KEYS}/{made.pop()}")
        answer = lab.post(KEYS, body)
        lab.holds("LIM-011", answer.status == 200, "200 after a deletion", answer)
        made.append(answer.body["id"])
    lab.refused("LIM-014", lab.post(KEYS, {"name": "x", "public_key": "none"}), Code.INVALID_REQUEST)


@check("LIM-007", "LIM-010", "LIM-011")
def keys_at_once(lab: Lab) -> None:
    """More SSH keys at the same time than there is room for."""
    for _ in range(lab.pick(1, 4)):
        with lab.tidy():
            room = _room_for_keys(lab)
            answers = together(lab, [Asked("POST", KEYS, _key_body(lab)) for _ in range(room + 6)])
            _all_or_limit(lab, "LIM-010", "LIM-007", answers, room)
            ids = [answer.body["id"] for answer in answers if answer.status == 200]
            together(lab, [Asked("DELETE", f"{KEYS}/{id_}") for id_ in ids])
            lab.holds("LIM-011", _room_for_keys(lab) == room, f"room for {room} again", len(_keys(lab)))
