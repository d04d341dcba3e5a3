"""The files that make ssh(1) know containers: what each says, and where it is.

Nothing that a server tells gets into them as it is: a name becomes a pattern only when it is a plain word, an
address, a port and a user only when they are nothing else, and a host key only after it was read as one.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from attrs import frozen

from ecompute.contract.public_key import PublicKey, PublicKeyError
from ecompute.contract.resources import Container

from .exits import CommandError

# no dot: a container named as a host of the internet would come in between a user and that host
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:-]{0,252}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_LOCAL = "localhost"
SSH_PORT = 22


@frozen
class Place:
    """Where ssh reaches a container, as whom, and the host key that it has to show, if that is known."""

    id: str
    user: str
    host: str
    port: int
    host_key: str | None


def place_of(box: Container) -> Place | None:
    """Where ssh reaches a container; None while it does not."""
    told = _address(box.ssh_command)
    if told is None or not _ID.fullmatch(box.id):
        return None
    return Place(box.id, *told, _key(box.ssh_host_key))


def why_not(box: Container) -> str:
    """Why ssh does not reach a container, as a part of a sentence."""
    if not box.ssh_enabled:
        return "SSH from outside is off"
    return "the server tells no address of it yet"


def _address(command: str | None) -> tuple[str, str, int] | None:
    """User, host and port of `ssh [-p PORT] USER@HOST [-p PORT]`."""
    try:
        words = shlex.split(command or "")
    except ValueError:
        return None
    port = str(SSH_PORT)
    if "-p" in words[:-1]:
        at = words.index("-p")
        port = words[at + 1]
        del words[at : at + 2]
    if len(words) != 2 or words[0] != "ssh":
        return None
    user, _, host = words[1].rpartition("@")
    fits = _HOST.fullmatch(host) and _USER.fullmatch(user) and port.isascii() and port.isdecimal()
    return (user, host, int(port)) if fits and 0 < int(port) < 65536 else None


def _key(line: str | None) -> str | None:
    try:
        key = PublicKey.parse(line or "")
    except PublicKeyError:
        return None
    return " ".join(str(key).split()[:2])


@frozen
class Texts:
    """The content of both files, and what is left out of them and why: a sentence for each."""

    config: str
    known_hosts: str
    left_out: tuple[str, ...]


def texts(
    boxes: Sequence[Container], known_hosts: Path, identities: Sequence[Path], describe: Mapping[str, str]
) -> Texts:
    """What ssh has to read. `describe` has a printable form of each container by its id.

    Raises:
        CommandError: a path cannot be written in such a file.
    """
    ids = {box.id for box in boxes}
    names = [box.name for box in boxes]
    blocks: list[str] = []
    keys: list[str] = []
    left_out: list[str] = []
    for box in boxes:
        place = place_of(box)
        if place is None:
            left_out.append(f"{describe[box.id]} is left out: {why_not(box)}")
            continue
        patterns = [place.id]
        if box.name == place.id:
            pass
        elif not _NAME.fullmatch(box.name) or box.name.lower() == _LOCAL:
            left_out.append(f"{describe[box.id]} has only its id: ssh could take its name for something else")
        elif names.count(box.name) > 1 or box.name in ids:
            left_out.append(f"{describe[box.id]} has only its id: its name stands for another container too")
        else:
            patterns.insert(0, box.name)
        lines = [f"Host {' '.join(patterns)}", *_options(place, known_hosts, identities)]
        blocks.append("\n    ".join(lines) + "\n")
        if place.host_key is not None:
            keys.append(f"{place.id} {place.host_key}\n")
    return Texts("\n".join(blocks), "".join(keys), tuple(left_out))


def _options(place: Place, known_hosts: Path, identities: Sequence[Path]) -> list[str]:
    return [" ".join(pair) for pair in options(place, known_hosts, identities)]


def options(place: Place, known_hosts: Path, identities: Sequence[Path]) -> list[tuple[str, str]]:
    """The options of ssh_config(5) for a container. Without a known host key ssh asks, as it always does.

    Raises:
        CommandError: a path cannot be written as one.
    """
    pinned = [("UserKnownHostsFile", _quoted(known_hosts)), ("StrictHostKeyChecking", "yes")]
    return [
        ("HostName", place.host),
        ("Port", str(place.port)),
        ("User", place.user),
        ("HostKeyAlias", place.id),
        *(pinned if place.host_key is not None else []),
        *(("IdentityFile", _quoted(file)) for file in identities),
    ]


def _quoted(path: Path) -> str:
    text = str(path)
    if not text.isprintable() or '"' in text or "\\" in text:
        raise CommandError(
            "The path of a file for ssh must not hold quotes, backslashes or control characters."
        )
    return '"' + text.replace("%", "%%") + '"'


def folder() -> Path:
    """Where these files are: beside that of the profiles."""
    from ecompute.profiles import default_path

    return default_path().absolute().parent / "ssh"


def known_hosts_of(url: str, id_: str) -> Path:
    """The file of the host key of one container of a server."""
    return folder() / f"{slug(url)}.{id_}.known_hosts"


def forget_host_key(url: str, id_: str) -> None:
    """Remove that file, if there is one and it can be removed: the container is gone."""
    if _ID.fullmatch(id_):
        with suppress(OSError):
            known_hosts_of(url, id_).unlink(missing_ok=True)


def slug(url: str) -> str:
    """A server's address as a part of a file's name."""
    parts = urlsplit(url)
    return re.sub(r"[^A-Za-z0-9.]+", "-", f"{parts.netloc}{parts.path}").strip("-.") or "server"
