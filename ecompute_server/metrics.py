"""What the server counts, for Prometheus.

Counting is plain arithmetic on the event loop and the library turns the numbers into text when somebody asks:
its own counters take a lock for each step, which costs five times as much on every request. Nothing here is
in the library's global registry, so that several servers in one process keep apart.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import accumulate

from attrs import frozen
from prometheus_client import CollectorRegistry, Metric, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from ecompute.contract.catalog import Arch, Status
from ecompute.contract.endpoints import CHANNELS

from .core.record import ContainerRecord
from .logs import known_method
from .store.interface import Change

REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds; the library's defaults, and finer where most answers lie."""
BOOT_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0)
"""Seconds; from a simulated guest to the default boot deadline."""


@frozen
class Queues:
    """How much waits where, asked when somebody looks; none of these may block.

    `writes` are those of the store, `effects` the supervisor's; `feeds` has one length for each subscription.
    """

    writes: Callable[[], int]
    effects: Callable[[], int]
    feeds: Callable[[], Sequence[int]]


class Metrics:
    """All figures of one server. Lives on the event loop; only `exposition` costs more than a microsecond or
    two.

    `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        *,
        version: str,
        containers: Callable[[], Collection[ContainerRecord]],
        queues: Queues,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._version = version
        self._containers = containers
        self._queues = queues
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._latency: dict[str, _Times] = defaultdict(lambda: _Times(REQUEST_BUCKETS))
        self._sockets: dict[str, int] = {channel.name: 0 for channel in CHANNELS}
        self._boots = _Boots(clock)
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def request(self, row: str, method: str, status: int, seconds: float) -> None:
        """An HTTP request was answered. `row` is a row's name, or one word for all that is none."""
        self._requests[row, known_method(method), status] += 1
        self._latency[row].add(seconds)

    def socket_opened(self, channel: str) -> None:
        """A WebSocket of this row was accepted."""
        self._sockets[channel] += 1

    def socket_closed(self, channel: str) -> None:
        """A WebSocket of this row is gone."""
        self._sockets[channel] -= 1

    def committed(self, change: Change) -> None:
        """A container changed; to be given to `ContainerStore.listen`."""
        self._boots.committed(change)

    def exposition(self) -> tuple[bytes, str]:
        """Everything in Prometheus' text format, and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_PLAIN_0_0_4

    def collect(self) -> Iterator[Metric]:
        """The figures of now, as `prometheus_client.registry.Collector` wants them."""
        build = InfoMetricFamily("ecompute_build", "The server's version.")
        build.add_metric([], {"version": self._version})
        yield build
        yield from self._of_requests()
        yield _gauge("ecompute_open_sockets", "WebSockets that are open.", "channel", self._sockets.items())
        alive = Counter(record.life.status for record in self._containers() if not record.life.deleted)
        yield _gauge(
            "ecompute_containers",
            "Containers that are not deleted.",
            "status",
            [(status, alive[status]) for status in Status],
        )
        yield from self._boots.collect()
        yield from self._of_queues()

    def _of_requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "ecompute_http_requests", "HTTP requests answered.", labels=["row", "method", "status"]
        )
        for (row, method, status), count in self._requests.items():
            requests.add_metric([row, method, str(status)], count)
        yield requests
        yield _histogram(
            "ecompute_http_request_duration_seconds",
            "Time from a request's head to the head of its answer.",
            "row",
            self._latency.items(),
        )

    def _of_queues(self) -> Iterator[Metric]:
        feeds = self._queues.feeds()
        for name, help_, value in (
            ("ecompute_store_queue_depth", "Writes that are not on disk yet.", self._queues.writes()),
            ("ecompute_effect_queue_depth", "Effects not carried out yet.", self._queues.effects()),
            ("ecompute_feed_queue_depth_max", "Messages in the longest feed queue.", max(feeds, default=0)),
            ("ecompute_feed_subscriptions", "Feed subscriptions.", len(feeds)),
        ):
            yield GaugeMetricFamily(name, help_, value=value)


class _Boots:
    """How long containers take from their start to the answer of their guest."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._begun: dict[str, tuple[int, float]] = {}
        self._times = {arch: _Times(BOOT_BUCKETS) for arch in Arch}
        self._failed = dict.fromkeys(Arch, 0)

    def committed(self, change: Change) -> None:
        before, after = change.before, change.after
        if after is None or after.life.deleted:
            gone = after or before
            if gone is not None:
                self._begun.pop(gone.id, None)
            return
        life = after.life
        if life.status is Status.PENDING:
            if before is None or before.life.generation != life.generation:
                self._begun[after.id] = (life.generation, self._clock())
        elif life.status is not Status.INITIALIZING:
            generation, since = self._begun.pop(after.id, (None, 0.0))
            if generation != life.generation:
                return
            if life.status is Status.RUNNING:
                self._times[after.type.arch].add(self._clock() - since)
            elif life.status is Status.FAILED:
                self._failed[after.type.arch] += 1

    def collect(self) -> Iterator[Metric]:
        yield _histogram(
            "ecompute_container_boot_seconds",
            "Time from a container's start until SSH in its guest answered.",
            "arch",
            self._times.items(),
        )
        failed = CounterMetricFamily(
            "ecompute_container_boots_failed", "Boots that ended in failed.", labels=["arch"]
        )
        for arch, count in self._failed.items():
            failed.add_metric([arch], count)
        yield failed


class _Times:
    """A histogram of seconds; a bound belongs to the bucket below it."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def told(self) -> tuple[list[tuple[str, float]], float]:
        """Cumulative buckets up to `+Inf`, and the sum."""
        names = [*map(str, self._bounds), "+Inf"]
        return list(zip(names, map(float, accumulate(self._counts)), strict=True)), self._sum


def _gauge(name: str, help_: str, label: str, values: Iterable[tuple[str, int]]) -> Metric:
    gauge = GaugeMetricFamily(name, help_, labels=[label])
    for value, number in values:
        gauge.add_metric([value], number)
    return gauge


def _histogram(name: str, help_: str, label: str, values: Iterable[tuple[str, _Times]]) -> Metric:
    histogram = HistogramMetricFamily(name, help_, labels=[label])
    for value, times in values:
        buckets, total = times.told()
        histogram.add_metric([value], buckets, total)
    return histogram
