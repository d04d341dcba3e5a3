"""What has to be settled before the command line is parsed.

Options of the connection may stand before the command (`ecompute --profile work ls`), what follows the
container of `run` and `ssh` belongs to the command in it, and a token on the command line is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from .exits import CommandError

CONNECTION = ("--profile", "--url", "--token-file", "--ca-file", "--timeout")
"""The options that all commands of a server take; each has a value."""
GROUPS = frozenset(("keys", "tokens", "ingress", "mounts", "profiles", "conformance"))
"""The commands that have commands."""

COMPLETE = "__complete"
"""The word by which a shell asks what the last word of a command line may become."""
_FLAGS = frozenset(("--help", "-h", "--version", "--no-stdin", "-n"))
_REST = "--"


def arranged(tokens: Sequence[str]) -> list[str]:
    """The command line in the order that the parser knows.

    Raises:
        CommandError: it holds a token.
    """
    if tokens[:1] == [COMPLETE]:
        return [COMPLETE, *_unfinished(tokens[1:])]
    leading, rest = _options(tokens)
    words = 2 if rest[:1] and rest[0] in GROUPS and not "".join(rest[1:2]).startswith("-") else 1
    name, rest = rest[:words], rest[words:]
    before = rest
    if name[:1] in (["run"], ["ssh"]):
        before, container = _options(rest)
        after = container[1:]
        if container and after[:1] != [_REST]:
            after = [_REST, *after] if after else []
        rest = [*before, *container[:1], *after]
    elif _REST in rest:
        before = rest[: rest.index(_REST)]
    if any(word.partition("=")[0] == "--token" for word in (*leading, *before)):
        raise CommandError(
            "There is no --token, since other users of this machine can read all command lines: "
            "use --token-file, the environment variable ECOMPUTE_TOKEN or `ecompute login`."
        )
    return [*name, *leading, *rest]


def _unfinished(tokens: Sequence[str]) -> list[str]:
    """The same for a command line whose last word is being typed; bash gives `--option=value` as three."""
    done: list[str] = []
    for word in tokens[:-1]:
        if done and (word == "=" or done[-1].endswith("=")) and done[-1].startswith("--"):
            done[-1] += word
        else:
            done.append(word)
    typed = [*tokens[-1:]]
    if done and done[-1].startswith("--") and done[-1].endswith("="):
        typed = [done.pop() + "".join(typed)]
    leading, rest = _options(done)
    words = 2 if rest[:1] and rest[0] in GROUPS else 1
    return [*rest[:words], *leading, *rest[words:], *typed]


def _options(tokens: Sequence[str]) -> tuple[list[str], list[str]]:
    """The options at the beginning, with their values, and the rest."""
    place = 0
    while place < len(tokens) and tokens[place].startswith("-") and tokens[place] not in ("-", _REST):
        place += 1 if "=" in tokens[place] or tokens[place] in _FLAGS else 2
    return [*tokens[:place]], [*tokens[place:]]
