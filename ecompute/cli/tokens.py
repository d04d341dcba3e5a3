"""`tokens`: API tokens. Only a session manages them."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from ecompute.contract.catalog import TOKEN_EXPIRIES
from ecompute.contract.resources import Token
from ecompute.contract.scopes import Action
from ecompute.errors import one_line

from .asking import confirm, each, listed
from .candidates import token_names
from .common import Connection, Json, Yes, open_client
from .exits import CommandError
from .names import chosen
from .output import print_json, print_table, say, to_json

tokens: App = App(name="tokens", help="API tokens.", help_format="plaintext")

_EVERYTHING = "compute.<uid>"


@tokens.command
def ls(*, json_: Json = False, connection: Connection | None = None) -> None:
    """List the API tokens, newest first; the tokens themselves are told by nobody."""
    from ecompute.cells import columns

    with open_client(connection) as client:
        found = client.tokens.list()
    if json_:
        print_json(to_json(found))
    else:
        print_table(*columns(found))


@tokens.command
def create(
    name: Annotated[str, Parameter(help="A name to know the token by.")],
    /,
    *,
    scope: Annotated[
        list[str] | None,
        Parameter(
            negative="",
            help="SCOPE=ACTION,… to grant, such as compute.<uid>.containers=read,create; <uid> stands for "
            "your user id. May be repeated.",
        ),
    ] = None,
    everything: Annotated[bool, Parameter(negative="", help="Grant everything instead.")] = False,
    expires: Annotated[str, Parameter(help=f"{', '.join(TOKEN_EXPIRIES)} (default: 30d).")] = "30d",
    json_: Json = False,
    connection: Connection | None = None,
) -> None:
    """Make an API token and print it. It is told this once only."""
    if bool(scope) == everything:
        raise CommandError("Say what the token may do: --scope SCOPE=ACTION,ACTION, or --everything.")
    with open_client(connection) as client:
        made = client.tokens.create(
            name, _granted(scope or [f"{_EVERYTHING}={','.join(Action)}"]), expires_in=expires
        )
    if json_:
        print_json(to_json(made))
    else:
        print(made.token)
        say(f"This is {told(made)}, told this once: keep it where only you can read it.")


@tokens.command
def rm(
    *which: Annotated[
        str, Parameter(name="TOKEN", help="Ids or names of the tokens.", completer=token_names)
    ],
    yes: Yes = False,
    connection: Connection | None = None,
) -> int:
    """Revoke API tokens at once; what they have opened is closed."""
    if not which:
        raise CommandError("Name at least one token.")
    with open_client(connection) as client:
        there = client.tokens.list()
        found = [*{one.id: one for one in (chosen(text, there, "token") for text in which)}.values()]
        confirm(f"Revoke {listed([told(one) for one in found])}?", yes=yes)

        def delete(one: Token) -> None:
            client.tokens.delete(one)
            print(f"{told(one)} is revoked.", flush=True)

        return each(found, delete)


def told(token: Token) -> str:
    """A token in a sentence, which is not the token itself."""
    return one_line(f"{token.name} (id {token.id})")


def _granted(scopes: list[str]) -> dict[str, list[str]]:
    granted: dict[str, list[str]] = {}
    for text in scopes:
        scope, equals, actions = text.partition("=")
        if not equals:
            raise CommandError("A scope is given as SCOPE=ACTION,ACTION.")
        granted.setdefault(scope, []).extend(actions.split(","))
    return granted
