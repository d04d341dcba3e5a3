"""`token` and `rotate-keys`: credentials. Both work while a server runs on the same state."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from typing import Annotated

import attrs
from cyclopts import App, Parameter

from ecompute.contract.catalog import TOKEN_EXPIRIES
from ecompute.contract.rules import Bounds, Broken, token_name
from ecompute.contract.scopes import Scope, ScopeError
from ecompute_server.identity.credentials import SESSION_SECONDS, expiry
from ecompute_server.identity.keyring import Keyring
from ecompute_server.people import people_of
from ecompute_server.settings import MAX_LIMIT
from ecompute_server.state import StateDirectory
from ecompute_server.store.credentials import SqliteSessions, SqliteTokens

from .common import CommandError, Json, SettingsFile, State, open_file, settings_of
from .people import find

token = App(name="token", help="API tokens.")


@token.command
def create(
    *,
    user: Annotated[str, Parameter(help="Name of the user whom the token speaks for.")],
    scope: Annotated[
        list[str] | None,
        Parameter(
            negative="", help="SCOPE=ACTION,… to grant; <uid> stands for the user's id. Default: everything."
        ),
    ] = None,
    expires: Annotated[str, Parameter(help="30d, 90d, 365d or never.")] = "never",
    name: Annotated[str, Parameter(help="A name to know the token by.")] = "made by the operator",
    state: State = None,
    settings: SettingsFile = None,
) -> None:
    """Make an API token and print it. It is shown this once only."""
    chosen = settings_of(state, settings)
    if expires not in TOKEN_EXPIRIES:
        raise CommandError(f"--expires must be one of: {', '.join(TOKEN_EXPIRIES)}.")
    try:
        name = token_name(name, Bounds())
    except Broken as broken:
        raise CommandError(f"--name {broken}.") from None
    with open_file(chosen) as file:
        _, found = find(file, user)
        now = time.time()
        until = expiry(expires, now)
        credentials = people_of(file, Keyring.load(StateDirectory(chosen.state).secret)).credentials
        scopes = _scopes(scope, found.id)
        minting = credentials.mint_token(found.id, name, scopes, now=now, expires_at=until, limit=MAX_LIMIT)
        text, _ = asyncio.run(minting)
    print(text)


@token.command(name="list")
def list_tokens(
    *,
    user: Annotated[str, Parameter(help="Name of the user whose tokens to list.")],
    json_: Json = False,
    state: State = None,
    settings: SettingsFile = None,
) -> None:
    """List the API tokens of a user, newest first; the tokens themselves are kept nowhere."""
    with open_file(settings_of(state, settings)) as file:
        _, found = find(file, user)
        tokens = SqliteTokens(file).of_user(found.id)
    if json_:
        print(json.dumps([attrs.asdict(one, recurse=False) for one in tokens], indent=2))
        return
    for one in tokens:
        scopes = " ".join(f"{scope}={','.join(actions)}" for scope, actions in one.scopes.items())
        times = f"expires {_day(one.expires_at)}  used {_day(one.last_used_at)}"
        print(f"{one.id}  {one.name}  {times}  {scopes}")


def _day(moment: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(moment)) if moment else "never"


@token.command
def revoke(
    id: Annotated[str, Parameter(help="Id of the token, as `token list` tells it.")],
    /,
    *,
    user: Annotated[str, Parameter(help="Name of the user whose token it is.")],
    state: State = None,
    settings: SettingsFile = None,
) -> None:
    """Revoke an API token: refused from now on, and what it holds open is closed."""
    with open_file(settings_of(state, settings)) as file:
        _, found = find(file, user)
        if not asyncio.run(SqliteTokens(file).remove(found.id, id)):
            raise CommandError(f"{user} has no token with this id.")


def rotate_keys(
    *,
    end_sessions: Annotated[
        bool, Parameter(negative="", help="Also end all sessions, as after a leak; tokens are not touched.")
    ] = False,
    state: State = None,
    settings: SettingsFile = None,
) -> None:
    """Sign session tokens with a new key from now on. Those of the old one stay valid until they expire."""
    with open_file(settings_of(state, settings)) as file:
        now = int(time.time())
        keep_since = now + 1 if end_sessions else now - SESSION_SECONDS
        asyncio.run(SqliteSessions(file).rotate(secrets.token_hex(8), now=now, keep_since=keep_since))


def _scopes(given: list[str] | None, user_id: str) -> dict[str, list[str]]:
    if not given:
        return {f"compute.{user_id}": ["create", "read", "update", "delete"]}
    scopes: dict[str, list[str]] = {}
    for text in given:
        name, equals, actions = text.replace("<uid>", user_id).partition("=")
        if not equals:
            raise CommandError("A scope is given as SCOPE=ACTION,ACTION.")
        if Scope.parse(name).user_id != user_id:
            raise ScopeError("A token can only have scopes of its own user.")
        scopes.setdefault(name, []).extend(actions.split(","))
    return scopes
