"""Copies both ways: what comes to lie where, what is told, and what no container can do to this machine."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

import ecompute
from ecompute.protocol.archive import Progress
from ecompute_server.testing import RunningServer, running_server

from .fake_server import FakeServer, Request
from .test_run import control, finish, read_input
from .trees import STRANGE, make_tree, seen

pytestmark = pytest.mark.anyio

Serve = Callable[..., FakeServer]
Connect = Callable[..., Any]


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """One server for all of these."""
    with running_server() as running:
        yield running


@pytest.fixture
async def client(server: RunningServer, connect: Connect) -> AsyncIterator[Any]:
    """A client of the kind."""
    async with connect(server.url, token=server.token) as made:
        yield made


@pytest.fixture
async def box(client: Any) -> AsyncIterator[Any]:
    """A running container."""
    async with client.temporary() as made:
        yield made


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with all that can be copied."""
    return make_tree(tmp_path / "tree")


async def test_a_folder_goes_there_and_back(client: Any, box: Any, tree: Path, tmp_path: Path) -> None:
    """With modes, times, links, empty folders, and names of any length and bytes."""
    await client.copy_to(box, tree, "/root/there")
    await client.copy_from(box.id, "/root/there", tmp_path / "back")
    assert seen(tmp_path / "back") == seen(tree)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


async def test_where_it_comes_to_lie_there(client: Any, box: Any, tree: Path) -> None:
    """In a folder that is there, else in its place; a source with `/.` is what lies in it."""
    file = tree / "a" / "file"
    await client.run(box.id, "mkdir -p /srv/in /root/x && echo old > /root/old", check=True)
    await client.copy_to(box, file, "/srv/in")
    await client.copy_to(box, file, "/srv/in/")
    await client.copy_to(box, file, "/srv/other")
    await client.copy_to(box, file, "old")
    await client.copy_to(box, file, "-x")
    await client.copy_to(box, tree / "a", "/srv/in")
    await client.copy_to(box, tree / "a", "/srv/a2")
    await client.copy_to(box, f"{tree}/a/.", "/root/x")
    await client.copy_to(box, f"{tree}/a/.", "/root/y")
    await client.copy_to(box, tree / "a" / "link", "/srv/followed")
    listed = await client.run(
        box.id,
        "cd /srv; ls in in/a a2 /root/x /root/y; ls -l followed; cat other | wc -c; cat /root/old | wc -c",
    )
    expected = "in:\na\nfile\n\nin/a:\nb\nfile\nlink\n\na2:\nb\nfile\nlink\n\n"
    expected += "/root/x:\nb\nfile\nlink\n\n/root/y:\nb\nfile\nlink\n"
    assert listed.text.startswith(expected)
    assert listed.text.endswith("512000\n512000\n")
    assert "->" not in listed.text
    assert (await client.run(box.id, "cat ./-x | wc -c", check=True)).text == "512000\n"


async def test_where_it_comes_to_lie_here(client: Any, box: Any, tmp_path: Path) -> None:
    """The same the other way round."""
    await client.run(
        box.id,
        "mkdir -p d/e; echo one > d/f; echo two > d/e/g; ln -s d ld; ln -s d/f lf; echo -x > ./-x",
        check=True,
    )
    (tmp_path / "in" / "d").mkdir(parents=True)
    (tmp_path / "in" / "d" / "kept").touch()
    (tmp_path / "in" / "d" / "f").write_text("old")
    for source, target in (
        ("d", "in"), ("d/f", "in/"), ("d", "new"), ("/root/d/.", "all"), ("d/.", "in"),
        ("ld", "ld"), ("lf", "lf"), ("./-x", "x"), ("d/f", "in/again"), ("d/f", "in/again"),
    ):  # fmt: skip
        await client.copy_from(box, source, f"{tmp_path}/{target}")
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if not path.is_dir())
    assert found == [
        "all/e/g", "all/f", "in/again", "in/d/e/g", "in/d/f", "in/d/kept", "in/e/g", "in/f", "ld/e/g", "ld/f",
        "lf", "new/e/g", "new/f", "x",
    ]  # fmt: skip
    assert (tmp_path / "in" / "d" / "f").read_text() == "one\n"
    assert not (tmp_path / "lf").is_symlink()
    assert not (tmp_path / "ld").is_symlink()


