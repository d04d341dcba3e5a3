"""What a guest must not reach although it may reach the internet: this host, under any of its addresses.

The way out ends in a process of the host's own network, for which the host's addresses are local. So the
private namespace gets a `prohibit` route for each of them. Those that the host takes after the machine
started are added when they come (`addresses`).
"""

from __future__ import annotations

import re
from pathlib import Path

FIXED_V4 = ("169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32")
"""Link-local, where clouds keep their metadata service; multicast and broadcast, which the host hears too."""

FIXED_V6 = ("fe80::/10", "::ffff:0:0/96")
"""Link-local, and IPv4 addresses in IPv6 clothes."""

_LEAF = re.compile(r"\|-- (\d+\.\d+\.\d+\.\d+)$")
_OF_HOST = re.compile(r"/(\d+) (?:host LOCAL|link BROADCAST)$")


def local_v4(fib_trie: str) -> list[str]:
    """Where the host is itself in IPv4, broadcasts to it included, from the text of /proc/net/fib_trie;
    loopback left out. Each with its prefix length.
    """
    found, address = set(), ""
    for line in fib_trie.splitlines():
        if leaf := _LEAF.search(line):
            address = leaf[1]
        elif (what := _OF_HOST.search(line)) and not address.startswith("127."):
            found.add(f"{address}/{what[1]}")
    return sorted(found - set(FIXED_V4))


def local_v6(if_inet6: str) -> list[str]:
    """The host's IPv6 addresses from the text of /proc/net/if_inet6, loopback and link-local left out. Each
    with its prefix length.
    """
    addresses = set()
    for line in if_inet6.splitlines():
        digits = line.split(" ", 1)[0]
        if len(digits) == 32 and digits != "0" * 31 + "1" and not digits.startswith("fe8"):
            addresses.add(":".join(digits[i : i + 4] for i in range(0, 32, 4)) + "/128")
    return sorted(addresses)


def batch(v4: list[str], v6: list[str] | None) -> str:
    """Commands for `ip -batch` in the namespace, which may be given again; `v6` is None where the kernel has
    no IPv6.
    """
    nets = [*FIXED_V4, *v4, *((*FIXED_V6, *v6) if v6 is not None else ())]
    return "\n".join(["link set lo up", *(f"route replace prohibit {net}" for net in nets)]) + "\n"


def for_this_host(proc: Path = Path("/proc/net")) -> str:
    """The commands for this host as it is now.

    Raises:
        OSError: the kernel does not tell its addresses; no guest may start then.
    """
    v4 = local_v4((proc / "fib_trie").read_text())
    inet6 = proc / "if_inet6"
    return batch(v4, local_v6(inet6.read_text()) if inet6.exists() else None)


def missing(wanted: str, given: str) -> str:
    """The commands of one batch that are not in another, empty when all are. What the host is no more stays
    prohibited: the guest would else reach it in the moment in which it comes back.
    """
    had = set(given.splitlines())
    return "".join(f"{line}\n" for line in wanted.splitlines() if line not in had)
