"""The users of a server in tests, and the event loop that it lives on."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from .identity.accounts import account, new_user
from .identity.credentials import Credentials
from .settings import MAX_LIMIT
from .store.interface import Duplicate, User, UserStore

T = TypeVar("T")


class OtherUser:
    """A further user of a running server: `user_id` and a session `token`."""

    def __init__(self, user_id: str, token: str) -> None:
        self.user_id = user_id
        self.token = token


class Population:
    """Accounts and credentials of a running server, written past its API; all on one event loop."""

    def __init__(self, users: UserStore, credentials: Credentials, loop: LoopThread) -> None:
        self._users = users
        self._credentials = credentials
        self._loop = loop

    def first(self, name: str) -> tuple[User, str]:
        """The user of that name, made if need be, and a session."""

        async def find() -> tuple[User, str]:
            user = self._users.by_name(name)
            if user is None:
                user = account(name, "", now=time.time())
                await self._users.add(user)
            return user, self._credentials.mint_session(user, time.time())

        return self._loop.call(find())

    def add(self, name: str, password: str | None) -> tuple[User, str]:
        """A new user, and a session."""
        # no hash is made where no password is asked for: one takes longer than everything else here
        now = time.time()
        user = account(name, "", now=now) if password is None else new_user(name, password, now=now)

        async def add() -> str:
            await self._users.add(user)
            return self._credentials.mint_session(user, now)

        try:
            return user, self._loop.call(add())
        except Duplicate:
            raise ValueError(f"there is a user named {name} already") from None

    def token(self, user_id: str, scopes: Mapping[str, Sequence[str]], expires_in: float | None) -> str:
        now = time.time()
        expires_at = 0 if expires_in is None else int(now + expires_in)
        minting = self._credentials.mint_token(
            user_id, "test", scopes, now=now, expires_at=expires_at, limit=MAX_LIMIT
        )
        return self._loop.call(minting)[0]


class LoopThread:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ecompute-server", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine over there and wait for it."""
        return self.submit(work).result()

    def submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine over there."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
