"""Field rules: what passes, in which normal form, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecompute.contract import codec, requests, rules
from ecompute.contract.problems import Fault, InvalidFields

BOUNDS = rules.Bounds()
CREATE = {"name": "box", "ssh_key_ids": [1]}


def create(**body: object) -> requests.CreateContainer:
    return codec.read_request(requests.CreateContainer, {}, {**CREATE, **body}, BOUNDS)


def faults_of(**body: object) -> list[Fault]:
    with pytest.raises(InvalidFields) as caught:
        create(**body)
    return list(caught.value.faults)


def test_a_create_needs_a_name_and_keys_only() -> None:
    """Everything else has the contract's default."""
    made = create()
    assert (made.instance_type, made.memory_mb, made.storage_gb) == ("nano", 512, 5)
    assert (made.ssh_enabled, made.mount_paths) == (False, ("/root",))


@pytest.mark.parametrize("field", ["memory_mb", "storage_gb", "instance_type", "mount_paths"])
@pytest.mark.parametrize("zero", [None, 0, "", []])
def test_zero_values_mean_the_default(field: str, zero: object) -> None:
    """Clients in Go send zero values for what they do not set."""
    assert create(**{field: zero}) == create()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("memory_mb", True),
        ("memory_mb", 512.0),
        ("memory_mb", "512"),
        ("memory_mb", 63),
        ("memory_mb", 65537),
        ("memory_mb", -1),
        ("memory_mb", 2**70),
        ("storage_gb", 1025),
        ("instance_type", "huge"),
        ("instance_type", 1),
        ("ssh_enabled", "true"),
        ("ssh_enabled", 1),
        ("ssh_key_ids", []),
        ("ssh_key_ids", None),
        ("ssh_key_ids", "1"),
        ("name", ""),
        ("name", "   "),
        ("name", "x" * 64),
        ("name", "a\nb"),
        ("name", "a\x00b"),
        ("name", "\ud800"),
        ("name", None),
        ("mount_paths", "/root"),
        ("mount_paths", {}),
        ("mount_paths", False),
    ],
)
def test_a_broken_field_is_named(field: str, value: object) -> None:
    """One broken field gives exactly one fault, at that field."""
    assert [fault.path for fault in faults_of(**{field: value})] == [field]


def test_all_faults_are_told_at_once() -> None:
    """A person mends a request in one go."""
    found = faults_of(name="", ssh_key_ids=[1, True, 1], memory_mb=1, mount_paths=["/etc", "data"])
    assert [f.path for f in found] == [
        "name",
        "ssh_key_ids[1]",
        "memory_mb",
        "mount_paths[0]",
        "mount_paths[1]",
    ]


def test_unknown_fields_are_ignored() -> None:
    """Other clients send fields of other servers."""
    assert create(image="debian", pull_policy="always") == create()


@pytest.mark.parametrize(
    ("given_paths", "normal"),
    [
        (["/var//data/"], ("/var/data",)),
        (["//data"], ("/data",)),
        (["/data", "/data/", "/./data"], ("/data",)),
        (["/root", "/database", "/data"], ("/root", "/database", "/data")),
        (["/srv/ä b"], ("/srv/ä b",)),
    ],
)
def test_mount_paths_have_a_normal_form(given_paths: list[str], normal: tuple[str, ...]) -> None:
    """Equal paths merge, and the order of the first mention stays."""
    assert create(mount_paths=given_paths).mount_paths == normal


@pytest.mark.parametrize(
    "path",
    [
        "/", "//", "/.", "data", "", "/data/../etc", "/..", "/a\0b", "/" + "x" * 255, "/\ud800",
        "/proc", "/sys/x", "/dev", "/run/a", "/boot", "/etc/ssh", "/bin", "/sbin", "/lib", "/lib64",
        "/lib32/x", "/usr/local", "//usr",
    ],
)  # fmt: skip
def test_a_forbidden_mount_path_is_refused(path: str) -> None:
    """Neither the system's own folders nor anything that is no plain absolute path."""
    assert [fault.path for fault in faults_of(mount_paths=["/root", path])] == ["mount_paths[1]"]


def test_a_path_inside_another_is_refused() -> None:
    """Whichever order they come in."""
    assert [f.path for f in faults_of(mount_paths=["/data/x", "/data"])] == ["mount_paths[0]"]


def test_at_most_sixteen_paths() -> None:
    """After merging."""
    sixteen = [f"/d{n}" for n in range(16)]
    assert len(create(mount_paths=[*sixteen, "/d0"]).mount_paths or ()) == 16
    assert faults_of(mount_paths=[*sixteen, "/d16"])


@given(st.lists(st.text(alphabet="/.ab", max_size=8).map("/".__add__), min_size=1, max_size=4))
def test_normal_paths_stay_as_they_are(paths: list[str]) -> None:
    """Normalising twice is normalising once."""
    try:
        once = rules.mount_paths(paths, BOUNDS)
    except InvalidFields:
        return
    assert rules.mount_paths(once, BOUNDS) == once


@pytest.mark.parametrize("text", ["x", "", "-", "--1", "+1", " 1", "1_0", "1.0", "٣", "²"])
def test_a_key_id_in_a_path_is_a_plain_integer(text: str) -> None:
    """What Python would also read as a number is none here."""
    with pytest.raises(InvalidFields):
        codec.read_request(requests.DeleteSSHKey, {"id": text}, {}, BOUNDS)


@pytest.mark.parametrize("text", ["-1", "0", "9" * 18, "9" * 19, "-" + "9" * 5000])
def test_an_integer_that_no_key_has_is_an_integer_all_the_same(text: str) -> None:
    """What has it is looked for, and not found; it fits into the database's integers."""
    asked = codec.read_request(requests.DeleteSSHKey, {"id": text}, {}, BOUNDS)
    assert -(2**63) <= asked.id < 2**63


def test_a_list_that_is_far_too_long_is_refused_before_it_is_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One path against every other of ten thousand would hold up everybody; spellings of one are one."""
    compared = 0

    class Watched(str):
        def startswith(self, *prefix: object) -> bool:  # type: ignore[override]
            nonlocal compared
            compared += 1
            return super().startswith(*prefix)  # type: ignore[arg-type]

    monkeypatch.setattr(rules, "mount_path", Watched)
    with pytest.raises(InvalidFields, match="at most 16"):
        rules.mount_paths([f"/{n}" for n in range(10_000)], BOUNDS)
    assert compared == 0
    monkeypatch.undo()
    assert rules.mount_paths(["/a" + "/" * n for n in range(100)], BOUNDS) == ("/a",)
