"""The processes of the gateway's bench: what is reached, and the two that lead there.

Each is a process of its own on loopback ports that were free, and ends with its `with` block. None is bound
to a processor: with one for what leads and the other for the rest, HTTPS was slower through both.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from ecompute.contract.catalog import HTTPS_PORT
from ecompute_server import memory
from ecompute_server.gateway.limits import Limits
from ecompute_server.gateway.listeners import ListeningGateway
from ecompute_server.gateway.tls.authority import Authority
from ecompute_server.gateway.tls.certificates import MadeCertificates
from ecompute_server.gateway.tls.contexts import CIPHERS, CURVE

LOOPBACK = "127.0.0.1"
DOMAIN = "compute.localhost"
SITE = "bench"
HOSTNAME = f"{SITE}.{DOMAIN}"
BIG = 200 * 1000 * 1000
"""Bytes of what is downloaded from `/big`."""
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
PACKAGES = {"nginx": "nginx", "libnginx-mod-stream": STREAM_MODULE, "wrk": "wrk", "curl": "curl"}
_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def missing_packages() -> list[str]:
    """The Debian packages that the bench needs and does not find."""
    return [
        package
        for package, proof in PACKAGES.items()
        if not (proof.exists() if isinstance(proof, Path) else shutil.which(proof, path=_PATH))
    ]


@frozen
class Ports:
    """Where one process is reached."""

    http: int
    """Over HTTP: `/` is a small page, `/big` has `BIG` bytes."""
    echo: int
    """What is sent comes back."""
    sink: int
    """What is sent is dropped; its end is answered by one byte."""
    https: int = 0
    """The same as `http` over HTTPS, where that is led to."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


# --- nginx


@contextlib.contextmanager
def _nginx(folder: Path, configuration: str) -> Iterator[int]:
    """One in the foreground, until the end of the block; the process id of a worker of it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "nginx.conf"
    file.write_text(
        f"load_module {STREAM_MODULE};\n"
        # without it the workers of root's nginx become nobody, who cannot read a private folder
        f"{'user root;' if os.getuid() == 0 else ''}\n"
        f"worker_processes 1; worker_rlimit_nofile 20000; pid {folder}/pid; daemon off;\n"
        "events { worker_connections 16384; }\n" + configuration
    )
    program = shutil.which("nginx", path=_PATH)
    assert program is not None
    log = folder / "error.log"
    process = subprocess.Popen([program, "-e", str(log), "-p", str(folder), "-c", str(file)])
    try:
        yield _worker(process)
    finally:
        process.terminate()
        process.wait()


def _worker(process: subprocess.Popen[bytes]) -> int:
    """The first worker's process id, as soon as there is one; by then nginx listens."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while process.poll() is None:
        if found := children.read_text().split():
            return int(found[0])
        time.sleep(0.01)
    raise RuntimeError(f"nginx ended at once with {process.returncode}; its reason stands above.")


