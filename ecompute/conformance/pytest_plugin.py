"""The kit as tests: `pytest --pyargs ecompute.conformance --ecompute-url URL --ecompute-token T`.

Each check is a test; what could not be decided is a skip with the reason. Loads nothing of the kit unless its
tests are asked for.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .target import Target

_OPTIONS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("url", "address of the server to test (or ECOMPUTE_URL)", {}),
    ("token", "a session's token (or ECOMPUTE_TOKEN, which no process list shows)", {}),
    ("second-token", "the token of another user (or ECOMPUTE_SECOND_TOKEN)", {}),
    ("profile", "how much is tried", {"choices": ("quick", "standard"), "default": "standard"}),
    ("seed", "the seed of a run that is to be repeated", {"type": int}),
    ("rate", "the most requests in a second", {"type": float}),
    ("timeout", "seconds for one answer", {"type": float}),
    ("boot-timeout", "seconds for a container to run", {"type": float}),
    ("dialect", "what counts as conforming too: a name or a TOML file", {"default": "reference"}),
    ("ca-file", "certificate authorities to trust", {}),
    ("insecure", "take any certificate", {"action": "store_true"}),
    ("container-limit", "how many containers the user may have", {"type": int}),
    ("key-limit", "how many SSH keys the user may have", {"type": int}),
    ("restart-command", "shell line that restarts the server", {}),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options that say which server is tested, and how."""
    group = parser.getgroup("ecompute", "the contract kit of the Compute API")
    for name, text, more in _OPTIONS:
        group.addoption(f"--ecompute-{name}", help=text, **more)


def target_of(config: pytest.Config) -> Target:
    """What the options and the environment say.

    Raises:
        pytest.UsageError: there is no server or no token.
    """
    from .target import Target

    def given(name: str, variable: str | None = None) -> Any:
        value = config.getoption(f"--ecompute-{name}")
        return os.environ.get(variable) if value is None and variable else value

    url, token = given("url", "ECOMPUTE_URL"), given("token", "ECOMPUTE_TOKEN")
    if not url:
        raise pytest.UsageError("The contract kit needs a server: give --ecompute-url.")
    if not token:
        raise pytest.UsageError(
            "The contract kit needs a token: set ECOMPUTE_TOKEN or give --ecompute-token."
        )
    names = ("seed", "rate", "timeout", "boot-timeout", "container-limit", "key-limit", "restart-command")
    more = {name.replace("-", "_"): given(name) for name in names}
    return Target(
        url,
        token,
        given("second-token", "ECOMPUTE_SECOND_TOKEN"),
        profile=given("profile"),
        dialect=given("dialect"),
        verify=given("ca-file") or not given("insecure"),
        **{name: value for name, value in more.items() if value is not None},
    )
