"""The shell of simulated guests: its language and its commands, as a caller sees them."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tarfile
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from ecompute_server.guest.checks import Bench, Ended, opened, run
from ecompute_server.guest.interface import Stream

Running = Callable[..., AbstractAsyncContextManager[Bench]]

LANGUAGE = {
    "echo a  b": "a b\n",
    "echo 'a  b' \"c  d\" e\\ f": "a  b c  d e f\n",
    "echo 'it'\"'\"'s' \"\\\"\\$x\\\\\"": "it's \"$x\\\n",
    "x=1; echo $x ${x} $x$x \"$x\" '$x'": "1 1 11 1 $x\n",
    "x='a b'; printf '[%s]' $x \"$x\"": "[a][b][a b]",
    "echo ${y-none} ${y:-none} ${HOME:+set} ${#HOME}.": "none none set 5.\n",
    "echo $unset end": "end\n",
    "printf '[%s]' \"\" $unset ''": "[][]",
    "false; echo $?; true; echo $?": "1\n0\n",
    "true && echo yes || echo no; false && echo yes || echo no": "yes\nno\n",
    "! true; echo $?; ! false; echo $?": "1\n0\n",
    "echo one | cat | cat": "one\n",
    "false | true; echo $?": "0\n",
    "exit 3 | true; echo $?": "0\n",
    "echo out; echo err 2>&1 >/dev/null | cat": "out\n",
    "(cd /tmp; pwd); pwd": "/tmp\n/root\n",
    "{ cd /tmp; pwd; }; pwd": "/tmp\n/tmp\n",
    "x=1; (x=2); echo $x": "1\n",
    "x=1 env | cat | wc -l > /dev/null; echo .$x": ".\n",
    "echo $(echo a; echo b) \"$(printf 'a\\nb')\"": "a b a\nb\n",
    "x=$(false); echo $?": "1\n",
    "if false; then echo a; elif true; then echo b; else echo c; fi": "b\n",
    "for i in 1 2 3; do echo $i; if test $i = 2; then break; fi; done": "1\n2\n",
    "for i in 1 2 3; do test $i = 2 && continue; echo $i; done": "1\n3\n",
    "i=x; while test $i != xxx; do i=x$i; done; echo $i": "xxx\n",
    "i=x; until test $i = xxx; do i=x$i; done; echo $i": "xxx\n",
    "echo a # b; echo c\necho d": "a\nd\n",
    "echo a\\\n b": "a b\n",
    "cd /tmp; echo > b; echo > a1; echo > a2; echo a* 'a*' x*; rm a1 a2 b": "a1 a2 a* x*\n",
    "echo ~ ~/x a~": "/root /root/x a~\n",
    "sh -c 'echo $0 $1 $#' name first": "name first 1\n",
    "printf 'a b\\nc\\n' | while read x y; do echo $y $x; done": "b a\nc\n",
    "echo $((1))": "",
    "export A=1; B=2; sh -c 'echo $A$B'; env A=3 sh -c 'echo $A$B'": "1\n3\n",
    "X=5 sh -c 'echo $X'; echo .$X": "5\n.\n",
    "for i in 1 2; do echo $i; eval break; done; (eval 'exit 3'; echo no); echo $?": "1\n3\n",
    "eval 'echo $HOME'; exec echo last; echo never": "/root\nlast\n",
    "sh -c 'exit 300'; echo $?": "44\n",
    "nonesuch; echo $?": "127\n",
    "echo x > /tmp/dir/none; echo $?": "1\n",
    "cat < /nonesuch || echo no": "no\n",
    "yes | head -n 2": "y\ny\n",
    "while true; do echo y; done | head -n 1": "y\n",
}

COMMANDS = {
    "uname -m; nproc; hostname; whoami; id -u": "aarch64\n1\nabcd1234.compute.localhost\nroot\n0\n",
    "printf 'abc' | wc -c; printf 'a b\\nc' | wc": "3\n1 3 5\n",
    "printf abc > f; sha256sum f; rm f": hashlib.sha256(b"abc").hexdigest() + "  f\n",
    "head -c 3 /dev/zero | wc -c; head -c 70000 /dev/urandom | wc -c; head -c 1k /dev/zero | wc -c": (
        "3\n70000\n1024\n"
    ),
    "seq 20 | head -2 | tail -n 1; seq 3 | tail -n 2; printf abcd | tail -c 2": "2\n2\n3\ncd",
    "mkdir -p a/b/c && cd a/b/c && pwd && cd .. && pwd && cd - && cd && rm -r a && ls": (
        "/root/a/b/c\n/root/a/b\n/root/a/b/c\n"
    ),
    "mkdir d; touch d/x; rmdir d || rm d || rm -rf d; ls; rm -f none; echo $?": "0\n",
    "touch a .b; ls; ls -A; rm a .b": "a\n.b\n.profile\na\n",
    "mkdir d; echo 1 > d/f; mv d e; cat e/f; cp -r e g; echo 2 >> g/f; cat e/f g/f": "1\n1\n1\n2\n",
    "ln -s /etc/hostname l; cat l; readlink l; test -L l && rm l; test -e l || cat /etc/hostname": (
        "abcd1234.compute.localhost\n/etc/hostname\nabcd1234.compute.localhost\n"
    ),
    "echo echo script $1 > s; ./s; chmod +x s; ./s; chmod 644 s; ls -l s | head -c 10; rm s": (
        "script\n-rw-r--r--"
    ),
    "test -f /etc/passwd && test -d /tmp && [ -n x ] && [ ! -e /x ] && [ 2 -gt 1 ] && echo ok": "ok\n",
    "echo a | tee x; cat x; rm x; tty || stty size || echo none": "a\na\nnot a tty\nnone\n",
    "echo -n x; echo -e 'a\\tb'; printf '%s-%d|%5s|%-3s|\\n' x 7 r l": "xa\tb\nx-7|    r|l  |\n",
    "head -n 1 /proc/meminfo; free -m | head -n 2 | tail -n 1 | head -c 20": (
        "MemTotal:         524288 kB\nMem:             512"
    ),
    "cat /proc/cpuinfo | head -n 1; echo x > /proc/meminfo || echo denied": "processor\t: 0\ndenied\n",
    "echo x > /dev/null; cat /dev/null; test -e /var/run/x; echo $?": "1\n",
    "command -v cat; which nonesuch || echo none": "/bin/cat\nnone\n",
    "/bin/echo a; /usr/bin/env | head -n 1 | wc -l": "a\n1\n",
    "sleep 0; sleep 0.01s; echo slept": "slept\n",
    "cd /tmp; mkdir x; cd x; rmdir ../x; ls .; echo $?": "1\n",
}


@pytest.mark.parametrize("command", [*LANGUAGE, *COMMANDS])
def test_a_command_prints(command: str, running: Running) -> None:
    """What a shell prints on its standard output."""

    async def main() -> None:
        async with running() as bench:
            assert (await run(bench, command)).output.decode() == (LANGUAGE | COMMANDS)[command]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("cat nonesuch", "cat: nonesuch: No such file or directory\n"),
        ("cd nonesuch", "cd: nonesuch: No such file or directory\n"),
        ("ls /nonesuch", "ls: /nonesuch: No such file or directory\n"),
        ("mkdir /root", "mkdir: can't create directory '/root': File exists\n"),
        ("rm -r /root", "rm: can't remove '/root': Device or resource busy\n"),
        ("cat /root", "cat: /root: Is a directory\n"),
        ("echo > /etc/passwd/x", "sh: /etc/passwd/x: Not a directory\n"),
        ("nonesuch", "sh: nonesuch: not found\n"),
        ("head -q -c x", "head: invalid number 'x'\n"),
        ("rm --wrong", "rm: unrecognized option '-'\n"),
        ("ln -s l l; cat l", "cat: l: Too many levels of symbolic links\n"),
        ("echo 'a", "sh: syntax error: unterminated quoted string\n"),
        ("echo a &", 'sh: syntax error: the simulated shell has no "&"\n'),
        ("f() { true; }", "sh: syntax error: the simulated shell has no functions\n"),
        ("fi", 'sh: syntax error: unexpected "fi"\n'),
        ("echo a; )", 'sh: syntax error: unexpected ")"\n'),
        ("(" * 3000, "sh: syntax error: nested too deeply\n"),
        (f"echo {'x' * 140_000}", "sh: syntax error: too long\n"),
        ("echo 'sh s' > s; sh s", "s: nested too deeply\n"),
        ("x=aaaaaaaa; while x=$x$x$x$x; do true; done; false", "sh: Argument list too long\n"),
        ("x=$(head -c 2000000 /dev/zero)", "sh: Argument list too long\n"),
        ("stty size", "stty: standard input: Inappropriate ioctl for device\n"),
    ],
    ids=lambda text: text[:40],
)
def test_a_fault_is_told_as_shells_tell_it(command: str, said: str, running: Running) -> None:
    """On standard error, with a status that is not zero."""

    async def main() -> None:
        async with running() as bench:
            ended = await run(bench, command)
            assert ended.error.decode() == said
            assert ended.status != 0

    asyncio.run(main())


def test_the_machine_is_what_its_spec_says(running: Running) -> None:
    """Architecture, processors and memory."""

    async def main() -> None:
        async with running(arch="amd64", vcpus=4, memory_mb=2048) as bench:
            ended = await run(bench, "uname -m; nproc; head -n 1 /proc/meminfo")
            assert ended.output == b"x86_64\n4\nMemTotal:        2097152 kB\n"

    asyncio.run(main())


def test_a_stream_is_never_held_in_memory(running: Running) -> None:
    """A hundred megabytes through a pipe, and out to a reader, in a few megabytes of memory."""

    async def main() -> None:
        async with running() as bench:
            tracemalloc.start()
            try:
                ended = await run(bench, "head -c 100000000 /dev/zero | wc -c")
                async with opened(bench, "head -c 100000000 /dev/zero") as process:
                    while await process.read() is not None:
                        pass
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert ended.output == b"100000000\n"
            assert peak < 4 << 20

    asyncio.run(main())


def test_a_full_disk_is_an_error_and_emptying_it_mends(running: Running) -> None:
    """The test's machines have 4 MiB."""

    async def main() -> None:
        async with running() as bench:
            full = await run(bench, "head -c 5000000 /dev/zero > f; echo $?; rm f; echo x > f; cat f")
            assert full.output == b"1\nx\n"
            assert full.error == b"head: write error: No space left on device\n"
            many = await run(bench, "i=x; while touch f$i; do i=x$i; done")
            assert b"No space left on device" in many.error or b"File name too long" in many.error

    asyncio.run(main())


