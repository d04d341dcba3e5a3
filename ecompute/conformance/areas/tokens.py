"""API tokens: making, listing and revoking them, and what they are for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ecompute.conformance.check import Need, check
from ecompute.conformance.credential import Credential, Tenant
from ecompute.conformance.feeds import Feed
from ecompute.conformance.lab import Lab
from ecompute.conformance.requirement import Area, must
from ecompute.conformance.rows import EVERYTHING, MINE, named
from ecompute.conformance.sockets import Closed, Ponged, Socket
from ecompute.conformance.wire import Answer
from ecompute.contract.catalog import TOKEN_EXPIRIES, TOKEN_NAME_LENGTH
from ecompute.contract.problems import Code

NOTES = "contract notes: credentials and scopes"
PATH = "/api/tokens"
MAKE, LIST, REVOKE = f"POST {PATH}", f"GET {PATH}", f"DELETE {PATH}/{{id}}"

AREA = Area(
    "tokens",
    "TOK",
    "API tokens",
    (
        must(1, "A new token is answered with its id, name, scopes, times and text.", MAKE),
        must(2, "The text of a token begins with ecloud_ and is different each time.", NOTES),
        must(3, "The text of a token is told when it is made and never again.", LIST),
        must(4, "A list has each token as it was made, but for its text and its last use.", LIST),
        must(5, "A list has the newest token first.", LIST),
        must(6, "A token expires after 30, 90 or 365 days, as it was asked for, or never, which is 0.", MAKE),
        must(7, "Any other lifetime is refused.", MAKE),
        must(
            8, "Scopes are told with each action once, in an order that does not depend on the asker.", MAKE
        ),
        must(9, "A scope that breaks the grammar, or that grants nothing, is refused.", NOTES),
        must(10, "A scope of another user is refused, whether there is such a user or not.", NOTES),
        must(11, "The name of a token has 1 to 64 printable characters, blanks around it not counted.", MAKE),
        must(12, "Name, scopes and lifetime are all needed.", MAKE),
        must(13, "What is refused makes no token.", MAKE),
        must(14, "A revoked token is refused from its next request on, and is in no list.", REVOKE),
        must(15, "Revoking a token closes its open WebSockets with the code 1008.", REVOKE),
        must(16, "Revoking a token leaves others as they are, and their WebSockets open.", REVOKE),
        must(17, "Revoking is answered with the status ok; a token that is not there with 404.", REVOKE),
        must(18, "The last use of a token is told, and is 0 before the first.", LIST),
        must(19, "A token has all the grants that it was made with, and no others.", NOTES),
        must(20, "Names of tokens need not be unique.", MAKE),
        must(21, "A token that was not allowed to do something has not lost what it may do.", NOTES),
    ),
)

FIELDS = {"id", "name", "scopes", "expires_at", "created_at", "last_used_at"}
_DAY = 24 * 3600
_SOON = 10.0
"""Seconds in which an open WebSocket must have noticed."""


def _body(lab: Lab, **more: Any) -> dict[str, Any]:
    scopes = {f"compute.{lab.first.user_id}": ["read"]}
    return {"name": lab.name(), "scopes": scopes, "expires_in": "30d", **more}


def _make(lab: Lab, **more: Any) -> Answer:
    return lab.post(PATH, _body(lab, **more))


def _listed(lab: Lab, id_: object, who: Tenant | None = None) -> dict[str, Any]:
    items = lab.get(PATH, who).body["tokens"]
    return next((item for item in items if item["id"] == id_), {})


def _credential(lab: Lab, answer: Answer) -> Credential:
    text = answer.body["token"]
    return Credential(lab.history.symbol("token", text), text, lab.first.symbol)


@check("TOK-001", "TOK-002", "TOK-003", "TOK-004", "TOK-005", "TOK-020", needs=(Need.SESSION,))
def make_and_list(lab: Lab) -> None:
    """Three tokens, two of one name, in the answers and in the list."""
    name = lab.name()
    made = [_make(lab, name=each) for each in (name, name, f" {name}-last ")]
    lab.holds("TOK-020", made[1].status == 200, "200 to a second token of one name", made[1])
    for answer, wanted in zip(made, (name, name, f"{name}-last"), strict=True):
        token = answer.body
        lab.holds("TOK-001", answer.status == 200, "200", answer)
        lab.holds("TOK-001", token.keys() >= FIELDS | {"token"}, f"{sorted(FIELDS)} and token", answer)
        lab.holds("TOK-001", isinstance(token["id"], str) and token["id"], "a text as the id", answer)
        lab.holds("TOK-001", token["name"] == wanted, f"the name {wanted!r}", answer)
        now = time.time()
        lab.holds("TOK-001", type(token["created_at"]) is int, "created_at in whole seconds", answer)
        recent = abs(token["created_at"] - now) < _DAY
        lab.holds("TOK-001", recent, f"created_at about {now:.0f}", answer)
        lab.holds("TOK-002", token["token"].startswith("ecloud_"), "a text that begins with ecloud_", answer)
    texts, ids = {answer.body["token"] for answer in made}, [answer.body["id"] for answer in made]
    lab.holds("TOK-002", len(texts) == 3, "three different texts", len(texts))
    lab.holds("TOK-001", len(set(ids)) == 3, "three different ids", ids)
    listed = lab.get(PATH)
    items: dict[str, dict[str, Any]] = {item["id"]: item for item in listed.body["tokens"]}
    for answer in made:
        hidden = answer.body["token"] not in listed.content.decode()
        lab.holds("TOK-003", hidden, "a list without the text of a token", "one that has it")
        found = items.get(answer.body["id"], {})
        lab.holds("TOK-003", not found.get("token"), "no token in the list", sorted(found))
        kept = {field: answer.body[field] for field in FIELDS}
        lab.holds("TOK-004", found == kept, f"{kept}", found)
    count = len(listed.body["tokens"])
    lab.holds("TOK-004", len(items) == count, "each token once", f"{len(items)} of {count}")
    _newest_first(lab, listed)


def _newest_first(lab: Lab, listed: Answer) -> None:
    times = [item["created_at"] for item in listed.body["tokens"]]
    lab.holds("TOK-005", times == sorted(times, reverse=True), "the newest first", times)


@check("TOK-006", "TOK-007", "TOK-013", needs=(Need.SESSION,))
def lifetimes(lab: Lab) -> None:
    """Every lifetime that there is, and some that there are not."""
    for text, days in TOKEN_EXPIRIES.items():
        answer = _make(lab, expires_in=text)
        lab.holds("TOK-006", answer.status == 200, "200", answer)
        wanted = answer.body["created_at"] + days * _DAY if days else 0
        found = answer.body["expires_at"]
        # the two moments may be taken one after the other
        near = found == wanted or (days and abs(found - wanted) <= 2)
        lab.holds("TOK-006", near, f"expires_at {wanted} for {text}", answer)
        listed = _listed(lab, answer.body["id"]).get("expires_at")
        lab.holds("TOK-006", listed == found, f"expires_at {found} in the list", listed)
        used = lab.get("/compute/containers", _credential(lab, answer))
        lab.holds("TOK-006", used.status == 200, "200 to the token", used)
    before = named(lab, PATH)
    wrong = (
        "",
        "1d",
        "31d",
        "30",
        "30D",
        " 30d",
        "30d ",
        "Never",
        "0",
        "60d",
        "-30d",
        30,
        0,
        None,
        True,
        ["30d"],
    )
    for value in lab.each(wrong):
        lab.refused("TOK-007", _make(lab, expires_in=value), Code.INVALID_REQUEST)
    after = named(lab, PATH)
    lab.holds("TOK-013", after == before, f"the tokens {before}", after)


@check("TOK-008", "TOK-019", needs=(Need.SESSION,))
def scopes_in_order(lab: Lab) -> None:
    """The same scopes in two orders, with actions twice."""
    mine = f"compute.{lab.first.user_id}"
    wide, narrow, keys = f"{mine}.containers", f"{mine}.containers.abc12345", f"{mine}.keys"
    one = {keys: ["read"], wide: ["update", "create", "read"], narrow: ["delete", "delete"]}
    other = {narrow: ["delete"], wide: ["read", "create", "update", "create"], keys: ["read", "read"]}
    told = [_make(lab, scopes=scopes).body["scopes"] for scopes in (one, other)]
    lab.holds("TOK-008", [*told[0].items()] == [*told[1].items()], "the same of the same scopes", told)
    wanted = {scope: set(actions) for scope, actions in one.items()}
    for scopes in told:
        found = {scope: set(actions) for scope, actions in scopes.items()}
        lab.holds("TOK-019", found == wanted, f"the grants {wanted}", scopes)
        single = all(len(set(actions)) == len(actions) for actions in scopes.values())
        lab.holds("TOK-008", single, "each action once", scopes)


@check("TOK-009", "TOK-013", needs=(Need.SESSION,))
def malformed_scopes(lab: Lab) -> None:
    """Scopes that break the grammar, alone and beside a good one; scopes that grant nothing."""
    mine = f"compute.{lab.first.user_id}"
    before = named(lab, PATH)
    texts = [
        "",
        "compute",
        "compute.",
        f"{mine}.",
        f"{mine}.boxes",
        f"{mine}.Containers",
        f"{mine}.containers.",
        f"{mine}.containers.a.b",
        f"{mine}.containers.*",
        f"{mine}.containers.a b",
        f"{mine}.*",
        f".{mine}",
        f" {mine}",
        f"{mine} ",
        f"{mine}\n",
        f"Compute.{lab.first.user_id}",
        f"storage.{lab.first.user_id}",
        "compute.*",
        "*",
        "compute.<uid>",
    ]
    for text in lab.each(texts):
        scopes: Any = {text: ["read"]}
        lab.refused("TOK-009", _make(lab, scopes=scopes), Code.INVALID_REQUEST)
        if lab.standard:
            lab.refused("TOK-009", _make(lab, scopes={mine: ["read"], **scopes}), Code.INVALID_REQUEST)
    wrong: list[Any] = [{}, {mine: []}, {mine: ["read"], f"{mine}.keys": []}, {mine: "read"}, {mine: None}]
    wrong += [{mine: [action]} for action in ("fly", "", "Read", "*", "all", None, 1, ["read"])]
    wrong += [[], [mine], mine, None, {mine: {"read": True}}, {mine: ["read", "fly"]}]
    for scopes in lab.each(wrong):
        lab.refused("TOK-009", _make(lab, scopes=scopes), Code.INVALID_REQUEST)
    after = named(lab, PATH)
    lab.holds("TOK-013", after == before, f"the tokens {before}", after)


@check("TOK-010", "TOK-013", needs=(Need.SESSION,))
def scopes_of_others(lab: Lab) -> None:
    """Scopes of a user that is there, of one that is not, and of ids that look like one's own."""
    own = str(lab.first.user_id)
    before = named(lab, PATH)
    users = ["0", f"{own}0", own[:-1] or "a", "nobody"]
    if lab.has_second and lab.second.user_id is not None:
        users.append(lab.second.user_id)
    answers = []
    for user in users:
        for rest in ("", ".containers", ".keys", ".containers.abc12345"):
            scopes = {f"compute.{own}": ["read"], f"compute.{user}{rest}": ["read"]}
            answers.append(_make(lab, scopes=scopes))
            lab.refused("TOK-010", answers[-1], Code.INVALID_REQUEST)
        answers.append(_make(lab, scopes={f"compute.{user}": ["read"]}))
        lab.refused("TOK-010", answers[-1], Code.INVALID_REQUEST)
    same = {answer.content for answer in answers}
    lab.holds("TOK-010", len(same) == 1, "the same answer for every other user", same)
    after = named(lab, PATH)
    lab.holds("TOK-013", after == before, f"the tokens {before}", after)


