"""The installation's own certificate authority: a root for one domain, and certificates for its containers.

Whoever trusts the root trusts it for the containers alone: it may vouch for servers, for names below the
domain and for addresses of containers, and for nothing else.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from attrs import field, frozen
from cryptography import x509  # costs a server nothing: asyncssh has loaded it already
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ecompute_server.clock import Clock, system_clock
from ecompute_server.gateway.tls.errors import CertificateError
from ecompute_server.gateway.tls.files import make_once, private_directory, read_file, read_secret

ROOT_LIFE = timedelta(days=3652)
"""Ten years: replacing a root means work for everybody who trusts it."""

LEAF_LIFE = timedelta(days=90)

_BACKDATED = timedelta(hours=1)
"""Clients' clocks may be behind."""

_ADDRESSES = IPv4Network("127.77.0.0/16")

_COMMON_NAME = 64
"""Most characters of a common name (RFC 5280, appendix A.1, ub-common-name)."""


@frozen
class Leaf:
    """A server's certificate and its key, both PEM. Times are seconds since the epoch."""

    certificate: bytes
    key: bytes = field(repr=False)
    not_before: float
    not_after: float

    def is_fresh(self, now: float) -> bool:
        """Whether less than two thirds of its life have passed, and it has begun: a clock may be set back."""
        return self.not_before <= now < self.not_before + (self.not_after - self.not_before) * 2 / 3


@frozen
class Authority:
    """Makes certificates. All methods may be called in any thread."""

    _domain: str
    _root: x509.Certificate
    _key: ec.EllipticCurvePrivateKey = field(repr=False)
    _root_file: Path
    _clock: Clock

    @classmethod
    def open(cls, directory: Path, domain: str, clock: Clock = system_clock) -> Authority:
        """The authority of this domain, made the first time: `DOMAIN/root.pem` and `DOMAIN/root.key` below
        the directory. Other processes may do the same at the same time and get the same root.

        Raises:
            CertificateError: a file is missing, damaged, cannot be used or can be read by others, the key
                does not fit, or the root is not valid now. An expired root is not replaced by itself, since
                nobody would trust the new one.
        """
        place = directory / domain
        root_file, key_file = place / "root.pem", place / "root.key"
        try:
            private_directory(directory)
            private_directory(place)
            # the key comes first, so a crash never leaves a root without one; and this order of questions
            # cannot mistake an authority that is being made for a key that was lost
            if root_file.exists() and not key_file.exists():
                raise CertificateError(
                    f"The key file {key_file} is missing; restore it from a backup, or remove {root_file} to"
                    " have a new authority made, for everybody to trust anew."
                )
            if not key_file.exists():
                make_once(key_file, _pem(ec.generate_private_key(ec.SECP256R1())))
            key = _read_key(key_file)
            if not root_file.exists():
                make_once(root_file, _new_root(domain, key, clock()).public_bytes(Encoding.PEM))
            root = x509.load_pem_x509_certificate(read_file(root_file))
        except OSError as error:
            where = error.filename or place
            raise CertificateError(f"{where} cannot be used: {error.strerror}.") from error
        except ValueError:
            raise CertificateError(
                f"The certificate {root_file} is damaged; remove it to have it made anew with the same key."
            ) from None
        if root.public_key() != key.public_key():
            raise CertificateError(f"The key {key_file} does not fit the certificate {root_file}.")
        authority = cls(domain, root, key, root_file, clock)
        authority._check_time()
        return authority

    @property
    def root_pem(self) -> str:
        """The root certificate, for trust stores."""
        return self._root.public_bytes(Encoding.PEM).decode()

    def leaf(self, hostname: str, address: str) -> Leaf:
        """A new certificate, with a new ECDSA P-256 key, for a server of this name and IPv4 address.

        An address that is none of a container's is left out: the root may not vouch for it, and clients
        would refuse the whole certificate. Takes 0.15 ms.

        Raises:
            CertificateError: the root has expired meanwhile.
        """
        now = self._check_time()
        key = ec.generate_private_key(ec.SECP256R1())
        begins = now - _BACKDATED
        ends = min(begins + LEAF_LIFE, self._root.not_valid_after_utc)
        names: list[x509.GeneralName] = [x509.DNSName(hostname)]
        if (ip := IPv4Address(address)) in _ADDRESSES:
            names.append(x509.IPAddress(ip))
        certificate = (
            # no subject: its names are the alternative ones, which are critical then (RFC 5280 §4.2.1.6)
            _builder(x509.Name([]), self._root.subject, key, begins, ends)
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(_FOR_SERVERS, critical=False)
            .add_extension(_key_id_of(self._root), critical=False)
            .sign(self._key, SHA256())
        )
        return Leaf(certificate.public_bytes(Encoding.PEM), _pem(key), begins.timestamp(), ends.timestamp())

    def _check_time(self) -> datetime:
        now, root = _moment(self._clock()), self._root
        if not root.not_valid_before_utc <= now < root.not_valid_after_utc:
            raise CertificateError(
                f"The certificate {self._root_file} is valid from {root.not_valid_before_utc:%Y-%m-%d} to"
                f" {root.not_valid_after_utc:%Y-%m-%d} only; check this host's clock, or remove the"
                " file to have it made anew, for everybody to trust anew."
            )
        return now


_FOR_SERVERS = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])


def _new_root(domain: str, key: ec.EllipticCurvePrivateKey, now: float) -> x509.Certificate:
    begins = _moment(now) - _BACKDATED
    key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _root_name(domain, key_id.digest.hex()[:8]))])
    permitted = [x509.DNSName(domain), x509.IPAddress(_ADDRESSES)]
    return (
        _builder(name, name, key, begins, begins + ROOT_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        # names of other kinds, such as mail addresses, are not constrained; that only servers are vouched
        # for makes them useless
        .add_extension(_FOR_SERVERS, critical=False)
        .add_extension(x509.NameConstraints(permitted, None), critical=True)
        .sign(key, SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_id_of(root: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    key_id = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id)


def _usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _root_name(domain: str, hint: str) -> str:
    before, after = "ecompute root of ", f" ({hint})"
    room = _COMMON_NAME - len(before) - len(after)
    return before + (domain if len(domain) <= room else f"...{domain[3 - room :]}") + after


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(read_secret(path), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError(f"The key file {path} is damaged; restore it from a backup.")
    return key


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)
