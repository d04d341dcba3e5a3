"""Accounts and credentials of one state directory, for the server and for the operator's commands."""

from __future__ import annotations

from attrs import frozen

from .identity.credentials import Credentials
from .identity.keyring import Keyring
from .store.credentials import Revocations, SqliteSessions, SqliteTokens
from .store.database import SqliteFile
from .store.people import SqliteUsers


@frozen
class People:
    """Who may do what here."""

    users: SqliteUsers
    tokens: SqliteTokens
    sessions: SqliteSessions
    credentials: Credentials


def people_of(file: SqliteFile, keyring: Keyring) -> People:
    """Reads and writes the file each time, so that several processes can have it open."""
    users, tokens, sessions = SqliteUsers(file), SqliteTokens(file), SqliteSessions(file)
    credentials = Credentials(
        keyring, users=users, tokens=tokens, sessions=sessions, revocations=Revocations(file)
    )
    return People(users, tokens, sessions, credentials)
