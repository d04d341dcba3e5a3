"""SSH from outside: telling and changing whether it is on."""

from __future__ import annotations

import re
import socket
from functools import partial

from ecompute.conformance.check import Need, check
from ecompute.conformance.creating import at, listed
from ecompute.conformance.edge_values import BAD_CHOICES
from ecompute.conformance.lab import Lab
from ecompute.conformance.reading import differences, faults_told
from ecompute.conformance.requirement import Area, must, should
from ecompute.contract.problems import Code

GET, PUT = "GET /compute/containers/{id}/ssh", "PUT /compute/containers/{id}/ssh"
NOTES = "contract notes: requests"

AREA = Area(
    "ssh_access",
    "SSH",
    "SSH access",
    (
        must(1, "It is on or off as the create asked.", GET),
        must(2, "A change is answered with the new state.", PUT),
        must(3, "A change shows in every answer about the container from then on.", PUT),
        must(4, "What is no true or false is refused.", PUT),
        should(5, "A refusal names the faulty field.", "contract notes: answers"),
        must(6, "A refused change changes nothing.", PUT),
        should(7, "A change changes nothing else: no status, no rule, no mount path.", PUT),
        must(8, "A command to log in is told only while SSH is on.", "GET /compute/containers/{id}"),
        should(9, "The command names the hostname or the address of the container.", NOTES),
        must(10, "It may be changed whatever the status, and lasts over stop and start.", PUT),
        must(11, "While it is on, an SSH server answers on port 22 of the address.", PUT),
        should(12, "While it is off, nothing answers on port 22 of the address.", "contract notes: reaching"),
        should(13, "A change of one container changes no other.", PUT),
    ),
)


def _judge(lab: Lab, requirement: str, id_: str, value: bool) -> None:
    """Every answer that tells it."""
    got = lab.get(at(id_, "/ssh"))
    lab.holds(requirement, got.status == 200, "200", got)
    lab.holds(requirement, got.body.get("ssh_enabled") is value, f"ssh_enabled {value}", got)
    container = lab.get(at(id_))
    lab.holds(requirement, container.body.get("ssh_enabled") is value, f"ssh_enabled {value}", container)
    entry = [item for item in listed(lab) if item["id"] == id_]
    lab.holds(requirement, entry and entry[0]["ssh_enabled"] is value, f"ssh_enabled {value}", entry)
    if "SSH-008" in lab.judge.check.decides:
        told = [item for item in (container.body, *entry) if "ssh_command" in item]
        lab.holds("SSH-008", value or not told, "no command to log in", told)
        for item in told:
            place = f"(?:{re.escape(item['hostname'])}|{re.escape(str(item.get('external_ip')))})"
            right = re.fullmatch(rf"ssh( -p [0-9]+)? root@{place}", str(item["ssh_command"]))
            lab.holds("SSH-009", right, "ssh root@ and the hostname or the address", item)


@check("SSH-001", "SSH-002", "SSH-003", "SSH-007", "SSH-008", "SSH-009", "SSH-013")
def on_and_off(lab: Lab) -> None:
    """Two containers, one made with SSH and one without; one is changed to and fro."""
    lab.make_room(1)
    other = lab.container()
    others = lab.get(at(other, "/ssh")).body["ssh_enabled"]
    for first in (True, False):
        with lab.tidy():
            id_ = lab.new_container(ssh_enabled=first, mount_paths=["/data"])
            lab.post(at(id_, "/ingress"), {"port": 8080, "target_port": 80})
            _judge(lab, "SSH-001", id_, first)
            before = lab.get(at(id_)).body
            for value in (not first, not first, first):
                answer = lab.put(at(id_, "/ssh"), {"ssh_enabled": value, "more": 1})
                lab.holds("SSH-002", answer.status == 200, "200", answer)
                lab.holds("SSH-002", answer.body.get("ssh_enabled") is value, f"ssh_enabled {value}", answer)
                _judge(lab, "SSH-003", id_, value)
            after = lab.get(at(id_))
            changed = differences(before, after.body) - {"ssh_command"}
            lab.holds("SSH-007", not changed, f"the container as before: {before}", after)
            lab.holds("SSH-007", after.body["status"] not in ("stopped", "failed"), "no stop for it", after)
            paths, rules = lab.get(at(id_, "/mounts")), lab.get(at(id_, "/ingress"))
            lab.holds("SSH-007", paths.body["mount_paths"] == ["/data"], "the mount paths as before", paths)
            found = [(rule["port"], rule["target_port"]) for rule in rules.body["rules"]]
            lab.holds("SSH-007", found == [(8080, 80)], "the rules as before", rules)
    _judge_other(lab, other, others)
    lab.undecided("SSH-009", "The server tells no command to log in.")


