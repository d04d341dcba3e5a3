"""Containers by the command: make, list, choose, start, stop, delete."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from ecompute_server.testing import RunningServer, running_server

from .conftest import PATIENCE, User, ended


def test_the_life_of_a_container(user: User, key_file: Path) -> None:
    """By name and by id; what programs read is the API's own form."""
    made = user.ecompute("create", "web", "--ssh", "--type", "tiny", "--mount", "/root", "--mount", "/data")
    assert made.code == 0, made
    assert str(key_file) in made.error
    id_ = made.output.strip()
    (box,) = user.ecompute("ls", "--json").json
    assert (box["id"], box["name"], box["status"], box["ssh_enabled"]) == (id_, "web", "running", True)
    assert user.ecompute("show", "web", "--json").json == box
    assert user.ecompute("mounts", "ls", id_).output == "/root\n/data\n"
    headings, row = user.ecompute("ls").output.splitlines()
    assert headings.split()[:3] == ["NAME", "ID", "STATUS"]
    assert row.split()[:3] == ["web", id_, "running"]
    assert user.ecompute("stop", id_, "--json").json[0]["status"] == "stopped"
    assert user.ecompute("start", "web").output == f"web ({id_}) is running.\n"
    assert user.ecompute("rm", "web").output == f"web ({id_}) is deleted.\n"
    assert user.ecompute("ls", "--quiet").output == ""


def test_a_name_of_two_is_an_error_and_an_id_wins(user: User, key_file: Path) -> None:
    """The error lists the candidates, and nothing was done to any of them."""
    first = user.ecompute("create", "twin", "--no-wait").output.strip()
    second = user.ecompute("create", "twin", "--no-wait").output.strip()
    named_like_it = user.ecompute("create", first, "--no-wait").output.strip()
    refused = user.ecompute("rm", "twin", named_like_it)
    assert refused.code == 2
    assert first in refused.sentence
    assert second in refused.sentence
    assert user.ecompute("rm", first).output == f"twin ({first}) is deleted.\n"
    missing = user.ecompute("rm", second, "nobody", named_like_it)
    assert missing.code == 3
    assert "nobody" in missing.sentence
    assert set(user.ecompute("ls", "-q").output.split()) == {second, named_like_it}
    assert user.ecompute("rm", second, named_like_it, second).output.count("is deleted") == 2


def test_deleting_asks_at_a_terminal(user: User, key_file: Path) -> None:
    """Nothing but yes deletes; --yes does not ask."""
    id_ = user.ecompute("create", "web").output.strip()
    for answer, code in (("n", 1), ("", 1), ("y", 0)):
        asked = user.at_a_terminal("rm", "web")
        asked.expect_exact(f"Delete web ({id_}) and all data? [y/N] ")
        asked.sendline(answer)
        assert ended(asked).code == code
    id_ = user.ecompute("create", "web", "--no-wait").output.strip()
    assert f"web ({id_}) is deleted." in ended(user.at_a_terminal("rm", "web", "--yes")).output


def test_a_terminal_shows_how_far_it_is_and_what_came_of_it(user: User, key_file: Path) -> None:
    """In colours unless they are not wanted, within the terminal's width."""
    shown = ended(user.at_a_terminal("create", "web"))
    assert shown.code == 0
    assert "\x1b[32mrunning" in shown.output
    assert "\x1b[3" not in ended(user.at_a_terminal("ls", NO_COLOR="1")).output
    narrow = ended(user.at_a_terminal("ls", columns=40, NO_COLOR="1")).output
    assert "running" in narrow
    assert "STORAGE" not in narrow


def test_a_failed_boot_has_its_own_code(stranger: User, key_file: Path) -> None:
    """It tells why, and leaves or deletes the container as asked."""
    with running_server() as server:
        environment = {"ECOMPUTE_URL": server.url, "ECOMPUTE_TOKEN": server.token}
        user = User(stranger.home, {**stranger.environment, **environment})
        server.faults.fail_boot("the kernel is upset")
        failed = user.ecompute("create", "web")
        assert failed.code == 7
        assert "the kernel is upset" in failed.error
        (id_,) = user.ecompute("ls", "-q").output.split()
        assert f"ecompute rm {id_}" in failed.error
        server.faults.fail_boot("again")
        assert user.ecompute("create", "web", "--delete-on-failure").code == 7
        assert user.ecompute("ls", "-q").output.split() == [id_]
        server.faults.slow_boot(PATIENCE)
        late = user.ecompute("create", "late", "--timeout", "0.5")
        assert late.code == 6


def test_an_answer_that_was_lost_can_be_asked_for_again(stranger: User, key_file: Path) -> None:
    """By the key that the error names: there is one container in the end."""
    with running_server() as server:
        environment = {"ECOMPUTE_URL": server.url, "ECOMPUTE_TOKEN": server.token}
        user = User(stranger.home, {**stranger.environment, **environment})
        user.ecompute("keys", "add")
        with server.faults.lose_answer("containers.create", times=None):
            lost = user.ecompute("create", "web", "--timeout", "3")
        assert lost.code == 9, lost
        key = lost.sentence.split("--idempotency-key ")[1].split()[0]
        id_ = user.ecompute("create", "web", "--idempotency-key", key).output.strip()
        assert user.ecompute("ls", "-q").output.split() == [id_]