@check("TOK-011", "TOK-012", "TOK-013", needs=(Need.SESSION,))
def names(lab: Lab) -> None:
    """Names of the shortest and the greatest length and beyond; fields left out."""
    longest = TOKEN_NAME_LENGTH[-1]
    for good in ("x", "n" * longest, f"  {'n' * longest}\t", "Bücher 書 🗝", "a.b/c:d'e\"f<g>"):
        answer = _make(lab, name=good)
        lab.holds("TOK-011", answer.status == 200, f"200 to {good!r}", answer)
        told = (answer.body["name"], _listed(lab, answer.body["id"]).get("name"))
        lab.holds("TOK-011", told == (good.strip(),) * 2, f"the name {good.strip()!r}", told)
    before = {item["id"] for item in lab.get(PATH).body["tokens"]}
    for bad in (
        "",
        " ",
        "\t\n",
        "n" * (longest + 1),
        "a\nb",
        "a\0b",
        "\x7f",
        "a\x1b[0m",
        "a\u202eb",
        1,
        None,
        ["x"],
        True,
    ):
        lab.refused("TOK-011", _make(lab, name=bad), Code.INVALID_REQUEST)
    for missing in ("name", "scopes", "expires_in"):
        body = _body(lab)
        del body[missing]
        answer = lab.post(PATH, body)
        lab.refused("TOK-012", answer, Code.INVALID_REQUEST)
        paths = [fault["path"] for fault in answer.body["fields"]]
        lab.holds("TOK-012", paths == [missing], f"one fault, of {missing}", answer)
    after = {item["id"] for item in lab.get(PATH).body["tokens"]}
    lab.holds("TOK-013", after == before, f"the tokens {before}", after)


