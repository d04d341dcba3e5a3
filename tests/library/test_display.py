"""What notebooks show: escaped, readable on bright and dark pages, and never a secret."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest
from attrs import evolve
from IPython.core.formatters import DisplayFormatter

import ecompute
from ecompute import cells, display
from ecompute.contract import resources
from ecompute.contract.catalog import Status
from ecompute.contract.problems import Fault
from ecompute.errors import CommandResult, Needed
from ecompute.listing import Listing
from ecompute_server.testing import RunningServer

WHEN = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
EPOCH_SECONDS = 1767225600
SECRET = "ecloud_neverShown0123456789"
HOSTILE = "<script>alert('x')</script>\"&<b onclick=y>"

BOX = ecompute.Container(
    id="abc12345",
    name="first",
    status="running",
    hostname="abc12345.compute.localhost",
    memory_mb=512,
    storage_gb=5,
    instance_type="tiny",
    created_at=WHEN,
    ssh_enabled=True,
    https_enabled=True,
    memory_used_mb=131,
    storage_used_gb=0.31,
    ssh_command="ssh root@127.77.3.9",
    external_ip="127.77.3.9",
)
KEY = ecompute.SSHKey(1, "laptop", f"ssh-ed25519 {'A' * 60}lguhE6 me@home", WHEN)
RULE = ecompute.IngressRule(3, 443, 3000, EPOCH_SECONDS)
TOKEN = ecompute.Token(
    "t1", "reader", {"compute.u1": ("read",), "compute.u1.keys": ("create", "read")}, token=SECRET
)
SESSION = ecompute.Session("u1", "alice", "Alice A.", True, token=SECRET)
MOUNTS = ecompute.Mounts(("/root", "/data"), True)
FORBIDDEN = ecompute.Forbidden(
    "The token lacks a scope.",
    status=403,
    code="forbidden",
    operation="containers.delete abc12345",
    request_id="req-17",
    needed=Needed("compute.u1.containers.abc12345", "delete"),
)
THINGS: Sequence[Any] = (
    BOX,
    KEY,
    RULE,
    TOKEN,
    SESSION,
    MOUNTS,
    ecompute.SSHAccess(True),
    FORBIDDEN,
    CommandResult(3, b"out", b"err"),
    Listing([BOX, evolve(BOX, status="failed")]),
    Listing([KEY]),
    Listing([RULE]),
    Listing([TOKEN]),
    Listing(),
)


class Page(HTMLParser):
    """What a browser would see: each tag with its attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, Mapping[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def page(thing: Any) -> Page:
    return Page(thing._repr_html_())


def styles(html: str) -> list[dict[str, str]]:
    """The declarations of each element that has some."""
    found = [style for _, attrs in Page(html).tags if (style := attrs.get("style"))]
    return [
        {name.strip(): value.strip() for name, _, value in (part.partition(":") for part in style.split(";"))}
        for style in found
    ]


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, contrast ratio."""
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_the_measure_of_contrast() -> None:
    """It gives the known extremes."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("status", [*Status, "hibernating"])
def test_a_status_is_readable_everywhere(status: str) -> None:
    """White on a ground of its own with 4.5:1 (WCAG AA), whatever the page's colours are."""
    (badge,) = (s for s in styles(display.container_html(evolve(BOX, status=status))) if "#" in str(s))
    assert contrast(badge["color"], badge["background"]) >= 4.5


def test_each_known_status_has_its_colour() -> None:
    """No two look alike."""
    assert set(display.GROUNDS) == set(Status)
    assert len(set(display.GROUNDS.values())) == len(Status)


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: type(thing).__name__)
def test_all_else_has_the_colours_of_the_page(thing: Any) -> None:
    """Letters without a ground of their own have no colour of their own either, and the other way round."""
    for declared in styles(thing._repr_html_()):
        colour, ground = declared.get("color", "inherit"), declared.get("background", "none")
        assert (colour == "inherit") == (ground == "none")


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: type(thing).__name__)
def test_it_stands_by_itself(thing: Any) -> None:
    """A few plain elements, well nested: no style sheet, no script, nothing that is loaded or handled."""
    for tag, attrs in page(thing).tags:
        assert tag in {"div", "p", "pre", "code", "span", "table", "thead", "tbody", "tr", "th", "td"}
        assert set(attrs) <= {"style"}
        assert "url(" not in str(attrs)


