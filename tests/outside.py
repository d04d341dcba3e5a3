"""A world outside this host for guests to reach, and ears on the host to hear whom they reach here.

The world is a network namespace behind a pair of virtual links, so only root can have one. All of it goes
with the test, failed or not.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pytest
from attrs import field, frozen

PORT = 7007
"""Where the world answers, by TCP with one line and by UDP with an error of TFTP (RFC 1350)."""

ANSWER = "outside"
NAME_SERVED = "198.51.100.77"
"""The address of every name, says the world's name server."""

GROUPS = ("224.0.0.251", "ff02::fb")

_WORLD = f"""
import select, socket
def bound(port):
    made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    made.bind(("::", port))
    return made
tcp = socket.create_server(("::", {PORT}), family=socket.AF_INET6, dualstack_ipv6=True)
udp, names = bound({PORT}), bound(53)
print("ready", flush=True)
while True:
    for each in select.select([tcp, udp, names], [], [])[0]:
        if each is tcp:
            with tcp.accept()[0] as visitor:
                visitor.sendall(b"{ANSWER}\\n")
            continue
        asked, peer = each.recvfrom(2048)
        if each is udp:
            udp.sendto(b"\\0\\5\\0\\0{ANSWER}\\0", peer)
        else:
            is_a = asked[-4:-2] == b"\\0\\1"
            answer = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\1\\0\\4" + socket.inet_aton("{NAME_SERVED}")
            head = asked[:2] + b"\\x81\\x80\\0\\1" + (b"\\0\\1" if is_a else b"\\0\\0") + bytes(4)
            names.sendto(head + asked[12:] + (answer if is_a else b""), peer)
"""


@frozen
class Outside:
    """`v4`, `v6` and the link-local `metadata` are addresses of the world, `here` those of this host on the
    way there; `link` is this host's end of that way.
    """

    link: str
    v4: str
    v6: str
    metadata: str
    here: tuple[str, str]


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


@contextmanager
def outside() -> Iterator[Outside]:
    """Skips the test where this user may not make one."""
    if os.getuid() != 0:
        pytest.skip("a world outside is a network namespace of root's")
    part = os.getpid() % 250
    name = f"ecw{os.getpid()}"
    made = Outside(
        link=name,
        v4=f"198.18.{part}.2",
        v6=f"2001:db8:77:{part:x}::2",
        metadata=f"169.254.77.{part + 1}",
        here=(f"198.18.{part}.1", f"2001:db8:77:{part:x}::1"),
    )
    inside = ("ip", "-netns", name)
    with ExitStack() as stack:
        run("ip", "netns", "add", name)
        stack.callback(run, "ip", "netns", "delete", name)
        run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        stack.callback(run, "ip", "link", "delete", name)
        run("ip", "address", "add", f"{made.here[0]}/24", "dev", name)
        run("ip", "-6", "address", "add", f"{made.here[1]}/64", "dev", name, "nodad")
        run("ip", "link", "set", name, "up")
        run("ip", "route", "add", f"{made.metadata}/32", "dev", name)
        run(*inside, "link", "set", "lo", "up")
        run(*inside, "address", "add", f"{made.v4}/24", "dev", "eth0")
        run(*inside, "address", "add", f"{made.metadata}/32", "dev", "eth0")
        run(*inside, "-6", "address", "add", f"{made.v6}/64", "dev", "eth0", "nodad")
        run(*inside, "link", "set", "eth0", "up")
        world = subprocess.Popen(
            ["ip", "netns", "exec", name, sys.executable, "-I", "-S", "-c", _WORLD], stdout=subprocess.PIPE
        )
        stack.callback(_end, world)
        assert world.stdout is not None
        assert world.stdout.readline() == b"ready\n"
        yield made


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


@frozen
class Ears:
    """A listener on every address of this host, TCP and UDP on one `port`; `heard` has who came, as
    `tcp FROM -> TO` or `udp FROM`.
    """

    port: int
    heard: list[str] = field(factory=list)
    _news: threading.Condition = field(factory=threading.Condition)

    def hear(self, what: str) -> None:
        with self._news:
            self.heard.append(what)
            self._news.notify_all()

    def reached_by_us(self, address: str) -> None:
        """Proves that it listens there, by a visit of our own; and that whoever came earlier has been heard,
        since visitors are taken in turn.
        """
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as visit:
                visit.settimeout(20)
                visit.connect((address, self.port))
                if kind == socket.SOCK_DGRAM:
                    visit.send(b"us")
                name = "tcp" if kind == socket.SOCK_STREAM else "udp"
                ours = f"{name} {visit.getsockname()[0]}:{visit.getsockname()[1]}"
                with self._news:
                    came = self._news.wait_for(
                        lambda ours=ours: any(x.startswith(ours) for x in self.heard), 20
                    )
                    assert came, f"nobody hears {ours}"
                    self.heard[:] = [x for x in self.heard if not x.startswith(ours)]


