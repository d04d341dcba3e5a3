"""Examples as programs of their own, as their readers run them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from ecompute_server.testing import RunningServer

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
LIMIT = 240.0


def environment(server: RunningServer, folder: Path) -> Mapping[str, str]:
    """What an example needs to find its server and this checkout, and none of this account's settings."""
    places = {"IPYTHONDIR": str(folder), "XDG_CONFIG_HOME": str(folder), "PYTHONPATH": str(ROOT)}
    return {**os.environ, **places, "ECOMPUTE_URL": server.url, "ECOMPUTE_TOKEN": server.token}


def run(server: RunningServer, folder: Path, *command: str) -> str:
    """What an example prints on its way to a good end."""
    done = subprocess.run(
        [sys.executable, *command],
        env=environment(server, folder),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout
