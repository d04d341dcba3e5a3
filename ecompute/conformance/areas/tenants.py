"""Two users, and things that come and go: nobody reaches what is another's, or is gone."""

from __future__ import annotations

from typing import Any

from ecompute.conformance.check import Need, check
from ecompute.conformance.feeds import Feed
from ecompute.conformance.lab import Lab
from ecompute.conformance.requirement import Area, must
from ecompute.conformance.rows import (
    EVERYTHING,
    WITH_ID,
    Place,
    Row,
    ask_row,
    body_of,
    effect,
    named,
    row_named,
)
from ecompute.conformance.wire import Answer
from ecompute.contract.endpoint import Endpoint
from ecompute.contract.problems import Code

ANSWERS = "contract notes: answers"

FOREIGN = {
    "containers.get": 101,
    "containers.delete": 102,
    "containers.start": 103,
    "containers.stop": 104,
    "ssh_keys.delete": 105,
    "ssh_access.get": 106,
    "ssh_access.set": 107,
    "ingress.list": 108,
    "ingress.add": 109,
    "ingress.remove": 110,
    "mounts.get": 111,
    "mounts.set": 112,
    "tokens.delete": 113,
    "terminal": 114,
}
"""The requirement on another user's id, by the name of a row."""


def _at(row: Row) -> str:
    return f"{row.method} {row.path}"


AREA = Area(
    "tenants",
    "TEN",
    "Tenants and things that are gone",
    (
        must(1, "What another user does to a thing without success changes nothing of it.", ANSWERS),
        must(2, "A list has nothing of another user's.", "GET /compute/containers"),
        must(3, "A key of another user's in a new container is refused as one that is not there.", ANSWERS),
        must(4, "Two users may have the same public key.", ANSWERS),
        must(5, "A container that was deleted is not there for any row.", "DELETE /compute/containers/{id}"),
        must(6, "A key that was deleted cannot be deleted again or put into a container.", ANSWERS),
        must(7, "A rule that was removed cannot be removed again.", ANSWERS),
        must(8, "A new container has nothing of one that was deleted.", "POST /compute/containers"),
        must(9, "What could not be made is in no list, and takes no room.", ANSWERS),
        must(10, "What could not be made is not told in the feed.", "GET /compute/ws"),
        must(11, "A rule is reached through its own container only.", ANSWERS),
        must(12, "An id counts for things of its own kind only.", ANSWERS),
        must(13, "A right to another user's id is refused as one to an id that is not there.", ANSWERS),
        must(14, "HEAD of another user's thing is answered as GET is.", ANSWERS),
        must(15, "The feed tells nothing of another user's containers.", "GET /compute/ws"),
        *(
            must(
                FOREIGN[row.name],
                f"{_at(row)} answers for another user's thing as for none: 404, the same byte for byte.",
                _at(row),
            )
            for row in WITH_ID
        ),
    ),
)

_NEVER_THE_SAME = {"date", "x-request-id"}


def _id(row: Row) -> str:
    return f"TEN-{FOREIGN[row.name]:03d}"


def _things(lab: Lab, row: Row) -> Place:
    """Things of the first user, such that the row would change them."""
    path = f"/compute/containers/{lab.container()}"
    match row.name:
        case "ssh_keys.delete":
            return Place(key=lab.new_key())
        case "tokens.delete":
            lab.token({"compute.<uid>": ["read"]})
            return Place(token=lab.things.all("token", lab.first.symbol)[-1].id)
        case "containers.start":
            lab.stop(lab.container())
        case "containers.stop" if lab.status(lab.container()) == "stopped":
            lab.post(f"{path}/start")
        case "ssh_access.set":
            lab.put(f"{path}/ssh", {"ssh_enabled": False})
        case "ingress.remove" | "ingress.list":
            lab.post(f"{path}/ingress", {"port": Place().port})
        case "ingress.add":
            lab.delete(f"{path}/ingress/8081")
    return Place(container=lab.container())