def test_an_endless_loop_leaves_the_others_their_turn(running: Running) -> None:
    """Neither a loop of builtins nor an endless copy holds up the event loop."""

    async def main() -> None:
        async with running() as bench:
            for endless in ("while true; do true; done", "cat /dev/zero > /dev/null", "yes > /dev/null"):
                async with opened(bench, endless) as process:
                    assert (await run(bench, "echo here")).output == b"here\n"
                    await process.signal("TERM")
                    assert await process.wait() == 128 + 15

    asyncio.run(main())


def test_commands_share_the_input_of_a_script(running: Running) -> None:
    """A shell that reads its script from standard input takes no byte beyond the line."""

    async def main() -> None:
        async with running() as bench, opened(bench, None) as process:
            await process.write(b"read x\nfirst\necho $x\ncat\nrest\nof it\n")
            await process.write_eof()
            chunks = []
            while (chunk := await process.read()) is not None:
                chunks.append(chunk)
            assert b"".join(data for _, data in chunks) == b"first\nrest\nof it\n"
            assert {stream for stream, _ in chunks} == {Stream.OUTPUT}

    asyncio.run(main())


def archive(members: Sequence[tarfile.TarInfo], form: int = tarfile.GNU_FORMAT) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=form) as made:
        for info in members:
            made.addfile(info, io.BytesIO(b"x" * info.size))
    return output.getvalue()


