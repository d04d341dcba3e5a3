"""Bearer credentials: session tokens (JWT, RFC 7519) and API tokens (opaque, kept as a hash)."""

from __future__ import annotations

import hashlib
import secrets
import string
import zlib
from collections.abc import Callable, Mapping, Sequence

import jwt

from ecompute.contract.catalog import TOKEN_EXPIRIES
from ecompute.contract.scopes import Grants
from ecompute_server.core.access import Caller, CredentialKind
from ecompute_server.store.interface import SessionStore, TokenRecord, TokenStore, User, UserStore

from .ids import random_id
from .keyring import Keyring

SESSION_SECONDS = 24 * 3600
_DAY_SECONDS = 24 * 3600
TOKEN_PREFIX = "ecloud_"
_ALGORITHM = "HS256"
_ALPHABET = string.digits + string.ascii_letters
_SECRET_LENGTH = 40  # 238 bits
_CHECKSUM_LENGTH = 6
_EVERYTHING = Grants({})
_MOST_REMEMBERED = 4096


class Credentials:
    """Makes and checks the credentials of one installation. Times are epoch seconds.

    What was found valid is remembered until `revocations`, a count of all that can make a credential
    worthless, goes up.
    """

    def __init__(
        self,
        keyring: Keyring,
        *,
        users: UserStore,
        tokens: TokenStore,
        sessions: SessionStore,
        revocations: Callable[[], int],
    ) -> None:
        self._keyring = keyring
        self._users = users
        self._tokens = tokens
        self._sessions = sessions
        self._revocations = revocations
        self._seen = revocations()
        self._listeners: list[Callable[[], None]] = []
        # by a hash of the credential, so that no credential stays in memory for longer than its request
        self._valid: dict[bytes, Caller] = {}
        self._used: dict[str, int] = {}

    def mint_session(self, user: User, now: float) -> str:
        """A session token for this user, good for a day."""
        key_id = self._sessions.signing_keys()[0].id
        claims = {
            "sub": user.id,
            # with its fraction, and not before the others were ended, wherever the clock has gone since: a
            # session begun right after that is valid
            "iat": max(round(now, 3), user.sessions_since),
            "exp": int(now) + SESSION_SECONDS,
            "jti": secrets.token_hex(16),
        }
        key = self._keyring.session_key(key_id)
        return jwt.encode(claims, key, algorithm=_ALGORITHM, headers={"kid": key_id})

    async def mint_token(
        self,
        user_id: str,
        name: str,
        scopes: Mapping[str, Sequence[str]],
        *,
        now: float,
        expires_at: int,
        limit: int,
    ) -> tuple[str, TokenRecord]:
        """A new API token: its text, which is kept nowhere, and its record.

        Raises:
            LimitReached: the user has `limit` tokens.
        """
        text = make_token()
        record = TokenRecord(
            id=random_id(12),
            user_id=user_id,
            name=name,
            scopes=Grants(scopes).to_dict(),
            created_at=int(now),
            expires_at=expires_at,
        )
        await self._tokens.add(record, secret_hash=_hash(text).hex(), limit=limit)
        return text, record

    async def end_session(self, caller: Caller, now: float) -> None:
        """Make a session's token worthless at once."""
        await self._sessions.end(caller.credential_id, expires_at=int(caller.expires_at), now=int(now))
        self.tell_revoked()

    async def revoke_token(self, user_id: str, token_id: str) -> bool:
        """Make an API token worthless at once; False when the user has no such token."""
        found = await self._tokens.remove(user_id, token_id)
        self.tell_revoked()
        return found

    def tokens_of(self, user_id: str) -> Sequence[TokenRecord]:
        """A user's API tokens, newest first."""
        return self._tokens.of_user(user_id)

    def on_revoked(self, listener: Callable[[], None]) -> None:
        """Call this whenever a credential may have become worthless: whoever relies on one checks again."""
        self._listeners.append(listener)

    def tell_revoked(self) -> None:
        """Call the listeners."""
        for listener in self._listeners:
            listener()

    def check(self, credential: str, now: float) -> Caller | None:
        """Who this credential belongs to; None when it is malformed, unknown, expired, revoked, or its user
        is gone.
        """
        revocations = self._revocations()
        if revocations != self._seen or len(self._valid) >= _MOST_REMEMBERED:
            self._valid.clear()
            self._seen = revocations
        digest = _hash(credential)
        caller = self._valid.get(digest)
        if caller is None:
            is_token = credential.startswith(TOKEN_PREFIX)
            caller = self._find_token(credential) if is_token else self._read_session(credential)
            if caller is None:
                return None
            self._valid[digest] = caller
        if caller.expires_at and caller.expires_at <= now:
            return None
        if caller.kind is CredentialKind.TOKEN:
            self._used[caller.credential_id] = int(now)
        return caller

    def last_used_at(self, token: TokenRecord) -> int:
        """When a token was last used, also when that is not stored yet; 0 for never."""
        return max(token.last_used_at, self._used.get(token.id, 0))

    async def store_uses(self) -> None:
        """Store when tokens were last used. To be called now and then: a write for each request would be
        too much.
        """
        used, self._used = self._used, {}
        if not used:
            return
        try:
            await self._tokens.used(used)
        except BaseException:
            self._used = {**used, **self._used}
            raise

    def _find_token(self, text: str) -> Caller | None:
        secret = text.removeprefix(TOKEN_PREFIX)
        if checksum(secret[:-_CHECKSUM_LENGTH]) != secret[-_CHECKSUM_LENGTH:]:
            return None
        token = self._tokens.by_hash(_hash(text).hex())
        user = self._users.by_id(token.user_id) if token else None
        if token is None or user is None:
            return None
        kind, grants = CredentialKind.TOKEN, Grants(token.scopes)
        return Caller(user.id, user.username, kind, token.id, grants, token.expires_at)

    def _read_session(self, text: str) -> Caller | None:
        try:
            key_id = jwt.get_unverified_header(text).get("kid")
            if not any(key.id == key_id for key in self._sessions.signing_keys()):
                return None
            claims = jwt.decode(
                text,
                self._keyring.session_key(str(key_id)),
                algorithms=[_ALGORITHM],
                # our clock decides, so that a test can hold it
                options={"require": ["sub", "iat", "exp", "jti"], "verify_exp": False, "verify_iat": False},
            )
        except jwt.InvalidTokenError:
            return None
        user = self._users.by_id(claims["sub"])
        if user is None or claims["iat"] < user.sessions_since or self._sessions.is_ended(claims["jti"]):
            return None
        kind = CredentialKind.SESSION
        return Caller(user.id, user.username, kind, claims["jti"], _EVERYTHING, claims["exp"])


def expiry(choice: str, now: float) -> int:
    """When a token of one of the contract's lifetimes expires, in epoch seconds; 0 for never."""
    days = TOKEN_EXPIRIES[choice]
    return int(now) + days * _DAY_SECONDS if days else 0


def make_token() -> str:
    """A new API token: recognisable by its prefix, its last six characters a checksum for secret scanners."""
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_LENGTH))
    return TOKEN_PREFIX + secret + checksum(secret)


def checksum(secret: str) -> str:
    """CRC-32 of the secret in base 62, six digits."""
    value = zlib.crc32(secret.encode())
    digits = ""
    for _ in range(_CHECKSUM_LENGTH):
        value, digit = divmod(value, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits


def _hash(text: str) -> bytes:
    # found by its hash, so comparing takes no time that depends on the secret
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()