def _absent(lab: Lab, place: Place) -> Place:
    """Ids of the same form that nobody has."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    return Place(
        container="".join(lab.random.choices(letters, k=len(place.container))),
        key=lab.random.randrange(10**8, 10**9),
        token="".join(lab.random.choices(letters, k=len(place.token))),
        port=place.port,
    )


def _same(one: Answer, *others: Answer) -> bool:
    """Whether an answer is as the others, but for the headers in which those differ among themselves."""
    heads = [sorted(other.all_headers) for other in others]
    differing = {name for head in heads for name, value in head if any((name, value) not in h for h in heads)}
    left_out = differing | _NEVER_THE_SAME

    def kept(answer: Answer) -> tuple[int, list[tuple[str, str]], bytes]:
        pairs = [pair for pair in sorted(answer.all_headers) if pair[0] not in left_out]
        return answer.status, pairs, answer.content

    return all(kept(one) == kept(other) for other in others)


def _shown(answer: Answer) -> str:
    return f"{answer} {sorted(answer.all_headers)}"


# --- what is another's


def _foreign(lab: Lab, row: Row) -> None:
    id_, place = _id(row), _things(lab, row)
    before = effect(lab, row, place, lab.first)
    sound = body_of(lab, row, lab.second)
    ways: list[dict[str, Any]] = [{"body": sound}, {"content": b"{"}, {"content": b"{}"}]
    if row.method not in ("POST", "PUT"):
        ways = [{}]
    for way in ways:
        foreign = ask_row(lab, row, place.path(row), lab.second, **way)
        lab.refused(id_, foreign, Code.NOT_FOUND)
        if foreign.status != 404:
            # a dialect lets it pass, and then it cannot be the same
            break
        absent = [ask_row(lab, row, _absent(lab, place).path(row), lab.second, **way) for _ in range(2)]
        lab.holds(id_, _same(foreign, *absent), _shown(absent[0]), _shown(foreign))
    if row.method == "GET" and isinstance(row, Endpoint):
        head = lab.ask("HEAD", place.path(row), lab.second)
        lab.holds("TEN-014", head.status == foreign.status, f"{foreign.status}", head)
    after = effect(lab, row, place, lab.first)
    lab.holds("TEN-001", after == before, f"what there was: {before}", after)


def _foreign_check(row: Row) -> None:
    def trial(lab: Lab) -> None:
        _foreign(lab, row)

    trial.__name__ = f"foreign_{row.name.replace('.', '_')}"
    trial.__doc__ = f"{_at(row)} for another user's thing."
    needs = (Need.SECOND_TENANT, *((Need.SESSION,) if row.path.startswith("/api") else ()))
    head = ("TEN-014",) if row.method == "GET" and isinstance(row, Endpoint) else ()
    check(_id(row), "TEN-001", *head, needs=needs)(trial)


for _row in WITH_ID:
    _foreign_check(_row)


@check("TEN-001", needs=(Need.SECOND_TENANT,))
def foreign_things_stay(lab: Lab) -> None:
    """All that one user has, before and after another one has tried to change and delete it."""
    lab.make_room(1)
    id_, key = lab.new_container(), lab.new_key()
    lab.post(f"/compute/containers/{id_}/ingress", {"port": 8080})
    place = Place(container=id_, key=key)
    names = [row.name for row in WITH_ID if isinstance(row, Endpoint) and row.method != "GET"]
    names = [name for name in names if not name.startswith("tokens")]
    before = {name: effect(lab, row_named(name), place) for name in names}
    # who stops what is on its way to run would be seen, and who starts what runs would not
    order = lab.random.sample(names, len(names))
    for name in order:
        row = row_named(name)
        answer = ask_row(lab, row, place.path(row), lab.second, body_of(lab, row, lab.second))
        lab.holds("TEN-001", answer.status in (403, 404), "a refusal", answer)
    after = {name: effect(lab, row_named(name), place) for name in names}
    lab.holds("TEN-001", after == before, f"{before}", after)


@check("TEN-002", needs=(Need.SECOND_TENANT,))
def lists(lab: Lab) -> None:
    """Both users' lists of everything, beside each other; each has something new in them."""
    lab.make_room(1)
    lab.make_room(1, lab.second)
    made = {who.symbol: (lab.new_container(who), lab.new_key(who)) for who in (lab.first, lab.second)}
    for mine, theirs in ((lab.first, lab.second), (lab.second, lab.first)):
        containers, keys = lab.get("/compute/containers", mine), lab.get("/compute/ssh-keys", mine)
        box, key = made[mine.symbol]
        other_box, other_key = made[theirs.symbol]
        ids = [item["id"] for item in containers.body["containers"]]
        lab.holds("TEN-002", box in ids and other_box not in ids, f"{box} and not {other_box}", ids)
        numbers = [item["id"] for item in keys.body["ssh_keys"]]
        there = key in numbers and other_key not in numbers
        lab.holds("TEN-002", there, f"{key} and not {other_key}", numbers)
        first = Feed.open(lab, mine).messages[0]["data"]
        seen = [item["id"] for item in first]
        lab.holds("TEN-002", box in seen and other_box not in seen, f"{box} and not {other_box}", seen)
    all_ids = [
        {item["id"] for item in lab.get("/compute/containers", who).body["containers"]}
        for who in (lab.first, lab.second)
    ]
    lab.holds("TEN-002", not all_ids[0] & all_ids[1], "nothing in both lists", all_ids)


