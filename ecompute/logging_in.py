"""Logging in by the sync way: a user name and a password for a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .contract.resources import Session
from .late import endpoints, flows, requests
from .settings import Given, resolve
from .surroundings import context

if TYPE_CHECKING:
    from .custom import CustomTransport
    from .settings import Cert, Verify


def login(
    base_url: str | None,
    username: str,
    password: str,
    *,
    profile: str | None = None,
    timeout: float | None = None,
    verify: Verify = True,
    cert: Cert | None = None,
    proxy: str | None = None,
    transport: CustomTransport | None = None,
) -> Session:
    """Trade a user name and password for a session; its `token` opens a client.

    The arguments are as for a client; without `base_url` the server is that of the environment or a profile.

    Raises:
        Unauthenticated: the pair is wrong.
        RateLimited: too many tries; `retry_after` says how long to wait.
        InvalidArgument, APIError, ConnectError, DeadlineExceeded, InvalidAnswer: as for every call.
    """
    request = requests.LogIn(username, password)
    given = Given(base_url=base_url, profile=profile, timeout=timeout, verify=verify, cert=cert, proxy=proxy)
    del base_url, password, cert, proxy  # a traceback may show them
    settings = resolve(given, needs_token=False)
    from .transport import Transport

    way = Transport.open(settings, transport)
    try:
        flow = flows.call(endpoints.LOG_IN, request, settings.timeout, context(settings.base_url))
        return flows.drive(flow, way.perform)
    finally:
        way.close()
