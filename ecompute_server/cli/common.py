"""What the commands share: the `--state` option, settings, and errors as one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from ecompute.contract.scopes import ScopeError
from ecompute_server.gateway.interface import GatewayError
from ecompute_server.gateway.tls.errors import CertificateError
from ecompute_server.http.serving import ListenError
from ecompute_server.hypervisor.interface import HypervisorError
from ecompute_server.identity.accounts import AccountError
from ecompute_server.identity.keyring import KeyringError
from ecompute_server.images.interface import ImageError
from ecompute_server.settings import Settings, SettingsError, gather
from ecompute_server.state import StateDirectory, StateError
from ecompute_server.store.database import SqliteFile, StoreError

State = Annotated[Path | None, Parameter(help="State directory.")]
SettingsFile = Annotated[
    Path | None, Parameter(name="--settings", help="Settings file (default: settings.toml in the state).")
]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON for programs.")]


class CommandError(Exception):
    """A command cannot do what was asked; `str()` is one sentence."""


EXPECTED = (
    AccountError,
    CertificateError,
    CommandError,
    GatewayError,
    HypervisorError,
    ImageError,
    KeyringError,
    ListenError,
    ScopeError,
    SettingsError,
    StateError,
    StoreError,
)
"""Errors that are no bug: told as one sentence, without a traceback."""


def settings_of(state: Path | None, file: Path | None = None, **arguments: Any) -> Settings:
    """The settings for a command."""
    return gather({"state": state, **arguments}, file=file)


def existing_state(settings: Settings) -> None:
    """For commands that make no sense before there is anything.

    Raises:
        CommandError: no server and no command has used the state directory yet.
    """
    if not (settings.state / "ecompute.db").exists():
        raise CommandError(f"There is no server state in {settings.state}; check --state.")


@contextmanager
def open_file(settings: Settings, *, new: bool = False) -> Iterator[SqliteFile]:
    """The database of the state directory, also while a server runs on it. `new` may make one."""
    if not new:
        existing_state(settings)
    file = SqliteFile(StateDirectory(settings.state).database)
    try:
        yield file
    finally:
        file.close()
