"""Certificates and TLS contexts of the HTTPS gateway. No connection is made here."""
