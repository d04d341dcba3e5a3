"""The file of profiles: servers that a user works with, and how to log in there.

    default_profile = "work"

    [profiles.work]
    url = "https://compute.example.org"
    token = "ecloud_..."

Reading refuses what others could have read or changed. Writing changes single lines, so that comments and
other profiles stay as they are.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen

from .credentials import Token, holds_secret, shown_address, token_of
from .errors import InvalidArgument, one_line
from .files import expanded, small_file

CONFIG_VARIABLE = "ECOMPUTE_CONFIG"

TEXTS = ("url", "token", "credential_helper", "ca_file", "client_cert", "client_key", "proxy")
TIMES = ("timeout", "connect_timeout", "read_timeout", "write_timeout")
_FILES = ("ca_file", "client_cert", "client_key")

MOST = 1024 * 1024
"""Bytes of the largest file that is read."""

_OF_OTHERS = 0o077
_WRITABLE_BY_OTHERS = 0o022


@frozen
class Profile:
    """One server, and how to log in there. Times are seconds, files absolute, secrets not in `repr`."""

    name: str
    url: str = field(repr=shown_address)
    token: Token | None = None
    credential_helper: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    proxy: str | None = field(default=None, repr=False)
    timeout: float | None = None
    connect_timeout: float | None = None
    read_timeout: float | None = None
    write_timeout: float | None = None

    @property
    def has_credential(self) -> bool:
        """Whether it says how to get a token."""
        return self.token is not None or self.credential_helper is not None


@frozen
class Profiles:
    """All that the file says. Without a file there is nothing in it."""

    path: Path
    default: str | None = None
    named: Mapping[str, Profile] = field(factory=dict)

    def get(self, name: str) -> Profile:
        """The profile of this name.

        Raises:
            InvalidArgument: there is none.
        """
        if not isinstance(name, str):
            raise InvalidArgument("The name of a profile must be a text.")
        if name in self.named:
            return self.named[name]
        known = ", ".join(map(repr, self.named)) or "none at all"
        raise InvalidArgument(f"{self.path} has no profile {name!r}: there is {known}.")


def default_path(environ: Mapping[str, str] | None = None) -> Path:
    """`$ECOMPUTE_CONFIG`, else `ecompute/config.toml` where programs keep their settings: in
    `$XDG_CONFIG_HOME`, else `~/.config`, on Windows `%APPDATA%`.

    Raises:
        InvalidArgument: the home folder is unknown.
    """
    environ = os.environ if environ is None else environ
    if own := environ.get(CONFIG_VARIABLE):
        return expanded(own)
    if sys.platform == "win32":
        base = environ.get("APPDATA") or "~/AppData/Roaming"
    else:
        # a relative path is to be ignored (XDG Base Directory Specification)
        base = environ.get("XDG_CONFIG_HOME", "")
        base = base if Path(base).is_absolute() else "~/.config"
    return expanded(base) / "ecompute" / "config.toml"


def load(path: str | os.PathLike[str] | None = None) -> Profiles:
    """What the file says; None is the usual place. A file that is not there is an empty one.

    Raises:
        InvalidArgument: the file cannot be read, is no regular one or larger than 1 MiB, is no TOML, has an
            unknown key or a value of the wrong type, or belongs to somebody else, is writable by others, or
            holds a secret and is readable by others.
    """
    found = _load(_place(path))
    if isinstance(found, Profiles):
        return found
    raise InvalidArgument(found)


def _place(path: str | os.PathLike[str] | None) -> Path:
    if path is None:
        return default_path()
    if not isinstance(path, str | os.PathLike):
        raise InvalidArgument("path must be a path.")
    return Path(path)


def _load(place: Path) -> Profiles | str:
    """The profiles, or what is wrong with the file: raising here would show its content in a traceback."""
    try:
        content, status = small_file(place, MOST)
    except FileNotFoundError:
        return Profiles(place)
    except OSError as error:
        return f"{one_line(str(place))} cannot be read: {error.strerror}."
    found = read(content, place)
    if isinstance(found, Profiles) and os.name == "posix":
        secret = any(_is_secret(profile) for profile in found.named.values())
        return _open_to_others(place, status, secret) or found
    return found


def read(content: bytes, path: Path) -> Profiles | str:
    """What a file with this content says, or what is wrong; paths in it are relative to its folder."""
    data, problem = _parse(content)
    problem = problem or _fault(data)
    if problem is not None:
        return f"{path}: {problem}."
    try:
        named = {name: _profile(name, table, path) for name, table in data.get("profiles", {}).items()}
    except InvalidArgument as error:
        return f"{path}: {error}"
    default = data.get("default_profile")
    if default is not None and default not in named:
        return f"{path}: default_profile names {default!r}, which is not there."
    return Profiles(path, default, named)


def parse(content: bytes) -> dict[str, Any] | None:
    """The tables of the file as they are, or None when it is no TOML."""
    data, problem = _parse(content)
    return data if problem is None else None


def _parse(content: bytes) -> tuple[dict[str, Any], str | None]:
    import re
    import tomllib

    try:
        return tomllib.loads(content.decode()), None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return {}, f"line {line} is no UTF-8"
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        # an end that comes too early has no line in the message
        line = int(found[1]) if found else content.count(b"\n") + 1
        return {}, f"line {line} is no TOML"
    except ValueError:
        return {}, "a number has too many digits"
    except RecursionError:
        return {}, "it is nested too deeply"


def _fault(data: Mapping[str, Any]) -> str | None:
    """What is wrong with the tables, without the values."""
    for key in data:
        if key not in ("default_profile", "profiles"):
            return f"the key {key!r} is unknown"
    if not isinstance(data.get("default_profile", ""), str):
        return "default_profile must be a text"
    tables = data.get("profiles", {})
    if not isinstance(tables, dict):
        return "profiles must be tables, such as [profiles.work]"
    for name, table in tables.items():
        if not isinstance(table, dict):
            return f"the profile {name!r} must be a table: [profiles.{name}]"
        if fault := _fault_of_profile(table):
            return f"in the profile {name!r}, {fault}"
    return None


def _fault_of_profile(table: Mapping[str, Any]) -> str | None:
    for key, value in table.items():
        if key not in TEXTS and key not in TIMES:
            return f"the key {key!r} is unknown"
        if key in TEXTS and (not isinstance(value, str) or not value.strip()):
            return f"{key} must be a text that is not empty"
        if key in TIMES and (isinstance(value, bool) or not isinstance(value, int | float) or not value > 0):
            return f"{key} must be a number of seconds above zero"
    if "url" not in table:
        return "the url is missing"
    if "token" in table and "credential_helper" in table:
        return "there is a token and a credential_helper: only one can be meant"
    if "client_key" in table and "client_cert" not in table:
        return "there is a client_key without a client_cert"
    if "token" in table and token_of(table["token"]) is None:
        return "the token must be printable ASCII without spaces"
    return None


def _profile(name: str, table: Mapping[str, Any], path: Path) -> Profile:
    values = dict(table)
    for key in _FILES:
        if key in values:
            values[key] = str(path.absolute().parent / expanded(values[key]))
    values["token"] = token_of(values.get("token"))
    return Profile(name, **values)


def _is_secret(profile: Profile) -> bool:
    if profile.token is not None:
        return True
    try:
        return profile.proxy is not None and urlsplit(profile.proxy).password is not None
    except ValueError:
        return True


def _open_to_others(path: Path, status: os.stat_result, secret: bool) -> str | None:
    import shlex

    quoted = shlex.quote(str(path))
    if status.st_uid not in (os.geteuid(), 0):
        return f"{path} belongs to another user, who may have changed it: use a file of yours."
    if status.st_mode & _WRITABLE_BY_OTHERS:
        return f"{path} can be changed by others: chmod 600 {quoted}"
    if secret and status.st_mode & _OF_OTHERS:
        return f"{path} holds a secret and can be read by others: chmod 600 {quoted}"
    return None


def save(
    name: str,
    *,
    url: str,
    token: str | Token | None = None,
    ca_file: str | None = None,
    make_default: bool | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Path:
    """Write a profile into the file, and tell where that is. What is None stays as it is; `make_default` None
    makes the profile the default where there is none.

    The file is replaced at once, with mode 0600; a folder that is made has 0700. Threads and processes that
    change it at the same time do so one after the other, by the lock `.config.toml.lock` beside it.

    Raises:
        InvalidArgument: a value is malformed; or the profile would keep the credential of another server; or
            the file is refused as by `load`, cannot be written, or has a form that cannot be changed line by
            line.
    """
    from .profiles_file import Document, change, changing
    from .settings import same_server

    given = token is not None
    token = token if isinstance(token, Token) else token_of(token)
    fault = _unfit(name, url, ca_file) or (_NO_TOKEN if given and token is None else None)
    if fault is not None:
        del url  # a traceback may show it
        raise InvalidArgument(fault)
    values: dict[str, str | Token] = {"url": url}
    if token is not None:
        values["token"] = token
    if ca_file is not None:
        values["ca_file"] = ca_file
    with changing(_place(path)) as known:
        first = known.default is None
        old = known.named.get(name)
        if old is not None and token is None and old.has_credential and not same_server(old.url, url):
            raise InvalidArgument(
                f"The profile {name!r} has a credential for {shown_address(old.url)}: give one for {url} too."
            )

        def edit(document: Document) -> bool:
            return document.put(name, values, first if make_default is None else make_default)

        change(known.path, edit)
    return known.path


_NO_TOKEN = "The token must be a non-empty text of printable ASCII without spaces."


def _unfit(name: object, url: object, ca_file: object) -> str | None:
    texts = (name, url, "-" if ca_file is None else ca_file)
    if not all(isinstance(text, str) and text.isprintable() and text for text in texts):
        return "name, url and ca_file must be printable texts that are not empty."
    if holds_secret(str(url)):
        return "url must not hold a user name, password or token."
    return None


def remove(name: str, *, path: str | os.PathLike[str] | None = None) -> Path:
    """Take a profile out of the file, and tell where that is. If it was the default, there is none then.

    Raises:
        InvalidArgument: there is no such profile; else as for `save`.
    """
    from .profiles_file import change, changing

    with changing(_place(path)) as known:
        known.get(name)
        change(known.path, lambda document: document.take_out(name))
    return known.path


def remove_token(name: str, *, path: str | os.PathLike[str] | None = None) -> Path:
    """Take the token out of a profile and leave all else, and tell where the file is. A profile without one
    stays as it is.

    Raises:
        InvalidArgument: there is no such profile; else as for `save`.
    """
    from .profiles_file import change, changing

    with changing(_place(path)) as known:
        if known.get(name).token is not None:
            change(known.path, lambda document: document.drop(name, "token"))
    return known.path
