"""What is loaded when: a program pays for what it uses, and for nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from .fake_server import FakeServer, Request

STAGES = """
import json, sys
sys.modules["trio"] = None  # as in the base install: the library below would load it on sight
before, stages = set(sys.modules), {}

def stage(name):
    stages[name] = sorted(set(sys.modules) - before)
    before.update(sys.modules)

import ecompute
stage("import")
client = ecompute.Client("t0ken", sys.argv[1])
stage("client")
(box,) = client.containers.list()
assert box.name == "box"
stage("answer")
with client.events() as events:
    assert len(next(events).containers) == 1
stage("websocket")
client.close()
print(json.dumps(stages))
"""

OURS = {
    "import": {""},
    "client": {
        "bound",
        "channels",
        "client",
        "contract",
        "contract.catalog",
        "contract.problems",
        "contract.resources",
        "carrier",
        "credentials",
        "engine",
        "errors",
        "exchange",
        "files",
        "foreign",
        "late",
        "listing",
        "network",
        "observing",
        "operations",
        "pool",
        "protocol",
        "protocol.context",
        "protocol.ids",
        "recording",
        "secret",
        "settings",
        "shown",
        "surroundings",
        "transport",
    },
    "answer": {
        "contract.codec",
        "contract.endpoint",
        "contract.endpoints",
        "contract.messages",
        "contract.public_key",
        "contract.readers",
        "contract.requests",
        "contract.rules",
        "contract.scopes",
        "protocol.feed",
        "protocol.flows",
        "protocol.policy",
        "protocol.wire",
    },
    "websocket": {"connection", "events", "protocol.websocket", "subscription"},
}
"""Our modules that each stage may load beside those of the stages before; "" is the package."""

FOREIGN = {
    "import": set[str](),
    "client": {"anyio", "attr", "attrs", "certifi", "h11", "httpcore"},
    "answer": {"idna"},
    "websocket": {"wsproto"},
}
"""The libraries that each stage may load beside those of the stages before."""

NEVER = {
    "argparse",
    "cattrs",
    "cryptography",
    "ecompute_server",
    "email",
    "httpx",
    "zoneinfo",
}
"""What no client needs: the server, what only explains faults, what belongs to other ways of using it."""


def new_modules(code: str, *arguments: str) -> set[str]:
    """What a fresh interpreter has loaded after some code, beside what it always has."""
    program = f"import sys; before = set(sys.modules)\n{code}\nprint(*set(sys.modules) - before)"
    command = [sys.executable, "-c", program, *arguments]
    return {*subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()}


def tops(modules: set[str]) -> set[str]:
    """The packages that modules belong to."""
    return {name.partition(".")[0] for name in modules}


def ours(modules: set[str]) -> set[str]:
    """Names within our package."""
    return {
        name.removeprefix("ecompute").removeprefix(".") for name in modules if tops({name}) == {"ecompute"}
    }


def foreign(modules: set[str]) -> set[str]:
    """Packages of others; names of C extensions and of aliases within them begin with an underscore."""
    known = {*sys.stdlib_module_names, "ecompute"}
    return {name for name in tops(modules) - known if not name.startswith("_")}


@pytest.fixture
def stages(serve: Callable[..., FakeServer]) -> dict[str, set[str]]:
    """What each stage of a program has loaded."""

    def answer(request: Request) -> None:
        told = {"id": "abc12345", "name": "box", "status": "running"}
        if request.path == "/compute/ws":
            feed = request.upgrade()
            feed.tell("containers", [told])
            feed.serve_until_closed()
        else:
            request.answer({"containers": [told]})

    command = [sys.executable, "-c", STAGES, serve(answer).url]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {name: {*modules} for name, modules in json.loads(done.stdout).items()}


def test_each_stage_loads_what_it_needs(stages: dict[str, set[str]]) -> None:
    """Import, first client, first answer, first WebSocket: no module of ours more than listed."""
    surplus = {name: ours(modules) - OURS[name] for name, modules in stages.items()}
    assert {name: modules for name, modules in surplus.items() if modules} == {}


def test_libraries_come_when_they_are_needed(stages: dict[str, set[str]]) -> None:
    """WebSockets are not loaded by who opens none, nor what explains faults by who has none."""
    surplus = {name: foreign(modules) - FOREIGN[name] for name, modules in stages.items()}
    assert {name: modules for name, modules in surplus.items() if modules} == {}
    assert "wsproto" in tops(stages["websocket"])


def test_nothing_is_loaded_in_vain(stages: dict[str, set[str]]) -> None:
    """Neither by us nor by those whom we need."""
    assert tops({name for modules in stages.values() for name in modules}) & NEVER == set()


def test_an_import_loads_nothing_else() -> None:
    """`import ecompute` is the package itself and two modules of the standard library's."""
    allowed = new_modules("import __future__, importlib, typing")
    assert new_modules("import ecompute") <= {"ecompute", "typing", "importlib", "__future__"} | allowed


def test_naming_a_class_loads_no_library_of_the_network() -> None:
    """Type hints, `except` and `isinstance` make no client."""
    named = new_modules(
        "import ecompute; ecompute.Client; ecompute.AsyncClient; ecompute.login; ecompute.NotFound"
    )
    assert tops(named) & {"anyio", "h11", "httpcore", "httpx", "ssl", "wsproto", "ecompute_server"} == set()


def test_a_fault_is_explained_by_what_is_loaded_for_it() -> None:
    """The converter comes with the first answer that does not fit."""
    code = (
        "from ecompute.contract import codec, resources\n"
        "codec.structure({'ssh_enabled': True}, resources.SSHAccess)\n"
        "assert 'cattrs' not in sys.modules\n"
        "try: codec.structure({'ssh_enabled': 1}, resources.SSHAccess)\n"
        "except ValueError: pass"
    )
    assert "cattrs" in new_modules(code)


def test_the_table_is_at_hand() -> None:
    """The rows can be read without importing more."""
    code = "import ecompute; assert ecompute.contract.endpoints.ENDPOINTS"
    assert "ecompute.contract.endpoints" in new_modules(code)
