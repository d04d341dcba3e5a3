"""The file of profiles: what is read, what is refused, and what writing leaves alone."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecompute import locking, profiles
from ecompute.errors import InvalidArgument

from .shown import shown


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ecompute" / "config.toml"


def write(file: Path, text: str, mode: int = 0o600) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    file.chmod(mode)
    return file


def test_no_file_is_an_empty_one(file: Path) -> None:
    """Nobody needs profiles."""
    found = profiles.load(file)
    assert (found.path, found.default, found.named) == (file, None, {})
    with pytest.raises(InvalidArgument, match="has no profile 'work': there is none at all"):
        found.get("work")


def test_where_the_file_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own variable, then where programs keep their settings; a relative folder does not count."""
    assert profiles.default_path({"ECOMPUTE_CONFIG": "/a/b.toml"}) == Path("/a/b.toml")
    assert profiles.default_path({"XDG_CONFIG_HOME": "/xdg"}) == Path("/xdg/ecompute/config.toml")
    usual = Path("~/.config/ecompute/config.toml").expanduser()
    assert profiles.default_path({}) == usual
    assert profiles.default_path({"XDG_CONFIG_HOME": "xdg"}) == usual
    monkeypatch.setattr("sys.platform", "win32")
    assert profiles.default_path({"APPDATA": "/app"}) == Path("/app/ecompute/config.toml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = 1", "the key 'a' is unknown"),
        ("default_profile = 1", "default_profile must be a text"),
        ('default_profile = "x"', "default_profile names 'x', which is not there"),
        ("profiles = 1", "profiles must be tables"),
        ("[profiles]\nwork = 1", "'work' must be a table"),
        ('[profiles.w]\nurl = "u"\ntokne = "x"', "in the profile 'w', the key 'tokne' is unknown"),
        ("[profiles.w]\nurl = 1", "in the profile 'w', url must be a text that is not empty"),
        ('[profiles.w]\nurl = "u"\nproxy = " "', "proxy must be a text that is not empty"),
        ('[profiles.w]\nurl = "u"\ntimeout = "1"', "timeout must be a number of seconds above zero"),
        ('[profiles.w]\nurl = "u"\nread_timeout = true', "read_timeout must be a number"),
        ('[profiles.w]\nurl = "u"\nwrite_timeout = nan', "write_timeout must be a number"),
        ("[profiles.w]", "in the profile 'w', the url is missing"),
        ('[profiles.w]\nurl = "u"\ntoken = "a"\ncredential_helper = "b"', "only one can be meant"),
        ('[profiles.w]\nurl = "u"\nclient_key = "k"', "a client_key without a client_cert"),
        ('[profiles.w]\nurl = "u"\ntoken = "a b"', "the token must be printable ASCII"),
        ('[profiles.w]\nurl = "u\ntoken = "s3cret"', "line 2 is no TOML"),
        ('[profiles.w]\nurl = """s3cret', "line 2 is no TOML"),
        ('[profiles.w]\nurl = "u"\n\n[profiles.w]', "line 4 is no TOML"),
        (f"a = {'[' * 100_000}", "it is nested too deeply"),
        (f'[profiles.w]\nurl = "u"\ntimeout = {"9" * 5000}', "a number has too many digits"),
        ('[profiles.w]\nurl = "u"\nca_file = "~no-such-user/x"', "The home folder in '~no-such-user/x'"),
    ],
)
def test_mistakes_are_told_by_name_or_line(file: Path, text: str, expected: str) -> None:
    """Without what stands there, which may be a secret."""
    write(file, text)
    with pytest.raises(InvalidArgument) as caught:
        profiles.load(file)
    assert expected in str(caught.value)
    assert str(caught.value).startswith(f"{file}: ")
    assert "s3cret" not in shown(caught.value)


def test_bytes_that_are_no_text(file: Path) -> None:
    """The line is told."""
    write(file, "").write_bytes(b"# a\n# \xff\n")
    with pytest.raises(InvalidArgument, match="line 2 is no UTF-8"):
        profiles.load(file)


TOKEN = '[profiles.w]\nurl = "https://x"\ntoken = "s3cret"\n'
NO_TOKEN = '[profiles.w]\nurl = "https://x"\n'
PASSWORD = '[profiles.w]\nurl = "https://x"\nproxy = "http://u:s3cret@p"\n'