def test_foreign_texts_are_escaped() -> None:
    """Every text of every kind is shown as it is, and none makes an element."""
    fault = Fault(HOSTILE, HOSTILE)
    names = ("id", "name", "status", "instance_type", "hostname")
    told = ("ssh_command", "external_ip", "status_reason")
    texts: dict[str, Any] = dict.fromkeys((*names, *told), HOSTILE)
    hostile: list[Any] = [
        evolve(BOX, **texts),
        evolve(KEY, name=HOSTILE, public_key=f"{HOSTILE} {HOSTILE} {HOSTILE}"),
        evolve(TOKEN, id=HOSTILE, name=HOSTILE, scopes={HOSTILE: (HOSTILE,)}),
        evolve(SESSION, user_id=HOSTILE, username=HOSTILE, display_name=HOSTILE),
        evolve(MOUNTS, mount_paths=(HOSTILE,)),
        ecompute.InvalidRequest(HOSTILE, status=400, operation=HOSTILE, request_id=HOSTILE, fields=(fault,)),
        CommandResult(0, HOSTILE.encode(), HOSTILE.encode()),
        Listing([HOSTILE]),
    ]
    hostile += [Listing([thing]) for thing in hostile[:3]]
    for thing in hostile:
        seen = page(thing)
        assert "alert" in seen.text
        assert {tag for tag, _ in seen.tags}.isdisjoint({"script", "b"})
        assert all(set(attrs) <= {"style"} for _, attrs in seen.tags)
    assert page(hostile[0]).text.count(HOSTILE) == len(texts)


def test_a_container_tells_what_is_known() -> None:
    """Usage, the command to log in, the way it is reached; nothing for what is not known."""
    text = page(BOX).text
    for told in ("first", "running", "tiny, amd64", "131 of 512 MB", "0.3 of 5 GB", "ssh root@127.77.3.9"):
        assert told in text
    assert "2026-03-01 12:30 UTC" in text
    bare = page(ecompute.Container(id="abc12345", name="", status="pending"))
    assert bare.texts == ["status", "pending", "id", "abc12345"]
    failed = page(evolve(BOX, status="failed", status_reason="The guest did not boot"))
    assert "The guest did not boot" in failed.text


def test_a_table_has_the_columns_that_tell_something() -> None:
    """One for a reason only where something failed."""
    assert "reason" not in page(Listing([BOX])).texts
    assert "reason" in page(Listing([BOX, evolve(BOX, status_reason="no host")])).texts


def test_a_long_table_is_cut() -> None:
    """It tells how many are left out."""
    many = Listing([evolve(BOX, id=f"abc{n:05}") for n in range(display.MAX_ROWS + 7)])
    seen = page(many)
    assert sum(tag == "tr" for tag, _ in seen.tags) == display.MAX_ROWS + 1
    assert "… and 7 more" in seen.text


def test_lists_of_other_things_are_shown_as_text() -> None:
    """Mixed or unknown kinds have no columns; an empty list says so."""
    assert page(Listing([BOX, KEY])).text == repr(Listing([BOX, KEY]))
    assert page(Listing([1, 2])).text == "[1,\n 2]"
    assert page(Listing()).text == "none"


def test_secrets_are_not_shown() -> None:
    """Neither a new token's nor a session's; a new token says where it is."""
    for thing in (TOKEN, SESSION, Listing([TOKEN])):
        assert SECRET not in thing._repr_html_()
        assert SECRET not in repr(thing)
    assert "in .token" in page(TOKEN).text
    assert "in .token" not in page(evolve(TOKEN, token=None)).text