@check("TEN-015", needs=(Need.SECOND_TENANT,))
def feeds(lab: Lab) -> None:
    """Both users' feeds, while each of them makes, stops and deletes a container."""
    users = (lab.first, lab.second)
    for who in users:
        lab.make_room(1, who)
    watched = [Feed.open(lab, who) for who in users]
    made = [lab.new_container(who) for who in users]
    for who, id_ in zip(users, made, strict=True):
        lab.post(f"/compute/containers/{id_}/stop", None, who)
        lab.delete(f"/compute/containers/{id_}", who)
    # by these each feed has told all that came before
    last = [lab.new_container(who) for who in users]
    for feed, id_ in zip(watched, last, strict=True):
        told = feed.next_of("container_status", id_, within=lab.target.timeout)
        lab.holds("TEN-015", told is not None, "the status of one's own container", feed.messages[-1])
    for feed, others in zip(watched, ((made[1], last[1]), (made[0], last[0])), strict=True):
        strange = [message for message in feed.messages if any(id_ in str(message) for id_ in others)]
        lab.holds("TEN-015", not strange, "nothing of the other user's", strange)


@check("TEN-002", needs=(Need.SECOND_TENANT, Need.SESSION))
def lists_of_tokens(lab: Lab) -> None:
    """A token of the first user's, and the second user's list of tokens."""
    lab.token({"compute.<uid>": ["read"]})
    id_ = lab.things.all("token", lab.first.symbol)[-1].id
    answer = lab.get("/api/tokens", lab.second)
    ids = [item["id"] for item in answer.body.get("tokens", [])]
    lab.holds("TEN-002", id_ not in ids, "a list without another user's token", ids)


@check("TEN-003", "TEN-009", needs=(Need.SECOND_TENANT,))
def foreign_keys(lab: Lab) -> None:
    """Another user's key for a new container, alone and beside one's own."""
    theirs, mine = lab.new_key(lab.first), lab.key(lab.second)
    before = named(lab, "/compute/containers", lab.second)
    lab.make_room(1, lab.second)
    for others in ([], [mine]):
        answers = []
        for key in (theirs, *(lab.random.randrange(10**8, 10**9) for _ in range(2))):
            body = {"name": lab.name(), "ssh_key_ids": [*others, key]}
            answers.append(lab.post("/compute/containers", body, lab.second))
            lab.refused("TEN-003", answers[-1], Code.INVALID_REQUEST)
        lab.holds("TEN-003", _same(*answers), _shown(answers[1]), _shown(answers[0]))
    after = named(lab, "/compute/containers", lab.second)
    lab.holds("TEN-009", set(after) <= set(before), f"the containers {before}", after)


@check("TEN-004", needs=(Need.SECOND_TENANT,))
def same_public_key(lab: Lab) -> None:
    """One public key of two users, of whom one deletes it."""
    text = lab.public_key()
    answers = [
        lab.post("/compute/ssh-keys", {"name": lab.name(), "public_key": text}, who)
        for who in (lab.first, lab.second)
    ]
    for answer in answers:
        lab.holds("TEN-004", answer.status == 200, "200", answer)
    ids = [answer.body["id"] for answer in answers]
    lab.holds("TEN-004", ids[0] != ids[1], "an id for each of them", ids)
    lab.delete(f"/compute/ssh-keys/{ids[0]}")
    left = named(lab, "/compute/ssh-keys", lab.second)
    lab.holds("TEN-004", ids[1] in left, "the other user's key", left)


@check("TEN-013", needs=(Need.SECOND_TENANT, Need.SESSION))
def rights_to_foreign_ids(lab: Lab) -> None:
    """Tokens of the second user without the right, with the first one's container and with none."""
    if lab.second.user_id is None or not lab.second.is_session:
        lab.undecided("TEN-013", "It needs the token of a session of the second user.")
        return
    weak = lab.token({"compute.<uid>.keys": ["read"]}, lab.second)
    strong = lab.token({"compute.<uid>": EVERYTHING}, lab.second)
    place = Place(container=lab.container(), key=lab.key())
    absent = _absent(lab, place)
    for row in WITH_ID:
        if row.scope is None:
            continue
        bodies = []
        for spot in (place, absent):
            answer = ask_row(lab, row, spot.path(row), weak)
            lab.refused("TEN-013", answer, Code.FORBIDDEN)
            # the scope that was needed has the id that was asked for
            bodies.append({name: value for name, value in answer.body.items() if name != "needed"})
        lab.holds("TEN-013", bodies[0] == bodies[1], f"{bodies[1]}", bodies[0])
    answers = [lab.get(f"/compute/containers/{spot.container}", strong) for spot in (place, absent, absent)]
    lab.refused("TEN-013", answers[0], Code.NOT_FOUND)
    lab.holds("TEN-013", _same(*answers), _shown(answers[1]), _shown(answers[0]))


