"""The kit's strategies, held against the contract's own rules."""

from __future__ import annotations

import base64
from typing import Any, get_args

import attrs
import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

import ecompute
from ecompute.conformance import strategies as given_by
from ecompute.contract import catalog, codec, messages, resources
from ecompute.contract import requests as ask
from ecompute.contract.endpoint import request_fields
from ecompute.contract.messages import ControlMessage, FeedMessage
from ecompute.contract.problems import InvalidFields
from ecompute.contract.public_key import PublicKey
from ecompute.contract.rules import Bounds
from ecompute.contract.scopes import Action, Grants, Scope

few = settings(
    max_examples=60,
    suppress_health_check=list(HealthCheck),
    deadline=None,
    database=None,
    # what each part of a value has to do with it is of no interest here, and takes long to find out
    phases=(Phase.generate, Phase.shrink),
)


many = settings(few, max_examples=1000)


def classes_of(module: Any) -> set[type]:
    """The attrs classes that a module defines."""
    return {
        found
        for found in vars(module).values()
        if isinstance(found, type) and attrs.has(found) and found.__module__ == module.__name__
    }


def server_side(cls: type, parameters: Any, body: Any, query: Any) -> Any:
    """A request as a server reads it."""
    return codec.read_request(cls, parameters, body, Bounds(), query)


def test_every_request_class_has_a_strategy() -> None:
    """No class of request is forgotten."""
    assert set(given_by.REQUESTS) == classes_of(ask)


def test_every_resource_class_has_a_strategy() -> None:
    """No class of resource is forgotten."""
    assert set(given_by.RESOURCES) == classes_of(resources)


def test_every_message_class_has_a_strategy() -> None:
    """No class of message is forgotten."""
    assert set(given_by.MESSAGES) == classes_of(messages)


def test_every_request_that_can_be_wrong_has_near_misses() -> None:
    """A class has near misses if and only if a field has a rule or a type that JSON can miss."""
    able = {cls for cls in given_by.REQUESTS if any(_can_be_wrong(f) for f in request_fields(cls))}
    assert set(given_by.ALMOST) == able


def _can_be_wrong(field: Any) -> bool:
    # any text fits a path
    return field.place != "path" or int in (field.type, *get_args(field.type))


@pytest.mark.parametrize("cls", given_by.REQUESTS, ids=lambda cls: cls.__name__)
def test_requests_pass_the_servers_rules(cls: type) -> None:
    """What is drawn for a class is a request of it that a server takes."""

    @few
    @given(given_by.requests(cls))
    def passes(request: Any) -> None:
        assert type(request) is cls
        codec.check_shape(request)
        written = codec.write_request(request)
        server_side(cls, written.path, written.body, written.query)

    passes()


@pytest.mark.parametrize("cls", given_by.ALMOST, ids=lambda cls: cls.__name__)
def test_near_misses_have_exactly_the_fault_that_they_name(cls: type) -> None:
    """A server finds one fault in an almost valid request, at the path that is told."""

    @settings(few, max_examples=400)
    @given(given_by.almost(cls))
    def refused(wrong: given_by.Almost) -> None:
        body = codec.load_json(codec.dump_json(dict(wrong.body)))
        with pytest.raises(InvalidFields) as caught:
            server_side(cls, wrong.parameters, body, wrong.query)
        assert [fault.path for fault in caught.value.faults] == [wrong.path], wrong
        assert wrong.problem

    refused()


@pytest.mark.parametrize("cls", given_by.ALMOST, ids=lambda cls: cls.__name__)
def test_near_misses_reach_every_field(cls: type) -> None:
    """Each field that has a rule is broken at some time, and no other."""
    fields = {f.name for f in request_fields(cls) if _can_be_wrong(f)}
    for name in fields:
        find(given_by.almost(cls), lambda wrong, name=name: wrong.path.startswith(name), settings=many)


def test_near_misses_of_what_cannot_be_wrong() -> None:
    """A class without rules is told as a mistake of the caller's."""
    with pytest.raises(LookupError):
        given_by.almost(ask.ListContainers)


def test_near_misses_around_given_requests() -> None:
    """What is not broken comes from the good requests that were given."""
    good = given_by.create_containers(ssh_key_ids=st.just((7,)))

    @few
    @given(given_by.almost(ask.CreateContainer, good))
    def kept(wrong: given_by.Almost) -> None:
        if not wrong.path.startswith("ssh_key_ids"):
            assert wrong.body["ssh_key_ids"] == [7]

    kept()


