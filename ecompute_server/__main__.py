"""Entry point of `ecompute-server` and `python -m ecompute_server`."""

from __future__ import annotations

import signal
import sys

_EXTRA = "server"


def main() -> None:
    """Run the command; without the packages that it needs, say how to install them."""
    if sys.argv[1:2] == ["serve"]:
        # until the server listens for them itself, both mean: leave in order, there is nothing to drain
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: sys.exit(0))
    try:
        _load_structlog_without_rich()
        from ecompute_server.cli import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("ecompute", "ecompute_server"):
            raise
        sys.exit(f"ecompute-server needs more packages ({error.name}): pip install 'ecompute[{_EXTRA}]'")
    sys.exit(run())


def _load_structlog_without_rich() -> None:
    # structlog would load rich, for tracebacks that this command never draws: 3.5 MB of a server's memory.
    # Only here, where the process is ours
    if "rich" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]


if __name__ == "__main__":
    main()
