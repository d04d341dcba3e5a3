"""Entry point of `ecompute-server` and `python -m ecompute_server`."""

from __future__ import annotations

import sys

_EXTRA = "server"


def main() -> None:
    """Run the command; without the packages that it needs, say how to install them."""
    try:
        from ecompute_server.cli import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("ecompute", "ecompute_server"):
            raise
        sys.exit(f"ecompute-server needs more packages ({error.name}): pip install 'ecompute[{_EXTRA}]'")
    sys.exit(run())


if __name__ == "__main__":
    main()
