"""Logging in and out, and who a credential belongs to."""

from __future__ import annotations

from ecompute.contract import requests as ask
from ecompute.contract.problems import Code
from ecompute.contract.resources import Acknowledgement, Session
from ecompute_server.core.refusal import Refusal
from ecompute_server.identity.accounts import log_in as find_account
from ecompute_server.identity.throttle import TooManyTries, address_key
from ecompute_server.logs import note
from ecompute_server.store.interface import User

from .call import Call


async def log_in(call: Call[ask.LogIn]) -> Session:
    services, username = call.services, call.request.username
    keys = f"user {username[:100]}", f"address {address_key(call.address)}"
    try:
        async with services.throttle.attempt(*keys) as failed:
            user = await find_account(services.users, username, call.request.password)
            if user is None:
                failed()
    except TooManyTries as error:
        headers = {"Retry-After": str(error.seconds)}
        raise Refusal(Code.RATE_LIMITED, "There were too many tries to log in.", headers=headers) from None
    if user is None:
        raise Refusal(Code.UNAUTHENTICATED, "The user name or the password is wrong.")
    note(user=user.id)
    return _present(user, services.credentials.mint_session(user, services.clock()))


async def log_out(call: Call[ask.LogOut]) -> Acknowledgement:
    await call.services.credentials.end_session(call.caller, call.services.clock())
    return Acknowledgement("ok")


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
