"""Web pages of other origins: only those of the setting."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from ecompute_server.settings import SettingsError, gather
from ecompute_server.testing import RunningServer, running_server
from tests.server.http.wire import Wire

PAGE = "https://console.example"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}


@pytest.fixture(scope="module")
def open_server() -> Iterator[RunningServer]:
    """A server that one page may use."""
    with running_server(allowed_origins=(PAGE, "http://127.0.0.1:3000")) as server:
        yield server


@pytest.mark.parametrize("path", ["/compute/containers", "/api/login", "/compute/containers/abc12345/ssh"])
def test_a_preflight_is_answered_without_a_credential(open_server: RunningServer, path: str) -> None:
    """With what the browser wants to know, for every path of the API."""
    answer = httpx.options(open_server.url + path, headers={"Origin": PAGE, **PREFLIGHT})
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok"}
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-headers"] == "Authorization, Content-Type, Idempotency-Key"
    methods = answer.headers["access-control-allow-methods"].split(", ")
    assert methods == httpx.patch(open_server.url + path).headers["allow"].split(", ")
    assert "Origin" in answer.headers["vary"]


def test_every_answer_can_be_read_by_the_page(open_server: RunningServer) -> None:
    """Refusals as well; with the headers that a program needs."""
    answer = httpx.get(f"{open_server.url}/compute/containers", headers={"Origin": PAGE})
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == PAGE
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert {"X-Request-Id", "Retry-After"} <= set(exposed)


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "https://console.example.evil", "null", PAGE + "/"]
)
def test_another_page_gets_nothing(open_server: RunningServer, origin: str) -> None:
    """Neither permission nor a preflight's answer; caches keep the answers apart."""
    url = f"{open_server.url}/compute/containers"
    for answer in (
        httpx.get(url, headers={"Origin": origin}),
        httpx.options(url, headers={"Origin": origin, **PREFLIGHT}),
    ):
        assert "access-control-allow-origin" not in answer.headers
        assert answer.status_code in (401, 405)
        assert answer.headers["vary"] == "Origin"


def test_an_options_request_that_is_no_preflight_is_a_wrong_method(open_server: RunningServer) -> None:
    """As everywhere."""
    answer = httpx.options(f"{open_server.url}/compute/containers", headers={"Origin": PAGE})
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


def test_without_the_setting_nothing_is_said_of_origins(server: RunningServer) -> None:
    """Which is the default."""
    url = f"{server.url}/compute/containers"
    answer = httpx.options(url, headers={"Origin": PAGE, **PREFLIGHT})
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control") or name == "vary"]


def test_the_list_is_for_websockets_too(open_server: RunningServer) -> None:
    """A listed page and the server's own may open one; another gets 403, though its credential is valid."""
    own = open_server.url
    for origin, status in ((PAGE, 101), (own, 101), ("https://evil.example", 403), ("null", 403)):
        with Wire(open_server, "/compute/ws", headers={"Origin": origin}) as wire:
            assert wire.status == status


@pytest.mark.parametrize(
    "origin", ["*", "console.example", "https://a.example/", "https://A.example", "ftp://a"]
)
def test_what_no_browser_sends_is_no_setting(origin: str) -> None:
    """It would never match, so it is refused with a sentence."""
    with pytest.raises(SettingsError, match="no origin"):
        gather({"allowed_origins": (origin,)}, environment={})


def test_the_setting_comes_from_environment_and_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Under the option's name and its own."""
    folder = tmp_path_factory.mktemp("settings")
    (folder / "settings.toml").write_text('allowed-origins = ["https://b.example"]')
    assert gather({"state": folder}, environment={}).allowed_origins == ("https://b.example",)
    environment = {"ECOMPUTE_SERVER_ALLOWED_ORIGIN": "https://c.example, https://d.example"}
    assert gather({"state": folder}, environment=environment).allowed_origins == (
        "https://c.example",
        "https://d.example",
    )
