"""The whole road on real machines: `make demo` runs this.

A server is started, a user logs in, and through the library a container of each architecture is made. Both
are entered by the stock `ssh` and by the web terminal, publish a page over HTTPS, are stopped and started,
kept over a restart of the server, and deleted. At the end stands a table of how long things took.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ecompute

PASSWORD = "correct horse battery staple"
KINDS = {"nano": ("aarch64", 1), "tiny": ("x86_64", 1)}
MEMORY_MB = 256
KEY_TYPES = {"ed25519": [], "rsa": ["-b", "3072"], "ecdsa": ["-b", "256"]}


class Failed(Exception):
    """The demonstration did not show what it should; `str()` is one sentence."""


def check(condition: bool, sentence: str) -> None:
    if not condition:
        raise Failed(sentence)


def say(text: str) -> None:
    print(f"demo: {text}", flush=True)


# --- the server -------------------------------------------------------------------------------------------


class Server:
    """`ecompute-server serve` as a child process."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.log = state / "serve.log"
        self.command = [sys.executable, "-m", "ecompute_server"]
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> float:
        started = time.monotonic()
        options = ["--state", str(self.state), "--port", "0"]
        if not may_bind_low_ports():
            say("this user may not bind ports under 1024: containers' ports are moved up by 20000")
            options += ["--port-offset", "20000"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command, "serve", *options],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # a Ctrl-C is for the demonstration, which ends the server in order
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        check(line.startswith("ready "), f"The server did not start: {self.last_words()}")
        self.url = line.split()[1]
        return time.monotonic() - started

    def stop(self) -> None:
        if self.process is None:
            return
        process, self.process = self.process, None
        process.send_signal(signal.SIGINT)
        try:
            status = process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Failed("The server did not end within 30 seconds.") from None
        finally:
            assert process.stdout is not None
            process.stdout.close()
        check(status == 0, f"The server ended with status {status}: {self.last_words()}")

    def run(self, *arguments: str, stdin: str = "") -> str:
        """Another `ecompute-server` command on the same state."""
        command = [*self.command, *arguments, "--state", str(self.state)]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        check(done.returncode == 0, done.stderr.strip())
        return done.stdout.strip()

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def resident_mb(self) -> float:
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024 / 1e6


def may_bind_low_ports() -> bool:
    first = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    return os.geteuid() == 0 or first <= 22


# --- a person's tools -------------------------------------------------------------------------------------


class Person:
    """Somebody with SSH keys of all accepted families, and one that nobody registered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, options in {**KEY_TYPES, "stranger": []}.items():
            type_ = "ed25519" if name == "stranger" else name
            self.keygen("-t", type_, *options, "-N", "", "-C", name, "-f", str(folder / name))

    def keygen(self, *arguments: str) -> None:
        subprocess.run(["ssh-keygen", "-q", *arguments], check=True)

    def public_key(self, name: str) -> str:
        return (self.folder / f"{name}.pub").read_text()

    def ssh(
        self, box: ecompute.Container, command: str, key: str = "ed25519"
    ) -> subprocess.CompletedProcess[str]:
        """Log in as the container's own `ssh_command` says, with the host key pinned from the API."""
        assert box.ssh_command is not None
        program, *rest, target = shlex.split(box.ssh_command)
        host = target.split("@")[1]
        port = rest[rest.index("-p") + 1] if "-p" in rest else "22"
        known = self.folder / f"known-{box.id}"
        known.write_text(f"{host if port == '22' else f'[{host}]:{port}'} {box.ssh_host_key}\n")
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": "20",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "LogLevel": "ERROR",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(known),
        }
        flags = [text for name, value in options.items() for text in ("-o", f"{name}={value}")]
        line = [program, "-F", "none", "-i", str(self.folder / key), *flags, *rest, target, command]
        return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)

    def ask(self, box: ecompute.Container, command: str, key: str = "ed25519") -> str:
        """What a command prints in the container."""
        done = self.ssh(box, command, key)
        check(done.returncode == 0, f"ssh to {box.name} with the {key} key failed: {done.stderr.strip()}")
        return done.stdout.strip()


