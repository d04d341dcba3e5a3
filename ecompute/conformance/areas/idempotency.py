"""Requests that carry an Idempotency-Key, sent again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from ecompute.conformance.check import Need, check
from ecompute.conformance.credential import Who
from ecompute.conformance.history import Request
from ecompute.conformance.lab import Lab
from ecompute.conformance.requirement import Area, ours
from ecompute.conformance.rows import EVERYTHING, MINE, named
from ecompute.conformance.wire import Answer
from ecompute.contract import codec
from ecompute.contract.problems import Code

NOTES = "contract notes: requests"
CONTAINERS, KEYS = "/compute/containers", "/compute/ssh-keys"
NEEDS = (Need.IDEMPOTENCY,)

AREA = Area(
    "idempotency",
    "IDM",
    "Idempotency keys",
    (
        ours(1, "A request with the same key and body gets the first answer again.", NOTES),
        ours(2, "However often it comes with one key, a request has one effect.", NOTES),
        ours(3, "The same key with another body is a conflict, and has no effect.", NOTES),
        ours(4, "Another user's request with the same key is another request.", NOTES),
        ours(5, "A request at another path with the same key is another request.", NOTES),
        ours(6, "A request with another key is another request, however much the keys are alike.", NOTES),
        ours(7, "An answer that is no success is not kept.", NOTES),
        ours(
            8,
            "Requests with one key that come at once have one effect; each is a success or a conflict.",
            NOTES,
        ),
        ours(
            9,
            "A key has 1 to 255 printable characters of ASCII; another one is refused, with no effect.",
            NOTES,
        ),
        ours(10, "A key changes nothing for requests other than POST.", NOTES),
        ours(11, "Keys are honoured for containers, SSH keys and ingress rules.", NOTES),
        ours(12, "Keys are honoured for start and stop.", NOTES),
        ours(13, "The first answer comes again also when what it tells has changed or is gone.", NOTES),
        ours(14, "Every answer has Idempotency-Supported: true.", NOTES),
        ours(15, "The same JSON in another spelling is the same body.", NOTES),
        ours(16, "Credential, right, thing and body are looked at before a kept answer is.", NOTES),
        ours(17, "A key is its user's, whichever credential sends it.", NOTES),
        ours(18, "Requests without a key have an effect each time.", NOTES),
    ),
)


def _key(lab: Lab) -> str:
    return f"{lab.name()}-{lab.random.randbytes(4).hex()}"


def _send(lab: Lab, path: str, body: Any, key: str, who: Who = None) -> Answer:
    return lab.ask("POST", path, who or lab.first, body, headers={"Idempotency-Key": key})


def _same(lab: Lab, id_: str, one: Answer, other: Answer) -> None:
    lab.holds(id_, other.status == one.status, f"{one.status} again", other)
    lab.holds(id_, other.content == one.content, f"the first answer, {one}", other)


def _new_key(lab: Lab) -> dict[str, Any]:
    return {"name": lab.name(), "public_key": lab.public_key()}


def _new_container(lab: Lab) -> dict[str, Any]:
    return {"name": lab.name(), "ssh_key_ids": [lab.key()]}


@check("IDM-001", "IDM-002", "IDM-003", "IDM-011", "IDM-013", "IDM-018", needs=NEEDS)
def containers(lab: Lab) -> None:
    """A create that comes three times, then with another body, and after the container is gone."""
    lab.make_room(2)
    key, body = _key(lab), _new_container(lab)
    before = named(lab, CONTAINERS)
    first = _send(lab, CONTAINERS, body, key)
    lab.holds("IDM-001", first.status == 200, "200", first)
    for _ in range(2):
        _same(lab, "IDM-011", first, _send(lab, CONTAINERS, body, key))
    wanted = [first.body["id"], *before]
    found = named(lab, CONTAINERS)
    lab.holds("IDM-002", sorted(found) == sorted(wanted), f"the containers {wanted}", found)
    others: list[dict[str, Any]] = [
        {"name": lab.name()},
        {"memory_mb": 1024},
        {"ssh_enabled": True},
        {"x": 1},
    ]
    for other in others:
        lab.refused("IDM-003", _send(lab, CONTAINERS, {**body, **other}, key), Code.CONFLICT)
    found = named(lab, CONTAINERS)
    lab.holds("IDM-003", sorted(found) == sorted(wanted), f"the containers {wanted}", found)
    _same(lab, "IDM-001", first, _send(lab, CONTAINERS, body, key))
    path = f"{CONTAINERS}/{first.body['id']}"
    lab.post(f"{path}/stop")
    _same(lab, "IDM-013", first, _send(lab, CONTAINERS, body, key))
    lab.delete(path)
    _same(lab, "IDM-013", first, _send(lab, CONTAINERS, body, key))
    lab.refused("IDM-003", _send(lab, CONTAINERS, {**body, "name": lab.name()}, key), Code.CONFLICT)
    found = named(lab, CONTAINERS)
    lab.holds("IDM-002", sorted(found) == sorted(before), f"the containers {before}", found)
    made = [lab.post(CONTAINERS, body) for _ in range(2)]
    ids = {answer.body.get("id") for answer in made}
    lab.holds("IDM-018", len(ids) == 2, "two containers", [str(answer) for answer in made])


@check("IDM-001", "IDM-002", "IDM-003", "IDM-011", "IDM-013", needs=NEEDS)
def keys(lab: Lab) -> None:
    """An SSH key that is added twice, then with another body, and after it was deleted."""
    key, body = _key(lab), _new_key(lab)
    first = _send(lab, KEYS, body, key)
    lab.holds("IDM-001", first.status == 200, "200", first)
    _same(lab, "IDM-011", first, _send(lab, KEYS, body, key))
    wanted = named(lab, KEYS)
    lab.refused("IDM-003", _send(lab, KEYS, {**body, "name": lab.name()}, key), Code.CONFLICT)
    lab.refused("IDM-003", _send(lab, KEYS, _new_key(lab), key), Code.CONFLICT)
    found = named(lab, KEYS)
    lab.holds("IDM-003", found == wanted, f"the keys {wanted}", found)
    lab.delete(f"{KEYS}/{first.body['id']}")
    _same(lab, "IDM-013", first, _send(lab, KEYS, body, key))
    found = named(lab, KEYS)
    lab.holds("IDM-002", first.body["id"] not in found, "no key", found)


@check("IDM-001", "IDM-002", "IDM-003", "IDM-005", "IDM-011", "IDM-013", needs=NEEDS)
def ingress(lab: Lab) -> None:
    """A rule that is added twice, then with another target, and after it was removed."""
    lab.make_room(1)
    path = f"{CONTAINERS}/{lab.container()}/ingress"
    other = f"{CONTAINERS}/{lab.new_container()}/ingress"
    key, body = _key(lab), {"port": 8100, "target_port": 3000}
    first = _send(lab, path, body, key)
    lab.holds("IDM-001", first.status == 200, "200", first)
    lab.post(path, {"port": 8100, "target_port": 4000})
    _same(lab, "IDM-011", first, _send(lab, path, body, key))
    target = _rules(lab, path).get(8100)
    lab.holds("IDM-002", target == 4000, "the target 4000, which was set since", target)
    for wrong in ({"port": 8101}, {"port": 8100}, {"port": 8100, "target_port": 4000}):
        lab.refused("IDM-003", _send(lab, path, wrong, key), Code.CONFLICT)
    lab.holds("IDM-003", 8101 not in _rules(lab, path), "no rule for 8101", _rules(lab, path))
    lab.delete(f"{path}/8100")
    _same(lab, "IDM-013", first, _send(lab, path, body, key))
    lab.holds("IDM-002", 8100 not in _rules(lab, path), "no rule for 8100", _rules(lab, path))
    answer = _send(lab, other, body, key)
    lab.holds("IDM-005", answer.status == 200, "200 at another container", answer)
    lab.holds("IDM-005", _rules(lab, other) == {8100: 3000}, "a rule there", _rules(lab, other))


def _rules(lab: Lab, path: str) -> dict[int, int]:
    return {rule["port"]: rule["target_port"] for rule in lab.get(path).body["rules"]}


@check("IDM-012", "IDM-005", needs=NEEDS)
def start_and_stop(lab: Lab) -> None:
    """A stop and a start under one key, each sent again after the opposite."""
    lab.make_room(1)
    path, key = f"{CONTAINERS}/{lab.new_container()}", _key(lab)
    stopped = _send(lab, f"{path}/stop", None, key)
    lab.holds("IDM-012", stopped.body.get("status") == "stopped", "the status stopped", stopped)
    started = _send(lab, f"{path}/start", None, key)
    lab.holds("IDM-005", started.body.get("status") == "pending", "the status pending", started)
    _same(lab, "IDM-012", stopped, _send(lab, f"{path}/stop", None, key))
    status = lab.get(path).body["status"]
    lab.holds("IDM-012", status != "stopped", "a container that goes on", status)
    lab.post(f"{path}/stop")
    _same(lab, "IDM-012", started, _send(lab, f"{path}/start", None, key))
    status = lab.get(path).body["status"]
    lab.holds("IDM-012", status == "stopped", "a container that stays stopped", status)


@check("IDM-004", needs=(Need.IDEMPOTENCY, Need.SECOND_TENANT))
def users(lab: Lab) -> None:
    """Two users with one key, with equal and with different bodies."""
    key, body = _key(lab), _new_key(lab)
    mine, theirs = (_send(lab, KEYS, body, key, who) for who in (lab.first, lab.second))
    lab.holds("IDM-004", mine.status == 200, "200", mine)
    lab.holds("IDM-004", theirs.status == 200, "200", theirs)
    lab.holds("IDM-004", mine.body["id"] != theirs.body["id"], "a key for each of them", str(theirs))
    found = named(lab, KEYS, lab.second)
    lab.holds("IDM-004", theirs.body["id"] in found, "the second user's key in the list", found)
    _same(lab, "IDM-004", mine, _send(lab, KEYS, body, key))
    _same(lab, "IDM-004", theirs, _send(lab, KEYS, body, key, lab.second))
    key = _key(lab)
    for who in (lab.first, lab.second):
        answer = _send(lab, KEYS, _new_key(lab), key, who)
        lab.holds("IDM-004", answer.status == 200, "200", answer)


@check("IDM-006", "IDM-005", needs=NEEDS)
def like_keys(lab: Lab) -> None:
    """Keys that differ in their last character, in case, and in blanks inside; one key at two paths."""
    start = f"{_key(lab)}-".ljust(253, "x")
    for one, other in ((f"{start}xy", f"{start}xz"), (f"{_key(lab)}Q", ""), (f"{_key(lab)} q", "")):
        other = other or (one.swapcase() if one[-1] == "Q" else one.replace(" ", "  "))
        made = [_send(lab, KEYS, _new_key(lab), key) for key in (one, other)]
        for answer in made:
            lab.holds("IDM-006", answer.status == 200, "200 to each", answer)
        lab.holds("IDM-006", made[0].body["id"] != made[1].body["id"], "two SSH keys", str(made[1]))
        for answer in made:
            lab.delete(f"{KEYS}/{answer.body['id']}")
    lab.make_room(1)
    at = _send(lab, CONTAINERS, _new_container(lab), one)
    lab.holds("IDM-005", at.status == 200, "200 at another path", at)


@check("IDM-007", needs=NEEDS)
def refusals(lab: Lab) -> None:
    """Requests that are refused, and sent again under their key when they could be done."""
    key, body = _key(lab), _new_key(lab)
    lab.refused("IDM-007", _send(lab, KEYS, {**body, "name": ""}, key), Code.INVALID_REQUEST)
    first = _send(lab, KEYS, body, key)
    lab.holds("IDM-007", first.status == 200, "200 to a body that was mended", first)
    _same(lab, "IDM-007", first, _send(lab, KEYS, body, key))
    again = {**body, "name": lab.name()}
    key = _key(lab)
    if _send(lab, KEYS, again, key).status == 409:
        lab.delete(f"{KEYS}/{first.body['id']}")
        answer = _send(lab, KEYS, again, key)
        lab.holds("IDM-007", answer.status == 200, "200 when the conflict is over", answer)
    path = f"{CONTAINERS}/zzzzzzzz/ingress"
    for _ in range(2):
        lab.refused("IDM-007", _send(lab, path, {"port": 8100}, key), Code.NOT_FOUND)


@check("IDM-007", "IDM-002", needs=NEEDS, standard=True)
def refused_at_the_limit(lab: Lab) -> None:
    """A create that is refused for lack of room, and sent again when there is some."""
    lab.make_room(1)
    ids = [lab.new_container() for _ in range(lab.room())]
    key, body = _key(lab), _new_container(lab)
    lab.refused("IDM-007", _send(lab, CONTAINERS, body, key), Code.LIMIT_REACHED)
    lab.delete(f"{CONTAINERS}/{ids[0]}")
    first = _send(lab, CONTAINERS, body, key)
    lab.holds("IDM-007", first.status == 200, "200 when there is room", first)
    # now there is none again, and none is needed
    _same(lab, "IDM-002", first, _send(lab, CONTAINERS, body, key))


@check("IDM-008", needs=NEEDS)
def at_once(lab: Lab) -> None:
    """One request many times at once: for containers several times over, an SSH key, and a rule."""
    lab.make_room(1)
    rules = f"{CONTAINERS}/{lab.container()}/ingress"
    requests: list[tuple[str, dict[str, Any]]] = [
        (CONTAINERS, _new_container(lab)) for _ in range(lab.pick(2, 8))
    ]
    for path, body in (*requests, (KEYS, _new_key(lab)), (rules, {"port": 8102})):
        with lab.tidy():
            _at_once(lab, path, body)
    lab.delete(f"{rules}/8102")


def _at_once(lab: Lab, path: str, body: dict[str, Any]) -> None:
    key = _key(lab)
    answers = _together(lab, path, body, key, lab.pick(12, 24))
    made = {answer.content for answer in answers if answer.status == 200}
    lab.holds("IDM-008", len(made) == 1, "one answer for all that succeed", made)
    for answer in answers:
        if answer.status != 200:
            lab.refused("IDM-008", answer, Code.CONFLICT)
    if "name" in body:
        same_name = _count(lab, path, body["name"])
        lab.holds("IDM-008", same_name == 1, "one in the list", same_name)
    again = _send(lab, path, body, key)
    lab.holds("IDM-008", {again.content} == made, f"the first answer, {made}", again)


def _together(lab: Lab, path: str, body: Any, key: str, count: int) -> list[Answer]:
    """The answers to a request that is sent so often at the same time."""
    credential, headers = lab.first.credential, {"Idempotency-Key": key}
    token = credential.token

    def one(_: int) -> Answer:
        return lab.wire.send("POST", path, token=token, body=body, headers=headers)

    with ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(one, range(count)))
    for answer in answers:
        step = Request("POST", path, credential.symbol, body, None, headers)
        lab.history.add(lab.history.answered(step, answer.status, answer.body))
    for answer in {answer.content: answer for answer in answers}.values():
        lab.things.saw("POST", path, credential, answer)
    return answers


def _count(lab: Lab, path: str, name: str) -> int:
    listed = lab.get(path).body
    (items,) = (value for value in listed.values() if isinstance(value, list))
    return sum(item["name"] == name for item in items)


@check("IDM-009", needs=NEEDS)
def forms(lab: Lab) -> None:
    """Keys of the least and the greatest length, of all characters, and of none that may be."""
    visible = "".join(chr(code) for code in range(0x21, 0x7F))
    mark = _key(lab)
    good = [f"{mark}{'x' * (255 - len(mark))}", f"{mark}{visible}", f"{mark} {mark}", f'"{mark}"']
    good.append(lab.random.choice(visible))
    before = named(lab, KEYS)
    for key in good:
        body = _new_key(lab)
        first = _send(lab, KEYS, body, key)
        if len(key) == 1 and first.code == Code.CONFLICT:
            # somebody has had it in the last 24 hours
            continue
        lab.holds("IDM-009", first.status == 200, f"200 with a key of {len(key)} characters", first)
        _same(lab, "IDM-009", first, _send(lab, KEYS, body, key))
        lab.delete(f"{KEYS}/{first.body['id']}")
    bad = ["", "x" * 256, f"{mark}{'x' * (256 - len(mark))}", "x" * 1000, f"{mark}\xe9", f"{mark}\t{mark}"]
    for key in bad:
        content = codec.dump_json(_new_key(lab))
        answer = _raw(lab, content, [key])
        lab.refused("IDM-009", answer, Code.INVALID_REQUEST)
    answer = _raw(lab, codec.dump_json(_new_key(lab)), [f"{mark}a", f"{mark}b"])
    lab.refused("IDM-009", answer, Code.INVALID_REQUEST)
    after = named(lab, KEYS)
    lab.holds("IDM-009", after == before, f"the keys {before}", after)


def _raw(lab: Lab, content: bytes, keys: list[str]) -> Answer:
    """The answer to an added SSH key with these headers, byte by byte."""
    headers = {"Idempotency-Key": ", ".join(keys)}
    with lab.line() as line:
        line.send(_bytes(lab, KEYS, content, keys))
        answer = line.answer(lab.target.timeout) or Answer(0, {}, b"no answer")
    lab.history.add(Request("POST", KEYS, lab.first.symbol, None, content, headers, answer.status))
    return answer


def _bytes(lab: Lab, path: str, content: bytes, keys: list[str]) -> bytes:
    """A POST of the first tenant with these idempotency keys. It is not for the history: it has the token."""
    place = urlsplit(lab.target.url)
    lines = [
        f"POST {place.path}{path} HTTP/1.1",
        f"Host: {place.netloc.rpartition('@')[2]}",
        f"Authorization: Bearer {lab.first.credential.token}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        *(f"Idempotency-Key: {key}" for key in keys),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + content


@check("IDM-010", needs=NEEDS)
def other_methods(lab: Lab) -> None:
    """GET, PUT and DELETE with one key, whose effects and answers are to be fresh each time."""
    key = _key(lab)
    headers = {"Idempotency-Key": key}
    path = f"{CONTAINERS}/{lab.container()}"

    def ask(method: str, where: str, body: Any = None) -> Answer:
        answer = lab.ask(method, where, lab.first, body, headers=headers)
        lab.holds("IDM-010", answer.status == 200, "200", answer)
        return answer

    ask("GET", KEYS)
    one, other = lab.new_key(), lab.new_key()
    listed = [item["id"] for item in ask("GET", KEYS).body["ssh_keys"]]
    lab.holds("IDM-010", {one, other} <= {*listed}, "a list with what is new", listed)
    for id_ in (one, other):
        ask("DELETE", f"{KEYS}/{id_}")
    gone = lab.ask("DELETE", f"{KEYS}/{one}", lab.first, headers=headers)
    lab.refused("IDM-010", gone, Code.NOT_FOUND)
    enabled = lab.get(f"{path}/ssh").body["ssh_enabled"]
    for value in (not enabled, enabled, not enabled, enabled):
        ask("PUT", f"{path}/ssh", {"ssh_enabled": value})
        found = lab.get(f"{path}/ssh").body
        lab.holds("IDM-010", found == {"ssh_enabled": value}, f"ssh_enabled {value}", found)


@check("IDM-014", needs=NEEDS)
def announced(lab: Lab) -> None:
    """The header on answers of every kind."""
    answers = [
        lab.get(CONTAINERS),
        lab.ask("GET", CONTAINERS),
        lab.ask("HEAD", CONTAINERS, lab.first),
        lab.get(f"{CONTAINERS}/zzzzzzzz"),
        lab.get("/nothing"),
        lab.ask("PATCH", KEYS, lab.first),
        lab.post(KEYS, {}),
        lab.socket("/compute/ws").answer,
    ]
    for answer in answers:
        told = answer.headers.get("idempotency-supported")
        lab.holds("IDM-014", told == "true", "Idempotency-Supported: true", f"{told} with {answer}")


@check("IDM-015", needs=NEEDS)
def spellings(lab: Lab) -> None:
    """One body with its names in two orders, and with more blanks."""
    name, text, key = lab.name(), lab.public_key(), _key(lab)
    first = _send(lab, KEYS, {"name": name, "public_key": text}, key)
    lab.holds("IDM-015", first.status == 200, "200", first)
    headers = {"Idempotency-Key": key}
    for content in (
        f'{{ "public_key": "{text}",\n"name":"{name}"}}',
        f'{{"name" : "{name}","public_key":"{text}"}} ',
    ):
        answer = lab.ask("POST", KEYS, lab.first, content=content.encode(), headers=headers)
        _same(lab, "IDM-015", first, answer)


@check("IDM-016", "IDM-017", needs=(Need.IDEMPOTENCY, Need.SESSION))
def credentials(lab: Lab) -> None:
    """A session's request again by tokens of its user, and by nobody."""
    key, body = _key(lab), _new_key(lab)
    first = _send(lab, KEYS, body, key)
    lab.holds("IDM-017", first.status == 200, "200", first)
    _same(lab, "IDM-017", first, _send(lab, KEYS, body, key, lab.shared_token({MINE: EVERYTHING})))
    weak = lab.shared_token({f"{MINE}.keys": ["read"]})
    lab.refused("IDM-016", _send(lab, KEYS, body, key, weak), Code.FORBIDDEN)
    nobody = lab.ask("POST", KEYS, None, body, headers={"Idempotency-Key": key})
    lab.refused("IDM-016", nobody, Code.UNAUTHENTICATED)


@check("IDM-016", needs=(Need.IDEMPOTENCY,))
def refused_is_first(lab: Lab) -> None:
    """Under a key that has an answer: a container that is gone by now, and a body that is broken."""
    lab.make_room(1)
    id_, key = lab.new_container(), _key(lab)
    path = f"{CONTAINERS}/{id_}/ingress"
    first = _send(lab, path, {"port": 8103}, key)
    lab.holds("IDM-016", first.status == 200, "200", first)
    lab.refused("IDM-016", _send(lab, path, {"port": 22}, key), Code.INVALID_REQUEST)
    lab.delete(f"{CONTAINERS}/{id_}")
    lab.refused("IDM-016", _send(lab, path, {"port": 8103}, key), Code.NOT_FOUND)
