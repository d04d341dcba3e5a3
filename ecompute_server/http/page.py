"""An OpenAPI document of ours as HTML: one page, no script, every text of the document escaped."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from typing import Any

from ecompute.contract.description import prose
from ecompute.contract.problems import PROBLEMS


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(name: str, *inside: str, **attributes: str) -> Html:
    """An element; what is no `Html` is escaped. `class_` is the attribute `class`."""
    told = "".join(f' {key.rstrip("_")}="{escape(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{told}>{join(inside)}</{name}>")


def join(parts: Iterable[str]) -> Html:
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


def rich(text: str) -> Html:
    """A sentence in which backquotes mark code."""
    pieces = text.split("`")
    return join(element("code", piece) if index % 2 else piece for index, piece in enumerate(pieces))


def page(document: prose.Document, style: str) -> str:
    """The whole page. `style` goes into it byte for byte, so that a policy can name its hash."""
    title = document["info"]["title"]
    body = element(
        "main",
        element("h1", title),
        element("p", f"Version {document['info']['version']}", class_="quiet"),
        element("p", rich(document["info"]["description"])),
        element("p", "The same for programs: ", element("a", "openapi.json", href="openapi.json"), "."),
        _navigation(document),
        *_sections(document),
        _errors(),
        _types(document),
    )
    head = join(
        [
            Html('<meta charset="utf-8">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            element("title", title),
            Html(f"<style>{style}</style>"),
        ]
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def _navigation(document: prose.Document) -> Html:
    groups: dict[str, list[prose.Operation]] = {}
    for one in prose.operations(document):
        groups.setdefault(one.heading, []).append(one)
    lists = [
        element("h4", heading)
        + element("ul", *(element("li", element("a", *_line(one), href=f"#{one.id}")) for one in found))
        for heading, found in groups.items()
    ]
    more = element(
        "ul",
        element("li", element("a", "Errors", href="#errors")),
        element("li", element("a", "Types", href="#types")),
    )
    return element("nav", *map(Html, lists), element("h4", "More"), more)


def _line(one: prose.Operation) -> list[str]:
    method = "WS" if one.is_websocket else one.method
    return [element("code", element("span", method, class_="method"), one.path)]


def _sections(document: prose.Document) -> Iterable[Html]:
    abouts = {tag["name"]: tag["description"] for tag in document["tags"]}
    heading = ""
    for one in prose.operations(document):
        if one.heading != heading:
            heading = one.heading
            yield element("h2", heading)
            yield element("p", abouts[heading], class_="quiet")
        yield _operation(document, one)


def _operation(document: prose.Document, one: prose.Operation) -> Html:
    parts = [element("h3", element("a", *_line(one), href=f"#{one.id}")), element("p", one.said["summary"])]
    parts += [element("p", rich(line)) for line in one.said["description"].split("\n\n")]
    asked = prose.asked(document, one)
    if asked:
        parts += [element("h4", "Request"), _fields(asked)]
    if "requestBody" in one.said:
        parts.append(_json(prose.example(one.said["requestBody"]["content"])))
    success = one.said["responses"].get("200")
    if success is not None:
        answer = prose.name_of(success["content"]["application/json"]["schema"])
        parts += [
            element("h4", "Answer"),
            element("p", "200, ", element("a", answer, href=f"#type-{answer}"), ":"),
            _json(prose.example(success["content"])),
        ]
    if one.is_websocket:
        parts += _conversations(one.said["x-websocket"]["conversations"])
    lines = ([r.status, element("code", r.code), r.meaning] for r in prose.refusals(document, one))
    parts.append(
        element(
            "details",
            element("summary", "Errors"),
            _table(["Status", "Code", "Meaning"], lines),
        )
    )
    for sample in one.said["x-codeSamples"]:
        parts += [element("h4", sample["label"]), element("pre", element("code", sample["source"]))]
    return element("section", *parts, id=one.id)


def _conversations(found: list[dict[str, Any]]) -> list[Html]:
    lines = [
        [
            element("code", one["subprotocol"]) if one["subprotocol"] else "none",
            _references(one["send"]),
            _references(one["receive"]),
            rich(one["text"]),
            rich(one["binary"]),
        ]
        for one in found
    ]
    titles = ["Subprotocol", "To the server", "To the client", "Text frames", "Binary frames"]
    return [element("h4", "Frames"), _table(titles, lines)]


def _references(found: list[dict[str, str]]) -> Html:
    names = [prose.name_of(one) for one in found]
    links = [element("a", name, href=f"#type-{name}") for name in names]
    return Html(", ".join(links))


def _fields(found: list[prose.Field]) -> Html:
    lines = [
        [
            element("code", one.name),
            one.place,
            one.kind,
            "yes" if one.required else _default(one.default),
            rich(one.meaning),
        ]
        for one in found
    ]
    return _table(["Field", "In", "Type", "Required", "Meaning"], lines)


def _default(value: Any) -> str:
    return "no" if value is None else f"no, {json.dumps(value)}"


def _errors() -> Html:
    lines = (
        [str(problem.status), element("code", problem.code), problem.meaning, ", ".join(problem.headers)]
        for problem in PROBLEMS.values()
    )
    table = _table(["Status", "Code", "Meaning", "Headers"], lines)
    return element("section", element("h2", "Errors"), table, id="errors")


def _types(document: prose.Document) -> Html:
    parts = []
    for name, schema in document["components"]["schemas"].items():
        lines = [
            [
                element("code", one.name),
                one.kind,
                "always" if one.required else "when known or given",
                rich(one.meaning),
            ]
            for one in prose.fields(schema)
        ]
        parts.append(
            element(
                "section",
                element("h3", element("code", name)),
                element("p", rich(schema["description"])),
                _table(["Field", "Type", "There", "Meaning"], lines),
                id=f"type-{name}",
            )
        )
    return element("section", element("h2", "Types"), *parts, id="types")


def _table(titles: list[str], lines: Iterable[list[str]]) -> Html:
    head = element("tr", *(element("th", title) for title in titles))
    body = (element("tr", *(element("td", cell) for cell in line)) for line in lines)
    return element("div", element("table", element("thead", head), element("tbody", *body)), class_="table")


def _json(value: Any) -> Html:
    return element("pre", element("code", json.dumps(value, indent=2, ensure_ascii=False)))