@pytest.mark.parametrize(
    ("text", "mode", "fine"),
    [
        (TOKEN, 0o600, True),
        (TOKEN, 0o400, True),
        (TOKEN, 0o640, False),
        (TOKEN, 0o604, False),
        (TOKEN, 0o620, False),
        (PASSWORD, 0o644, False),
        (NO_TOKEN, 0o644, True),
        (NO_TOKEN, 0o664, False),
        (NO_TOKEN, 0o646, False),
    ],
)
def test_who_else_may_read_it(file: Path, text: str, mode: int, fine: bool) -> None:
    """A secret is for its owner alone; and what others can change could name their own server."""
    write(file, text, mode)
    if fine:
        assert profiles.load(file).named["w"].url == "https://x"
        return
    with pytest.raises(InvalidArgument) as caught:
        profiles.load(file)
    assert str(caught.value).endswith(f": chmod 600 {file}")
    assert "s3cret" not in shown(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else(file: Path) -> None:
    """It is refused, whatever its mode."""
    os.chown(write(file, NO_TOKEN), 12345, 12345)
    with pytest.raises(InvalidArgument, match="belongs to another user"):
        profiles.load(file)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """The system's reason is told."""
    with pytest.raises(InvalidArgument, match="cannot be read: Is a directory"):
        profiles.load(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_or_a_device_is_no_file(tmp_path: Path) -> None:
    """Nobody waits for a writer, and nothing endless is read."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    for place in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(InvalidArgument, match="cannot be read: it is no regular file"):
            profiles.load(place)
        with pytest.raises(InvalidArgument, match="cannot be read: it is no regular file"):
            profiles.save("w", url="https://x", path=place)


def test_a_file_that_is_too_large(file: Path) -> None:
    """It is not read, and none is made."""
    write(file, NO_TOKEN)
    os.truncate(file, profiles.MOST + 1)
    with pytest.raises(InvalidArgument, match="cannot be read: it is too large"):
        profiles.load(file)
    write(file, NO_TOKEN + "#" * (profiles.MOST - len(NO_TOKEN)))
    assert profiles.load(file).named["w"].url == "https://x"
    with pytest.raises(InvalidArgument, match="would become too large"):
        profiles.save("v", url="https://x", path=file)
    assert profiles.load(file).named.keys() == {"w"}


@pytest.mark.parametrize("path", ["a\0b", "a\ud800b", 3, ["x"]])
def test_what_is_no_path(path: Any) -> None:
    """It is told in one printable sentence."""
    for act in (
        lambda: profiles.load(path),
        lambda: profiles.save("w", url="https://x", path=path),
        lambda: profiles.remove("w", path=path),
        lambda: profiles.remove_token("w", path=path),
    ):
        with pytest.raises(InvalidArgument, match=r"it is no path\.|path must be a path\.") as caught:
            act()
        assert str(caught.value).isprintable()


def test_a_name_that_is_no_text(file: Path) -> None:
    """It is told, whatever it is."""
    wrong: Any = ["w"]
    for act in (
        lambda: profiles.load(file).get(wrong),
        lambda: profiles.remove(wrong, path=file),
        lambda: profiles.remove_token(wrong, path=file),
    ):
        with pytest.raises(InvalidArgument, match="The name of a profile must be a text"):
            act()
    assert not file.exists()


def test_the_first_profile_is_the_default(file: Path) -> None:
    """It is written into a new file that only its owner can read, in a folder of the same kind."""
    assert profiles.save("work", url="https://x", token="t0ken\n", path=file) == file
    found = profiles.load(file)
    assert found.default == "work"
    work = found.named["work"]
    assert work.token is not None
    assert (work.url, work.token.reveal()) == ("https://x", "t0ken")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    profiles.save("home", url="https://y", path=file)
    assert profiles.load(file).default == "work"
    profiles.save("home", url="https://y", make_default=True, path=file)
    assert profiles.load(file).default == "home"
    assert {entry.name for entry in file.parent.iterdir()} == {"config.toml", ".config.toml.lock"}
    assert stat.S_IMODE((file.parent / ".config.toml.lock").stat().st_mode) == 0o600


FULL = """\
# what I work with
default_profile = "work"  # mostly

[profiles.work]  # the big one
# asked of Bob
url = "https://old"
timeout = 5
token = "old"

# a friend's
[profiles."a.b c"]
url = "https://friend"
"""


def test_writing_changes_only_what_it_must(file: Path) -> None:
    """Comments, order and all other keys stay."""
    write(file, FULL)
    profiles.save("work", url="https://new", token="new", path=file)
    expected = FULL.replace("https://old", "https://new").replace('"old"', '"new"')
    assert file.read_text() == expected
    profiles.save("a.b c", url="https://friend", token="t", ca_file="/ca.pem", path=file)
    header = '[profiles."a.b c"]\n'
    assert file.read_text() == expected.replace(header, f'{header}token = "t"\nca_file = "/ca.pem"\n')


def test_removing_takes_only_its_lines(file: Path) -> None:
    """The comment above the next profile stays with that, and the default goes with its profile."""
    write(file, FULL)
    profiles.remove("work", path=file)
    assert file.read_text() == (
        '# what I work with\n\n# a friend\'s\n[profiles."a.b c"]\nurl = "https://friend"\n'
    )
    profiles.remove("a.b c", path=file)
    assert profiles.load(file).named == {}
    with pytest.raises(InvalidArgument, match="has no profile 'work'"):
        profiles.remove("work", path=file)


def test_a_token_is_taken_out_alone(file: Path) -> None:
    """All else stays, the default as well; where there is none nothing changes."""
    write(file, FULL)
    assert profiles.remove_token("work", path=file) == file
    expected = FULL.replace('token = "old"\n', "")
    assert file.read_text() == expected
    found = profiles.load(file)
    assert (found.default, found.named["work"].has_credential) == ("work", False)
    for name in ("work", "a.b c"):
        profiles.remove_token(name, path=file)
    assert file.read_text() == expected
    with pytest.raises(InvalidArgument, match="has no profile 'nonesuch'"):
        profiles.remove_token("nonesuch", path=file)
    inline = 'profiles.w = { url = "https://x", token = "s3cret" }\n'
    write(file, inline)
    with pytest.raises(InvalidArgument, match="edit it by hand") as caught:
        profiles.remove_token("w", path=file)
    assert file.read_text() == inline
    assert "s3cret" not in shown(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        'profiles.work.url = "https://old"\n',
        'profiles = { work = { url = "https://old" } }\n',
        '[profiles]\nwork = { url = "https://old" }\n',
        '[profiles.work]\nurl = """\nhttps://old"""\n',
        '[profiles.work]\nurl = "https://old"\n[profiles.work.more]\n',
    ],
)
def test_an_unusual_form_is_refused_and_not_spoiled(file: Path, text: str) -> None:
    """What cannot be changed line by line stays as it is."""
    write(file, text)
    with pytest.raises(InvalidArgument) as caught:
        profiles.save("work", url="https://new", token="s3cret", path=file)
    assert file.read_text() == text
    assert "s3cret" not in shown(caught.value)


