"""The ASGI application: routes and authorises every request from the contract's table, before any handler.

The order of the checks is the contract's: path and method, credential, scope, the container in the path,
the body.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import structlog
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from ecompute.contract import codec, requests
from ecompute.contract.endpoint import Auth, Channel, Endpoint, path_parameters
from ecompute.contract.endpoints import CHANNELS, ENDPOINTS
from ecompute.contract.problems import Code, InvalidFields
from ecompute_server.core.access import Caller, missing
from ecompute_server.core.record import ContainerRecord
from ecompute_server.core.refusal import Refusal, invalid, not_found, unavailable
from ecompute_server.handlers import CHANNEL_HANDLERS, HANDLERS
from ecompute_server.handlers.call import Call, Services
from ecompute_server.logs import get_logger
from ecompute_server.store.interface import StoreUnavailable

from . import responses
from .reading import bearer, json_body, read_body
from .sockets import CloseCode, Socket, SocketClosed

MAX_HEADER_BYTES = 32 * 1024
DRAIN_SECONDS = 5.0

_log = get_logger(__name__)

Row = Endpoint[Any, Any] | Channel[Any, Any]
_CHANNEL_REQUESTS = {"events": requests.OpenEvents, "terminal": requests.OpenTerminal}


class Api:
    """The API of one server as an ASGI application."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._sockets: set[Socket] = set()
        self._draining = False
        self._router = Router(routes=self._routes(), redirect_slashes=False, default=self._unknown)

    def _routes(self) -> list[Route | WebSocketRoute]:
        by_path: dict[str, dict[str, Endpoint[Any, Any]]] = defaultdict(dict)
        for row in ENDPOINTS:
            by_path[row.path][row.method] = row
        routes: list[Route | WebSocketRoute] = []
        for channel in CHANNELS:
            opener = self._channel(channel)
            routes += [WebSocketRoute(channel.path, opener), Route(channel.path, self._not_upgraded(channel))]
        for path, rows in by_path.items():
            routes.append(Route(path, self._endpoint(rows)))
        return routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = secrets.token_hex(8)
        if scope["type"] == "websocket":
            # the query may hold a credential; the HTTP server logs its own scope, so it leaves that one
            seen, scope = scope, dict(scope)
            seen["query_string"] = b""

        async def send_with_id(message: Message) -> None:
            if message["type"] in (
                "http.response.start",
                "websocket.accept",
                "websocket.http.response.start",
            ):
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        with structlog.contextvars.bound_contextvars(request=request_id):
            await self._answer(scope, receive, send_with_id)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_once(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            self._admit(scope)
            await self._router(scope, receive, send_once)
            return
        except Refusal as refusal:
            answer = responses.error(refusal)
        except InvalidFields as error:
            answer = responses.error(invalid(error.faults))
        except (ClientDisconnect, SocketClosed):
            return
        except StoreUnavailable as error:
            _log.error("the store cannot write", reason=str(error))
            answer = responses.error(unavailable("The server cannot store anything at the moment."))
        except asyncio.CancelledError:
            if started or not self._draining:
                raise
            answer = responses.error(_going_away())
        except Exception:
            _log.exception("a request failed", path=scope.get("path"))
            answer = responses.error(Refusal(Code.INTERNAL, "Something went wrong on the server's side."))
        if started:
            raise RuntimeError("an error came after the answer had begun")
        if scope["type"] == "websocket":
            await WebSocket(scope, receive, send).send_denial_response(answer)
        else:
            await answer(scope, receive, send)

    def _admit(self, scope: Scope) -> None:
        if self._draining:
            raise _going_away()
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
            message = f"The headers are larger than {MAX_HEADER_BYTES} bytes."
            raise Refusal(Code.INVALID_REQUEST, message, headers={"Connection": "close"})

    async def _unknown(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise not_found()

    # --- HTTP rows --------------------------------------------------------------------------------

    def _endpoint(self, rows: Mapping[str, Endpoint[Any, Any]]) -> ASGIApp:
        allowed = sorted({*rows, *(["HEAD"] if "GET" in rows else [])})

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive)
            method = "GET" if request.method == "HEAD" else request.method
            row = rows.get(method)
            if row is None:
                raise _wrong_method(allowed)
            answer = await self._call(row, request)
            await answer(scope, receive, send)

        return _Asgi(serve)

    async def _call(self, row: Endpoint[Any, Any], request: Request) -> Response:
        caller = self._authorise(row, request)
        container = self._container(row, request, caller)
        body = await read_body(request) if request.method not in ("GET", "HEAD", "DELETE") else b""
        decoded = json_body(body) if row.has_body else {}
        asked = codec.read_request(row.request, request.path_params, decoded, self._services.bounds)
        call = Call(self._services, asked, {}, caller, container)
        return responses.success(await HANDLERS[row.name](call))

    # --- WebSocket rows ---------------------------------------------------------------------------

    def _channel(self, row: Channel[Any, Any]) -> ASGIApp:
        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            websocket = WebSocket(scope, receive, send)
            call = self._opening(row, websocket)
            converse = await CHANNEL_HANDLERS[row.name](call)
            await websocket.accept()
            socket = Socket(websocket)
            self._sockets.add(socket)
            try:
                await converse(socket)
            except SocketClosed:
                return
            except Exception:
                _log.exception("a conversation failed", channel=row.name)
                await socket.close(CloseCode.GUEST_LOST)
            finally:
                self._sockets.discard(socket)
                await socket.close(CloseCode.NORMAL)

        return _Asgi(serve)

    def _opening(self, row: Channel[Any, Any], connection: HTTPConnection) -> Call[Any]:
        caller = self._authorise(row, connection)
        origin = connection.headers.get("origin")
        if origin is not None and origin.partition("://")[2] != connection.headers.get("host"):
            raise Refusal(Code.FORBIDDEN, "A page of another origin may not open this.")
        container = self._container(row, connection, caller)
        asked: Any = codec.read_request(
            _CHANNEL_REQUESTS[row.name], connection.path_params, {}, self._services.bounds
        )
        return Call(self._services, asked, dict(connection.query_params), caller, container)

    def _not_upgraded(self, row: Channel[Any, Any]) -> ASGIApp:
        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive)
            if request.method not in ("GET", "HEAD"):
                raise _wrong_method(["GET"])
            self._opening(row, request)
            raise Refusal(Code.INVALID_REQUEST, "This path must be opened as a WebSocket.")

        return _Asgi(serve)

    def take_no_more(self) -> None:
        """Answer every new request with 503 from now on."""
        self._draining = True

    async def drain(self) -> None:
        """Take no new work and say goodbye on every WebSocket.

        Takes at most some seconds: who does not read is left to whoever closes the connections then.
        """
        self.take_no_more()
        goodbyes = [asyncio.create_task(socket.close(CloseCode.GOING_AWAY)) for socket in self._sockets]
        if goodbyes:
            _, late = await asyncio.wait(goodbyes, timeout=DRAIN_SECONDS)
            for goodbye in late:
                goodbye.cancel()

    # --- what every row checks --------------------------------------------------------------------

    def _authorise(self, row: Row, connection: HTTPConnection) -> Caller | None:
        if row.auth is Auth.NONE:
            return None
        credential = bearer(connection, query_allowed=isinstance(row, Channel))
        if credential is None:
            raise Refusal(Code.UNAUTHENTICATED, "A credential is needed: Authorization: Bearer TOKEN.")
        caller = self._services.credentials.check(credential, self._services.clock())
        if caller is None:
            raise Refusal(Code.UNAUTHENTICATED, "The credential is malformed, expired or revoked.")
        id_ = connection.path_params.get("id")
        needed = missing(caller, auth=row.auth, scope=row.scope, action=row.action, id=id_)
        if needed is not None:
            raise Refusal(
                Code.FORBIDDEN,
                "The token does not allow this; see `needed` for the scope and action that it lacks.",
                needed=needed,
            )
        return caller

    def _container(
        self, row: Row, connection: HTTPConnection, caller: Caller | None
    ) -> ContainerRecord | None:
        if not (row.scope or "").endswith(".containers.<id>") or "id" not in path_parameters(row.path):
            return None
        record = self._services.containers.get(connection.path_params["id"])
        if record is None or caller is None or record.user_id != caller.user_id or record.life.deleted:
            raise not_found()
        return record


class _Asgi:
    """Marks a function as an ASGI application, which Starlette's routes take for what it is."""

    def __init__(self, serve: ASGIApp) -> None:
        self._serve = serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._serve(scope, receive, send)


def _going_away() -> Refusal:
    return unavailable("The server is shutting down.")


def _wrong_method(allowed: list[str]) -> Refusal:
    return Refusal(
        Code.METHOD_NOT_ALLOWED,
        f"This path knows the methods {', '.join(allowed)}.",
        headers={"Allow": ", ".join(allowed)},
    )
