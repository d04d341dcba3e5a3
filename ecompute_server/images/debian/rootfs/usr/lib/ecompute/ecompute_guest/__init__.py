"""The guest's side of docs/guest-agent.md, for a full Debian.

Runs in the guest with `python3 -I -S`, from the standard library alone. Everything is imported at the start
and no program is run: a guest that was saved while it waits for its identity takes it without a page of code
from its disk. Modules whose import compiles regular expressions or builds enumerations (json, base64, socket,
pathlib) cost up to a fifth of a second each under emulation, so the inner ones of the standard library are
used where that is what they save.
"""
