"""Containers: list, create, get, delete, start, stop."""

from __future__ import annotations

import asyncio

from ecompute.contract import requests as ask
from ecompute.contract.problems import Code, Fault
from ecompute.contract.resources import Acknowledgement, Container
from ecompute_server.core import edits
from ecompute_server.core.edits import Edited
from ecompute_server.core.lifecycle import Command
from ecompute_server.core.record import ContainerRecord
from ecompute_server.core.refusal import Refusal, invalid, unavailable
from ecompute_server.gateway.interface import GatewayError
from ecompute_server.identity.ids import random_id
from ecompute_server.logs import note
from ecompute_server.store.interface import Duplicate, LimitReached

from .call import Call, Services, Written
from .editing import edit

_ID_LENGTH = 8


async def list_(call: Call[ask.ListContainers]) -> Written:
    services = call.services
    records = services.containers.of_user(call.caller.user_id)
    return Written(b'{"containers":[%s]}' % b",".join(map(services.view.json, records)))


async def create(call: Call[ask.CreateContainer]) -> Container:
    services = call.services
    lines = _authorized_keys(call)
    limit = _container_limit(call)
    if len(services.containers.of_user(call.caller.user_id)) >= limit:
        raise _too_many(limit)
    while True:
        record = _new_record(call, lines)
        try:
            services.admit(record.type)
            receipt = call.receipt(services.view.container)
            await services.containers.create(record, limit=limit, receipt=receipt)
        except Duplicate:
            # 36^8 ids make this next to impossible; the address stays taken, since somebody has it
            continue
        except LimitReached:
            services.addresses.give_back(record.external_ip)
            raise _too_many(limit) from None
        except asyncio.CancelledError:
            # the write goes on without its caller, and may well succeed
            raise
        except BaseException:
            services.addresses.give_back(record.external_ip)
            raise
        note(container=record.id)
        return services.view.container(record)


async def get(call: Call[ask.GetContainer]) -> Written:
    return Written(call.services.view.json(call.container))


async def delete(call: Call[ask.DeleteContainer]) -> Acknowledgement:
    await _command(call, Command.DELETE)
    return Acknowledgement("ok")


async def start(call: Call[ask.StartContainer]) -> Container:
    call.services.admit(call.container.type)
    return await _command(call, Command.START)


async def stop(call: Call[ask.StopContainer]) -> Container:
    return await _command(call, Command.STOP)


async def _command(
    call: Call[ask.DeleteContainer] | Call[ask.StartContainer] | Call[ask.StopContainer], order: Command
) -> Container:
    # an answer that is kept is made on the writer's thread
    view = call.services.view.as_of_now(call.container.id)

    def present(edited: Edited[None]) -> Container:
        return view.container(edited.record)

    return present(await edit(call, lambda record: edits.command(record, order), present))


def _authorized_keys(call: Call[ask.CreateContainer]) -> tuple[str, ...]:
    mine = {key.id: key.public_key for key in call.services.keys.of_user(call.caller.user_id)}
    wanted = call.request.ssh_key_ids
    faults = tuple(
        Fault(f"ssh_key_ids[{index}]", "is no SSH key of yours")
        for index, key_id in enumerate(wanted)
        if key_id not in mine
    )
    if faults:
        raise invalid(faults)
    return tuple(mine[key_id] for key_id in wanted)


def _container_limit(call: Call[ask.CreateContainer]) -> int:
    user = call.services.users.by_id(call.caller.user_id)
    own = user.max_containers if user else None
    return call.services.max_containers_per_user if own is None else own


def _too_many(limit: int) -> Refusal:
    return Refusal(Code.LIMIT_REACHED, f"You have {limit} containers already, which is the limit.")


def _address(services: Services) -> str:
    try:
        return services.addresses.take()
    except GatewayError as error:
        raise unavailable("There is no address left for another container.") from error


def _new_record(call: Call[ask.CreateContainer], lines: tuple[str, ...]) -> ContainerRecord:
    request, services = call.request, call.services
    id_ = random_id(_ID_LENGTH)
    assert request.instance_type is not None
    assert request.memory_mb is not None
    assert request.storage_gb is not None
    assert request.mount_paths is not None
    return ContainerRecord(
        id=id_,
        user_id=call.caller.user_id,
        name=request.name,
        instance_type=request.instance_type,
        memory_mb=request.memory_mb,
        storage_gb=request.storage_gb,
        mount_paths=request.mount_paths,
        ssh_enabled=bool(request.ssh_enabled),
        authorized_keys=lines,
        created_at=int(services.clock()),
        external_ip=_address(services),
        ssh_host_key=services.keyring.host_key(id_).public,
        image=services.default_image,
    )
