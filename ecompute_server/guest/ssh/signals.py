"""Signals for a process in a guest.

SSH has a request for it (RFC 4254 §6.9), but the OpenSSH of Debian 12 refuses it for root, whose sessions
have no second process for their privileges. So each process is marked in its environment, and a second
session finds the mark and calls `kill`. The mark's name begins with `LC_` because that is what distributions
let through (`AcceptEnv LANG LC_*`); where it does not get through, the request is what remains.
"""

from __future__ import annotations

import re
import secrets
import shlex

VARIABLE = "LC_ECOMPUTE_PROCESS"

_NAME = re.compile(r"[A-Z][A-Z0-9]{1,15}")


def new_mark() -> str:
    """What tells one process from all others."""
    return secrets.token_hex(8)


def kill_command(mark: str, name: str) -> str | None:
    """A command that sends the signal to the marked process and its process group, and fails when there is
    none. There is no command for what cannot be a signal's name.

    Of all that inherited the mark and lead a session, the oldest is the one that the SSH server started.
    """
    if not _NAME.fullmatch(name):
        return None
    script = (
        f"for e in $(grep -lz '^{VARIABLE}={mark}$' /proc/[0-9]*/environ); do "
        "p=${e#/proc/}; p=${p%/environ}; read -r s </proc/$p/stat || continue; "
        # proc(5): behind the name come state, parent, group, session, …; the start is the 20th of these
        'set -- ${s##*) }; [ "$4" = "$p" ] && echo "${20} $p"; done | sort -n | '
        f"{{ read -r t p && kill -s {name} -- -$p; }}"
    )
    return f"exec /bin/sh -c {shlex.quote(script)} </dev/null >/dev/null 2>&1"