def test_an_error_is_one_box() -> None:
    """The class, the sentence with the next step, the operation and the request's id."""
    text = page(FORBIDDEN).text
    assert text.startswith(f"Forbidden  {FORBIDDEN}")
    assert "'delete' on 'compute.u1.containers.abc12345'" in text
    assert "req-17" in page(FORBIDDEN).texts
    faults = (Fault("name", "must not be empty"), Fault("memory_mb", "must be at least 64"))
    invalid = ecompute.InvalidRequest("no", status=400, fields=faults)
    assert "name must not be empty\nmemory_mb must be at least 64" in page(invalid).texts
    assert page(ecompute.Closed("The view is closed.")).texts == ["Closed", " The view is closed."]


def test_a_command_shows_its_end() -> None:
    """Its exit status, and the end of what it wrote; also in the error of one that failed."""
    result = CommandResult(3, b"x" * 10_000 + b"\xffEND", b"no such file")
    failed = ecompute.CommandFailed("The command ended with status 3.", result=result)
    for thing in (result, failed):
        seen = page(thing)
        assert "3" in seen.texts
        assert "no such file" in seen.texts
        output = next(text for text in seen.texts if text.endswith("END"))
        assert len(output) == display.MAX_OUTPUT + len("… ")
    assert "output" not in page(CommandResult(0, b"", b"")).texts


def test_every_resource_that_a_client_gives_is_shown() -> None:
    """A new kind of resource needs its lines, or a reason to have none."""
    answers = {"ContainerList", "SSHKeyList", "IngressRuleList", "TokenList", "Acknowledgement"}
    kinds = {
        value
        for name, value in vars(resources).items()
        if isinstance(value, type) and value.__module__ == resources.__name__ and name not in answers
    }
    assert kinds == set(cells.ALONE)


def test_a_client_s_things_in_a_notebook(server: RunningServer) -> None:
    """IPython finds HTML for what a client gives: containers that act, views, open and closed, and errors."""
    show: Any = DisplayFormatter()  # has no types
    with server.client() as client, client.temporary() as box:
        with client.watch() as view:
            shown: list[Any] = [
                box,
                client.containers.list(),
                client.session(),
                client.mounts.get(box.id),
                view,
            ]
            for thing in shown:
                bundle, _ = show.format(thing)
                assert "<table" in bundle["text/html"]
                assert bundle["text/plain"]
            assert box.id in view._repr_html_()
        assert "Closed" in page(view).texts
        with pytest.raises(ecompute.NotFound) as caught:
            client.containers.get("zzzzzzzz")
        bundle, _ = show.format(caught.value)
        assert "NotFound" in Page(bundle["text/html"]).texts


def test_only_notebooks_load_it() -> None:
    """A program that shows nothing pays nothing."""
    code = "import ecompute, sys; ecompute.Container; ecompute.NotFound; ecompute.Watch; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(re.findall(r"ecompute\.\w+", done.stdout))
    assert "ecompute.shown" in loaded
    assert loaded.isdisjoint({"ecompute.display", "ecompute.cells", "ecompute.live"})


@pytest.mark.parametrize("seconds", [10**15, -(10**15), 10**30])
def test_a_time_beyond_the_calendar(seconds: int) -> None:
    """Is told as what it is, in a list and alone."""
    token = evolve(TOKEN, expires_at=seconds, last_used_at=seconds)
    for page in (display.html(token), display.html([token])):
        assert page.count(f"{seconds} seconds after 1970") == 2


def test_a_moment_before_the_calendar() -> None:
    """Times with an offset may lie outside of it in UTC."""
    first = datetime.fromisoformat("0001-01-01T00:00:00+14:00")
    assert "0001-01-01T00:00:00+14:00" in display.html(evolve(BOX, created_at=first))
