"""Credentials and rights: every row of the contract with every kind of both."""

from __future__ import annotations

from ecompute.conformance.check import Need, check
from ecompute.conformance.forgery import challenged, forged, malformed
from ecompute.conformance.lab import Lab
from ecompute.conformance.requirement import Area, Rule, must
from ecompute.conformance.rights import above, below, beside, needed_is_named, scope_for, without
from ecompute.conformance.rows import EVERYTHING, MINE, ROWS, Place, Row, ask_row, body_of, effect, row_named
from ecompute.contract.endpoint import Auth, Channel, Endpoint
from ecompute.contract.problems import Code

NOTES = "contract notes: credentials and scopes"
ANSWERS = "contract notes: answers"

SCOPED = {
    "containers.list": 101,
    "containers.create": 102,
    "containers.get": 103,
    "containers.delete": 104,
    "containers.start": 105,
    "containers.stop": 106,
    "ssh_keys.list": 107,
    "ssh_keys.add": 108,
    "ssh_keys.delete": 109,
    "ssh_access.get": 110,
    "ssh_access.set": 111,
    "ingress.list": 112,
    "ingress.add": 113,
    "ingress.remove": 114,
    "mounts.get": 115,
    "mounts.set": 116,
    "events": 117,
    "terminal": 118,
}
"""The requirement on its scope, by the name of a row."""
FOR_SESSIONS = {"logout": 119, "tokens.list": 120, "tokens.create": 121, "tokens.delete": 122}
CLOSED = {name: number + 100 for name, number in {**SCOPED, **FOR_SESSIONS}.items()} | {"session": 223}
"""The requirement that it needs a credential at all."""


def _place(row: Row) -> str:
    return f"{row.method} {row.path}"


def _scope_rule(row: Row) -> Rule:
    sentence = f"{_place(row)} needs {row.action} on {row.scope} or above, and that is enough."
    return must(SCOPED[row.name], sentence, _place(row))


AREA = Area(
    "authorisation",
    "AUT",
    "Credentials and rights",
    (
        must(1, "A 401 says in WWW-Authenticate that a Bearer credential is needed.", "RFC 6750, 3"),
        must(2, "A credential that is malformed or signed by somebody else opens nothing.", NOTES),
        must(3, "A token in the query of an ordinary request counts for nothing.", NOTES),
        must(4, "The name of the scheme Bearer may be written in any case.", "RFC 9110, 11.1"),
        must(5, "A 403 for lack of a right names the scope and the action that it needed.", ANSWERS),
        must(6, "A request without the right to it changes nothing.", ANSWERS),
        must(7, "HEAD needs the same right as GET.", ANSWERS),
        must(8, "A WebSocket takes its token from the query as well, with the same rights.", NOTES),
        must(9, "The grants of a token add up, each with its own actions only.", NOTES),
        must(10, "A revoked token opens nothing.", NOTES),
        must(11, "A login needs no credential, and minds none.", "POST /api/login"),
        must(12, "Any credential learns whose it is.", "GET /api/session"),
        *(_scope_rule(row) for row in ROWS if row.scope is not None),
        *(
            must(FOR_SESSIONS[row.name], f"{_place(row)} is for sessions only.", NOTES)
            for row in ROWS
            if row.auth is Auth.SESSION
        ),
        *(
            must(CLOSED[row.name], f"{_place(row)} is closed to who has no valid credential.", _place(row))
            for row in ROWS
            if row.auth is not Auth.NONE
        ),
    ),
)


def _id(number: int) -> str:
    return f"AUT-{number:03d}"


def _things(lab: Lab, row: Row) -> Place:
    """Things that a request of the row would have an effect on."""
    match row.name:
        case "containers.delete":
            lab.make_room(1)
            return Place(container=lab.new_container())
        case "containers.start":
            lab.stop(lab.container())
        case "containers.stop" if lab.status(lab.container()) == "stopped":
            lab.post(f"/compute/containers/{lab.container()}/start")
        case "ssh_access.set":
            lab.put(f"/compute/containers/{lab.container()}/ssh", {"ssh_enabled": False})
        case "ingress.remove":
            lab.post(f"/compute/containers/{lab.container()}/ingress", {"port": Place().port})
        case "ingress.add":
            lab.delete(f"/compute/containers/{lab.container()}/ingress/8081")
        case "ssh_keys.delete":
            return Place(key=lab.new_key())
        case "tokens.delete":
            lab.token({MINE: ["read"]})
            return Place(token=lab.things.all("token")[-1].id)
        case "tokens.list" | "tokens.create" | "session" | "logout" | "login":
            return Place()
    return Place(container=lab.container())


