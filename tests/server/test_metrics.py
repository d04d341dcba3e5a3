"""The figures for Prometheus, read as Prometheus reads them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from ecompute.contract.catalog import Status
from ecompute.contract.endpoints import CHANNELS
from ecompute_server import assembly
from ecompute_server.core.lifecycle import Command, Event, Happening, Observation, step
from ecompute_server.core.record import ContainerRecord
from ecompute_server.metrics import Metrics, Queues
from ecompute_server.settings import Settings
from ecompute_server.state import StateDirectory
from ecompute_server.store.interface import Change
from tests.server.records import order, record, user

PAGE = Path(__file__).parents[2] / "docs" / "running.md"


class Stage:
    """A server's metrics, with everything that they look at in plain sight."""

    def __init__(self) -> None:
        self.now = 100.0
        self.containers: dict[str, ContainerRecord] = {}
        self.writes, self.effects = 0, 0
        self.feeds: Sequence[int] = ()
        self.metrics = Metrics(
            version="1.2.3",
            containers=lambda: self.containers.values(),
            queues=Queues(lambda: self.writes, lambda: self.effects, lambda: self.feeds),
            clock=lambda: self.now,
        )

    def born(self, id_: str = "aaaaaaaa", **more: object) -> None:
        after = record(id_, **more)
        self.metrics.committed(Change(None, after))
        self.containers[id_] = after

    def happens(self, *events: Event | Happening, id_: str = "aaaaaaaa") -> None:
        """What happens belongs to the container's latest boot."""
        for event in events:
            before = self.containers[id_]
            if isinstance(event, Happening):
                event = Observation(event, before.life.generation)
            after = before.with_life(step(before.life, event).life)
            self.metrics.committed(Change(before, after))
            self.containers[id_] = after

    def families(self) -> dict[str, Metric]:
        text, content_type = self.metrics.exposition()
        assert content_type == "text/plain; version=0.0.4; charset=utf-8"
        return {family.name: family for family in text_string_to_metric_families(text.decode())}

    def value(self, name: str, **labels: str) -> float | None:
        found = [
            sample.value
            for family in self.families().values()
            for sample in family.samples
            if sample.name == name and sample.labels == labels
        ]
        assert len(found) <= 1
        return found[0] if found else None

    def boots(self, arch: str = "arm64") -> tuple[float | None, float | None, float | None]:
        """How many were there, how long they took together, and how many failed."""
        return (
            self.value("ecompute_container_boot_seconds_count", arch=arch),
            self.value("ecompute_container_boot_seconds_sum", arch=arch),
            self.value("ecompute_container_boots_failed_total", arch=arch),
        )


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_requests_are_counted_by_row_method_and_status(stage: Stage) -> None:
    """And there is no line for what never came."""
    for status in (200, 200, 404):
        stage.metrics.request("containers.get", "GET", status, 0.004)
    name = "ecompute_http_requests_total"
    assert stage.value(name, row="containers.get", method="GET", status="200") == 2
    assert stage.value(name, row="containers.get", method="GET", status="404") == 1
    assert stage.value(name, row="containers.get", method="GET", status="500") is None


def test_a_method_that_a_client_makes_up_is_no_label(stage: Stage) -> None:
    """All of them are one."""
    for method in ("BREW", "x" * 1000, 'G"T', "get"):
        stage.metrics.request("unknown", method, 405, 0.001)
    (family,) = [family for name, family in stage.families().items() if name == "ecompute_http_requests"]
    assert [(sample.labels["method"], sample.value) for sample in family.samples] == [("other", 4)]