@check("TOK-014", "TOK-017", "TOK-016", needs=(Need.SESSION,))
def revoke(lab: Lab) -> None:
    """Of three tokens, all in use, the middle one is revoked, and again."""
    made = [_make(lab) for _ in range(3)]
    used = [_credential(lab, answer) for answer in made]
    for token in used:
        answer = lab.get("/compute/containers", token)
        lab.holds("TOK-014", answer.status == 200, "200 before", answer)
    path = f"{PATH}/{made[1].body['id']}"
    gone = lab.delete(path)
    lab.holds("TOK-017", gone.status == 200, "200", gone)
    lab.holds("TOK-017", gone.body == {"status": "ok"}, "the status ok", gone)
    for each in ("/compute/containers", "/compute/ssh-keys", "/api/session", "/api/tokens"):
        lab.refused("TOK-014", lab.get(each, used[1]), Code.UNAUTHENTICATED)
    ids = [item["id"] for item in lab.get(PATH).body["tokens"]]
    lab.holds("TOK-014", made[1].body["id"] not in ids, "a list without it", ids)
    for kept in (0, 2):
        answer = lab.get("/compute/containers", used[kept])
        lab.holds("TOK-016", answer.status == 200, "200 to the others", answer)
        lab.holds("TOK-016", made[kept].body["id"] in ids, "the others in the list", ids)
    lab.refused("TOK-017", lab.delete(path), Code.NOT_FOUND)
    for id_ in ("zzzzzzzzzzzz", "0", "-1", "%20", "a" * 200, made[0].body["name"]):
        lab.refused("TOK-017", lab.delete(f"{PATH}/{id_}"), Code.NOT_FOUND)
    for kept in (0, 2):
        answer = lab.get("/compute/containers", used[kept])
        lab.holds("TOK-016", answer.status == 200, "200 to the others", answer)


