"""Where a client's settings come from."""

from __future__ import annotations

from ecompute import settings


def test_arguments_win_over_the_environment() -> None:
    """Each for itself."""
    environ = {"ECOMPUTE_TOKEN": "from-env", "ECOMPUTE_URL": "https://env.example.org"}
    found = settings.resolve(None, None, environ=environ)
    assert (found.token, found.base_url) == ("from-env", "https://env.example.org")
    found = settings.resolve("mine", None, environ=environ)
    assert (found.token, found.base_url) == ("mine", "https://env.example.org")
    found = settings.resolve(None, "http://mine/", environ=environ)
    assert (found.token, found.base_url) == ("from-env", "http://mine")


def test_a_token_may_end_in_a_newline() -> None:
    """As files and command substitutions leave it."""
    assert settings.resolve("t0ken\n", "http://x", environ={}).token == "t0ken"


def test_a_login_takes_no_token_from_the_environment() -> None:
    """It sends none, whatever lies around."""
    found = settings.resolve(None, "http://x", environ={"ECOMPUTE_TOKEN": "t"}, needs_token=False)
    assert found.token is None


def test_the_token_is_not_in_repr() -> None:
    """Settings can be logged."""
    assert "t0ken" not in repr(settings.resolve("t0ken", "http://x", environ={}))
