"""Ingress rules: publishing ports of a container, and publishing them no longer."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import strategies as st

from ecompute.conformance.check import Need, check
from ecompute.conformance.creating import at, listed
from ecompute.conformance.lab import Lab
from ecompute.conformance.reaching import Reply, fetch, serve_page
from ecompute.conformance.reading import faults_told, is_now
from ecompute.conformance.requirement import Area, must, should
from ecompute.conformance.strategies import Almost, add_ingresses, almost
from ecompute.conformance.wire import Answer
from ecompute.contract.problems import Code
from ecompute.contract.requests import AddIngress

LIST, ADD = "GET /compute/containers/{id}/ingress", "POST /compute/containers/{id}/ingress"
REMOVE = "DELETE /compute/containers/{id}/ingress/{port}"
NOTES = "contract notes: requests"

AREA = Area(
    "ingress",
    "ING",
    "Ingress rules",
    (
        must(1, "Adding answers 200 with the rule: id, port, target port, and the time in seconds.", ADD),
        must(2, "Ports 80, 443 and 8000 to 8999 may be published.", ADD),
        must(3, "Other ports are refused.", ADD),
        must(4, "Without a target port it is the published one.", ADD),
        should(5, "Target ports are 1 to 65535; others are refused.", NOTES),
        should(6, "A target port of 0 or null counts as left out.", NOTES),
        must(7, "A port that is missing or no integer is refused.", ADD),
        should(8, "A refusal names every faulty field.", "contract notes: answers"),
        must(9, "A refused rule is not there afterwards.", ADD),
        should(10, "A port that is published already keeps its rule, with the new target.", NOTES),
        must(11, "The list holds every rule as it was answered, once.", LIST),
        should(12, "The list goes by port.", NOTES),
        should(13, "The id of a removed rule is not given again.", NOTES),
        must(14, "A container tells HTTPS as on while port 443 is published, and only then.", ADD),
        must(15, "A removed rule is not in the list any more; all others are.", REMOVE),
        must(16, "Removing what is not published is answered with not_found.", REMOVE),
        should(17, "A port in the path that is no integer is refused.", NOTES),
        must(18, "Two containers may publish the same port, each its own.", "contract notes: reaching"),
        should(
            19, "Rules may change whatever the status, which they leave, and last over stop and start.", ADD
        ),
        must(20, "What listens on the target port is reached on the published one.", ADD),
        must(21, "By port 443 it is reached over TLS.", "Reference: Ingress Ports"),
        should(22, "After a rule is removed nothing is reached there.", REMOVE),
        should(23, "After a change of the target the new one is reached.", NOTES),
        must(24, "A new container publishes nothing.", LIST),
        should(25, "Any integer in the path counts as a port that is not published.", NOTES),
    ),
)

_PUBLISHED = (8080, 443, 8999, 80, 8000, 8001, 8998)
_NOT = (79, 81, 442, 444, 7999, 9000, 0, 1, 22, -80, 3000, 65535, 65536, 80 + 2**16, 8443 + 2**32, 10**30)
_NO_TARGETS: tuple[Any, ...] = (
    65536,
    -1,
    -8080,
    2**16 + 80,
    2**31,
    2**63,
    10**30,
    "80",
    True,
    False,
    80.0,
    0.0,
    {},
)
_NO_PORTS: tuple[Any, ...] = ("80", True, 80.0, 8080.5, [80], {"port": 80})


def _add(lab: Lab, id_: str, **body: Any) -> Answer:
    return lab.post(at(id_, "/ingress"), body)


def _told_rules(lab: Lab, id_: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = lab.get(at(id_, "/ingress")).body["rules"]
    return found


def _rules(lab: Lab, id_: str) -> list[dict[str, Any]]:
    """The rules by port, whatever their order in the answer, which has a requirement of its own."""
    return sorted(_told_rules(lab, id_), key=lambda rule: int(rule["port"]))


def _new(lab: Lab) -> str:
    lab.make_room(1)
    return lab.new_container()


@check("ING-001", "ING-002", "ING-004", "ING-010", "ING-011", "ING-012", "ING-024")
def published(lab: Lab) -> None:
    """Ports at the ends of what is allowed, not in order; then each leads elsewhere."""
    id_ = _new(lab)
    found = _rules(lab, id_)
    lab.holds("ING-024", found == [], "no rule", found)
    rules: list[dict[str, Any]] = []
    for port in _PUBLISHED:
        answer = _add(lab, id_, port=port)
        lab.holds("ING-002", answer.status == 200, f"200 for port {port}", answer)
        rule = answer.body
        lab.holds("ING-001", type(rule.get("id")) is int and rule["id"] > 0, "a positive integer id", answer)
        lab.holds("ING-001", rule.get("port") == port, f"port {port}", answer)
        whole = type(rule.get("created_at")) is int
        lab.holds(
            "ING-001", whole and is_now(rule["created_at"], answer), "the time of now in seconds", answer
        )
        lab.holds("ING-004", rule.get("target_port") == port, f"target port {port}", answer)
        rules.append(rule)
        _told(lab, id_, rules)
    if lab.standard:
        # a time that moves with the change shows only in another second
        lab.until(lambda: time.time() > rules[-1]["created_at"] + 2, 2.0)
    for place, port in enumerate(_PUBLISHED):
        old = rules[place]
        answer = _add(lab, id_, port=port, target_port=3000 + place)
        rules[place] = old | {"target_port": 3000 + place}
        lab.holds("ING-010", answer.body == rules[place], f"{rules[place]}", answer)
        _told(lab, id_, rules)
    answer = _add(lab, id_, port=8080)
    lab.holds("ING-004", answer.body.get("target_port") == 8080, "target port 8080 again", answer)


def _told(lab: Lab, id_: str, rules: list[dict[str, Any]]) -> None:
    found = _told_rules(lab, id_)
    ports = [rule["port"] for rule in found]
    lab.holds("ING-012", ports == sorted(ports), "the rules by port", found)
    wanted = sorted(rules, key=lambda rule: int(rule["port"]))
    lab.holds("ING-011", found == wanted, f"{wanted}", found)


@check("ING-003", "ING-007", "ING-008", "ING-009")
def ports_refused(lab: Lab) -> None:
    """Ports just beside those that are allowed, far away, and none at all."""
    id_ = lab.container()
    before = _rules(lab, id_)
    more: tuple[dict[str, Any], ...] = ({"port": None}, {}, {"target_port": 80}, {"Port": 80})
    bodies = (*({"port": port} for port in (*_NOT, *_NO_PORTS)), *more)
    for body in bodies:
        requirement = "ING-003" if body.get("port") in _NOT and body["port"] is not True else "ING-007"
        answer = _add(lab, id_, **body)
        lab.holds(requirement, answer.status != 200, f"a refusal of {body}", answer)
        lab.refused(requirement, answer, Code.INVALID_REQUEST)
        lab.holds("ING-008", faults_told(answer) == {"port"}, f"port as the faulty field of {body}", answer)
    answer = _add(lab, id_, port=81, target_port=-1)
    both = faults_told(answer) == {"port", "target_port"}
    lab.holds("ING-008", both, "port and target_port as faulty fields", answer)
    found = _rules(lab, id_)
    lab.holds("ING-009", found == before, f"{before}", found)


@check("ING-005", "ING-006", "ING-008", "ING-009")
def target_ports(lab: Lab) -> None:
    """Target ports at the ends of what is allowed, beside them, and left open."""
    id_ = _new(lab)
    for target in (1, 2, 22, 80, 443, 9000, 65534, 65535):
        answer = _add(lab, id_, port=8100, target_port=target)
        lab.holds(
            "ING-005", answer.body.get("target_port") == target, f"200 and target port {target}", answer
        )
    for zero in (0, None):
        answer = _add(lab, id_, port=8100, target_port=zero)
        lab.holds("ING-006", answer.body.get("target_port") == 8100, f"target port 8100 for {zero}", answer)
    before = _rules(lab, id_)
    for wrong in _NO_TARGETS:
        for port in (8100, 8200):
            answer = _add(lab, id_, port=port, target_port=wrong)
            lab.holds("ING-005", answer.status != 200, f"a refusal of target port {wrong!r}", answer)
            lab.refused("ING-005", answer, Code.INVALID_REQUEST)
            told = faults_told(answer)
            lab.holds("ING-008", told == {"target_port"}, "target_port as the faulty field", answer)
    found = _rules(lab, id_)
    lab.holds("ING-009", found == before, f"{before}", found)


@check("ING-002", "ING-009")
def many(lab: Lab) -> None:
    """Rules of many kinds, and such with exactly one fault."""
    id_ = _new(lab)

    def good(asked: AddIngress) -> None:
        body = {"port": asked.port, "target_port": asked.target_port}
        answer = _add(lab, id_, **body)
        wanted = (asked.port, asked.target_port or asked.port)
        told = (answer.body.get("port"), answer.body.get("target_port"))
        lab.holds("ING-002", told == wanted, f"{wanted[0]} to {wanted[1]}", answer)
        lab.delete(at(id_, f"/ingress/{asked.port}"))

    def bad(wrong: Almost) -> None:
        answer = _add(lab, id_, **wrong.body)
        told = answer.status == 400 and wrong.path in faults_told(answer)
        lab.holds("ING-009", told, f"400 for {wrong.path}, which {wrong.problem}", answer)
        found = _rules(lab, id_)
        lab.holds("ING-009", found == [], "no rule that was refused", found)

    around = add_ingresses(st.just(id_))
    lab.examples(around, good, quick=6, standard=80)
    lab.examples(almost(AddIngress, around), bad, quick=6, standard=80)


@check("ING-013", "ING-015", "ING-016", "ING-017", "ING-025", "ING-011")
def removed(lab: Lab) -> None:
    """Rules go, one of them comes back, and what is not there is removed."""
    id_ = _new(lab)
    rules = {port: _add(lab, id_, port=port, target_port=80).body for port in (8081, 8080, 80)}
    answer = lab.delete(at(id_, "/ingress/80"))
    lab.holds("ING-015", answer.status == 200, "200", answer)
    lab.holds("ING-015", answer.body.get("status") == "ok", "the status 'ok'", answer)
    found = _rules(lab, id_)
    lab.holds("ING-015", found == [rules[8080], rules[8081]], "the two other rules", found)
    again = _add(lab, id_, port=80).body
    used = {rule["id"] for rule in rules.values()}
    lab.holds("ING-013", again.get("id") not in used, f"an id other than {used}", again)
    found = _rules(lab, id_)
    lab.holds("ING-011", found == [again, rules[8080], rules[8081]], "three rules", found)
    lab.delete(at(id_, "/ingress/8081"))
    for port in (8081, 8082, 443):
        lab.refused("ING-016", lab.delete(at(id_, f"/ingress/{port}")), Code.NOT_FOUND)
    for port in (22, 808, 0, -80, 65536, 80 + 2**16, 10**30):
        lab.refused("ING-025", lab.delete(at(id_, f"/ingress/{port}")), Code.NOT_FOUND)
    for text in ("abc", "80.0", "8e1", "+80", "0x50", "8_0", "80a", "--1", "%2080", "%C2%B2", "null"):
        lab.refused("ING-017", lab.delete(at(id_, f"/ingress/{text}")), Code.INVALID_REQUEST)
    found = _rules(lab, id_)
    lab.holds("ING-015", found == [again, rules[8080]], "the two rules that are left", found)


@check("ING-014")
def https(lab: Lab) -> None:
    """Whether HTTPS is on, as ports come and go."""
    id_ = _new(lab)
    steps = ((80, True), (8443, True), (443, True), (80, False), (443, True), (443, False), (8443, False))
    ports: set[int] = set()
    for port, comes in steps:
        if comes:
            _add(lab, id_, port=port, target_port=443)
            ports.add(port)
        else:
            lab.delete(at(id_, f"/ingress/{port}"))
            ports.discard(port)
        wanted = 443 in ports
        got = lab.get(at(id_))
        entry = next(item for item in listed(lab) if item["id"] == id_)
        for told in (got.body, entry):
            right = told.get("https_enabled") is wanted
            lab.holds("ING-014", right, f"https_enabled {wanted} with the ports {sorted(ports)}", told)


@check("ING-018")
def two_containers(lab: Lab) -> None:
    """The same port of two containers, until one publishes it no longer."""
    lab.make_room(2)
    one, other = lab.new_container(), lab.new_container()
    mine = _add(lab, one, port=80, target_port=8000)
    theirs = _add(lab, other, port=80, target_port=9000)
    lab.holds("ING-018", theirs.status == 200, "200", theirs)
    found = _rules(lab, one)
    lab.holds("ING-018", found == [mine.body], f"{mine.body}", found)
    _add(lab, one, port=443)
    lab.delete(at(one, "/ingress/80"))
    found = _rules(lab, other)
    lab.holds("ING-018", found == [theirs.body], f"{theirs.body}", found)
    https_on = lab.get(at(other)).body.get("https_enabled")
    lab.holds("ING-018", https_on is False, "no HTTPS of the other container", https_on)


@check("ING-019", needs=(Need.RUNNING,))
def over_a_stop(lab: Lab) -> None:
    """Rules while a container runs, while it is stopped, and when it runs again."""
    id_ = lab.running()
    before = _rules(lab, id_)
    first = _add(lab, id_, port=8123, target_port=3000).body
    status = lab.status(id_)
    lab.holds("ING-019", status == "running", "the status running still", status)
    lab.stop(id_)
    second = _add(lab, id_, port=8122)
    lab.holds("ING-019", second.status == 200, "200 while it is stopped", second)
    status = lab.status(id_)
    lab.holds("ING-019", status == "stopped", "the status stopped still", status)
    wanted = sorted([*before, second.body, first], key=lambda rule: int(rule["port"]))
    found = _rules(lab, id_)
    lab.holds("ING-019", found == wanted, f"{wanted}", found)
    lab.start(id_)
    found = _rules(lab, id_)
    lab.holds("ING-019", found == wanted, f"{wanted}", found)
    for port in (8122, 8123):
        lab.delete(at(id_, f"/ingress/{port}"))


@check("ING-020", "ING-021", "ING-022", "ING-023", needs=(Need.REAL_GUESTS, Need.COMMANDS), standard=True)
def reached(lab: Lab) -> None:
    """Two web servers in a container, reached by plain ports and over TLS."""
    id_ = lab.running()
    container = lab.get(at(id_)).body
    address, host = str(container["external_ip"]), str(container["hostname"])
    one, other = serve_page(lab, id_, 3001, "one"), serve_page(lab, id_, 3002, "other")

    def shows(port: int, page: Reply) -> bool:
        return lab.until(lambda: fetch(lab, address, port, host) == page, lab.target.timeout)

    try:
        for requirement, port in (("ING-020", 8080), ("ING-020", 80), ("ING-021", 443)):
            _add(lab, id_, port=port, target_port=3001)
            lab.holds(
                requirement, shows(port, one), f"the page on port {port}", fetch(lab, address, port, host)
            )
        _add(lab, id_, port=8080, target_port=3002)
        lab.holds("ING-023", shows(8080, other), "the other page", fetch(lab, address, 8080, host))
        for port in (8080, 443):
            lab.delete(at(id_, f"/ingress/{port}"))
            seen = fetch(lab, address, port, host)
            lab.holds("ING-022", shows(port, None), f"nothing on port {port}", seen)
        lab.holds("ING-020", shows(80, one), "the page on port 80 still", fetch(lab, address, 80, host))
    finally:
        for port in (8080, 80, 443):
            lab.delete(at(id_, f"/ingress/{port}"))
