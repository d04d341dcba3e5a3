"""What a type checker knows of scopes, and of the table."""

from __future__ import annotations

from typing import Any, assert_type

import ecompute
from ecompute import Client, Grants, Scope
from ecompute.contract.endpoint import Channel, Endpoint
from ecompute.contract.requests import ListContainers
from ecompute.contract.resources import ContainerList


def algebra(scope: Scope, grants: Grants) -> None:
    assert_type(Scope.parse("compute.u1"), Scope)
    assert_type(scope.covers("compute.u1.containers"), bool)
    assert_type(scope <= scope, bool)
    assert_type(scope & scope, Scope | None)
    assert_type(grants | grants, Grants)
    assert_type(grants & grants, Grants)
    assert_type(grants.allows(scope, "read"), bool)
    assert_type(grants.to_dict(), dict[str, list[str]])


def recorded(client: Client) -> None:
    with ecompute.recorded_grants() as recorder:
        client.containers.list()
    assert_type(recorder, ecompute.Recorder)


def table() -> None:
    endpoints = ecompute.contract.endpoints
    assert_type(endpoints.LIST_CONTAINERS, Endpoint[ListContainers, ContainerList])
    assert_type([row.path for row in endpoints.ENDPOINTS], list[str])
    assert_type([*endpoints.CHANNELS], list[Channel[Any, Any]])