def test_the_time_of_an_answer_is_in_every_bucket_that_holds_it(stage: Stage) -> None:
    """The bound itself included, and the last bucket has all."""
    for seconds in (0.0002, 0.25, 0.26, 99):
        stage.metrics.request("containers.list", "GET", 200, seconds)
    name = "ecompute_http_request_duration_seconds"
    buckets = {
        le: stage.value(f"{name}_bucket", row="containers.list", le=le) for le in ("0.001", "0.25", "0.5")
    }
    assert buckets == {"0.001": 1, "0.25": 2, "0.5": 3}
    assert stage.value(f"{name}_bucket", row="containers.list", le="+Inf") == 4
    assert stage.value(f"{name}_count", row="containers.list") == 4
    assert stage.value(f"{name}_sum", row="containers.list") == pytest.approx(99.5102)


def test_containers_are_counted_by_status(stage: Stage) -> None:
    """Each status has a line, also with nothing in it; a deleted container is none."""
    stage.born("aaaaaaaa")
    stage.born("bbbbbbbb")
    stage.born("cccccccc")
    stage.happens(Happening.BOOT_FAILED, id_="bbbbbbbb")
    stage.happens(Command.DELETE, id_="cccccccc")
    counts = {status: stage.value("ecompute_containers", status=status) for status in Status}
    assert counts == {**dict.fromkeys(Status, 0), Status.PENDING: 1, Status.FAILED: 1}


def test_open_sockets_are_counted_by_row(stage: Stage) -> None:
    """Each WebSocket row has a line from the beginning."""
    stage.metrics.socket_opened("terminal")
    stage.metrics.socket_opened("terminal")
    stage.metrics.socket_closed("terminal")
    counts = {row.name: stage.value("ecompute_open_sockets", channel=row.name) for row in CHANNELS}
    assert counts == {**{row.name: 0 for row in CHANNELS}, "terminal": 1}


def test_queues_are_looked_at_when_somebody_asks(stage: Stage) -> None:
    """Of the feeds the longest is told, and how many there are."""
    names = ("store_queue_depth", "effect_queue_depth", "feed_queue_depth_max", "feed_subscriptions")
    assert [stage.value(f"ecompute_{name}") for name in names] == [0, 0, 0, 0]
    stage.writes, stage.effects, stage.feeds = 3, 2, (0, 7, 1)
    assert [stage.value(f"ecompute_{name}") for name in names] == [3, 2, 7, 3]


def test_a_boot_takes_from_pending_to_running(stage: Stage) -> None:
    """By architecture; a reboot inside the guest is no boot."""
    stage.born()
    stage.now += 1.5
    stage.happens(Happening.MACHINE_STARTED)
    stage.now += 1
    stage.happens(Happening.GUEST_ANSWERED)
    stage.now += 60
    stage.happens(Happening.GUEST_ANSWERED)
    assert stage.boots() == (1, 2.5, 0)
    assert stage.value("ecompute_container_boot_seconds_bucket", arch="arm64", le="2.0") == 0
    assert stage.value("ecompute_container_boot_seconds_bucket", arch="arm64", le="3.0") == 1
    assert stage.boots("amd64") == (0, 0, 0)


def test_each_start_is_a_boot_of_its_own(stage: Stage) -> None:
    """The time between a stop and the next start does not count, nor does the boot that was stopped."""
    stage.born(instance_type="tiny")
    stage.now += 1
    stage.happens(Command.STOP)
    stage.now += 1000
    stage.happens(Command.START)
    stage.now += 4
    stage.happens(Happening.MACHINE_STARTED, Happening.GUEST_ANSWERED)
    assert stage.boots("amd64") == (1, 4, 0)


def test_a_restart_on_the_way_begins_the_boot_again(stage: Stage) -> None:
    """Only what the guest that answers took is a boot's time."""
    stage.born()
    stage.now += 10
    stage.happens(Command.RESTART)
    stage.now += 2
    stage.happens(Happening.GUEST_ANSWERED)
    assert stage.boots() == (1, 2, 0)


def test_a_boot_that_ends_in_failed_is_counted_once(stage: Stage) -> None:
    """A container that fails later, after it ran, had no failed boot."""
    stage.born()
    stage.happens(Happening.MACHINE_STARTED, Happening.BOOT_FAILED)
    assert stage.boots() == (0, 0, 1)
    stage.happens(Command.START, Happening.GUEST_ANSWERED, Happening.MACHINE_LOST)
    assert stage.boots() == (1, 0, 1)


