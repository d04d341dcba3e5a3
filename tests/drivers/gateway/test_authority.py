"""The installation's own certificate authority."""

from __future__ import annotations

import ssl
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from ecompute_server.gateway.tls.authority import LEAF_LIFE, ROOT_LIFE, Authority, Leaf
from ecompute_server.gateway.tls.contexts import server_context
from ecompute_server.gateway.tls.errors import CertificateError

from .handshakes import shake, trusting

DOMAIN = "compute.localhost"
NAME = f"abcd1234.{DOMAIN}"
ADDRESS = "127.77.3.4"
NOW = 1_800_000_000.0


def opened(directory: Path, domain: str = DOMAIN, now: float = NOW) -> Authority:
    return Authority.open(directory, domain, lambda: now)


def today(directory: Path) -> Authority:
    """For OpenSSL, which has no clock but the host's."""
    return Authority.open(directory, DOMAIN)


def context(leaf: Leaf) -> ssl.SSLContext:
    return server_context(leaf.certificate, leaf.key)


def openssl_verifies(tmp_path: Path, authority: Authority, leaf: Leaf, *options: str) -> str:
    """What `openssl verify` says of a leaf: nothing when all is well."""
    (tmp_path / "root").write_text(authority.root_pem)
    (tmp_path / "leaf").write_bytes(leaf.certificate)
    command = ["openssl", "verify", "-x509_strict", *options, "-CAfile"]
    done = subprocess.run(
        [*command, str(tmp_path / "root"), str(tmp_path / "leaf")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == done.stdout.endswith("OK\n")
    return done.stderr


def test_a_client_with_the_root_verifies_name_and_address(tmp_path: Path) -> None:
    """Both of the container's own, and no other."""
    authority = today(tmp_path)
    server, client = context(authority.leaf(NAME, ADDRESS)), trusting(authority.root_pem)
    for name in (NAME, ADDRESS):
        assert shake(server, client, name).version() == "TLSv1.3"
    for other in (f"other123.{DOMAIN}", "127.77.3.5"):
        with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
            shake(server, client, other)


def test_openssl_verifies_a_leaf(tmp_path: Path) -> None:
    """As a server of its name, strictly by RFC 5280, and for no other purpose."""
    authority = today(tmp_path)
    leaf = authority.leaf(NAME, ADDRESS)
    for right in (("-verify_hostname", NAME), ("-verify_ip", ADDRESS), ("-purpose", "sslserver")):
        assert openssl_verifies(tmp_path, authority, leaf, *right) == ""
    for wrong in ("smimesign", "sslclient"):
        assert "unsuitable certificate purpose" in openssl_verifies(
            tmp_path, authority, leaf, "-purpose", wrong
        )


@pytest.mark.parametrize(
    "foreign",
    [
        x509.DNSName("bank.example"),
        x509.DNSName("notcompute.localhost"),
        x509.DNSName("localhost"),
        x509.IPAddress(ip_address("192.0.2.1")),
        x509.IPAddress(ip_address("::1")),
    ],
    ids=lambda name: str(name.value),
)
def test_the_root_may_not_vouch_for_anything_else(tmp_path: Path, foreign: x509.GeneralName) -> None:
    """A certificate signed by its very key for a foreign name is refused by whoever trusts the root."""
    authority = today(tmp_path / "tls")
    leaf = forged(authority, tmp_path / "tls" / DOMAIN / "root.key", foreign)
    assert "permitted subtree violation" in openssl_verifies(tmp_path, authority, leaf)
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        shake(context(leaf), trusting(authority.root_pem), str(foreign.value))


def forged(authority: Authority, root_key: Path, name: x509.GeneralName) -> Leaf:
    """What somebody who stole the key could make: a good leaf but for its name."""
    good = authority.leaf(NAME, ADDRESS)
    model = x509.load_pem_x509_certificate(good.certificate)
    builder = (
        x509.CertificateBuilder()
        .issuer_name(model.issuer)
        .subject_name(model.subject)
        .public_key(model.public_key())
        .serial_number(model.serial_number)
        .not_valid_before(model.not_valid_before_utc)
        .not_valid_after(model.not_valid_after_utc)
    )
    for extension in model.extensions:
        names = isinstance(extension.value, x509.SubjectAlternativeName)
        value = x509.SubjectAlternativeName([name]) if names else extension.value
        builder = builder.add_extension(value, extension.critical)
    key = load_pem_private_key(root_key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    certificate = builder.sign(key, SHA256())
    return Leaf(certificate.public_bytes(Encoding.PEM), good.key, good.not_before, good.not_after)


def test_an_authority_is_made_once_for_its_domain(tmp_path: Path) -> None:
    """The same root for ever after; another domain has another one, and the first stays."""
    first = opened(tmp_path).root_pem
    other = opened(tmp_path, "compute.example").root_pem
    assert opened(tmp_path).root_pem == first
    assert opened(tmp_path, "compute.example").root_pem == other != first


def test_those_who_make_it_at_the_same_time_have_the_same(tmp_path: Path) -> None:
    """One root and one key for all of them, and no drafts are left."""
    with ThreadPoolExecutor(8) as pool:
        roots = {authority.root_pem for authority in pool.map(opened, [tmp_path] * 32)}
    assert roots == {(tmp_path / DOMAIN / "root.pem").read_text()}
    assert {path.name for path in (tmp_path / DOMAIN).iterdir()} == {"root.pem", "root.key"}


def test_only_the_server_s_user_can_read_the_key(tmp_path: Path) -> None:
    """The directories are private from the start or tightened, the key file is never opened to others."""
    tmp_path.chmod(0o755)
    opened(tmp_path)
    assert stat.S_IMODE((tmp_path / DOMAIN / "root.key").stat().st_mode) == 0o600
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path, tmp_path / DOMAIN)} == {0o700}


def test_a_crash_between_key_and_root_is_made_good(tmp_path: Path) -> None:
    """The key that is there is used."""
    opened(tmp_path)
    key = (tmp_path / DOMAIN / "root.key").read_bytes()
    (tmp_path / DOMAIN / "root.pem").unlink()
    authority = today(tmp_path)
    assert (tmp_path / DOMAIN / "root.key").read_bytes() == key
    assert shake(context(authority.leaf(NAME, ADDRESS)), trusting(authority.root_pem), NAME)


def test_what_cannot_be_used_is_one_sentence_with_the_file(tmp_path: Path) -> None:
    """And nothing is replaced."""
    opened(tmp_path)
    root, key = tmp_path / DOMAIN / "root.pem", tmp_path / DOMAIN / "root.key"
    good = {path: path.read_bytes() for path in (root, key)}
    other = ec.generate_private_key(ec.SECP256R1())
    foreign = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def sentence() -> str:
        with pytest.raises(CertificateError) as caught:
            opened(tmp_path)
        return str(caught.value)

    for path in (root, key):
        for broken in (b"", b"no PEM", good[path][:100]):
            path.write_bytes(broken)
            assert f"{path} is damaged" in sentence()
            assert path.read_bytes() == broken
        path.write_bytes(good[path])
    key.write_bytes(foreign)
    assert sentence() == f"The key {key} does not fit the certificate {root}."
    key.write_bytes(good[key])
    key.chmod(0o640)
    assert sentence() == f"Others can read the key file {key}; run: chmod 600 {key}"
    key.unlink()
    assert f"{key} is missing" in sentence()
    key.mkdir()
    assert sentence() == f"{key} cannot be used: Is a directory."
    assert root.read_bytes() == good[root]


@pytest.mark.parametrize("wrong", [-timedelta(days=1), ROOT_LIFE], ids=["too early", "expired"])
def test_a_root_that_is_not_valid_now_is_told(tmp_path: Path, wrong: timedelta) -> None:
    """When it is opened and when it should sign; it is not replaced behind its users' backs."""
    now = NOW
    authority = Authority.open(tmp_path, DOMAIN, lambda: now)
    now += wrong.total_seconds()
    with pytest.raises(CertificateError, match=r"root\.pem is valid from 2027-01-15 to 2037-01-14 only"):
        authority.leaf(NAME, ADDRESS)
    with pytest.raises(CertificateError, match=r"root\.pem is valid"):
        Authority.open(tmp_path, DOMAIN, lambda: now)


def test_a_leaf_lives_ninety_days_and_not_longer_than_its_root(tmp_path: Path) -> None:
    """It is fresh for two thirds of that, and not before it began."""
    now = NOW
    authority = Authority.open(tmp_path, DOMAIN, lambda: now)
    leaf = authority.leaf(NAME, ADDRESS)
    assert leaf.not_after - leaf.not_before == LEAF_LIFE.total_seconds()
    assert leaf.not_before < now
    day = 86_400
    assert [leaf.is_fresh(now + days * day) for days in (-1, 0, 59, 60, 90)] == [
        False, True, True, False, False
    ]  # fmt: skip
    now += (ROOT_LIFE - timedelta(days=30)).total_seconds()
    root = x509.load_pem_x509_certificate(authority.root_pem.encode())
    assert authority.leaf(NAME, ADDRESS).not_after == root.not_valid_after_utc.timestamp()


def test_an_address_that_is_no_container_s_is_left_out(tmp_path: Path) -> None:
    """With it the whole certificate would be refused."""
    authority = today(tmp_path)
    server = context(authority.leaf(NAME, "127.0.0.1"))
    assert shake(server, trusting(authority.root_pem), NAME)
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        shake(server, trusting(authority.root_pem), "127.0.0.1")


def test_a_long_domain_fits(tmp_path: Path) -> None:
    """The root's name is cut, the names that it vouches for are not."""
    domain = ".".join(["a" * 60] * 4)
    authority = Authority.open(tmp_path, domain)
    name = f"abcd1234.{domain}"
    assert shake(context(authority.leaf(name, ADDRESS)), trusting(authority.root_pem), name)
    root = x509.load_pem_x509_certificate(authority.root_pem.encode())
    (common_name,) = root.subject
    assert len(str(common_name.value)) == 64
    assert str(common_name.value).startswith("ecompute root of ...aaa")
