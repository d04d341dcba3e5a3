"""Published sites of real machines, opened by the clients that people have."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import wsproto
from wsproto import events

import ecompute
from ecompute_server.gateway.ports import can_bind_low_ports
from ecompute_server.testing import RunningServer
from examples.first_light import Person

from .conftest import BOOT_SECONDS, PATIENCE, real_server, until

WEB_PORT = 3000
SOCKET_PORT = 3001
DOWNLOAD = 200 * 1000 * 1000
MARKS = range(0, DOWNLOAD, 9_999_999)
"""Where the large file is no hole: the guest writes it in a moment, and no two parts of it are alike."""
TITLE = "A page of "

# RFC 6455 by what busybox has: the handshake, then each message of at most 125 bytes is sent back.
WEBSOCKET = r"""#!/bin/sh
while read -r name value; do
    value=${value%$(printf '\r')}
    case $name in [Ss]ec-[Ww]eb[Ss]ocket-[Kk]ey:) key=$value ;; ?) break ;; esac
done
accept=$(printf %s "${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11" | sha1sum | cut -c 1-40 | xxd -r -p | base64)
printf 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
printf 'Sec-WebSocket-Accept: %s\r\n\r\n' "$accept"
while set -- $(dd bs=1 count=2 2>/dev/null | od -A n -t u1) && [ $# -eq 2 ]; do
    length=$(($2 & 127))
    set -- $1 $(dd bs=1 count=$((length + 4)) 2>/dev/null | od -v -A n -t u1 -w200)
    first=$1 a=$2 b=$3 c=$4 d=$5
    shift 5
    out=$(printf '%02x%02x' $first $length)
    for byte in "$@"; do
        out=$out$(printf %02x $((byte ^ a)))
        mask=$a a=$b b=$c c=$d d=$mask
    done
    printf %s "$out" | xxd -r -p
    [ $first -eq 136 ] && exit
done
"""


@pytest.fixture(scope="module")
def shared_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(shared_port: int) -> Iterator[RunningServer]:
    with real_server(https_port=shared_port) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[ecompute.Client]:
    with server.client() as made:
        yield made


@pytest.fixture(scope="module")
def root(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The authority's certificate, as its operator gets it."""
    command = [sys.executable, "-m", "ecompute_server", "ca", "show", "--state", str(server.state)]
    file = tmp_path_factory.mktemp("trust") / "root.pem"
    file.write_text(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return file


@pytest.fixture(scope="module")
def boxes(client: ecompute.Client, person: Person) -> Iterator[list[ecompute.Container]]:
    """One machine of each architecture with its site published, a web server and a WebSocket echo inside."""
    key = client.ssh_keys.add("laptop", person.public_key("ed25519"))
    made = [
        client.containers.create(kind, [key.id], instance_type=kind, memory_mb=192, storage_gb=1)
        for kind in ("nano", "tiny")
    ]
    running = [client.containers.wait(one.id, "running", timeout=BOOT_SECONDS) for one in made]
    for box in running:
        marks = "; ".join(
            f"printf %s {at} | dd of=/root/www/big bs=1 seek={at} conv=notrunc 2>/dev/null" for at in MARKS
        )
        prepare = (
            "mkdir -p /root/www && cat > /root/ws && chmod +x /root/ws"
            f" && echo '<title>{TITLE}'$(hostname)'</title>' > /root/www/index.html"
            f" && truncate -s {DOWNLOAD} /root/www/big && {{ {marks}; }}"
            f" && httpd -h /root/www -p {WEB_PORT} && httpd -h /root/www -p 80"
            f" && (nc -ll -p {SOCKET_PORT} -e /root/ws > /dev/null 2>&1 < /dev/null &)"
        )
        client.run(box.id, prepare, input=WEBSOCKET.encode(), check=True)
        client.ingress.add(box.id, 443, target_port=WEB_PORT)
        client.ingress.add(box.id, 80)
        client.ingress.add(box.id, 8080, target_port=WEB_PORT)
    yield running
    for box in running:
        client.containers.delete(box.id)


def curl(*arguments: str) -> str:
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--max-time", str(PATIENCE), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout if done.returncode == 0 else f"{done.returncode} {done.stderr.strip()}"


def opens(url: str, answer: str, *options: str) -> None:
    """Within a moment, since a port opens after the answer that published it."""
    until(lambda: curl(*options, url) == answer)


def on(port: int) -> int:
    """Where a container's port is on its address."""
    return port if can_bind_low_ports() else port + 20000


def test_each_container_has_its_ports(boxes: list[ecompute.Container], root: Path) -> None:
    """80, 8080 to 3000, and 443 with its certificate verified by name and by address."""
    trusting = ("--cacert", str(root))
    for box in boxes:
        title = f"<title>{TITLE}{box.id}</title>\n"
        here = f"{box.external_ip}:{on(443)}"
        for port in (80, 8080):
            opens(f"http://{box.external_ip}:{on(port)}/", title)
        named = f"{box.hostname}:{on(443)}"
        opens(f"https://{named}/", title, "--resolve", f"{named}:{box.external_ip}", *trusting)
        opens(f"https://{here}/", title, *trusting)
        assert curl(f"https://{here}/").startswith("60 ")


def test_one_address_for_all_names(boxes: list[ecompute.Container], root: Path, shared_port: int) -> None:
    """Both sites behind the shared listener, by names that no resolver of this host was taught."""
    for box in boxes:
        url = f"https://{box.hostname}:{shared_port}/"
        assert curl("--cacert", str(root), url) == f"<title>{TITLE}{box.id}</title>\n"
    nobody = curl("--cacert", str(root), f"https://nobody.compute.localhost:{shared_port}/")
    assert nobody.startswith("35 ")


def secure(box: ecompute.Container, root: Path, shared_port: int) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(root))
    connection = socket.create_connection(("127.0.0.1", shared_port), timeout=PATIENCE)
    return context.wrap_socket(connection, server_hostname=box.hostname)


def test_a_websocket_of_the_guest(
    client: ecompute.Client, boxes: list[ecompute.Container], root: Path, shared_port: int
) -> None:
    """Upgraded through the gateway; messages come back, and the end is told both ways."""
    for box in boxes:
        client.ingress.add(box.id, 443, target_port=SOCKET_PORT)
        with secure(box, root, shared_port) as connection:
            peer = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
            connection.sendall(peer.send(events.Request(host=box.hostname, target="/")))
            seen: list[events.Event] = []

            def hear(peer: wsproto.WSConnection, connection: ssl.SSLSocket, seen: list[events.Event]) -> None:
                data = connection.recv(65536)
                peer.receive_data(data or None)
                seen.extend(peer.events())

            while not seen:
                hear(peer, connection, seen)
            assert isinstance(seen.pop(0), events.AcceptConnection)
            for text in ("hello", "a" * 120, "grüße"):
                connection.sendall(peer.send(events.TextMessage(data=text)))
                while not seen:
                    hear(peer, connection, seen)
                message = seen.pop(0)
                assert isinstance(message, events.TextMessage)
                assert message.data == text
            connection.sendall(peer.send(events.CloseConnection(code=1000)))
            while not seen:
                hear(peer, connection, seen)
            assert isinstance(seen.pop(0), events.CloseConnection)
            while connection.recv(65536):
                pass
        client.ingress.add(box.id, 443, target_port=WEB_PORT)


def test_a_large_download(boxes: list[ecompute.Container], root: Path, shared_port: int) -> None:
    """200 MB arrive whole, from both machines at once."""
    whole = bytearray(DOWNLOAD)
    for at in MARKS:
        whole[at : at + len(str(at))] = str(at).encode()
    found: list[str] = []

    def fetch(url: str) -> None:
        command = ["curl", "--silent", "--fail", "--max-time", "300", "--cacert", str(root), url]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            found.append(hashlib.file_digest(child.stdout, "sha256").hexdigest())

    threads = [
        threading.Thread(target=fetch, args=(f"https://{box.hostname}:{shared_port}/big",)) for box in boxes
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [hashlib.sha256(whole).hexdigest()] * 2


def test_a_browser(boxes: list[ecompute.Container], root: Path, shared_port: int) -> None:
    """Chromium opens the page through the shared listener once it trusts the root, and not before."""
    box = boxes[1]
    chromium = shutil.which("chromium")
    assert chromium is not None, "Chromium is missing: .ci/setup installs it"
    with tempfile.TemporaryDirectory() as home:
        store = Path(home) / ".pki/nssdb"
        store.mkdir(parents=True)
        certutil = ["certutil", "-d", f"sql:{store}"]
        subprocess.run([*certutil, "-N", "--empty-password"], check=True)

        def shown() -> str:
            command = [
                chromium,
                *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
                *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
                f"--user-data-dir={home}/data",
                "--dump-dom",
                f"https://{box.hostname}:{shared_port}/",
            ]
            environment = {**os.environ, "HOME": home, "XDG_CONFIG_HOME": home}
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=120, check=False
            )
            return done.stdout

        assert TITLE + box.id not in shown()
        subprocess.run([*certutil, "-A", "-t", "C,,", "-n", "ecompute", "-i", str(root)], check=True)
        assert TITLE + box.id in shown()


def test_a_target_that_is_down(
    client: ecompute.Client, boxes: list[ecompute.Container], root: Path, shared_port: int
) -> None:
    """A plain page says that nothing answers; it comes without a wait."""
    box = boxes[0]
    client.ingress.add(box.id, 443, target_port=9)
    url = f"https://{box.hostname}:{shared_port}/"
    answer = curl("--cacert", str(root), "--include", url)
    assert answer.startswith("HTTP/1.1 502 Bad Gateway")
    client.ingress.remove(box.id, 443)
    until(lambda: curl("--cacert", str(root), url).startswith("35 "))
    assert not client.containers.get(box.id).https_enabled
    client.ingress.add(box.id, 443, target_port=WEB_PORT)
    until(lambda: TITLE in curl("--cacert", str(root), url))