# --- without a credential


def _closed(lab: Lab, row: Row) -> None:
    id_, place = _id(CLOSED[row.name]), _things(lab, row)
    path, before = place.path(row), effect(lab, row, place)
    attempts = malformed()
    for header in lab.each((None, *lab.pick(lab.random.sample(attempts, 2), attempts))):
        headers = {} if header is None else {"Authorization": header}
        answer = ask_row(lab, row, path, None, body_of(lab, row), headers=headers)
        lab.refused(id_, answer, Code.UNAUTHENTICATED)
        challenged(lab, "AUT-001", answer)
        if row.method == "GET" and isinstance(row, Endpoint):
            head = lab.ask("HEAD", path, headers=headers)
            lab.holds("AUT-007", head.status == 401, "401 to HEAD as well", head)
    after = effect(lab, row, place)
    lab.holds("AUT-006", after == before, f"what there was: {before}", after)


def _closed_check(row: Row) -> None:
    def trial(lab: Lab) -> None:
        _closed(lab, row)

    trial.__name__ = f"{row.name.replace('.', '_')}_without_credential"
    trial.__doc__ = f"{_place(row)} by nobody, and with what is no credential."
    needs = (Need.SESSION,) if row.path.startswith("/api") else ()
    head = ("AUT-007",) if row.method == "GET" and isinstance(row, Endpoint) else ()
    check(_id(CLOSED[row.name]), "AUT-001", "AUT-006", *head, needs=needs)(trial)


for _row in ROWS:
    if _row.auth is not Auth.NONE:
        _closed_check(_row)


@check("AUT-002", "AUT-001")
def malformed_credentials(lab: Lab) -> None:
    """Everything that is no credential, at an ordinary row and at the feed."""
    for header in lab.each((*malformed(), *(f"Bearer {token}" for token in forged(lab.first)))):
        for name in ("containers.list", "events"):
            row = row_named(name)
            answer = ask_row(lab, row, row.path, headers={"Authorization": header})
            lab.refused("AUT-002", answer, Code.UNAUTHENTICATED)
            challenged(lab, "AUT-001", answer)


@check("AUT-002", needs=(Need.SESSION,))
def damaged_token(lab: Lab) -> None:
    """A valid API token with something more or less of it."""
    token = lab.shared_token({MINE: EVERYTHING})
    text = token.token
    swapped = text.swapcase()
    for wrong in lab.each(
        (f"{text}x", f"x{text}", text[1:], text[:-1], f"{text}{text}", swapped, f"{text},{text}")
    ):
        answer = lab.ask("GET", "/compute/containers", headers={"Authorization": f"Bearer {wrong}"})
        lab.refused("AUT-002", answer, Code.UNAUTHENTICATED)
    answer = lab.get("/compute/containers", token)
    lab.holds("AUT-002", answer.status == 200, "200 to the token itself", answer)


@check("AUT-010", "AUT-001", needs=(Need.SESSION,))
def revoked_token(lab: Lab) -> None:
    """A token that was good and is revoked, at every row."""
    token = lab.token({MINE: EVERYTHING})
    revoked = lab.things.all("token")[-1].path
    answer = lab.get("/compute/containers", token)
    lab.holds("AUT-010", answer.status == 200, "200 before it is revoked", answer)
    lab.delete(revoked)
    place = Place(container=lab.container())
    for row in ROWS:
        if row.auth is not Auth.NONE:
            answer = ask_row(lab, row, place.path(row), token, body_of(lab, row))
            lab.refused("AUT-010", answer, Code.UNAUTHENTICATED)
            challenged(lab, "AUT-001", answer)


@check("AUT-003", "AUT-006", needs=(Need.SESSION,))
def token_in_query(lab: Lab) -> None:
    """A good token in the query of every ordinary row; a wrong one beside a good header."""
    token = lab.shared_token({MINE: EVERYTHING})
    place = Place(container=lab.container(), key=lab.key())
    for row in ROWS:
        if isinstance(row, Channel) or row.auth is Auth.NONE:
            continue
        answer = lab.ask(row.method, f"{place.path(row)}?token={token.token}", None, body_of(lab, row))
        lab.refused("AUT-003", answer, Code.UNAUTHENTICATED)
    answer = lab.get(f"/compute/containers/{place.container}")
    lab.holds("AUT-006", answer.status == 200, "the container that there was", answer)
    for query in ("token=x", "token=", f"access_token={token.token}"):
        answer = lab.get(f"/compute/containers?{query}", token)
        lab.holds("AUT-003", answer.status == 200, "200 by the header, whatever the query is", answer)
    answer = lab.ask("GET", f"/compute/containers?access_token={token.token}")
    lab.refused("AUT-003", answer, Code.UNAUTHENTICATED)


