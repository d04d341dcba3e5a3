"""What the gateway is given for a name, made or the user's own, over time."""

from __future__ import annotations

import datetime
import logging
import os
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from ecompute_server.gateway.tls.authority import Authority
from ecompute_server.gateway.tls.certificates import Certificates, MadeCertificates, open_certificates
from ecompute_server.gateway.tls.contexts import MOST_SESSIONS
from ecompute_server.gateway.tls.errors import CertificateError
from ecompute_server.gateway.tls.files import MOST_BYTES
from ecompute_server.gateway.tls.own import OwnFiles

from .handshakes import careless, shake, shown, trusting

DOMAIN = "compute.localhost"
NAME, ADDRESS = f"abcd1234.{DOMAIN}", "127.77.3.4"
DAY = 86_400.0


class Watch:
    """A clock that stands still."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def made(tmp_path: Path, watch: Watch) -> MadeCertificates:
    return MadeCertificates(tmp_path / "tls", DOMAIN, watch, most=3)


def test_a_made_certificate_is_good_for_its_container(tmp_path: Path) -> None:
    """By name and by address, and the authority is made by the first question."""
    certificates = open_certificates(tmp_path / "tls", DOMAIN)
    assert not (tmp_path / "tls").exists()
    context = certificates.context_for(NAME, ADDRESS)
    client = trusting(Authority.open(tmp_path / "tls", DOMAIN).root_pem)
    assert shake(context, client, NAME)
    assert shake(context, client, ADDRESS)


def test_a_context_is_made_once_for_a_while(made: MadeCertificates, watch: Watch) -> None:
    """Remade when two thirds of its certificate's life have passed, or the clock was set far back."""
    first = made.context_for(NAME, ADDRESS)
    watch.now += 59 * DAY
    assert made.context_for(NAME, ADDRESS) is first
    watch.now += DAY
    second = made.context_for(NAME, ADDRESS)
    assert shown(second, NAME).not_valid_after_utc - shown(first, NAME).not_valid_after_utc == (
        datetime.timedelta(days=60)
    )
    assert made.context_for(NAME, ADDRESS) is second
    watch.now -= DAY
    assert shown(made.context_for(NAME, ADDRESS), NAME).not_valid_before_utc.timestamp() < watch.now


def test_only_some_contexts_are_remembered(made: MadeCertificates) -> None:
    """The one used longest ago is forgotten first."""
    names = [f"box{number}.{DOMAIN}" for number in range(4)]
    first, second, third = (made.context_for(name, ADDRESS) for name in names[:3])
    assert made.context_for(names[0], ADDRESS) is first
    made.context_for(names[3], ADDRESS)
    assert made.context_for(names[0], ADDRESS) is first
    assert made.context_for(names[2], ADDRESS) is third
    assert made.context_for(names[1], ADDRESS) is not second


def test_a_full_context_is_replaced(made: MadeCertificates) -> None:
    """So that clients cannot make the server store sessions without end."""
    client = careless()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.options |= ssl.OP_NO_TICKET
    first = made.context_for(NAME, ADDRESS)
    for _ in range(MOST_SESSIONS):
        assert made.context_for(NAME, ADDRESS) is first
        shake(first, client, NAME)
    assert made.context_for(NAME, ADDRESS) is not first


def test_many_may_ask_at_once(made: MadeCertificates) -> None:
    """All get the same context, in any thread."""
    with ThreadPoolExecutor(8) as pool:
        contexts = set(pool.map(made.context_for, [NAME] * 64, [ADDRESS] * 64))
    assert contexts == {made.context_for(NAME, ADDRESS)}


def test_an_authority_that_cannot_be_used_is_told_each_time(tmp_path: Path, made: MadeCertificates) -> None:
    """Until it is mended."""
    (tmp_path / "tls").write_text("no directory")
    for _ in range(2):
        with pytest.raises(CertificateError, match="tls"):
            made.context_for(NAME, ADDRESS)
    (tmp_path / "tls").unlink()
    assert made.context_for(NAME, ADDRESS)


