"""The command line as a whole: the sub-commands, and how errors end."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version

from cyclopts import App

from .common import EXPECTED

app = App(
    name="ecompute-server",
    help="A server of the Compute API that runs each container as a virtual machine of this host.",
    version=version("ecompute"),
    help_format="plaintext",
)
# named by text, so that a command loads what it needs and nothing of the others
_HERE = __package__
app.command(
    f"{_HERE}.serve:serve",
    name="serve",
    help="Serve the API until SIGTERM or Ctrl-C. Machines keep running, and the next serve adopts them."
    " Every option is also an environment variable (--port: ECOMPUTE_SERVER_PORT) and a key of the settings"
    " file (port); docs/running.md.",
)
app.command(f"{_HERE}.people:user", name="user", help="Accounts.")
app.command(f"{_HERE}.credentials:token", name="token", help="API tokens.")
app.command(
    f"{_HERE}.credentials:rotate_keys", name="rotate-keys", help="Sign session tokens with a new key."
)
app.command(f"{_HERE}.images:app", name="images", help="Guest images.")
app.command(f"{_HERE}.authority:ca", name="ca", help="The certificate authority of containers' names.")
app.command(
    f"{_HERE}.doctor:doctor", name="doctor", help="What this host lacks for real machines, and how to get it."
)
app.command(
    f"{_HERE}.serve:down",
    name="down",
    help="End the machines that a stopped server left; the next serve starts them again.",
)


def run() -> int:
    """Run the command of this process's arguments and give its exit status: 0, or 1 with a sentence."""
    try:
        status = app(result_action="return_value")
        if sys.stdout is not None:
            sys.stdout.flush()
    except EXPECTED as error:
        print(f"ecompute-server: {error}", file=sys.stderr)
        return 1
    except UnicodeError:
        print("ecompute-server: An argument or the input is not valid UTF-8 text.", file=sys.stderr)
        return 1
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            print(f"ecompute-server: {error.strerror or error}.", file=sys.stderr)
        # what could not be written out must not be tried again by the interpreter's end
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except KeyboardInterrupt:
        return 130
    return status if isinstance(status, int) else 0
