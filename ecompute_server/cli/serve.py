"""`serve` and `down`: run the server, and end what it left running."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

from cyclopts import Parameter

from ecompute_server import assembly, logs
from ecompute_server.core.lifecycle import UP
from ecompute_server.http.app import Api
from ecompute_server.http.serving import (
    Server,
    give_memory_back,
    keep_memory_small,
    listen,
    raise_open_files_limit,
    serve_until_signal,
)
from ecompute_server.settings import Settings
from ecompute_server.state import StateDirectory

from .common import SettingsFile, State, existing_state, settings_of


def serve(
    *,
    state: State = None,
    host: Annotated[str | None, Parameter(help="Address to listen on (127.0.0.1).")] = None,
    port: Annotated[int | None, Parameter(help="Port to listen on (7780); 0 takes a free one.")] = None,
    hypervisor: Annotated[str | None, Parameter(help="libvirt (default) or simulated.")] = None,
    libvirt_uri: Annotated[
        str | None, Parameter(help="embed (default, no daemon), qemu:///system or qemu:///session.")
    ] = None,
    domain: Annotated[str | None, Parameter(help="Domain of the containers' names.")] = None,
    default_image: Annotated[str | None, Parameter(help="Image that new containers boot.")] = None,
    max_containers_per_user: Annotated[int | None, Parameter(help="Containers of one user (3).")] = None,
    max_ssh_keys_per_user: Annotated[int | None, Parameter(help="SSH keys of one user (10).")] = None,
    min_memory_mb: Annotated[int | None, Parameter(help="Smallest memory of one container.")] = None,
    max_memory_mb: Annotated[int | None, Parameter(help="Largest memory of one container.")] = None,
    max_storage_gb: Annotated[int | None, Parameter(help="Largest storage of one container.")] = None,
    allowed_origin: Annotated[
        list[str] | None, Parameter(negative="", help="Origin of web pages that may use the API; repeatable.")
    ] = None,
    outbound: Annotated[str | None, Parameter(help="Guests' way out: filtered or none.")] = None,
    port_offset: Annotated[
        int | None, Parameter(help="Added to ports on containers' addresses, where those are privileged.")
    ] = None,
    boot_deadline: Annotated[float | None, Parameter(help="Seconds in which a guest must answer.")] = None,
    stop_grace: Annotated[float | None, Parameter(help="Seconds that a guest has to power off.")] = None,
    log_level: Annotated[str | None, Parameter(help="debug, info, warning or error.")] = None,
    settings: SettingsFile = None,
) -> int:
    """Serve the API until SIGTERM or Ctrl-C. Users' machines keep running and the next serve adopts them.

    Every option is also an environment variable (ECOMPUTE_SERVER_PORT) and a key of the settings file (port).
    """
    chosen = settings_of(
        state,
        settings,
        host=host,
        port=port,
        hypervisor=hypervisor,
        libvirt_uri=libvirt_uri,
        domain=domain,
        default_image=default_image,
        max_containers_per_user=max_containers_per_user,
        max_ssh_keys_per_user=max_ssh_keys_per_user,
        min_memory_mb=min_memory_mb,
        max_memory_mb=max_memory_mb,
        max_storage_gb=max_storage_gb,
        allowed_origins=None if allowed_origin is None else tuple(allowed_origin),
        outbound=outbound,
        port_offset=port_offset,
        boot_deadline=boot_deadline,
        stop_grace=stop_grace,
        log_level=log_level,
    )
    logs.set_up(chosen.log_level)
    raise_open_files_limit()
    keep_memory_small()
    assembly.prepare_process(chosen)
    return asyncio.run(_serve(chosen))


async def _serve(settings: Settings) -> int:
    state = StateDirectory(settings.state)
    state.lock()
    try:
        listener = listen(settings.host, settings.port)
        try:
            async with assembly.open_services(settings, state) as services:
                address, port = listener.getsockname()[:2]
                host = f"[{address}]" if ":" in address else address
                give_memory_back()
                server = Server(
                    Api(services), started=lambda: print(f"ready http://{host}:{port}", flush=True)
                )
                await serve_until_signal(server, listener)
                left = sum(
                    record.life.status in UP and not record.life.deleted
                    for record in services.containers.all()
                )
        finally:
            listener.close()
    finally:
        state.unlock()
    if left:
        print(
            f"{machines(left)} left running; the next serve adopts them, and"
            f" `ecompute-server down --state {settings.state}` ends them.",
            file=sys.stderr,
        )
    return 0


def down(
    *,
    hypervisor: Annotated[str | None, Parameter(help="libvirt (default) or simulated.")] = None,
    state: State = None,
    settings: SettingsFile = None,
) -> int:
    """End the machines that a stopped server left running; their mount paths stay.

    Refused while a server runs on the state. The next serve starts the containers that were to run.
    """
    chosen = settings_of(state, settings, hypervisor=hypervisor)
    logs.set_up("error")
    existing_state(chosen)
    assembly.prepare_process(chosen)
    ended = asyncio.run(_down(chosen))
    print(f"{machines(ended)} ended" if ended else "no machine was running")
    return 0


async def _down(settings: Settings) -> int:
    state = StateDirectory(settings.state)
    state.lock()
    try:
        return await assembly.end_machines(settings, state)
    finally:
        state.unlock()


def machines(count: int) -> str:
    """A number of machines, in words."""
    return f"{count} machine" if count == 1 else f"{count} machines"
