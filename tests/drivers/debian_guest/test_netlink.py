"""The card's address and route: the bytes, and a kernel that takes them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from struct import unpack_from

import pytest
from ecompute_guest import netlink

from .conftest import GUEST

CONFIGURED_TWICE = """
import subprocess, sys
sys.path.insert(0, sys.argv[1])
from ecompute_guest import netlink
def ip(*words):
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout
ip("link", "add", "card", "type", "bridge")
[card] = [int(line.split(":")[0]) for line in ip("-o", "link").splitlines() if " card:" in line]
before = None
for address in ("10.0.2.15/24", "10.0.2.15/24", "10.0.2.99/24"):
    netlink.apply(netlink.requests(card, address, "10.0.2.2", before))
    before = address
    print(ip("-o", "-4", "address", "show", "dev", "card").split("scope")[0], ip("route", "show", "default"))
print("UP" in ip("link", "show", "card"))
try:
    netlink.apply(netlink.requests(card, "10.0.2.99/24", "192.0.2.1", None))
except OSError as problem:
    print(problem)
"""


@pytest.mark.parametrize(
    "wrong", ["", "10.0.2.15", "10.0.2.15/33", "10.0.2.15/-1", "10.0.2/24", "::1/64", "a/8"]
)
def test_what_is_no_address_is_refused(wrong: str) -> None:
    """An address has four numbers and a prefix, and the sentence repeats it."""
    with pytest.raises(ValueError, match="no IPv4 address"):
        netlink.split(wrong)


def test_every_message_tells_its_length() -> None:
    """rtnetlink(7): a header of 16 bytes with the whole length, attributes padded to four."""
    asked = netlink.requests(3, "10.0.2.15/24", "10.0.2.2", "10.0.2.14/24")
    assert [words for words, _ in asked] == [
        "the old address",
        "the address",
        "the network card",
        "the default route",
    ]
    for _, request in asked:
        length, kind, flags = unpack_from("=IHH", request)
        assert length == len(request)
        assert length % 4 == 0
        assert kind in (16, 20, 21, 24)
        assert flags & 0x5 == 0x5, "a request with an answer"


def test_the_old_address_goes_only_when_there_is_another() -> None:
    """The same identity twice asks for nothing to be taken away."""
    for before in (None, "10.0.2.15/24"):
        assert len(netlink.requests(3, "10.0.2.15/24", "10.0.2.2", before)) == 3


def test_the_first_card_is_a_device(tmp_path: Path) -> None:
    """The loopback and bridges are none; without any the sentence says so."""
    (tmp_path / "br0").mkdir()
    with pytest.raises(ValueError, match="no network card"):
        netlink.first_card(str(tmp_path))
    for name, index in (("eth1", 5), ("eth0", 4)):
        (tmp_path / name / "device").mkdir(parents=True)
        (tmp_path / name / "ifindex").write_text(f"{index}\n")
    assert netlink.first_card(str(tmp_path)) == 4


def test_a_kernel_takes_an_identity_twice_and_then_another() -> None:
    """One address and one route each time, the card up; what it refuses is said in words."""
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode != 0:
        pytest.skip("this host lets nobody make a network namespace")
    done = subprocess.run(
        ["unshare", "-rn", sys.executable, "-B", "-c", CONFIGURED_TWICE, str(GUEST)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *lines, up, refused = [line.split() for line in done.stdout.splitlines() if line.strip()]
    assert [(line[3], line[line.index("via") + 1]) for line in lines] == [
        ("10.0.2.15/24", "10.0.2.2"),
        ("10.0.2.15/24", "10.0.2.2"),
        ("10.0.2.99/24", "10.0.2.2"),
    ]
    assert up == ["True"]
    assert " ".join(refused).endswith("the default route was refused: Network is unreachable")