def member(name: str, size: int = 3, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname, info.mode, info.mtime = size, kind, link, 0o640, 1_000_000_000
    return info


LONG_NAME = "long/" + "n" * 200


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tar_takes_the_archives_of_the_standard_library(form: int, running: Running) -> None:
    """Each format, with long names and names outside ASCII where it has them."""
    names = ["dir/plain", "dir/empty"]
    names += ["dir/ä ö", LONG_NAME] if form != tarfile.USTAR_FORMAT else []
    given = archive([member(name, 0 if "empty" in name else 100_000) for name in names], form)

    async def main() -> None:
        async with running() as bench:
            assert await run(bench, "mkdir out; tar -C out -xf -", given) == Ended(0, b"", b"")
            assert (await run(bench, "tar tf -", given)).output.decode().splitlines() == names
            listed = await run(bench, "cd out; cat dir/plain | wc -c; cat dir/empty | wc -c; ls -l dir/plain")
            assert listed.output.split()[:3] == [b"100000", b"0", b"-rw-r-----"]
            back = await run(bench, "tar -C out -cf - dir long 2>/dev/null")
            with tarfile.open(fileobj=io.BytesIO(back.output)) as made:
                found = {info.name: info for info in made if info.isreg()}
                assert sorted(found) == sorted(names)
                assert found["dir/plain"].mtime == 1_000_000_000
                assert made.extractfile("dir/plain").read() == b"x" * 100_000  # type: ignore[union-attr]

    asyncio.run(main())


def test_tar_goes_through_gzip_and_files(running: Running) -> None:
    """Written with `z`, read with and without."""

    async def main() -> None:
        async with running() as bench:
            ended = await run(
                bench,
                "mkdir a b c; seq 1000 > a/f; tar czf t.gz a && tar -C b -xzvf t.gz && tar -C c -xf t.gz a/f;"
                "cat b/a/f c/a/f | wc -l; head -c 2 t.gz",
            )
            assert ended == Ended(0, b"a/\na/f\n2000\n\x1f\x8b", b"")

    asyncio.run(main())


HOSTILE = {
    "a name that climbs": [member("../climbed")],
    "a name from the root": [member("/absolute")],
    "a link that is written through": [
        member("way", 0, tarfile.SYMTYPE, "/../../.."),
        member("way/tmp/through"),
    ],
    "a file in the place of a link": [
        member("link", 0, tarfile.SYMTYPE, "/etc/hostname"),
        member("link"),
    ],
    "a hard link to nowhere": [member("hard", 0, tarfile.LNKTYPE, "../../etc/passwd")],
    "a device": [member("device", 0, tarfile.CHRTYPE)],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_stays_in_its_guest(case: str, running: Running, tmp_path: Path) -> None:
    """Nothing is written outside the state directory, and the guest goes on."""
    before = {path.name for path in tmp_path.parent.iterdir()}

    async def main() -> None:
        async with running() as bench:
            await run(bench, "mkdir out; tar -C out -xf -", archive(HOSTILE[case]))
            assert (
                await run(bench, "cat /etc/hostname; test -e /climbed || test -e climbed; echo $?")
            ).output == (b"abcd1234.compute.localhost\n1\n")

    asyncio.run(main())
    assert {path.name for path in tmp_path.parent.iterdir()} == before
    assert {path.name for path in tmp_path.iterdir()} == {"simulated"}
    assert all(path.name.isdecimal() for path in (tmp_path / "simulated" / "files").iterdir())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"nonsense" * 100, b"tar: invalid tar magic\n"),
        (archive([member("f", 1000)])[:700], b"tar: short read\n"),
        (b"\x1f\x8bnonsense", b"tar: Error"),
    ],
)
def test_a_broken_archive_is_an_error(given: bytes, said: bytes, running: Running) -> None:
    """Said in one line."""

    async def main() -> None:
        async with running() as bench:
            ended = await run(bench, "tar -xf -", given)
            assert ended.status != 0
            assert ended.error.startswith(said)

    asyncio.run(main())
