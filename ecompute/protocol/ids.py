"""What a caller may give as an id: checked before it is sent, since it stands in the path and in messages."""

from __future__ import annotations

from typing import Any

from ecompute.contract.resources import Container, SSHKey, Token
from ecompute.errors import is_token

_WHOLE_THINGS = {Container: "box.id", SSHKey: "key.id", Token: "token.id"}
_KINDS = {str: "must be a text", int: "must be an integer"}


def problem_of_id(value: Any, kind: type) -> str | None:
    """What is wrong with an id of a type (`str` or `int`), as the end of a sentence; None for nothing.

    The value is never told: it may be a token.
    """
    if type(value) in _WHOLE_THINGS:
        return f"must be the id itself: pass {_WHOLE_THINGS[type(value)]}"
    if type(value) is not kind:
        return _KINDS[kind]
    return _problem_of_text(value) if isinstance(value, str) else None


def _problem_of_text(value: str) -> str | None:
    if not value:
        return "must not be empty"
    # a dot segment would be taken out of the path on its way and name another thing (RFC 3986, 5.2.4)
    if value in (".", ".."):
        return "is no id"
    # servers and proxies log paths
    if is_token(value):
        return "is a token itself, not its id"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "must be valid Unicode text"
    return None
