"""Containers: creating, listing, getting, deleting."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from ecompute.conformance.check import Need, check
from ecompute.conformance.creating import CONTAINERS, ROWS, at, create, listed
from ecompute.conformance.edge_values import ODD_IDS
from ecompute.conformance.lab import Lab
from ecompute.conformance.reading import differences, is_now, moment, places
from ecompute.conformance.requirement import Area, must, ours, should
from ecompute.contract.problems import Code

CREATE, LIST = f"POST {CONTAINERS}", f"GET {CONTAINERS}"
GET, DELETE = f"GET {CONTAINERS}/{{id}}", f"DELETE {CONTAINERS}/{{id}}"
NOTES = "contract notes: requests"

AREA = Area(
    "containers",
    "CON",
    "Containers",
    (
        must(1, "Creating answers 200 with the whole container.", CREATE),
        must(2, "A new container is pending.", CREATE),
        should(3, "The hostname is the id before a domain that is the same for all.", NOTES),
        should(4, "Ids are 8 characters of a-z and 0-9, and each is another one.", NOTES),
        must(5, "Create, get and list tell the same of a container.", GET),
        should(6, "The list begins with the newest container; those of one second go by their ids.", NOTES),
        must(7, "A deleted container is neither in the list nor to be had, from then on.", DELETE),
        must(8, "Deleting twice is answered with not_found.", DELETE),
        must(9, "Rows about a container that is not there are answered with not_found.", GET),
        must(10, "The time of a container is that of its creation, in ISO 8601 in UTC.", CREATE),
        ours(11, "The address of a container is its own, and stays.", NOTES),
        should(12, "Figures of use, where they are told, are within the container's sizes.", NOTES),
        ours(13, "A reason is told only of containers that have failed.", NOTES),
        must(14, "Deleting an SSH key leaves the containers that carry it.", "contract notes: lifecycle"),
        should(15, "Several containers may have the same name.", NOTES),
        must(16, "Deleting a container leaves all others.", DELETE),
        should(17, "Any text in the place of an id is answered so as long as no container has it.", NOTES),
    ),
)

_WHOLE = {
    "id": str,
    "name": str,
    "status": str,
    "hostname": str,
    "memory_mb": int,
    "storage_gb": int,
    "instance_type": str,
    "created_at": str,
    "ssh_enabled": bool,
    "https_enabled": bool,
}


def _malformed(container: dict[str, Any]) -> list[str]:
    return [name for name, type_ in _WHOLE.items() if type(container.get(name)) is not type_]


@check("CON-001", "CON-002", "CON-003", "CON-004", "CON-005", "CON-010")
def plain(lab: Lab) -> None:
    """A container with nothing but a name and a key, as create, get and list tell it."""
    lab.make_room(1)
    name = lab.name()
    answer = create(lab, name=name)
    made = answer.body
    lab.holds("CON-001", answer.status == 200, "200", answer)
    lab.holds("CON-001", not _malformed(made), f"the fields {', '.join(_WHOLE)}", answer)
    lab.holds("CON-001", made["name"] == name, f"the name {name!r}", answer)
    lab.holds("CON-001", made["https_enabled"] is False, "https_enabled false", answer)
    lab.holds("CON-002", made["status"] == "pending", "the status pending", answer)
    lab.holds("CON-004", re.fullmatch("[a-z0-9]{8}", made["id"]), "8 of a-z and 0-9 as the id", answer)
    lab.holds("CON-010", is_now(moment(made["created_at"]), answer), "the time of now", answer)
    got, entries = lab.get(at(made["id"])), listed(lab)
    lab.holds("CON-005", not _malformed(got.body), f"the fields {', '.join(_WHOLE)}", got)
    lab.holds("CON-005", not differences(made, got.body), f"the container as created: {made}", got)
    entry = [item for item in entries if item.get("id") == made["id"]]
    lab.holds("CON-005", len(entry) == 1, "the container once in the list", entries)
    lab.holds("CON-005", not differences(got.body, entry[0]), f"the container as got: {got.body}", entry)
    domains = {item["hostname"].removeprefix(item["id"] + ".") for item in (*entries, made)}
    lab.holds("CON-003", len(domains) == 1, "one domain behind all ids", domains)
    right = re.fullmatch(r"([a-z0-9-]+\.)*[a-z0-9-]+", min(domains)) and made["hostname"] not in domains
    lab.holds("CON-003", right, f"{made['id']} and a domain as the hostname", made["hostname"])


@check("CON-004", "CON-006", "CON-011", "CON-015", "CON-016")
def several(lab: Lab) -> None:
    """As many containers as there may be, of one name; then one goes."""
    lab.make_room(2)
    name, made = lab.name(), []
    count = min(3, lab.room())
    for _ in range(lab.pick(1, 3)):
        with lab.tidy():
            made = [create(lab, name=name) for _ in range(count)]
            lab.holds("CON-015", all(one.status == 200 for one in made), "200 for each", made)
            _in_order(lab, [one.body["id"] for one in made])
            entries = listed(lab)
            addresses = [item["external_ip"] for item in entries if "external_ip" in item]
            unique = len(set(addresses)) == len(addresses)
            lab.holds("CON-011", unique, "an address of its own for each", addresses)
            gone = made[0].body["id"]
            lab.delete(at(gone))
            left = [item for item in listed(lab) if item["id"] in {one.body["id"] for one in made}]
            same = [item["id"] for item in entries if item["id"] in {item["id"] for item in left}]
            lab.holds("CON-016", len(left) == count - 1, f"all but {gone}", left)
            lab.holds("CON-006", same == [item["id"] for item in left], f"the order {same}", left)


def _in_order(lab: Lab, ids: list[str]) -> None:
    entries = listed(lab)
    marks = [(moment(item["created_at"]) or 0.0, item["id"]) for item in entries]
    lab.holds("CON-006", -1 not in places(entries, ids), f"all of {ids}", entries)
    lab.holds("CON-006", marks == sorted(marks, reverse=True), "the newest first, ties by id", marks)
    for one, other in pairwise(ids):
        apart = sum(a != b for a, b in zip(one, other, strict=False))
        lab.holds("CON-004", apart > 2, "ids of which none can be guessed from another", ids)


@check("CON-007", "CON-008", "CON-009")
def deleted(lab: Lab) -> None:
    """A container is deleted, and looked for in every way."""
    lab.make_room(1)
    id_ = lab.new_container(ssh_enabled=True)
    answer = lab.delete(at(id_))
    found = [item for item in listed(lab) if item["id"] == id_]
    lab.holds("CON-007", answer.status == 200, "200", answer)
    lab.holds("CON-007", answer.body.get("status") == "ok", "the status 'ok'", answer)
    lab.holds("CON-007", not found, "a list without the container", found)
    lab.refused("CON-007", lab.get(at(id_)), Code.NOT_FOUND)
    lab.refused("CON-008", lab.delete(at(id_)), Code.NOT_FOUND)
    for method, rest, body in ROWS:
        lab.refused("CON-009", lab.ask(method, at(id_, rest), lab.first, body), Code.NOT_FOUND)
    found = [item for item in listed(lab) if item["id"] == id_]
    lab.holds("CON-007", not found, "a list without the container", found)


@check("CON-009", "CON-017")
def absent(lab: Lab) -> None:
    """Ids that no container has, also such as are almost one."""
    id_ = lab.container()
    near = {id_.upper(), id_[:-1], f"{id_}a", f"{id_}%20", f"%20{id_}", f"{id_}%00", f"{id_[:-1]}%25"} - {id_}
    for unknown in (*ODD_IDS, *sorted(near)):
        lab.refused("CON-017", lab.get(at(unknown)), Code.NOT_FOUND)
    for method, rest, body in ROWS:
        lab.refused("CON-009", lab.ask(method, at("aaaaaaaa", rest), lab.first, body), Code.NOT_FOUND)


@check("CON-011", "CON-012", "CON-013", needs=(Need.RUNNING,))
def figures(lab: Lab) -> None:
    """What is told of containers while one of them runs."""
    id_ = lab.running()
    mark = lab.history.mark()

    def known() -> bool:
        lab.history.rewind(mark)
        return {"memory_used_mb", "storage_used_gb"} <= lab.get(at(id_)).body.keys()

    lab.until(known, lab.pick(0.2, 15.0))
    got = lab.get(at(id_)).body
    for field, size in (("memory_used_mb", "memory_mb"), ("storage_used_gb", "storage_gb")):
        used = got.get(field)
        if used is None:
            continue
        number = type(used) is int or (type(used) is float and field == "storage_used_gb")
        lab.holds("CON-012", number and 0 <= used <= got[size], f"a number from 0 to {size}", got)
    lab.undecided("CON-012", "The figures are not known.")
    unfit = [item for item in listed(lab) if "status_reason" in item and item["status"] != "failed"]
    lab.holds("CON-013", not unfit, "no reason of what has not failed", unfit)
    address = got.get("external_ip")
    again = {
        lab.get(at(id_)).body.get("external_ip"),
        *(i.get("external_ip") for i in listed(lab) if i["id"] == id_),
    }
    lab.holds("CON-011", again == {address}, f"the address {address} each time", again)


@check("CON-014")
def without_its_key(lab: Lab) -> None:
    """The SSH key of a container is deleted."""
    lab.make_room(1)
    key = lab.new_key()
    id_ = lab.new_container(ssh_key_ids=[key])
    before = lab.get(at(id_)).body
    lab.delete(f"/compute/ssh-keys/{key}")
    after = lab.get(at(id_))
    lab.holds("CON-014", not differences(before, after.body), f"the container as before: {before}", after)
    lab.holds("CON-014", after.body["status"] not in ("stopped", "failed"), "no stop for it", after)
