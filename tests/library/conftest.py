"""Both clients behind one face, so that one test says what holds for the two.

A test that takes `kind` runs three times: the sync client in threads, the async one on asyncio and on trio.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

import ecompute
from ecompute.protocol import policy

from .authority import Authority
from .fake_server import LIMIT, FakeServer, Request, serving


@pytest.fixture(params=["sync", "asyncio", "trio"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The backend that `kind` asks for, else asyncio."""
    kind = request.getfixturevalue("kind") if "kind" in request.fixturenames else "asyncio"
    return "asyncio" if kind == "sync" else kind


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on who runs it: there is no profile, and no variable of ours."""
    for name in ("ECOMPUTE_TOKEN", "ECOMPUTE_URL", "ECOMPUTE_PROFILE", "ECOMPUTE_CA_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ECOMPUTE_CONFIG", "/nonexistent/config.toml")


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between tries are there, but short: their lengths are tested where time is virtual."""
    monkeypatch.setattr(policy, "CALLS", policy.Retries(first=0.001))
    monkeypatch.setattr(policy, "RECONNECTS", policy.Retries(first=0.001, longest=0.01))


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Every test leaves as many of the library's threads as it found."""
    before = set(threading.enumerate())
    yield
    left = [t for t in threading.enumerate() if t.name.startswith("ecompute") and t not in before]
    for thread in left:
        thread.join(LIMIT)
    assert left == []


@pytest.fixture
def serve() -> Iterator[Callable[..., FakeServer]]:
    """Starts fake servers, which end with the test."""
    with ExitStack() as stack:
        yield lambda handle, tls=None: stack.enter_context(serving(handle, tls))


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A server's context for `localhost`, and the file of the authority to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    authority, chain = folder / "ca.pem", folder / "chain.pem"
    authority.write_bytes(certificate.public_bytes(Encoding.PEM))
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain.write_bytes(secret + authority.read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context, authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


class InThread:
    """The sync face as the async one: each call in a worker thread."""

    def __init__(self, target: Any) -> None:
        self.target = target

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.target, name.replace("aclose", "close"))
        if name in ("events", "terminal", "watch", "temporary"):
            return lambda *args, **named: InThread(value(*args, **named))
        if callable(value):
            return partial(self._call, value)
        return InThread(value) if hasattr(value, "_client") else value  # a group of operations

    @staticmethod
    async def _call(function: Callable[..., Any], *args: Any, **named: Any) -> Any:
        return await anyio.to_thread.run_sync(partial(function, *args, **named))

    async def __aenter__(self) -> Any:
        entered = await self._call(self.target.__enter__)
        return self if entered is self.target else entered

    async def __aexit__(self, *exc_info: Any) -> None:
        await self._call(self.target.__exit__, *exc_info)

    def __aiter__(self) -> InThread:
        return self

    async def __anext__(self) -> Any:
        end = object()
        item = await self._call(next, self.target, end)
        if item is end:
            raise StopAsyncIteration
        return item


@pytest.fixture
def connect(kind: str) -> Callable[..., Any]:
    """Makes a client of the kind, to be used as an async context manager."""

    def make(server: FakeServer | str, **settings: Any) -> Any:
        url = server if isinstance(server, str) else server.url
        if url.startswith("http:"):
            settings.setdefault("verify", False)  # reading the authorities takes longer than most tests
        settings = {"token": "t0ken", "base_url": url, **settings}
        return InThread(ecompute.Client(**settings)) if kind == "sync" else ecompute.AsyncClient(**settings)

    return make


@pytest.fixture
def log_in(kind: str) -> Callable[..., Any]:
    """`login` of the kind."""
    return partial(InThread._call, ecompute.login) if kind == "sync" else ecompute.login_async


def script(*handlers: Callable[[Request], None]) -> Callable[[Request], None]:
    """A handler that takes the next of these for each request."""
    left = iter(handlers)
    lock = threading.Lock()

    def handle(request: Request) -> None:
        with lock:
            handler = next(left)
        handler(request)

    return handle