# --- timings ----------------------------------------------------------------------------------------------


class Timings:
    """How long each step took for each container."""

    def __init__(self) -> None:
        self.seconds: dict[str, dict[str, float]] = {}

    @contextmanager
    def measure(self, step: str, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.note(step, name, time.monotonic() - started)

    def note(self, step: str, name: str, seconds: float) -> None:
        self.seconds.setdefault(step, {})[name] = seconds

    def table(self) -> str:
        head = f"{'step':<28}" + "".join(f"{name:>10}" for name in KINDS)
        rows = [
            f"{step:<28}" + "".join(f"{by_name[name]:>8.2f} s" for name in KINDS)
            for step, by_name in self.seconds.items()
        ]
        return "\n".join([head, *rows])


# --- the scenes -------------------------------------------------------------------------------------------


def boot_both(
    client: ecompute.Client, url: str, token: str, key_ids: list[int], times: Timings
) -> list[ecompute.Container]:
    """A nano by the synchronous client and a tiny by the asynchronous one, side by side."""
    boxes: dict[str, ecompute.Container] = {}
    faults: list[BaseException] = []
    body = {"ssh_key_ids": key_ids, "memory_mb": MEMORY_MB, "ssh_enabled": True}

    def nano() -> None:
        try:
            started = time.monotonic()
            made = client.containers.create("nano", instance_type="nano", **body)
            times.note("create → pending answered", "nano", time.monotonic() - started)
            check(made.status == "pending", f"A new container said {made.status} instead of pending.")
            boxes["nano"] = client.containers.wait(made.id, "running", timeout=120)
            times.note("create → running", "nano", time.monotonic() - started)
        except BaseException as error:
            faults.append(error)

    async def tiny() -> None:
        async with ecompute.AsyncClient(token=token, base_url=url) as asynchronous:
            started = time.monotonic()
            made = await asynchronous.containers.create("tiny", instance_type="tiny", **body)
            times.note("create → pending answered", "tiny", time.monotonic() - started)
            boxes["tiny"] = await asynchronous.containers.wait(made.id, "running", timeout=120)
            times.note("create → running", "tiny", time.monotonic() - started)

    thread = threading.Thread(target=nano, daemon=True)
    thread.start()
    asyncio.run(tiny())
    thread.join()
    if faults:
        raise faults[0]
    return [boxes[name] for name in KINDS]


def inspect(client: ecompute.Client, person: Person, box: ecompute.Container, times: Timings) -> None:
    """Log in by every road, and see that the machine is what was asked for."""
    machine, processors = KINDS[box.instance_type]
    with times.measure("login and one command", box.name):
        check(person.ask(box, "uname -m") == machine, f"{box.name} is no {machine} machine.")
    check(int(person.ask(box, "nproc", "rsa")) == processors, f"{box.name} has not {processors} processors.")
    total = int(person.ask(box, "cat /proc/meminfo", "ecdsa").split()[1]) / 1024
    check(0.75 * MEMORY_MB < total <= MEMORY_MB, f"{box.name} has {total:.0f} MB of memory, not {MEMORY_MB}.")
    check(person.ssh(box, "true", "stranger").returncode == 255, f"{box.name} let a stranger's key in.")
    with client.terminal(box.id) as terminal:
        terminal.write("uname -m; stty size; echo term=$TERM; exit\n")
        shown = b"".join(terminal).decode(errors="replace")
    for line in (machine, "24 80", "term=xterm-256color"):
        check(line in shown, f"The terminal of {box.name} did not show {line!r} but {shown!r}.")


def publish_a_page(client: ecompute.Client, box: ecompute.Container, root: str, times: Timings) -> None:
    """A web server in the guest, opened over HTTPS by a client that trusts the installation's root."""
    page = f"hello from {box.name}\n"
    serve = "mkdir -p /root/www && cat > /root/www/index.html && httpd -h /root/www -p 3000"
    client.run(box.id, serve, input=page.encode(), check=True)
    port = 443 if may_bind_low_ports() else 20443
    trusting = ssl.create_default_context(cadata=root)

    def opens() -> bool:
        try:
            with urllib.request.urlopen(f"https://{box.external_ip}:{port}/", context=trusting) as answer:
                return bool(answer.read().decode() == page)
        except OSError:
            return False

    with times.measure("publish → page by HTTPS", box.name):
        client.ingress.add(box.id, 443, target_port=3000)
        wait_until(opens, f"The page of {box.name} cannot be opened.")
    check(client.containers.get(box.id).https_enabled, f"{box.name} does not tell that HTTPS is on.")


def survive_a_stop(client: ecompute.Client, person: Person, box: ecompute.Container, times: Timings) -> None:
    """What lies under a mount path is there after stop and start, the rest is not."""
    person.ask(box, "echo kept > /root/file; echo lost > /tmp/file")
    with times.measure("stop → machine off", box.name):
        check(client.containers.stop(box.id).status == "stopped", f"{box.name} did not say that it stopped.")
        wait_until(lambda: not machine_processes(box.id), f"The machine of {box.name} is still there.")
    with times.measure("start → running", box.name):
        client.containers.start(box.id)
        client.containers.wait(box.id, "running", timeout=120)
    found = person.ask(box, "cat /root/file; ls /tmp")
    check(found == "kept", f"After stop and start {box.name} had {found!r}.")


def survive_a_server_restart(server: Server, person: Person, boxes: list[ecompute.Container]) -> str:
    """The guests run on while no server is there, and the next one adopts them. Tells the new URL."""
    before = {box.id: uptime(person, box) for box in boxes}
    server.stop()
    for box in boxes:
        check(len(machine_processes(box.id)) > 0, f"The machine of {box.name} ended with the server.")
    seconds = server.start()
    say(f"the server was ready again in {seconds:.2f} s")
    with ecompute.Client(token=login(server.url), base_url=server.url) as client:
        for box in boxes:
            status = client.containers.get(box.id).status
            check(status == "running", f"After the restart {box.name} is {status}.")
            wait_until(
                lambda box=box: person.ssh(box, "true").returncode == 0, f"{box.name} is not reachable."
            )
            check(uptime(person, box) > before[box.id], f"{box.name} was booted again instead of adopted.")
            with client.terminal(box.id) as terminal:
                terminal.write("echo still-here; exit\n")
                check(b"still-here" in b"".join(terminal), f"The terminal of {box.name} is gone.")
    return server.url


def clear_away(client: ecompute.Client, boxes: list[ecompute.Container], times: Timings, state: Path) -> None:
    """Deleted means: no machine, no disk, no port, no process."""
    for box in boxes:
        started = time.monotonic()
        client.containers.delete(box.id)
        times.note("delete → answered", box.name, time.monotonic() - started)
    for box in boxes:
        started = time.monotonic()
        wait_until(lambda box=box: not machine_processes(box.id), f"A process of {box.name} is left.")
        wait_until(lambda box=box: not traces(state, box.id), f"Files of {box.name} are left.")
        times.note("… → nothing left", box.name, time.monotonic() - started)
        check(not answers(box), f"The port of {box.name} is still open.")
    check(client.containers.list() == [], "The list of containers is not empty.")


# --- looking at the host ----------------------------------------------------------------------------------


def wait_until(condition: object, sentence: str, seconds: float = 30) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < deadline, sentence)
        time.sleep(0.02)


