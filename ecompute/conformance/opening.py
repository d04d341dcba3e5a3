"""The first look at a server: whether it can be tested at all, and as whom."""

from __future__ import annotations

import base64
import json
from typing import Any

from ecompute.contract.problems import Code

from . import dialect
from .credential import Credential, Tenant
from .lab import Lab
from .target import Target
from .things import LISTS, listed_in
from .verdict import CannotTest, Lost
from .wire import Answer, Wire

API_TOKEN = "ecloud_"

_RIGHTS: tuple[tuple[str, str, Any], ...] = (
    ("POST", "/compute/containers", {}),
    ("POST", "/compute/ssh-keys", {}),
    ("PUT", "/compute/containers/zzzzzzzz/ssh", {}),
    ("DELETE", "/compute/ssh-keys/0", None),
)
"""Requests that need each of the rights."""


def open_lab(target: Target) -> Lab:
    """A laboratory at a server that answers.

    Raises:
        CannotTest: it does not, is no server of this API, or does not take the tokens.
    """
    if target.fault is not None:
        raise CannotTest(target.fault)
    spoken = dialect.load(target.dialect)
    wire = Wire(target)
    try:
        tenants = [_tenant(wire, "first", target.token)]
        if target.second_token is not None:
            tenants.append(_tenant(wire, "second", target.second_token))
            if target.second_token == target.token or _same(*tenants):
                raise CannotTest("Both tokens are of the same user: the second one must be of another user.")
        lab = Lab(target, wire, spoken, tuple(tenants))
        try:
            for tenant in tenants:
                _spare(lab, tenant)
        except BaseException:
            lab.remove(lab.things.again())
            raise
    except Lost as error:
        wire.close()
        raise CannotTest(str(error)) from None
    except BaseException:
        wire.close()
        raise
    return lab


def _spare(lab: Lab, tenant: Tenant) -> None:
    """Note what the tenant has already, and see that it may do what checks do.

    Raises:
        Lost: there was no answer.
        CannotTest: it may not.
    """
    token = tenant.credential.token
    for path, name in LISTS.items():
        listed = lab.wire.send("GET", path, token=token).body.get(name)
        lab.things.spare(path, (id_ for id_, _ in listed_in(listed)))
    if tenant.is_session:
        return
    # none of these changes anything: rights count before the body, and nothing has these ids
    for method, path, body in _RIGHTS:
        answer = lab.ask(method, path, tenant, body)
        if answer.status == 403 and answer.code == Code.FORBIDDEN:
            raise _few_rights(tenant.symbol, f"do {method} {path}")


def _few_rights(symbol: str, what: str) -> CannotTest:
    return CannotTest(
        f"{_whose(symbol)} may not {what}: the kit needs one that may do everything, best a session's."
    )


def _whose(symbol: str) -> str:
    return "The token" if symbol == "first" else "The second token"


def _tenant(wire: Wire, symbol: str, token: str) -> Tenant:
    listed = wire.send("GET", "/compute/containers", token=token)
    _check(wire.target.shown, listed, symbol)
    credential = Credential(symbol, token, symbol)
    session = wire.send("GET", "/api/session", token=token)
    tokens = wire.send("GET", "/api/tokens", token=token)
    told = session.body.get("user_id") if session.status == 200 else _subject(token)
    user_id = told if isinstance(told, str) else None
    return Tenant(credential, user_id, tokens.status == 200 and not token.startswith(API_TOKEN))


def _check(url: str, answer: Answer, symbol: str) -> None:
    if answer.status == 401:
        raise CannotTest(
            f"{_whose(symbol)} is not taken by {url}: it is expired, revoked, or of another server."
        )
    if answer.status == 403:
        raise _few_rights(symbol, "list containers")
    if answer.status == 200 and isinstance(answer.body.get("containers"), list):
        return
    if 300 <= answer.status < 400:
        place = answer.headers.get("location", "somewhere else")
        raise CannotTest(f"{url} sends on to {place[:200]}: give the URL of the API itself.")
    kind = answer.headers.get("content-type", "no content type").partition(";")[0][:200]
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
    except (ValueError, RecursionError):
        return None
    return claims.get("sub") if isinstance(claims, dict) else None


def _same(one: Tenant, other: Tenant) -> bool:
    return one.user_id is not None and one.user_id == other.user_id
