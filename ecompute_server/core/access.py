"""Who may do what: decided from a table row and a credential, before any handler."""

from __future__ import annotations

from enum import StrEnum

from attrs import field, frozen

from ecompute.contract.endpoint import Auth
from ecompute.contract.scopes import Action, Grants, Scope


class CredentialKind(StrEnum):
    """How a caller has shown who it is."""

    SESSION = "session"
    TOKEN = "token"


@frozen
class Caller:
    """A caller whose credential was found valid.

    A session may do everything with its user's things; a token has `grants`. `credential_id` names the
    credential for revocation and is no secret.
    """

    user_id: str
    username: str
    kind: CredentialKind
    credential_id: str
    grants: Grants = field(repr=False)


@frozen
class Needed:
    """What a refused caller lacked: the scope and action, or a session where only one will do."""

    scope: str
    action: str


def missing(
    caller: Caller, *, auth: Auth, scope: str | None, action: Action | None, id: str | None = None
) -> Needed | None:
    """What `caller` lacks for a row, or None if it may go on.

    Scopes are those of the caller's own user: another user's container is looked for under the caller's own
    scope and not found there, which is the same answer as for one that does not exist.
    """
    if caller.kind is CredentialKind.SESSION:
        return None
    if auth is Auth.SESSION:
        return Needed("session", "")
    if scope is None or action is None:
        return None
    needed = Scope.fill(scope, user_id=caller.user_id, id=id)
    return None if caller.grants.allows(needed, action) else Needed(str(needed), action)
