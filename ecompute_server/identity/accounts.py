"""Making accounts and logging in."""

from __future__ import annotations

import string

from ecompute_server.store.interface import User, UserStore

from .ids import random_id
from .passwords import hash_password, verify_password

_USERNAME = frozenset(string.ascii_letters + string.digits + "._-@+")
MAX_PASSWORD_BYTES = 1024


class AccountError(ValueError):
    """A name or password cannot be used; `str()` is one sentence."""


def new_user(username: str, password: str, *, now: float, is_admin: bool = False) -> User:
    """An account that can be stored. Hashes the password, which takes about 0.2 s.

    Raises:
        AccountError: the name or the password breaks a rule.
    """
    return account(username, hash_new_password(password), now=now, is_admin=is_admin)


def account(username: str, password_hash: str, *, now: float, is_admin: bool = False) -> User:
    """An account with a ready hash; an empty hash fits no password."""
    if not 1 <= len(username) <= 64 or not set(username) <= _USERNAME:
        raise AccountError("A user name has 1 to 64 letters, digits or the characters . _ - @ +.")
    id_ = "u" + random_id(11)
    return User(
        id=id_,
        username=username,
        display_name=username,
        password_hash=password_hash,
        is_admin=is_admin,
        created_at=int(now),
    )


def hash_new_password(password: str) -> str:
    """Check and hash a password that somebody chose.

    Raises:
        AccountError: it is empty or longer than `MAX_PASSWORD_BYTES`.
    """
    if not password or len(password.encode("utf-8", "surrogatepass")) > MAX_PASSWORD_BYTES:
        raise AccountError(f"A password has 1 to {MAX_PASSWORD_BYTES} bytes.")
    return hash_password(password)


async def log_in(users: UserStore, username: str, password: str) -> User | None:
    """The account, if name and password fit. An unknown name takes as long as a wrong password."""
    user = users.by_name(username)
    if len(password.encode("utf-8", "surrogatepass")) > MAX_PASSWORD_BYTES:
        user, password = None, ""
    fits = await verify_password(user.password_hash if user else None, password)
    return user if fits else None
