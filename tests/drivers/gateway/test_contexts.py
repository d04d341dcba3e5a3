"""What the gateway's TLS speaks, and what it does not."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from ecompute_server.gateway.tls.authority import Authority
from ecompute_server.gateway.tls.contexts import (
    CIPHERS,
    MOST_SESSIONS,
    bare_context,
    is_full,
    server_context,
)

from .handshakes import careless, shake, shown

NAME = "abcd1234.compute.localhost"


@pytest.fixture
def server(tmp_path: Path) -> ssl.SSLContext:
    """A context with a leaf."""
    leaf = Authority.open(tmp_path, "compute.localhost").leaf(NAME, "127.77.3.4")
    return server_context(leaf.certificate, leaf.key)


def old(ciphers: str = "ALL") -> ssl.SSLContext:
    """A client of TLS 1.2 that is as lax as this OpenSSL can be."""
    context = careless()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    return context


@pytest.mark.parametrize("cipher", [name for name in CIPHERS if "ECDSA" in name])
def test_tls_1_2_with_a_good_cipher(server: ssl.SSLContext, cipher: str) -> None:
    """Each of the list works, and none but those of the list is known."""
    chosen = shake(server, old(cipher), NAME).cipher()
    assert chosen is not None
    assert chosen[:2] == (cipher, "TLSv1.2")
    assert {it["name"] for it in server.get_ciphers() if it["protocol"] != "TLSv1.3"} == set(CIPHERS)


@pytest.mark.parametrize("ciphers", ["kRSA", "DHE", "SHA1", "SHA256:SHA384:!AEAD", "AESCCM", "aNULL"])
def test_tls_1_2_with_a_poor_cipher_is_refused(server: ssl.SSLContext, ciphers: str) -> None:
    """No forward secrecy, no AEAD, nobody's certificate, or none that others use."""
    with pytest.raises(ssl.SSLError, match="no shared cipher"):
        shake(server, old(ciphers), NAME)


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
def test_older_protocols_are_refused(server: ssl.SSLContext, version: str) -> None:
    """Though the client would take them."""
    client = old()
    with pytest.warns(DeprecationWarning, match="deprecated"):
        client.minimum_version = client.maximum_version = ssl.TLSVersion[version]
    with pytest.raises(ssl.SSLError, match="unsupported protocol"):
        shake(server, client, NAME)


def test_a_key_exchange_that_costs_much_is_refused(server: ssl.SSLContext) -> None:
    """A client that knows none but another group cannot make the server compute with it."""
    client = careless()
    client.set_ecdh_curve("secp521r1")
    with pytest.raises(ssl.SSLError, match="no suitable key share"):
        shake(server, client, NAME)
    client.set_ecdh_curve("prime256v1")
    assert shake(server, client, NAME)


@pytest.mark.parametrize(
    ("offered", "chosen"), [(["h2", "http/1.1"], "http/1.1"), (["h2"], None), (["http/1.0"], None)]
)
def test_http_1_1_is_the_only_protocol_over_it(
    server: ssl.SSLContext, offered: list[str], chosen: str | None
) -> None:
    """It is taken from a client's offers; one that offers only others goes on without."""
    client = careless()
    client.set_alpn_protocols(offered)
    assert shake(server, client, NAME).selected_alpn_protocol() == chosen


def test_tls_1_3_gives_no_tickets_and_stores_nothing(server: ssl.SSLContext) -> None:
    """Each connection is a handshake of its own."""
    first = shake(server, careless(), NAME)
    assert first.session is None or not first.session.has_ticket
    assert server.session_stats()["number"] == 0


def test_a_context_that_stores_too_many_sessions_says_so(server: ssl.SSLContext) -> None:
    """As clients of TLS 1.2 without tickets make it do; those with tickets do not."""
    shake(server, old(), NAME)
    assert server.session_stats()["number"] == 0
    without = old()
    without.options |= ssl.OP_NO_TICKET
    for _ in range(MOST_SESSIONS):
        assert not is_full(server)
        shake(server, without, NAME)
    assert is_full(server)


def test_a_bare_context_lets_the_name_decide(server: ssl.SSLContext) -> None:
    """By its callback; what it speaks is the same."""
    listener = bare_context()

    def choose(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
        if name != NAME:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        connection.context = server
        return None

    listener.sni_callback = choose  # type: ignore[assignment]
    for client in (old(), careless()):
        assert shake(listener, client, NAME)
    assert shown(listener, NAME) == shown(server, NAME)
    with pytest.raises(ssl.SSLError):
        shake(listener, careless(), "other.compute.localhost")


def test_no_key_is_written_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contexts are made where nothing can be written."""
    leaf = Authority.open(tmp_path, "compute.localhost").leaf(NAME, "127.77.3.4")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    server_context(leaf.certificate, leaf.key)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
