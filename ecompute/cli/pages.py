"""`open`: the web page of a container."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlsplit

from cyclopts import Parameter

from ecompute.contract.catalog import HTTPS_PORT
from ecompute.contract.resources import Container as Resource
from ecompute.contract.resources import IngressRule
from ecompute.errors import one_line

from .common import Connection, Container, open_client
from .exits import CommandError, Exit
from .names import find
from .output import say, told
from .ssh_files import SSH_PORT, place_of

_HTTP_PORT = 80


def open_(
    container: Container,
    /,
    *,
    print_: Annotated[bool, Parameter(name="--print", negative="", help="Only print the address.")] = False,
    connection: Connection | None = None,
) -> None:
    """Open the web page of a container: by HTTPS where port 443 is published, else by HTTP."""
    with open_client(connection) as client:
        box = find(client, container)
        rules = client.ingress.list(box)
        server = client.base_url
    url = address(box, rules)
    if url is None:
        raise CommandError(
            f"{told(box)} publishes nothing: `ecompute ingress add {box.id} 443 PORT` does.", Exit.NOT_FOUND
        )
    print(url)
    if url.startswith("https:") and _is_local(server):
        say(
            "This server may vouch for it by an authority of its own: `ecompute-server ca show` prints the "
            "root that your browser has to trust."
        )
    if not print_:
        import webbrowser

        if not webbrowser.open(url):
            say("There is no browser here.")


def address(box: Resource, rules: Sequence[IngressRule]) -> str | None:
    """Where the page is; None when nothing is published. Ports may be moved on the host, as SSH's tells."""
    ports = sorted(rule.port for rule in rules)
    if not ports:
        return None
    port = HTTPS_PORT if HTTPS_PORT in ports else ports[0]
    scheme, usual = ("https", HTTPS_PORT) if port == HTTPS_PORT else ("http", _HTTP_PORT)
    place = place_of(box)
    moved = 0 if place is None else place.port - SSH_PORT
    host = one_line(_host(box))
    return f"{scheme}://{host}{'' if port + moved == usual else f':{port + moved}'}/"


def _host(box: Resource) -> str:
    """A name below localhost leads to this machine, not to the container's own address on it."""
    if box.external_ip and box.hostname.rpartition(".")[2] == "localhost":
        return box.external_ip
    return box.hostname or box.external_ip or ""


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
