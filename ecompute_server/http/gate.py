"""What every row checks before its handler, in the contract's order: credential, scope, container."""

from __future__ import annotations

from typing import Any

from starlette.requests import HTTPConnection

from ecompute.contract.endpoint import Auth, Channel, Endpoint
from ecompute.contract.problems import Code
from ecompute_server.core.access import Caller, missing, needs_session
from ecompute_server.core.record import ContainerRecord
from ecompute_server.core.refusal import Refusal, not_found
from ecompute_server.handlers.call import Services

from .reading import bearer

Row = Endpoint[Any, Any] | Channel[Any, Any]


def credential_of(row: Row, connection: HTTPConnection) -> str:
    """The credential that came with a request.

    Raises:
        Refusal: there is none.
    """
    credential = bearer(connection, query_allowed=isinstance(row, Channel))
    if credential is None:
        raise Refusal(Code.UNAUTHENTICATED, "A credential is needed: Authorization: Bearer TOKEN.")
    return credential


def authorise(services: Services, row: Row, connection: HTTPConnection) -> Caller | None:
    """Who asks, and whether the row is open to them; None where a row needs nobody.

    Raises:
        Refusal: no valid credential, or one that does not allow this.
    """
    if row.auth is Auth.NONE:
        return None
    caller = services.credentials.check(credential_of(row, connection), services.clock())
    if caller is None:
        raise Refusal(Code.UNAUTHENTICATED, "The credential is malformed, expired or revoked.")
    if needs_session(caller, row.auth):
        raise Refusal(Code.FORBIDDEN, "An API token may not do this: log in and use the session's token.")
    id_ = connection.path_params.get("id")
    needed = missing(caller, scope=row.scope, action=row.action, id=id_)
    if needed is not None:
        raise Refusal(
            Code.FORBIDDEN,
            "The token does not allow this.",
            needed=needed,
        )
    return caller


def container_of(
    services: Services, row: Row, connection: HTTPConnection, caller: Caller | None
) -> ContainerRecord | None:
    """The caller's container that the path names; None for rows without one.

    Raises:
        Refusal: there is none. Another user's is answered by the same lines.
    """
    if not (row.scope or "").endswith(".containers.<id>"):
        return None
    record = services.containers.get(connection.path_params["id"])
    if record is None or caller is None or record.user_id != caller.user_id or record.life.deleted:
        raise not_found("container")
    return record
