"""SSH public keys: list, add, delete."""

from __future__ import annotations

from datetime import UTC, datetime

from ecompute.contract import requests as ask
from ecompute.contract.problems import Code
from ecompute.contract.public_key import PublicKey
from ecompute.contract.resources import Acknowledgement, SSHKey, SSHKeyList
from ecompute_server.core.refusal import Refusal, not_found
from ecompute_server.store.interface import Duplicate, KeyRecord, LimitReached

from .call import Call


async def list_(call: Call[ask.ListSSHKeys]) -> SSHKeyList:
    return SSHKeyList(tuple(_present(key) for key in call.services.keys.of_user(call.caller.user_id)))


async def add(call: Call[ask.AddSSHKey]) -> SSHKey:
    services = call.services
    user = services.users.by_id(call.caller.user_id)
    own = user.max_ssh_keys if user else None
    limit = services.max_ssh_keys_per_user if own is None else own
    try:
        key = await services.keys.add(
            user_id=call.caller.user_id,
            name=call.request.name,
            public_key=call.request.public_key,
            fingerprint=PublicKey.parse(call.request.public_key).fingerprint,
            created_at=int(services.clock()),
            limit=limit,
            receipt=call.receipt(_present),
        )
    except Duplicate:
        raise Refusal(Code.CONFLICT, "You have registered this SSH key already.") from None
    except LimitReached:
        message = f"You have {limit} SSH keys already, which is the limit."
        raise Refusal(Code.LIMIT_REACHED, message) from None
    return _present(key)


async def delete(call: Call[ask.DeleteSSHKey]) -> Acknowledgement:
    if not await call.services.keys.remove(call.caller.user_id, call.request.id):
        raise not_found("SSH key")
    return Acknowledgement("ok")


def _present(key: KeyRecord) -> SSHKey:
    return SSHKey(
        id=key.id,
        name=key.name,
        public_key=key.public_key,
        created_at=datetime.fromtimestamp(key.created_at, UTC),
    )
