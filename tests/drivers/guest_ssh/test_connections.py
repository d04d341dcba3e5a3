"""Which connections are made into a guest, when they end, and what keeps others out."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import asyncssh
import pytest
from attrs import evolve
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_ssh_private_key,
)

from ecompute_server.guest.interface import GuestError, GuestLost
from ecompute_server.guest.ssh import Limits

from .harness import CLIENT, DEADLINE, IMPOSTOR, LOGIN, STRANGER, bench, something_else, turns

pytestmark = pytest.mark.anyio

Process = asyncssh.SSHServerProcess[bytes]


async def done(process: Process) -> None:
    process.exit(0)


async def stay(process: Process) -> None:
    await process.stdin.read()
    process.exit(0)


async def test_processes_share_one_connection() -> None:
    """Also those that are opened while it is being made."""
    async with bench() as here:
        here.guest.commands["true"] = done
        processes = await asyncio.gather(*(here.open("true") for _ in range(5)))
        processes.append(await here.open("true"))
        assert [await process.wait() for process in processes] == [0] * 6
        assert len(here.guest.connections) == 1


async def test_an_idle_connection_ends_and_another_is_made() -> None:
    """What runs keeps it; the next process after its end finds a new one."""
    async with bench(Limits(idle=0.01)) as here:
        here.guest.commands |= {"true": done, "stay": stay}
        staying = await here.open("stay")
        await (await here.open("true")).wait()
        await turns()
        assert len(here.guest.connections) == 1
        await staying.write_eof()
        await here.guest.connections[0].ended.wait()
        assert await (await here.open("true")).wait() == 0
        assert len(here.guest.connections) == 2


async def test_a_broken_connection_is_replaced() -> None:
    """Its processes are lost, and the next process does not notice."""
    async with bench() as here:
        here.guest.commands |= {"true": done, "stay": stay}
        staying = await here.open("stay")
        here.guest.connections[0].link.abort()
        with pytest.raises(GuestLost):
            await staying.wait()
        assert await (await here.open("true")).wait() == 0


async def test_a_connection_that_broke_unnoticed_is_replaced() -> None:
    """The guest ended it, and its word is still on the way."""
    async with bench() as here:
        here.guest.commands["true"] = done
        await (await here.open("true")).wait()
        here.guest.connections[0].link.close()
        assert await (await here.open("true")).wait() == 0


async def test_a_guest_that_allows_few_sessions_on_a_connection() -> None:
    """One more gets a connection of its own, and the first keeps running."""
    async with bench() as here:
        here.guest.commands["stay"] = stay
        here.guest.sessions_allowed = 1
        first = await here.open("stay")
        second = await here.open("stay")
        assert len(here.guest.connections) == 2
        for process in (first, second):
            await process.write_eof()
        assert not here.guest.connections[0].ended.is_set()
        await here.guest.connections[0].ended.wait()


async def test_a_guest_that_allows_no_session() -> None:
    """It is tried once, and that is the end of it."""
    async with bench() as here:
        here.guest.sessions_allowed = 0
        with pytest.raises(GuestError, match="did not start the process"):
            await here.open("true")
        assert len(here.guest.connections) == 1


async def test_another_login_gets_another_connection() -> None:
    """A key that is not the connection's own opens nothing by it."""
    async with bench() as here:
        here.guest.commands["true"] = done
        await (await here.open("true")).wait()
        with pytest.raises(GuestError, match="refuses the server's key"):
            await here.open("true", STRANGER)


async def test_the_same_key_in_another_text_is_the_same_login() -> None:
    """OpenSSH's private format has a random number in it, so two texts of one key differ."""
    key = load_ssh_private_key(CLIENT.private.encode(), None)
    text = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    assert text != CLIENT.private
    async with bench() as here:
        here.guest.commands["true"] = done
        await (await here.open("true")).wait()
        await (await here.open("true", evolve(LOGIN, client_key=text))).wait()
        assert len(here.guest.connections) == 1


async def test_an_error_tells_no_secret() -> None:
    """Neither its text nor what it grew from shows a private key."""
    secret = CLIENT.private.splitlines()[1]
    async with bench() as here:
        for login, words in (
            (IMPOSTOR, "another host key"),
            (STRANGER, "refuses"),
            (evolve(LOGIN, client_key="-----BEGIN NONSENSE"), "cannot be read"),
            (evolve(LOGIN, container_id="absent"), "cannot be reached"),
        ):
            with pytest.raises(GuestError, match=words) as caught:
                await here.open("true", login)
            assert secret not in f"{caught.value} {caught.value.__cause__} {login}"


