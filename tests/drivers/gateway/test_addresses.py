"""The plan of networks and addresses, by itself and with real sockets."""

from __future__ import annotations

import errno
import secrets
import socket

import pytest

from ecompute_server.gateway.addresses import (
    CLAIM_PORT,
    AddressPlan,
    addresses_from,
    claim_networks,
    draw,
    network_number,
    network_text,
    told_networks,
)
from ecompute_server.gateway.interface import GatewayError
from ecompute_server.gateway.ports import bind_obstacle, bind_sentence, can_bind_low_ports


class Host:
    """A host on which some networks are taken; counts who holds what."""

    def __init__(self, *taken: int) -> None:
        self.held = set(taken)

    def claim(self, number: int) -> Hold | None:
        if number in self.held:
            return None
        self.held.add(number)
        return Hold(self, number)


class Hold:
    def __init__(self, host: Host, number: int) -> None:
        self._host = host
        self._number = number

    def close(self) -> None:
        self._host.held.remove(self._number)


def test_an_installation_tries_each_network_once_in_its_own_order() -> None:
    """The order follows from the id alone and leaves out nobody."""
    assert sorted(draw("one")) == list(range(256))
    assert list(draw("one")) == list(draw("one"))
    assert len({next(draw(f"installation-{number}")) for number in range(100)}) > 50


def test_addresses_go_round() -> None:
    """Each address of a network once, beginning behind the last one given."""
    found = list(addresses_from(7, after=253))
    assert found[:2] == ["127.77.7.254", "127.77.7.2"]
    assert len(found) == len(set(found)) == 253


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("127.77.0.0/24", 0),
        ("127.77.255.9", 255),
        ("127.78.1.1", None),
        ("127.77.256.1", None),
        ("127.77.²0.1", None),
        ("127.77.1.0/16", None),
        ("10.0.0.1", None),
        ("", None),
    ],
)
def test_networks_are_read_from_texts(text: str, number: int | None) -> None:
    """What is none of ours is none."""
    assert network_number(text) == number


def test_a_taken_network_is_passed_over() -> None:
    """The next one of the order is drawn."""
    first, second = list(draw("here"))[:2]
    assert AddressPlan("here", Host(first).claim).networks == (network_text(second),)


def test_the_stored_network_comes_first() -> None:
    """An installation keeps its network, whatever its id says."""
    assert AddressPlan("here", Host().claim, stored=["127.77.9.0/24"]).networks == ("127.77.9.0/24",)


def test_a_stored_network_without_containers_may_be_lost() -> None:
    """Somebody else took it meanwhile: another one is drawn."""
    plan = AddressPlan("here", Host(9).claim, stored=["127.77.9.0/24"])
    assert plan.networks == (network_text(next(draw("here"))),)


def test_a_network_with_containers_may_not_be_lost() -> None:
    """The error names it, and nothing stays claimed."""
    host = Host(9)
    with pytest.raises(GatewayError, match=r"127\.77\.9\.0/24 .* held by another server"):
        AddressPlan("here", host.claim, stored=["127.77.3.0/24"], taken=["127.77.9.5"])
    assert host.held == {9}


def test_the_networks_of_all_containers_are_claimed() -> None:
    """Also those that nobody stored."""
    plan = AddressPlan("here", Host().claim, stored=["127.77.3.0/24"], taken=["127.77.9.5", "127.77.3.8"])
    assert plan.networks == ("127.77.3.0/24", "127.77.9.0/24")


def test_addresses_are_given_out_once_and_come_back_late() -> None:
    """An address that was given back is not the next one."""
    plan = AddressPlan("here", Host().claim, stored=["127.77.9.0/24"], taken=["127.77.9.3"])
    assert [plan.take(), plan.take()] == ["127.77.9.2", "127.77.9.4"]
    plan.give_back("127.77.9.2")
    plan.give_back("127.77.9.2")
    assert plan.take() == "127.77.9.5"
    rest = [plan.take() for _ in range(250)]
    assert rest[-1] == "127.77.9.2"


def test_a_full_network_is_joined_by_another() -> None:
    """The 254th container gets an address of a second network."""
    plan = AddressPlan("here", Host().claim)
    addresses = [plan.take() for _ in range(254)]
    assert len(set(addresses)) == 254
    assert plan.networks == tuple(network_text(number) for number in list(draw("here"))[:2])
    assert network_number(addresses[-1]) == list(draw("here"))[1]


def test_a_host_without_a_free_network() -> None:
    """One sentence, at the start and later."""
    with pytest.raises(GatewayError, match="No network"):
        AddressPlan("here", Host(*range(256)).claim)


def test_closing_lets_go_of_everything() -> None:
    """Twice is as good as once."""
    host = Host()
    plan = AddressPlan("here", host.claim, stored=["127.77.9.0/24", "127.77.8.0/24"])
    plan.close()
    plan.close()
    assert host.held == set()


def test_two_installations_of_one_id_get_different_networks() -> None:
    """Real sockets keep them apart, and a closed one's network can be had again."""
    name = secrets.token_hex(8)
    first = claim_networks(name)
    second = claim_networks(name)
    try:
        assert set(first.networks).isdisjoint(second.networks)
        with pytest.raises(GatewayError, match="held by another server"):
            claim_networks(name, stored=first.networks, taken=[first.take()])
    finally:
        second.close()
        networks = first.networks
        first.close()
    again = claim_networks(name, stored=networks)
    assert again.networks == networks
    again.close()


def test_a_claim_is_a_port_that_nobody_else_can_bind() -> None:
    """Not even by SO_REUSEADDR; and nothing answers there."""
    plan = claim_networks(secrets.token_hex(8))
    where = (plan.networks[0].replace(".0/24", ".1"), CLAIM_PORT)
    try:
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with pytest.raises(OSError, match="in use"):
                other.bind(where)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(where)
    finally:
        plan.close()


def test_a_told_plan_holds_nothing() -> None:
    """The same addresses for a simulated host, twice at the same time."""
    first, second = told_networks("here"), told_networks("here")
    assert first.networks == second.networks
    assert first.take() == second.take()


def test_a_port_in_use_is_an_obstacle() -> None:
    """Told as one sentence; a free one is none."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert "in use" in (bind_obstacle("127.0.0.1", port) or "")
        assert can_bind_low_ports("127.0.0.1", port)
    assert bind_obstacle("127.0.0.1", port) is None


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EADDRINUSE, "in use by another program"),
        (errno.EACCES, "--port-offset"),
        (errno.EADDRNOTAVAIL, "does not have that address"),
        (errno.EMFILE, "too many files"),
        (errno.ENETDOWN, "Network is down"),
    ],
)
def test_each_failure_to_bind_has_its_sentence(number: int, words: str) -> None:
    """It names the port and what helps."""
    said = bind_sentence(OSError(number, "Network is down"), "127.77.1.2", 22)
    assert said.startswith("127.77.1.2:22 ")
    assert words in said
    assert said.endswith(".")
