"""The user's own certificate and key, for all names; read again when the files change."""

from __future__ import annotations

import ssl
from pathlib import Path
from threading import Lock

from attrs import field, frozen
from cryptography import x509  # costs a server nothing: asyncssh has loaded it already
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from ecompute_server.clock import Clock
from ecompute_server.gateway.tls.contexts import is_full, server_context
from ecompute_server.gateway.tls.errors import CertificateError
from ecompute_server.gateway.tls.files import read_file, read_secret
from ecompute_server.logs import get_logger

_log = get_logger(__name__)

LOOK_SECONDS = 1.0
"""How often the files are looked at, at most."""

_EVERYBODY = 0o007
"""Unlike the server's own key, a user's may be a group's, as Debian's keys of the group ssl-cert are."""

_Signature = tuple[tuple[int, ...], ...]


@frozen
class OwnFiles:
    """Where the certificate (PEM, with those between it and a root behind it) and its key (PEM) lie."""

    certificate: Path
    key: Path

    def signature(self) -> _Signature:
        """Differs when one of the files was changed or replaced, also behind a symbolic link.

        Raises:
            CertificateError: one of them is not there.
        """
        try:
            looks = (self.certificate.stat(), self.key.stat())
        except OSError as error:
            raise CertificateError(_unusable(error)) from None
        return tuple((look.st_dev, look.st_ino, look.st_size, look.st_mtime_ns) for look in looks)


class OwnCertificate:
    """A `Certificates` that shows the user's own certificate for every name.

    A replacement that cannot be used is told in the log, once for as long as the reason is the same, and the
    one before is shown until the files are good again.

    Raises:
        CertificateError: a file is missing, no regular one, larger than 1 MiB or no PEM, the key is
            encrypted, fits another certificate or can be read by everybody, or OpenSSL refuses the two. One
            that is not valid now or does not cover the containers' names is used, and told in the log.
    """

    def __init__(self, files: OwnFiles, domain: str, clock: Clock) -> None:
        self._files = files
        self._domain = domain
        self._clock = clock
        self._lock = Lock()
        self._told_reason = ""
        self._signature: _Signature | None = None
        self._pair: _Pair
        self._context: ssl.SSLContext
        self._looked = clock()
        self._load()

    def context_for(self, hostname: str, address: str) -> ssl.SSLContext:
        with self._lock:
            now = self._clock()
            # the difference is negative after the clock was set back
            if abs(now - self._looked) >= LOOK_SECONDS:
                self._looked = now
                self._look()
            if is_full(self._context):
                self._context = self._pair.context()
            return self._context

    def _look(self) -> None:
        try:
            if self._files.signature() == self._signature:
                return
            self._load()
        except CertificateError as error:
            # looked at anew each time from now on: the other half may come without a new signature
            self._signature = None
            if (reason := str(error)) != self._told_reason:
                _log.warning("own certificate not replaced", reason=reason)
            self._told_reason = reason
        else:
            self._told_reason = ""
            _log.info("own certificate replaced", path=str(self._files.certificate))

    def _load(self) -> None:
        # taken before the files are read, so that a change in between shows at the next look
        signature = self._files.signature()
        pair = _read(self._files)
        self._context = pair.context()
        self._pair = pair
        self._signature = signature
        self._tell_doubts(pair.certificate)

    def _tell_doubts(self, certificate: x509.Certificate) -> None:
        path, now = str(self._files.certificate), self._clock()
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if not begins.timestamp() <= now < ends.timestamp():
            _log.warning("own certificate is not valid now", path=path, begins=str(begins), ends=str(ends))
        needed = f"*.{self._domain}"
        if needed not in _names(certificate):
            _log.warning("own certificate does not cover the containers' names", path=path, needed=needed)


@frozen
class _Pair:
    certificate: x509.Certificate
    _files: OwnFiles
    _chain: bytes
    _key: bytes = field(repr=False)

    def context(self) -> ssl.SSLContext:
        try:
            return server_context(self._chain, self._key)
        except ssl.SSLError as error:
            reason = error.reason or "unknown"
            raise CertificateError(
                f"The certificate {self._files.certificate} and its key cannot be used: OpenSSL says"
                f" {reason.lower().replace('_', ' ')}."
            ) from None


def _read(files: OwnFiles) -> _Pair:
    try:
        chain = x509.load_pem_x509_certificates(read_file(files.certificate))
        key_text = read_secret(files.key, others=_EVERYBODY)
    except OSError as error:
        raise CertificateError(_unusable(error)) from None
    except ValueError:
        raise CertificateError(f"{files.certificate} holds no certificate in PEM form.") from None
    try:
        key = load_pem_private_key(key_text, None)
    except TypeError:
        raise CertificateError(f"The key {files.key} is encrypted; give one without a password.") from None
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateError(f"{files.key} holds no private key in PEM form.") from None
    if key.public_key() != chain[0].public_key():
        raise CertificateError(f"The key {files.key} does not fit the certificate {files.certificate}.")
    return _Pair(
        chain[0],
        files,
        b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def _unusable(error: OSError) -> str:
    return f"{error.filename} cannot be used: {error.strerror}."


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [name.lower() for name in found.get_values_for_type(x509.DNSName)]
