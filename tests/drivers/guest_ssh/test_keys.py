"""Key pairs as OpenSSH and asyncssh read them."""

from __future__ import annotations

import asyncssh

from ecompute_server.guest.keys import derive_key_pair, make_key_pair


def test_both_halves_are_one_key() -> None:
    """The private text opens what the public line names."""
    pair = make_key_pair("host@box")
    private, public = asyncssh.import_private_key(pair.private), asyncssh.import_public_key(pair.public)
    assert private.public_data == public.public_data
    assert private.get_algorithm() == "ssh-ed25519"
    assert pair.public.split()[2] == "host@box"


def test_a_comment_stays_on_its_line() -> None:
    """Nothing in it can begin a second key."""
    assert make_key_pair("two\nlines").public.endswith(" two lines")
    assert len(make_key_pair("").public.split(" ")) == 2


def test_each_key_is_new() -> None:
    """Nothing but randomness goes into it."""
    assert make_key_pair("a").public != make_key_pair("a").public


def test_a_derived_key_belongs_to_its_seed() -> None:
    """The same seed gives the same key, another one another key."""
    first, again = derive_key_pair(bytes(32), "a"), derive_key_pair(bytes(32), "a")
    assert first.public == again.public
    keys = [asyncssh.import_private_key(pair.private) for pair in (first, again)]
    assert keys[0].public_data == keys[1].public_data
    assert first.public != derive_key_pair(bytes(31) + b"x", "a").public


def test_the_private_half_is_not_shown() -> None:
    """A log of the pair tells no secret."""
    pair = make_key_pair("a")
    assert pair.private.splitlines()[1] not in repr(pair)
