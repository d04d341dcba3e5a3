"""A guest under plain QEMU, without libvirt or the server: what the image itself promises is checked with it.

Everything waits on sockets and processes with one deadline; nothing sleeps.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Self

from ecompute_server.images.interface import Image

DEADLINE = 20.0
PROGRAMS = {"amd64": "qemu-system-x86_64", "arm64": "qemu-system-aarch64"}
MACHINES = {
    "amd64": ["-machine", "pc", "-cpu", "max"],
    "arm64": ["-machine", "virt,gic-version=3", "-cpu", "cortex-a72"],
}
AGENT_PORT = "org.ecompute.agent.0"
SERIAL = "volume-of-a-test"


def need(program: str) -> str:
    """The program's path; a clear failure instead of a skipped test when it is missing."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if path is None:
        raise RuntimeError(f"{program} is not installed, and the images cannot be tested without it")
    return path


def make_volume(path: Path) -> Path:
    """A sparse, empty ext4 file system."""
    with path.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run([need("mke2fs"), "-q", "-t", "ext4", "-E", "lazy_itable_init=1", path], check=True)
    return path


def make_key(path: Path, kind: str = "ed25519", *options: str) -> str:
    """A new key pair at `path` and `path.pub`; returns the public line."""
    subprocess.run([need("ssh-keygen"), "-q", "-t", kind, *options, "-N", "", "-f", path], check=True)
    return path.with_suffix(".pub").read_text().strip()


class Lines:
    """One side of a Unix socket that carries JSON lines."""

    def __init__(self, path: Path, deadline: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(deadline)
        self._socket.connect(os.fspath(path))
        self._buffer = b""

    def send(self, message: dict[str, Any]) -> None:
        self.send_bytes(json.dumps(message).encode() + b"\n")

    def send_bytes(self, data: bytes) -> None:
        self._socket.sendall(data)

    def receive(self, **expected: Any) -> dict[str, Any]:
        """The next message that has these values; others before it are passed over."""
        while True:
            while b"\n" not in self._buffer:
                data = self._socket.recv(65536)
                if not data:
                    raise EOFError(f"the other side closed while {expected} was expected")
                self._buffer += data
            line, _, self._buffer = self._buffer.partition(b"\n")
            message: dict[str, Any] = json.loads(line)
            if all(message.get(key) == value for key, value in expected.items()):
                return message

    def close(self) -> None:
        self._socket.close()


class Guest:
    """A running guest; ends with the `with` block, whatever happened in it."""

    def __init__(
        self, image: Image, folder: Path, volume: Path | None, *, memory_mb: int = 192, vcpus: int = 1,
        extra: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.image = image
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.ssh_port = _free_port()
        self.console = folder / "console"
        disk = (
            "-drive", f"if=none,id=volume,format=raw,file={volume}",
            "-device", f"virtio-blk-pci,drive=volume,serial={SERIAL}",
        ) if volume else ()  # fmt: skip
        self._command = [
            need(PROGRAMS[image.arch]), *MACHINES[image.arch], "-accel", "tcg", "-m", str(memory_mb),
            "-smp", str(vcpus), "-nodefaults", "-display", "none", "-serial", f"file:{self.console}",
            "-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", image.kernel_arguments,
            "-mon", "chardev=qmp,mode=control",
            "-device", "virtio-serial-pci", "-device", f"virtserialport,chardev=agent,name={AGENT_PORT}",
            "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self.ssh_port}-:22",
            "-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci", *disk, *extra,
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None
        self.agent: Lines
        self.qmp: Lines

    def __enter__(self) -> Self:
        # QEMU is given sockets that listen already, so nobody has to ask when it has made them.
        listeners = {name: _listen(self.folder / name) for name in ("agent", "qmp")}
        chardevs = (
            part for name, listener in listeners.items()
            for part in ("-chardev", f"socket,id={name},fd={listener.fileno()},server=on,wait=off")
        )  # fmt: skip
        self.agent = Lines(self.folder / "agent", DEADLINE)
        self.qmp = Lines(self.folder / "qmp", DEADLINE)
        with (self.folder / "qemu.log").open("wb") as log:
            self.process = subprocess.Popen(
                [*self._command, *chardevs], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=[listener.fileno() for listener in listeners.values()],
            )  # fmt: skip
        for listener in listeners.values():
            listener.close()
        try:
            self.qmp.receive()
            self.command("qmp_capabilities")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.agent.close()
        self.qmp.close()

    def reconnect(self) -> None:
        """Let go of the agent and connect anew, with the empty line that ends whatever was cut off."""
        self.agent.close()
        self.agent = Lines(self.folder / "agent", DEADLINE)
        self.agent.send_bytes(b"\n")

    def command(self, name: str, **arguments: Any) -> None:
        self.qmp.send({"execute": name, "arguments": arguments})

    def wait_for_end(self) -> float:
        """Seconds until QEMU has ended by itself."""
        assert self.process is not None
        begin = time.monotonic()
        self.process.wait(DEADLINE)
        return time.monotonic() - begin

    def configure(self, identity: dict[str, Any], number: int = 1) -> dict[str, Any]:
        """Give the guest its identity; its answer."""
        self.agent.send({"type": "configure", "id": number, **identity})
        return self.agent.receive(id=number)

    def ssh(self, command: str, *, key: Path, status: int = 0) -> str:
        """Run a command over SSH that must end with `status`, and return what it printed."""
        result = subprocess.run(
            [need("ssh"), *ssh_options(key), "-p", str(self.ssh_port), "root@127.0.0.1", command],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE, check=False,
        )  # fmt: skip
        assert result.returncode == status, result.stderr.decode()
        return result.stdout.decode()


def ssh_options(key: Path) -> list[str]:
    """Options of `ssh`, `scp` and `sftp` that keep them away from the user's own settings."""
    options = {
        "StrictHostKeyChecking": "yes", "UserKnownHostsFile": key.parent / "known_hosts",
        "HostKeyAlias": "guest",
        "IdentitiesOnly": "yes", "IdentityAgent": "none", "BatchMode": "yes", "ConnectTimeout": "30",
    }  # fmt: skip
    return [
        "-F",
        "none",
        "-i",
        str(key),
        *(part for name, value in options.items() for part in ("-o", f"{name}={value}")),
    ]


def make_identity(
    folder: Path, keys: tuple[str, ...], mount_paths: tuple[str, ...] = ("/root",)
) -> dict[str, Any]:
    """A `configure` message's fields with a new host key, which `known_hosts` in the folder then trusts."""
    public = make_key(folder / "host_key")
    (folder / "known_hosts").write_text(f"guest {public}\n")
    return {
        "clock": time.time(),
        "entropy": base64.b64encode(os.urandom(64)).decode(),
        "hostname": "box-1",
        "machine_id": os.urandom(16).hex(),
        "host_key": (folder / "host_key").read_text(),
        "authorized_keys": list(keys),
        "network": {"address": "10.0.2.15/24", "gateway": "10.0.2.2", "dns": ["10.0.2.3"]},
        "volume": SERIAL,
        "mount_paths": list(mount_paths),
    }


def _listen(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.fspath(path))
    listener.listen()
    return listener


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
