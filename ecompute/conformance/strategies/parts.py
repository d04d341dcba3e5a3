"""Single fields: names, ids, sizes, ports, mount paths, statuses, times.

Where the contract has a default, that is the simplest value.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ecompute.contract import catalog, rules

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

# ranges in which no version of Unicode has anything left to add: two sides with different versions agree on
# what prints there
_SCRIPTS = (
    ("a", "z"),
    ("A", "Z"),
    ("0", "9"),
    ("!", "/"),
    ("¡", "¬"),
    ("À", "ſ"),
    ("Α", "Ρ"),
    ("а", "я"),
    ("一", "丁"),
)
_PRINTING = (
    "".join(chr(c) for first, last in _SCRIPTS for c in range(ord(first), ord(last) + 1)) + ":;<=>?@[]_{|}~🦆"
)


V = TypeVar("V")


def given_or(values: SearchStrategy[V] | None, default: Callable[[], SearchStrategy[V]]) -> SearchStrategy[V]:
    """The given strategy, or the usual one."""
    return default() if values is None else values


def container_names(prefix: str = "") -> SearchStrategy[str]:
    """Names of containers and SSH keys in normal form: 1 to 63 printable characters, of several scripts, with
    no space at either end. All begin with the prefix. The simplest one is the prefix and `a`.
    """
    return _names(prefix, catalog.NAME_LENGTH[-1])


def token_names(prefix: str = "") -> SearchStrategy[str]:
    """Names of API tokens in normal form: as those of containers, with 64 characters at most."""
    return _names(prefix, catalog.TOKEN_NAME_LENGTH[-1])


def _names(prefix: str, longest: int) -> SearchStrategy[str]:
    room = longest - len(prefix)
    inner = st.text(st.sampled_from(_PRINTING + " "), min_size=1, max_size=room)
    plain = st.text(st.sampled_from(_PRINTING), min_size=1, max_size=min(room, 12))
    trimmed = inner.map(str.strip).filter(bool)
    # of what is drawn in few steps, the first is the simplest
    edges = st.sampled_from(("a", "a" * room))
    return st.one_of(edges, plain, trimmed).map(prefix.__add__)


def container_ids() -> SearchStrategy[str]:
    """Ids of containers: 8 characters of a-z and 0-9. The simplest is `00000000`."""
    return _in_base_36(8)


def token_ids() -> SearchStrategy[str]:
    """Ids of API tokens, which are texts without a form of their own."""
    return _in_base_36(12)


def user_ids() -> SearchStrategy[str]:
    """Ids of users: a-z and 0-9. The simplest is `u1`."""
    return st.just("u1") | st.integers(1, 12).flatmap(_in_base_36)


def _in_base_36(length: int) -> SearchStrategy[str]:
    def digits(number: int) -> str:
        text = ""
        for _ in range(length):
            number, digit = divmod(number, 36)
            text = _DIGITS[digit] + text
        return text

    return st.integers(0, 36**length - 1).map(digits)


def small_ids() -> SearchStrategy[int]:
    """Ids of SSH keys and ingress rules. The simplest is 1."""
    return st.integers(1, 2**31 - 1)


def instance_types() -> SearchStrategy[str]:
    """The catalogue's types. The simplest is `nano`, the default."""
    return st.sampled_from(sorted(catalog.INSTANCE_TYPES, key=catalog.DEFAULT_INSTANCE_TYPE.__ne__))


def memory_sizes() -> SearchStrategy[int]:
    """Megabytes of memory that the contract allows. The simplest is 512, the default."""
    return _sizes(catalog.DEFAULT_MEMORY_MB, catalog.MEMORY_MB)


def storage_sizes() -> SearchStrategy[int]:
    """Gigabytes of storage that the contract allows. The simplest is 5, the default."""
    return _sizes(catalog.DEFAULT_STORAGE_GB, catalog.STORAGE_GB)


def _sizes(default: int, allowed: range) -> SearchStrategy[int]:
    usual = st.sampled_from((default, allowed[0], allowed[-1]))
    return usual | st.integers(allowed[0], allowed[-1])


def ingress_ports() -> SearchStrategy[int]:
    """External ports on which a container may be published. The simplest is 80."""
    return st.sampled_from((80, catalog.HTTPS_PORT, 8000, 8080, 8999)) | st.integers(8000, 8999)


