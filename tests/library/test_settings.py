"""Where a client's settings come from, and which token goes to which server."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Any

import pytest

import ecompute
from ecompute import profiles as profiles_module
from ecompute import settings
from ecompute.errors import InvalidArgument, MissingServer, MissingToken
from ecompute.settings import Given, Settings, checked_patience, hidden

from .shown import shown

WORK = "https://office.example.org"
HOME = "https://home.example.org"


def resolved(
    token: Any = None,
    base_url: str | None = None,
    *,
    environ: dict[str, str] | None = None,
    needs_token: bool = True,
    **more: Any,
) -> Settings:
    given = Given(token=hidden(token), base_url=base_url, **more)
    return settings.resolve(given, environ=environ or {}, needs_token=needs_token)


def told(found: Settings) -> tuple[str | None, str]:
    token = None if found.credential is None else found.credential.get(1).reveal()
    return token, found.base_url


@pytest.fixture
def profiles(tmp_path: Path) -> dict[str, str]:
    """Variables that lead to a file with two profiles, `work` the default, and one without a token."""
    file = tmp_path / "config.toml"
    file.write_text(
        f"""
        default_profile = "work"
        [profiles.work]
        url = "{WORK}/"
        token = "of-work"
        timeout = 7
        read_timeout = 2.5
        ca_file = "ca.pem"
        client_cert = "cert.pem"
        client_key = "~/key.pem"
        proxy = "http://proxy:3128"
        [profiles.home]
        url = "{HOME}"
        token = "of-home"
        [profiles.bare]
        url = "{HOME}"
        [profiles.helped]
        url = "{HOME}"
        credential_helper = "printf 'helped\\\\nmore'"
        """
    )
    file.chmod(0o600)
    return {"ECOMPUTE_CONFIG": str(file)}


@pytest.mark.parametrize("bad", ["1", b"1", [], True, -1, float("nan")])
def test_a_patience_that_is_none(bad: Any) -> None:
    """What waits for something that comes by itself takes seconds, 0 and None, and however many."""
    with pytest.raises(InvalidArgument, match="timeout must be a number of seconds above zero"):
        checked_patience(bad)
    assert (checked_patience(None), checked_patience(0)) == (None, 0)
    assert checked_patience(float("inf")) == checked_patience(10**400) == checked_patience(1e300)


def test_arguments_win_over_the_environment() -> None:
    """Each for itself."""
    environ = {"ECOMPUTE_TOKEN": "from-env", "ECOMPUTE_URL": "https://env.example.org"}
    assert told(resolved(environ=environ)) == ("from-env", "https://env.example.org")
    assert told(resolved("mine", environ=environ)) == ("mine", "https://env.example.org")
    assert told(resolved(None, "http://mine/", environ=environ)) == ("from-env", "http://mine")


def test_a_profile_gives_what_is_missing(profiles: dict[str, str]) -> None:
    """The default one, all of it; paths are relative to the file, or to the home folder."""
    found = resolved(environ=profiles)
    folder = Path(profiles["ECOMPUTE_CONFIG"]).parent
    assert told(found) == ("of-work", WORK)
    assert (found.timeout, found.connect_timeout) == (7.0, settings.CONNECT_TIMEOUT)
    assert (found.read_timeout, found.write_timeout) == (2.5, None)
    assert found.verify == str(folder / "ca.pem")
    assert found.cert == (str(folder / "cert.pem"), str(Path("~/key.pem").expanduser()))
    assert found.proxy == "http://proxy:3128"


def test_arguments_win_over_a_profile(profiles: dict[str, str]) -> None:
    """Each for itself."""
    found = resolved(
        "mine",
        profile="work",
        timeout=1,
        read_timeout=3,
        verify=False,
        cert="mine.pem",
        proxy="http://mine",
        environ=profiles,
    )
    assert told(found) == ("mine", WORK)
    assert (found.timeout, found.read_timeout, found.verify) == (1.0, 3.0, False)
    assert (found.cert, found.proxy) == ("mine.pem", "http://mine")


def test_the_environment_names_profile_and_authorities(profiles: dict[str, str]) -> None:
    """`ECOMPUTE_PROFILE` instead of the default, `ECOMPUTE_CA_FILE` before the profile's."""
    assert told(resolved(environ={**profiles, "ECOMPUTE_PROFILE": "home"})) == ("of-home", HOME)
    assert resolved(environ={**profiles, "ECOMPUTE_CA_FILE": "/env.pem"}).verify == "/env.pem"