def test_ctrl_c_while_it_boots_tells_what_was_begun(stranger: User, key_file: Path) -> None:
    """No traceback; the container goes on and is named."""
    with running_server() as server, server.client() as client, client.events() as feed:
        environment = {"ECOMPUTE_URL": server.url, "ECOMPUTE_TOKEN": server.token}
        user = User(stranger.home, {**stranger.environment, **environment})
        server.faults.slow_boot(PATIENCE)
        next(feed)
        with user.begin("create", "web") as child:
            # the command follows the boot by the events feed, as this test does: that it waits is told by its
            # connection, and a moment before or after makes no difference to what has to come of it
            id_ = next(feed).container_id
            child.send_signal(signal.SIGINT)
            output, error = child.communicate(timeout=PATIENCE)
        # a shell tells both as 130: Python ends by the signal where the interrupt met generated code
        assert child.returncode in (130, -signal.SIGINT)
        assert output == ""
        assert "Traceback" not in error
        assert id_ in error or "--idempotency-key" in error
        assert client.containers.get(id_).status in ("pending", "initializing")


def test_an_impatient_ctrl_c_is_answered_as_well(stranger: User, key_file: Path) -> None:
    """However often it is pressed while the create is on its way: what was begun is told."""
    with running_server() as server, server.client() as client, client.events() as feed:
        environment = {"ECOMPUTE_URL": server.url, "ECOMPUTE_TOKEN": server.token}
        user = User(stranger.home, {**stranger.environment, **environment})
        server.faults.slow_boot(PATIENCE)
        next(feed)
        with user.begin("create", "web") as child:
            id_ = next(feed).container_id
            while child.poll() is None:
                child.send_signal(signal.SIGINT)
            output, error = child.communicate(timeout=PATIENCE)
        assert output == ""
        assert id_ in error or "--idempotency-key" in error


@pytest.mark.parametrize("arguments", [["ls"], ["ls", "--json"], ["show", "web"]], ids=" ".join)
def test_a_reader_who_leaves_is_no_accident(user: User, key_file: Path, arguments: list[str]) -> None:
    """As in `ecompute ls | head -1`: silence, and the code of a broken pipe."""
    assert user.ecompute("create", "web", "--no-wait").code == 0
    with user.begin(*arguments) as child:
        assert child.stdout is not None
        child.stdout.close()
        assert child.stderr is not None
        assert child.stderr.read() == ""
        assert child.wait(PATIENCE) == 141


@pytest.mark.parametrize("arguments", [["ls"], ["ls", "--json"]], ids=" ".join)
def test_a_full_disk_is_one_sentence(user: User, key_file: Path, arguments: list[str]) -> None:
    """Not the interpreter's own words at its end."""
    assert user.ecompute("create", "web", "--no-wait").code == 0
    with Path("/dev/full").open("w") as full, user.begin(*arguments, stdout=full) as child:
        assert child.stderr is not None
        assert child.stderr.read() == "ecompute: No space left on device.\n"
        assert child.wait(PATIENCE) == 1


def test_what_a_server_tells_cannot_draw_on_the_terminal(user: User, key_file: Path) -> None:
    """Neither markup nor control characters; a name is one line whatever is in it."""
    made = user.ecompute("create", "[red]a\u00e9[/] *", "--no-wait")
    assert made.code == 0
    shown = user.ecompute("ls")
    assert "[red]aé[/] *" in shown.output
    assert "[red]aé[/] *" in ended(user.at_a_terminal("ls")).output
    plain = user.ecompute("ls", LANG="C", PYTHONIOENCODING="ascii")
    assert plain.code == 0
    assert "[red]a?[/] *" in plain.output
    assert user.ecompute("ls", "--json").json[0]["name"] == "[red]aé[/] *"
    unknown = user.ecompute("show", "\x1b[31m\nforged")
    assert unknown.code == 3
    assert "\x1b" not in unknown.sentence


def test_a_token_that_sees_one_container_reaches_it(
    host: RunningServer, stranger: User, key_file: Path
) -> None:
    """By its id, without listing; what it may not do names the scope and has its own code."""
    owner = User(
        stranger.home, {**stranger.environment, "ECOMPUTE_URL": host.url, "ECOMPUTE_TOKEN": host.token}
    )
    id_ = owner.ecompute("create", "web").output.strip()
    token = host.api_token({f"compute.<uid>.containers.{id_}": ["read"]})
    narrow = User(stranger.home, {**owner.environment, "ECOMPUTE_TOKEN": token})
    assert narrow.ecompute("show", id_, "--json").json["name"] == "web"
    refused = narrow.ecompute("stop", id_)
    assert refused.code == 4
    assert "update" in refused.sentence
    assert narrow.ecompute("ls").code == 4
