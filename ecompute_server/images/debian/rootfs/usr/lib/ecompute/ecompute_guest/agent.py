"""The conversation with the host, for as long as the guest runs."""

import os
import select
import time

from . import identity, initctl, messages
from .messages import Identity, Lines

PORT = "org.ecompute.agent.0"
PORTS = "/sys/class/virtio-ports"
IMAGE = "debian"

FIRST_USAGE = 1.0
"""Seconds after the first `ready`, so that it does not delay the first login."""
BETWEEN_USAGES = 5.0


def main() -> None:
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("-900")
    name = find_port()
    while name is None:
        # The name of a port comes a moment after the port.
        time.sleep(0.002)
        name = find_port()
    Agent(os.open(f"/dev/{name}", os.O_RDWR | os.O_CLOEXEC)).talk()


def find_port(ports: str = PORTS) -> str | None:
    try:
        for port in os.listdir(ports):
            with open(f"{ports}/{port}/name") as file:
                if file.read().strip() == PORT:
                    return port
    except OSError:
        pass
    return None


class Agent:
    """Reads messages and answers them, one after the other."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._lines = Lines()
        self._initctl = initctl.open_pipe()
        self._next_usage: float | None = None

    def talk(self) -> None:
        """Never returns. A write waits until somebody is connected on the other side; a read would return at
        once for ever, therefore `hello` comes before each wait.

        Raises:
        OSError: the port is gone.
        """
        waiting = select.poll()
        waiting.register(self._port, select.POLLIN)
        if self._initctl is not None:
            waiting.register(self._initctl, select.POLLIN)
        while True:
            self._hello(None)
            self._lines.forget()
            while True:
                events = waiting.poll(self._milliseconds())
                if not events:
                    self._tell_usage()
                    continue
                if self._initctl is not None and any(found == self._initctl for found, _ in events):
                    initctl.obey(self._initctl)
                    continue
                data = os.read(self._port, 65536)
                if not data:
                    break
                for line in self._lines.feed(data):
                    self.receive(line)

    def receive(self, line: bytes) -> None:
        message = messages.parse(line)
        if message is None:
            return
        match message.get("type"):
            case "hello":
                self._hello(messages.number_of(message))
            case "configure":
                self._configure(message)
            case "poweroff":
                initctl.power_off()

    def _configure(self, message: dict[str, object]) -> None:
        number = messages.number_of(message)
        try:
            identity.apply(Identity(message))
        except Exception as problem:
            reason = messages.one_line(explained(problem))
            note(f"agent: {reason}")
            self._say(messages.error(number, reason))
            return
        first = not is_configured()
        identity.write(identity.CONFIGURED, "")
        self._say(messages.ready(number))
        if first:
            self._next_usage = time.monotonic() + FIRST_USAGE
            start_the_rest()

    def _hello(self, number: int | None) -> None:
        configured = is_configured()
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot_id = file.read().strip()
        self._say(messages.hello(number, configured=configured, image=IMAGE, boot_id=boot_id))
        if configured:
            self._next_usage = time.monotonic()

    def _milliseconds(self) -> float | None:
        if self._next_usage is None:
            return None
        return max(0.0, self._next_usage - time.monotonic()) * 1000

    def _tell_usage(self) -> None:
        self._next_usage = time.monotonic() + BETWEEN_USAGES
        try:
            figures = memory_available_kb(), storage_used_kb(identity.VOLUME)
        except (OSError, ValueError):
            return
        self._say(messages.usage(*figures))

    def _say(self, line: bytes) -> None:
        """One write of less than a page is one buffer of the port."""
        os.write(self._port, line)


def explained(problem: Exception) -> str:
    """One sentence for the container's owner."""
    if isinstance(problem, OSError) and problem.strerror:
        place = "" if problem.filename is None else f"{os.fsdecode(problem.filename)}: "
        return place + problem.strerror
    return str(problem) or type(problem).__name__


def is_configured() -> bool:
    return os.path.exists(identity.CONFIGURED)


def start_the_rest() -> None:
    """Tells process 1 that nobody waits any more; one that does not listen has no pipe."""
    try:
        pipe = os.open(f"{identity.RUN}/later", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    os.write(pipe, b"\n")
    os.close(pipe)


def memory_available_kb(meminfo: str = "/proc/meminfo") -> int:
    with open(meminfo) as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1])
    raise ValueError(f"{meminfo} does not tell")


def storage_used_kb(place: str) -> int:
    status = os.statvfs(place)
    return (status.f_blocks - status.f_bfree) * status.f_frsize // 1024


def note(text: str) -> None:
    """On the console, which may be gone."""
    try:
        with open("/dev/console", "w") as console:
            console.write(f"{text}\n")
    except OSError:
        pass
