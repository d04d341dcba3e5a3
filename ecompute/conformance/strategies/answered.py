"""What servers answer: one strategy for each class of resource, coherent in itself.

A container's hostname is of its id, its `ssh_command` is there while SSH is on, and so on. With `extra` they
also hold fields that this version does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from ecompute.contract import catalog
from ecompute.contract import resources as told

from . import keys, parts, rights
from .parts import given_or

T = TypeVar("T")

_FUTURE: tuple[str, ...] = ("future_field", "labels", "region")


def extras() -> SearchStrategy[Mapping[str, Any]]:
    """Fields of a newer server. The simplest is none."""
    values: SearchStrategy[Any] = st.one_of(
        st.booleans(), st.integers(), parts.container_names(), st.just(["a", {"b": 1}])
    )
    return st.just({}) | st.dictionaries(st.sampled_from(_FUTURE), values, max_size=2)


@st.composite
def _containers(draw: DrawFn, statuses: SearchStrategy[str]) -> told.Container:
    id_ = draw(parts.container_ids())
    status = draw(statuses)
    address = draw(parts.addresses())
    running, ssh = status == catalog.Status.RUNNING, draw(st.booleans())
    memory, storage = draw(parts.memory_sizes()), draw(parts.storage_sizes())
    return told.Container(
        id=id_,
        name=draw(parts.container_names()),
        status=status,
        hostname=f"{id_}.compute.localhost",
        memory_mb=memory,
        storage_gb=storage,
        instance_type=draw(parts.instance_types()),
        created_at=draw(parts.times()),
        ssh_enabled=ssh,
        https_enabled=draw(st.booleans()),
        memory_used_mb=draw(st.none() | st.integers(0, memory)) if running else None,
        storage_used_gb=draw(st.none() | st.integers(0, storage * 10).map(_tenth)) if running else None,
        ssh_command=f"ssh root@{address}" if ssh else None,
        external_ip=address,
        ssh_host_key=draw(keys.public_keys(st.just("ssh-ed25519"))),
        status_reason="The machine ended." if status == catalog.Status.FAILED else None,
        extra=draw(extras()),
    )


def _tenth(number: int) -> float:
    return number / 10


def containers(statuses: SearchStrategy[str] | None = None) -> SearchStrategy[told.Container]:
    """Containers in any status, or in the given ones. The simplest has just been created by the simplest
    request.
    """
    return _containers(given_or(statuses, parts.statuses))


def container_lists() -> SearchStrategy[told.ContainerList]:
    """Lists of containers as a user has them, newest first."""
    return st.builds(told.ContainerList, newest_first(containers()), extra=extras())


def newest_first(values: SearchStrategy[T]) -> SearchStrategy[tuple[T, ...]]:
    """Lists of the values as a server has them: with different ids, the newest first, of equally old ones
    the highest id.
    """
    found = st.lists(values, max_size=catalog.MAX_CONTAINERS_PER_USER, unique_by=_id_of)
    return found.map(lambda several: tuple(sorted(several, key=_age, reverse=True)))


def _id_of(value: Any) -> Any:
    return value.id


def _age(value: Any) -> Any:
    return (value.created_at, value.id)


def ssh_keys() -> SearchStrategy[told.SSHKey]:
    """Registered keys."""
    return st.builds(
        told.SSHKey,
        parts.small_ids(),
        parts.container_names(),
        keys.public_keys(),
        parts.times(),
        extra=extras(),
    )


def ssh_key_lists() -> SearchStrategy[told.SSHKeyList]:
    """Lists of keys, newest first."""
    return st.builds(told.SSHKeyList, newest_first(ssh_keys()), extra=extras())


def ssh_accesses() -> SearchStrategy[told.SSHAccess]:
    """SSH off or on."""
    return st.builds(told.SSHAccess, st.booleans(), extra=extras())


def ingress_rules() -> SearchStrategy[told.IngressRule]:
    """Published ports."""
    return st.builds(
        told.IngressRule,
        parts.small_ids(),
        parts.ingress_ports(),
        parts.target_ports(),
        parts.seconds(),
        extra=extras(),
    )


def ingress_rule_lists() -> SearchStrategy[told.IngressRuleList]:
    """A container's rules: by port, each port and each id once."""
    rules = st.lists(ingress_rules(), max_size=5, unique_by=(_id_of, lambda rule: rule.port))
    ordered = rules.map(lambda several: tuple(sorted(several, key=lambda rule: rule.port)))
    return st.builds(told.IngressRuleList, ordered, extra=extras())


def mounts() -> SearchStrategy[told.Mounts]:
    """Mount paths as they are told, and after a change whether that restarted the container."""
    return st.builds(told.Mounts, parts.mount_lists(), st.none() | st.booleans(), extra=extras())


def acknowledgements() -> SearchStrategy[told.Acknowledgement]:
    """The answer that says no more than ok."""
    return st.builds(told.Acknowledgement, st.just("ok"), extra=extras())


def sessions() -> SearchStrategy[told.Session]:
    """Who a credential belongs to, as after a login or as asked for."""
    return st.builds(
        told.Session,
        parts.user_ids(),
        parts.container_names(),
        st.just("") | parts.container_names(),
        st.booleans(),
        st.none() | st.just("a.b.c"),
        extra=extras(),
    )


def tokens() -> SearchStrategy[told.Token]:
    """API tokens, as they are listed or as they are made."""
    never = st.just(0)
    return st.builds(
        told.Token,
        parts.token_ids(),
        parts.token_names(),
        rights.granted_scopes(),
        never | parts.seconds(),
        parts.seconds(),
        never | parts.seconds(),
        st.none() | st.just("ecloud_secret"),
        extra=extras(),
    )


def token_lists() -> SearchStrategy[told.TokenList]:
    """Lists of API tokens, newest first."""
    return st.builds(told.TokenList, newest_first(tokens()), extra=extras())


_RESOURCES: Mapping[type, Callable[[], SearchStrategy[Any]]] = {
    told.Container: containers,
    told.ContainerList: container_lists,
    told.SSHKey: ssh_keys,
    told.SSHKeyList: ssh_key_lists,
    told.SSHAccess: ssh_accesses,
    told.IngressRule: ingress_rules,
    told.IngressRuleList: ingress_rule_lists,
    told.Mounts: mounts,
    told.Acknowledgement: acknowledgements,
    told.Session: sessions,
    told.Token: tokens,
    told.TokenList: token_lists,
}

RESOURCES: tuple[type, ...] = tuple(_RESOURCES)
"""Every class of resource, in the order of the contract."""


def resources(cls: type[T]) -> SearchStrategy[T]:
    """Resources of one class.

    Raises:
        LookupError: it is no class of resource.
    """
    if cls not in _RESOURCES:
        raise LookupError(f"{cls.__name__} is no class of resource.")
    return _RESOURCES[cls]()
