"""The ASGI application: routes every request by the contract's table, and answers whatever comes of it.

The order of the checks is the contract's: path and method, credential, scope, the container in the path,
the body.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from ecompute.contract import codec
from ecompute.contract.endpoint import Channel, Endpoint
from ecompute.contract.endpoints import CHANNELS, ENDPOINTS
from ecompute.contract.problems import Code, InvalidFields
from ecompute_server.core.access import Caller
from ecompute_server.core.record import ContainerRecord
from ecompute_server.core.refusal import Refusal, invalid, no_such_path, unavailable
from ecompute_server.handlers import CHANNEL_HANDLERS, HANDLERS
from ecompute_server.handlers.call import Call, Services
from ecompute_server.logs import RequestContext, current_request, get_logger, request_ended
from ecompute_server.store.interface import NoSuchUser, StoreUnavailable

from . import idempotency, responses
from .conversations import Conversations
from .cors import Origins
from .gate import Row, authorise, container_of, credential_of
from .pages import description_routes
from .probes import Probes, Readiness
from .reading import json_body, read_body
from .sockets import CloseCode, Socket, SocketClosed

MAX_HEADER_BYTES = 32 * 1024

_log = get_logger(__name__)


class Api:
    """The API of one server as an ASGI application."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._origins = Origins(services.allowed_origins)
        self._repeats = idempotency.Repeats()
        self._conversations = Conversations(self._is_valid)
        services.credentials.on_revoked(self._conversations.check)
        self._draining = False
        self._probes = Probes(
            readiness=Readiness(database=services.database, hypervisor=services.hypervisor),
            exposition=services.metrics.exposition,
            draining=lambda: self._draining,
        )
        self._open_paths = frozenset(route.path for route in self._probes.routes())
        self._router = Router(routes=self._routes(), redirect_slashes=False, default=self._unknown)

    def _routes(self) -> list[Route | WebSocketRoute]:
        by_path: dict[str, dict[str, Endpoint[Any, Any]]] = defaultdict(dict)
        for row in ENDPOINTS:
            by_path[row.path][row.method] = row
        # the router tries them one after another, so the most asked come first
        routes: list[Route | WebSocketRoute] = [
            Route(path, self._endpoint(rows)) for path, rows in by_path.items()
        ]
        for channel in CHANNELS:
            opener = self._channel(channel)
            routes += [WebSocketRoute(channel.path, opener), Route(channel.path, self._not_upgraded(channel))]
        return [*routes, *self._probes.routes(), *description_routes(self._services.bounds)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        request_id = secrets.token_hex(8)
        is_websocket = scope["type"] == "websocket"
        if is_websocket:
            # the query may hold a credential; the HTTP server logs its own scope, so it leaves that one
            seen, scope = scope, dict(scope)
            seen["query_string"] = b""
        if scope["path"].startswith(("http://", "https://")):
            # as clients of a proxy write it (RFC 9112 §3.2.2)
            scope = {**scope, "path": "/" + scope["path"].partition("://")[2].partition("/")[2]}
        everywhere = [
            (b"x-request-id", request_id.encode()),
            idempotency.SUPPORTED,
            *self._origins.headers(scope["headers"]),
        ]

        async def send_with_headers(message: Message) -> None:
            status = _status(message)
            if status is not None:
                message["headers"] = [*message.get("headers", ()), *everywhere]
                method = "GET" if is_websocket else scope["method"]
                seconds = time.perf_counter() - started
                self._services.metrics.request(context.row, method, status, seconds)
                request_ended(_log, context.row, method, status, seconds)
            await send(message)

        with RequestContext(request_id) as context:
            await self._answer(scope, receive, send_with_headers)

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
        except NoSuchUser:
            answer = responses.error(Refusal(Code.UNAUTHENTICATED, "The credential's user is gone."))
        except StoreUnavailable as error:
            _log.error("the store cannot write", reason=str(error))
            answer = responses.error(unavailable("The server cannot store anything at the moment."))
        except asyncio.CancelledError:
            if started or not self._draining:
                raise
            answer = responses.error(_going_away())
        except Exception:
            _log.exception("a request failed")
            answer = responses.error(Refusal(Code.INTERNAL, "Something went wrong on the server's side."))
        if started:
            raise RuntimeError("an error came after the answer had begun")
        if scope["type"] == "websocket":
            # the connection ends with a refused upgrade; a client must not keep it for its next request
            answer.headers["Connection"] = "close"
            await WebSocket(scope, receive, send).send_denial_response(answer)
        else:
            await answer(scope, receive, send)

    def _admit(self, scope: Scope) -> None:
        if self._draining and scope["path"] not in self._open_paths:
            raise _going_away()
        # routing takes a line break at a path's end for the end of the path
        if scope["path"].endswith("\n"):
            raise no_such_path()
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
            message = f"The headers are larger than {MAX_HEADER_BYTES} bytes."
            raise Refusal(Code.INVALID_REQUEST, message, headers={"Connection": "close"})
        names = [name for name, _ in scope["headers"]]
        if b"transfer-encoding" in names and b"content-length" in names:
            # two parties on the way may each believe another one of them (RFC 9112 §6.3)
            message = "A body has a length or comes in chunks, not both."
            raise Refusal(Code.INVALID_REQUEST, message, headers={"Connection": "close"})

    async def _unknown(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise no_such_path()

    # --- HTTP rows --------------------------------------------------------------------------------

    def _endpoint(self, rows: Mapping[str, Endpoint[Any, Any]]) -> ASGIApp:
        allowed = sorted({*rows, *(["HEAD"] if "GET" in rows else [])})

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive)
            method = "GET" if request.method == "HEAD" else request.method
            row = rows.get(method)
            answer = (
                await self._call(row, request) if row else self._origins.preflight(request.headers, allowed)
            )
            if answer is None:
                raise _wrong_method(allowed)
            await answer(scope, receive, send)

        return _Asgi(serve)

    async def _call(self, row: Endpoint[Any, Any], request: Request) -> Response:
        services = self._services
        caller = self._caller(row, request)
        container = self._container(row, request, caller)
        body = await read_body(request) if request.method not in ("GET", "HEAD", "DELETE") else b""
        decoded = json_body(body) if row.has_body else {}
        asked = codec.read_request(row.request, request.path_params, decoded, services.bounds)
        address = request.client.host if request.client else ""
        call = Call(services, asked, caller, container, address=address)
        handle = HANDLERS[row.name]
        repeatable = idempotency.repeatable(row, request, body, decoded)
        if repeatable is not None:
            return await self._repeats.answer(call, handle, repeatable)
        return responses.success(await handle(call))

    # --- WebSocket rows ---------------------------------------------------------------------------

    def _channel(self, row: Channel[Any, Any]) -> ASGIApp:
        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            websocket = WebSocket(scope, receive, send)
            offered = scope.get("subprotocols", ())
            chosen = next((name for name in offered if name in row.subprotocols), None)
            call = self._opening(row, websocket, chosen)
            converse = await CHANNEL_HANDLERS[row.name](call)
            socket = Socket(websocket)
            await socket.accept(chosen)
            metrics = self._services.metrics
            with self._conversations.open(socket, credential_of(row, websocket)):
                metrics.socket_opened(row.name)
                try:
                    await converse(socket)
                except SocketClosed:
                    return
                except Exception:
                    _log.exception("a conversation failed")
                    await socket.close(CloseCode.GUEST_LOST)
                finally:
                    metrics.socket_closed(row.name)
                    await socket.close(CloseCode.NORMAL)

        return _Asgi(serve)

    def _opening(
        self, row: Channel[Any, Any], connection: HTTPConnection, subprotocol: str | None = None
    ) -> Call[Any]:
        services, headers = self._services, connection.headers
        caller = self._caller(row, connection)
        if not self._origins.may_open(headers.get("origin"), headers.get("host")):
            raise Refusal(Code.FORBIDDEN, "A page of another origin may not open this.")
        container = self._container(row, connection, caller)
        query = dict(connection.query_params)
        asked: Any = codec.read_request(row.request, connection.path_params, {}, services.bounds, query)
        return Call(services, asked, caller, container, subprotocol=subprotocol)

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
        """Take no new work, and say goodbye on every WebSocket, which takes at most some seconds."""
        self.take_no_more()
        await self._conversations.drain()
        await self._probes.close()

    def _caller(self, row: Row, connection: HTTPConnection) -> Caller | None:
        context = _context()
        context.row = row.name
        caller = authorise(self._services, row, connection)
        context.user = caller.user_id if caller else ""
        return caller

    def _container(
        self, row: Row, connection: HTTPConnection, caller: Caller | None
    ) -> ContainerRecord | None:
        container = container_of(self._services, row, connection, caller)
        _context().container = container.id if container else ""
        return container

    def _is_valid(self, credential: str) -> bool:
        return self._services.credentials.check(credential, self._services.clock()) is not None


def _context() -> RequestContext:
    context = current_request()
    assert context is not None, "a request is served outside of its context"
    return context


def _status(message: Message) -> int | None:
    """The status that a message begins an answer with, or None for the others."""
    match message["type"]:
        case "http.response.start" | "websocket.http.response.start":
            return int(message["status"])
        case "websocket.accept":
            return 101
        case _:
            return None


class _Asgi:
    """Marks a function as an ASGI application, which Starlette's routes take for what it is."""

    def __init__(self, serve: ASGIApp) -> None:
        self._serve = serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._serve(scope, receive, send)


def _going_away() -> Refusal:
    refusal = unavailable("The server is shutting down.")
    # a client that kept this connection would lose its next request
    refusal.headers["Connection"] = "close"
    return refusal


def _wrong_method(allowed: list[str]) -> Refusal:
    return Refusal(
        Code.METHOD_NOT_ALLOWED,
        f"This path knows the methods {', '.join(allowed)}.",
        headers={"Allow": ", ".join(allowed)},
    )
