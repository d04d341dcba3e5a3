"""`serve` and `down`: run the server, and end what it left running."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ecompute_server import assembly, logs, memory
from ecompute_server.core.lifecycle import UP
from ecompute_server.http.app import Api
from ecompute_server.http.serving import (
    Server,
    listen,
    raise_open_files_limit,
    serve_until_signal,
)
from ecompute_server.identity import passwords
from ecompute_server.settings import Settings, told
from ecompute_server.state import StateDirectory, StateError

from .common import CommandError, SettingsFile, State, existing_state, settings_of

_HOLDER = re.compile(r"\(process (\d+)\)")


def _option(name: str, *, several: bool = False) -> Parameter:
    """A setting as an option; its help is the setting's own."""
    return Parameter(help=told(name), negative="" if several else None)


def serve(
    *,
    state: State = None,
    host: Annotated[str | None, _option("host")] = None,
    port: Annotated[int | None, _option("port")] = None,
    hypervisor: Annotated[str | None, _option("hypervisor")] = None,
    libvirt_uri: Annotated[str | None, _option("libvirt_uri")] = None,
    domain: Annotated[str | None, _option("domain")] = None,
    default_image: Annotated[str | None, _option("default_image")] = None,
    max_containers_per_user: Annotated[int | None, _option("max_containers_per_user")] = None,
    max_ssh_keys_per_user: Annotated[int | None, _option("max_ssh_keys_per_user")] = None,
    min_memory_mb: Annotated[int | None, _option("min_memory_mb")] = None,
    max_memory_mb: Annotated[int | None, _option("max_memory_mb")] = None,
    max_storage_gb: Annotated[int | None, _option("max_storage_gb")] = None,
    allowed_origin: Annotated[list[str] | None, _option("allowed_origins", several=True)] = None,
    trusted_proxy: Annotated[list[str] | None, _option("trusted_proxies", several=True)] = None,
    outbound: Annotated[str | None, _option("outbound")] = None,
    https_host: Annotated[str | None, _option("https_host")] = None,
    https_port: Annotated[int | None, _option("https_port")] = None,
    tls_cert: Annotated[Path | None, _option("tls_cert")] = None,
    tls_key: Annotated[Path | None, _option("tls_key")] = None,
    port_offset: Annotated[int | None, _option("port_offset")] = None,
    boot_deadline: Annotated[float | None, _option("boot_deadline")] = None,
    stop_grace: Annotated[float | None, _option("stop_grace")] = None,
    log_level: Annotated[str | None, _option("log_level")] = None,
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
        trusted_proxies=None if trusted_proxy is None else tuple(trusted_proxy),
        outbound=outbound,
        https_host=https_host,
        https_port=https_port,
        tls_cert=tls_cert,
        tls_key=tls_key,
        port_offset=port_offset,
        boot_deadline=boot_deadline,
        stop_grace=stop_grace,
        log_level=log_level,
    )
    logs.set_up(chosen.log_level)
    sys.unraisablehook = logs.IgnoredErrors()
    raise_open_files_limit()
    memory.keep_small()
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
                passwords.prepare()
                memory.give_back_start()
                server = Server(
                    Api(services),
                    started=lambda: print(f"ready http://{host}:{port}", flush=True),
                    trusted_proxies=settings.trusted_proxies,
                )
                trimming = asyncio.create_task(memory.trim_now_and_then())
                try:
                    await serve_until_signal(server, listener)
                finally:
                    trimming.cancel()
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
    try:
        state.lock()
    except StateError as error:
        holder = _HOLDER.search(str(error))
        if holder is None:
            raise
        raise CommandError(f"{error} End it first: Ctrl-C where it runs, or `kill {holder[1]}`.") from None
    try:
        return await assembly.end_machines(settings, state)
    finally:
        state.unlock()


def machines(count: int) -> str:
    """A number of machines, in words."""
    return f"{count} machine" if count == 1 else f"{count} machines"
