"""The order of the command line, before it is parsed."""

from __future__ import annotations

import shlex

import pytest

from ecompute.cli.exits import CommandError
from ecompute.cli.words import arranged


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("", ""),
        ("ls", "ls"),
        ("--profile work ls", "ls --profile work"),
        ("--profile=work --timeout 3 keys ls", "keys ls --profile=work --timeout 3"),
        ("--help", "--help"),
        ("keys --help", "keys --help"),
        ("run web ls -la", "run web -- ls -la"),
        ("run web -- ls -la", "run web -- ls -la"),
        ("run web -- -- x", "run web -- -- x"),
        ("run -n --timeout 3 web cat --timeout 4", "run -n --timeout 3 web -- cat --timeout 4"),
        ("--url http://x run web x --url y", "run --url http://x web -- x --url y"),
        ("run --help", "run --help"),
        ("ssh -i key web uptime -p", "ssh -i key web -- uptime -p"),
        ("ssh web", "ssh web"),
        ("run web curl --token secret", "run web -- curl --token secret"),
    ],
)
def test_each_word_gets_to_whom_it_is_meant_for(given: str, meant: str) -> None:
    """Options of the connection before the command are its own, those after the container are the guest's."""
    assert arranged(shlex.split(given)) == shlex.split(meant)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("ssh|", "ssh|"),
        ("--profile|", "--profile|"),
        ("--profile|work|ssh|we", "ssh|--profile|work|we"),
        ("--profile|=|wo", "--profile=wo"),
        ("--profile|=|work|keys|rm|", "keys|rm|--profile=work|"),
        ("ls|--token", "ls|--token"),
    ],
)
def test_the_tab_key_finds_the_command_behind_the_options(given: str, meant: str) -> None:
    """The word that is being typed stays the last one, and bash's three words of an option are one."""
    assert arranged(["__complete", *given.split("|")]) == ["__complete", *meant.split("|")]


@pytest.mark.parametrize("given", ["ls --token x", "--token x ls", "ls --token=x", "run --token x web ls"])
def test_a_token_on_the_command_line_is_refused(given: str) -> None:
    """With the reason, the ways that are better, and without the token."""
    with pytest.raises(CommandError, match=r"--token-file.*ECOMPUTE_TOKEN") as refused:
        arranged(shlex.split(given))
    assert " x" not in str(refused.value)