@check("AUT-004", "AUT-002", needs=(Need.SESSION,))
def scheme(lab: Lab) -> None:
    """The scheme in other cases, other schemes, and none."""
    text = lab.shared_token({MINE: EVERYTHING}).token
    for name in ("bearer", "BEARER", "bEARER"):
        headers = {"Authorization": f"{name} {text}"}
        answer = lab.ask("GET", "/compute/containers", headers=headers)
        lab.holds("AUT-004", answer.status == 200, f"200 with the scheme {name}", answer)
        socket = lab.socket("/compute/ws", headers=headers)
        lab.holds("AUT-004", socket.is_open, f"101 with the scheme {name}", socket.answer)
    for start in ("", "Basic ", "Token ", "Bearer:", "Bearer", "Bearerx ", "Digest "):
        answer = lab.ask("GET", "/compute/containers", headers={"Authorization": f"{start}{text}"})
        lab.refused("AUT-002", answer, Code.UNAUTHENTICATED)
    answer = lab.ask("GET", "/compute/containers", headers={"X-Authorization": f"Bearer {text}"})
    lab.refused("AUT-002", answer, Code.UNAUTHENTICATED)


# --- with more or less right


def _rights(lab: Lab, row: Row) -> None:
    id_, place = _id(SCOPED[row.name]), _things(lab, row)
    path, before, scope = place.path(row), effect(lab, row, place), scope_for(row, place)
    weak = [{other: EVERYTHING} for other in (*beside(row, place), *below(row, place))]
    weak += [{covering: without(row)} for covering in (scope, *above(row))]
    for scopes in lab.each(weak):
        who = lab.shared_token(scopes)
        answer = ask_row(lab, row, path, who, body_of(lab, row))
        lab.refused(id_, answer, Code.FORBIDDEN)
        needed_is_named(lab, "AUT-005", answer, row, scope)
    if row.method == "GET" and isinstance(row, Endpoint):
        head = lab.ask("HEAD", path, lab.shared_token(weak[0]))
        lab.holds("AUT-007", head.status == 403, "403 to HEAD as well", head)
    after = effect(lab, row, place)
    lab.holds("AUT-006", after == before, f"what there was: {before}", after)
    action = [str(row.action)]
    for covering in above(row):
        # what only the last one may use up is not there for these
        answer = ask_row(lab, row, _spare(row, place).path(row), lab.shared_token({covering: action}), {})
        expected = _EARLY.get(row.name, _SUCCESS.get(row.name, (200,)))
        lab.holds(
            id_, answer.status in expected, f"{_short(expected)} with {row.action} on {covering}", answer
        )
    answer = ask_row(lab, row, path, lab.shared_token({scope: action}), body_of(lab, row))
    expected = _SUCCESS.get(row.name, (200,))
    lab.holds(id_, answer.status in expected, f"{_short(expected)} with {row.action} on {row.scope}", answer)


_EARLY = {
    "containers.create": (400,),
    "containers.delete": (404,),
    "ssh_keys.add": (400,),
    "ssh_keys.delete": (404,),
    "ssh_access.set": (400,),
    "ingress.add": (400,),
    "ingress.remove": (404,),
    "mounts.set": (400,),
}
"""How a request is answered that has the right and nothing else."""

_SUCCESS = {"events": (101,), "terminal": (101, 409, 400)}
"""How one is that has all, where that is not 200; a terminal may find the container not running."""


def _spare(row: Row, place: Place) -> Place:
    match row.name:
        case "containers.delete" | "ssh_keys.delete":
            return Place()
        case "ingress.remove":
            return Place(container=place.container, port=8999)
        case _:
            return place


def _short(statuses: tuple[int, ...]) -> str:
    return " or ".join(map(str, statuses))


def _rights_check(row: Row) -> None:
    def trial(lab: Lab) -> None:
        _rights(lab, row)

    trial.__name__ = f"rights_to_{row.name.replace('.', '_')}"
    trial.__doc__ = f"{_place(row)} with every kind of right."
    head = ("AUT-007",) if row.method == "GET" and isinstance(row, Endpoint) else ()
    check(_id(SCOPED[row.name]), "AUT-005", "AUT-006", *head, needs=(Need.SESSION,))(trial)


for _row in ROWS:
    if _row.scope is not None:
        _rights_check(_row)


