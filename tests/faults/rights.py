"""Mistakes in who may do what: credentials, scopes, tenants, tokens, sessions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from ecompute.contract.endpoint import Auth
from ecompute.contract.scopes import Action

from .fault import fault, handler, row, wrap


def _unchecked(name: str) -> None:
    from ecompute_server.http import app, gate

    old = gate.authorise

    def authorise(services: Any, asked: Any, connection: Any) -> Any:
        return old(services, attrs.evolve(asked, scope=None) if asked.name == name else asked, connection)

    app.authorise = authorise  # type: ignore[attr-defined]


@fault("AUT-101", area="authorisation")
def list_needs_no_scope() -> None:
    """Any token may list the containers."""
    _unchecked("containers.list")


@fault("AUT-102", area="authorisation")
def create_needs_no_scope() -> None:
    """Any token may create containers."""
    _unchecked("containers.create")


@fault("AUT-104", area="authorisation")
def delete_needs_no_scope() -> None:
    """Any token may delete containers."""
    _unchecked("containers.delete")


@fault("AUT-106", area="authorisation")
def stop_needs_no_scope() -> None:
    """Any token may stop containers."""
    _unchecked("containers.stop")


@fault("AUT-112", area="authorisation")
def ingress_list_needs_no_scope() -> None:
    """Any token may list ingress rules."""
    _unchecked("ingress.list")


@fault("AUT-116", area="authorisation")
def mounts_set_needs_no_scope() -> None:
    """Any token may change mount paths."""
    _unchecked("mounts.set")


@fault("AUT-109", area="authorisation")
def key_delete_needs_no_scope() -> None:
    """Any token may delete SSH keys."""
    _unchecked("ssh_keys.delete")


@fault("AUT-117", area="authorisation")
def feed_needs_no_scope() -> None:
    """Any token may open the events feed."""
    _unchecked("events")


@fault("AUT-118", area="authorisation")
def terminal_needs_no_scope() -> None:
    """Any token may open a terminal."""
    _unchecked("terminal")


@fault("AUT-005", area="authorisation")
def ssh_access_by_read() -> None:
    """Changing SSH access needs `read` instead of `update`."""
    row("ssh_access.set", action=Action.READ)


@fault("AUT-005", area="authorisation")
def start_by_create() -> None:
    """Starting needs `create` instead of `update`."""
    row("containers.start", action=Action.CREATE)


@fault("AUT-005", area="authorisation")
def ingress_by_all_containers_only() -> None:
    """Adding a rule needs a grant on all containers; one on the container itself is not enough."""
    row("ingress.add", scope="compute.<uid>.containers")


@fault("AUT-101", area="authorisation")
def scope_covers_its_parent() -> None:
    """A grant on one container counts for all of them."""
    from ecompute.contract.scopes import Grants, Scope

    def allows(old: Any, self: Any, scope: Any, action: Any) -> Any:
        target = scope if isinstance(scope, Scope) else Scope.parse(scope)
        return old(self, target, action) or any(
            str(held).startswith(f"{target}.") and action in actions
            for held, actions in self.by_scope.items()
        )

    wrap(Grants, "allows", allows)


@fault("AUT-103", area="authorisation")
def grant_on_any_container_is_enough() -> None:
    """A grant on one container counts for another one."""
    from ecompute.contract.scopes import Grants, Scope

    def allows(old: Any, self: Any, scope: Any, action: Any) -> Any:
        target = scope if isinstance(scope, Scope) else Scope.parse(scope)
        return old(self, target, action) or any(
            (held.user_id, held.resource) == (target.user_id, target.resource)
            and held.id
            and target.id
            and action in actions
            for held, actions in self.by_scope.items()
        )

    wrap(Grants, "allows", allows)


@fault("AUT-101", area="authorisation")
def resource_not_compared() -> None:
    """A grant on the keys counts for containers as well."""
    from ecompute.contract.scopes import Grants, Scope

    def allows(old: Any, self: Any, scope: Any, action: Any) -> Any:
        target = scope if isinstance(scope, Scope) else Scope.parse(scope)
        return old(self, target, action) or any(
            held.user_id == target.user_id and held.resource and not held.id and action in actions
            for held, actions in self.by_scope.items()
        )

    wrap(Grants, "allows", allows)


@fault("AUT-001", area="authorisation")
def unauthenticated_without_challenge() -> None:
    """A 401 comes without `WWW-Authenticate`."""
    from ecompute_server.http import responses

    def error(old: Any, refusal: Any) -> Any:
        answer = old(refusal)
        if answer.status_code == 401:
            del answer.headers["www-authenticate"]
        return answer

    wrap(responses, "error", error)


@fault("AUT-003", area="authorisation")
def token_in_the_query_counts() -> None:
    """`?token=` is taken on ordinary requests as well."""
    from ecompute_server.http import gate

    wrap(gate, "bearer", lambda old, connection, *, query_allowed: old(connection, query_allowed=True))


@fault("AUT-004", area="authorisation")
def scheme_in_its_own_case() -> None:
    """`bearer` in small letters is no credential."""
    from ecompute_server.http import gate

    def bearer(old: Any, connection: Any, *, query_allowed: bool) -> Any:
        given = connection.headers.get("authorization", "")
        return None if given.startswith("bearer ") else old(connection, query_allowed=query_allowed)

    wrap(gate, "bearer", bearer)


@fault("AUT-104", area="authorisation")
def refused_but_done() -> None:
    """A token without the scope gets its 403 after the container was deleted."""
    from ecompute_server.core.refusal import Refusal
    from ecompute_server.handlers import HANDLERS
    from ecompute_server.http import app, gate

    refused: list[Refusal] = []
    old = gate.authorise

    def authorise(services: Any, asked: Any, connection: Any) -> Any:
        refused.clear()
        try:
            return old(services, asked, connection)
        except Refusal as error:
            if asked.name != "containers.delete" or error.needed is None:
                raise
            refused.append(error)
            return old(services, attrs.evolve(asked, scope=None), connection)

    async def delete(old: Any, call: Any) -> Any:
        waiting = list(refused)
        answer = await old(call)
        if waiting:
            raise waiting[0]
        return answer

    app.authorise = authorise  # type: ignore[attr-defined]
    wrap(HANDLERS, "containers.delete", delete)


@fault("AUT-005", area="authorisation")
def needed_names_the_wrong_action() -> None:
    """The 403 names `read`, whatever was needed."""
    from ecompute_server.http import gate

    def missing(old: Any, *args: Any, **more: Any) -> Any:
        needed = old(*args, **more)
        return needed and attrs.evolve(needed, action="read")

    wrap(gate, "missing", missing)


@fault("TOK-014", area="tokens")
def revoked_token_lives_on() -> None:
    """A revoked token is taken for as long as the server remembers it as valid."""
    from ecompute_server.identity.credentials import Credentials

    async def revoke(old: Any, self: Any, user_id: str, token_id: str) -> Any:
        seen, self._revocations = self._revocations(), lambda: seen
        return await old(self, user_id, token_id)

    wrap(Credentials, "revoke_token", revoke)


@fault("TOK-015", area="tokens")
def revoked_token_keeps_its_sockets() -> None:
    """What a revoked token has open stays open."""
    from ecompute_server.http.conversations import Conversations

    wrap(Conversations, "check", lambda old, self: None)


@fault("TOK-003", area="tokens")
def token_shown_again() -> None:
    """The list of tokens has something in `token`."""
    import ecompute_server.handlers.tokens as tokens

    wrap(tokens, "_present", lambda old, call, record, text: old(call, record, text or "ecloud_hidden"))


@fault("TOK-010", area="tokens")
def token_for_anybodys_things() -> None:
    """A token may be made with scopes of another user, though they do nothing."""
    from ecompute_server.handlers import tokens

    class AnyUser:
        @staticmethod
        def parse(text: str) -> Any:
            class Parsed:
                def __init__(self) -> None:
                    self.user_id = Mine()

            class Mine:
                def __ne__(self, other: object) -> bool:
                    return False

            return Parsed()

    tokens.Scope = AnyUser  # type: ignore[assignment,misc]


@fault("AUT-120", area="tokens")
def tokens_manage_tokens() -> None:
    """An API token may list the tokens."""
    row("tokens.list", auth=Auth.ANY)


@fault("AUT-121", area="tokens")
def token_makes_tokens() -> None:
    """An API token may make another one, with more rights than its own."""
    row("tokens.create", auth=Auth.ANY)


@fault("TOK-006", area="tokens")
def thirty_days_are_hours() -> None:
    """A token for 30 days expires after 30 hours."""
    from ecompute_server.handlers import tokens

    def expiry(old: Any, expires_in: str, now: float) -> int:
        found = int(old(expires_in, now))
        return int(now) + (found - int(now)) // 24 if expires_in == "30d" else found

    wrap(tokens, "expiry", expiry)


@fault("TOK-019", area="tokens")
def token_grants_dropped() -> None:
    """Of a token's scopes only the first is kept."""
    from ecompute_server.identity.credentials import Credentials

    async def mint(old: Any, self: Any, user_id: str, name: str, scopes: Any, **more: Any) -> Any:
        return await old(self, user_id, name, dict(list(scopes.items())[:1]), **more)

    wrap(Credentials, "mint_token", mint)


