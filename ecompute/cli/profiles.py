"""`profiles`: the servers that the user has logged in to."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from ecompute import profiles as file

from .candidates import profile_names
from .common import Json
from .output import print_json, print_table, say

profiles: App = App(name="profiles", help="The servers that you have logged in to.", help_format="plaintext")

Name = Annotated[str, Parameter(help="Name of the profile.", completer=profile_names)]


@profiles.command
def ls(*, json_: Json = False) -> None:
    """List the profiles; tokens are not shown."""
    known = file.load()
    if json_:
        print_json(
            [
                {"name": name, "url": one.url, "default": name == known.default}
                for name, one in known.named.items()
            ]
        )
        return
    rows = [(name, one.url, "yes" if name == known.default else "") for name, one in known.named.items()]
    print_table(("name", "url", "default"), rows)


@profiles.command
def use(name: Name, /) -> None:
    """Make a profile the default one."""
    profile = file.load().get(name)
    file.save(name, url=profile.url, make_default=True)
    say(f"The default profile is {name!r}.")


@profiles.command
def rm(name: Name, /) -> None:
    """Forget a profile, without ending its session."""
    file.remove(name)
    say(f"The profile {name!r} is gone.")
