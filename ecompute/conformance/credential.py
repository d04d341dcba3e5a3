"""Who asks: the credentials that a run was given, and those that it makes."""

from __future__ import annotations

from attrs import field, frozen


@frozen
class Credential:
    """A credential by its symbol in histories, and the symbol of the tenant whose it is; the token itself is
    in no `repr`.
    """

    symbol: str
    token: str = field(repr=False)
    owner: str


@frozen
class Tenant:
    """A user of the tested server. Where nothing tells the id it is unknown: None."""

    credential: Credential
    user_id: str | None
    is_session: bool

    @property
    def symbol(self) -> str:
        """What histories call the tenant and its credential."""
        return self.credential.symbol


Who = Credential | Tenant | None
"""Whose credential goes with a request; None is nobody's."""


def credential_of(who: Who) -> Credential | None:
    """The credential itself."""
    return who.credential if isinstance(who, Tenant) else who