# --- what is gone


@check("TEN-005", "TEN-008")
def deleted_container(lab: Lab) -> None:
    """Every row for a container that was deleted while it was on its way, and a new one after it."""
    lab.make_room(1)
    paths = ["/root", "/conformance"]
    id_ = lab.new_container(ssh_enabled=True, mount_paths=paths)
    lab.post(f"/compute/containers/{id_}/ingress", {"port": 443, "target_port": 9000})
    lab.delete(f"/compute/containers/{id_}")
    place = Place(container=id_)
    for row in WITH_ID:
        if (row.scope or "").endswith(".containers.<id>"):
            answer = ask_row(lab, row, place.path(row), lab.first, body_of(lab, row))
            lab.refused("TEN-005", answer, Code.NOT_FOUND)
    ids = [item["id"] for item in lab.get("/compute/containers").body["containers"]]
    lab.holds("TEN-005", id_ not in ids, "a list without it", ids)
    new = lab.new_container()
    path = f"/compute/containers/{new}"
    lab.holds("TEN-008", new != id_, "another id", new)
    found = lab.get(path)
    lab.holds("TEN-008", found.body["https_enabled"] is False, "https_enabled false", found)
    lab.holds("TEN-008", found.body["ssh_enabled"] is False, "ssh_enabled false", found)
    rules, mounts = lab.get(f"{path}/ingress"), lab.get(f"{path}/mounts")
    lab.holds("TEN-008", rules.body == {"rules": []}, "no rules", rules)
    lab.holds("TEN-008", mounts.body == {"mount_paths": ["/root"]}, "the mount path /root", mounts)
    answer = lab.get(f"/compute/containers/{id_}")
    lab.refused("TEN-005", answer, Code.NOT_FOUND)


@check("TEN-006", "TEN-009")
def deleted_key(lab: Lab) -> None:
    """A key that was deleted: again, and for a new container."""
    key, kept = lab.new_key(), lab.new_key()
    path = f"/compute/ssh-keys/{key}"
    lab.delete(path)
    gone, absent = (
        lab.delete(path),
        [lab.delete(f"/compute/ssh-keys/{n}") for n in (999_999_998, 999_999_999)],
    )
    lab.refused("TEN-006", gone, Code.NOT_FOUND)
    lab.holds("TEN-006", _same(gone, *absent), _shown(absent[0]), _shown(gone))
    before = named(lab, "/compute/containers")
    for ids in ([key], [kept, key]):
        answer = lab.post("/compute/containers", {"name": lab.name(), "ssh_key_ids": ids})
        lab.refused("TEN-006", answer, Code.INVALID_REQUEST)
    after = named(lab, "/compute/containers")
    lab.holds("TEN-009", after == before, f"the containers {before}", after)
    keys = named(lab, "/compute/ssh-keys")
    lab.holds("TEN-006", kept in keys and key not in keys, f"{kept} and not {key}", keys)


@check("TEN-007", "TEN-011")
def rules(lab: Lab) -> None:
    """Rules of two containers, removed through the right one and through the wrong one."""
    lab.make_room(2)
    one, other = (f"/compute/containers/{lab.new_container()}/ingress" for _ in range(2))
    for path, port in ((one, 8001), (one, 8002), (other, 8002)):
        lab.post(path, {"port": port})
    lab.refused("TEN-011", lab.delete(f"{other}/8001"), Code.NOT_FOUND)
    ports = _ports(lab, one)
    lab.holds("TEN-011", ports == [8001, 8002], "both rules", ports)
    lab.delete(f"{one}/8002")
    both = (_ports(lab, one), _ports(lab, other))
    lab.holds("TEN-011", both == ([8001], [8002]), "the rule of the other container", both)
    lab.refused("TEN-007", lab.delete(f"{one}/8002"), Code.NOT_FOUND)
    rule = lab.get(one).body["rules"][0]
    lab.delete(f"{one}/{rule['id']}")
    ports = _ports(lab, one)
    lab.holds("TEN-011", ports == [8001], "a rule, which its id does not remove", ports)


