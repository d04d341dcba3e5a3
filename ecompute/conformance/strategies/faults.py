"""Ways to break the one rule or other of a field. Each is a strategy of `Broken` values for one field."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ecompute.conformance.materials import key_line, ssh_string
from ecompute.contract import catalog

from . import keys, parts


@frozen
class Broken:
    """A value that breaks one rule of a field; `place` is where inside the value, `problem` completes a
    sentence that begins with the field's name.
    """

    value: Any
    problem: str
    place: str = ""


class Missing:
    """In the place of a value: the field is not there."""


MISSING = Missing()

Faults = Callable[[Any], SearchStrategy[Broken]]
"""The faults of a field, given a good value of it."""


def _any(problem: str, *values: Any) -> SearchStrategy[Broken]:
    return st.sampled_from(values).map(lambda value: Broken(value, problem))


def one_of(*faults: Faults) -> Faults:
    """All of these."""
    return lambda good: st.one_of(*(fault(good) for fault in faults))


def missing(good: Any) -> SearchStrategy[Broken]:
    """A required field is left out, or null."""
    return _any("is required", MISSING, None)


def no_text(good: Any) -> SearchStrategy[Broken]:
    """Anything but a text."""
    return _any("must be a text", 1, True, 1.5, ["a"], {"a": "b"})


def no_integer(good: Any) -> SearchStrategy[Broken]:
    """Anything but an integer: also numbers that equal one, and digits in a text."""
    return _any("must be an integer", "80", True, False, 80.0, 80.5, 0.0, [80], {"a": 80})


def no_flag(good: Any) -> SearchStrategy[Broken]:
    """Anything but true and false."""
    return _any("must be true or false", "true", "false", 1, 0, "", [], {})


def no_list(good: Any) -> SearchStrategy[Broken]:
    """Anything but a list."""
    return _any("must be a list", "a", "/root", 1, True, {"0": 1})


def no_object(good: Any) -> SearchStrategy[Broken]:
    """Anything but an object."""
    return _any("must be an object", "compute.u1", 1, True, ["compute.u1"], [])


def name(longest: int) -> Faults:
    """Names that are empty, blank, too long, or do not print."""

    def faults(good: Any) -> SearchStrategy[Broken]:
        return st.one_of(
            _any("must not be empty", "", " ", " \t "),
            _any("is too long", "a" * (longest + 1), "é" * (longest + 1)),
            st.sampled_from("\n\0\x1b\x7f\x85\u200b\u2028\u202e\ufeff").map(
                lambda c: Broken(f"a{c}b", "must not hold what does not print")
            ),
        )

    return faults


def outside(allowed: range, *zeros: int) -> Faults:
    """Integers just and far outside a range; `zeros` count as something else and are left out."""
    numbers = (allowed[0] - 1, allowed[-1] + 1, -allowed[-1], -1, 2**31, 2**63, 10**30)
    wrong = tuple(n for n in dict.fromkeys(numbers) if n not in zeros)
    return lambda good: _any("is outside of what is allowed", *wrong)


def not_one_of(*values: str) -> Faults:
    """Texts that are not in a catalogue."""
    return lambda good: _any("is none of those that there are", *values)


def ingress_port(good: Any) -> SearchStrategy[Broken]:
    """Ports just beside those that are allowed."""
    wrong = (0, 1, 22, 79, 81, 442, 444, 7999, 9000, 8443 + 2**16, -80, 65535, 65536)
    return _any("is no port that may be published", *wrong)


def key_ids(good: Any) -> SearchStrategy[Broken]:
    """No key, the same twice, or what is no integer among them."""
    twice = st.integers(0, len(good) - 1).map(
        lambda index: Broken([*good, good[index]], "is in the list already", f"[{len(good)}]")
    )
    other = st.sampled_from(("1", True, 1.0, None, [1])).map(
        lambda value: Broken([*good, value], "must be an integer", f"[{len(good)}]")
    )
    return st.one_of(_any("must name at least one key", []), twice, other)


def no_paths(good: Any) -> SearchStrategy[Broken]:
    """An empty list where that is no default."""
    return _any("must name at least one path", [])


def mount_paths(good: Any) -> SearchStrategy[Broken]:
    """One bad path after the good ones, or too many."""
    start = list(good or catalog.DEFAULT_MOUNT_PATHS)[: catalog.MAX_MOUNT_PATHS - 1]
    place = f"[{len(start)}]"
    below = parts.normal_paths(start)[0]
    nested = f"{below}/inside" if len(below) < 200 else f"{below[:200].rstrip('/')}"
    inside = (
        Broken([*start, nested], "is inside another path", place)
        if len(below) < 200
        else Broken([*start, "relative"], "must be absolute", place)
    )
    longer = "/data/" + "y" * (catalog.MAX_MOUNT_PATH_BYTES - 5)
    wide = "/data/" + "ü" * (catalog.MAX_MOUNT_PATH_BYTES // 2)
    single = st.one_of(
        _any("must be absolute", "data", "", "./data", "~/data", " /data"),
        _any("must not hold '..'", "/data/../srv", "/..", "/data/.."),
        _any("must not be the root", "/", "//", "/.", "/./"),
        _any("is too long", longer, wide),
        _any("must not hold NUL", "/data\0", "/da\0ta"),
        parts.forbidden_paths().map(lambda path: Broken(path, "belongs to the system")),
        st.sampled_from(("//proc", "/./etc", "/etc/", "/usr//local")).map(
            lambda path: Broken(path, "belongs to the system")
        ),
        no_text(good),
    ).map(lambda broken: Broken([*start, broken.value], broken.problem, place))
    many = [f"/data{number}" for number in range(catalog.MAX_MOUNT_PATHS + 1)]
    return st.one_of(single, st.just(inside), _any("are too many", many))


def granted_scopes(good: Any) -> SearchStrategy[Broken]:
    """No scope, no action, or one that is malformed."""
    first = next(iter(good))
    return st.one_of(
        _any("must grant a scope", {}),
        _any("must grant an action", {**good, first: []}),
        st.sampled_from(_NO_SCOPES).map(lambda text: Broken({**good, text: ["read"]}, "are malformed")),
        st.sampled_from(("write", "READ", "*", "", " read")).map(
            lambda action: Broken({**good, first: [action]}, "must grant known actions")
        ),
        st.sampled_from(("read", 1, True, {"read": True}, [1], None)).map(
            lambda value: Broken({**good, first: value}, "must be lists of actions")
        ),
    )


_NO_SCOPES = (
    "",
    "compute",
    "compute.",
    "compute..containers",
    "compute.U1",
    "compute.u-1",
    "compute.*",
    "compute.<uid>",
    "storage.u1",
    "Compute.u1",
    "compute.u1.volumes",
    "compute.u1.containers.",
    "compute.u1.containers.a b",
    "compute.u1.containers.a.b",
    " compute.u1",
    "compute.u1\n",
)


def public_key(good: str) -> SearchStrategy[Broken]:
    """Lines that are no public key, and keys that are none of their type."""
    type_, encoded, *_ = good.split(" ")
    blob = base64.b64decode(encoded)
    kind = ssh_string(type_.encode())
    other = "ssh-ed25519" if type_ != "ssh-ed25519" else "ssh-rsa"

    def line(changed: bytes) -> str:
        return key_line(type_, changed)

    return st.one_of(
        _any("is no key", "", " ", type_, "ssh-ed25519 ", encoded),
        _any(
            "is of a type that is not taken",
            key_line("ssh-dss", ssh_string(b"ssh-dss") + blob[len(kind) :]),
            f"{type_.upper()} {encoded}",
            f"{type_}-cert-v01@openssh.com {encoded}",
            f"sk-ssh-ed25519@openssh.com {encoded}",
        ),
        _any(
            "is of another type than it says",
            f"{other} {encoded}",
            line(ssh_string(b"a") + blob[len(kind) :]),
        ),
        _any("is no base64", f"{type_} !{encoded}", f"{type_} {encoded[:-1]}*"),
        _any("is cut short", line(blob[:-1]), line(blob[:20]), line(kind), line(b"")),
        _any("has more at its end", line(blob + b"\0"), line(blob + ssh_string(b"more"))),
        _any("must have no options in front", f'command="id" {good}', f"no-pty {good}"),
        _any("must be one line", f"{good}\n{good}", f"{good}\nmore", f"{type_}\n{encoded}", f"{good}\0"),
        st.sampled_from(_NO_KEYS).map(lambda make: Broken(make(), make.__doc__ or "")),
    )


def _short_rsa() -> str:
    """has too few bits"""
    return key_line("ssh-rsa", keys.rsa_blob(1, keys.RSA_SIZES[0] - 1))


def _even_exponent() -> str:
    """has an even exponent"""
    return key_line("ssh-rsa", keys.rsa_blob(1, 2048, 65536))


def _longer_ed25519() -> str:
    """must hold 32 bytes"""
    return key_line("ssh-ed25519", ssh_string(b"ssh-ed25519") + ssh_string(b"a" * 33))


def _shorter_ed25519() -> str:
    """must hold 32 bytes"""
    return key_line("ssh-ed25519", ssh_string(b"ssh-ed25519") + ssh_string(b"a" * 31))


def _off_curve() -> str:
    """holds a point beside its curve"""
    point = bytearray(keys.curve_point("nistp256", 1))
    point[-1] ^= 1
    return _on("nistp256", "nistp256", bytes(point))


def _compressed() -> str:
    """must hold an uncompressed point"""
    return _on("nistp256", "nistp256", b"\x02" + keys.curve_point("nistp256", 1)[1:33])


def _other_curve() -> str:
    """names another curve"""
    return _on("nistp256", "nistp384", keys.curve_point("nistp384", 1))


def _other_point() -> str:
    """holds a point of another curve"""
    return _on("nistp384", "nistp384", keys.curve_point("nistp256", 1))


def _on(type_curve: str, curve: str, point: bytes) -> str:
    type_ = f"ecdsa-sha2-{type_curve}"
    return key_line(type_, ssh_string(type_.encode()) + ssh_string(curve.encode()) + ssh_string(point))


_NO_KEYS = (
    _short_rsa,
    _even_exponent,
    _longer_ed25519,
    _shorter_ed25519,
    _off_curve,
    _compressed,
    _other_curve,
    _other_point,
)


def parameter(good: str) -> SearchStrategy[Broken]:
    """In a path, where an integer must stand: what Python or another language might still read as one."""
    wrong = ("abc", "1.0", "1e3", "+1", "0x1", "1_0", "1a", "--1", "%20", "%C2%B2", "true", "null")
    return _any("must be an integer", *wrong)


def query_number(allowed: range) -> Faults:
    """In a query: out of the range, or no integer."""
    out = (str(allowed[0] - 1), str(allowed[-1] + 1), "-1", "9" * 30)

    def faults(good: str) -> SearchStrategy[Broken]:
        return st.one_of(
            _any("is outside of what is allowed", *out),
            _any("must be an integer", "", "a", "1.0", "0x1", "1_0", "true"),
        )

    return faults


FieldFaults = Mapping[str, Faults]
