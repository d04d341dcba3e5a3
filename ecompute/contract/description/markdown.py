"""The reference as Markdown, one page per question, from the OpenAPI document and the tables.

python -m ecompute.contract.description.markdown docs/reference
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ecompute.contract import catalog, messages, scopes
from ecompute.contract.problems import PROBLEMS

from . import prose
from .openapi import ROWS, document, needs

NOTE = "<!-- Made by `make reference` from ecompute/contract; edits are overwritten. -->"


def pages() -> dict[str, str]:
    """The text of each page by its file name."""
    described = document(version="")
    return {
        "README.md": _page(_contents()),
        "operations.md": _page(_operations(described)),
        "websockets.md": _page(_websockets(described)),
        "types.md": _page(_types(described)),
        "errors.md": _page(_errors()),
        "scopes.md": _page(_scopes()),
    }


EXECUTION = """\
→ {"command": "wc -c", "pty": false}
→ 0x00 "hello"
→ {"type": "eof"}
← 0x01 "5\\n"
← {"type": "exit", "status": 0}
← close 1000"""


def write(folder: Path) -> None:
    """Bring a folder of pages up to date; pages that are there no longer made are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    made = pages()
    for old in folder.glob("*.md"):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")


def _page(lines: Iterable[str]) -> str:
    return "\n".join([NOTE, "", *lines]).rstrip() + "\n"


def _contents() -> Iterator[str]:
    yield "# Reference"
    yield ""
    yield "Made from the tables of `ecompute/contract`, which client and server read as well. A running"
    yield "server tells the same of itself at `/docs`, and at `/openapi.json` for programs."
    yield ""
    yield from _table(
        ["Page", "What it tells"],
        [
            ["[operations.md](operations.md)", "every HTTP operation, with examples"],
            ["[websockets.md](websockets.md)", "status changes as they happen, and terminals"],
            ["[types.md](types.md)", "what is sent and answered, field by field; the catalogue and limits"],
            ["[errors.md](errors.md)", "every error, and what to do about it"],
            ["[scopes.md](scopes.md)", "what an API token may do, and what each operation needs"],
        ],
    )


def _operations(described: prose.Document) -> Iterator[str]:
    yield "# Operations"
    yield ""
    yield described["info"]["description"]
    yield ""
    yield from _settings()
    heading = ""
    abouts = {tag["name"]: tag["description"] for tag in described["tags"]}
    for one in prose.operations(described):
        if one.is_websocket:
            continue
        if one.heading != heading:
            heading = one.heading
            yield from (f"## {heading}", "", abouts[heading], "")
        yield from _operation(described, one)


def _settings() -> Iterator[str]:
    yield "The examples read these settings; `client` is `ecompute.Client()`, which reads the same:"
    yield ""
    yield from _code("sh", "export ECOMPUTE_URL=http://127.0.0.1:7780 ECOMPUTE_TOKEN=...")


def _operation(described: prose.Document, one: prose.Operation) -> Iterator[str]:
    yield f"### {one.method} {one.path}"
    yield ""
    yield one.said["summary"]
    yield ""
    yield from (one.said["description"], "")
    asked = prose.asked(described, one)
    if asked:
        yield from _table(["Field", "In", "Type", "Required", "Meaning"], map(_asked, asked))
    yield from _samples(one)
    success = one.said["responses"].get("200")
    if success is not None:
        name = prose.name_of(success["content"]["application/json"]["schema"])
        yield f"Answers 200 with [{name}](types.md#{name.lower()}):"
        yield ""
        yield from _code("json", json.dumps(prose.example(success["content"]), indent=2, ensure_ascii=False))
    codes = ", ".join(f"{r.status} `{r.code}`" for r in prose.refusals(described, one))
    yield f"[Errors](errors.md): {codes}."
    yield ""


def _asked(one: prose.Field) -> list[str]:
    required = "yes" if one.required else "no"
    if one.default is not None:
        required += f"; default `{json.dumps(one.default)}`"
    return [f"`{one.name}`", one.place, one.kind, required, one.meaning]


def _samples(one: prose.Operation) -> Iterator[str]:
    for sample in one.said["x-codeSamples"]:
        yield from _code({"Shell": "sh", "Python": "python"}[sample["lang"]], sample["source"])


def _websockets(described: prose.Document) -> Iterator[str]:
    yield "# WebSockets"
    yield ""
    yield "A credential may also stand in the query, as `?token=`, since a browser cannot set a WebSocket's"
    yield "headers. The curl commands need curl 8.11 or newer."
    yield ""
    yield from _settings()
    for one in prose.operations(described):
        if one.is_websocket:
            yield from _operation(described, one)
            yield from _conversations(one.said["x-websocket"]["conversations"])
    yield from (f"## `{catalog.EXEC_PROTOCOL}`, frame by frame", "")
    yield "Counting the bytes of an input; `→` is to the server, and numbers are bytes of a binary frame:"
    yield ""
    yield from _code("text", EXECUTION)
    yield "A server that does not know a subprotocol answers without one, and then it is a plain terminal."
    yield ""
    yield from ("## Close codes", "")
    yield from _table(
        ["Code", "Meaning"], [[str(int(code)), words] for code, words in messages.CLOSE_MEANINGS.items()]
    )
    yield from ("A client that says nothing for a minute, not even to pings, is dropped without one.", "")