def machine_processes(container_id: str) -> list[int]:
    """The processes of this host whose command line names the container."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes()
        except OSError:
            continue
        if b"qemu" in words and container_id.encode() in words:
            found.append(int(entry.parent.name))
    return found


def traces(state: Path, container_id: str) -> list[Path]:
    """Files below the state directory that bear the container's id."""
    # a walk, unlike a search by pattern, goes on where a folder vanishes under it
    return [
        Path(folder) / name
        for folder, folders, files in os.walk(state)
        for name in [*folders, *files]
        if container_id in name and not name.startswith("serve.log")
    ]


def answers(box: ecompute.Container) -> bool:
    import socket

    assert box.ssh_command is not None
    words = shlex.split(box.ssh_command)
    port = int(words[words.index("-p") + 1]) if "-p" in words else 22
    with socket.socket() as probe:
        return probe.connect_ex((box.external_ip, port)) == 0


def uptime(person: Person, box: ecompute.Container) -> float:
    return float(person.ask(box, "cat /proc/uptime").split()[0])


def login(url: str) -> str:
    token = ecompute.login(url, "demo", PASSWORD).token
    assert token is not None
    return token


def demonstrate(state: Path, folder: Path) -> None:
    server, person, times = Server(state), Person(folder), Timings()
    try:
        say(f"the server was ready in {server.start():.2f} s")
        server.run("user", "add", "demo", "--password-stdin", stdin=PASSWORD + "\n")
        token = login(server.url)
        with ecompute.Client(token=token, base_url=server.url) as client:
            key_ids = [client.ssh_keys.add(name, person.public_key(name)).id for name in KEY_TYPES]
            with client.events() as events:
                boxes = boot_both(client, server.url, token, key_ids, times)
                watch_both_run(events, boxes)
            say("both containers run")
            for box in boxes:
                inspect(client, person, box, times)
            say("ssh and the terminal work, and a stranger's key does not")
            for box in boxes:
                publish_a_page(client, box, server.run("ca", "show"), times)
            say("both publish a page over HTTPS")
            for box in boxes:
                survive_a_stop(client, person, box, times)
            say("what lies under a mount path survives stop and start")
            say(f"the server takes {server.resident_mb():.0f} MB with two guests")
        survive_a_server_restart(server, person, boxes)
        say("the guests outlive the server")
        with ecompute.Client(token=login(server.url), base_url=server.url) as client:
            clear_away(client, boxes, times, state)
        say("nothing is left of the deleted containers")
    except Exception:
        tell_consoles(server)
        raise
    finally:
        server.stop()
        server.run("down")
    print(f"\n{times.table()}\n")


