"""`user`: accounts. Works while a server runs on the same state."""

from __future__ import annotations

import asyncio
import getpass
import json
import sys
import time
from typing import Annotated

import attrs
from cyclopts import App, Parameter

from ecompute_server.identity.accounts import hash_new_password, new_user
from ecompute_server.settings import MAX_LIMIT
from ecompute_server.store.database import SqliteFile
from ecompute_server.store.interface import Duplicate, User
from ecompute_server.store.people import SqliteUsers

from .common import CommandError, Json, SettingsFile, State, open_file, settings_of

user = App(name="user", help="Accounts.")

Name = Annotated[str, Parameter(help="User name.")]
PasswordStdin = Annotated[
    bool, Parameter(negative="", help="Read the password from standard input, one line, instead of asking.")
]


@user.command
def add(
    name: Name,
    /,
    *,
    password_stdin: PasswordStdin = False,
    admin: Annotated[bool, Parameter(negative="", help="Make an administrator.")] = False,
    state: State = None,
    settings: SettingsFile = None,
) -> None:
    """Add a user and print the user id."""
    with open_file(settings_of(state, settings), new=True) as file:
        made = new_user(name, _password(password_stdin), now=time.time(), is_admin=admin)
        try:
            asyncio.run(SqliteUsers(file).add(made))
        except Duplicate:
            raise CommandError(f"There is a user named {name} already.") from None
    print(made.id)


@user.command(name="list")
def list_(*, json_: Json = False, state: State = None, settings: SettingsFile = None) -> None:
    """List the users."""
    with open_file(settings_of(state, settings)) as file:
        users = SqliteUsers(file).list()
    if json_:
        hidden = attrs.filters.exclude("password_hash")
        print(json.dumps([attrs.asdict(one, filter=hidden) for one in users], indent=2))
        return
    for one in users:
        print(f"{one.id}  {one.username}{'  (admin)' if one.is_admin else ''}")


@user.command
def remove(name: Name, /, *, state: State = None, settings: SettingsFile = None) -> None:
    """Remove a user with all keys and tokens; refused while the user has containers."""
    with open_file(settings_of(state, settings)) as file:
        users, found = find(file, name)
        if count := asyncio.run(users.remove(found.id)):
            things = "1 container" if count == 1 else f"{count} containers"
            raise CommandError(
                f"{name} still has {things}; delete them first (`ecompute-server token create --user {name}`"
                " makes a token that may)."
            )


@user.command
def passwd(
    name: Name,
    /,
    *,
    password_stdin: PasswordStdin = False,
    state: State = None,
    settings: SettingsFile = None,
) -> None:
    """Give a user a new password, and end the sessions that the old one opened."""
    with open_file(settings_of(state, settings)) as file:
        users, found = find(file, name)
        hashed = hash_new_password(_password(password_stdin))
        asyncio.run(users.update(found.id, password_hash=hashed, sessions_since=time.time()))


@user.command
def limits(
    name: Name,
    /,
    *,
    max_containers: Annotated[int | None, Parameter(help="Containers that this user may have.")] = None,
    max_ssh_keys: Annotated[int | None, Parameter(help="SSH keys that this user may have.")] = None,
    default: Annotated[bool, Parameter(negative="", help="Go back to the server's limits first.")] = False,
    state: State = None,
    settings: SettingsFile = None,
) -> None:
    """Set limits of one user that differ from the server's, and print those in force."""
    chosen = settings_of(state, settings)
    with open_file(chosen) as file:
        users, found = find(file, name)
        own = (None, None) if default else (found.max_containers, found.max_ssh_keys)
        containers = own[0] if max_containers is None else max_containers
        keys = own[1] if max_ssh_keys is None else max_ssh_keys
        if not all(0 <= (limit or 0) <= MAX_LIMIT for limit in (containers, keys)):
            raise CommandError(f"A limit must be from 0 to {MAX_LIMIT}.")
        asyncio.run(users.update(found.id, max_containers=containers, max_ssh_keys=keys))
    print(f"containers {_told(containers, chosen.max_containers_per_user)}")
    print(f"ssh-keys {_told(keys, chosen.max_ssh_keys_per_user)}")


def find(file: SqliteFile, name: str) -> tuple[SqliteUsers, User]:
    """The accounts, and the one of this name.

    Raises:
        CommandError: there is none.
    """
    users = SqliteUsers(file)
    found = users.by_name(name)
    if found is None:
        raise CommandError(f"There is no user named {name}.")
    return users, found


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    if not sys.stdin.isatty():
        raise CommandError("There is no terminal to ask for the password; use --password-stdin.")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        raise CommandError("The two passwords differ.")
    return password


def _told(own: int | None, default: int) -> str:
    return f"{default} (the server's)" if own is None else str(own)
