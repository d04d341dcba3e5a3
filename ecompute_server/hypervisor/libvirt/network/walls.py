"""What a guest must not reach although it may reach the internet: this host, under any of its addresses.

The way out ends in a process of the host's own network, for which the host's addresses are local. So the
private namespace gets a `prohibit` route for each of them. Addresses that the host takes after the machine
started are not covered.
"""

from __future__ import annotations

import re
from pathlib import Path

FIXED_V4 = ("169.254.0.0/16",)
"""Link-local, where clouds keep their metadata service."""

FIXED_V6 = ("fe80::/10", "::ffff:0:0/96")
"""Link-local, and IPv4 addresses in IPv6 clothes."""

_LOCAL_V4 = re.compile(r"^\s+\|-- (\d+\.\d+\.\d+\.\d+)\n\s+/32 host LOCAL", re.MULTILINE)


def local_v4(fib_trie: str) -> list[str]:
    """The host's IPv4 addresses from the text of /proc/net/fib_trie, loopback left out."""
    return sorted({a for a in _LOCAL_V4.findall(fib_trie) if not a.startswith("127.")})


def local_v6(if_inet6: str) -> list[str]:
    """The host's IPv6 addresses from the text of /proc/net/if_inet6, loopback and link-local left out."""
    addresses = set()
    for line in if_inet6.splitlines():
        digits = line.split(" ", 1)[0]
        if len(digits) == 32 and digits != "0" * 31 + "1" and not digits.startswith("fe8"):
            addresses.add(":".join(digits[i : i + 4] for i in range(0, 32, 4)))
    return sorted(addresses)


def batch(v4: list[str], v6: list[str] | None) -> str:
    """Commands for `ip -batch` in the new namespace; `v6` is None where the kernel has no IPv6."""
    lines = ["link set lo up"]
    lines += [f"route add prohibit {net}" for net in (*FIXED_V4, *(f"{a}/32" for a in v4))]
    if v6 is not None:
        lines += [f"route add prohibit {net}" for net in (*FIXED_V6, *(f"{a}/128" for a in v6))]
    return "\n".join(lines) + "\n"


def for_this_host(proc: Path = Path("/proc/net")) -> str:
    """The commands for this host as it is now.

    Raises:
        OSError: the kernel does not tell its addresses; no guest may start then.
    """
    v4 = local_v4((proc / "fib_trie").read_text())
    inet6 = proc / "if_inet6"
    return batch(v4, local_v6(inet6.read_text()) if inet6.exists() else None)
