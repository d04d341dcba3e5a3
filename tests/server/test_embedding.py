"""The server inside other programs: as an ASGI application, and by pytest's fixtures."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
import uvicorn

import ecompute
from ecompute_server import Settings, create_app
from ecompute_server.http.serving import listen
from ecompute_server.state import StateDirectory, StateError
from ecompute_server.testing import RunningServer


def test_the_application_under_somebody_else_s_server(tmp_path: Path) -> None:
    """It opens its state with the lifespan, holds it, and lets go at the end."""
    app = create_app(Settings(state=tmp_path, hypervisor="simulated"))
    started = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: object = None) -> None:
            await super().startup(sockets)  # type: ignore[arg-type]
            started.set()

    server = Server(uvicorn.Config(app, ws="wsproto", lifespan="on", log_config=None))
    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert started.wait(30)
            port = listener.getsockname()[1]
            assert httpx.get(f"http://127.0.0.1:{port}/api/session").status_code == 401
            with pytest.raises(StateError):
                StateDirectory(tmp_path).lock()
        finally:
            server.should_exit = True
            thread.join()
    again = StateDirectory(tmp_path)
    again.lock()
    again.unlock()


def test_the_fixtures(compute_server: RunningServer, compute_client: ecompute.Client) -> None:
    """A server and a client of it."""
    assert compute_client.session().user_id == compute_server.user_id


def test_the_plugin_loads_nothing_before_a_fixture_is_used() -> None:
    """A test suite that only has the package installed does not pay for it."""
    code = (
        "import sys, ecompute_server.pytest_plugin;"
        "print(sorted({m.partition('.')[0] for m in sys.modules}"
        " & {'starlette', 'httpx', 'hypothesis', 'cattrs', 'asyncssh', 'sqlite_utils'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
