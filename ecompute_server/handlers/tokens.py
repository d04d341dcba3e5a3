"""API tokens: list, create, delete. Only sessions come here."""

from __future__ import annotations

from ecompute.contract import requests as ask
from ecompute.contract.catalog import MAX_TOKENS_PER_USER
from ecompute.contract.problems import Code, Fault
from ecompute.contract.resources import Acknowledgement, Token, TokenList
from ecompute.contract.scopes import Scope
from ecompute_server.core.refusal import Refusal, invalid, not_found
from ecompute_server.identity.credentials import expiry
from ecompute_server.store.interface import LimitReached, TokenRecord

from .call import Call


async def list_(call: Call[ask.ListTokens]) -> TokenList:
    tokens = call.services.credentials.tokens_of(call.caller.user_id)
    return TokenList(tuple(_present(call, token, None) for token in tokens))


async def create(call: Call[ask.CreateToken]) -> Token:
    services, request = call.services, call.request
    # the maker is a session, which has all rights of its user and none of another's
    if any(Scope.parse(scope).user_id != call.caller.user_id for scope in request.scopes):
        raise invalid((Fault("scopes", "must be scopes of your own user"),))
    now = services.clock()
    try:
        text, record = await services.credentials.mint_token(
            call.caller.user_id,
            request.name,
            request.scopes,
            now=now,
            expires_at=expiry(request.expires_in, now),
            limit=MAX_TOKENS_PER_USER,
        )
    except LimitReached:
        message = f"You have {MAX_TOKENS_PER_USER} API tokens already, which is the limit."
        raise Refusal(Code.LIMIT_REACHED, message) from None
    return _present(call, record, text)


async def delete(call: Call[ask.DeleteToken]) -> Acknowledgement:
    if not await call.services.credentials.revoke_token(call.caller.user_id, call.request.id):
        raise not_found("API token")
    return Acknowledgement("ok")


def _present(
    call: Call[ask.ListTokens] | Call[ask.CreateToken], record: TokenRecord, text: str | None
) -> Token:
    return Token(
        id=record.id,
        name=record.name,
        scopes={scope: tuple(actions) for scope, actions in record.scopes.items()},
        expires_at=record.expires_at,
        created_at=record.created_at,
        last_used_at=call.services.credentials.last_used_at(record),
        token=text,
    )
