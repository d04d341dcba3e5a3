"""The API's own description, as OpenAPI and as a page for people; made on first request and kept."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache

from ecompute.contract import codec
from ecompute.contract.rules import Bounds

# system fonts and colours: the page asks the network for nothing, and light and dark come from the browser
STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --accent: light-dark(#0550ae, #79b8ff); }
* { box-sizing: border-box; }
body { margin: 0; font: 1rem/1.5 system-ui, sans-serif; background: Canvas; color: CanvasText; }
main { max-width: 60rem; margin: 0 auto; padding: 1rem 1.5rem 6rem; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
h1 { margin-bottom: 0; }
h2 { margin-top: 3rem; border-bottom: 2px solid var(--line); }
h3 { margin-top: 2.5rem; font-size: 1.05rem; overflow-wrap: anywhere; }
h4 { margin: 1.2rem 0 .3rem; font-size: .85rem; text-transform: uppercase; letter-spacing: .05em; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
pre { background: var(--soft); border: 1px solid var(--line); border-radius: 6px; padding: .7rem; }
pre { overflow-x: auto; }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; }
th, td { border-bottom: 1px solid var(--line); }
nav ul { columns: 27rem 2; list-style: none; padding: 0; margin: 0; }
nav li { break-inside: avoid; overflow-wrap: anywhere; }
nav code { display: flex; }
nav h4 { margin-top: .8rem; }
.method { display: inline-block; min-width: 4.2em; flex: none; font-weight: 700; }
.quiet { opacity: .75; }
summary { cursor: pointer; }
"""

_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

DOCS_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The `Content-Security-Policy` of the page: nothing but its own style sheet."""


@lru_cache(maxsize=4)
def openapi_json(bounds: Bounds) -> bytes:
    """The OpenAPI document as JSON, for a host with these bounds."""
    # imported on first use, as in the page: a server that nobody asks stays small
    from importlib.metadata import version

    from ecompute.contract.description.openapi import document

    return codec.dump_json(document(version=version("ecompute"), bounds=bounds))


@lru_cache(maxsize=4)
def docs_page(bounds: Bounds) -> bytes:
    """The document as one HTML page in UTF-8 that loads nothing."""
    from .page import page

    return page(codec.load_json(openapi_json(bounds)), STYLE).encode()
