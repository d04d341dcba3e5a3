"""Where mount paths may lie, and what carries them, in a mount namespace of its own."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from ecompute_guest import mounting
from hypothesis import given
from hypothesis import strategies as st

import ecompute_server.images

from .conftest import GUEST

MICRO = Path(ecompute_server.images.__file__).parent / "rootfs/usr/lib/ecompute/messages.awk"

INSIDE = """
import os, sys
sys.path.insert(0, sys.argv[1])
from ecompute_guest import mounting
base = sys.argv[2]
volume = f"{base}/volume"
paths = [f"{base}/system/{name}" for name in ("root", "data", "deep/er/new")]
for _ in range(2):
    for path in paths:
        mounting.carry(path, volume)
with open("/proc/self/mountinfo") as file:
    print(sorted(line.split()[4].removeprefix(base) for line in file if line.split()[4].startswith(base)))
for path in paths:
    print(sorted(os.listdir(path)), oct(os.stat(path).st_mode & 0o7777))
    with open(f"{path}/written", "w") as file:
        file.write("kept")
for path in ("way-out", "way-out/below", "file", "file/below", "root/../data"):
    try:
        mounting.carry(f"{base}/system/{path}", volume)
    except mounting.Refused as refusal:
        print(str(refusal).replace(base, ""))
"""


def run_inside(base: Path) -> list[str]:
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode != 0:
        pytest.skip("this host lets nobody make a mount namespace")
    done = subprocess.run(
        ["unshare", "-rm", sys.executable, "-B", "-c", INSIDE, str(GUEST), str(base)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def make_system(base: Path) -> None:
    (base / "volume").mkdir()
    root = base / "system/root"
    root.mkdir(mode=0o700, parents=True)
    root.chmod(0o700)
    (root / ".profile").write_text("umask 077\n")
    (base / "system/data").mkdir()
    (base / "elsewhere").mkdir()
    (base / "system/way-out").symlink_to(base / "elsewhere")
    (base / "system/file").write_text("")


def test_paths_are_carried_once_and_keep_their_data(tmp_path: Path) -> None:
    """A path starts with the image's content and mode; the second life finds what the first has written
    there, and no path leads out through a link or a file.
    """
    make_system(tmp_path)
    first = run_inside(tmp_path)
    assert first == [
        "['/system/data', '/system/deep/er/new', '/system/root']",
        "['.profile'] 0o700",
        "[] 0o755",
        "[] 0o755",
        "the mount path /system/way-out is a symbolic link to /elsewhere in the image: name the place itself",
        (
            "the mount path /system/way-out/below cannot be,"
            " as /system/way-out is a symbolic link to /elsewhere in the image: name the place itself"
        ),
        "the mount path /system/file is no directory in the image",
        "the mount path /system/file/below cannot be, as /system/file is no directory in the image",
        "the mount path /system/root/../data is not absolute and plain",
    ]
    assert not (tmp_path / "system/root/written").exists(), "what was written lies on the volume alone"
    assert list((tmp_path / "elsewhere").iterdir()) == []

    (tmp_path / "system/root/.profile").write_text("of another image\n")
    second = run_inside(tmp_path)
    assert second[1:4] == ["['.profile', 'written'] 0o700", "['written'] 0o755", "['written'] 0o755"]
    [kept] = (tmp_path / "volume/mounts").glob("*root=/.profile")
    assert kept.read_text() == "umask 077\n"


def test_a_copy_that_was_cut_short_begins_anew(tmp_path: Path) -> None:
    """What an earlier life left half done is thrown away, whatever it is."""
    make_system(tmp_path)
    leftover = tmp_path / "volume/mounts/.new"
    (leftover / "half").mkdir(parents=True)
    (leftover / "half/way-out").symlink_to(tmp_path / "system")
    assert run_inside(tmp_path)[1] == "['.profile'] 0o700"
    assert not leftover.exists()
    assert (tmp_path / "system/root/.profile").exists(), "links are removed, not followed"


def test_missing_directories_are_made(tmp_path: Path) -> None:
    """All of a path is there afterwards, and the descriptor is that of its end."""
    descriptor = mounting.open_place("/a/b//c", str(tmp_path))
    try:
        assert os.path.samestat(os.fstat(descriptor), (tmp_path / "a/b/c").stat())
        assert stat.S_IMODE(os.fstat(descriptor).st_mode) == 0o755
    finally:
        os.close(descriptor)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    """Neither a way that is walked nor one that is refused costs a descriptor."""
    (tmp_path / "link").symlink_to(tmp_path)
    before = sorted(Path("/proc/self/fd").iterdir())
    for path in ("/link", "/link/below", "/link"):
        with pytest.raises(mounting.Refused, match="/link is a symbolic link"):
            mounting.open_place(path, str(tmp_path))
    assert sorted(Path("/proc/self/fd").iterdir()) == before


@pytest.mark.parametrize("path", ["data", "/", "//", "/a/../b", "/a/./b", "/..", "./a"])
def test_a_path_is_absolute_and_plain(path: str) -> None:
    """Everything else is refused by name."""
    with pytest.raises(mounting.Refused, match=re.escape(path)):
        mounting.check_path(path)


def test_a_disk_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The sentence has the serial; an empty serial finds no disk either, though many have none."""
    for serial in ("no-such-disk", ""):
        with pytest.raises(mounting.Refused, match=f"no disk with the serial {serial}"):
            mounting.mount_volume(serial, str(tmp_path))


@given(st.lists(st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1), min_size=1))
def test_a_folder_is_as_long_as_a_file_name_may_be(parts: list[str]) -> None:
    """No part of it is longer than 255 bytes, and none leads elsewhere."""
    found = mounting.folder("/" + "/".join(parts)).split("/")
    assert all(0 < len(part.encode()) <= 255 and part not in (".", "..") for part in found)


@pytest.mark.parametrize(
    "path", ["/root", "/data", "/srv/my files", "/dätä/x~y_z.-", "/" + "long/" * 60 + "%41", "/'\"\\"]
)
def test_both_guests_keep_a_path_in_the_same_place(path: str) -> None:
    """A volume that the micro guest has written is read by this one."""
    program = re.sub(r"\A.*?(?=^function folder)", "", MICRO.read_text(), flags=re.DOTALL | re.MULTILINE)
    program = program[: program.index("\n}\n") + 3]
    table = (
        'BEGIN { for (i = 1; i < 256; i++) code[sprintf("%c", i)] = i; print folder(ENVIRON["MOUNT_PATH"]) }'
    )
    done = subprocess.run(
        ["awk", program + table], env={"MOUNT_PATH": path, "LC_ALL": "C", "PATH": os.environ["PATH"]},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == mounting.folder(path) + "\n"
