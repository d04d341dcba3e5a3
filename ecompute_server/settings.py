"""The server's settings, from three places: arguments win over the environment, the environment over a
file.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin
from urllib.parse import urlsplit

import attrs
from attrs import field, frozen

from ecompute.contract import catalog

from .core.presentation import DEFAULT_DOMAIN
from .state import default_state_directory

MAX_LIMIT = 1_000_000
DEFAULT_HTTPS_HOST = "127.0.0.1"
_LONGEST_DOMAIN = 253 - len("abcd1234.")
"""A host name has at most 253 characters (RFC 1035 §2.3.4 without the root's dot)."""
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""RFC 1123 §2.1; names of other scripts are given in their xn-- form."""
ENVIRONMENT_PREFIX = "ECOMPUTE_SERVER_"


class SettingsError(Exception):
    """A setting is unknown or malformed; `str()` is one sentence that says where it stands."""


def _setting(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


def _lower(name: str) -> str:
    # as clients write names when they ask for one
    return name.lower()


@frozen
class Settings:
    """All settings of a server. Durations are in seconds."""

    state: Path = field(factory=default_state_directory, metadata={"help": "State directory."})
    host: str = _setting("127.0.0.1", "Address to listen on.")
    port: int = _setting(7780, "Port to listen on; 0 takes a free one.")
    hypervisor: str = _setting("libvirt", "What runs the machines, libvirt or simulated.")
    libvirt_uri: str = _setting(
        "embed", "How libvirt is reached: embed (no daemon), qemu:///system or qemu:///session."
    )
    domain: str = field(
        default=DEFAULT_DOMAIN,
        converter=_lower,
        metadata={"help": "Domain below which containers have their names."},
    )
    default_image: str = _setting("micro", "Image that new containers boot.")
    max_containers_per_user: int = _setting(
        catalog.MAX_CONTAINERS_PER_USER, "Containers that a user may have."
    )
    max_ssh_keys_per_user: int = _setting(catalog.MAX_SSH_KEYS_PER_USER, "SSH keys that a user may have.")
    min_memory_mb: int | None = _setting(
        None, "Smallest memory of one container (default: what the images need to boot)."
    )
    max_memory_mb: int = _setting(catalog.MEMORY_MB[-1], "Largest memory of one container.")
    max_storage_gb: int = _setting(catalog.STORAGE_GB[-1], "Largest storage of one container.")
    allowed_origins: tuple[str, ...] = _setting(
        (), "Origin of web pages that may use the API, such as https://console.example; may be repeated."
    )
    trusted_proxies: tuple[str, ...] = _setting(
        (), "Address of a reverse proxy whose X-Forwarded-For tells the client's address; may be repeated."
    )
    outbound: str | None = _setting(None, "Guests' way out: filtered or none (default: what works here).")
    https_host: str = _setting(
        DEFAULT_HTTPS_HOST,
        "Address of the shared HTTPS listener, where every container that publishes port 443 is reached by"
        " its name (https://<id>.compute.localhost:7443/).",
    )
    https_port: int | None = _setting(
        None, "Port of the shared HTTPS listener; 0 takes a free one (default: 7443 where it is free)."
    )
    tls_cert: Path | None = field(
        default=None,
        metadata={
            "help": "Certificate for all containers' names, PEM with its chain"
            " (default: one of an own CA for each)."
        },
    )
    tls_key: Path | None = field(
        default=None, metadata={"help": "Key of that certificate, PEM without a password."}
    )
    port_offset: int = _setting(
        0, "Added to the ports on containers' addresses, where ports under 1024 may not be bound."
    )
    boot_deadline: float = _setting(120.0, "Seconds in which a guest must answer, else it has failed.")
    stop_grace: float = _setting(10.0, "Seconds that a guest has to power off before it is cut off.")
    log_level: str = _setting("info", "How much is logged: debug, info, warning or error.")

    def __attrs_post_init__(self) -> None:
        _one_of("hypervisor", self.hypervisor, ("libvirt", "simulated"))
        _one_of("log_level", self.log_level, ("debug", "info", "warning", "error"))
        if self.outbound is not None:
            _one_of("outbound", self.outbound, ("filtered", "none"))
        for address in self.trusted_proxies:
            _address(address)
        for origin in self.allowed_origins:
            _origin(origin)
        _domain(self.domain)
        if (self.tls_cert is None) != (self.tls_key is None):
            raise SettingsError("tls_cert and tls_key must be given together.")
        _between("port", self.port, 0, 65535)
        if self.https_port is not None:
            _between("https_port", self.https_port, 0, 65535)
        _between("port_offset", self.port_offset, 0, 65535 - 8999)
        _between("max_containers_per_user", self.max_containers_per_user, 0, MAX_LIMIT)
        _between("max_ssh_keys_per_user", self.max_ssh_keys_per_user, 0, MAX_LIMIT)
        if self.min_memory_mb is not None:
            _between("min_memory_mb", self.min_memory_mb, catalog.MEMORY_MB[0], self.max_memory_mb)
        _between("max_memory_mb", self.max_memory_mb, catalog.MEMORY_MB[0], catalog.MEMORY_MB[-1])
        _between("max_storage_gb", self.max_storage_gb, catalog.STORAGE_GB[0], catalog.STORAGE_GB[-1])
        for name in ("boot_deadline", "stop_grace"):
            if not 0 < getattr(self, name) <= 86_400:
                raise SettingsError(f"{name} must be above 0 and at most 86400 seconds.")


def _domain(text: str) -> None:
    # it becomes part of host names, of certificates and of a path
    fits = len(text) <= _LONGEST_DOMAIN and all(_LABEL.fullmatch(label) for label in text.split("."))
    if not fits:
        raise SettingsError(f"{text!r} is no domain name, such as compute.example.")


def _address(text: str) -> None:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise SettingsError(f"{text!r} is no IP address or network of a proxy.") from None


def _origin(text: str) -> None:
    try:
        parts = urlsplit(text)
        fits = (
            parts.scheme in ("http", "https")
            and parts.hostname
            and f"{parts.scheme}://{parts.netloc}" == text
        )
        fits = fits and "@" not in parts.netloc and text == text.lower() and (parts.port or 1) > 0
    except ValueError:
        fits = False
    if not fits:
        raise SettingsError(f"{text!r} is no origin as browsers send it, such as https://console.example.")


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise SettingsError(f"{name} must be one of: {', '.join(allowed)}.")


def _between(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise SettingsError(f"{name} must be from {low} to {high}.")


def gather(
    arguments: Mapping[str, Any], *, environment: Mapping[str, str] = os.environ, file: Path | None = None
) -> Settings:
    """Settings from all three places. Arguments that are None count as not given.

    `file` defaults to `settings.toml` in the state directory, where it may be missing.

    Raises:
        SettingsError: something unknown, malformed or out of its range, and where it stands.
    """
    said = {name: value for name, value in arguments.items() if value is not None}
    for alias, name in _NAMES.items():
        variable = ENVIRONMENT_PREFIX + alias.upper()
        if name not in said and variable in environment:
            said[name] = _convert(name, environment[variable], f"the environment variable {variable}")
    if said.get("state") in ("", Path()):
        raise SettingsError("The state directory must not be empty.")
    state = Path(said.get("state") or default_state_directory())
    path = file or Path(environment.get(ENVIRONMENT_PREFIX + "SETTINGS") or state / "settings.toml")
    from_file = _read_file(path, must_exist=file is not None)
    return Settings(**{**from_file, **said, "state": state})


def _read_file(path: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text())
    except FileNotFoundError:
        if must_exist:
            raise SettingsError(f"The settings file {path} is not there.") from None
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"The settings file {path} cannot be read: {error}.") from None
    found = {}
    for key, value in content.items():
        name = _NAMES.get(key.replace("-", "_"))
        if name is None:
            raise SettingsError(f"The settings file {path} has an unknown key: {key}.")
        found[name] = _convert(name, value, f"the key {key} of {path}")
    return found


def _convert(name: str, value: Any, where: str) -> Any:
    kind = _TYPES[name]
    try:
        if get_origin(kind) is tuple:
            return _list(value)
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise ValueError
        if kind is int and isinstance(value, float):
            raise ValueError
        if kind is Path and not isinstance(value, str):
            raise ValueError
        return kind(value)
    except ValueError:
        words = {int: "an integer", float: "a number", tuple: "a list of texts"}.get(
            get_origin(kind) or kind, "a text"
        )
        raise SettingsError(f"{where[0].upper()}{where[1:]} must be {words}.") from None


_KIND_WORDS = {int: "an integer", float: "a number", tuple: "a list of texts"}


def told(name: str) -> str:
    """What a setting is for, and its default, as one line of help."""
    setting = next(a for a in attrs.fields(Settings) if a.name == name)
    words: str = setting.metadata["help"]
    default = setting.default
    if default in (None, ()) or not isinstance(default, str | int | float | tuple):
        return words
    return f"{words.rstrip('.')} (default {default})."


def _list(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError
    return tuple(value)


def as_options(settings: Settings) -> Iterator[str]:
    """The options of `serve` that say the same."""
    names = {name: option for option, name in _NAMES.items()}
    for name, value in attrs.asdict(settings, recurse=False).items():
        option = f"--{names[name].replace('_', '-')}"
        for one in value if isinstance(value, tuple) else () if value is None else (value,):
            yield from (option, str(one))


def _kind(annotation: Any) -> Any:
    if get_origin(annotation) is tuple:
        return annotation
    return next((kind for kind in get_args(annotation) if kind is not type(None)), annotation)


def _types() -> dict[str, Any]:
    attrs.resolve_types(Settings)
    return {a.name: _kind(a.type) for a in attrs.fields(Settings)}


_TYPES = _types()
_NAMES = {
    **{name: name for name in _TYPES},
    "allowed_origin": "allowed_origins",
    "trusted_proxy": "trusted_proxies",
}
"""How settings may be called: by their names, and lists by the option that is given several times."""
