"""The host's side of the agent's protocol, played without sockets."""

from __future__ import annotations

import base64
import json

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from ecompute_server.hypervisor.interface import HypervisorError, Identity, Usage
from ecompute_server.hypervisor.libvirt.agent import (
    MAX_KB,
    MAX_LINE,
    MAX_REASON,
    Conversation,
    Hear,
    Hello,
    Lines,
    Ready,
    Refused,
    Report,
    configure,
    hello,
    parse,
    poweroff,
)

NO_AMOUNTS = (
    b"-1",
    b"1.0",
    b"1e3",
    b"NaN",
    b"Infinity",
    b"true",
    b"null",
    b'"1"',
    b"[1]",
    b"{}",
    b"9" * 5000,
)
IDENTITY = Identity("guest", "0" * 32, "KEY\n", ("ssh-ed25519 AAAA me",), ("/root", "/data"))


def test_configure_has_every_field_of_the_protocol() -> None:
    line = configure(8, IDENTITY, clock=12.5, entropy=b"\1" * 64)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == {
        "type": "configure",
        "id": 8,
        "clock": 12.5,
        "entropy": base64.b64encode(b"\1" * 64).decode(),
        "hostname": "guest",
        "machine_id": "0" * 32,
        "host_key": "KEY\n",
        "authorized_keys": ["ssh-ed25519 AAAA me"],
        "network": {"address": "10.0.2.15/24", "gateway": "10.0.2.2", "dns": ["10.0.2.3"]},
        "volume": "data",
        "mount_paths": ["/root", "/data"],
    }


def test_an_identity_that_does_not_fit_is_refused_before_it_is_sent() -> None:
    with pytest.raises(HypervisorError, match="65536"):
        configure(1, evolve(IDENTITY, authorized_keys=("k" * MAX_LINE,)), clock=0, entropy=b"")


def test_the_short_messages() -> None:
    assert json.loads(hello(7)) == {"type": "hello", "id": 7}
    assert json.loads(poweroff(9)) == {"type": "poweroff", "id": 9}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"type": "hello", "configured": false, "image": "micro", "boot_id": "x"}', Hello(False)),
        (b'{"type": "hello", "configured": true, "id": 3, "more": []}', Hello(True, 3)),
        (b'{"type": "ready", "id": 8}', Ready(8)),
        (b'{"type": "error", "id": 8, "message": "no disk"}', Refused(8, "no disk")),
        (b'{"type": "error", "id": 8, "message": "a\\nb\\u001b[31mc"}', Refused(8, "a b [31mc")),
        (b'{"type": "error", "id": 8, "message": ""}', Refused(8, "the guest gave no reason")),
        (b'{"type": "error", "id": 8, "message": "a\\ud800\\u2028\\u202eb"}', Refused(8, "a b")),
        (
            b'{"type": "error", "id": 8, "message": "cut in a letter: \xc3"}',
            Refused(8, "cut in a letter: \ufffd"),
        ),
        (
            b'{"type": "usage", "memory_available_kb": 130524, "storage_used_kb": 16, "more": 1}',
            Usage(memory_available=130524 * 1024, storage_used=16 * 1024),
        ),
        (
            b'{"type": "usage", "memory_available_kb": 0, "storage_used_kb": %d}' % MAX_KB,
            Usage(memory_available=0, storage_used=MAX_KB * 1024),
        ),
    ],
)
def test_what_the_guest_may_say(line: bytes, message: object) -> None:
    assert parse(line) == message


@pytest.mark.parametrize(
    "line",
    [
        *(
            b"",
            b"nonsense",
            b"[]",
            b"null",
            b"{}",
            b"\xff",
            b"[" * 5000,
            b'{"type": []}',
            b'{"type": "poweroff", "id": 1}',
        ),
        *(b'{"type": "ready"}', b'{"type": "ready", "id": "8"}', b'{"type": "ready", "id": true}'),
        *(
            b'{"type": "hello"}',
            b'{"type": "hello", "configured": 1}',
            b'{"type": "error", "id": 1, "message": 5}',
        ),
        *(
            b'{"type": "usage", "memory_available_kb": %s, "storage_used_kb": 1}' % amount
            for amount in (*NO_AMOUNTS, b"%d" % (MAX_KB + 1))
        ),
        *(b'{"type": "usage", "memory_available_kb": 1, "storage_used_kb": %s}' % n for n in NO_AMOUNTS),
        *(b'{"type": "usage", "memory_available_kb": 1}', b'{"type": "usage", "storage_used_kb": 1}'),
    ],
)
def test_what_the_protocol_does_not_know_is_dropped(line: bytes) -> None:
    assert parse(line) is None


