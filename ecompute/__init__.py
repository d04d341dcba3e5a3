"""The Python client of the Compute API: small cloud machines that you create with one call.

Every name is loaded when it is first used (PEP 562), so that `import ecompute` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import contract as contract
    from .async_bound import AsyncContainer
    from .async_client import AsyncClient
    from .async_events import AsyncEvents
    from .async_logging_in import login_async
    from .async_temporary import AsyncTemporary
    from .async_terminal import AsyncTerminal
    from .async_watch import AsyncWatch
    from .bound import Container
    from .client import Client
    from .contract.problems import Fault
    from .contract.resources import IngressRule, Mounts, Session, SSHAccess, SSHKey, Token
    from .contract.scopes import Action, Grants, Scope, ScopeError
    from .credentials import TokenSource
    from .errors import (
        APIError,
        Closed,
        CommandFailed,
        CommandResult,
        Conflict,
        ConnectError,
        ContainerFailed,
        DeadlineExceeded,
        Error,
        Forbidden,
        InternalError,
        InvalidAnswer,
        InvalidArgument,
        InvalidRequest,
        LimitReached,
        MethodNotAllowed,
        MissingServer,
        MissingToken,
        Needed,
        NotFound,
        NotRunning,
        OutcomeUnknown,
        RateLimited,
        TooLarge,
        Unauthenticated,
        Unavailable,
        Unsupported,
    )
    from .events import Events
    from .exchange import HTTPAnswer, HTTPRequest
    from .listing import Listing
    from .logging_in import login
    from .observing import Stats
    from .protocol.archive import Progress
    from .protocol.feed import Deleted, Event, Snapshot, StatusChanged
    from .protocol.observing import Hooks, ReconnectPlanned, RequestSent, ResponseReceived, RetryPlanned
    from .protocol.policy import Retries
    from .recording import Recorder, recorded_grants
    from .settings import VERSION as __version__
    from .temporary import Temporary
    from .terminal import Terminal
    from .watch import Watch
else:
    # type checkers see the names above, and no others
    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name == "contract":
            # the table is part of the package's face: ecompute.contract.endpoints.ENDPOINTS
            import_module(".contract.endpoints", __name__)
            return import_module(".contract", __name__)
        module = import_module(f".{_HOME_OF.get(name, 'errors')}", __name__)
        value = module.VERSION if name == "__version__" else getattr(module, name)
        globals()[name] = value
        return value


__all__ = [
    "APIError",
    "Action",
    "AsyncClient",
    "AsyncContainer",
    "AsyncEvents",
    "AsyncTemporary",
    "AsyncTerminal",
    "AsyncWatch",
    "Client",
    "Closed",
    "CommandFailed",
    "CommandResult",
    "Conflict",
    "ConnectError",
    "Container",
    "ContainerFailed",
    "DeadlineExceeded",
    "Deleted",
    "Error",
    "Event",
    "Events",
    "Fault",
    "Forbidden",
    "Grants",
    "HTTPAnswer",
    "HTTPRequest",
    "Hooks",
    "IngressRule",
    "InternalError",
    "InvalidAnswer",
    "InvalidArgument",
    "InvalidRequest",
    "LimitReached",
    "Listing",
    "MethodNotAllowed",
    "MissingServer",
    "MissingToken",
    "Mounts",
    "Needed",
    "NotFound",
    "NotRunning",
    "OutcomeUnknown",
    "Progress",
    "RateLimited",
    "ReconnectPlanned",
    "Recorder",
    "RequestSent",
    "ResponseReceived",
    "Retries",
    "RetryPlanned",
    "SSHAccess",
    "SSHKey",
    "Scope",
    "ScopeError",
    "Session",
    "Snapshot",
    "Stats",
    "StatusChanged",
    "Temporary",
    "Terminal",
    "Token",
    "TokenSource",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "Unsupported",
    "Watch",
    "__version__",
    "contract",
    "login",
    "login_async",
    "recorded_grants",
]

_HOMES = {
    "async_bound": ("AsyncContainer",),
    "async_client": ("AsyncClient",),
    "async_events": ("AsyncEvents",),
    "async_logging_in": ("login_async",),
    "async_temporary": ("AsyncTemporary",),
    "async_terminal": ("AsyncTerminal",),
    "async_watch": ("AsyncWatch",),
    "bound": ("Container",),
    "client": ("Client",),
    "contract.problems": ("Fault",),
    "contract.resources": (
        "IngressRule",
        "Mounts",
        "SSHAccess",
        "SSHKey",
        "Session",
        "Token",
    ),
    "contract.scopes": ("Action", "Grants", "Scope", "ScopeError"),
    "credentials": ("TokenSource",),
    "events": ("Events",),
    "exchange": ("HTTPAnswer", "HTTPRequest"),
    "listing": ("Listing",),
    "logging_in": ("login",),
    "observing": ("Stats",),
    "protocol.archive": ("Progress",),
    "protocol.feed": ("Deleted", "Event", "Snapshot", "StatusChanged"),
    "protocol.observing": (
        "Hooks",
        "ReconnectPlanned",
        "RequestSent",
        "ResponseReceived",
        "RetryPlanned",
    ),
    "protocol.policy": ("Retries",),
    "recording": ("Recorder", "recorded_grants"),
    "settings": ("__version__",),
    "temporary": ("Temporary",),
    "terminal": ("Terminal",),
    "watch": ("Watch",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