@fault("TOK-006", area="tokens")
def expired_never() -> None:
    """`never` is told as a moment in a hundred years instead of 0."""
    from ecompute_server.handlers import tokens

    wrap(tokens, "expiry", lambda old, text, now: old(text, now) or int(now) + 100 * 365 * 86400)


def _of_anybody(name: str) -> None:
    """Let a row find the containers of all users."""
    from ecompute_server.http import app

    def container_of(old: Any, services: Any, asked: Any, connection: Any, caller: Any) -> Any:
        record = services.containers.get(connection.path_params.get("id", ""))
        if asked.name == name and record is not None:
            caller = attrs.evolve(caller, user_id=record.user_id)
        return old(services, asked, connection, caller)

    wrap(app, "container_of", container_of)


@fault("TEN-101", area="tenants")
def containers_of_others_found() -> None:
    """Any user's container is found by its id."""
    _of_anybody("containers.get")


@fault("TEN-110", area="tenants")
def rules_of_others_deleted() -> None:
    """Anybody may remove a rule of anybody's container."""
    _of_anybody("ingress.remove")


def _foreign(answer: Callable[[Any], Exception]) -> None:
    """Answer otherwise to who names another user's container."""
    from ecompute_server.http import app

    def container_of(old: Any, services: Any, asked: Any, connection: Any, caller: Any) -> Any:
        record = services.containers.get(connection.path_params.get("id", ""))
        if record is not None and caller is not None and record.user_id != caller.user_id:
            raise answer(asked)
        return old(services, asked, connection, caller)

    wrap(app, "container_of", container_of)