def _conversations(found: list[Mapping[str, Any]]) -> Iterator[str]:
    lines = (
        [
            f"`{one['subprotocol']}`" if one["subprotocol"] else "none",
            _references(one["send"]),
            _references(one["receive"]),
            one["text"],
            one["binary"],
        ]
        for one in found
    )
    yield from _table(
        ["Subprotocol", "To the server", "To the client", "Text frames", "Binary frames"], lines
    )


def _references(found: list[Mapping[str, str]]) -> str:
    return ", ".join(f"[{prose.name_of(one)}](types.md#{prose.name_of(one).lower()})" for one in found)


def _types(described: prose.Document) -> Iterator[str]:
    yield "# Types"
    yield ""
    yield "What is there *always* is in every answer, or must be in every request; the rest may be missing."
    yield "Unknown fields are to be ignored, in both directions."
    yield ""
    yield from _catalogue()
    for name, schema in described["components"]["schemas"].items():
        yield from (f"## {name}", "", schema["description"], "")
        lines = (
            [f"`{one.name}`", one.kind, "always" if one.required else "", one.meaning]
            for one in prose.fields(schema)
        )
        yield from _table(["Field", "Type", "There", "Meaning"], lines)


def _catalogue() -> Iterator[str]:
    yield from ("## Instance types", "")
    kinds = catalog.INSTANCE_TYPES.values()
    lines = ([f"`{kind.name}`", str(kind.arch), f"{kind.cpu_cores:g}"] for kind in kinds)
    yield from _table(["Type", "Architecture", "Cores"], lines)
    yield from ("## Limits", "")
    yield from _table(
        ["What", "Limit"],
        [
            ["containers of one user, unless set otherwise", str(catalog.MAX_CONTAINERS_PER_USER)],
            ["SSH keys of one user, unless set otherwise", str(catalog.MAX_SSH_KEYS_PER_USER)],
            ["API tokens of one user", str(catalog.MAX_TOKENS_PER_USER)],
            ["body of a request", f"{catalog.MAX_BODY_BYTES // 1024} KiB"],
            ["one frame of a terminal, to the client", f"{catalog.MAX_TERMINAL_FRAME_BYTES // 1024} KiB"],
            ["paths in one list of mount paths, equal ones merged", str(catalog.MAX_MOUNT_PATHS)],
            ["bytes in one mount path", str(catalog.MAX_MOUNT_PATH_BYTES)],
            ["bits in an RSA key, at least", str(catalog.MIN_RSA_BITS)],
        ],
    )


def _errors() -> Iterator[str]:
    yield "# Errors"
    yield ""
    yield "Every answer that is no success is a JSON object: `error` is a sentence for people, `code` a word"
    yield "for programs. `fields` lists every rule that a request breaks, `needed` the scope and action that"
    yield "a credential lacks. `X-Request-Id` is on every answer and names it in the server's log."
    yield ""
    lines = (
        [
            str(problem.status),
            f"`{problem.code}`",
            problem.meaning,
            ", ".join(f"`{header}`" for header in problem.headers),
        ]
        for problem in PROBLEMS.values()
    )
    yield from _table(["Status", "Code", "Meaning", "Headers"], lines)
    yield from _code("sh", 'curl -i "$ECOMPUTE_URL/compute/containers/nowhere1" -H "Authorization: Bearer x"')
    yield from _code(
        "python",
        "try:\n"
        '    client.containers.get("nowhere1")\n'
        "except ecompute.NotFound as error:\n"
        "    print(error.status, error.code, error.request_id)",
    )


def _scopes() -> Iterator[str]:
    yield "# Scopes"
    yield ""
    yield "A scope names a set of things: `<service>.<user id>[.<resource>[.<id>]]`. A grant on a scope"
    yield "covers everything below it, and nothing beside or above it. A session may do everything with its"
    yield "user's own things; an API token carries grants, and never more than its maker has."
    yield ""
    kinds = [
        [f"`{service}`", ", ".join(f"`{kind}`" for kind in sorted(resources))]
        for service, resources in scopes.SERVICES.items()
    ]
    yield from _table(["Service", "Resources"], kinds)
    yield f"Actions: {', '.join(f'`{action}`' for action in scopes.Action)}."
    yield ""
    yield "## What each operation needs"
    yield ""
    lines = ([f"`{row.method} {row.path}`", needs(row)] for row in ROWS)
    yield from _table(["Operation", "Needs"], lines)
    yield "## A token for one job"
    yield ""
    create = next(row for row in prose.operations(document(version="")) if row.id == "tokens_create")
    yield from _samples(create)


def _code(language: str, text: str) -> Iterator[str]:
    yield from (f"```{language}", text, "```", "")


def _table(titles: list[str], lines: Iterable[list[str]]) -> Iterator[str]:
    rows = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    if not rows:
        return
    yield f"| {' | '.join(titles)} |"
    yield f"|{'|'.join(' --- ' for _ in titles)}|"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


if __name__ == "__main__":
    write(Path(sys.argv[1]))
