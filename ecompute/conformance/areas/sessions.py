"""Sessions: who a credential belongs to, refused logins, the end of a session."""

from __future__ import annotations

import secrets
import time
from typing import Any

from ecompute.conformance.check import Need, check
from ecompute.conformance.lab import Lab
from ecompute.conformance.reading import faults_told
from ecompute.conformance.requirement import Area, ours, should
from ecompute.conformance.verdict import NotThere
from ecompute.conformance.wire import Answer
from ecompute.contract.problems import PROBLEMS, Code

SESSION, LOGIN, LOGOUT = "/api/session", "/api/login", "/api/logout"
NOTES = "contract notes: credentials and scopes"

AREA = Area(
    "sessions",
    "SES",
    "Sessions",
    (
        should(1, "A credential's user is told: id, name, display name, whether an administrator.", NOTES),
        should(2, "An API token is told the same user as a session.", NOTES),
        should(3, "Asking who one is gives no token.", NOTES),
        should(4, "Without a valid credential nobody is told.", NOTES),
        should(5, "A wrong password, and a user who is not there, are unauthenticated.", NOTES),
        should(6, "A login without user name or password, or with no texts there, is refused.", NOTES),
        should(7, "Unknown users and wrong passwords are answered alike.", NOTES),
        ours(8, "They take the same time.", NOTES),
        ours(9, "After ten failures in a minute a login is refused, and told how long to wait.", NOTES),
        should(10, "Only a session can be ended; an API token is forbidden to.", NOTES),
        should(11, "Nobody can end a session without a credential.", NOTES),
        should(12, "A session that has ended is not taken any more.", NOTES),
        should(13, "Two users are told apart.", NOTES),
        should(14, "A faulty login names every faulty field.", "contract notes: answers"),
    ),
)

_KNOWN = {"user_id": str, "username": str, "display_name": str, "is_admin": bool}
_TRIES = 10
_MINUTE = 60


@check("SES-001", "SES-003", "SES-004", needs=(Need.IDENTITY,))
def who_am_i(lab: Lab) -> None:
    """The user of the given credential, and of none."""
    answer = lab.get(SESSION)
    lab.holds("SES-001", answer.status == 200, "200", answer)
    wrong = [name for name, type_ in _KNOWN.items() if type(answer.body.get(name)) is not type_]
    lab.holds("SES-001", not wrong, f"the fields {', '.join(_KNOWN)}", answer)
    lab.holds("SES-001", answer.body["user_id"] and answer.body["username"], "an id and a name", answer)
    again = lab.get(SESSION)
    lab.holds("SES-001", again.body == answer.body, "the same each time", again)
    secret = {"token", "password", "password_hash"} & answer.body.keys()
    lab.holds("SES-003", not secret, "no token", sorted(secret))
    shown = lab.first.credential.token.encode() in answer.content
    lab.holds("SES-003", not shown, "an answer without the token", "the token")
    for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic YTpi"}):
        lab.refused("SES-004", lab.ask("GET", SESSION, headers=headers), Code.UNAUTHENTICATED)
    token = lab.first.credential.token
    cut = lab.ask("GET", SESSION, headers={"Authorization": f"Bearer {token[:-8]}"})
    lab.refused("SES-004", cut, Code.UNAUTHENTICATED)


@check("SES-002", needs=(Need.IDENTITY, Need.SESSION))
def by_token(lab: Lab) -> None:
    """The user of an API token that may do next to nothing."""
    session = lab.get(SESSION).body
    for scopes in ({"compute.<uid>.keys": ["read"]}, {"compute.<uid>": ["read", "update"]}):
        answer = lab.get(SESSION, lab.token(scopes))
        lab.holds("SES-002", answer.status == 200, "200", answer)
        lab.holds("SES-002", answer.body == session, f"{session}", answer)


@check("SES-013", needs=(Need.IDENTITY, Need.SECOND_TENANT))
def two_users(lab: Lab) -> None:
    """The users of two credentials."""
    one, other = lab.get(SESSION).body, lab.get(SESSION, lab.second).body
    for name in ("user_id", "username"):
        lab.holds("SES-013", one[name] != other[name], f"another {name}", (one, other))


@check("SES-006", "SES-014", needs=(Need.IDENTITY,))
def malformed(lab: Lab) -> None:
    """Logins without what they need."""
    both, name, password = {"username", "password"}, {"username"}, {"password"}
    cases: tuple[tuple[Any, set[str]], ...] = (
        ({}, both),
        ({"username": "a"}, password),
        ({"password": "a"}, name),
        ({"username": None, "password": "a"}, name),
        ({"username": 1, "password": True}, both),
        ({"username": ["a"], "password": {"a": "b"}}, both),
    )
    for body, faulty in cases:
        answer = lab.ask("POST", LOGIN, body=body)
        lab.refused("SES-006", answer, Code.INVALID_REQUEST)
        lab.holds("SES-014", faults_told(answer) == faulty, f"the faulty fields {sorted(faulty)}", answer)
    for content in (b"", b"[]", b"null", b'"a"', b"{"):
        lab.refused("SES-006", lab.ask("POST", LOGIN, content=content), Code.INVALID_REQUEST)


