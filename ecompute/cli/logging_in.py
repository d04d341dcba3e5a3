"""`login`, `logout`, `whoami`: who the commands speak for."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from cyclopts import Parameter

from ecompute.errors import Error, InvalidArgument, one_line
from ecompute.files import expanded
from ecompute.settings import PROFILE_VARIABLE, URL_VARIABLE, checked_url, same_server

from .common import Connection, Json, open_client
from .exits import CommandError, Exit
from .output import print_json, print_lines, say, to_json

if TYPE_CHECKING:
    from ecompute.profiles import Profiles

_PORTS = {"http": 80, "https": 443, "": 0}


def login(
    url: Annotated[
        str | None, Parameter(help="Address of the server, such as https://compute.example.org.")
    ] = None,
    /,
    *,
    user: Annotated[str | None, Parameter(help="User name; asked for when not given.")] = None,
    password_stdin: Annotated[
        bool,
        Parameter(negative="", help="Read the password from standard input, one line, instead of asking."),
    ] = False,
    connection: Connection | None = None,
) -> None:
    """Log in with user name and password, and remember it, in the profile of --profile, else in that of this
    server. The first profile becomes the default one.
    """
    from ecompute import login as log_in
    from ecompute import profiles

    given = connection or Connection()
    known = profiles.load()
    chosen = given.profile or os.environ.get(PROFILE_VARIABLE)
    address = _server(url or given.url, chosen, known)
    name = chosen or _name(address, known)
    if user is None:
        user = _asked(f"User for {address}:", "--user")
    password = _password(password_stdin, f"Password of {user} for {address}:")
    authorities = given.ca_file and expanded(given.ca_file).absolute()
    before = known.named.get(name)
    session = log_in(
        address,
        user,
        password,
        # what it says about the way there
        profile=name if before is not None and same_server(before.url, address) else None,
        timeout=given.timeout,
        verify=authorities or True,
    )
    try:
        place = profiles.save(
            name, url=address, token=session.token, ca_file=None if authorities is None else str(authorities)
        )
    except InvalidArgument as error:
        raise CommandError(
            f"You were logged in, but the session cannot be kept: {error}", Exit.REFUSED
        ) from None
    say(f"Logged in as {session.username}: profile {name!r} in {place}.")
    default = profiles.load().default
    if default != name:
        say(f"The default profile is {default!r}: `ecompute profiles use` changes that.")


def logout(*, connection: Connection | None = None) -> None:
    """End the session and forget its token; the profile stays, for the next `login`."""
    from ecompute import Forbidden, Unauthenticated, profiles

    known = profiles.load()
    name = (connection and connection.profile) or os.environ.get(PROFILE_VARIABLE) or known.default
    if name is None:
        raise CommandError("There is no profile to log out of.", Exit.NO_ACCESS)
    known.get(name)
    timeout = None if connection is None else connection.timeout
    with open_client(Connection(profile=name, timeout=timeout)) as client:
        try:
            client.logout()
        except Unauthenticated:
            say("The session was over already.")
        except Forbidden:
            say("Its token is an API token, which stays valid: `ecompute tokens rm` revokes it.")
        except Error:
            say("The session could not be ended, and its token is kept.")
            raise
    try:
        profiles.remove_token(name)
    except InvalidArgument as error:
        raise CommandError(f"The session is over, but its token stays: {error}", Exit.REFUSED) from None
    say(f"Logged out: the profile {name!r} has no token any more; `ecompute profiles rm` removes it.")


def whoami(*, json_: Json = False, connection: Connection | None = None) -> None:
    """Tell who the credential belongs to."""
    from ecompute.cells import lines

    with open_client(connection) as client:
        session = client.session()
        server = client.base_url
    if json_:
        print_json(to_json(session))
    else:
        print_lines([*lines(session), ("server", server)])


def _server(url: str | None, profile: str | None, known: Profiles) -> str:
    if url is None and profile is not None and profile in known.named:
        url = known.named[profile].url
    url = url or os.environ.get(URL_VARIABLE)
    if url is None and known.default is not None:
        url = known.named[known.default].url
    return checked_url(url or _asked("Server (URL):", "the URL"))


def _name(url: str, known: Profiles) -> str:
    for name, profile in known.named.items():
        if same_server(profile.url, url):
            return name
    parts = urlsplit(url)
    usual = parts.port is None or parts.port == _PORTS.get(parts.scheme)
    return f"{parts.hostname}" if usual else f"{parts.hostname}:{parts.port}"


def _asked(question: str, option: str) -> str:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CommandError(f"There is no terminal to ask at: give {option}.")
    print(one_line(question), end=" ", file=sys.stderr, flush=True)
    return one_line(sys.stdin.readline())


def _password(from_stdin: bool, question: str) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise CommandError("There is no terminal to ask for the password: use --password-stdin.")
    import getpass

    try:
        return getpass.getpass(f"{one_line(question)} ")
    except EOFError:
        raise CommandError("There was no password.", Exit.INTERRUPTED) from None