def _ports(lab: Lab, path: str) -> list[int]:
    return [rule["port"] for rule in lab.get(path).body["rules"]]


@check("TEN-012")
def kinds(lab: Lab) -> None:
    """Ids of keys as containers, and of containers as keys."""
    key, id_ = lab.new_key(), lab.container()
    for path in ("", "/ssh", "/ingress", "/mounts"):
        lab.refused("TEN-012", lab.get(f"/compute/containers/{key}{path}"), Code.NOT_FOUND)
    lab.refused("TEN-012", lab.delete(f"/compute/containers/{key}"), Code.NOT_FOUND)
    if not id_.isdecimal():
        lab.refused("TEN-012", lab.delete(f"/compute/ssh-keys/{id_}"), Code.INVALID_REQUEST)
    found = named(lab, "/compute/ssh-keys")
    lab.holds("TEN-012", key in found, "the key", found)
    answer = lab.get(f"/compute/containers/{id_}")
    lab.holds("TEN-012", answer.status == 200, "the container", answer)


@check("TEN-012", needs=(Need.SESSION,))
def kinds_of_tokens(lab: Lab) -> None:
    """The name, the text and the id of a token where another one of them belongs."""
    token = lab.token({"compute.<uid>": ["read"]})
    id_ = lab.things.all("token", lab.first.symbol)[-1].id
    for wrong in (lab.key(), lab.container(), token.token):
        lab.refused("TEN-012", lab.delete(f"/api/tokens/{wrong}"), Code.NOT_FOUND)
    lab.refused("TEN-012", lab.get(f"/compute/containers/{id_}"), Code.NOT_FOUND)
    answer = lab.get("/compute/containers", token)
    lab.holds("TEN-012", answer.status == 200, "a token that is good as before", answer)


# --- what could not be made


@check("TEN-009", "TEN-010")
def failed_creates(lab: Lab) -> None:
    """Containers, keys and rules that are refused, while the feed is open; then one that is not."""
    lab.make_room(1)
    path = f"/compute/containers/{lab.container()}/ingress"
    key = lab.key()
    names = ("containers.create", "ssh_keys.add", "ingress.add")
    place = Place(container=lab.container())
    feed = Feed.open(lab)
    before = {name: effect(lab, row_named(name), place) for name in names}
    known, marks = set(feed.state), []
    for fault in (
        {"ssh_key_ids": [999_999_999]},
        {"ssh_key_ids": [key, 999_999_999]},
        {"ssh_key_ids": [key, key]},
        {"instance_type": "giant"},
        {"memory_mb": 63},
        {"storage_gb": 1025},
        {"mount_paths": ["/etc"]},
        {"ssh_enabled": 1},
    ):
        marks.append(lab.name())
        answer = lab.post("/compute/containers", {"name": marks[-1], "ssh_key_ids": [key], **fault})
        lab.refused("TEN-009", answer, Code.INVALID_REQUEST)
    for text in ("x", "ssh-ed25519 AAAA", f"{lab.public_key()}\n{lab.public_key()}"):
        answer = lab.post("/compute/ssh-keys", {"name": lab.name(), "public_key": text})
        lab.refused("TEN-009", answer, Code.INVALID_REQUEST)
    lab.refused("TEN-009", lab.post(path, {"port": 22}), Code.INVALID_REQUEST)
    lab.refused("TEN-009", lab.post(path, {"port": 8081, "target_port": 65536}), Code.INVALID_REQUEST)
    after = {name: effect(lab, row_named(name), place) for name in names}
    lab.holds("TEN-009", after == before, f"{before}", after)
    new = lab.new_container()
    feed.next_of("container_status", new, within=lab.target.timeout)
    strange = {message["data"].get("container_id") for message in feed.messages[1:]} - known - {new}
    lab.holds("TEN-010", not strange, "nothing of what was not made", strange)


@check("TEN-009", standard=True)
def room_after_failures(lab: Lab) -> None:
    """As many creates as a user may have containers fail, and as many as there is room succeed."""
    room = lab.room()
    for _ in range(lab.target.container_limit + 1):
        body = {"name": lab.name(), "ssh_key_ids": [lab.key(), 999_999_999]}
        lab.refused("TEN-009", lab.post("/compute/containers", body), Code.INVALID_REQUEST)
    for _ in range(room):
        answer = lab.post("/compute/containers", {"name": lab.name(), "ssh_key_ids": [lab.key()]})
        lab.holds("TEN-009", answer.status == 200, "200 while there is room", answer)
