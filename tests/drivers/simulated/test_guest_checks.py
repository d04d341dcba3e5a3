"""Simulated guests keep the promises that every way into guests makes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from ecompute_server.guest.checks import CHECKS, LAST_CHECKS, Bench, Check


@pytest.mark.parametrize("check", CHECKS + LAST_CHECKS, ids=lambda check: str(check.__name__))
def test_simulated_guests_keep_a_promise(
    check: Check, running: Callable[[], AbstractAsyncContextManager[Bench]]
) -> None:
    """Each public check passes."""

    async def main() -> None:
        async with running() as bench:
            await check(bench)

    asyncio.run(main())
