"""How somebody leaves a terminal that takes every key: `~.` at the beginning of a line, as in `ssh`."""

from __future__ import annotations

_ESCAPE, _LEAVE = ord("~"), ord(".")
_NEWLINES = b"\r\n"


class Escape:
    """Watches what is typed. A `~` at the beginning of a line waits for what follows: `.` leaves, another `~`
    stands for itself, and anything else is typed behind it.
    """

    def __init__(self) -> None:
        self.left: bool = False
        """Whether the way out was taken; what was typed after it is dropped."""
        self._at_start = True
        self._escaped = False

    def filter(self, data: bytes) -> bytes:
        """What of these bytes goes on."""
        passed = bytearray()
        for byte in data:
            if self._escaped:
                self._escaped = False
                if byte == _LEAVE:
                    self.left = True
                    break
                if byte != _ESCAPE:
                    passed.append(_ESCAPE)
            elif self._at_start and byte == _ESCAPE:
                self._escaped = True
                continue
            passed.append(byte)
            self._at_start = byte in _NEWLINES
        return bytes(passed)
