"""Walls of the host's kernel: QEMU has the host's network, and no process of its user opens a connection to
any address of the host.

For root only, on hosts without user namespaces. The rules are a table of our own in nftables, named after the
installation; they say something of that user alone. They stay when the server ends and guests run on, and go
with the last guest. Another program that empties nftables takes the walls away until the next start of a
machine or of the server.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import os
import shutil
import socket
import subprocess
from pathlib import Path

from ecompute_server.hypervisor.interface import HypervisorError
from ecompute_server.hypervisor.libvirt.files import Owner
from ecompute_server.hypervisor.libvirt.layout import MachineFiles
from ecompute_server.hypervisor.libvirt.network.direct import DirectNetwork
from ecompute_server.hypervisor.libvirt.network.interface import Ask, GuestNetwork

PATIENCE = 10.0
RESOLVERS = Path("/etc/resolv.conf")

_libc = ctypes.CDLL(None)

# Added, deleted and filled in one transaction: there is no moment without it. Answers to whoever connected to
# a forward are `established`; a name server may be this host's own. The kernel decides by its routes what is
# local, so an address counts from the moment the host has it.
_RULES = """\
table inet {table}
delete table inet {table}
table inet {table} {{
  chain guests {{
    ct state established accept
{names}
    fib daddr type {{ local, broadcast, multicast, anycast }} goto refused
    ip daddr {{ 169.254.0.0/16, 224.0.0.0/4 }} goto refused
    ip6 daddr {{ fe80::/10, ff00::/8, ::ffff:0:0/96 }} goto refused
  }}
  chain refused {{
    meta l4proto tcp reject with tcp reset
    reject
  }}
  chain output {{
    type filter hook output priority filter; policy accept;
    meta skuid {uid} jump guests
  }}
}}
"""


def rules(table: str, uid: int, name_servers: list[str]) -> str:
    """What `nft -f` takes: the table anew."""
    names = []
    for server in name_servers:
        family = "ip6" if ":" in server else "ip"
        names.append(f"    {family} daddr {server} meta l4proto {{ tcp, udp }} th dport 53 accept")
    return _RULES.format(table=table, uid=uid, names="\n".join(names))


def name_servers(resolv_conf: str) -> list[str]:
    """The addresses in the text of a resolv.conf(5); those with a scope are left out."""
    found = []
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver" and "%" not in words[1]:
            with contextlib.suppress(ValueError):
                found.append(str(ipaddress.ip_address(words[1])))
    return found


def program() -> str | None:
    """nftables' command, None when it is not installed."""
    return shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def fault(owner: Owner | None) -> str:
    """Why these walls cannot be had here, empty when they can. Asks the kernel and changes nothing."""
    if owner is None:
        return "guests do not run as a user of their own"
    nft = program()
    if nft is None:
        return "nftables is not installed"
    return _give(nft, rules("ecompute_trial", owner.uid, ["127.0.0.53", "::1"]), "--check")


def _give(nft: str, text: str, *options: str) -> str:
    """What nft says is wrong with it, empty when nothing is."""
    try:
        done = subprocess.run(
            [nft, *options, "--file", "-"],
            input=text,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            cwd="/",
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr.strip() or f"exit status {done.returncode}")


def reaches_loopback(uid: int) -> bool:
    """Whether a process of that user can connect to a listener of ours. Blocks, in a thread of root's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # A socket bears the user of the thread that makes it, and this one is changed in no other.
        _libc.setfsuid(uid)
        try:
            caller = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        finally:
            _libc.setfsuid(os.geteuid())
        with caller:
            caller.settimeout(PATIENCE)
            return caller.connect_ex(listener.getsockname()) == 0


class Firewall:
    """A kind of `Walls`. `mark` tells this installation from others."""

    def __init__(self, owner: Owner, mark: str) -> None:
        self._owner = owner
        self._table = f"ecompute_{mark}"
        self._held = False

    def hold(self) -> None:
        """Loads the rules and tries them."""
        nft = program()
        if nft is None:
            raise HypervisorError("The walls of the guests do not hold: nftables is not installed.")
        try:
            resolvers = name_servers(RESOLVERS.read_text())
        except OSError:
            resolvers = []
        wrong = _give(nft, rules(self._table, self._owner.uid, resolvers))
        self._held = not wrong
        if not wrong and reaches_loopback(self._owner.uid):
            wrong = "the rules are loaded and do nothing"
        if wrong:
            raise HypervisorError(f"The walls of the guests do not hold: {wrong.splitlines()[0]}")

    def release(self) -> None:
        """Removes the rules. Those that an earlier server left are this one's only after `hold`."""
        nft = program()
        if self._held and nft is not None:
            _give(nft, f"delete table inet {self._table}")
            self._held = False

    def emulator(self, qemu: Path) -> Path:
        """QEMU itself."""
        return qemu

    def prepare(self, files: MachineFiles) -> None:
        """As the interface says."""

    def enter(self, pid: int, files: MachineFiles, ask: Ask) -> GuestNetwork:
        """As the interface says."""
        return DirectNetwork(pid, ask)
