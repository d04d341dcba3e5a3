"""A picture of containers that is kept up to date, and the end of it."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from attrs import evolve

import ecompute
from ecompute.contract.resources import Container
from ecompute.display import MAX_ROWS
from ecompute.live import Console, Lines, Live, as_text, in_notebook, screen_here
from ecompute_server.testing import RunningServer

from .fake_server import LIMIT

Connect = Callable[..., Any]

A = Container("aaaaaaaa", "one", "pending", "aaaaaaaa.x", 512, 5, "nano")
B = Container("bbbbbbbb", "two [red]", "running", "bbbbbbbb.x", 512, 5, "tiny")


def view(*boxes: Container) -> dict[str, Container]:
    return {box.id: box for box in boxes}


class Album:
    """A screen that keeps every picture."""

    def __init__(self) -> None:
        self.pictures: list[list[str]] = []
        self.closed = False

    def show(self, boxes: Sequence[Container]) -> None:
        self.pictures.append([f"{box.id[0]} {box.status}" for box in boxes])

    def close(self) -> None:
        self.closed = True


class Tty(io.StringIO):
    """An output that is a terminal."""

    def isatty(self) -> bool:
        return True


# --- when it ends ----------------------------------------------------------------------------------------


def test_a_status_is_that_of_all() -> None:
    """It ends when every container has it, and each change is shown, the last one too."""
    album = Album()
    with Live[Container]("running", None, album) as ask:
        assert not ask(view(A, B))
        assert not album.closed
        assert ask(view(evolve(A, status="running"), B))
    assert album.pictures == [["a pending", "b running"], ["a running", "b running"]]
    assert album.closed


def test_only_some_are_shown_and_waited_for() -> None:
    """Containers or ids, in the order given; one that has not come yet is waited for, one deleted is not."""
    album = Album()
    with Live[Container]("running", [B, "aaaaaaaa"], album) as ask:
        assert not ask(view())
        assert not ask(view(B, Container("cccccccc", "three", "failed")))
        assert not ask(view(A, B))
        assert ask(view(B))
    assert album.pictures == [[], ["b running"], ["b running", "a pending"], ["b running"]]


def test_a_function_decides() -> None:
    """It is given the whole view, whatever is shown."""
    with Live[Container](lambda seen: "bbbbbbbb" in seen, [A], Album()) as ask:
        assert not ask(view(A))
        assert ask(view(A, B))


def test_nothing_ends_it_by_itself() -> None:
    """Without a wish it goes on."""
    with Live[Container](None, None, Album()) as ask:
        assert not ask(view())
        assert not ask(view(B))


def test_a_failed_container_ends_the_wait() -> None:
    """With its reason, after it was shown; who waits for `failed` gets it."""
    failed = evolve(A, status="failed", status_reason="no boot.")
    album = Album()
    with Live[Container]("running", None, album) as ask:
        with pytest.raises(
            ecompute.ContainerFailed, match=r"aaaaaaaa failed before .* running: no boot\.$"
        ) as e:
            ask(view(failed))
        assert e.value.container_id == "aaaaaaaa"
        assert e.value.reason == "no boot."
    assert album.pictures == [["a failed"]]
    with Live[Container]("failed", None, Album()) as ask:
        assert ask(view(failed))


# --- where it is shown -----------------------------------------------------------------------------------


def test_lines_tell_each_change_once(capsys: pytest.CaptureFixture[str]) -> None:
    """What is there at first, what changes, what fails and why, and what goes."""
    lines = Lines()
    lines.show([A, B])
    lines.show([A, B])
    lines.show([evolve(A, status="failed", status_reason="no\nboot")])
    lines.close()
    assert capsys.readouterr().out.splitlines() == [
        "one (aaaaaaaa): pending",
        "two [red] (bbbbbbbb): running",
        "one (aaaaaaaa): failed: no boot",
        "two [red] (bbbbbbbb): deleted",
    ]


def test_a_terminal_has_a_table_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn anew over the old one, with statuses in colour; names are no markup."""
    tty = Tty()
    monkeypatch.setattr(sys, "stdout", tty)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    screen = screen_here()
    assert isinstance(screen, Console)
    screen.show([A, B])
    screen.show([evolve(A, status="running"), B])
    screen.close()
    drawn = tty.getvalue()
    assert "two [red]" in drawn
    assert "\x1b[33mpending" in drawn
    assert "\x1b[32mrunning" in drawn
    assert "\x1b[1A" in drawn
    assert drawn.endswith("\x1b[?25h")


def test_without_rich_a_terminal_has_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """rich is a help, no need."""
    monkeypatch.setattr(sys, "stdout", Tty())
    monkeypatch.setitem(sys.modules, "rich.live", None)
    assert isinstance(screen_here(), Lines)


def test_here_is_no_notebook() -> None:
    """IPython alone, loaded or on a terminal, is none: there is no kernel."""
    import IPython

    assert IPython.get_ipython() is None
    assert not in_notebook()


def test_the_table_as_text() -> None:
    """Columns of one width; long lists are cut."""
    assert as_text([A, B]).splitlines() == [
        "name       status   id        type         memory  storage",
        "one        pending  aaaaaaaa  nano, arm64  512 MB  5 GB",
        "two [red]  running  bbbbbbbb  tiny, amd64  512 MB  5 GB",
    ]
    assert as_text([]) == "none"
    assert as_text([A] * (MAX_ROWS + 2)).endswith("… and 2 more")


# --- with a server ---------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_boot_is_watched(
    server: RunningServer, connect: Connect, public_key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the first status on to `running`, by both clients."""
    async with connect(server.url, token=server.token) as client:
        key = await client.ssh_keys.add("laptop", public_key)
        async with client.watch() as seen:
            box = await client.containers.create("first", [key.id])
            await seen.live("running", only=[box.id], timeout=LIMIT)
            with pytest.raises(ecompute.DeadlineExceeded):
                await seen.live("stopped", timeout=0)
        await client.containers.delete(box.id)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [f"first ({box.id}): running"] * 2
    assert all(line.startswith(f"first ({box.id}): ") for line in lines)


@pytest.mark.anyio
async def test_a_view_that_has_ended_is_not_live(server: RunningServer, connect: Connect) -> None:
    """It says why."""
    async with connect(server.url, token=server.token) as client:
        async with client.watch() as seen:
            pass
        with pytest.raises(ecompute.Closed):
            await seen.live("running")