@pytest.mark.parametrize("cls", given_by.RESOURCES, ids=lambda cls: cls.__name__)
def test_resources_survive_the_wire(cls: type) -> None:
    """A resource encodes and decodes to itself."""

    @few
    @given(given_by.resources(cls))
    def same(value: Any) -> None:
        assert type(value) is cls
        told = codec.load_json(codec.dump_json(codec.unstructure(value)))
        assert codec.structure(told, cls) == value

    same()


@pytest.mark.parametrize("cls", given_by.MESSAGES, ids=lambda cls: cls.__name__)
def test_messages_survive_the_wire(cls: type) -> None:
    """A message encodes and decodes to itself."""

    @few
    @given(given_by.socket_messages(cls))
    def same(value: Any) -> None:
        assert type(value) is cls
        if isinstance(value, get_args(FeedMessage)):
            assert codec.read_news(codec.dump_json(codec.write_message(value)).decode()) == value
        elif isinstance(value, get_args(ControlMessage)):
            assert codec.read_control(codec.write_control(value)) == value
        else:
            assert codec.read_execute(codec.write_control(value)) == value

    same()


def test_any_feed_message() -> None:
    """The feed's messages are of all its classes."""
    for cls in get_args(FeedMessage):
        find(given_by.feed_messages(), lambda message, cls=cls: isinstance(message, cls), settings=few)


@pytest.mark.parametrize("cls", [ask.ListContainers, resources.Container, int], ids=lambda cls: cls.__name__)
def test_a_class_of_another_kind(cls: type) -> None:
    """A class that is not of the kind is told as a mistake of the caller's."""
    if cls is not ask.ListContainers:
        with pytest.raises(LookupError):
            given_by.requests(cls)
    if cls is not resources.Container:
        with pytest.raises(LookupError):
            given_by.resources(cls)
    with pytest.raises(LookupError):
        given_by.socket_messages(cls)


@pytest.mark.parametrize(
    "cls",
    [
        *given_by.REQUESTS,
        *given_by.RESOURCES,
        *given_by.MESSAGES,
        Scope,
        Grants,
        Action,
        PublicKey,
        ecompute.Container,
        ecompute.AsyncContainer,
    ],
    ids=lambda cls: cls.__name__,
)
def test_from_type(cls: type) -> None:
    """Hypothesis knows each class of the contract by its type, and draws what is coherent."""
    found = find(st.from_type(cls), lambda value: True, settings=few)
    assert isinstance(found, cls)
    if cls in given_by.REQUESTS:
        assert found == find(given_by.requests(cls), lambda value: True, settings=few)


_SIMPLEST: list[tuple[Any, Any]] = [
    (given_by.container_names(), "a"),
    (given_by.container_names("mine-"), "mine-a"),
    (given_by.container_ids(), "00000000"),
    (given_by.user_ids(), "u1"),
    (given_by.instance_types(), catalog.DEFAULT_INSTANCE_TYPE),
    (given_by.memory_sizes(), catalog.DEFAULT_MEMORY_MB),
    (given_by.storage_sizes(), catalog.DEFAULT_STORAGE_GB),
    (given_by.mount_paths(), "/root"),
    (given_by.mount_lists(), catalog.DEFAULT_MOUNT_PATHS),
    (given_by.mount_lists(spelled=True), catalog.DEFAULT_MOUNT_PATHS),
    (given_by.ingress_ports(), 80),
    (given_by.target_ports(), 80),
    (given_by.statuses(), "pending"),
    (given_by.token_expiries(), "30d"),
    (given_by.key_types(), "ssh-ed25519"),
    (given_by.public_keys(), given_by.public_key_of("ssh-ed25519", 0)),
    (given_by.forbidden_paths(), "/proc"),
    (given_by.addresses(), "127.77.0.1"),
    (given_by.scopes(), Scope("compute", "u1")),
    (given_by.grants(), Grants({"compute.u1": ["read"]})),
    (given_by.create_containers(), ask.CreateContainer("a", (1,))),
    (given_by.add_ssh_keys(), ask.AddSSHKey("a", given_by.public_key_of("ssh-ed25519", 0))),
    (given_by.set_ssh_accesses(), ask.SetSSHAccess("00000000", False)),
    (given_by.add_ingresses(), ask.AddIngress("00000000", 80)),
    (given_by.set_mounts(), ask.SetMounts("00000000", ("/root",))),
    (given_by.open_terminals(), ask.OpenTerminal("00000000")),
    (given_by.create_tokens(), ask.CreateToken("a", {"compute.u1": ("read",)}, "30d")),
    (given_by.executes(), messages.Execute("true")),
    (given_by.resizes(), messages.Resize(catalog.TERMINAL_ROWS, catalog.TERMINAL_COLS)),
    (given_by.container_snapshots(), messages.ContainerSnapshot(())),
]


