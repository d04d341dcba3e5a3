"""Certificates: of servers, of clients, and those that cannot be used."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ecompute

from .authority import Authority
from .fake_server import FakeServer, Request

pytestmark = pytest.mark.anyio

Serve = Callable[..., FakeServer]
Connect = Callable[..., Any]

EMPTY: dict[str, list[object]] = {"containers": []}


def peer(request: Request) -> None:
    """Answers with the name in the client's certificate."""
    sock = request.wire.sock
    assert isinstance(sock, ssl.SSLSocket)
    subject: Any = (sock.getpeercert() or {}).get("subject", ())
    names = [value for parts in subject for key, value in parts if key == "commonName"]
    request.answer({"user_id": "u1", "username": names[0], "display_name": "", "is_admin": False})


async def test_a_server_that_demands_a_certificate(
    serve: Serve, connect: Connect, authority: Authority, tmp_path: Path
) -> None:
    """It gets that of a pair of files, of one file with both, of a context; without one it refuses."""
    server = serve(peer, authority.server())
    file, key = authority.make("alice")
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + file.read_bytes())
    for cert in ((file, key), (str(file), str(key)), both, str(both)):
        async with connect(server, verify=authority.file, cert=cert) as client:
            assert (await client.session()).username == "alice"
    context = ssl.create_default_context(cafile=str(authority.file))
    context.load_cert_chain(both)
    async with connect(server, verify=context) as client:
        assert (await client.session()).username == "alice"
    async with connect(server, verify=authority.file) as client:
        with pytest.raises(ecompute.ConnectError):
            await client.session()


async def test_certificates_of_a_profile_and_the_environment(
    serve: Serve, connect: Connect, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile names authority and certificate; the environment only the authority."""
    server = serve(peer, authority.server())
    file, key = authority.make("bob")
    config = tmp_path / "config.toml"
    config.write_text(
        f'[profiles.w]\nurl = "{server.url}"\ntoken = "t"\nca_file = "{authority.file}"\n'
        f'client_cert = "{file}"\nclient_key = "{key}"\n'
    )
    config.chmod(0o600)
    monkeypatch.setenv("ECOMPUTE_CONFIG", str(config))
    async with connect(server, token=None, base_url=None, profile="w") as client:
        assert (await client.session()).username == "bob"
    plain = serve(lambda r: r.answer(EMPTY), authority.server(demands=False))
    async with connect(plain) as client:
        with pytest.raises(ecompute.ConnectError, match="its certificate is not trusted"):
            await client.containers.list()
    for name in ("ECOMPUTE_CA_FILE", "SSL_CERT_FILE"):
        with monkeypatch.context() as patch:
            patch.setenv(name, str(authority.file))
            async with connect(plain) as client:
                assert await client.containers.list() == []
    async with connect(plain, verify=False) as client:
        assert await client.containers.list() == []


@pytest.mark.parametrize("make", [ecompute.Client, ecompute.AsyncClient])
def test_certificates_that_cannot_be_used(make: Any, authority: Authority) -> None:
    """They are told at once, and no password is asked for on the terminal."""
    url = "https://x"
    file, key = authority.make("eve", b"pa55")
    for cert in ("/nowhere", (file, "/nowhere"), (file, key), file):
        with pytest.raises(ecompute.InvalidArgument, match="cert names no readable certificate"):
            make("t", url, cert=cert)
    for no_cert in (7, (1, 2, 3)):
        with pytest.raises(ecompute.InvalidArgument, match="cert must be a file or a pair of files"):
            make("t", url, cert=no_cert)
    with pytest.raises(ecompute.InvalidArgument, match="excludes cert"):
        make("t", url, verify=ssl.create_default_context(), cert=file)
    with pytest.raises(ecompute.InvalidArgument, match="names no readable file of certificates"):
        make("t", url, verify=key)