def test_a_boot_whose_beginning_nobody_saw_has_no_time(stage: Stage) -> None:
    """A server that finds a machine booting does not know since when."""
    stage.containers["aaaaaaaa"] = record()
    stage.happens(Happening.MACHINE_STARTED, Happening.GUEST_ANSWERED)
    assert stage.boots() == (0, 0, 0)


def test_a_deleted_container_is_forgotten(stage: Stage) -> None:
    """Also when another one gets its id, and a purge without a delete before it changes nothing."""
    stage.born()
    stage.happens(Command.DELETE)
    stage.metrics.committed(Change(stage.containers.pop("aaaaaaaa"), None))
    stage.containers["aaaaaaaa"] = record()
    stage.happens(Happening.GUEST_ANSWERED)
    assert stage.boots() == (0, 0, 0)


def test_a_change_of_something_else_is_no_boot(stage: Stage) -> None:
    """A pending container that gets another name keeps the time of its start."""
    stage.born()
    stage.now += 3
    before = stage.containers["aaaaaaaa"]
    stage.containers["aaaaaaaa"] = attrs.evolve(before, name="other")
    stage.metrics.committed(Change(before, stage.containers["aaaaaaaa"]))
    stage.happens(Happening.GUEST_ANSWERED)
    assert stage.boots() == (1, 3, 0)


def test_what_waits_in_a_server_is_told_until_it_is_done(tmp_path: Path) -> None:
    """Effects and writes both, from a commit on; each subscription to the feed counts."""
    names = ("effect_queue_depth", "store_queue_depth", "feed_subscriptions")

    async def scene() -> None:
        settings = Settings(state=tmp_path, hypervisor="simulated")
        async with assembly.open_services(settings, StateDirectory(tmp_path)) as services:

            def waiting() -> list[float]:
                text = services.metrics.exposition()[0].decode()
                families = text_string_to_metric_families(text)
                values = {sample.name: sample.value for family in families for sample in family.samples}
                return [values[f"ecompute_{name}"] for name in names]

            assert waiting() == [0, 0, 0]
            await services.users.add(user())
            await services.containers.create(record(), limit=1)
            await order(services.containers, "aaaaaaaa", Command.STOP)
            assert waiting()[0] >= 2
            write = asyncio.create_task(services.database.ping())
            await asyncio.sleep(0)
            assert waiting()[1] >= 1
            await write
            services.broadcast.subscribe("u1")
            async with asyncio.timeout(30):
                while waiting() != [0, 0, 1]:
                    await services.database.ping()

    asyncio.run(scene())


def test_two_servers_in_one_process_keep_apart() -> None:
    """What one counts, the other does not tell."""
    one, other = Stage(), Stage()
    one.metrics.request("session", "GET", 200, 0.001)
    asked = {"row": "session", "method": "GET", "status": "200"}
    assert one.value("ecompute_http_requests_total", **asked) == 1
    assert other.value("ecompute_http_requests_total", **asked) is None


def test_the_version_is_told(stage: Stage) -> None:
    """As the label of a figure that is always 1."""
    assert stage.value("ecompute_build_info", version="1.2.3") == 1


def test_the_page_for_operators_lists_every_metric(stage: Stage) -> None:
    """Name, type and labels of its table are those of the registry, in its order, and no others."""
    stage.metrics.request("session", "GET", 200, 0.001)
    told = []
    for family in stage.families().values():
        sample = family.samples[0]
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        name = family.name + (suffix if not family.name.endswith(suffix) else "")
        told.append((name, family.type, ", ".join(label for label in sample.labels if label != "le")))
    written = re.findall(r"^\| `(\w+)` \| (\w+) \| ([\w, ]*?) *\| \S", PAGE.read_text(), re.MULTILINE)
    assert written == told