@fault("TEN-104", area="tenants")
def foreign_is_forbidden() -> None:
    """Another user's container is answered with 403 instead of 404 to a stop, which tells that it exists."""
    from ecompute.contract.problems import Code
    from ecompute_server.core.refusal import Refusal, not_found

    def answer(row: Any) -> Exception:
        if row.name != "containers.stop":
            return not_found("container")
        return Refusal(Code.FORBIDDEN, "This container is not yours.")

    _foreign(answer)


@fault("TEN-101", area="tenants")
def foreign_has_another_sentence() -> None:
    """A 404 for another user's container has another text than one for none."""
    from ecompute_server.core.refusal import not_found

    _foreign(lambda row: not_found("such container"))


@fault("TEN-105", area="tenants")
def keys_of_others_deleted() -> None:
    """Anybody may delete anybody's SSH key."""
    from ecompute_server.store.people import SqliteKeys

    async def remove(old: Any, self: Any, user_id: str, key_id: int) -> Any:
        owner = self._file.reader.conn.execute(
            "SELECT user_id FROM ssh_keys WHERE id = ?", [key_id]
        ).fetchone()
        return await old(self, owner[0] if owner else user_id, key_id)

    wrap(SqliteKeys, "remove", remove)


@fault("TEN-003", area="tenants")
def keys_of_others_used() -> None:
    """A container may be created with another user's key."""
    from ecompute_server.store.people import SqliteKeys

    def of_user(old: Any, self: Any, user_id: str) -> Any:
        import inspect

        caller = inspect.stack()[2].function
        if caller != "_authorized_keys":
            return old(self, user_id)
        rows = self._file.reader.conn.execute("SELECT DISTINCT user_id FROM ssh_keys").fetchall()
        return [key for row in rows for key in old(self, row[0])]

    wrap(SqliteKeys, "of_user", of_user)


@fault("TEN-015", area="tenants")
def events_of_others_told() -> None:
    """The feed tells the changes of all users' containers."""
    from ecompute_server.broadcast import Broadcast

    def publish(old: Any, self: Any, before: Any, after: Any) -> None:
        record = after or before
        for user_id in list(self._by_user):
            if record is not None:
                old(
                    self,
                    before and attrs.evolve(before, user_id=user_id),
                    after and attrs.evolve(after, user_id=user_id),
                )

    wrap(Broadcast, "publish", publish)


@fault("TEN-113", area="tenants")
def tokens_of_others_revoked() -> None:
    """Anybody may revoke anybody's API token."""
    from ecompute_server.store.credentials import SqliteTokens

    async def remove(old: Any, self: Any, user_id: str, token_id: str) -> Any:
        owner = self._file.reader.conn.execute(
            "SELECT user_id FROM tokens WHERE id = ?", [token_id]
        ).fetchone()
        return await old(self, owner[0] if owner else user_id, token_id)

    wrap(SqliteTokens, "remove", remove)


@fault("SES-003", area="sessions")
def session_hands_out_its_token() -> None:
    """`GET /api/session` answers with a token."""

    async def session(old: Any, call: Any) -> Any:
        return attrs.evolve(await old(call), token="a fresh one")

    handler("session", session)


@fault("SES-002", area="sessions")
def session_refuses_tokens() -> None:
    """`GET /api/session` is open to sessions only."""
    row("session", auth=Auth.SESSION)


@fault("SES-005", area="sessions")
def login_tells_unknown_users() -> None:
    """A login with an unknown user name has an answer of its own."""
    from ecompute.contract.problems import Code
    from ecompute_server.core.refusal import Refusal

    async def log_in(old: Any, call: Any) -> Any:
        if call.services.users.by_name(call.request.username) is None:
            raise Refusal(Code.NOT_FOUND, "There is no such user.")
        return await old(call)

    handler("login", log_in)
