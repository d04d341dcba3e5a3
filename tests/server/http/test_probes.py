"""The paths for operators: alone, on a real database and the simulated hypervisor, and on a whole server."""

from __future__ import annotations

import asyncio
import logging
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.routing import Router

from ecompute_server.http import probes
from ecompute_server.http.probes import Pinged, Probes, Readiness
from ecompute_server.hypervisor.simulated import SimulatedHypervisor
from ecompute_server.store.database import SqliteFile
from ecompute_server.testing import RunningServer

PATHS = ("/healthz", "/readyz", "/metrics")


class Stage:
    """The paths without the server around them; `now` is the clock of what is remembered."""

    def __init__(self, file: SqliteFile, hypervisor: SimulatedHypervisor, asked: Pinged) -> None:
        self.file = file
        self.hypervisor = hypervisor
        self.now = 0.0
        self.draining = False
        self.probes = Probes(
            readiness=Readiness(database=file, hypervisor=asked, clock=lambda: self.now),
            exposition=lambda: (b"figures 1\n", "text/plain"),
            draining=lambda: self.draining,
        )
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(Router(self.probes.routes())), base_url="http://stage"
        )

    async def get(self, path: str, method: str = "GET") -> httpx.Response:
        return await self._client.request(method, path)

    async def ready(self) -> bool:
        """Asked a second after whatever was remembered."""
        self.now += probes.REMEMBERED_SECONDS
        answer = await self.get("/readyz")
        assert answer.status_code in (200, 503)
        return answer.status_code == 200


class Silent:
    """Something that answers only when it is told to; `asked` counts the questions."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer = asyncio.Event()
        self.heard = asyncio.Event()

    async def ping(self) -> None:
        self.asked += 1
        self.heard.set()
        await self.answer.wait()


def play(folder: Path, act: Callable[[Stage], Awaitable[None]], asked: Pinged | None = None) -> None:
    """Run `act` on a stage; `asked` stands for the hypervisor."""

    @asynccontextmanager
    async def stage() -> AsyncIterator[Stage]:
        file, hypervisor = SqliteFile(folder / "ecompute.db"), SimulatedHypervisor(folder)
        await hypervisor.open(lambda fact: None)
        built = Stage(file, hypervisor, asked or hypervisor)
        try:
            yield built
        finally:
            await built.probes.close()
            await hypervisor.close()
            await asyncio.to_thread(file.close)

    async def main() -> None:
        async with asyncio.timeout(30), stage() as built:
            await act(built)

    asyncio.run(main())


def refused(answer: httpx.Response, code: str) -> str:
    """The sentence of an error answer of the contract's form."""
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"error", "code"}
    assert body["code"] == code
    return str(body["error"])


def test_what_works_is_alive_and_ready(tmp_path: Path) -> None:
    """Both say so in the same words."""

    async def act(stage: Stage) -> None:
        for path in ("/healthz", "/readyz"):
            answer = await stage.get(path)
            assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
            assert answer.headers["cache-control"] == "no-store"
        answer = await stage.get("/metrics")
        assert (answer.status_code, answer.text) == (200, "figures 1\n")
        assert answer.headers["content-type"] == "text/plain"

    play(tmp_path, act)


@pytest.mark.parametrize("path", PATHS)
def test_the_paths_are_only_read(tmp_path: Path, path: str) -> None:
    """HEAD works, everything else is 405 and names what does."""

    async def act(stage: Stage) -> None:
        assert (await stage.get(path, "HEAD")).status_code == 200
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "BREW"):
            answer = await stage.get(path, method)
            assert answer.status_code == 405
            assert answer.headers["allow"] == "GET, HEAD"
            refused(answer, "method_not_allowed")

    play(tmp_path, act)


def test_a_server_that_drains_is_alive_and_not_ready(tmp_path: Path) -> None:
    """At once, whatever was remembered."""

    async def act(stage: Stage) -> None:
        assert await stage.ready()
        stage.draining = True
        answer = await stage.get("/readyz")
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        refused(answer, "unavailable")
        assert (await stage.get("/healthz")).status_code == 200

    play(tmp_path, act)