def test_a_helper_is_a_credential(profiles: dict[str, str]) -> None:
    """It is run when its token is needed, and not before."""
    assert told(resolved(profile="helped", environ=profiles)) == ("helped", HOME)


def test_a_profile_that_is_not_needed_is_not_read(tmp_path: Path) -> None:
    """Whoever says everything does not care for a broken file."""
    file = tmp_path / "config.toml"
    file.write_text("nonsense")
    environ = {"ECOMPUTE_CONFIG": str(file)}
    assert told(resolved("t", WORK, environ=environ)) == ("t", WORK)
    assert told(resolved("t", WORK, environ={**environ, "ECOMPUTE_PROFILE": "x"})) == ("t", WORK)
    both = {"ECOMPUTE_TOKEN": "e", "ECOMPUTE_URL": WORK}
    assert told(resolved(environ={**environ, **both})) == ("e", WORK)
    with pytest.raises(InvalidArgument, match="line 1 is no TOML"):
        resolved(environ={**environ, **both, "ECOMPUTE_PROFILE": "x"})


def test_a_profile_named_as_an_argument_wins_over_the_environment(profiles: dict[str, str]) -> None:
    """Its token would else go to the environment's server, or the environment's token to its."""
    environ = {**profiles, "ECOMPUTE_TOKEN": "from-env", "ECOMPUTE_URL": "https://env.example.org"}
    assert told(resolved(profile="home", environ=environ)) == ("of-home", HOME)


def test_a_token_of_the_environment_does_not_go_to_a_server_of_a_profile(profiles: dict[str, str]) -> None:
    """It may be meant for another one; the sentence says how to mean this one."""
    environ = {**profiles, "ECOMPUTE_TOKEN": "from-env"}
    for more in ({}, {"ECOMPUTE_PROFILE": "home"}):
        with pytest.raises(InvalidArgument, match=r"is not sent to .*: set ECOMPUTE_URL too, or unset"):
            resolved(environ={**environ, **more})
    assert told(resolved(environ={**environ, "ECOMPUTE_URL": WORK})) == ("from-env", WORK)


def test_a_named_profile_without_a_credential_takes_the_environments(profiles: dict[str, str]) -> None:
    """Then nothing else can be meant, whether an argument or the environment names it."""
    environ = {**profiles, "ECOMPUTE_TOKEN": "from-env"}
    assert told(resolved(profile="bare", environ=environ)) == ("from-env", HOME)
    assert told(resolved(environ={**environ, "ECOMPUTE_PROFILE": "bare"})) == ("from-env", HOME)
    with pytest.raises(InvalidArgument, match="No token is known for"):
        resolved(profile="bare", environ=profiles)


def test_a_token_of_a_profile_goes_to_its_server_only(profiles: dict[str, str]) -> None:
    """Another address gets nothing of a profile; the same one does, however it is written."""
    other = "https://other.example.org"
    with pytest.raises(InvalidArgument, match=r"No token is known for .*'work' is for"):
        resolved(None, other, environ=profiles)
    with pytest.raises(InvalidArgument, match="No token is known"):
        resolved(environ={**profiles, "ECOMPUTE_URL": other})
    with pytest.raises(InvalidArgument, match="'work' is for"):
        resolved(None, other, profile="work", environ=profiles)
    assert told(resolved(None, "https://OFFICE.example.org:443/", environ=profiles))[0] == "of-work"
    for near in ("http://office.example.org", WORK + ":8443", WORK + "/v2"):
        with pytest.raises(InvalidArgument):
            resolved(None, near, environ=profiles)


def test_a_foreign_profile_changes_nothing(profiles: dict[str, str]) -> None:
    """Its certificates, proxy and times are for its own server."""
    environ = {**profiles, "ECOMPUTE_PROFILE": "work", "ECOMPUTE_TOKEN": "t", "ECOMPUTE_URL": HOME}
    found = resolved(environ=environ)
    assert told(found) == ("t", HOME)
    assert (found.verify, found.cert, found.proxy, found.timeout) == (True, None, None, 30.0)


def test_a_token_may_end_in_a_newline() -> None:
    """As files and command substitutions leave it."""
    assert told(resolved("t0ken\n", "http://x"))[0] == "t0ken"


