"""Requests that a server takes, in normal form or spelled as people do: one strategy for each class.

Optional fields are left out in the simplest request, so that the defaults count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ecompute.contract import catalog
from ecompute.contract import requests as ask

from . import keys, parts, rights
from .parts import given_or

R = TypeVar("R")

Texts = SearchStrategy[str]


def _or_left_out(values: SearchStrategy[Any]) -> SearchStrategy[Any]:
    return st.none() | values


def padded(names: Texts) -> Texts:
    """Names as they are, or with spaces around, which a server trims."""
    return st.builds("{}{}{}".format, st.sampled_from(("", " ")), names, st.sampled_from(("", "  ")))


def _padded_names() -> Texts:
    return padded(parts.container_names())


def _padded_token_names() -> Texts:
    return padded(parts.token_names())


def create_containers(
    *, names: Texts | None = None, ssh_key_ids: SearchStrategy[tuple[int, ...]] | None = None
) -> SearchStrategy[ask.CreateContainer]:
    """Requests to create a container. The simplest has the name `a`, the key 1 and all defaults.

    `ssh_key_ids` are the ids of keys that there are; without it, any are taken.
    """
    return st.builds(
        ask.CreateContainer,
        name=given_or(names, _padded_names),
        ssh_key_ids=given_or(ssh_key_ids, key_id_lists),
        instance_type=_or_left_out(st.just("") | parts.instance_types()),
        memory_mb=_or_left_out(st.just(0) | parts.memory_sizes()),
        storage_gb=_or_left_out(st.just(0) | parts.storage_sizes()),
        ssh_enabled=_or_left_out(st.booleans()),
        mount_paths=_or_left_out(st.just(()) | parts.mount_lists(spelled=True)),
    )


def key_id_lists() -> SearchStrategy[tuple[int, ...]]:
    """Ids of SSH keys, at least one, all different. The simplest is `(1,)`."""
    return st.lists(parts.small_ids(), min_size=1, max_size=5, unique=True).map(tuple)


def add_ssh_keys(
    *, names: Texts | None = None, public_keys: Texts | None = None
) -> SearchStrategy[ask.AddSSHKey]:
    """Requests to register a public key. The simplest is one of the type `ssh-ed25519` with the name `a`."""
    return st.builds(
        ask.AddSSHKey,
        name=given_or(names, _padded_names),
        public_key=given_or(public_keys, keys.public_keys),
    )


def set_ssh_accesses(ids: Texts | None = None) -> SearchStrategy[ask.SetSSHAccess]:
    """Requests to turn SSH on or off. The simplest turns it off."""
    return st.builds(ask.SetSSHAccess, given_or(ids, parts.container_ids), st.booleans())


def add_ingresses(ids: Texts | None = None) -> SearchStrategy[ask.AddIngress]:
    """Requests to publish a port. The simplest is port 80 to the same port."""
    targets = _or_left_out(st.just(0) | parts.target_ports())
    return st.builds(ask.AddIngress, given_or(ids, parts.container_ids), parts.ingress_ports(), targets)


def remove_ingresses(ids: Texts | None = None) -> SearchStrategy[ask.RemoveIngress]:
    """Requests to publish a port no longer. The simplest is about port 80."""
    return st.builds(ask.RemoveIngress, given_or(ids, parts.container_ids), parts.ingress_ports())


def set_mounts(ids: Texts | None = None) -> SearchStrategy[ask.SetMounts]:
    """Requests to choose the persistent paths. The simplest chooses `/root`, the default."""
    return st.builds(ask.SetMounts, given_or(ids, parts.container_ids), parts.mount_lists(spelled=True))


def open_terminals(ids: Texts | None = None) -> SearchStrategy[ask.OpenTerminal]:
    """Requests for a terminal. The simplest says no size, so that the defaults count."""
    return st.builds(
        ask.OpenTerminal,
        given_or(ids, parts.container_ids),
        _or_left_out(parts.terminal_sizes(catalog.TERMINAL_ROWS)),
        _or_left_out(parts.terminal_sizes(catalog.TERMINAL_COLS)),
    )


def create_tokens(
    users: Texts | None = None, ids: Texts | None = None, *, names: Texts | None = None
) -> SearchStrategy[ask.CreateToken]:
    """Requests for an API token. The simplest may read all of `u1` for 30 days, and is called `a`."""
    return st.builds(
        ask.CreateToken,
        name=given_or(names, _padded_token_names),
        scopes=rights.granted_scopes(users, ids),
        expires_in=parts.token_expiries(),
    )


def log_ins() -> SearchStrategy[ask.LogIn]:
    """Requests to log in; whether there is such a user is not known here."""
    words = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=20)
    return st.builds(ask.LogIn, words, words)


def _about_container(cls: type[R]) -> Callable[[], SearchStrategy[R]]:
    return lambda: st.builds(cls, parts.container_ids())


_REQUESTS: Mapping[type, Callable[[], SearchStrategy[Any]]] = {
    ask.ListContainers: lambda: st.builds(ask.ListContainers),
    ask.CreateContainer: create_containers,
    ask.GetContainer: _about_container(ask.GetContainer),
    ask.DeleteContainer: _about_container(ask.DeleteContainer),
    ask.StartContainer: _about_container(ask.StartContainer),
    ask.StopContainer: _about_container(ask.StopContainer),
    ask.ListSSHKeys: lambda: st.builds(ask.ListSSHKeys),
    ask.AddSSHKey: add_ssh_keys,
    ask.DeleteSSHKey: lambda: st.builds(ask.DeleteSSHKey, parts.small_ids()),
    ask.GetSSHAccess: _about_container(ask.GetSSHAccess),
    ask.SetSSHAccess: set_ssh_accesses,
    ask.ListIngress: _about_container(ask.ListIngress),
    ask.AddIngress: add_ingresses,
    ask.RemoveIngress: remove_ingresses,
    ask.GetMounts: _about_container(ask.GetMounts),
    ask.SetMounts: set_mounts,
    ask.OpenEvents: lambda: st.builds(ask.OpenEvents),
    ask.OpenTerminal: open_terminals,
    ask.LogIn: log_ins,
    ask.GetSession: lambda: st.builds(ask.GetSession),
    ask.LogOut: lambda: st.builds(ask.LogOut),
    ask.ListTokens: lambda: st.builds(ask.ListTokens),
    ask.CreateToken: create_tokens,
    ask.DeleteToken: lambda: st.builds(ask.DeleteToken, parts.token_ids()),
}

REQUESTS: tuple[type, ...] = tuple(_REQUESTS)
"""Every class of request, in the order of the contract."""


def requests(cls: type[R]) -> SearchStrategy[R]:
    """Requests of one class that break no rule; whether what they name is there is another question.

    Raises:
        LookupError: it is no class of request.
    """
    if cls not in _REQUESTS:
        raise LookupError(f"{cls.__name__} is no class of request.")
    return _REQUESTS[cls]()
