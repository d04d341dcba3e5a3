"""What the server tells of itself: OpenAPI for programs, a page for people."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from html.parser import HTMLParser
from importlib.metadata import version

import httpx
import pytest

from ecompute.contract.description import prose
from ecompute.contract.description.openapi import document, operation_id
from ecompute.contract.endpoints import CHANNELS, ENDPOINTS
from ecompute.contract.problems import PROBLEMS
from ecompute.contract.rules import Bounds
from ecompute_server.http.description import docs_page, openapi_json
from ecompute_server.http.page import page
from ecompute_server.testing import RunningServer

# elements and attributes by which a page makes a browser load or run something
LOADING = {"script", "link", "img", "iframe", "object", "embed", "video", "audio", "source", "base", "form"}


class Page(HTMLParser):
    """What is in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.ids: list[str] = []
        self.links: set[str] = set()
        self.text = ""
        self.style = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self._open.append(tag)
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links |= {value or "" for name, value in attrs if name == "href"}

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            self.style += data
        else:
            self.text += data


def test_the_document_is_served_to_everybody(server: RunningServer) -> None:
    """As JSON, without a credential, with this version and this host's bounds."""
    answer = httpx.get(f"{server.url}/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == json.loads(json.dumps(document(version=version("ecompute"))))


def test_the_page_is_served_to_everybody(server: RunningServer) -> None:
    """As HTML, without a credential, under a policy that allows its own style and nothing else."""
    answer = httpx.get(f"{server.url}/docs")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    style = Page(answer.text).style
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = answer.headers["content-security-policy"]
    assert policy.split("; ")[:2] == ["default-src 'none'", f"style-src 'sha256-{digest}'"]


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
def test_descriptions_are_only_read(server: RunningServer, path: str) -> None:
    """Other methods are refused with those that work, and HEAD tells the size."""
    refused = httpx.post(f"{server.url}{path}")
    assert (refused.status_code, refused.json()["code"]) == (405, "method_not_allowed")
    assert refused.headers["allow"] == "GET, HEAD"
    head = httpx.head(f"{server.url}{path}")
    assert head.status_code == 200
    assert int(head.headers["content-length"]) == len(httpx.get(f"{server.url}{path}").content)


def test_the_page_loads_nothing() -> None:
    """No element that loads, no script, no style beside the one sheet, no address of elsewhere."""
    found = Page(docs_page(Bounds()).decode())
    assert found.elements & LOADING == set()
    assert not {name for name in found.attributes if name.startswith("on") or name in ("src", "style")}
    assert not any(word in found.style for word in ("url(", "@import"))
    assert {link for link in found.links if not link.startswith("#")} == {"openapi.json"}


def test_the_page_tells_everything() -> None:
    """Every row, type and error, each at the place where links lead."""
    found = Page(docs_page(Bounds()).decode())
    described = json.loads(openapi_json(Bounds()))
    rows = {operation_id(row) for row in (*ENDPOINTS, *CHANNELS)}
    kinds = {f"type-{name}" for name in described["components"]["schemas"]}
    assert set(found.ids) == {*rows, *kinds, "errors", "types"}
    assert len(found.ids) == len(set(found.ids))
    assert {link[1:] for link in found.links if link.startswith("#")} <= set(found.ids)
    for one in prose.operations(described):
        assert one.path in found.text
        assert one.said["summary"] in found.text
        assert all(sample["source"] in found.text for sample in one.said["x-codeSamples"])
    assert all(problem.meaning in found.text for problem in PROBLEMS.values())


def test_every_text_of_the_document_is_escaped() -> None:
    """Whatever a document says, the page has the same elements."""
    described = json.loads(openapi_json(Bounds()))
    hostile = '<script>alert(1)</script><i x="y" z=\'">&amp;'

    def poison(value: object) -> object:
        match value:
            case dict():
                return {key: poison(inner) for key, inner in value.items()}
            case list():
                return [poison(inner) for inner in value]
            case str() if not value.startswith("#/") and value not in ("string", "integer"):
                return value + hostile
        return value

    poisoned = poison(described)
    assert isinstance(poisoned, dict)
    poisoned["openapi"] = described["openapi"]
    names = {tag["name"] for tag in described["tags"]}
    made = Page(page(poisoned, ""))
    assert names
    assert hostile in made.text
    assert made.elements == Page(page(described, "")).elements


def test_bounds_of_the_host_are_told() -> None:
    """In the document and on the page."""
    bounds = Bounds(memory_mb=range(128, 2049))
    assert b'"maximum":2048' in openapi_json(bounds)
    assert b"128 to 2048" in docs_page(bounds)


def test_a_server_that_nobody_asks_loads_no_description() -> None:
    """The modules that make it come with the first request for it."""
    program = "import sys, ecompute_server.http.app; print(*sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    makers = {"openapi", "schemas", "examples", "samples", "words", "prose", "markdown"}
    assert not {f"ecompute.contract.{name}" for name in makers} & set(loaded.split())


def test_the_library_loads_no_description() -> None:
    """`import ecompute`, and a client, stay as small as they were."""
    program = (
        "import sys, ecompute; ecompute.Client(token='x', base_url='http://x'); print(*sorted(sys.modules))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    makers = {"openapi", "schemas", "examples", "samples", "words", "prose", "markdown", "conversations"}
    assert not {f"ecompute.contract.{name}" for name in makers} & set(loaded.split())
