"""Each row as a command of curl and as a line of Python, from the worked examples.

The commands read `ECOMPUTE_URL` and `ECOMPUTE_TOKEN`, which the Python client reads as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from ecompute.contract import codec
from ecompute.contract.endpoint import Auth, Channel, Endpoint, request_fields
from ecompute.contract.endpoints import EVENTS, LOG_IN, TERMINAL

from .examples import EXAMPLES

Row = Endpoint[Any, Any] | Channel[Any, Any]


def curl(row: Row) -> str:
    """A shell command; those of WebSockets need curl 8.11 or newer."""
    written = codec.write_request(EXAMPLES[row.request])
    query = f"?{urlencode(written.query)}" if written.query else ""
    target = f"{row.path.format(**written.path)}{query}"
    if isinstance(row, Channel):
        parts = [f'curl --no-buffer "${{ECOMPUTE_URL/http/ws}}{target}"']
    else:
        method = "" if row.method == "GET" else f"-X {row.method} "
        parts = [f'curl {method}"$ECOMPUTE_URL{target}"']
    if row.auth is not Auth.NONE:
        parts.append('-H "Authorization: Bearer $ECOMPUTE_TOKEN"')
    if written.body:
        parts.append('-H "Content-Type: application/json"')
        parts.append(f"-d '{json.dumps(written.body)}'")
    return " \\\n  ".join(parts)


_CONVERSATIONS: Mapping[str, str] = {
    EVENTS.name: "with client.events() as events:\n    for event in events:\n        print(event)",
    TERMINAL.name: (
        "with client.terminal({arguments}) as terminal:\n"
        '    terminal.write(b"uname -m\\n")\n'
        "    print(terminal.read())"
    ),
}


def python(row: Row) -> str:
    """A call of the library; `client` is `ecompute.Client()`."""
    if row is LOG_IN:
        given = codec.write_request(EXAMPLES[row.request]).body
        values = ", ".join(_literal(value) for value in given.values())
        return f'session = ecompute.login("https://compute.example", {values})'
    arguments = _arguments(EXAMPLES[row.request])
    if isinstance(row, Channel):
        return _CONVERSATIONS[row.name].format(arguments=arguments)
    return f"client.{row.name}({arguments})"


def _arguments(request: Any) -> str:
    told: list[str] = []
    for spec in request_fields(type(request)):
        value = _literal(_listed(getattr(request, spec.name)))
        # beyond two, nobody knows by heart which is which
        by_place = len(told) < 2 and not spec.has_default
        told.append(value if by_place else f"{spec.name}={value}")
    return ", ".join(told)


def _listed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _listed(one) for name, one in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _literal(value: Any) -> str:
    # JSON's quotes are the house's, and its words for these three are the only others
    if value is None or isinstance(value, bool):
        return repr(value)
    return json.dumps(value)