async def test_paths_that_are_no_unicode(client: Any, box: Any, tree: Path, tmp_path: Path) -> None:
    """Name what they name there as well."""
    await client.copy_to(box, tree / STRANGE, f"/root/{STRANGE}")
    await client.copy_from(box, f"/root/{STRANGE}", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"strange"
    with pytest.raises(ecompute.InvalidArgument, match="newline"):
        await client.copy_to(box, tree / STRANGE, "/root/\udcff\n")


async def test_what_cannot_be_there(client: Any, box: Any, tree: Path) -> None:
    """One sentence names what is missing, before anything is copied."""
    await client.run(box.id, "echo x > file", check=True)
    for source, target, sentence in (
        (tree / "nothing", "/none/x", "no folder /none in"),
        (tree / "nothing", "/root/none/", "no folder /root/none/ in"),
        (tree / "nothing", "/root/none/..", "no folder"),
        (tree / "a", "file", "file in container .* is no folder"),
        (tree / "nothing", "file/x", "no folder file in"),
    ):
        with pytest.raises(ecompute.CommandFailed, match=sentence):
            await client.copy_to(box, source, target)
    with pytest.raises(ecompute.CommandFailed, match="There is no /none in"):
        await client.copy_from(box, "/none", tree)
    assert (await client.run(box.id, "ls; cat file")).text == "file\nx\n"


async def test_what_cannot_be_here(serve: Serve, connect: Connect, tree: Path) -> None:
    """Is told before anything is sent."""
    server = serve(lambda request: request.refuse(500, "internal"))
    os.mkfifo(tree / "pipe")
    async with connect(server) as client:
        for source in (tree / "none", tree / "pipe", f"{tree}/nothing/.", "", "a\0b", b"x", 7):
            with pytest.raises(ecompute.InvalidArgument):
                await client.copy_to("a", source, "x")
        for target in (
            tree / "none" / "x",
            f"{tree}/none/",
            f"{tree}/none/..",
            tree / "nothing" / "x",
            "",
            7,
        ):
            with pytest.raises(ecompute.InvalidArgument):
                await client.copy_from("a", "x", target)
        for wrong in ({"timeout": 0}, {"timeout": "1"}):
            with pytest.raises(ecompute.InvalidArgument):
                await client.copy_to("a", tree, "x", **wrong)
    assert server.seen == []


async def test_progress(client: Any, box: Any, tree: Path, tmp_path: Path) -> None:
    """Bytes only grow, up to all of them, which are known before where they can be."""
    heard: list[Progress] = []
    await client.copy_to(box, tree, "/root/t", progress=heard.append)
    assert [one.bytes_done for one in heard] == sorted(one.bytes_done for one in heard)
    assert heard[-1].bytes_done == heard[0].bytes_total == 512011
    back: list[Progress] = []
    await client.copy_from(box, "/root/t", tmp_path / "back", progress=back.append)
    assert (back[-1].bytes_done, back[-1].bytes_total) == (512011, None)
    alone: list[Progress] = []
    await client.copy_from(box, "/root/t/a/file", tmp_path / "alone", progress=alone.append)
    assert alone[-1] == Progress(512000, 512000, "alone")


async def test_who_hears_of_the_progress_can_end_it(
    client: Any, box: Any, tree: Path, tmp_path: Path
) -> None:
    """By raising; no half a file is left here."""

    def refuse(progress: Progress) -> None:
        if progress.bytes_done:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await client.copy_to(box, tree, "/root/t", progress=refuse)
    await client.run(box.id, "head -c 3000000 /dev/zero > big", check=True)
    with pytest.raises(ZeroDivisionError):
        await client.copy_from(box, "big", tmp_path / "big", progress=refuse)
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_copy_that_is_cancelled(server: RunningServer, anyio_backend: str, tmp_path: Path) -> None:
    """Leaves no half a file here."""
    async with server.async_client() as client, client.temporary() as box:
        await client.run(box.id, "head -c 3000000 /dev/zero > big", check=True)
        with anyio.CancelScope() as scope:

            async def stop(progress: Progress) -> None:
                scope.cancel()
                await anyio.sleep_forever()

            await client.copy_from(box.id, "big", tmp_path / "big", progress=stop)
        assert scope.cancelled_caught
    assert list(tmp_path.iterdir()) == []


async def test_what_is_no_file_is_told(client: Any, box: Any, tree: Path) -> None:
    """When all else is copied."""
    os.mkfifo(tree / "pipe")
    with pytest.raises(ecompute.Unsupported, match=r"tree/pipe \(device, pipe or socket\)"):
        await client.copy_to(box, tree, "/root")
    assert (await client.run(box.id, "ls /root/tree/a", check=True)).text == "b\nfile\nlink\n"


# containers that mean no good


def archive(*members: tuple[str, dict[str, Any], bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as out:
        for name, fields, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755
            for field, value in fields.items():
                setattr(info, field, value)
            out.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


FOLDER: dict[str, Any] = {"type": tarfile.DIRTYPE}
TOP = (".", FOLDER, b"")


def link(target: str, kind: bytes = tarfile.SYMTYPE) -> dict[str, Any]:
    return {"type": kind, "linkname": target}


@pytest.fixture
def sending(serve: Serve, connect: Connect) -> Callable[..., Any]:
    """A client of a server whose container sends these bytes, and says and exits as it likes."""

    def make(data: bytes, status: int = 0, error: bytes = b"") -> Any:
        def handle(request: Request) -> None:
            socket = request.upgrade("ecompute.exec.v1")
            assert "tar -c" in control(socket.receive())["command"]
            assert read_input(socket) == b""
            for start in range(0, len(data), 30000):
                socket.output(b"\x01" + data[start : start + 30000])
            socket.output(b"\x02" + error)
            finish(socket, status)

        return connect(serve(handle))

    return make


@pytest.mark.parametrize(
    "members",
    [
        [TOP, ("../out", {}, b"x")],
        [TOP, ("a/../../out", {}, b"x")],
        [TOP, ("/tmp/ecompute-out", {}, b"x")],
        [TOP, ("", {}, b"x")],
        [("other", FOLDER, b""), ("other/x", {}, b"x")],
        [("..", FOLDER, b"")],
        [("f", {}, b"x"), ("out", {}, b"x")],
        [TOP, ("a", link("../out", tarfile.LNKTYPE), b"")],
        [TOP, ("a", link("none", tarfile.LNKTYPE), b"")],
        [TOP, ("d", FOLDER, b""), ("a", link("d", tarfile.LNKTYPE), b"")],
        [TOP, ("a", link("b"), b""), ("h", link("a", tarfile.LNKTYPE), b"")],
        [],
    ],
    ids=str,
)
async def test_names_that_lead_elsewhere(
    sending: Callable[..., Any], tmp_path: Path, members: list[Any]
) -> None:
    """End the copy, and nothing is written there."""
    (tmp_path / "in").mkdir()
    async with sending(archive(*members)) as client:
        with pytest.raises(ecompute.InvalidAnswer):
            await client.copy_from("a", "x", tmp_path / "in" / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert not [path for path in tmp_path.rglob("*") if "out" in path.name or path.name.startswith(".")]


async def test_links_are_not_followed(sending: Callable[..., Any], tmp_path: Path) -> None:
    """Neither one that came before, nor one that lies there."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "mine").symlink_to("../elsewhere")
    (tmp_path / "in" / "file").symlink_to("../elsewhere/file")
    (tmp_path / "elsewhere" / "file").write_text("mine")
    for members in (
        [TOP, ("d", FOLDER, b""), ("theirs", link("d"), b""), ("theirs/x", {}, b"x")],
        [TOP, ("mine/x", {}, b"x")],
        [TOP, ("mine", FOLDER, b"")],
    ):
        async with sending(archive(*members)) as client:
            with pytest.raises(ecompute.Error, match="nothing is written through it"):
                await client.copy_from("a", "x/.", tmp_path / "in")
    async with sending(archive(TOP, ("file", {}, b"theirs"))) as client:
        await client.copy_from("a", "x/.", tmp_path / "in")
    assert (tmp_path / "in" / "file").read_text() == "theirs"
    assert not (tmp_path / "in" / "file").is_symlink()
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["file"]
    assert (tmp_path / "elsewhere" / "file").read_text() == "mine"
    async with sending(archive(TOP, ("x", {}, b"x"))) as client:
        with pytest.raises(ecompute.Error, match="nothing is written through it"):
            await client.copy_from("a", "mine", tmp_path / "in")
    assert list((tmp_path / "in" / "d").iterdir()) == []


async def test_what_is_left_out(sending: Callable[..., Any], tmp_path: Path) -> None:
    """Devices, pipes, and links that lead elsewhere; all else is copied, without set-id bits."""
    members = [
        TOP,
        ("null", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}, b""),
        ("pipe", {"type": tarfile.FIFOTYPE}, b""),
        ("passwd", link("/etc/passwd"), b""),
        ("up", link("../x"), b""),
        ("trick", link("link/.."), b""),
        ("link", link("."), b""),
        ("root", {"mode": 0o6755}, b"x"),
        ("second", link("./root", tarfile.LNKTYPE), b""),
        ("root", link("./second", tarfile.LNKTYPE), b""),
    ]
    async with sending(archive(*members)) as client:
        with pytest.raises(ecompute.Unsupported, match=r"null \(device, pipe or socket\) and 4 more"):
            await client.copy_from("a", "x", tmp_path / "x")
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == ["link", "root", "second"]
    assert stat.S_IMODE((tmp_path / "x" / "root").stat().st_mode) == 0o755
    assert (tmp_path / "x" / "second").read_bytes() == b"x"


@pytest.mark.parametrize("cut", [100, 512, 700, 1024, 2000])
async def test_an_archive_that_breaks_off(sending: Callable[..., Any], tmp_path: Path, cut: int) -> None:
    """Is no success, and no file has its name before it is complete."""
    async with sending(archive(TOP, ("f", {}, bytes(3000)))[:cut]) as client:
        with pytest.raises(ecompute.InvalidAnswer, match="not complete"):
            await client.copy_from("a", "x", tmp_path / "x")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_words_of_tar(sending: Callable[..., Any], tmp_path: Path) -> None:
    """What it complains about is told, its beginning at least; what it sent is there."""
    whole = archive(TOP, ("f", {}, b"x"))
    async with sending(whole, 1, b"tar: g: Permission denied\n" * 10000) as client:
        with pytest.raises(ecompute.CommandFailed, match="tar: g: Permission denied") as caught:
            await client.copy_from("a", "x", tmp_path / "x")
    assert len(caught.value.result.error) == 4096
    assert (tmp_path / "x" / "f").read_bytes() == b"x"


async def test_a_container_without_tar(sending: Callable[..., Any], tmp_path: Path) -> None:
    """Is told by name."""
    async with sending(b"", 69) as client:
        with pytest.raises(ecompute.Unsupported, match="no `tar`"):
            await client.copy_from("a", "x", tmp_path / "x")


async def test_a_disk_that_is_full(serve: Serve, connect: Connect, tree: Path) -> None:
    """`tar` there has its say, though it did not read to the end."""
    answers = iter([(b"\x01folder\n", 0), (b"\x02tar: write error: No space left on device\n", 1)])

    def handle(request: Request) -> None:
        data, status = next(answers)
        socket = request.upgrade("ecompute.exec.v1")
        socket.receive()
        socket.output(data)
        finish(socket, status)

    async with connect(serve(handle)) as client:
        with pytest.raises(ecompute.CommandFailed, match="No space left on device"):
            await client.copy_to("a", tree, "/srv")


async def test_a_copy_whose_time_is_over(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """The total counts."""

    def handle(request: Request) -> None:
        begin_any(request).serve_until_closed()

    async with connect(serve(handle)) as client:
        with pytest.raises(ecompute.DeadlineExceeded):
            await client.copy_from("a", "x", tmp_path / "x", timeout=0.2)
    assert list(tmp_path.iterdir()) == []


def begin_any(request: Request) -> Any:
    socket = request.upgrade("ecompute.exec.v1")
    socket.receive()
    return socket


async def test_what_changes_meanwhile(client: Any, box: Any, tmp_path: Path) -> None:
    """A file that became shorter, or went away, ends the copy."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_bytes(bytes(1_000_000))
    (folder / "b").write_bytes(b"b")

    def cut(progress: Progress) -> None:
        (folder / "a").write_bytes(b"")

    with pytest.raises(ecompute.Error, match="became shorter"):
        await client.copy_to(box, folder, "/root", progress=cut)
    (folder / "a").write_bytes(bytes(1_000_000))

    def remove(progress: Progress) -> None:
        (folder / "b").unlink(missing_ok=True)

    with pytest.raises(ecompute.Error, match="b cannot be read: No such file"):
        await client.copy_to(box, folder, "/root", progress=remove)