@contextmanager
def ears() -> Iterator[Ears]:
    """Visitors get one line, which says that they came through."""
    with ExitStack() as stack:
        tcp = stack.enter_context(
            socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
        )
        made = Ears(tcp.getsockname()[1])
        udp = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        udp.bind(("::", made.port))
        for _, link in socket.if_nameindex():
            _join(udp, link)
        threads = [
            threading.Thread(target=_take, args=(made, tcp)),
            threading.Thread(target=_receive, args=(made, udp)),
        ]
        for thread in threads:
            thread.start()
        try:
            yield made
        finally:
            with contextlib.suppress(OSError):
                tcp.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(OSError):
                udp.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()


def _join(udp: socket.socket, link: str) -> None:
    number = socket.if_nametoindex(link)
    with contextlib.suppress(OSError):
        wish = socket.inet_pton(socket.AF_INET6, GROUPS[1]) + struct.pack("@I", number)
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, wish)
    with contextlib.suppress(OSError):
        wish = socket.inet_aton(GROUPS[0]) + bytes(4) + struct.pack("@I", number)
        udp.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, wish)


def _plain(place: Sequence[object]) -> str:
    return f"{str(place[0]).removeprefix('::ffff:')}:{place[1]}"


def _take(made: Ears, tcp: socket.socket) -> None:
    while True:
        try:
            visitor, peer = tcp.accept()
        except OSError:
            return
        with visitor, contextlib.suppress(OSError):
            made.hear(f"tcp {_plain(peer)} -> {_plain(visitor.getsockname())}")
            visitor.sendall(b"host\n")


def _receive(made: Ears, udp: socket.socket) -> None:
    while True:
        try:
            data, peer = udp.recvfrom(2048)
        except OSError:
            return
        if not data:
            return
        made.hear(f"udp {_plain(peer)} {data[:40]!r}")


HOSTILE = """
echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad
for where in all eth0; do
    echo 1 >/proc/sys/net/ipv4/conf/$where/route_localnet
    echo 0 >/proc/sys/net/ipv4/conf/$where/rp_filter
done
ip addr flush dev lo
ip route replace 127.0.0.0/8 via 10.0.2.2 dev eth0
ip route replace 224.0.0.0/4 via 10.0.2.2 dev eth0
ip -6 addr add fec0::77/64 dev eth0
ip -6 route replace default via fec0::2 dev eth0
ip -6 route replace ::1/128 via fec0::2 dev eth0
ip -6 route replace fd00::/64 via fec0::2 dev eth0
"""
"""What root in a guest does first: whatever it sends, to loopback addresses too, now goes to QEMU."""


_UDP = "timeout 3 tftp -g -l /dev/null -r x $1 $2 2>&1 | grep -o 'server error.*'"


def tcp_tries(places: Sequence[tuple[str, int]], *, say: str = "") -> str:
    """A command for a guest: visits them all at once and prints one line `ADDRESS PORT WHAT-THEY-SAID` for
    each that said something.
    """
    return _tries(places, f"printf '{say}' | timeout 4 nc -w 2 $1 $2 2>/dev/null | head -n 1")


def udp_tries(places: Sequence[tuple[str, int]]) -> str:
    """The same by UDP: a datagram of TFTP, again while nothing comes back."""
    return _tries(places, _UDP)


def all_tries(places: Sequence[tuple[str, int]], *, say: str = "") -> str:
    """By TCP and UDP, all at once."""
    return f"{{ {tcp_tries(places, say=say)}; }} &\n{udp_tries(places)}\nwait\ntrue"


def _tries(places: Sequence[tuple[str, int]], visit: str) -> str:
    calls = "".join(f"try {address} {port} &\n" for address, port in places)
    return f'try() {{ said=$( {visit} ); [ -n "$said" ] && echo "$1 $2 $said"; }}\n{calls}wait\ntrue'


def own_addresses() -> list[str]:
    """This host's addresses as `ip` tells them, loopback and those that need a scope left out."""
    shown = subprocess.run(["ip", "-oneline", "address"], capture_output=True, text=True, check=True).stdout
    words = [line.split() for line in shown.splitlines()]
    found = [word[3].split("/")[0] for word in words if word[2] in ("inet", "inet6")]
    return [each for each in found if not each.startswith(("127.", "fe80:")) and each != "::1"]
