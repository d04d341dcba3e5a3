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

    A session may do everything with its user's things; a token has `grants`. `credential_id` is the token's
    id or the session's `jti`, and no secret. `expires_at` is in epoch seconds, 0 for never.
    """

    user_id: str
    username: str
    kind: CredentialKind
    credential_id: str
    grants: Grants = field(repr=False)
    expires_at: float = 0


@frozen
class Needed:
    """What a refused caller lacked."""

    scope: str
    action: str


def needs_session(caller: Caller, auth: Auth) -> bool:
    """Whether a row is only for sessions, and this caller has none."""
    return auth is Auth.SESSION and caller.kind is not CredentialKind.SESSION


def missing(caller: Caller, *, scope: str | None, action: Action | None, id: str | None) -> Needed | None:
    """The scope and action of a row that `caller` lacks, or None if it may go on.

    Scopes are those of the caller's own user: another user's container is looked for under the caller's own
    scope and not found there, which is the same answer as for one that does not exist.
    """
    if caller.kind is CredentialKind.SESSION or scope is None or action is None:
        return None
    needed = Scope.fill(scope, user_id=caller.user_id, id=id)
    return None if caller.grants.allows(needed, action) else Needed(str(needed), action)
