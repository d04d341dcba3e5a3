"""Modules of ours that are loaded when a name of theirs is first used, so that making a client is quick."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .contract import endpoints as endpoints
    from .contract import requests as requests
    from .protocol import execution as execution
    from .protocol import flows as flows
    from .protocol import observing as observing
    from .protocol import policy as policy
    from .protocol import temporary as temporary
    from .protocol import waiting as waiting
    from .protocol import wire as wire
else:
    from importlib import import_module

    class _Late:
        """A module that answers as the real one, which is loaded at the first question."""

        def __init__(self, name: str) -> None:
            self._name = f"{__package__}.{name}"

        def __getattr__(self, name: str) -> Any:
            return getattr(import_module(self._name), name)

    endpoints, requests = _Late("contract.endpoints"), _Late("contract.requests")
    execution, flows, policy = _Late("protocol.execution"), _Late("protocol.flows"), _Late("protocol.policy")
    observing = _Late("protocol.observing")
    temporary, waiting, wire = _Late("protocol.temporary"), _Late("protocol.waiting"), _Late("protocol.wire")
