"""The command line as a whole: the commands, and how errors end."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path

from cyclopts import App, CycloptsError, Parameter

from ecompute.errors import Error, one_line
from ecompute.settings import VERSION

from .exits import PASSING, CommandError, Exit, code_of
from .words import COMPLETE, arranged

COMMANDS = {
    "ls": ("containers:ls", "List the containers."),
    "show": ("containers:show", "Show all that is known of a container."),
    "create": ("creating:create", "Make a container, and wait until it runs."),
    "rm": ("containers:rm", "Delete containers and all their data."),
    "start": ("containers:start", "Boot containers, and wait until they run."),
    "stop": ("containers:stop", "Power containers off."),
    "ssh": ("ssh:ssh", "Log into a container by ssh, with its host key pinned."),
    "ssh-config": ("ssh:ssh_config", "Make the names of the containers known to ssh."),
    "access": ("access:access", "Tell whether SSH from outside is on, or turn it on or off."),
    "terminal": ("running:terminal", "Open a shell in a container, without SSH."),
    "run": ("running:run", "Run a command in a container, without SSH."),
    "cp": ("copying:cp", "Copy files and folders to a container or from it."),
    "open": ("pages:open_", "Open the web page of a container."),
    "ingress": ("ingress:ingress", "The published ports of a container."),
    "mounts": ("mounts:mounts", "The paths of a container that persist."),
    "events": ("events:events", "Follow what happens to the containers."),
    "keys": ("keys:keys", "The public keys that may log in."),
    "tokens": ("tokens:tokens", "API tokens."),
    "login": ("logging_in:login", "Log in with user name and password, and remember it."),
    "logout": ("logging_in:logout", "End the session and forget it."),
    "whoami": ("logging_in:whoami", "Tell who the credential belongs to."),
    "profiles": ("profiles:profiles", "The servers that you have logged in to."),
    "conformance": ("conformance:conformance", "Test any server of the API against the contract."),
    "completion": ("completion:completion", "Make the shell complete commands and names."),
}
"""Where each command is and what it does. Named by text, so that one loads nothing of the others."""
_HELP = frozenset(("--help", "-h"))


def made(explained: str | None = None) -> App:
    """The parser of the command line. The command that is to be explained is loaded, for all that it says of
    itself; of the others there is the sentence of the table.
    """
    app = App(
        name="ecompute",
        help="Containers of a Compute API server: small cloud machines. Names or ids, as you like.",
        version=VERSION,
        help_format="plaintext",
        default_parameter=Parameter(show_default=False),
    )
    for number, (name, (place, sentence)) in enumerate(COMMANDS.items()):
        told = {} if name == explained else {"help": sentence}
        app.command(f"{__package__}.{place}", name=name, sort_key=number, **told)
    return app


def run(tokens: Sequence[str]) -> int:
    """Run a command line, and give its exit code; errors are one sentence on standard error."""
    _prepare_streams()
    words: list[str] = []
    try:
        words = arranged(tokens)
        status = _call(words)
        sys.stdout.flush()
        return status
    except CycloptsError as error:
        code = _told(" ".join(str(error).split()) + " See --help.", Exit.USAGE)
    except (Error, CommandError) as error:
        code = _told(sentence_of(error), code_of(error))
    except BrokenPipeError:
        _drop_output()
        return Exit.BROKEN_PIPE
    except OSError as error:
        _drop_output()
        code = _told(f"{error.strerror or error}.", Exit.REFUSED)
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            print(file=sys.stderr)
        code = Exit.INTERRUPTED
    try:
        sys.stdout.flush()
    except OSError:
        _drop_output()
    passing = words[:1] and words[0] in PASSING
    return Exit.BESIDE if passing and code != Exit.INTERRUPTED else code


def _call(words: Sequence[str]) -> int:
    if words[:1] == [COMPLETE]:
        from .completion import completable

        completable()(words, print_error=False, exit_on_error=False)
        return Exit.OK
    asks = not _HELP.isdisjoint(words[: words.index("--")] if "--" in words else words)
    app = made(words[0] if asks else None)
    status = app(words, print_error=False, exit_on_error=False, result_action="return_value")
    return status if isinstance(status, int) else Exit.OK


def _drop_output() -> None:
    # what could not be written out must not be tried again by the interpreter's end
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _prepare_streams() -> None:
    # a stream that the caller has closed takes nothing, and a letter that an encoding lacks ends no command
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def sentence_of(error: Exception) -> str:
    """What an error says, with what was noted on its way."""
    notes: list[str] = getattr(error, "__notes__", [])
    return "; ".join([str(error).removesuffix("."), *notes]) + "." if notes else str(error)


def _told(sentence: str, code: Exit) -> Exit:
    print(f"ecompute: {one_line(sentence)}", file=sys.stderr)
    return code
