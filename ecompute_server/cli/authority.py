"""`ca`: the certificate authority. Works while a server runs on the same state."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import App, Parameter

from ecompute_server.gateway.tls.authority import Authority
from ecompute_server.settings import told
from ecompute_server.state import StateDirectory

from .common import SettingsFile, State, existing_state, settings_of

ca = App(name="ca", help="The certificate authority of containers' names.")


@ca.command
def show(
    *,
    domain: Annotated[str | None, Parameter(help=told("domain"))] = None,
    state: State = None,
    settings: SettingsFile = None,
) -> None:
    """Print the root certificate (PEM) that vouches for the containers' names, for trust stores.

    It is made when it is not there yet.
    """
    chosen = settings_of(state, settings, domain=domain)
    existing_state(chosen)
    authority = Authority.open(StateDirectory(chosen.state).path / "tls", chosen.domain)
    if chosen.tls_cert is not None:
        # a script that trusts the root goes on working when the setting comes or goes
        print(
            f"The settings serve the certificate {chosen.tls_cert} instead of those of this root.",
            file=sys.stderr,
        )
    print(authority.root_pem, end="")
