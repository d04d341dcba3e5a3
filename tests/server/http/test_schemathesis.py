"""Schemathesis against the server's own description: every operation, every check.

It runs in this process as its command would, so that a failure prints its report and the request that shows
it. What a schema cannot tell (which keys, containers and users there are) `World` puts into valid requests.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
import schemathesis.cli
import schemathesis.hooks
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import strategies as st
from schemathesis.core.parameters import ParameterLocation

from ecompute.contract import codec, requests
from ecompute.contract.endpoints import CHANNELS, ENDPOINTS
from ecompute.contract.problems import InvalidFields
from ecompute.contract.rules import Bounds
from ecompute_server.testing import RunningServer, running_server

MANY = 100_000

SETTINGS = """
continue-on-failure = true
cache.enabled = false

[generation]
max-examples = 40

[auth.openapi.credential]
bearer = "{token}"

[auth.openapi.session]
bearer = "{token}"

# a WebSocket is opened by a handshake; without one its row refuses what is a valid request otherwise
[[operations]]
include-tag = "WebSockets"
checks.positive_data_acceptance.expected-statuses = ["400", "401", "404", "409"]
"""


def a_public_key(seed: bytes) -> str:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(seed).public_key()
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def reads(request: type, /, **body: Any) -> bool:
    """Whether a server would find no fault in this body."""
    try:
        codec.read_request(request, {"id": "any"}, body, Bounds())
    except InvalidFields:
        return False
    return True


FORMATS: dict[str, st.SearchStrategy[str]] = {
    "printable-name": st.text(st.characters(codec="utf-8"), max_size=70).filter(
        lambda name: reads(requests.CreateContainer, name=name, ssh_key_ids=[1])
    ),
    "mount-path": st.text(st.characters(codec="utf-8"), max_size=70)
    .map("/{}".format)
    .filter(lambda path: reads(requests.SetMounts, mount_paths=[path])),
    "ssh-public-key": st.binary(min_size=32, max_size=32).map(a_public_key),
}


class World:
    """What exists on a server, and what came of the requests."""

    def __init__(self, server: RunningServer) -> None:
        self._server = server
        self._http = httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {server.token}"})
        self._fresh = itertools.count()
        self._seen: Counter[str] = Counter()
        self.statuses: dict[str, set[int]] = defaultdict(set)
        self._login = {"username": "carol", "password": "EXAMPLE-PASSWORD"}
        server.add_user(*self._login.values())

    def close(self) -> None:
        self._http.close()

    def fit(self, case: schemathesis.Case) -> None:
        """Put what exists into those parts of a request that are valid as far as their schema can tell."""
        path = case.operation.path
        if case.meta is not None and not case.meta.is_negative_at(ParameterLocation.PATH):
            self._seen[case.operation.label] += 1
            # the other half keeps what was made up, which nothing has
            if self._seen[case.operation.label] % 2:
                self._fit_names(path, case)
        if isinstance(case.body, dict):
            self._fit_body(case.body)
        if path == "/api/logout" and case.headers.get("Authorization") == f"Bearer {self._server.token}":
            # every logout ends a session of its own, not the one that the other requests use
            token = self._server.add_user(f"user{next(self._fresh)}").token
            case.headers["Authorization"] = f"Bearer {token}"

    def _fit_names(self, path: str, case: schemathesis.Case) -> None:
        if path == "/api/login" and isinstance(case.body, dict) and reads(requests.LogIn, **case.body):
            case.body |= self._login
        elif path == "/api/tokens/{id}":
            grants = {f"compute.{self._server.user_id}": ["read"]}
            made = self._post("/api/tokens", name="token", scopes=grants, expires_in="30d")
            case.path_parameters["id"] = made["id"]
        elif path == "/compute/ssh-keys/{id}":
            case.path_parameters["id"] = self._key()
        elif "/containers/{id}" in path:
            # what is deleted is nobody else's: a later request of the same story counts on the others
            deletes = case.method == "DELETE"
            case.path_parameters["id"] = self._new_container() if deletes else self._container()
        if "port" in case.path_parameters:
            port = case.path_parameters["port"] = 8000
            self._post(f"/compute/containers/{case.path_parameters['id']}/ingress", port=port)

    def _fit_body(self, body: dict[str, Any]) -> None:
        scopes, keys, paths = body.get("scopes"), body.get("ssh_key_ids"), body.get("mount_paths")
        if reads(requests.CreateContainer, name="box", ssh_key_ids=keys):
            body["ssh_key_ids"] = [self._key()]
        if isinstance(scopes, dict) and reads(
            requests.CreateToken, name="token", scopes=scopes, expires_in="30d"
        ):
            body["scopes"] = {self._own(scope): actions for scope, actions in scopes.items()}
        if isinstance(paths, list) and all(reads(requests.SetMounts, mount_paths=[path]) for path in paths):
            body["mount_paths"] = self._apart(paths)
        for name in ("memory_mb", "storage_gb", "port", "target_port"):
            # JSON Schema takes 80.0 for an integer, and the API does not
            if isinstance(body.get(name), float) and body[name].is_integer():
                body[name] = int(body[name])

    def _key(self) -> int:
        known = self._http.get("/compute/ssh-keys").json()["ssh_keys"]
        if known:
            return int(known[-1]["id"])
        key = a_public_key(next(self._fresh).to_bytes(32, "big"))
        return int(self._post("/compute/ssh-keys", name="key", public_key=key)["id"])

    def _container(self) -> str:
        known = self._http.get("/compute/containers").json()["containers"]
        if known:
            return str(known[-1]["id"])
        return self._new_container()

    def _new_container(self) -> str:
        return str(self._post("/compute/containers", name="box", ssh_key_ids=[self._key()])["id"])

    def _own(self, scope: str) -> str:
        service, _, *rest = scope.split(".")
        return ".".join([service, self._server.user_id, *rest])

    def _apart(self, paths: list[str]) -> list[str]:
        """Those that are not inside another one of the list."""
        kept: list[str] = []
        for path in paths:
            if reads(requests.SetMounts, mount_paths=[*kept, path]):
                kept.append(path)
        return kept

    def _post(self, path: str, **body: Any) -> dict[str, Any]:
        return dict(self._http.post(path, json=body).raise_for_status().json())


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running_server(max_containers_per_user=MANY, max_ssh_keys_per_user=MANY) as running:
        yield running


@pytest.fixture
def world(server: RunningServer) -> Iterator[World]:
    """Known to Schemathesis until the test ends."""
    made = World(server)
    for name, strategy in FORMATS.items():
        schemathesis.openapi.format(name, strategy)

    @schemathesis.hook
    def before_call(_: Any, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
        made.fit(case)

    @schemathesis.hook
    def after_call(_: Any, case: schemathesis.Case, response: schemathesis.Response) -> None:
        made.statuses[case.operation.label].add(response.status_code)

    yield made
    schemathesis.hooks.unregister_all()
    made.close()


def test_the_server_keeps_to_its_description(server: RunningServer, world: World, tmp_path: Path) -> None:
    """Valid requests are accepted and others refused, with the answers that are described; no row is left
    out, and every row but the WebSockets' has a success among its answers.
    """
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(SETTINGS.format(token=server.token))
    command = ["--config-file", str(settings), "--no-color", "run", f"{server.url}/openapi.json"]
    arguments = [*command, "--checks", "all", "--seed", "1"]
    with pytest.raises(SystemExit) as ended:
        schemathesis.cli.schemathesis.main(arguments, standalone_mode=False)
    assert ended.value.code == 0
    assert world.statuses.keys() == {f"{row.method} {row.path}" for row in (*ENDPOINTS, *CHANNELS)}
    assert {label for label, seen in world.statuses.items() if 200 not in seen} == {
        f"{row.method} {row.path}" for row in CHANNELS
    }
