"""Makes `st.from_type` know the contract's classes."""

from __future__ import annotations

from functools import partial
from typing import Any

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ecompute.async_bound import AsyncContainer
from ecompute.bound import Container
from ecompute.contract import resources as told
from ecompute.contract.public_key import PublicKey
from ecompute.contract.scopes import Action, Grants, Scope

from .answered import RESOURCES, containers, resources
from .asked import REQUESTS, requests
from .keys import parsed_public_keys
from .messages import MESSAGES, socket_messages
from .rights import actions, grants, scopes


def register() -> None:
    """Register a strategy for every class of requests, resources and messages, for those of rights and keys,
    and for the containers of the clients, which then have no client. Without that `st.from_type` would fill
    their fields with texts and numbers of any kind.
    """
    for classes, strategy in ((REQUESTS, requests), (RESOURCES, resources), (MESSAGES, socket_messages)):
        for cls in classes:
            _register(cls, partial(strategy, cls))
    for bound in (Container, AsyncContainer):
        _register(bound, partial(_without_client, bound))
    for cls, made in ((Scope, scopes), (Grants, grants), (Action, actions), (PublicKey, parsed_public_keys)):
        _register(cls, made)


def _without_client(cls: type) -> SearchStrategy[Any]:
    fields = attrs.fields(told.Container)

    def bind(box: told.Container) -> Any:
        return cls(**{field.name: getattr(box, field.name) for field in fields})

    return containers().map(bind)


def _register(cls: type, make: Any) -> None:
    def resolve(_: type) -> SearchStrategy[Any]:
        # made when it is asked for: most of them never are
        found: SearchStrategy[Any] = make()
        return found

    st.register_type_strategy(cls, resolve)