def _sessions_only(lab: Lab, row: Row) -> None:
    id_, place = _id(FOR_SESSIONS[row.name]), _things(lab, row)
    path, before = place.path(row), effect(lab, row, place)
    for scopes in ({MINE: EVERYTHING}, {f"{MINE}.keys": ["read"]}):
        who = lab.shared_token(scopes)
        answer = ask_row(lab, row, path, who, body_of(lab, row))
        lab.refused(id_, answer, Code.FORBIDDEN)
        session = lab.get("/api/session", who)
        lab.holds(id_, session.status == 200, "a token that is good as before", session)
    after = effect(lab, row, place)
    lab.holds("AUT-006", after == before, f"what there was: {before}", after)


def _sessions_only_check(row: Row) -> None:
    def trial(lab: Lab) -> None:
        _sessions_only(lab, row)

    trial.__name__ = f"sessions_only_{row.name.replace('.', '_')}"
    trial.__doc__ = f"{_place(row)} with API tokens."
    check(_id(FOR_SESSIONS[row.name]), "AUT-006", needs=(Need.SESSION,))(trial)


for _row in ROWS:
    if _row.auth is Auth.SESSION:
        _sessions_only_check(_row)


@check("AUT-008", needs=(Need.SESSION,))
def websockets_by_query(lab: Lab) -> None:
    """Both WebSockets with tokens in the query: enough, too little, none."""
    id_ = lab.container()
    path = f"/compute/containers/{id_}/terminal"
    feed = lab.socket("/compute/ws", lab.shared_token({MINE: ["read"]}), in_query=True)
    lab.holds("AUT-008", feed.is_open, "101", feed.answer)
    terminal = lab.socket(path, lab.shared_token({f"{MINE}.containers.{id_}": ["update"]}), in_query=True)
    allowed = terminal.answer.status in _SUCCESS["terminal"]
    lab.holds("AUT-008", allowed, _short(_SUCCESS["terminal"]), terminal.answer)
    weak = lab.shared_token({f"{MINE}.keys": EVERYTHING})
    for each in ("/compute/ws", path):
        lab.refused("AUT-008", lab.socket(each, weak, in_query=True).answer, Code.FORBIDDEN)
        for query in ("token=", "token=x", "token=ecloud_x", f"Token={weak.token}"):
            lab.refused("AUT-008", lab.socket(f"{each}?{query}").answer, Code.UNAUTHENTICATED)


@check("AUT-009", needs=(Need.SESSION,))
def grants_add_up(lab: Lab) -> None:
    """A token that reads all containers, changes one, and deletes keys."""
    lab.make_room(1)
    one, other = lab.container(), lab.new_container()
    token = lab.token(
        {f"{MINE}.containers": ["read"], f"{MINE}.containers.{one}": ["update"], f"{MINE}.keys": ["delete"]}
    )
    for path in ("/compute/containers", f"/compute/containers/{one}", f"/compute/containers/{other}"):
        answer = lab.get(path, token)
        lab.holds("AUT-009", answer.status == 200, "200", answer)
    enabled = lab.get(f"/compute/containers/{one}/ssh", token).body
    answer = lab.put(f"/compute/containers/{one}/ssh", enabled, token)
    lab.holds("AUT-009", answer.status == 200, "200", answer)
    lab.refused("AUT-009", lab.put(f"/compute/containers/{other}/ssh", enabled, token), Code.FORBIDDEN)
    lab.refused("AUT-009", lab.delete(f"/compute/containers/{one}", token), Code.FORBIDDEN)
    lab.refused("AUT-009", lab.get("/compute/ssh-keys", token), Code.FORBIDDEN)
    answer = lab.delete(f"/compute/ssh-keys/{lab.new_key()}", token)
    lab.holds("AUT-009", answer.status == 200, "200", answer)


@check("AUT-011", needs=(Need.IDENTITY,))
def login_is_open(lab: Lab) -> None:
    """A login that says nothing, by nobody, with a bad credential, and with a good one."""
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic eDp5"}):
        answer = lab.ask("POST", "/api/login", None, {}, headers=headers)
        lab.refused("AUT-011", answer, Code.INVALID_REQUEST)
    lab.refused("AUT-011", lab.post("/api/login", {}), Code.INVALID_REQUEST)


@check("AUT-012", needs=(Need.SESSION, Need.IDENTITY))
def any_credential_knows_its_user(lab: Lab) -> None:
    """A session, and tokens with much and little right."""
    for who in (
        lab.first,
        lab.shared_token({MINE: EVERYTHING}),
        lab.shared_token({f"{MINE}.keys.none": ["read"]}),
    ):
        answer = lab.get("/api/session", who)
        lab.holds("AUT-012", answer.status == 200, "200", answer)
        user_id = answer.body.get("user_id")
        lab.holds("AUT-012", user_id == lab.first.user_id, f"the user id {lab.first.user_id}", answer)
