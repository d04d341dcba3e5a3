"""Bearer credentials: session tokens (JWT, RFC 7519) and API tokens (opaque, kept as a hash)."""

from __future__ import annotations

import hashlib
import secrets
import string
import zlib
from collections.abc import Mapping, Sequence

import jwt

from ecompute.contract.scopes import Grants
from ecompute_server.core.access import Caller, CredentialKind
from ecompute_server.store.interface import TokenRecord, TokenStore, User, UserStore

from .keyring import Keyring

SESSION_SECONDS = 24 * 3600
TOKEN_PREFIX = "ecloud_"
_KEY_ID = "1"
_ALPHABET = string.digits + string.ascii_letters
_SECRET_LENGTH = 40  # 238 bits
_EVERYTHING = Grants({})


class Credentials:
    """Makes and checks the credentials of one installation. Times are epoch seconds."""

    def __init__(self, keyring: Keyring, users: UserStore, tokens: TokenStore) -> None:
        self._session_key = keyring.session_key(_KEY_ID)
        self._users = users
        self._tokens = tokens

    def mint_session(self, user: User, now: float) -> str:
        """A session token for this user, good for a day."""
        claims = {
            "sub": user.id,
            "iat": int(now),
            "exp": int(now) + SESSION_SECONDS,
            "jti": secrets.token_hex(16),
        }
        return jwt.encode(claims, self._session_key, algorithm="HS256", headers={"kid": _KEY_ID})

    async def mint_token(
        self, user: User, name: str, scopes: Mapping[str, Sequence[str]], now: float, expires_at: int
    ) -> tuple[str, TokenRecord]:
        """A new API token: its text, which is kept nowhere, and its record."""
        text = make_token()
        record = TokenRecord(
            id=0,
            user_id=user.id,
            name=name,
            scopes=Grants(scopes).to_dict(),
            created_at=int(now),
            expires_at=expires_at,
        )
        return text, await self._tokens.add(record, secret_hash=_hash(text))

    def check(self, credential: str, now: float) -> Caller | None:
        """Who this credential belongs to; None when it is malformed, unknown, expired or its user is gone."""
        if credential.startswith(TOKEN_PREFIX):
            return self._check_token(credential, now)
        return self._check_session(credential, now)

    def _check_token(self, text: str, now: float) -> Caller | None:
        token = self._tokens.by_hash(_hash(text))
        if token is None or (token.expires_at and token.expires_at <= now):
            return None
        user = self._users.by_id(token.user_id)
        if user is None:
            return None
        grants = Grants(token.scopes)
        return Caller(user.id, user.username, CredentialKind.TOKEN, f"token:{token.id}", grants)

    def _check_session(self, text: str, now: float) -> Caller | None:
        try:
            claims = jwt.decode(
                text,
                self._session_key,
                algorithms=["HS256"],
                # our clock decides, so that a test can hold it
                options={"require": ["sub", "exp", "jti"], "verify_exp": False, "verify_iat": False},
            )
        except jwt.InvalidTokenError:
            return None
        if claims["exp"] <= now:
            return None
        user = self._users.by_id(claims["sub"])
        if user is None:
            return None
        return Caller(user.id, user.username, CredentialKind.SESSION, f"session:{claims['jti']}", _EVERYTHING)


def make_token() -> str:
    """A new API token: recognisable by its prefix, its last six characters a checksum for secret scanners."""
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_LENGTH))
    return TOKEN_PREFIX + secret + checksum(secret)


def checksum(secret: str) -> str:
    """CRC-32 of the secret in base 62, six digits."""
    value = zlib.crc32(secret.encode())
    digits = ""
    for _ in range(6):
        value, digit = divmod(value, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits


def _hash(text: str) -> str:
    # found by its hash, so comparing takes no time that depends on the secret
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