async def test_the_host_s_own_ssh_set_up_plays_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither files nor an agent are looked at."""
    folder = tmp_path / ".ssh"
    folder.mkdir()
    (folder / "config").write_text("Host *\n  User nobody\n  ProxyCommand false\n  IdentityFile /nowhere\n")
    (folder / "known_hosts").write_text("@revoked * ssh-ed25519 AAAA\n")
    (folder / "id_ed25519").write_text("nonsense")
    monkeypatch.setenv("HOME", os.fspath(tmp_path))
    monkeypatch.setenv("SSH_AUTH_SOCK", os.fspath(tmp_path / "agent"))
    async with bench() as here:
        here.guest.commands["true"] = done
        assert await (await here.open("true")).wait() == 0
        assert here.guest.connections[0].link.get_extra_info("username") == "root"


async def test_one_who_leaves_does_not_take_the_connection_along() -> None:
    """Of two who wait for it one is cancelled, and the other is served."""
    async with bench() as here:
        here.guest.commands["true"] = done
        leaving, staying = asyncio.create_task(here.open("true")), asyncio.create_task(here.open("true"))
        await asyncio.sleep(0)
        leaving.cancel()
        assert await (await staying).wait() == 0
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert len(here.guest.connections) == 1


async def test_one_who_leaves_while_the_process_starts() -> None:
    """What was started for nobody is hung up, so that the guest does not keep it."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def watched(process: Process) -> None:
        begun.set()
        try:
            await process.stdin.read()
        finally:
            ended.set()

    async with bench() as here:
        here.guest.commands |= {"true": done, "watched": watched}
        await (await here.open("true")).wait()
        leaving = asyncio.create_task(here.open("watched"))
        while not (begun.is_set() or leaving.done()):  # noqa: ASYNC110 - to be in time, not after it
            await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait({leaving})
        if not leaving.cancelled():
            await leaving.result().close()
        await ended.wait()


async def test_closing_all() -> None:
    """Everything is hung up, whoever waits learns it, and nothing new is opened."""
    async with bench() as here:
        here.guest.commands["stay"] = stay
        process = await here.open("stay")
        await here.guests.close()
        await here.guests.close()
        with pytest.raises(GuestLost):
            await process.read()
        with pytest.raises(GuestError):
            await here.open("stay")


async def test_closing_while_a_connection_is_being_made() -> None:
    """Whoever waits for it is told."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with something_else(silent) as guests:
        opening = asyncio.create_task(guests.open(LOGIN, command="true", terminal=None))
        await turns()
        await guests.close()
        await asyncio.wait({opening}, timeout=DEADLINE)
        assert opening.done()
        assert opening.cancelled() or isinstance(opening.exception(), GuestError)


async def test_a_banner_is_an_answer() -> None:
    """A real server's, and one behind other lines and in pieces."""
    async with bench() as here:
        await here.guests.answer(LOGIN)
        assert here.guest.connections[0].sessions == 0

    async def wordy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in (b"mind the gap\r\nSS", b"H-2.", b"0-x"):
            writer.write(piece)
            await writer.drain()
            await turns(5)
        await reader.read()

    async with something_else(wordy) as guests:
        await guests.answer(LOGIN)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"", "ended the connection"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "ended the connection"),
        (b"SSH-1.5-old\r\n", "ended the connection"),
        (b"x" * 10_000, "Something else"),
    ],
)
async def test_what_is_no_banner_is_no_answer(said: bytes, words: str) -> None:
    """Each is one sentence."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        writer.write_eof()
        await reader.read()

    async with something_else(speak) as guests:
        with pytest.raises(GuestError, match=words):
            await guests.answer(LOGIN)


async def test_a_silent_guest_does_not_answer() -> None:
    """Neither when asked for its banner nor when it is to let somebody in."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with something_else(silent, Limits(banner=0.01, login=0.01)) as guests:
        with pytest.raises(GuestError, match="does not answer"):
            await guests.answer(LOGIN)
        with pytest.raises(GuestError, match="in time"):
            await guests.open(LOGIN, command="true", terminal=None)
