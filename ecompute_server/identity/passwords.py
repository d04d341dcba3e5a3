"""Passwords: argon2id, slow on purpose, so never on the event loop."""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

_hasher = PasswordHasher()


def hash_password(password: str) -> str:
    """The hash to store, with its parameters in it. Takes about 0.2 s."""
    return _hasher.hash(password)


async def verify_password(password_hash: str | None, password: str) -> bool:
    """Whether the password fits. Takes the same time when there is no hash to compare with (unknown user)."""
    return await asyncio.get_running_loop().run_in_executor(_threads(), _verify, password_hash, password)


def prepare() -> None:
    """Make ready in the background what the first unknown user would have to wait for."""
    _threads().submit(_nobody)


def _verify(password_hash: str | None, password: str) -> bool:
    try:
        fits = _hasher.verify(password_hash or _nobody(), password)
    except (Argon2Error, InvalidHashError):
        return False
    return fits and bool(password_hash)


@cache
def _threads() -> ThreadPoolExecutor:
    # each hash takes 64 MB for as long as it is made, so only few may be made at once
    return ThreadPoolExecutor(max_workers=2, thread_name_prefix="password")


@cache
def _nobody() -> str:
    return _hasher.hash(secrets.token_hex(32))