@pytest.mark.parametrize(("strategy", "simplest"), _SIMPLEST)
def test_shrinking_ends_at_what_is_documented(strategy: Any, simplest: Any) -> None:
    """The simplest value of each strategy is the contract's default, or the one that its documentation
    says.
    """
    assert find(strategy, lambda value: True, settings=few) == simplest


def test_shrinking_keeps_to_what_matters() -> None:
    """Of a request in which one field matters, the others shrink to their defaults."""
    found = find(
        given_by.create_containers(),
        lambda request: request.mount_paths is not None and len(request.mount_paths) > 1,
        settings=settings(few, max_examples=2000),
    )
    assert attrs.evolve(found, mount_paths=None) == ask.CreateContainer("a", (1,))
    assert len(found.mount_paths or ()) == 2


@pytest.mark.parametrize("type_", catalog.PUBLIC_KEY_TYPES)
def test_public_keys_are_real(type_: str) -> None:
    """A foreign library reads the keys, and they are of the type that they say."""
    for number in range(6):
        line = given_by.public_key_of(type_, number, "user@laptop")
        assert str(PublicKey.parse(line)) == line
        load_ssh_public_key(line.encode())
        size = int.from_bytes(base64.b64decode(line.split(" ")[1])[:4], "big")
        assert base64.b64decode(line.split(" ")[1])[4 : 4 + size] == type_.encode()


def test_numbers_give_keys_of_their_own() -> None:
    """Different numbers give different keys, the same one always the same."""
    made = [given_by.public_key_of(t, n) for t in catalog.PUBLIC_KEY_TYPES for n in range(64)]
    assert len(set(made)) == len(made)
    assert made[0] == given_by.public_key_of(catalog.PUBLIC_KEY_TYPES[0], 0)


@few
@given(given_by.mount_lists(spelled=True))
def test_normal_paths_are_the_servers(paths: tuple[str, ...]) -> None:
    """The normal form that the kit expects is the one of the contract's rules."""
    read = server_side(ask.SetMounts, {"id": "a"}, {"mount_paths": list(paths)}, {})
    assert read.mount_paths == given_by.normal_paths(paths)


@few
@given(st.data())
def test_names_fit_with_any_prefix(data: st.DataObject) -> None:
    """Names are in normal form and not too long, whatever they begin with."""
    prefix = data.draw(st.text("abc-", max_size=40))
    name = data.draw(given_by.container_names(prefix))
    assert name.startswith(prefix)
    assert name == name.strip()
    assert name.isprintable()
    assert len(name) in catalog.NAME_LENGTH


@few
@given(given_by.containers())
def test_containers_are_coherent(container: resources.Container) -> None:
    """What a container tells fits together."""
    assert container.hostname.startswith(f"{container.id}.")
    assert (container.ssh_command is not None) == container.ssh_enabled
    assert (container.status_reason is not None) == (container.status == "failed")
    assert container.memory_used_mb is None or container.status == "running"


@few
@given(given_by.container_lists())
def test_lists_are_newest_first(listed: resources.ContainerList) -> None:
    """Lists are in the order of the contract."""
    ages = [(one.created_at, one.id) for one in listed.containers]
    assert ages == sorted(ages, reverse=True)


@few
@given(given_by.frames(messages.Stream.INPUT))
def test_frames(frame: bytes) -> None:
    """Frames begin with their stream, and fit what a server sends and takes."""
    assert frame[0] == messages.Stream.INPUT
    assert len(frame) <= catalog.MAX_TERMINAL_FRAME_BYTES


def test_names_are_documented() -> None:
    """Every public name says what may be relied on."""
    for name in given_by.__all__:
        assert getattr(given_by, name).__doc__, name
