"""The time of day, as an argument: records are stamped by a clock that tests can hold."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds since the epoch."""

system_clock: Clock = time.time
