"""The login throttle, in virtual time."""

from __future__ import annotations

from ecompute_server.identity.throttle import TRIES, Throttle, Try, address_key


class Watch:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def test_ten_tries_a_minute_and_then_the_time_to_wait() -> None:
    """For the name and for the address, each on its own; after the wait it goes on."""
    watch = Watch()
    throttle = Throttle(watch)
    for _ in range(TRIES):
        assert isinstance(throttle.begin("user a", "address 1"), Try)
        watch.time += 1
    assert throttle.begin("user a", "address 2") == 50
    assert throttle.begin("user b", "address 1") == 50
    assert isinstance(throttle.begin("user b", "address 2"), Try)
    watch.time += 50
    assert isinstance(throttle.begin("user a", "address 1"), Try)
    assert isinstance(throttle.begin("user a", "address 1"), int)


def test_a_refused_try_does_not_count() -> None:
    """Hammering on does not make the wait longer."""
    watch = Watch()
    throttle = Throttle(watch)
    for _ in range(TRIES):
        throttle.begin("user a")
    for _ in range(1000):
        assert throttle.begin("user a") == 60
    watch.time += 60
    assert isinstance(throttle.begin("user a"), Try)


def test_a_success_does_not_count() -> None:
    """But it does not excuse the failures before it."""
    throttle = Throttle(Watch())
    for _ in range(3 * TRIES):
        attempt = throttle.begin("user a")
        assert isinstance(attempt, Try)
        attempt.succeeded()
    for _ in range(TRIES - 1):
        throttle.begin("user a")
    last = throttle.begin("user a")
    assert isinstance(last, Try)
    assert throttle.begin("user a") == 60
    last.succeeded()
    assert isinstance(throttle.begin("user a"), Try)


def test_an_address_of_ipv6_is_its_network() -> None:
    """One host can take any address of its 64 bits; IPv4 in IPv6's clothes is IPv4."""
    assert address_key("2001:db8:1:2:3:4:5:6") == address_key("2001:db8:1:2::9")
    assert address_key("2001:db8:1:2::1") != address_key("2001:db8:1:3::1")
    assert address_key("::ffff:10.0.0.1") == address_key("10.0.0.1")
    assert address_key("fe80::1%eth0") == address_key("fe80::2")
    assert address_key("") == ""
