"""How often somebody may try to log in.

A sliding window for each user name and for each address. A try that succeeds does not count, so nobody is
held up by working; and nothing lasts longer than the window, so nobody can lock another one out for good.
"""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict, deque
from collections.abc import Callable

TRIES = 10
WINDOW_SECONDS = 60.0
_MOST_REMEMBERED = 100_000


class Throttle:
    """Counts tries by any number of keys. `now` is a monotonic clock in seconds."""

    def __init__(
        self, now: Callable[[], float], *, tries: int = TRIES, window: float = WINDOW_SECONDS
    ) -> None:
        self._now = now
        self._tries = tries
        self._window = window
        self._by_key: OrderedDict[str, deque[float]] = OrderedDict()

    def begin(self, *keys: str) -> Try | int:
        """Count a try under each key; or, when one of them has no try left, the whole seconds to wait."""
        now = self._now()
        waits = [self._wait(key, now) for key in keys]
        if any(waits):
            return max(1, math.ceil(max(waits)))
        for key in keys:
            self._by_key.setdefault(key, deque()).append(now)
            self._by_key.move_to_end(key)
        while len(self._by_key) > _MOST_REMEMBERED:
            self._by_key.popitem(last=False)
        return Try(self, keys, now)

    def take_back(self, keys: tuple[str, ...], moment: float) -> None:
        """Forget one try of each key."""
        for key in keys:
            moments = self._by_key.get(key)
            if moments is None:
                continue
            if moment in moments:
                moments.remove(moment)
            if not moments:
                del self._by_key[key]

    def _wait(self, key: str, now: float) -> float:
        moments = self._by_key.get(key)
        if moments is None:
            return 0.0
        while moments and moments[0] <= now - self._window:
            moments.popleft()
        return moments[0] + self._window - now if len(moments) >= self._tries else 0.0


class Try:
    """One counted try."""

    def __init__(self, throttle: Throttle, keys: tuple[str, ...], moment: float) -> None:
        self._throttle = throttle
        self._keys = keys
        self._moment = moment

    def succeeded(self) -> None:
        """Let it count no more."""
        self._throttle.take_back(self._keys, self._moment)


def address_key(address: str) -> str:
    """What counts as one address: an IPv6 network of 64 bits, since one host has all of it (RFC 6177)."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