def watch_both_run(events: object, boxes: list[ecompute.Container]) -> None:
    """The feed tells every step of both containers, in order."""
    expected = {box.id: ["pending", "initializing", "running"] for box in boxes}
    seen: dict[str, list[str]] = {box.id: [] for box in boxes}
    for event in events:  # type: ignore[attr-defined]
        if isinstance(event, ecompute.StatusChanged) and event.container_id in seen:
            seen[event.container_id].append(event.status)
        if all(statuses[-1:] == ["running"] for statuses in seen.values()):
            break
    check(seen == expected, f"The feed told {seen}.")


def tell_consoles(server: Server) -> None:
    """After a failure: the end of each guest's console, and of the server's log."""
    for console in sorted(server.state.rglob("*console*")):
        if console.is_file():
            tail = console.read_text(errors="replace")[-2000:]
            print(f"--- {console.name}\n{tail}", file=sys.stderr)
    print(f"--- {server.log.name}\n{server.log.read_text(errors='replace')[-2000:]}", file=sys.stderr)


def main() -> int:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ecompute-demo-") as folder:
        state, keys = Path(folder) / "state", Path(folder) / "keys"
        for path in (state, keys):
            path.mkdir(mode=0o700)
        try:
            demonstrate(state, keys)
        except (Failed, ecompute.Error, subprocess.SubprocessError) as error:
            print(f"demo: failed: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("demo: interrupted; its server and machines are ended", file=sys.stderr)
            return 130
    print(f"demo: {time.monotonic() - started:.0f} s in all")
    print("demo: ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