def test_a_reason_is_bounded() -> None:
    message = parse(json.dumps({"type": "error", "id": 1, "message": "x" * 60_000}).encode())
    assert isinstance(message, Refused)
    assert len(message.message) == MAX_REASON


@given(st.text(st.characters(), max_size=2 * MAX_REASON))
def test_a_reason_can_be_shown_anywhere(text: str) -> None:
    message = parse(json.dumps({"type": "error", "id": 1, "message": text}).encode())
    assert isinstance(message, Refused)
    assert message.message.isprintable()
    assert message.message.encode()
    assert 0 < len(message.message) <= MAX_REASON


ANYTHING = st.binary(max_size=300).filter(lambda line: b"\n" not in line)


@given(st.lists(ANYTHING | ANYTHING.map(b"{".__add__)), st.integers(1, 50))
def test_lines_that_may_be_messages_come_out_however_the_stream_is_cut(lines: list[bytes], step: int) -> None:
    stream, reader, out = b"".join(line + b"\n" for line in lines), Lines(), list[bytes]()
    for start in range(0, len(stream), step):
        out += reader.feed(stream[start : start + step])
    assert out == [line for line in lines if line.startswith(b"{")]


@pytest.mark.parametrize("line", [b"", b"y", b" {}", b"\0"])
def test_a_line_that_is_no_object_is_never_read(line: bytes) -> None:
    assert Lines().feed((line + b"\n") * 1000 + b"{}\n") == [b"{}"]


def test_a_line_without_end_is_dropped_and_costs_no_memory() -> None:
    reader = Lines()
    for _ in range(40):
        assert reader.feed(b"{" * 16_384) == []
    assert len(reader._buffer) == 0
    assert reader.feed(b"{still it\n{next\n") == [b"{next"]


def test_a_line_of_exactly_the_limit_passes() -> None:
    assert Lines().feed(b"{" * MAX_LINE + b"\n") == [b"{" * MAX_LINE]
    assert Lines().feed(b"{" * (MAX_LINE + 1) + b"\n{}\n") == [b"{}"]


def test_a_fresh_guest_is_configured_once() -> None:
    talk = Conversation()
    sent = talk.configure(first=True)
    assert talk.receive(Hello(False), identity_known=True) is None
    assert talk.receive(Ready(sent.number), identity_known=True) == Report()


def test_a_guest_that_rebooted_is_configured_again() -> None:
    talk = Conversation()
    first = talk.configure(first=True)
    talk.receive(Hello(False), identity_known=True)
    talk.receive(Ready(first.number), identity_known=True)
    again = talk.receive(Hello(False), identity_known=True)
    assert isinstance(again, Hear)
    assert again.number != first.number
    assert talk.receive(Ready(again.number), identity_known=True) == Report()


def test_a_guest_that_rebooted_before_it_was_ready_is_configured_again() -> None:
    talk = Conversation()
    first = talk.configure(first=True)
    talk.receive(Hello(False), identity_known=True)
    again = talk.receive(Hello(False), identity_known=True)
    assert isinstance(again, Hear)
    assert talk.receive(Ready(first.number), identity_known=True) is None


def test_an_adopted_guest_with_its_identity_is_ready() -> None:
    talk = Conversation()
    number = talk.ask()
    assert talk.receive(Hello(True, number), identity_known=False) == Report()


def test_an_adopted_guest_without_identity_waits_for_one() -> None:
    talk = Conversation()
    assert talk.receive(Hello(False, talk.ask()), identity_known=False) is None
    assert talk.waiting
    sent = talk.configure()
    assert not talk.waiting
    assert talk.receive(Ready(sent.number), identity_known=True) == Report()


def test_an_adopted_guest_that_asks_later_gets_the_identity_that_came_meanwhile() -> None:
    talk = Conversation()
    talk.ask()
    assert isinstance(talk.receive(Hello(False), identity_known=True), Hear)


def test_a_refusal_is_told_once_and_only_for_what_was_asked() -> None:
    talk = Conversation()
    sent = talk.configure(first=True)
    assert talk.receive(Refused(sent.number + 1, "no"), identity_known=True) is None
    assert talk.receive(Refused(sent.number, "no"), identity_known=True) == Report(refused="no")
    assert talk.receive(Refused(sent.number, "no"), identity_known=True) is None
    assert talk.receive(Ready(sent.number), identity_known=True) is None


def test_answers_that_nobody_asked_for_are_dropped() -> None:
    talk = Conversation()
    assert talk.receive(Ready(1), identity_known=True) is None
    assert talk.receive(Hello(True, 99), identity_known=True) is None
    assert talk.receive(Hello(True), identity_known=True) is None