def test_a_token_beside_a_helper_is_not_written(file: Path) -> None:
    """The file could not be read any more."""
    write(file, '[profiles.w]\nurl = "https://x"\ncredential_helper = "pass x"\n')
    before = file.read_text()
    with pytest.raises(InvalidArgument, match="only one can be meant"):
        profiles.save("w", url="https://x", token="s3cret", path=file)
    assert file.read_text() == before


def test_a_credential_does_not_move_to_another_server(file: Path) -> None:
    """Who names another address gives another token, too."""
    profiles.save("w", url="https://one", token="t", path=file)
    profiles.save("w", url="https://one:443/", path=file)
    with pytest.raises(InvalidArgument, match="has a credential for 'https://one:443/': give one for"):
        profiles.save("w", url="https://two", path=file)
    profiles.save("w", url="https://two", token="u", path=file)
    assert profiles.load(file).named["w"].url == "https://two"


def test_a_link_stays_a_link(file: Path, tmp_path: Path) -> None:
    """Who keeps settings elsewhere finds them changed there."""
    real = write(tmp_path / "elsewhere.toml", NO_TOKEN)
    file.parent.mkdir()
    file.symlink_to(real)
    profiles.save("w", url="https://new", path=file)
    assert file.is_symlink()
    assert profiles.load(real).named["w"].url == "https://new"


