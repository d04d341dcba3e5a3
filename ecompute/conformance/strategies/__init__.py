"""Hypothesis strategies for all that is said in the Compute API: for tests of servers, and of programs that
talk to one.

    from hypothesis import given
    from ecompute.conformance.strategies import almost, containers, create_containers

    @given(create_containers())
    def test_it_is_taken(request): ...

    @given(almost(CreateContainer))
    def test_it_is_refused(wrong): assert refusal(wrong.body).fields == [wrong.path]

`requests(cls)`, `resources(cls)` and `socket_messages(cls)` give the strategy of any class of the contract;
importing this package registers them all, so that `st.from_type(CreateContainer)` works as well. What is
drawn breaks no rule of the contract; `almost` breaks exactly one. All shrink: the simplest value is the
contract's default where there is one.
"""

from .answered import (
    RESOURCES,
    acknowledgements,
    container_lists,
    containers,
    extras,
    ingress_rule_lists,
    ingress_rules,
    mounts,
    newest_first,
    resources,
    sessions,
    ssh_accesses,
    ssh_key_lists,
    ssh_keys,
    token_lists,
    tokens,
)
from .asked import (
    REQUESTS,
    add_ingresses,
    add_ssh_keys,
    create_containers,
    create_tokens,
    key_id_lists,
    log_ins,
    open_terminals,
    padded,
    remove_ingresses,
    requests,
    set_mounts,
    set_ssh_accesses,
)
from .keys import key_types, parsed_public_keys, public_key_of, public_keys
from .messages import (
    MESSAGES,
    container_snapshots,
    container_statuses,
    containers_deleted,
    ends_of_input,
    executes,
    exits,
    feed_messages,
    frames,
    resizes,
    signals,
    socket_messages,
)
from .parts import (
    addresses,
    container_ids,
    container_names,
    forbidden_paths,
    ingress_ports,
    instance_types,
    memory_sizes,
    mount_lists,
    mount_paths,
    normal_paths,
    seconds,
    small_ids,
    statuses,
    storage_sizes,
    target_ports,
    terminal_sizes,
    times,
    token_expiries,
    token_ids,
    token_names,
    user_ids,
)
from .registration import register
from .rights import actions, granted_scopes, grants, scopes
from .wrong import ALMOST, Almost, almost

__all__ = [
    "ALMOST",
    "MESSAGES",
    "REQUESTS",
    "RESOURCES",
    "Almost",
    "acknowledgements",
    "actions",
    "add_ingresses",
    "add_ssh_keys",
    "addresses",
    "almost",
    "container_ids",
    "container_lists",
    "container_names",
    "container_snapshots",
    "container_statuses",
    "containers",
    "containers_deleted",
    "create_containers",
    "create_tokens",
    "ends_of_input",
    "executes",
    "exits",
    "extras",
    "feed_messages",
    "forbidden_paths",
    "frames",
    "granted_scopes",
    "grants",
    "ingress_ports",
    "ingress_rule_lists",
    "ingress_rules",
    "instance_types",
    "key_id_lists",
    "key_types",
    "log_ins",
    "memory_sizes",
    "mount_lists",
    "mount_paths",
    "mounts",
    "newest_first",
    "normal_paths",
    "open_terminals",
    "padded",
    "parsed_public_keys",
    "public_key_of",
    "public_keys",
    "remove_ingresses",
    "requests",
    "resizes",
    "resources",
    "scopes",
    "seconds",
    "sessions",
    "set_mounts",
    "set_ssh_accesses",
    "signals",
    "small_ids",
    "socket_messages",
    "ssh_accesses",
    "ssh_key_lists",
    "ssh_keys",
    "statuses",
    "storage_sizes",
    "target_ports",
    "terminal_sizes",
    "times",
    "token_expiries",
    "token_ids",
    "token_lists",
    "token_names",
    "tokens",
    "user_ids",
]

register()
