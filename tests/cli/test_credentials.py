"""Who the commands speak for: logins, profiles, tokens, and what is said when there is nothing."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from ecompute_server.testing import OtherUser, RunningServer

from .conftest import PASSWORD, User, ended


def test_logging_in_is_asked_at_a_terminal_and_remembered(stranger: User, host: RunningServer) -> None:
    """The password is not shown, the profile is the user's alone, and logging out ends the session."""
    bob = host.add_user("bob", PASSWORD)
    asked = stranger.at_a_terminal("login", host.url)
    asked.expect_exact(f"User for {host.url}: ")
    asked.sendline("bob")
    asked.expect_exact(f"Password of bob for {host.url}: ")
    asked.sendline(PASSWORD)
    told = ended(asked)
    assert told.code == 0, told
    assert PASSWORD not in told.output
    file = stranger.home / ".config" / "ecompute" / "config.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stranger.ecompute("whoami", "--json").json["user_id"] == bob.user_id
    (profile,) = stranger.ecompute("profiles", "ls", "--json").json
    assert (profile["url"], profile["default"]) == (host.url, True)
    session = file.read_text().split('token = "')[1].split('"')[0]
    assert session not in stranger.ecompute("profiles", "ls").output
    assert stranger.ecompute("logout").code == 0
    assert session not in file.read_text()
    over = stranger.ecompute("whoami")
    assert (over.code, "ecompute login" in over.sentence) == (4, True)
    (kept,) = stranger.ecompute("profiles", "ls", "--json").json
    assert kept == profile
    again = stranger.ecompute("login", "--user", "bob", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert again.code == 0, again
    assert stranger.ecompute("whoami", "--json").json["user_id"] == bob.user_id
    gone = {"ECOMPUTE_URL": host.url, "ECOMPUTE_TOKEN": session}
    assert stranger.ecompute("whoami", **gone).code == 4


def test_scripts_log_in_by_standard_input(stranger: User, host: RunningServer) -> None:
    """Several profiles stay apart; a wrong password changes nothing and has its own code."""
    host.add_user("carol", PASSWORD)
    login = ("login", host.url, "--user", "carol", "--password-stdin")
    wrong = stranger.ecompute(*login, stdin="guess\n")
    assert wrong.code == 4
    assert stranger.ecompute("profiles", "ls").output == ""
    assert stranger.ecompute(*login, "--profile", "work", stdin=f"{PASSWORD}\n").code == 0
    second = stranger.ecompute(*login, "--profile", "play", stdin=f"{PASSWORD}\n")
    assert "ecompute profiles use" in second.error
    assert stranger.ecompute("--profile", "play", "whoami", "--json").json["username"] == "carol"
    assert stranger.ecompute("profiles", "use", "play").code == 0
    assert stranger.ecompute("profiles", "rm", "work").code == 0
    (left,) = stranger.ecompute("profiles", "ls", "--json").json
    assert (left["name"], left["default"]) == ("play", True)
    assert stranger.ecompute("--profile", "work", "ls").code == 2
    assert stranger.ecompute("login", host.url, "--user", "carol").code == 2


def test_a_token_comes_from_a_file_or_the_environment(
    stranger: User, host: RunningServer, tmp_path: Path
) -> None:
    """Never from the command line, which others can read."""
    file = tmp_path / "token"
    file.write_text(f"{host.token}\n")
    assert stranger.ecompute("ls", "--url", host.url, "--token-file", str(file)).code == 0
    assert stranger.ecompute("--token-file", str(file), "ls", ECOMPUTE_URL=host.url).code == 0
    refused = stranger.ecompute("ls", "--token", host.token)
    assert refused.code == 2
    assert host.token not in refused.error
    assert stranger.ecompute("ls", "--url", host.url, "--token-file", str(tmp_path / "none")).code == 2
    assert host.token not in stranger.ecompute("show", host.token, ECOMPUTE_URL=host.url).error


@pytest.mark.parametrize(("environment", "code"), [({}, 4), ({"ECOMPUTE_URL": "http://127.0.0.1:1"}, 4)])
def test_who_has_nothing_is_told_to_log_in(stranger: User, environment: dict[str, str], code: int) -> None:
    """In the words of the command, not in those of the library."""
    told = stranger.ecompute("ls", **environment)
    assert told.code == code
    assert "ecompute login" in told.sentence
    assert "base_url" not in told.sentence


def test_the_whole_line_that_logs_in_is_told(stranger: User, host: RunningServer) -> None:
    """With the server that has no credential yet, wherever its address comes from."""
    told = stranger.ecompute("ls", "--url", host.url)
    assert told.code == 4
    assert f"no credential for {host.url}: `ecompute login {host.url}` makes one" in told.sentence
    assert f"`ecompute login {host.url}`" in stranger.ecompute("ls", ECOMPUTE_URL=host.url).sentence
    host.add_user("dave", PASSWORD)
    login = ("login", host.url, "--user", "dave", "--password-stdin", "--profile", "work")
    assert stranger.ecompute(*login, stdin=f"{PASSWORD}\n").code == 0
    assert stranger.ecompute("logout").code == 0
    over = stranger.ecompute("--profile", "work", "ls")
    assert f"`ecompute login {host.url} --profile work`" in over.sentence


def test_who_gets_the_password_is_told_before_it_is_typed(stranger: User, host: RunningServer) -> None:
    """Also when the server comes from the environment, and the user name from the command line."""
    asked = stranger.at_a_terminal("login", "--user", "bob", ECOMPUTE_URL=host.url)
    asked.expect_exact(f"Password of bob for {host.url}: ")
    asked.sendintr()
    assert ended(asked).code == 130


def test_a_home_folder_that_is_unknown_is_told(user: User) -> None:
    """In one sentence, wherever a file may be named."""
    for arguments in (
        ("ls", "--token-file", "~no-such-user/token"),
        ("keys", "add", "~no-such-user/id.pub"),
        ("create", "box", "--key", "~no-such-user/id.pub"),
        ("ssh-config", "--output", "~no-such-user/config"),
        ("login", "http://x", "--user", "u", "--password-stdin", "--ca-file", "~no-such-user/ca.pem"),
    ):
        told = user.ecompute(*arguments)
        assert told.code == 2, told
        assert "home folder" in told.sentence


def test_a_server_that_is_away_has_its_own_code(user: User) -> None:
    """As has a word that is no command, and a pair of options that exclude each other."""
    assert user.ecompute("ls", "--quiet", "--json").code == 2
    assert user.ecompute("ls", ECOMPUTE_URL="http://127.0.0.1:1").code == 5
    assert user.ecompute("lss").code == 2
    assert user.ecompute("ls", "--timeout", "soon").code == 2


def test_the_key_of_a_container_is_chosen_by_file_name_or_id(
    user: User, key_file: Path, people: Callable[[], OtherUser]
) -> None:
    """A file is registered once, however often it is named; without any key it says how to make one."""
    private = key_file.with_suffix("")
    private.write_text("secret")
    assert "is registered" in user.ecompute("create", "a", "--key", str(private), "--no-wait").error
    again = user.ecompute("create", "b", "--key", str(key_file), "--key", "1000000", "--no-wait")
    assert again.code == 3
    (key,) = user.ecompute("keys", "ls", "--json").json
    assert key["name"] == "me@laptop"
    for one in ("me@laptop", str(key["id"]), str(key_file)):
        made = user.ecompute("create", "c", "--key", one, "--no-wait")
        assert (made.code, made.error) == (0, "")
    assert "already" in user.ecompute("keys", "add").output
    assert user.ecompute("keys", "rm", "me@laptop").code == 0
    private.unlink()
    key_file.unlink()
    nothing = user.ecompute("create", "d")
    assert nothing.code == 2
    assert "ssh-keygen" in nothing.sentence
    (user.home / ".ssh" / "id_rsa.pub").write_text("no key at all\n")
    assert user.ecompute("keys", "add").code == 2


def test_tokens_are_printed_once_and_narrow(user: User) -> None:
    """Standard output is the token alone; it does what was granted and no more."""
    made = user.ecompute("tokens", "create", "ci", "--scope", "compute.<uid>.containers=read")
    token = made.output.strip()
    assert token.startswith("ecloud_")
    assert token not in made.error
    assert user.ecompute("ls", ECOMPUTE_TOKEN=token).code == 0
    assert user.ecompute("keys", "ls", ECOMPUTE_TOKEN=token).code == 4
    (listed,) = user.ecompute("tokens", "ls", "--json").json
    assert listed["name"] == "ci"
    assert "token" not in listed
    assert user.ecompute("tokens", "create", "all").code == 2
    assert user.ecompute("tokens", "rm", "ci").code == 0
    assert user.ecompute("ls", ECOMPUTE_TOKEN=token).code == 4
