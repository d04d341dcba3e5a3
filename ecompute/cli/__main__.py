"""Entry point of `ecompute` and `python -m ecompute.cli`."""

from __future__ import annotations

import sys

_INTERRUPTED = 130


def main() -> None:
    """Run this process's arguments; without the packages that it needs, say how to get them."""
    try:
        from .app import run
    except ModuleNotFoundError as error:
        from .exits import Exit

        if (error.name or "").partition(".")[0] == "ecompute":
            raise
        print(f"ecompute needs more packages ({error.name}): pip install 'ecompute[cli]'", file=sys.stderr)
        sys.exit(Exit.PACKAGES)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