def target_ports() -> SearchStrategy[int]:
    """Ports inside a container. The simplest is 80."""
    edges = (80, catalog.TARGET_PORTS[0], catalog.TARGET_PORTS[-1])
    return st.sampled_from(edges) | st.integers(catalog.TARGET_PORTS[0], catalog.TARGET_PORTS[-1])


def terminal_sizes(default: int = catalog.TERMINAL_ROWS) -> SearchStrategy[int]:
    """Rows or columns of a terminal. The simplest is the given default."""
    return _sizes(default, catalog.TERMINAL_SIZE)


_ROOTS = ("root", "data", "var", "srv", "home", "opt", "mnt", "tmp", "user data", "élan")
_BELOW = ("data", "a", "log", "b", "lib", "etc", ".config", "with space", "..data", "données")


def mount_paths() -> SearchStrategy[str]:
    """One path that may persist, in normal form. The simplest is `/root`, the default."""
    names = st.tuples(st.sampled_from(_ROOTS), st.lists(st.sampled_from(_BELOW), max_size=3))
    usual = names.map(lambda parts: "/" + "/".join((parts[0], *parts[1])))
    longest = "/data/" + "x" * (catalog.MAX_MOUNT_PATH_BYTES - len("/data/"))
    return st.one_of(st.sampled_from(("/root", longest)), usual)


def mount_lists(
    *, spelled: bool = False, most: int = catalog.MAX_MOUNT_PATHS
) -> SearchStrategy[tuple[str, ...]]:
    """The paths of a container, none inside another. The simplest is `("/root",)`, the default.

    They are in normal form, or `spelled` as a person might: with needless slashes and dots, and some twice.
    """
    lists = st.lists(mount_paths(), min_size=1, max_size=most).map(_apart)
    return lists.flatmap(_spelled) if spelled else lists


def _apart(paths: Collection[str]) -> tuple[str, ...]:
    kept: list[str] = []
    for path in paths:
        if not any(path == other or _inside(path, other) or _inside(other, path) for other in kept):
            kept.append(path)
    return tuple(kept)


def _inside(path: str, other: str) -> bool:
    return path.startswith(other + "/")


def _spelled(paths: tuple[str, ...]) -> SearchStrategy[tuple[str, ...]]:
    return st.tuples(*map(_spellings, paths)).flatmap(
        lambda spelled: st.just(spelled) if len(spelled) > 1 else st.sampled_from((spelled, spelled * 2))
    )


def _spellings(path: str) -> SearchStrategy[str]:
    ways = (path, path + "/", "/" + path, "/." + path, path + "/.", path.replace("/", "//"))
    # a spelling counts by its bytes as it is sent
    fitting = [way for way in ways if len(way.encode()) <= catalog.MAX_MOUNT_PATH_BYTES]
    return st.sampled_from(fitting)


def normal_paths(paths: Collection[str]) -> tuple[str, ...]:
    """The normal form of a list of mount paths: as a server answers it."""
    return tuple(dict.fromkeys("/" + posixpath.normpath(path).lstrip("/") for path in paths))


def forbidden_paths() -> SearchStrategy[str]:
    """Absolute paths in normal form of which the system's part of the tree allows none. The simplest is
    `/proc`.
    """
    roots = (*rules.FORBIDDEN_ROOTS, "/lib", "/lib64", "/libx32")
    return st.tuples(st.sampled_from(roots), st.sampled_from(("", "/a", "/local/share"))).map("".join)


def statuses() -> SearchStrategy[str]:
    """What a container may be. The simplest is `pending`, as every container begins."""
    return st.sampled_from([str(status) for status in catalog.Status])


def times() -> SearchStrategy[datetime]:
    """Whole seconds in UTC of the years 2000 to 2099. The simplest is the beginning of 2000."""
    return seconds().map(lambda moment: datetime.fromtimestamp(moment, UTC))


_FROM = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp())
_TO = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp()) - 1


def seconds() -> SearchStrategy[int]:
    """Times as `times` draws them, in seconds since the epoch."""
    return st.integers(_FROM, _TO)


def token_expiries() -> SearchStrategy[str]:
    """The lifetimes of API tokens. The simplest is `30d`."""
    return st.sampled_from(tuple(catalog.TOKEN_EXPIRIES))


def addresses() -> SearchStrategy[str]:
    """Addresses of containers, as text. The simplest is `127.77.0.1`."""
    return st.integers(1, 2**16 - 2).map(lambda number: f"127.77.{number >> 8}.{number & 255}")