class Own:
    """A user's own files, with a certificate that signs itself."""

    def __init__(self, directory: Path, watch: Watch) -> None:
        self.files = OwnFiles(directory / "own.pem", directory / "own.key")
        self._watch = watch
        self._written = 0

    def write(
        self,
        name: str = f"*.{DOMAIN}",
        *,
        key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None,
        days: float = 30,
        encryption: KeySerializationEncryption | None = None,
    ) -> None:
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        ends = datetime.datetime.fromtimestamp(self._watch.now + days * DAY, datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(ends - datetime.timedelta(days=60))
            .not_valid_after(ends)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(key, SHA256())
        )
        self.write_certificate(certificate.public_bytes(Encoding.PEM))
        self.write_key(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()))

    def write_certificate(self, content: bytes) -> None:
        self._write(self.files.certificate, content)

    def write_key(self, content: bytes) -> None:
        self._write(self.files.key, content)

    def _write(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        path.chmod(0o600)
        # files that are written within one tick of the kernel's clock would have the same time
        self._written += 1
        os.utime(path, (self._written, self._written))


@pytest.fixture
def own(tmp_path: Path, watch: Watch) -> Own:
    own = Own(tmp_path, watch)
    own.write()
    return own


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What has been logged since the last question."""
    caplog.set_level(logging.INFO, "ecompute_server.gateway.tls")

    def events() -> list[str]:
        lines: list[Any] = [record.msg for record in caplog.records]
        caplog.clear()
        return [line["event"] for line in lines]

    return events


def opened(own: Own, watch: Watch) -> Certificates:
    return open_certificates(Path("/nowhere"), DOMAIN, own=own.files, clock=watch)


def test_the_user_s_own_certificate_is_shown_for_every_name(
    own: Own, watch: Watch, told: Callable[[], list[str]]
) -> None:
    """Without an authority, and without a word when all is well."""
    certificates = opened(own, watch)
    context = certificates.context_for(NAME, ADDRESS)
    assert certificates.context_for(f"other123.{DOMAIN}", "127.77.3.5") is context
    assert shown(context).subject.rfc4514_string() == f"CN=*.{DOMAIN}"
    assert told() == []


def test_a_chain_is_shown_whole(own: Own, watch: Watch, tmp_path: Path) -> None:
    """What stands behind the certificate in its file leads clients to a root that they know."""
    between = Authority.open(tmp_path / "tls", DOMAIN)
    model = x509.load_pem_x509_certificate(between.root_pem.encode())
    key = ec.generate_private_key(ec.SECP256R1())
    top = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "top")])

    def sign(subject: x509.Name, public_key: ec.EllipticCurvePublicKey) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(top)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(model.not_valid_before_utc)
            .not_valid_after(model.not_valid_after_utc)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        )
        return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)

    public_key = model.public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    leaf = between.leaf(NAME, ADDRESS)
    own.write_certificate(leaf.certificate + sign(model.subject, public_key))
    own.write_key(leaf.key)
    client = ssl.create_default_context(cadata=sign(top, key.public_key()).decode())
    assert shake(opened(own, watch).context_for(NAME, ADDRESS), client, NAME)


def test_an_rsa_key_serves_too(own: Own, watch: Watch) -> None:
    """With the ciphers for it, in TLS 1.2 as well."""
    own.write(key=rsa.generate_private_key(65537, 2048))
    client = careless()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    done = shake(opened(own, watch).context_for(NAME, ADDRESS), client, NAME)
    assert done.cipher() == ("ECDHE-RSA-AES128-GCM-SHA256", "TLSv1.2", 128)


def test_files_that_cannot_be_used_are_one_sentence(own: Own, watch: Watch) -> None:
    """Which names the file and says what is wrong with it."""
    certificate, key = own.files.certificate, own.files.key
    good = {path: path.read_bytes() for path in (certificate, key)}

    def sentence() -> str:
        with pytest.raises(CertificateError) as caught:
            opened(own, watch)
        for path, content in good.items():
            path.write_bytes(content)
        key.chmod(0o600)
        return str(caught.value)

    for path in (certificate, key):
        path.unlink()
        assert sentence() == f"{path} cannot be used: No such file or directory."
    for content in (b"", b"no PEM", good[key]):
        own.write_certificate(content)
        assert sentence() == f"{certificate} holds no certificate in PEM form."
    for content in (b"", b"no PEM", good[certificate], good[key][:100]):
        own.write_key(content)
        assert sentence() == f"{key} holds no private key in PEM form."
    own.write(encryption=BestAvailableEncryption(b"secret"))
    assert sentence() == f"The key {key} is encrypted; give one without a password."
    own.write()
    own.write_certificate(good[certificate])
    assert sentence() == f"The key {key} does not fit the certificate {certificate}."
    key.chmod(0o604)
    assert sentence() == f"Others can read the key file {key}; run: chmod 600 {key}"
    own.write(key=rsa.generate_private_key(65537, 1024))
    assert (
        sentence()
        == f"The certificate {certificate} and its key cannot be used: OpenSSL says ee key too small."
    )
    key.chmod(0o640)
    assert opened(own, watch)


@pytest.mark.parametrize("which", ["certificate", "key"])
def test_what_is_no_small_regular_file_is_not_read(own: Own, watch: Watch, which: str) -> None:
    """Nor waited for, and one sentence says so."""
    path: Path = getattr(own.files, which)
    content = path.read_bytes()

    def sentence() -> str:
        with pytest.raises(CertificateError) as caught:
            opened(own, watch)
        return str(caught.value)

    path.write_bytes(content.ljust(MOST_BYTES + 1, b"\n"))
    assert sentence() == f"{path} cannot be used: it is larger than 1 MiB."
    path.write_bytes(content.ljust(MOST_BYTES, b"\n"))
    assert opened(own, watch)
    path.unlink()
    os.mkfifo(path, 0o666)
    assert sentence() == f"{path} cannot be used: it is no regular file."
    path.unlink()
    path.symlink_to("/dev/zero")
    assert sentence() == f"{path} cannot be used: it is no regular file."
    path.unlink()
    path.mkdir()
    assert sentence() == f"{path} cannot be used: Is a directory."
    path.rmdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        assert sentence() == f"{path} cannot be used: No such device or address."


@pytest.mark.parametrize("days", [-1, 61])
def test_a_certificate_that_is_not_valid_now_is_shown_and_told(
    own: Own, watch: Watch, told: Callable[[], list[str]], days: float
) -> None:
    """Expired, or not begun: whoever serves it may know why."""
    own.write(days=days)
    assert shown(opened(own, watch).context_for(NAME, ADDRESS))
    assert told() == ["own certificate is not valid now"]


def test_a_certificate_for_other_names_is_shown_and_told(
    own: Own, watch: Watch, told: Callable[[], list[str]]
) -> None:
    """Clients will refuse it."""
    own.write("*.example.org")
    assert shown(opened(own, watch).context_for(NAME, ADDRESS))
    assert told() == ["own certificate does not cover the containers' names"]


def test_changed_files_are_read_again(own: Own, watch: Watch, told: Callable[[], list[str]]) -> None:
    """Looked for once a second at most."""
    certificates = opened(own, watch)
    first = certificates.context_for(NAME, ADDRESS)
    own.write(days=20)
    watch.now += 0.9
    assert certificates.context_for(NAME, ADDRESS) is first
    watch.now += 0.2
    second = certificates.context_for(NAME, ADDRESS)
    assert shown(second).not_valid_after_utc < shown(first).not_valid_after_utc
    watch.now += 3600
    assert certificates.context_for(NAME, ADDRESS) is second
    assert told() == ["own certificate replaced"]


def test_a_replacement_that_is_half_there_is_waited_for(
    own: Own, watch: Watch, told: Callable[[], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    """The one before is shown meanwhile; each time the log tells each reason once."""
    certificates = opened(own, watch)
    for _ in range(2):
        before = certificates.context_for(NAME, ADDRESS)
        old_key = own.files.key.read_bytes()
        own.write(days=20)
        new_key = own.files.key.read_bytes()
        for half in (old_key, new_key[:50], b"", None):
            if half is None:
                own.files.key.unlink()
            else:
                own.write_key(half)
            watch.now += 2
            assert certificates.context_for(NAME, ADDRESS) is before
        own.write_key(new_key)
        watch.now += 2
        assert certificates.context_for(NAME, ADDRESS) is not before
        reasons = [
            f"The key {own.files.key} does not fit the certificate {own.files.certificate}.",
            f"{own.files.key} holds no private key in PEM form.",
            f"{own.files.key} cannot be used: No such file or directory.",
        ]
        lines: list[Any] = [record.msg for record in caplog.records]
        assert [line["reason"] for line in lines if "reason" in line] == reasons
        assert told() == [*["own certificate not replaced"] * 3, "own certificate replaced"]


@pytest.mark.parametrize("which", ["certificate", "key"])
def test_a_fifo_in_a_file_s_place_holds_nobody_up(
    own: Own, watch: Watch, told: Callable[[], list[str]], which: str
) -> None:
    """The certificate before it is shown, and the log tells it once."""
    path: Path = getattr(own.files, which)
    content = path.read_bytes()
    certificates = opened(own, watch)
    before = certificates.context_for(NAME, ADDRESS)
    path.unlink()
    os.mkfifo(path, 0o600)
    for _ in range(3):
        watch.now += 2
        assert certificates.context_for(NAME, ADDRESS) is before
    assert told() == ["own certificate not replaced"]
    path.unlink()
    path.write_bytes(content)
    path.chmod(0o600)
    watch.now += 2
    assert shown(certificates.context_for(NAME, ADDRESS)) == shown(before)
    assert told() == ["own certificate replaced"]


def test_files_may_be_changed_behind_a_link(own: Own, watch: Watch, tmp_path: Path) -> None:
    """As certbot and Kubernetes do it."""
    (tmp_path / "live").mkdir()
    linked = OwnFiles(tmp_path / "live" / "cert.pem", tmp_path / "live" / "key.pem")

    def link() -> None:
        for link, target in ((linked.certificate, own.files.certificate), (linked.key, own.files.key)):
            link.unlink(missing_ok=True)
            link.symlink_to(target)

    link()
    certificates = open_certificates(Path("/nowhere"), DOMAIN, own=linked, clock=watch)
    first = certificates.context_for(NAME, ADDRESS)
    own.files = OwnFiles(tmp_path / "next.pem", tmp_path / "next.key")
    own.write(days=20)
    link()
    watch.now += 2
    assert shown(certificates.context_for(NAME, ADDRESS)) != shown(first)
