"""The life of containers: statuses, start, stop, delete."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from hypothesis import strategies as st

from ecompute.conformance.check import Need, check
from ecompute.conformance.creating import at, create, listed
from ecompute.conformance.lab import Lab
from ecompute.conformance.reading import differences
from ecompute.conformance.requirement import Area, must, should
from ecompute.conformance.together import Asked, together
from ecompute.conformance.verdict import NotThere
from ecompute.contract.catalog import Status
from ecompute.contract.problems import Code

START, STOP = "POST /compute/containers/{id}/start", "POST /compute/containers/{id}/stop"
DELETE, LIFE = "DELETE /compute/containers/{id}", "contract notes: lifecycle"

AREA = Area(
    "lifecycle",
    "LIF",
    "Lifecycle",
    (
        must(1, "A new container comes to run, or fails.", LIFE),
        must(2, "On its way a container is pending, then initializing, then running.", "GET /compute/ws"),
        must(3, "A stop is answered with the container, stopped already.", STOP),
        must(4, "A stopped container stays so until it is started.", STOP),
        must(5, "A start of a stopped container is answered with the container, pending.", START),
        must(6, "A started container comes to run again.", START),
        should(7, "A start of a container that runs or is on its way changes nothing.", LIFE),
        should(8, "A stop of a stopped container changes nothing.", LIFE),
        must(9, "A container can be stopped on its way, and does not run then.", LIFE),
        must(10, "A container can be deleted in any status.", DELETE),
        should(11, "The id of a deleted container is not given again.", "contract notes: requests"),
        must(12, "Stop and start change nothing of a container but its status.", START),
        should(
            13, "The body of a start or stop may be empty, or anything small.", "contract notes: requests"
        ),
        must(14, "Stops and starts one after another and at once leave the last one's status.", LIFE),
        must(15, "A stop or start of one container leaves all others.", STOP),
    ),
)

WAY = ("pending", "initializing", "running")
_ENDS = {"running", "failed", "stopped"}


def _statuses(lab: Lab, id_: str, within: float) -> Iterator[str]:
    """The status again and again, as get and list tell it in turn, for so many seconds."""
    deadline = time.monotonic() + within
    mark = lab.history.mark()
    while time.monotonic() < deadline:
        lab.history.rewind(mark)
        yield lab.status(id_)
        lab.history.rewind(mark)
        yield next((str(item["status"]) for item in listed(lab) if item["id"] == id_), "")
        time.sleep(0.005)


def _comes_to_run(lab: Lab, requirement: str, id_: str) -> None:
    """From pending on, without a step back."""
    seen = [WAY[0]]
    for status in _statuses(lab, id_, lab.target.boot_timeout):
        if status != seen[-1]:
            seen.append(status)
        if status == "failed":
            raise NotThere("The container has failed to boot.")
        known = status in WAY
        lab.holds("LIF-002", known, f"one of the statuses {', '.join(WAY)}", status)
        lab.holds("LIF-002", seen == [one for one in WAY if one in seen], "no step back", seen)
        if status == "running":
            break
    lab.holds(requirement, seen[-1] == "running", f"running in {lab.target.boot_timeout:g} s", seen)


def _stays(lab: Lab, requirement: str, id_: str, status: str, within: float) -> None:
    for found in _statuses(lab, id_, within):
        lab.holds(requirement, found == status, f"the status {status} still", found)


def _command(lab: Lab, requirement: str, id_: str, order: str, *statuses: str) -> dict[str, Any]:
    """A start or stop, answered with the whole container in one of these statuses."""
    answer = lab.post(at(id_, f"/{order}"))
    lab.holds(requirement, answer.status == 200, "200", answer)
    lab.holds(requirement, answer.body.get("id") == id_, "the container", answer)
    lab.holds(requirement, answer.body.get("status") in statuses, f"the status {statuses[0]}", answer)
    return answer.body


@check("LIF-001", "LIF-002", "LIF-007")
def birth(lab: Lab) -> None:
    """A new container, started again on its way, until it runs."""
    lab.make_room(1)
    answer = create(lab)
    status = answer.body.get("status")
    lab.holds("LIF-001", status in [str(one) for one in Status], "a known status", answer)
    id_ = str(answer.body["id"])
    _command(lab, "LIF-007", id_, "start", *WAY, "failed")
    _comes_to_run(lab, "LIF-001", id_)
    _command(lab, "LIF-007", id_, "start", "running")
    _stays(lab, "LIF-007", id_, "running", lab.pick(0.05, 0.5))


@check(
    "LIF-003",
    "LIF-004",
    "LIF-005",
    "LIF-006",
    "LIF-007",
    "LIF-008",
    "LIF-012",
    "LIF-002",
    needs=(Need.RUNNING,),
)
def stop_and_start(lab: Lab) -> None:
    """A container that runs is stopped, stopped again, and started; nothing else of it changes."""
    id_ = lab.running()
    lab.post(at(id_, "/ingress"), {"port": 8456, "target_port": 80})
    before, parts = lab.get(at(id_)).body, _parts(lab, id_)
    stopped = _command(lab, "LIF-003", id_, "stop", "stopped")
    lab.holds("LIF-012", not differences(before, stopped), f"the container as before: {before}", stopped)
    _stays(lab, "LIF-003", id_, "stopped", 0.01)
    _command(lab, "LIF-008", id_, "stop", "stopped")
    _stays(lab, "LIF-004", id_, "stopped", lab.pick(0.1, 1.0))
    lab.holds("LIF-012", _parts(lab, id_) == parts, f"{parts}", _parts(lab, id_))
    started = _command(lab, "LIF-005", id_, "start", "pending")
    lab.holds("LIF-012", not differences(before, started), f"the container as before: {before}", started)
    _command(lab, "LIF-007", id_, "start", *WAY)
    _comes_to_run(lab, "LIF-006", id_)
    after = lab.get(at(id_)).body
    lab.holds("LIF-012", not differences(before, after), f"the container as before: {before}", after)
    lab.holds("LIF-012", _parts(lab, id_) == parts, f"{parts}", _parts(lab, id_))
    lab.delete(at(id_, "/ingress/8456"))


def _parts(lab: Lab, id_: str) -> list[Any]:
    return [lab.get(at(id_, part)).body for part in ("/ssh", "/ingress", "/mounts")]


@check("LIF-003", "LIF-005", "LIF-006", "LIF-009", "LIF-015", "LIF-002")
def stopped_early(lab: Lab) -> None:
    """A container is stopped as soon as it is made, and while it starts again; another one has its peace."""
    lab.make_room(1)
    other = lab.container()
    lab.stop(other)
    id_ = lab.new_container()
    _command(lab, "LIF-003", id_, "stop", "stopped")
    _stays(lab, "LIF-009", id_, "stopped", lab.pick(0.25, 1.5))
    _command(lab, "LIF-005", id_, "start", "pending")
    for _ in range(lab.random.randrange(6)):
        lab.status(id_)
    _command(lab, "LIF-003", id_, "stop", "stopped")
    _stays(lab, "LIF-009", id_, "stopped", lab.pick(0.1, 1.0))
    _command(lab, "LIF-005", id_, "start", "pending")
    _comes_to_run(lab, "LIF-006", id_)
    status = lab.status(other)
    lab.holds("LIF-015", status == "stopped", "the other container stopped still", status)
    _command(lab, "LIF-005", other, "start", "pending")
    status = lab.status(id_)
    lab.holds("LIF-015", status == "running", "the container running still", status)
    lab.wait(other, "running")
    _command(lab, "LIF-003", id_, "stop", "stopped")
    status = lab.status(other)
    lab.holds("LIF-015", status == "running", "the other container running still", status)


@check("LIF-014")
def orders(lab: Lab) -> None:
    """Stops and starts of many orders; what was said last counts."""
    lab.make_room(1)
    id_ = lab.new_container()

    def test(said: list[str]) -> None:
        up = lab.status(id_) != "stopped"
        for order in said:
            if order in ("start", "stop"):
                up = order == "start"
                lab.post(at(id_, f"/{order}"))
            found = lab.status(id_)
            wanted = {*WAY, "failed"} if up else {"stopped"}
            lab.holds("LIF-014", found in wanted, f"one of {sorted(wanted)} after {said}", found)

    said = st.lists(st.sampled_from(("stop", "start", "look")), min_size=2, max_size=8)
    lab.examples(said, test, quick=5, standard=50)
    lab.post(at(id_, "/stop"))
    _stays(lab, "LIF-014", id_, "stopped", lab.pick(0.05, 0.5))


@check("LIF-014", standard=True)
def orders_at_once(lab: Lab) -> None:
    """Stops and starts at the same time, then one that counts."""
    lab.make_room(1)
    id_ = lab.new_container()
    for _ in range(5):
        answers = together(lab, [Asked("POST", at(id_, f"/{order}")) for order in ("stop", "start") * 3])
        right = all(answer.status == 200 for answer in answers)
        lab.holds("LIF-014", right, "200 for each", [str(answer.status) for answer in answers])
        _command(lab, "LIF-014", id_, "stop", "stopped")
        _stays(lab, "LIF-014", id_, "stopped", 0.2)
        lab.post(at(id_, "/start"))
        lab.wait(id_, "running")


@check("LIF-010", "LIF-011")
def deleted_at_any_time(lab: Lab) -> None:
    """Containers are deleted when they are new, on their way, running, stopping, stopped and starting."""
    ids: set[str] = set()
    for moment in ("new", "on its way", "stopped", "starting", "running", "stopping"):
        lab.make_room(1)
        id_ = lab.new_container()
        lab.holds("LIF-011", id_ not in ids, f"an id that is none of {sorted(ids)}", id_)
        ids.add(id_)
        if moment == "on its way":
            lab.until(partial(_has_begun, lab, id_), lab.target.timeout)
        if moment in ("running", "stopping"):
            lab.wait(id_, "running")
        if moment in ("stopped", "starting", "stopping"):
            lab.post(at(id_, "/stop"))
        if moment == "starting":
            lab.post(at(id_, "/start"))
        answer = lab.delete(at(id_))
        lab.holds("LIF-010", answer.status == 200, f"200 for a container that is {moment}", answer)
        lab.refused("LIF-010", lab.get(at(id_)), Code.NOT_FOUND)
    back = lab.until(lambda: bool(ids & {item["id"] for item in listed(lab)}), lab.pick(0.02, 0.5))
    lab.holds("LIF-010", not back, "a list without the containers", f"one of {sorted(ids)}")


def _has_begun(lab: Lab, id_: str) -> bool:
    return lab.status(id_) != "pending"


@check("LIF-013")
def any_body(lab: Lab) -> None:
    """Starts and stops with bodies that mean nothing."""
    lab.make_room(1)
    id_ = lab.new_container()
    for content in (b"", b"{}", b"null", b"[1", b"\xff\x00", b'{"status": "failed", "id": "x"}', b"x" * 1000):
        for order, statuses in (("stop", {"stopped"}), ("start", {*WAY})):
            answer = lab.ask("POST", at(id_, f"/{order}"), lab.first, content=content)
            lab.holds("LIF-013", answer.status == 200, f"200 for a {order} with {content!r}", answer)
            lab.holds("LIF-013", answer.body.get("status") in statuses, f"one of {statuses}", answer)