@check("TOK-015", "TOK-016", needs=(Need.SESSION, Need.RUNNING))
def revoke_while_open(lab: Lab) -> None:
    """Feeds and terminals by header and by query; one of two tokens is revoked."""
    terminal = f"/compute/containers/{lab.running()}/terminal"
    revoked, kept = lab.token({MINE: EVERYTHING}), lab.token({MINE: EVERYTHING})
    path = lab.things.all("token")[-2].path
    sockets = [
        lab.opened(place, revoked, in_query=in_query)
        for place in ("/compute/ws", terminal)
        for in_query in (False, True)
    ]
    others = [lab.opened(place, who) for place in ("/compute/ws", terminal) for who in (kept, lab.first)]
    lab.delete(path)
    for socket in sockets:
        closed = _end(socket)
        lab.holds("TOK-015", closed is not None, "a close", f"none in {_SOON:g} s")
        code = closed.code if closed else None
        lab.holds("TOK-015", code == 1008, "the code 1008", code)
    for socket in others:
        socket.ping(b"here")
        lab.holds("TOK-016", _ponged(socket), "other WebSockets stay open", "no answer to a ping")
    answer = lab.socket("/compute/ws", revoked).answer
    lab.refused("TOK-015", answer, Code.UNAUTHENTICATED)


