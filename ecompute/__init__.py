"""The Python client of the Compute API: small cloud machines that you create with one call.

Every name is loaded when it is first used (PEP 562), so that `import ecompute` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import contract as contract
    from .async_client import AsyncClient, login_async
    from .async_events import AsyncEvents
    from .async_temporary import AsyncTemporary
    from .async_terminal import AsyncTerminal
    from .async_watch import AsyncWatch
    from .client import Client, login
    from .contract.problems import Fault
    from .contract.resources import Container, IngressRule, Mounts, Session, SSHAccess, SSHKey, Token
    from .contract.scopes import Grants, Scope
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
    from .protocol.feed import Deleted, Event, Snapshot, StatusChanged
    from .settings import VERSION as __version__
    from .temporary import Temporary
    from .terminal import Terminal
    from .watch import Watch

__all__ = [
    "APIError",
    "AsyncClient",
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
    "IngressRule",
    "InternalError",
    "InvalidAnswer",
    "InvalidArgument",
    "InvalidRequest",
    "LimitReached",
    "MethodNotAllowed",
    "Mounts",
    "Needed",
    "NotFound",
    "NotRunning",
    "OutcomeUnknown",
    "RateLimited",
    "SSHAccess",
    "SSHKey",
    "Scope",
    "Session",
    "Snapshot",
    "StatusChanged",
    "Temporary",
    "Terminal",
    "Token",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "Unsupported",
    "Watch",
    "__version__",
    "contract",
    "login",
    "login_async",
]

_HOMES = {
    "async_client": ("AsyncClient", "login_async"),
    "async_events": ("AsyncEvents",),
    "async_temporary": ("AsyncTemporary",),
    "async_terminal": ("AsyncTerminal",),
    "async_watch": ("AsyncWatch",),
    "client": ("Client", "login"),
    "contract.problems": ("Fault",),
    "contract.resources": (
        "Container",
        "IngressRule",
        "Mounts",
        "SSHAccess",
        "SSHKey",
        "Session",
        "Token",
    ),
    "contract.scopes": ("Grants", "Scope"),
    "events": ("Events",),
    "protocol.feed": ("Deleted", "Event", "Snapshot", "StatusChanged"),
    "settings": ("__version__",),
    "temporary": ("Temporary",),
    "terminal": ("Terminal",),
    "watch": ("Watch",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


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


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
