"""What the guest reads and writes, held against the host's side and against the standard library."""

from __future__ import annotations

import json
import math

import pytest
from ecompute_guest import messages
from hypothesis import given
from hypothesis import strategies as st

from ecompute_server.hypervisor.interface import Identity, Usage
from ecompute_server.hypervisor.libvirt import agent

IDENTITY = Identity("guest", "0" * 32, "KEY\n", ("ssh-ed25519 AAAA me", "ssh-rsa BBBB"), ("/root", "/dätä"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def message() -> dict[str, object]:
    line = agent.configure(8, IDENTITY, clock=12.5, entropy=b"\1" * 64)
    found = messages.parse(line.rstrip(b"\n"))
    assert found is not None
    return found


def test_the_hosts_identity_arrives_whole() -> None:
    """Every field of the host's `configure` is read as it was meant."""
    identity = messages.Identity(message())
    assert identity.clock == 12.5
    assert identity.entropy == b"\1" * 64
    assert (identity.hostname, identity.machine_id, identity.host_key) == ("guest", "0" * 32, "KEY\n")
    assert identity.authorized_keys == list(IDENTITY.authorized_keys)
    assert (identity.address, identity.gateway, identity.dns) == ("10.0.2.15/24", "10.0.2.2", ["10.0.2.3"])
    assert identity.volume == "data"
    assert identity.mount_paths == list(IDENTITY.mount_paths)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"clock": True}, "clock"),
        ({"clock": "12"}, "clock"),
        ({"entropy": "=not base64="}, "entropy"),
        ({"hostname": None}, "hostname"),
        ({"hostname": "a\0b"}, "hostname"),
        ({"machine_id": 7}, "machine_id"),
        ({"host_key": ["KEY"]}, "host_key"),
        ({"authorized_keys": "ssh-ed25519 AAAA"}, "authorized_keys"),
        ({"authorized_keys": [1]}, "authorized_keys"),
        ({"network": []}, "network"),
        ({"network": {"address": "10.0.2.15/24", "gateway": "10.0.2.2"}}, "network.dns"),
        ({"network": {"address": 1, "gateway": "10.0.2.2", "dns": []}}, "network.address"),
        ({"volume": False}, "volume"),
        ({"mount_paths": {}}, "mount_paths"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, object], named: str) -> None:
    """A field of the wrong type is refused by name, and so is each that is missing."""
    with pytest.raises(messages.Malformed, match=named):
        messages.Identity(message() | change)
    without = message()
    for name in change:
        del without[name]
    with pytest.raises(messages.Malformed, match=named.partition(".")[0]):
        messages.Identity(without)


@given(st.dictionaries(st.text(), JSON))
def test_objects_are_read_as_json_reads_them(value: dict[str, object]) -> None:
    """The scanner without the module `json` gives what `json` gives."""
    assert messages.parse(json.dumps(value).encode()) == value
    assert messages.parse(b" \t" + json.dumps(value, ensure_ascii=False).encode() + b"\r") == value


@given(st.binary(max_size=200))
def test_junk_is_no_message(junk: bytes) -> None:
    """Whatever bytes come, the answer is an object or nothing."""
    found = messages.parse(junk)
    assert found is None or found == json.loads(junk)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"null",
        b'{"a":1}{',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b"{'a':1}",
        b'{"a":"\xff"}',
        b'{"a":' + b"[" * 60_000,
    ],
)
def test_what_is_no_object_gives_nothing(line: bytes) -> None:
    """Other values, halves, two in one line, constants that JSON does not have, endless nesting."""
    assert messages.parse(line) is None


@given(st.lists(st.binary(max_size=40)), st.integers(1, 7))
def test_lines_do_not_depend_on_how_they_arrive(pieces: list[bytes], size: int) -> None:
    """Cut anywhere, the same lines come out, without empty ones."""
    data = b"\n".join(pieces) + b"\n"
    lines = messages.Lines()
    found = [line for at in range(0, len(data), size) for line in lines.feed(data[at : at + size])]
    assert found == [line for line in data.split(b"\n") if line]


def test_a_line_that_is_too_long_is_dropped_and_the_next_one_read() -> None:
    """64 KiB pass, one byte more does not, and nothing of it is kept."""
    lines = messages.Lines()
    longest = b"a" * messages.MAX_LINE
    assert lines.feed(longest + b"\n") == [longest]
    for _ in range(100):
        assert lines.feed(longest) == []
    assert lines.feed(b"tail\n{}\n") == [b"{}"]


def test_half_a_line_of_an_earlier_connection_is_forgotten() -> None:
    """The empty line that a host begins with ends it, and so does a new beginning."""
    lines = messages.Lines()
    assert lines.feed(b'{"type":"he') == []
    lines.forget()
    assert lines.feed(b'{"a":1}\n') == [b'{"a":1}']


def test_the_host_reads_what_the_guest_says() -> None:
    """Each message of the guest is one line that the host's side understands."""
    said = messages.hello(None, configured=False, image="debian", boot_id="x")
    assert json.loads(said) == {"type": "hello", "configured": False, "image": "debian", "boot_id": "x"}
    for line, meant in (
        (said, agent.Hello(False)),
        (messages.hello(7, configured=True, image="debian", boot_id="x"), agent.Hello(True, 7)),
        (messages.ready(8), agent.Ready(8)),
        (messages.ready(None), None),
        (messages.error(8, 'a\n"b" \\ \u202e c'), agent.Refused(8, 'a "b" \\ c')),
        (messages.usage(2, 3), Usage(memory_available=2048, storage_used=3072)),
    ):
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        assert agent.parse(line) == meant


def test_a_reason_is_short_and_never_empty() -> None:
    """However much went wrong, the host gets a line that fits."""
    assert messages.one_line("\n\t") == "the configuration could not be applied"
    assert len(messages.error(1, "x" * 10_000_000)) < agent.MAX_LINE


@pytest.mark.parametrize(
    ("sent", "number"),
    [({"id": 7}, 7), ({"id": True}, None), ({"id": "7"}, None), ({"id": math.pi}, None), ({}, None)],
)
def test_a_number_is_an_integer(sent: dict[str, object], number: int | None) -> None:
    """What is no integer is no id."""
    assert messages.number_of(sent) == number
