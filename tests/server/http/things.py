"""What a user has, by the ids under which another one may try it."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from ecompute.contract import codec
from ecompute.contract.description.examples import EXAMPLES
from ecompute.contract.endpoint import path_parameters
from tests.server.http.peers import ROWS, Row

PORT = 8080
WITH_ID = [row for row in ROWS if "id" in path_parameters(row.path)]


@frozen
class Things:
    """What the first user has: the ids by which another one may try them."""

    container: str
    key: int
    token: str

    def path(self, row: Row) -> dict[str, Any]:
        if row.name.startswith("ssh_keys."):
            return {"id": self.key}
        return {"id": self.token if row.name.startswith("tokens.") else self.container, "port": PORT}


NOTHING = Things(container="zzzzzzzz", key=987654321, token="zzzzzzzzzzzz")
"""Ids of the same form that nobody has."""


def valid_body(row: Row) -> bytes | None:
    written = codec.write_request(EXAMPLES[row.request])
    return codec.dump_json(written.body) if written.body else None
