"""Mount paths: get and set."""

from __future__ import annotations

from ecompute.contract import requests as ask
from ecompute.contract.resources import Mounts
from ecompute_server.core import edits

from .call import Call
from .editing import edit


async def get(call: Call[ask.GetMounts]) -> Mounts:
    return Mounts(call.container.mount_paths)


async def set_(call: Call[ask.SetMounts]) -> Mounts:
    edited = await edit(call, lambda record: edits.set_mounts(record, call.request.mount_paths))
    return Mounts(edited.record.mount_paths, edited.result)
