"""The command line as a whole: the sub-commands, and how errors end."""

from __future__ import annotations

import sys
from importlib.metadata import version

from cyclopts import App

from . import doctor, images, people, serve
from .common import EXPECTED

app = App(
    name="ecompute-server",
    help="A server of the Compute API that runs each container as a virtual machine of this host.",
    version=version("ecompute"),
)
app.command(serve.serve, name="serve")
app.command(people.user)
app.command(people.token)
app.command(images.app)
app.command(doctor.doctor, name="doctor")
app.command(serve.down, name="down")


def run() -> int:
    """Run the command of this process's arguments and give its exit status: 0, or 1 with a sentence."""
    try:
        status = app(result_action="return_value")
    except EXPECTED as error:
        print(f"ecompute-server: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        return 130
    return status if isinstance(status, int) else 0
