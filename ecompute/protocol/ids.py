"""What a caller may give as an id: checked before it is sent, since it stands in the path and in messages."""

from __future__ import annotations

from typing import Any

from ecompute.contract.resources import Container, SSHKey, Token
from ecompute.errors import is_token

Ref = str | Container
"""How a caller names a container: by itself, or by its id."""
KeyRef = int | SSHKey
"""How a caller names a registered key: by itself, or by its id."""
TokenRef = str | Token
"""How a caller names an API token: by itself, or by its id."""

_KINDS = {str: "must be a text", int: "must be an integer"}


def id_of(thing: Any, kind: type[Container | SSHKey | Token] = Container) -> Any:
    """The id of a thing of a kind; anything else is given back as it is, to be judged as an id."""
    return thing.id if isinstance(thing, kind) else thing


def problem_of_id(value: Any, kind: type) -> str | None:
    """What is wrong with an id of a type (`str` or `int`), as the end of a sentence; None for nothing.

    The value is never told: it may be a token.
    """
    if isinstance(value, Container | SSHKey | Token):
        return "is another kind of thing"
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
