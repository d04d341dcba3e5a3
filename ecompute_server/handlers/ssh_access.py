"""SSH from outside: get and set."""

from __future__ import annotations

from ecompute.contract import requests as ask
from ecompute.contract.resources import SSHAccess
from ecompute_server.core import edits

from .call import Call
from .editing import edit


async def get(call: Call[ask.GetSSHAccess]) -> SSHAccess:
    return SSHAccess(call.container.ssh_enabled)


async def set_(call: Call[ask.SetSSHAccess]) -> SSHAccess:
    edited = await edit(call, lambda record: edits.set_ssh_access(record, call.request.ssh_enabled))
    return SSHAccess(edited.record.ssh_enabled)