def _fails(lab: Lab, username: str) -> tuple[Answer, float]:
    """A login with a password that is nobody's, and how long it took.

    Raises:
        NotThere: there were too many tries already.
    """
    body = {"username": username, "password": secrets.token_hex(16)}
    started = time.monotonic()
    answer = lab.ask("POST", LOGIN, body=body)
    if answer.status == PROBLEMS[Code.RATE_LIMITED].status:
        raise NotThere("There were too many tries to log in within a minute.")
    return answer, time.monotonic() - started


@check("SES-005", needs=(Need.IDENTITY,))
def wrong_password(lab: Lab) -> None:
    """A login as the user who tests, with a wrong password."""
    answer, _ = _fails(lab, str(lab.get(SESSION).body["username"]))
    lab.holds("SES-005", "token" not in answer.body, "no token", answer)
    lab.refused("SES-005", answer, Code.UNAUTHENTICATED)


@check("SES-005", "SES-007", "SES-008", needs=(Need.IDENTITY,), standard=True)
def unknown_users(lab: Lab) -> None:
    """Logins of a user who is there and of one who is not."""
    there, absent = str(lab.get(SESSION).body["username"]), f"{lab.prefix}-nobody"
    tries = [(_fails(lab, there), _fails(lab, absent)) for _ in range(2)]
    (known, _), (unknown, _) = tries[0]
    lab.refused("SES-005", unknown, Code.UNAUTHENTICATED)
    same = (known.status, known.content) == (unknown.status, unknown.content)
    lab.holds("SES-007", same, f"{known}", unknown)
    names = [name for name, _ in known.all_headers]
    same = names == [name for name, _ in unknown.all_headers]
    lab.holds("SES-007", same, f"the headers {names}", unknown.all_headers)
    # the quicker of two, since a computer may be busy; a password's check takes many times what is left out
    slow, quick = (min(pair[which][1] for pair in tries) for which in (0, 1))
    lab.holds(
        "SES-008", quick > slow / 10, f"about {slow:.3f} s as for a user who is there", f"{quick:.3f} s"
    )


@check("SES-010", "SES-011", "SES-012", needs=(Need.IDENTITY,))
def ends(lab: Lab) -> None:
    """Who may not end a session, and that it goes on."""
    lab.refused("SES-011", lab.ask("POST", LOGOUT), Code.UNAUTHENTICATED)
    nonsense = {"Authorization": "Bearer nonsense"}
    lab.refused("SES-011", lab.ask("POST", LOGOUT, headers=nonsense), Code.UNAUTHENTICATED)
    lab.undecided(
        "SES-012", "It would end the session of the run, and the kit knows no password for another."
    )
    lab.need(Need.SESSION)
    token = lab.token({"compute.<uid>": ["create", "delete", "read", "update"]})
    lab.refused("SES-010", lab.post(LOGOUT, None, token), Code.FORBIDDEN)
    for who in (token, lab.first):
        answer = lab.get("/compute/containers", who)
        lab.holds("SES-010", answer.status == 200, "200 to both credentials still", answer)


@check("SES-009", needs=(Need.IDENTITY,), standard=True)
def too_many_tries(lab: Lab) -> None:
    """Failed logins of a user who is not there, one after another."""
    username, started = f"{lab.prefix}-nobody", time.monotonic()
    for _ in range(_TRIES):
        body = {"username": username, "password": secrets.token_hex(16)}
        answer = lab.ask("POST", LOGIN, body=body)
        if answer.status != PROBLEMS[Code.UNAUTHENTICATED].status:
            # other failures from the same address may have come before
            break
    else:
        answer = lab.ask("POST", LOGIN, body={"username": username, "password": "x"})
    if time.monotonic() - started > _MINUTE / 2:
        raise NotThere("Ten tries to log in take too long here.")
    lab.refused("SES-009", answer, Code.RATE_LIMITED)
    wait = answer.headers.get("retry-after", "")
    right = wait.isdigit() and 1 <= int(wait) <= _MINUTE
    lab.holds("SES-009", right, "Retry-After with the seconds of a minute that are left", answer.headers)
    answer = lab.get("/compute/containers")
    lab.holds("SES-009", answer.status == 200, "200 to a credential all the same", answer)
