"""What can be wrong with certificates. Apart from the rest and light, since every command knows it."""

from __future__ import annotations


class CertificateError(Exception):
    """A certificate or its key cannot be used; `str()` is one sentence for the operator, with the file."""