def _http(folder: Path, *blocks: str) -> str:
    """A section of its own paths; it keeps connections as long as it is asked over them."""
    paths = "\n".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""http {{
        access_log off; sendfile on; tcp_nopush off; keepalive_requests 1000000000; keepalive_timeout 1h;
        {paths}
        {"".join(blocks)}
    }}"""


@contextlib.contextmanager
def target(folder: Path) -> Iterator[Ports]:
    """What is reached: an nginx for HTTP, and threads for the rest."""
    http = free_port()
    files = folder / "files"
    files.mkdir()
    with (files / "big").open("wb") as big:
        big.truncate(BIG)
    place = folder / "target"
    server = f"""server {{
        listen {LOOPBACK}:{http} backlog=4096; root {files};
        location = / {{ return 200 "hello\\n"; }}
    }}"""
    with _nginx(place, _http(place, server)), _child("raw") as raw:
        yield Ports(http=http, echo=raw["echo"], sink=raw["sink"])


@contextlib.contextmanager
def nginx_proxy(folder: Path, to: Ports, certificates: Path) -> Iterator[tuple[Ports, int]]:
    """nginx as TCP and TLS proxy; its ports, and the process id of a worker."""
    ports = Ports(*(free_port() for _ in range(4)))
    place = folder / "proxy"
    leaf = Authority.open(certificates, DOMAIN).leaf(HOSTNAME, LOOPBACK)
    place.mkdir(parents=True)
    for name, data in (("certificate", leaf.certificate), ("key", leaf.key)):
        (place / name).touch(0o600)
        (place / name).write_bytes(data)
    servers = "\n".join(
        f"server {{ listen {LOOPBACK}:{ours} backlog=1024; proxy_pass {LOOPBACK}:{theirs}; }}"
        for ours, theirs in ((ports.http, to.http), (ports.echo, to.echo), (ports.sink, to.sink))
    )
    # the buffer is as large as our gateway's: with its own 16 KiB nginx is slower in big transfers
    stream = f"stream {{ proxy_buffer_size 128k; proxy_half_close on; {servers} }}"
    https = f"""
        upstream target {{ server {LOOPBACK}:{to.http}; keepalive 1024; keepalive_requests 1000000000; }}
        proxy_max_temp_file_size 0;
        server {{
            listen {LOOPBACK}:{ports.https} ssl backlog=1024;
            ssl_certificate {place}/certificate; ssl_certificate_key {place}/key;
            ssl_protocols TLSv1.2 TLSv1.3; ssl_ciphers {":".join(CIPHERS)}; ssl_ecdh_curve {CURVE};
            ssl_prefer_server_ciphers on; ssl_session_cache off; ssl_session_tickets off;
            location / {{
                proxy_pass http://target; proxy_http_version 1.1; proxy_set_header Connection "";
                proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;
                proxy_set_header X-Forwarded-Proto https; proxy_set_header X-Forwarded-Host $host;
            }}
        }}"""
    with _nginx(place, stream + _http(place, https)) as worker:
        yield ports, worker


# --- children of this file


@contextlib.contextmanager
def our_gateway(to: Ports, certificates: Path) -> Iterator[tuple[Ports, int]]:
    """Our gateway, alone in its process; its ports, and the process id."""
    with _child("gateway", str(certificates), str(to.http), str(to.echo), str(to.sink)) as told:
        pid = told.pop("pid")
        yield Ports(**told), pid


@contextlib.contextmanager
def _child(*arguments: str) -> Iterator[dict[str, int]]:
    """This file as a program; what it says in its first line."""
    child = subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        told: dict[str, int] = json.loads(child.stdout.readline())
        yield told
    finally:
        child.terminate()
        child.wait()


async def lead(certificates: Path, http: int, echo: int, sink: int) -> None:
    """A gateway whose guests are the ports of this host; its memory is kept as `serve` keeps it."""
    memory.keep_small()

    async def connect(container_id: str, port: int) -> socket.socket:
        connection = socket.socket()
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, (LOOPBACK, port))
        return connection

    ports = Ports(*(free_port() for _ in range(4)))
    gateway = ListeningGateway(
        connect,
        certificates=MadeCertificates(certificates, DOMAIN),
        domain=DOMAIN,
        port_offset=ports.https - HTTPS_PORT,
        limits=Limits(connections=4096),
    )
    offset = ports.https - HTTPS_PORT
    for ours, theirs in ((ports.http, http), (ports.echo, echo), (ports.sink, sink)):
        await gateway.publish("tcp", LOOPBACK, ours - offset, theirs)
    await gateway.publish(SITE, LOOPBACK, HTTPS_PORT, http)
    memory.give_back_start()
    where = {"http": ports.http, "echo": ports.echo, "sink": ports.sink, "https": ports.https}
    print(json.dumps({"pid": os.getpid(), **where}), flush=True)
    await asyncio.Event().wait()


def answer_raw() -> None:
    """An echo and a sink, one thread for each connection."""

    def echo(link: socket.socket) -> None:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := link.recv(65536):
            link.sendall(data)

    def sink(link: socket.socket) -> None:
        # with MSG_TRUNC the kernel drops what came, and copies nothing (tcp(7))
        space = bytearray(1 << 20)
        while link.recv_into(space, len(space), socket.MSG_TRUNC):
            pass
        link.sendall(b"!")

    def accept(listener: socket.socket, talk: object) -> None:
        while True:
            link, _ = listener.accept()
            threading.Thread(target=serve, args=(link, talk), daemon=True).start()

    def serve(link: socket.socket, talk: object) -> None:
        assert callable(talk)
        with link, contextlib.suppress(ConnectionError):
            talk(link)

    listeners = {
        "echo": (socket.create_server((LOOPBACK, 0)), echo),
        "sink": (socket.create_server((LOOPBACK, 0)), sink),
    }
    for listener, talk in listeners.values():
        threading.Thread(target=accept, args=(listener, talk), daemon=True).start()
    print(
        json.dumps({name: listener.getsockname()[1] for name, (listener, _) in listeners.items()}), flush=True
    )
    threading.Event().wait()


if __name__ == "__main__":
    if sys.argv[1] == "raw":
        answer_raw()
    else:
        asyncio.run(lead(Path(sys.argv[2]), *map(int, sys.argv[3:])))
