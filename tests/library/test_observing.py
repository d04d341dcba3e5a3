"""What can be seen of a client's work: hooks, numbers, the log, traces."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

import ecompute
from ecompute import observing

from .conftest import script
from .fake_server import LIMIT, FakeServer

pytestmark = pytest.mark.anyio

Serve = Callable[..., FakeServer]
Connect = Callable[..., Any]

BOX = {"id": "a", "name": "a", "status": "running"}


def troubled(serve: Serve) -> FakeServer:
    return serve(
        script(
            lambda r: r.wire.drop(),
            lambda r: r.refuse(503, "unavailable"),
            lambda r: r.answer(BOX),
            lambda r: r.refuse(404, "not_found"),
        )
    )


async def test_hooks_see_each_attempt(serve: Serve, connect: Connect) -> None:
    """What goes out, what comes back, why there is another and when."""
    seen: list[Any] = []
    note = seen.append
    hooks = ecompute.Hooks(request=note, response=note, retry=note)
    async with connect(troubled(serve), hooks=hooks) as client:
        await client.containers.get("a")
        stats = client.stats
    kinds = [(type(event).__name__, event.attempt) for event in seen]
    assert kinds == [
        ("RequestSent", 1),
        ("RetryPlanned", 1),
        ("RequestSent", 2),
        ("ResponseReceived", 2),
        ("RetryPlanned", 2),
        ("RequestSent", 3),
        ("ResponseReceived", 3),
    ]
    assert {event.request.operation for event in seen} == {"containers.get a"}
    lost, refused = (event.error for event in seen if isinstance(event, ecompute.RetryPlanned))
    assert isinstance(lost, ecompute.ConnectError)
    assert isinstance(refused, ecompute.Unavailable)
    assert [e.status for e in seen if isinstance(e, ecompute.ResponseReceived)] == [503, 200]
    assert all(e.seconds >= 0 for e in seen if isinstance(e, ecompute.ResponseReceived))
    assert (stats.requests, stats.retries, stats.channels, stats.reconnects) == (3, 2, 0, 0)


async def test_hooks_see_a_feed_come_back(serve: Serve, connect: Connect) -> None:
    """WebSockets are requests too; each try to come back is told."""

    def feed(request: Any) -> None:
        socket = request.upgrade()
        socket.snapshot(a="running")
        socket.wire.drop()

    def last(request: Any) -> None:
        socket = request.upgrade()
        socket.snapshot(a="stopped")
        socket.serve_until_closed()

    sent: list[ecompute.RequestSent] = []
    planned: list[ecompute.ReconnectPlanned] = []
    hooks = ecompute.Hooks(request=sent.append, reconnect=planned.append)
    async with connect(serve(script(feed, last)), hooks=hooks) as client:
        async with client.events() as events:
            await events.receive(timeout=LIMIT)
            assert (await events.receive(timeout=LIMIT)).status == "stopped"
        stats = client.stats
    assert [event.channel for event in sent] == [True, True]
    assert (stats.channels, stats.reconnects, len(planned)) == (2, 1, 1)
    assert isinstance(planned[0].error, ecompute.ConnectError)


async def test_a_hook_that_fails(serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the call goes on."""

    def broken(event: object) -> None:
        raise RuntimeError("in the hook")

    hooks = ecompute.Hooks(request=broken, response=broken)
    async with connect(serve(lambda r: r.answer(BOX)), hooks=hooks) as client:
        assert (await client.containers.get("a")).id == "a"
    assert [record.message for record in caplog.records if record.exc_info] == ["A hook has failed."] * 2


async def test_the_log(serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    """Retries at INFO, requests and answers at DEBUG, under one name; no header and no body in it."""
    caplog.set_level(logging.DEBUG, logger="ecompute")
    async with connect(troubled(serve)) as client:
        await client.containers.get("a")
    records = [record for record in caplog.records if record.name == "ecompute"]
    assert [r.levelname for r in records if "again in" in r.message] == ["INFO"] * 2
    assert any("containers.get a: status 200" in r.message for r in records)
    assert "t0ken" not in caplog.text


async def test_traces(serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """A span for each operation, with its row's name, its retries, and what went wrong."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("opentelemetry.trace.get_tracer", provider.get_tracer)
    async with connect(troubled(serve)) as client:
        await client.containers.get("a")
        with pytest.raises(ecompute.NotFound):
            await client.containers.get("a")
    good, bad = exporter.get_finished_spans()
    assert good.name == bad.name == "containers.get"
    assert good.attributes is not None
    assert good.attributes["url.template"] == "/compute/containers/{id}"
    assert good.attributes["server.address"] == "localhost"
    assert [event.name for event in good.events] == ["retry", "retry"]
    assert bad.status.status_code is StatusCode.ERROR
    assert bad.attributes is not None
    assert bad.attributes["error.type"] == "NotFound"
    assert bad.attributes["http.response.status_code"] == 404


def test_who_does_not_trace_pays_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the API in use there is no span."""
    monkeypatch.delitem(observing.sys.modules, "opentelemetry.trace")
    with observing.span(ecompute.contract.endpoints.LIST_CONTAINERS, "http://x") as nothing:
        assert nothing is None
