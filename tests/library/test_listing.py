"""Lists that are shown as tables, and are lists in all else."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime
from typing import Any

import ecompute
from ecompute.listing import SHOWN, Listing
from ecompute_server.testing import RunningServer

KEY = ecompute.SSHKey(1, "laptop", "ssh-ed25519 AAAA me@home", datetime(2026, 3, 1, tzinfo=UTC))


def test_it_is_a_list() -> None:
    """Equal to one, both ways; it sorts, adds, unpacks and is JSON as one."""
    listing = Listing([3, 1, 2])
    plain = [3, 1, 2]
    assert listing == plain
    assert plain == listing
    assert listing != list("312")
    assert sorted(listing) == [1, 2, 3]
    assert listing + plain == [*plain, *plain]
    first, *rest = listing
    assert (first, rest) == (3, [1, 2])
    assert json.dumps(listing) == "[3, 1, 2]"
    listing.append(4)
    del listing[0]
    assert listing == [1, 2, 4]


def test_parts_and_copies_are_shown_alike() -> None:
    """A slice and a copy are listings again, and their own."""
    listing = Listing([3, 1, 2])
    for part, values in ((listing[1:], [1, 2]), (listing.copy(), [3, 1, 2]), (copy.copy(listing), [3, 1, 2])):
        assert type(part) is Listing
        assert part == values
        part.append(0)
    assert listing == [3, 1, 2]


def test_it_pickles() -> None:
    """By every protocol, with what is in it."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(Listing([KEY]), protocol))
        assert type(again) is Listing
        assert again == [KEY]


def test_it_prints_readably() -> None:
    """A line for each element; a short one is a list's own text, a long one tells how many are left out."""
    assert repr(Listing()) == "[]"
    assert repr(Listing([KEY])) == repr([KEY])
    assert repr(Listing([1, 2])) == "[1,\n 2]"
    lines = repr(Listing(range(SHOWN + 5))).splitlines()
    assert lines[-1] == " … and 5 more]"
    assert len(lines) == SHOWN + 1
    assert "more" not in repr(Listing(range(SHOWN)))


def test_every_list_of_the_client_is_one(server: RunningServer, public_key: str) -> None:
    """And so each is a table in a notebook."""
    with server.client() as client:
        key = client.ssh_keys.add("laptop", public_key)
        box = client.containers.create("first", [key.id])
        client.ingress.add(box.id, 80)
        client.tokens.create("reader", {f"compute.{server.user_id}": ["read"]})
        lists: list[Any] = [
            client.containers.list(),
            client.ssh_keys.list(),
            client.ingress.list(box.id),
            client.tokens.list(),
        ]
        for listing in lists:
            assert isinstance(listing, Listing)
            assert "<table" in listing._repr_html_()
        client.containers.delete(box.id)
