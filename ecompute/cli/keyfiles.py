"""Public keys of this machine, and the registered ones that they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ecompute.contract.public_key import PublicKey, PublicKeyError
from ecompute.contract.resources import SSHKey
from ecompute.errors import Conflict, Forbidden, InvalidArgument
from ecompute.files import expanded, public_key_text

from .exits import CommandError
from .names import chosen
from .output import say

if TYPE_CHECKING:
    from ecompute import Client

_PREFERRED = ("id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub")
_MAX_NAME = 63


def folder() -> Path:
    """Where ssh keeps a user's keys."""
    return expanded("~/.ssh")


def usual_keys(client: Client) -> list[SSHKey]:
    """All registered keys; where there are none, a key of this machine becomes the first.

    Raises:
        CommandError: there is none here either.
    """
    registered = client.ssh_keys.list()
    if registered:
        return registered
    for file in own_files():
        try:
            key, _ = register(client, file, None)
        except (InvalidArgument, CommandError):
            continue
        say(f"No key was registered: {file} is now, as {key.name!r} (id {key.id}).")
        return [key]
    raise CommandError(
        "No SSH key is registered, and there is none in ~/.ssh: `ssh-keygen -t ed25519` makes one."
    )


def own_files() -> list[Path]:
    """The files of public keys in the usual place, the preferred ones first."""
    there = sorted(folder().glob("id_*.pub"))
    return sorted(there, key=lambda file: (file.name not in _PREFERRED, file.name))


def key_for(client: Client, text: str) -> SSHKey | int:
    """The registered key of this id or name, else that of this file.

    Raises:
        CommandError: there is none.
        InvalidArgument: the file cannot be read.
    """
    file = expanded(text)
    try:
        registered = client.ssh_keys.list()
    except Forbidden:
        # who may not list keys may use them
        if text.isdecimal():
            return int(text)
        raise
    named = any(text in (str(key.id), key.name) for key in registered)
    if not named and (file.exists() or "/" in text or text.endswith(".pub")):
        key, new = register(client, file, None, registered)
        if new:
            say(f"{file} is registered, as {key.name!r} (id {key.id}).")
        return key
    return chosen(text, registered, "key")


def register(
    client: Client, file: Path, name: str | None, registered: list[SSHKey] | None = None
) -> tuple[SSHKey, bool]:
    """The key of a file, and whether it is new to the server. For a private key's file the public one beside
    it is taken.

    Raises:
        CommandError: the file holds no acceptable key.
        InvalidArgument: it cannot be read.
        APIError: the server refused it.
    """
    public = file.with_name(file.name + ".pub")
    if file.suffix != ".pub" and public.exists():
        file = public
    line = public_key_text(file)
    try:
        key = PublicKey.parse(line)
    except PublicKeyError as error:
        raise CommandError(f"The key of {file} {error}.") from None
    if registered is None:
        registered = client.ssh_keys.list()
    if (same := same_key(key, registered)) is not None:
        return same, False
    given = name or "".join(c for c in key.comment if c.isprintable()).strip()[:_MAX_NAME] or file.stem
    try:
        return client.ssh_keys.add(given, line), True
    except Conflict:
        # somebody was faster
        if (same := same_key(key, client.ssh_keys.list())) is None:
            raise
        return same, False


def same_key(key: PublicKey, registered: list[SSHKey]) -> SSHKey | None:
    """The registered key that is this one, whatever its comment."""
    wanted = str(key).split()[:2]
    return next((each for each in registered if each.public_key.split()[:2] == wanted), None)


def identities(registered: list[SSHKey]) -> list[Path]:
    """The private keys of this machine whose public halves are registered."""
    found = []
    for file in own_files():
        try:
            key = PublicKey.parse(public_key_text(file))
        except (PublicKeyError, InvalidArgument):
            continue
        private = file.with_suffix("")
        if private.exists() and same_key(key, registered) is not None:
            found.append(private)
    return found
