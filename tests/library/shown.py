"""All that a tool can show of an exception."""

from __future__ import annotations

import traceback
from pathlib import Path

import ecompute

_OURS = Path(ecompute.__file__).parent


def shown(error: BaseException) -> str:
    """An exception and its causes, with the local variables of all frames of this library."""
    text = []
    seen: BaseException | None = error
    while seen is not None:
        text += [str(seen), repr(seen), repr(vars(seen))]
        for frame, _ in traceback.walk_tb(seen.__traceback__):
            if Path(frame.f_code.co_filename).is_relative_to(_OURS):
                text.append(f"{frame.f_code.co_qualname}: {frame.f_locals!r}")
        seen = seen.__cause__ or seen.__context__
    return "\n".join(text)