def _end(socket: Socket) -> Closed | None:
    deadline = time.monotonic() + _SOON
    while (left := deadline - time.monotonic()) > 0:
        received = socket.receive(left)
        if isinstance(received, Closed):
            return received
    return None


def _ponged(socket: Socket) -> bool:
    deadline = time.monotonic() + _SOON
    while (left := deadline - time.monotonic()) > 0:
        received = socket.receive(left)
        if isinstance(received, Closed | Ponged):
            return isinstance(received, Ponged)
    return False


@check("TOK-018", needs=(Need.SESSION,))
def last_use(lab: Lab) -> None:
    """Two tokens; one is used, also in vain and for a WebSocket."""
    uses: tuple[Callable[[Credential], object], ...] = (
        lambda token: lab.get("/compute/containers", token),
        lambda token: lab.get("/compute/ssh-keys", token),
        lambda token: Feed.open(lab, token),
    )
    idle = _make(lab).body["id"]
    for use in uses:
        made = _make(lab)
        found = _listed(lab, made.body["id"]).get("last_used_at")
        lab.holds("TOK-018", (made.body["last_used_at"], found) == (0, 0), "0 before the first use", found)
        use(_credential(lab, made))
        used = _listed(lab, made.body["id"]).get("last_used_at")
        lab.holds("TOK-018", type(used) is int, "whole seconds", used)
        near = made.body["created_at"] - 1 <= used <= made.body["created_at"] + lab.target.timeout * 2
        lab.holds("TOK-018", near, f"a moment after {made.body['created_at']}", used)
    found = _listed(lab, idle).get("last_used_at")
    lab.holds("TOK-018", found == 0, "0 for a token that was not used", found)


@check("TOK-018", "TOK-005", needs=(Need.SESSION,), standard=True)
def later_use(lab: Lab) -> None:
    """A token that is used again in a later second."""
    made = _make(lab)
    id_, token = made.body["id"], _credential(lab, made)
    lab.get("/compute/containers", token)
    first = _listed(lab, id_)["last_used_at"]

    def later() -> bool:
        lab.get("/compute/containers", token)
        return bool(_listed(lab, id_)["last_used_at"] > first)

    lab.holds("TOK-018", lab.until(later, _SOON), f"a moment after {first}", first)
    _make(lab)
    _newest_first(lab, lab.get(PATH))


@check("TOK-019", "TOK-021", needs=(Need.SESSION,))
def grants(lab: Lab) -> None:
    """Each action on each resource by a token of its own, tried with all."""
    id_ = lab.container()
    asked: dict[tuple[str, str], Callable[[Credential], Answer]] = {
        ("containers", "create"): lambda who: lab.post("/compute/containers", {}, who),
        ("containers", "read"): lambda who: lab.get(f"/compute/containers/{id_}", who),
        ("containers", "update"): lambda who: lab.put(f"/compute/containers/{id_}/ssh", {}, who),
        ("containers", "delete"): lambda who: lab.delete("/compute/containers/zzzzzzzz", who),
        ("keys", "create"): lambda who: lab.post("/compute/ssh-keys", {}, who),
        ("keys", "read"): lambda who: lab.get("/compute/ssh-keys", who),
        ("keys", "delete"): lambda who: lab.delete("/compute/ssh-keys/999999999", who),
    }
    pairs = [*asked]
    for count in lab.pick((2, 3), (1, 2, 3, 4, 5, 6)):
        given = lab.random.sample(pairs, count)
        scopes: dict[str, list[str]] = {}
        for resource, action in given:
            scopes.setdefault(f"{MINE}.{resource}", []).append(action)
        token = lab.token(scopes)
        for pair in [*pairs, *given]:
            answer = asked[pair](token)
            if pair in given:
                lab.holds("TOK-019", answer.status in (200, 400, 404), f"the right to {pair}", answer)
                lab.holds("TOK-021", answer.status not in (401, 403), f"the right to {pair}", answer)
            else:
                lab.refused("TOK-019", answer, Code.FORBIDDEN)
