"""Every kind of credential for a row, and what the contract's rules say about each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import frozen

from ecompute.contract.endpoint import Auth, Channel, path_parameters
from ecompute.contract.scopes import SERVICES, Action
from tests.server.http.peers import Row

ALL = tuple(Action)
MINE, THEIRS = "compute.<uid>", "compute.<other uid>"

Scopes = Mapping[str, tuple[Action, ...]]


@frozen
class Credential:
    """A credential to be made: whose it is and what it is good for. One without scopes is a session."""

    name: str
    kind: str = "valid"
    scopes: Scopes | None = None
    mine: bool = True


NOBODY = (
    Credential("none", "none"),
    Credential("malformed", "malformed"),
    Credential("damaged token", "damaged", {MINE: ALL}),
    Credential("damaged session", "damaged"),
    Credential("session signed by somebody else", "forged"),
    Credential("session signed by nobody", "unsigned"),
    Credential("expired token", "expired", {MINE: ALL}),
    Credential("expired session", "expired"),
    Credential("revoked token", "revoked", {MINE: ALL}),
    Credential("revoked session", "revoked"),
)
SOMEBODY = (
    Credential("session"),
    Credential("token with everything", scopes={MINE: ALL}),
    Credential("another's token with everything", scopes={THEIRS: ALL}, mine=False),
    Credential("another's session", mine=False),
    Credential("token for another's things", scopes={THEIRS: ALL}),
)


def credentials(row: Row) -> Iterator[Credential]:
    """Every kind of credential for one row."""
    yield from NOBODY
    yield from SOMEBODY
    if row.scope is None or row.action is None:
        return
    yield Credential("exact scope", scopes={row.scope: (row.action,)})
    for parent in above(row.scope):
        yield Credential(f"parent {parent}", scopes={parent: (row.action,)})
    for sibling in beside(row.scope):
        yield Credential(f"sibling {sibling}", scopes={sibling: ALL})
    for child in below(row.scope):
        yield Credential(f"child {child}", scopes={child: ALL})
    others = tuple(action for action in ALL if action is not row.action)
    yield Credential("wrong action", scopes={row.scope: others})
    yield Credential("wrong action above", scopes={MINE: others})


def above(scope: str) -> Iterator[str]:
    parts = scope.split(".")
    for length in range(2, len(parts)):
        yield ".".join(parts[:length])


def beside(scope: str) -> Iterator[str]:
    _, _, *rest = scope.split(".")
    if rest:
        yield from (f"{MINE}.{resource}" for resource in sorted(SERVICES["compute"] - {rest[0]}))
    if len(rest) == 2:
        yield f"{MINE}.{rest[0]}.<other id>"
        yield from (f"{MINE}.{resource}.<id>" for resource in sorted(SERVICES["compute"] - {rest[0]}))


def below(scope: str) -> Iterator[str]:
    _, _, *rest = scope.split(".")
    if not rest:
        yield from (f"{MINE}.{resource}" for resource in sorted(SERVICES["compute"]))
    if len(rest) == 1:
        yield f"{MINE}.{rest[0]}.<id>"


def needed_scope(row: Row, credential: Credential) -> str:
    assert row.scope is not None
    return row.scope if credential.mine else row.scope.replace(MINE, THEIRS)


def allows(row: Row, credential: Credential) -> bool:
    """A grant covers its own scope and everything below it; a session has every right of its user."""
    if row.scope is None or credential.scopes is None:
        return True
    needed = needed_scope(row, credential)
    return any(
        row.action in actions and (needed == held or needed.startswith(f"{held}."))
        for held, actions in credential.scopes.items()
    )


def expected(row: Row, credential: Credential) -> int:
    """The status that the contract gives a valid request for something of the first user's."""
    success = 101 if isinstance(row, Channel) else 200
    if row.auth is Auth.NONE:
        return success
    if credential.kind != "valid":
        return 401
    if (row.auth is Auth.SESSION and credential.scopes is not None) or not allows(row, credential):
        return 403
    return success if credential.mine or not path_parameters(row.path) else 404