def test_a_file_that_is_refused_is_not_changed(file: Path) -> None:
    """First it has to be safe."""
    write(file, TOKEN, 0o644)
    for change in (lambda: profiles.save("w", url="u", path=file), lambda: profiles.remove("w", path=file)):
        with pytest.raises(InvalidArgument, match="chmod 600"):
            change()
    assert file.read_text() == TOKEN


@pytest.mark.parametrize(
    ("name", "url", "token"),
    [
        ("", "u", None),
        ("a\nb", "u", None),
        ("a", "u\n[x]", None),
        ("a", "https://u:s3cret@x\n", None),
        ("a", "https://u:s3cret@x", None),
        ("a", "ecloud_s3cret", None),
        ("a", "u", "s3cret s3cret"),
        ("a", "u", ""),
    ],
)
def test_what_cannot_be_written(file: Path, name: str, url: str, token: str | None) -> None:
    """It is told, and nothing is made."""
    with pytest.raises(InvalidArgument) as caught:
        profiles.save(name, url=url, token=token, path=file)
    assert not file.exists()
    assert "s3cret" not in shown(caught.value)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """The system's reason is told, and no token with it."""
    write(tmp_path / "file", "")
    with pytest.raises(InvalidArgument, match=r"cannot be (read|written): Not a directory") as caught:
        profiles.save("w", url="u", token="s3cret", path=tmp_path / "file" / "config.toml")
    assert "s3cret" not in shown(caught.value)


printable = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20)


@settings(deadline=None, max_examples=50)
@given(names=st.lists(printable, min_size=1, max_size=4, unique=True), url=printable, data=st.data())
def test_whatever_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], url: str, data: st.DataObject
) -> None:
    """Any names and values, in any order, and removed again."""
    file = tmp_path_factory.mktemp("profiles") / "config.toml"
    for name in names:
        profiles.save(name, url=f"https://x/{url}{name}", token="t", path=file)
    for name in names:
        assert profiles.load(file).get(name).url == f"https://x/{url}{name}"
    gone = data.draw(st.sampled_from(names))
    profiles.remove(gone, path=file)
    assert set(profiles.load(file).named) == {*names} - {gone}


def test_a_reader_sees_the_old_file_or_the_new_one(file: Path) -> None:
    """It is replaced at once."""
    profiles.save("w", url="https://0", path=file)
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            if not profiles.load(file).named["w"].url.startswith("https://"):
                raise AssertionError
        result.append(True)

    result: list[bool] = []
    thread = threading.Thread(target=read)
    thread.start()
    for number in range(50):
        profiles.save("w", url=f"https://{number}", path=file)
    done.set()
    thread.join()
    assert result == [True]


SAVING = """
import sys, threading
if sys.argv[1] == "no-fcntl":
    sys.modules["fcntl"] = None
from ecompute import profiles

def save(own):
    for number in range(5):
        profiles.save(f"{sys.argv[2]}-{own}-{number}", url="https://x", token="t", path=sys.argv[3])

threads = [threading.Thread(target=save, args=(own,)) for own in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.mark.parametrize("system", ["usual", "no-fcntl"])
def test_nothing_is_lost_when_several_write(file: Path, system: str) -> None:
    """Three threads of each of two processes, also where the system knows no locks."""
    commands = [[sys.executable, "-c", SAVING, system, own, str(file)] for own in ("a", "b")]
    children = [subprocess.Popen(command, stderr=subprocess.PIPE) for command in commands]
    assert [child.communicate()[1] for child in children] == [b"", b""]
    assert len(profiles.load(file).named) == 30
    locks = [entry.name for entry in file.parent.iterdir() if entry.name != file.name]
    assert locks == ([] if system == "no-fcntl" else [".config.toml.lock"])


def test_a_lock_that_is_never_let_go(file: Path) -> None:
    """The wait has an end, and the sentence names the lock."""
    file.parent.mkdir()
    told = r"changed by another program.* remove .*\.config\.toml\.lock"
    with locking.locked(file), pytest.raises(InvalidArgument, match=told), locking.locked(file, patience=0):
        pass
    with locking.locked(file, patience=0):
        pass