def test_a_login_takes_no_token_from_anywhere(profiles: dict[str, str]) -> None:
    """It sends none, whatever lies around; its server may be a profile's."""
    environ = {**profiles, "ECOMPUTE_TOKEN": "t"}
    assert told(resolved(None, "http://x", environ=environ, needs_token=False)) == (None, "http://x")
    assert told(resolved(environ=environ, needs_token=False)) == (None, WORK)
    assert told(resolved(profile="home", environ=environ, needs_token=False)) == (None, HOME)


@pytest.mark.parametrize("name", ["timeout", "connect_timeout", "read_timeout", "write_timeout"])
@pytest.mark.parametrize("value", [0, -1, True, "1", float("nan")])
def test_times_are_numbers_above_zero(name: str, value: Any) -> None:
    """What is wrong is told by its name."""
    with pytest.raises(InvalidArgument, match=f"^{name} must be a number of seconds above zero"):
        resolved("t", "http://x", **{name: value})


def test_a_profile_with_a_bad_address_is_named(tmp_path: Path) -> None:
    """The address itself is not repeated: it may hold a secret."""
    file = tmp_path / "config.toml"
    file.write_text('[profiles.work]\nurl = "https://u:s3cret@x"')
    with pytest.raises(InvalidArgument, match="In the profile 'work': base_url must not hold") as caught:
        resolved(profile="work", environ={"ECOMPUTE_CONFIG": str(file)})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://a b",
        "http://x\0",
        "http://x\n/y",
        "http://a..b",
        f"https://{'a' * 70}.example.org",
        f"https://{'ü' * 70}.example.org",
        "http://\ud800",
        "http://x:0",
    ],
)
def test_an_address_that_no_name_can_be_resolved_from(url: str) -> None:
    """It is told at once, rather than by another library in the first call."""
    with pytest.raises(InvalidArgument, match=r"^base_url must be an address like"):
        resolved("t", url)
    assert told(resolved("t", "http://bücher.example.org.")) == ("t", "http://bücher.example.org.")
    assert told(resolved("t", "http://[::1]:80")) == ("t", "http://[::1]:80")


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("profile", ["s3cret"]),
        ("profile", b"s3cret"),
        ("base_url", ["s3cret"]),
        ("cert", 3),
        ("cert", ("a",)),
        ("cert", ("a", 3)),
        ("cert", ("cert.pem", "key.pem", "s3cret")),
    ],
)
def test_arguments_of_the_wrong_type(argument: str, value: Any) -> None:
    """They are told by name; a passphrase that another library takes is not shown."""
    with pytest.raises(InvalidArgument, match=f"^{argument} must be ") as caught:
        ecompute.Client(**{"token": "t", "base_url": "http://x", argument: value})
    shows = shown(caught.value)
    assert argument in ("profile", "base_url") or "s3cret" not in shows


def test_what_is_missing_has_its_own_kind(tmp_path: Path, profiles: dict[str, str]) -> None:
    """Programs tell apart who knows no server and who knows no token, without reading sentences."""
    nothing = {"ECOMPUTE_CONFIG": str(tmp_path / "none.toml")}
    with pytest.raises(MissingServer):
        resolved(environ=nothing)
    with pytest.raises(MissingServer):
        resolved(environ=nothing, needs_token=False)
    for more in ({}, {"ECOMPUTE_PROFILE": "work"}):
        with pytest.raises(MissingToken):
            resolved(None, "https://other.example.org", environ={**profiles, **more})
    with pytest.raises(MissingToken):
        resolved(profile="bare", environ=profiles)
    with pytest.raises(InvalidArgument) as caught:
        resolved(profile="nonesuch", environ=profiles)
    assert type(caught.value) is InvalidArgument


def test_a_home_folder_that_is_unknown() -> None:
    """Nobody has this name; only who needs the file is told."""
    environ = {"ECOMPUTE_CONFIG": "~no-such-user/config.toml"}
    with pytest.raises(InvalidArgument, match=r"The home folder in '~no-such-user/config\.toml' is unknown"):
        resolved(environ=environ)
    assert told(resolved("t", WORK, environ=environ)) == ("t", WORK)