def test_a_hypervisor_that_is_gone_is_told_in_the_log_and_not_in_the_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once when it goes and once when it is back, however often somebody asks."""
    caplog.set_level(logging.INFO, "ecompute_server")

    def told() -> list[tuple[str, str | None]]:
        lines: list[Any] = [record.msg for record in caplog.records]
        return [(line["event"], line.get("hypervisor")) for line in lines]

    async def act(stage: Stage) -> None:
        stage.hypervisor.gone = True
        for _ in range(3):
            assert not await stage.ready()
        answer = await stage.get("/readyz")
        assert "hypervisor" not in refused(answer, "unavailable").lower()
        assert int(answer.headers["retry-after"]) > 0
        reason = "HypervisorError: the simulated hypervisor is gone"
        assert told() == [("not ready", reason)]
        assert (await stage.get("/healthz")).status_code == 200
        stage.hypervisor.gone = False
        assert await stage.ready()
        assert await stage.ready()
        assert told() == [("not ready", reason), ("ready again", None)]

    play(tmp_path, act)


def test_a_database_that_cannot_be_read_is_not_ready(tmp_path: Path) -> None:
    """Whatever its error is."""

    async def act(stage: Stage) -> None:
        assert await stage.ready()
        stage.file.reader.close()
        assert not await stage.ready()

    play(tmp_path, act)


def test_a_database_that_takes_no_transaction_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing piles up behind it, and it is ready again when it is free."""
    monkeypatch.setattr(probes, "DATABASE_SECONDS", 0.01)

    async def act(stage: Stage) -> None:
        with closing(sqlite3.connect(tmp_path / "ecompute.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for _ in range(3):
                assert not await stage.ready()
                assert stage.file.queue_depth == 1
        while not await stage.ready():
            assert stage.file.queue_depth <= 1
        assert stage.file.queue_depth == 0

    play(tmp_path, act)


def test_a_hypervisor_that_does_not_answer_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it does: then the next look finds it ready, and asks anew."""
    monkeypatch.setattr(probes, "HYPERVISOR_SECONDS", 0.01)
    silent = Silent()

    async def act(stage: Stage) -> None:
        for _ in range(3):
            assert not await stage.ready()
        assert silent.asked == 1
        silent.answer.set()
        assert await stage.ready()
        assert await stage.ready()
        assert silent.asked == 2

    play(tmp_path, act, silent)


def test_probes_at_the_same_time_share_one_look(tmp_path: Path) -> None:
    """One that hangs up does not end it for the others, and all within a second get its answer."""
    silent = Silent()

    async def act(stage: Stage) -> None:
        probes = [asyncio.create_task(stage.get("/readyz")) for _ in range(20)]
        await silent.heard.wait()
        probes[0].cancel()
        await asyncio.wait(probes[:1])
        silent.answer.set()
        assert [answer.status_code for answer in await asyncio.gather(*probes[1:])] == [200] * 19
        assert (await stage.get("/readyz")).status_code == 200
        assert silent.asked == 1
        assert await stage.ready()
        assert silent.asked == 2

    play(tmp_path, act, silent)


def test_a_stage_can_be_closed_while_somebody_waits(tmp_path: Path) -> None:
    """The question is given up, and nothing is left running."""
    silent = Silent()

    async def act(stage: Stage) -> None:
        probe = asyncio.create_task(stage.get("/readyz"))
        await silent.heard.wait()
        await stage.probes.close()
        await asyncio.wait([probe])
        assert asyncio.all_tasks() == {asyncio.current_task()}

    play(tmp_path, act, silent)


@pytest.mark.parametrize("path", PATHS)
def test_a_server_has_the_paths_without_a_credential(server: RunningServer, path: str) -> None:
    """With a request id, and without a body where none was asked for."""
    answer = httpx.get(server.url + path)
    assert answer.status_code == 200
    assert re.fullmatch(r"[0-9a-f]{16}", answer.headers["x-request-id"])
    head = httpx.head(server.url + path)
    assert (head.status_code, head.content) == (200, b"")
    assert httpx.post(server.url + path).headers["allow"] == "GET, HEAD"


def test_a_server_counts_its_requests_by_row(server: RunningServer) -> None:
    """Paths that nobody knows are one row, and containers are counted with their boots."""
    with server.client() as client, client.temporary(instance_type="tiny") as box:
        client.containers.get(box.id)
        for path in ("/no/such", f"/compute/containers/{box.id}/no/such"):
            assert httpx.get(server.url + path).status_code == 404
        assert httpx.get(f"{server.url}/compute/containers").status_code == 401
        text = httpx.get(f"{server.url}/metrics").text
    told: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            told[sample.name, *(sample.labels[name] for name in sorted(sample.labels))] = sample.value
    counted = "ecompute_http_requests_total"
    assert told[counted, "POST", "containers.create", "200"] == 1
    assert told[counted, "GET", "containers.get", "200"] >= 1
    assert told[counted, "GET", "containers.list", "401"] == 1
    assert told[counted, "GET", "unknown", "404"] == 2
    assert told["ecompute_containers", "running"] == 1
    assert told["ecompute_container_boot_seconds_count", "amd64"] == 1
    assert told["ecompute_container_boots_failed_total", "amd64"] == 0
