"""The login throttle, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from ecompute_server.identity.throttle import FAILURES, Throttle, TooManyTries, address_key

pytestmark = pytest.mark.anyio


class Watch:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


async def fail(throttle: Throttle, *keys: str) -> None:
    async with throttle.attempt(*keys) as failed:
        failed()


async def refused(throttle: Throttle, *keys: str) -> int:
    with pytest.raises(TooManyTries) as caught:
        await fail(throttle, *keys)
    return caught.value.seconds


async def test_ten_failures_a_minute_and_then_the_time_to_wait() -> None:
    """For the name and for the address, each on its own; after the wait it goes on."""
    watch = Watch()
    throttle = Throttle(watch)
    for _ in range(FAILURES):
        await fail(throttle, "user a", "address 1")
        watch.time += 1
    assert await refused(throttle, "user a", "address 2") == 50
    assert await refused(throttle, "user b", "address 1") == 50
    await fail(throttle, "user b", "address 2")
    watch.time += 50
    await fail(throttle, "user a", "address 1")
    assert await refused(throttle, "user a", "address 1") == 1


async def test_a_refused_try_does_not_count() -> None:
    """Hammering on does not make the wait longer."""
    watch = Watch()
    throttle = Throttle(watch)
    for _ in range(FAILURES):
        await fail(throttle, "user a")
    for _ in range(1000):
        assert await refused(throttle, "user a") == 60
    watch.time += 60
    await fail(throttle, "user a")


async def test_a_success_does_not_count() -> None:
    """But it does not excuse the failures before it."""
    throttle = Throttle(Watch())
    for _ in range(FAILURES - 1):
        await fail(throttle, "user a")
    for _ in range(3 * FAILURES):
        async with throttle.attempt("user a"):
            pass
    await fail(throttle, "user a")
    assert await refused(throttle, "user a") == 60


async def test_who_succeeds_at_the_same_time_is_not_refused() -> None:
    """Fifty at once all get through, though never more than ten are tried at a time."""
    throttle = Throttle(Watch())
    trying = most = 0

    async def succeed() -> None:
        nonlocal trying, most
        async with throttle.attempt("user a", "address 1"):
            trying += 1
            most = max(most, trying)
            await asyncio.sleep(0)
            trying -= 1

    await asyncio.gather(*(succeed() for _ in range(50)))
    assert most == FAILURES


async def test_who_fails_at_the_same_time_does_not_slip_past() -> None:
    """Of fifty wrong ones at once ten are looked at."""
    throttle = Throttle(Watch())
    looked = 0

    async def guess() -> None:
        nonlocal looked
        async with throttle.attempt("user a") as failed:
            looked += 1
            await asyncio.sleep(0)
            failed()

    results = await asyncio.gather(*(guess() for _ in range(50)), return_exceptions=True)
    assert looked == FAILURES
    assert sum(isinstance(result, TooManyTries) for result in results) == 40


async def test_a_try_that_is_given_up_makes_room() -> None:
    """Its place is free again for those who wait."""
    throttle = Throttle(Watch())

    async def hang() -> None:
        async with throttle.attempt("user a"):
            await asyncio.Event().wait()

    hanging = [asyncio.create_task(hang()) for _ in range(FAILURES)]
    await asyncio.sleep(0)
    waiting = asyncio.create_task(fail(throttle, "user a"))
    hanging[0].cancel()
    await waiting
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)


def test_an_address_of_ipv6_is_its_network() -> None:
    """One host can take any address of its 64 bits; IPv4 in IPv6's clothes is IPv4."""
    assert address_key("2001:db8:1:2:3:4:5:6") == address_key("2001:db8:1:2::9")
    assert address_key("2001:db8:1:2::1") != address_key("2001:db8:1:3::1")
    assert address_key("::ffff:10.0.0.1") == address_key("10.0.0.1")
    assert address_key("fe80::1%eth0") == address_key("fe80::2")
    assert address_key("") == ""
