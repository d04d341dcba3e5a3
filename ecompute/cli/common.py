"""What the commands share: the options that lead to a server, and the client that they make."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from attrs import frozen
from cyclopts import Group, Parameter

from ecompute.errors import MissingServer, MissingToken
from ecompute.files import expanded
from ecompute.settings import Given, resolve

from .candidates import container_names, profile_names
from .exits import CommandError, Exit

if TYPE_CHECKING:
    from collections.abc import Callable

    from ecompute import AsyncClient, Client

_CONNECTION = Group("Connection", sort_key=9)
_MOST = 64 * 1024
T = TypeVar("T")


@Parameter(name="*", group=_CONNECTION)
@frozen(kw_only=True)
class Connection:
    """Where the server is, and who asks. What is not given comes from the environment or a profile."""

    profile: Annotated[
        str | None, Parameter(help="Profile to use (`ecompute profiles`).", completer=profile_names)
    ] = None
    url: Annotated[str | None, Parameter(help="Address of the server.")] = None
    token_file: Annotated[
        Path | None, Parameter(help="File that holds the token: others can read a command line.")
    ] = None
    ca_file: Annotated[Path | None, Parameter(help="Certificate authorities to trust.")] = None
    timeout: Annotated[float | None, Parameter(help="Seconds for all of it.")] = None


Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON for programs.")]
Yes = Annotated[bool, Parameter(name=("--yes", "-y"), negative="", help="Do not ask.")]
Container = Annotated[
    str, Parameter(help="Name or id of the container; an id wins.", completer=container_names)
]


def open_client(connection: Connection | None) -> Client:
    """A client for the options of a command.

    Raises:
        CommandError: there is no server or credential to use, or the token's file cannot be read.
        InvalidArgument: an option is malformed.
    """
    from ecompute import Client

    return _opened(Client, connection)


def open_async_client(connection: Connection | None) -> AsyncClient:
    """Its twin; as `open_client`."""
    from ecompute import AsyncClient

    return _opened(AsyncClient, connection)


def _opened(kind: Callable[..., T], connection: Connection | None) -> T:
    given = connection or Connection()
    token = None if given.token_file is None else token_in(given.token_file)
    try:
        return kind(
            token,
            given.url,
            profile=given.profile,
            timeout=given.timeout,
            verify=given.ca_file or True,
        )
    # the library's sentences speak of arguments that a command line does not have
    except MissingServer:
        raise CommandError(
            "No server is known: `ecompute login URL` makes it known; see also --url, ECOMPUTE_URL and "
            "--profile.",
            Exit.NO_ACCESS,
        ) from None
    except MissingToken:
        url = resolve(Given(base_url=given.url, profile=given.profile), needs_token=False).base_url
        login = ["ecompute", "login", url, *(["--profile", given.profile] if given.profile else [])]
        raise CommandError(
            f"There is no credential for {url}: `{shlex.join(login)}` makes one; see also --token-file, "
            "ECOMPUTE_TOKEN and --profile.",
            Exit.NO_ACCESS,
        ) from None


def token_in(file: Path) -> str:
    """The token that a file holds.

    Raises:
        CommandError: it cannot be read.
    """
    place = expanded(file)
    try:
        with place.open("rb") as opened:
            return opened.read(_MOST).decode().strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise CommandError(f"The token's file cannot be read: {reason}.") from None
