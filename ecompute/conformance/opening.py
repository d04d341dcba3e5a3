"""The first look at a server: whether it can be tested at all, and as whom."""

from __future__ import annotations

import base64
import json

from . import dialect
from .credential import Credential, Tenant
from .lab import Lab
from .target import Target
from .verdict import CannotTest, Lost
from .wire import Answer, Wire

API_TOKEN = "ecloud_"


def open_lab(target: Target) -> Lab:
    """A laboratory at a server that answers.

    Raises:
        CannotTest: it does not, is no server of this API, or does not take the tokens.
    """
    spoken = dialect.load(target.dialect)
    if not target.token:
        raise CannotTest("There is no token to test with: give --token, or set ECOMPUTE_TOKEN.")
    wire = Wire(target)
    try:
        tenants = [_tenant(wire, "first", target.token)]
        if target.second_token is not None:
            tenants.append(_tenant(wire, "second", target.second_token))
            if target.second_token == target.token or _same(*tenants):
                raise CannotTest("Both tokens are of the same user: the second one must be of another user.")
    except BaseException:
        wire.close()
        raise
    return Lab(target, wire, spoken, tuple(tenants))


def _tenant(wire: Wire, symbol: str, token: str) -> Tenant:
    try:
        listed = wire.send("GET", "/compute/containers", token=token)
    except Lost as error:
        raise CannotTest(str(error)) from None
    _check(wire.target.url, listed, symbol)
    credential = Credential(symbol, token, symbol)
    try:
        session = wire.send("GET", "/api/session", token=token)
        tokens = wire.send("GET", "/api/tokens", token=token)
    except Lost as error:
        raise CannotTest(str(error)) from None
    told = session.body.get("user_id") if session.status == 200 else _subject(token)
    user_id = told if isinstance(told, str) else None
    return Tenant(credential, user_id, tokens.status == 200 and not token.startswith(API_TOKEN))


def _check(url: str, answer: Answer, symbol: str) -> None:
    whose = "The token" if symbol == "first" else "The second token"
    if answer.status == 401:
        raise CannotTest(f"{whose} is not taken by {url}: it is expired, revoked, or of another server.")
    if answer.status == 403:
        raise CannotTest(
            f"{whose} may not list containers: the kit needs one that may do everything, best a session's."
        )
    if answer.status == 200 and isinstance(answer.body.get("containers"), list):
        return
    if 300 <= answer.status < 400:
        place = answer.headers.get("location", "somewhere else")
        raise CannotTest(f"{url} sends on to {place[:200]}: give the URL of the API itself.")
    kind = answer.headers.get("content-type", "no content type").partition(";")[0]
    raise CannotTest(
        f"{url} is no server of the Compute API: GET /compute/containers is answered with {answer.status} "
        f"and {kind}. The URL is the one before /compute."
    )


def _subject(token: str) -> object:
    """The user id that a JWT holds (RFC 7519, 4.1.2), unverified."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return None
    return claims.get("sub") if isinstance(claims, dict) else None


def _same(one: Tenant, other: Tenant) -> bool:
    return one.user_id is not None and one.user_id == other.user_id
