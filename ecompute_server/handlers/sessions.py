"""Logging in, and who a credential belongs to."""

from __future__ import annotations

from ecompute.contract import requests as ask
from ecompute.contract.problems import Code
from ecompute.contract.resources import Session
from ecompute_server.core.refusal import Refusal
from ecompute_server.identity.accounts import log_in as find_account
from ecompute_server.store.interface import User

from .call import Call


async def log_in(call: Call[ask.LogIn]) -> Session:
    services = call.services
    user = await find_account(services.users, call.request.username, call.request.password)
    if user is None:
        raise Refusal(Code.UNAUTHENTICATED, "The user name or the password is wrong.")
    return _present(user, services.credentials.mint_session(user, services.clock()))


async def get(call: Call[ask.GetSession]) -> Session:
    user = call.services.users.by_id(call.caller.user_id)
    if user is None:
        raise Refusal(Code.UNAUTHENTICATED, "The credential is not valid any more.")
    return _present(user, None)


def _present(user: User, token: str | None) -> Session:
    return Session(
        user_id=user.id,
        username=user.username,
        display_name=user.display_name,
        is_admin=user.is_admin,
        token=token,
    )
