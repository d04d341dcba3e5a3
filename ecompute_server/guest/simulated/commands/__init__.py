"""The commands that a simulated guest knows."""

from __future__ import annotations

from ecompute_server.guest.simulated.call import Command
from ecompute_server.guest.simulated.commands import archive, control, files, system, text

COMMANDS: dict[str, Command] = {
    **control.COMMANDS,
    **text.COMMANDS,
    **files.COMMANDS,
    **archive.COMMANDS,
    **system.COMMANDS,
}

__all__ = ["COMMANDS"]