def _judge_other(lab: Lab, other: str, value: bool) -> None:
    got = lab.get(at(other, "/ssh"))
    lab.holds("SSH-013", got.body.get("ssh_enabled") is value, f"ssh_enabled {value} of the other one", got)


@check("SSH-004", "SSH-005", "SSH-006")
def wrong(lab: Lab) -> None:
    """What is neither true nor false."""
    id_ = lab.container()
    before = lab.get(at(id_, "/ssh")).body["ssh_enabled"]
    for body in ({}, {"ssh_enabled": None}, {"SSH_ENABLED": True}, *_wrong_bodies()):
        answer = lab.put(at(id_, "/ssh"), body)
        lab.refused("SSH-004", answer, Code.INVALID_REQUEST)
        told = faults_told(answer)
        lab.holds("SSH-005", told == {"ssh_enabled"}, "ssh_enabled as the faulty field", answer)
        found = lab.get(at(id_, "/ssh"))
        lab.holds("SSH-006", found.body.get("ssh_enabled") is before, f"still {before}", found)


def _wrong_bodies() -> list[dict[str, object]]:
    return [{"ssh_enabled": value} for value in BAD_CHOICES["ssh_enabled"]]


@check("SSH-007", "SSH-010", needs=(Need.RUNNING,))
def over_a_stop(lab: Lab) -> None:
    """It is changed while the container runs, while it is stopped, and while it starts."""
    id_ = lab.running()
    before = lab.get(at(id_, "/ssh")).body["ssh_enabled"]
    answer = lab.put(at(id_, "/ssh"), {"ssh_enabled": not before})
    lab.holds("SSH-010", answer.status == 200, "200 while it runs", answer)
    status = lab.status(id_)
    lab.holds("SSH-007", status == "running", "the status running still", status)
    lab.stop(id_)
    _judge(lab, "SSH-010", id_, not before)
    answer = lab.put(at(id_, "/ssh"), {"ssh_enabled": before})
    lab.holds("SSH-010", answer.status == 200, "200 while it is stopped", answer)
    status = lab.status(id_)
    lab.holds("SSH-007", status == "stopped", "the status stopped still", status)
    lab.post(at(id_, "/start"))
    _judge(lab, "SSH-010", id_, before)
    lab.put(at(id_, "/ssh"), {"ssh_enabled": not before})
    lab.wait(id_, "running")
    _judge(lab, "SSH-010", id_, not before)
    lab.put(at(id_, "/ssh"), {"ssh_enabled": before})
    _judge(lab, "SSH-010", id_, before)


@check("SSH-011", "SSH-012", needs=(Need.REAL_GUESTS,), standard=True)
def reached(lab: Lab) -> None:
    """A connection to port 22 with SSH on, off and on again."""
    id_ = lab.running()
    address = str(lab.get(at(id_)).body["external_ip"])
    before = lab.get(at(id_, "/ssh")).body["ssh_enabled"]
    for value in (True, False, True):
        lab.put(at(id_, "/ssh"), {"ssh_enabled": value})
        there = lab.until(partial(_is, lab, address, value), lab.target.timeout)
        if value:
            lab.holds("SSH-011", there, f"SSH on port 22 of {address}", "no answer")
        else:
            lab.holds("SSH-012", there, f"nothing on port 22 of {address}", "an SSH server")
    lab.put(at(id_, "/ssh"), {"ssh_enabled": before})


def _is(lab: Lab, address: str, wanted: bool) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=lab.target.timeout) as connection:
            return (connection.recv(4) == b"SSH-") is wanted
    except OSError:
        return not wanted
