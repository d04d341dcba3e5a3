"""`ssh` and `ssh-config`: the stock client, with the host keys that the server tells pinned."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ecompute.contract.catalog import Status
from ecompute.errors import Error, one_line
from ecompute.files import expanded

from .common import Connection, Container, open_client
from .exits import CommandError, Exit
from .keyfiles import identities
from .names import find
from .output import say, told
from .ssh_files import folder, known_hosts_of, options, place_of, slug, texts, why_not

if TYPE_CHECKING:
    from ecompute import Client


def ssh(
    container: Container,
    /,
    *command: Annotated[
        str,
        Parameter(
            help="Command to run instead of a shell; one word is a shell line.", allow_leading_hyphen=True
        ),
    ],
    identity: Annotated[
        Path | None, Parameter(name=("--identity", "-i"), help="Private key to log in with.")
    ] = None,
    connection: Connection | None = None,
) -> None:
    """Log into a container by ssh, with its host key pinned. Ends as ssh does."""
    with open_client(connection) as client:
        box = find(client, container)
        place = place_of(box)
        if place is None:
            raise CommandError(
                f"SSH does not reach {told(box)}, since {why_not(box)}: `ecompute access {box.id} on` turns"
                " it on, and `ecompute terminal` needs none.",
                Exit.REFUSED,
            )
        if box.status == Status.STOPPED:
            raise CommandError(
                f"SSH does not reach {told(box)}, since it is stopped: `ecompute start {box.id}` boots it.",
                Exit.REFUSED,
            )
        known = known_hosts_of(client.base_url, place.id)
        own = [expanded(identity).absolute()] if identity else _identities(client)
    if place.host_key is not None:
        _put(known, f"{place.id} {place.host_key}\n")
    chosen = [text for pair in options(place, known, own) for text in ("-o", "=".join(pair))]
    line = [line_of(command)] if command else []
    try:
        os.execvp("ssh", ["ssh", *chosen, place.id, *line])
    except FileNotFoundError:
        raise CommandError("There is no ssh here: install OpenSSH's client.", Exit.REFUSED) from None


def ssh_config(
    *,
    write: Annotated[
        bool,
        Parameter(negative="", help="Write the usual file instead of printing, and tell how to include it."),
    ] = False,
    output: Annotated[Path | None, Parameter(help="Write this file instead.")] = None,
    connection: Connection | None = None,
) -> None:
    """Make the names of the containers known to ssh, their host keys pinned: print what does, or write it
    into a file. Write it again after containers came or went, or were given other addresses.
    """
    with open_client(connection) as client:
        boxes = client.containers.list()
        own = _identities(client)
        server = slug(client.base_url)
    usual = folder() / f"{server}.config"
    file = (expanded(output).absolute() if output else usual).resolve()
    known = file.with_name(f"{file.name.removesuffix('.config')}.known_hosts")
    made = texts(boxes, known, own, {box.id: told(box) for box in boxes})
    for sentence in made.left_out:
        say(f"{sentence}.")
    _put(known, made.known_hosts)
    if not write and output is None:
        print(made.config, end="")
        return
    _put(file, made.config)
    pattern = file if output else file.with_name("*.config")
    say(f'{file} is written. At the top of ~/.ssh/config, this line includes it: Include "{pattern}"')


def line_of(words: tuple[str, ...]) -> str:
    """The shell line of a command: one word is one already, several are a program and its arguments."""
    return words[0] if len(words) == 1 else shlex.join(words)


def _identities(client: Client) -> list[Path]:
    try:
        return identities(client.ssh_keys.list())
    except Error:
        # a token need not cover keys; ssh then tries those that it always tries
        return []


def _put(file: Path, content: str) -> None:
    """Write a file that only its owner can read, at once or not at all."""
    import tempfile

    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=".new-", delete=False) as new:
            new.write(content)
        Path(new.name).replace(file)
    except OSError as error:
        raise CommandError(
            f"{one_line(str(file))} cannot be written: {error.strerror}.", Exit.REFUSED
        ) from None