@pytest.mark.parametrize("kind", [ecompute.Client, ecompute.AsyncClient])
def test_a_client_tells_its_server(kind: type[ecompute.Client]) -> None:
    """As it uses it, and nobody can change it."""
    client = kind("t", " https://compute.example.org/v1/ ")
    assert client.base_url == "https://compute.example.org/v1"
    with pytest.raises(AttributeError):
        client.base_url = WORK  # type: ignore[misc]


@pytest.mark.parametrize(
    "more",
    [
        {"base_url": "https://u:s3cret@x"},
        {"base_url": "https://s3cret@x"},
        {"base_url": "ftp://u:s3cret@x"},
        {"base_url": "https://u:s3cret@x:port"},
        {"base_url": "ecloud_s3cret"},
        {"base_url": WORK, "proxy": "http://u:s3cret@proxy", "timeout": -1},
        {"base_url": WORK, "proxy": "http://u:s3cret@["},
        {"base_url": WORK, "proxy": "ftp://u:s3cret@proxy"},
        {"profile": "by-hand"},
        {"profile": "no-helper"},
        {"profile": "nonesuch"},
        {},
    ],
)
def test_no_frame_shows_an_address_with_a_password(
    more: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it comes from, though it is refused; nor the arguments of a credential helper."""
    file = tmp_path / "config.toml"
    file.write_text(
        '[profiles.by-hand]\nurl = "https://u:s3cret@x"\n'
        '[profiles.no-helper]\nurl = "https://x"\ncredential_helper = "pass \'s3cret"\n'
    )
    file.chmod(0o600)
    monkeypatch.setenv("ECOMPUTE_CONFIG", str(file))
    monkeypatch.setenv("ECOMPUTE_URL", "https://u:s3cret@x")
    for make in (ecompute.Client, ecompute.AsyncClient):
        with pytest.raises(InvalidArgument) as caught:
            make(**more)
        assert "s3cret" not in shown(caught.value)
    if "profile" not in more:
        with pytest.raises(InvalidArgument) as caught:
            ecompute.login(**{"base_url": None, "username": "u", "password": "s3cret", **more})
        assert "s3cret" not in shown(caught.value)
    assert "s3cret" not in repr(profiles_module.load(file))


def test_secrets_show_up_nowhere(profiles: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in reprs, nor in a traceback with local variables, wherever the token came from."""
    assert "t0ken" not in repr(resolved("t0ken", "http://x", proxy="http://u:t0ken@x"))
    assert "t0ken" not in repr(Given(token=hidden("t0ken"), proxy="http://u:t0ken@x"))
    monkeypatch.setenv("ECOMPUTE_CONFIG", profiles["ECOMPUTE_CONFIG"])
    monkeypatch.setenv("ECOMPUTE_TOKEN", "s3cret")
    raised = []
    for token, url, profile in (
        ("s3cret", "nonsense", None),
        ("s3cret\nX: y", WORK, None),
        (None, None, None),
        (None, "nonsense", None),
        (None, "nonsense", "work"),
        (None, None, "nonesuch"),
    ):
        for make in (ecompute.Client, ecompute.AsyncClient):
            with pytest.raises(InvalidArgument) as caught:
                make(token, url, profile=profile)
            raised.append(shown(caught.value))
    assert all("resolve: " in text for text in raised)
    assert not any("s3cret" in text or "of-work" in text for text in raised)


PAGE = Path(__file__).parents[2] / "docs" / "library" / "settings.md"


def test_the_page_names_everything() -> None:
    """Each argument, variable and key of a profile."""
    text = PAGE.read_text()
    arguments = set(signature(ecompute.Client).parameters)
    variables = {value for name, value in vars(settings).items() if name.endswith("_VARIABLE")}
    keys = {*profiles_module.TEXTS, *profiles_module.TIMES, "default_profile"}
    names = arguments | variables | keys | {profiles_module.CONFIG_VARIABLE}
    assert {name for name in names if f"`{name}`" not in text} == set()


def test_the_pages_profiles_can_be_read() -> None:
    """The example is a file of profiles."""
    (block,) = (part.partition("```")[0] for part in PAGE.read_text().split("```toml\n")[1:])
    found = profiles_module.read(block.encode(), Path("/config/config.toml"))
    assert isinstance(found, profiles_module.Profiles)
    assert set(found.named) == {"work", "home"}
    assert found.named["work"].ca_file == "/config/office-ca.pem"
