"""The table: every operation of the API, one row each.

Everything that must know all operations reads this table: the clients, the server's routing and
authorisation and the tests that look for a forgotten row. A row stands here only when it works.
"""

from __future__ import annotations

from typing import Any

from . import catalog, messages, requests, resources
from .endpoint import Auth, Channel, Endpoint
from .problems import Code
from .scopes import Action

_CONTAINERS = "compute.<uid>.containers"
_CONTAINER = "compute.<uid>.containers.<id>"
_KEYS = "compute.<uid>.keys"

LIST_CONTAINERS = Endpoint(
    name="containers.list",
    method="GET",
    path="/compute/containers",
    request=requests.ListContainers,
    response=resources.ContainerList,
    auth=Auth.ANY,
    scope=_CONTAINERS,
    action=Action.READ,
    own_errors=(),
    summary="The caller's containers, newest first.",
)
CREATE_CONTAINER = Endpoint(
    name="containers.create",
    method="POST",
    path="/compute/containers",
    request=requests.CreateContainer,
    response=resources.Container,
    auth=Auth.ANY,
    scope=_CONTAINERS,
    action=Action.CREATE,
    own_errors=(Code.LIMIT_REACHED, Code.TOO_LARGE),
    summary="Make a container and start it.",
)
GET_CONTAINER = Endpoint(
    name="containers.get",
    method="GET",
    path="/compute/containers/{id}",
    request=requests.GetContainer,
    response=resources.Container,
    auth=Auth.ANY,
    scope=_CONTAINER,
    action=Action.READ,
    own_errors=(Code.NOT_FOUND,),
    summary="One container.",
)
DELETE_CONTAINER = Endpoint(
    name="containers.delete",
    method="DELETE",
    path="/compute/containers/{id}",
    request=requests.DeleteContainer,
    response=resources.Acknowledgement,
    auth=Auth.ANY,
    scope=_CONTAINER,
    action=Action.DELETE,
    own_errors=(Code.NOT_FOUND,),
    summary="Delete a container and all its data.",
)
START_CONTAINER = Endpoint(
    name="containers.start",
    method="POST",
    path="/compute/containers/{id}/start",
    request=requests.StartContainer,
    response=resources.Container,
    auth=Auth.ANY,
    scope=_CONTAINER,
    action=Action.UPDATE,
    own_errors=(Code.NOT_FOUND, Code.TOO_LARGE),
    summary="Start a stopped or failed container.",
)
STOP_CONTAINER = Endpoint(
    name="containers.stop",
    method="POST",
    path="/compute/containers/{id}/stop",
    request=requests.StopContainer,
    response=resources.Container,
    auth=Auth.ANY,
    scope=_CONTAINER,
    action=Action.UPDATE,
    own_errors=(Code.NOT_FOUND, Code.TOO_LARGE),
    summary="Stop a container; what lies under its mount paths stays.",
)
LIST_SSH_KEYS = Endpoint(
    name="ssh_keys.list",
    method="GET",
    path="/compute/ssh-keys",
    request=requests.ListSSHKeys,
    response=resources.SSHKeyList,
    auth=Auth.ANY,
    scope=_KEYS,
    action=Action.READ,
    own_errors=(),
    summary="The caller's SSH keys, newest first.",
)
ADD_SSH_KEY = Endpoint(
    name="ssh_keys.add",
    method="POST",
    path="/compute/ssh-keys",
    request=requests.AddSSHKey,
    response=resources.SSHKey,
    auth=Auth.ANY,
    scope=_KEYS,
    action=Action.CREATE,
    own_errors=(Code.CONFLICT, Code.LIMIT_REACHED, Code.TOO_LARGE),
    summary="Register an SSH public key.",
)
DELETE_SSH_KEY = Endpoint(
    name="ssh_keys.delete",
    method="DELETE",
    path="/compute/ssh-keys/{id}",
    request=requests.DeleteSSHKey,
    response=resources.Acknowledgement,
    auth=Auth.ANY,
    scope=_KEYS,
    action=Action.DELETE,
    own_errors=(Code.NOT_FOUND,),
    summary="Forget an SSH key; containers that carry it keep it.",
)
GET_SSH_ACCESS = Endpoint(
    name="ssh_access.get",
    method="GET",
    path="/compute/containers/{id}/ssh",
    request=requests.GetSSHAccess,
    response=resources.SSHAccess,
    auth=Auth.ANY,
    scope=_CONTAINER,
    action=Action.READ,
    own_errors=(Code.NOT_FOUND,),
    summary="Whether a container can be reached by SSH from outside.",
)
SET_SSH_ACCESS = Endpoint(
    name="ssh_access.set",
    method="PUT",
    path="/compute/containers/{id}/ssh",
    request=requests.SetSSHAccess,
    response=resources.SSHAccess,
    auth=Auth.ANY,
    scope=_CONTAINER,
    action=Action.UPDATE,
    own_errors=(Code.NOT_FOUND, Code.TOO_LARGE),
    summary="Turn SSH from outside on or off; the terminal works regardless.",
)
LIST_INGRESS = Endpoint(
    name="ingress.list",
    method="GET",
    path="/compute/containers/{id}/ingress",
    request=requests.ListIngress,
    response=resources.IngressRuleList,
    auth=Auth.ANY,
    scope=_CONTAINER,
    action=Action.READ,
    own_errors=(Code.NOT_FOUND,),
    summary="The ingress rules of a container, by port.",
)
ADD_INGRESS = Endpoint(
    name="ingress.add",
    method="POST",
    path="/compute/containers/{id}/ingress",
    request=requests.AddIngress,
    response=resources.IngressRule,
    auth=Auth.ANY,
    scope=_CONTAINER,
    action=Action.UPDATE,
    own_errors=(Code.NOT_FOUND, Code.TOO_LARGE),
    summary="Publish a port of a container, or change where a published one leads.",
)
REMOVE_INGRESS = Endpoint(
    name="ingress.remove",
    method="DELETE",
    path="/compute/containers/{id}/ingress/{port}",
    request=requests.RemoveIngress,
    response=resources.Acknowledgement,
    auth=Auth.ANY,
    scope=_CONTAINER,
    action=Action.UPDATE,
    own_errors=(Code.NOT_FOUND,),
    summary="Publish a port no longer.",
)
GET_MOUNTS = Endpoint(
    name="mounts.get",
    method="GET",
    path="/compute/containers/{id}/mounts",
    request=requests.GetMounts,
    response=resources.Mounts,
    auth=Auth.ANY,
    scope=_CONTAINER,
    action=Action.READ,
    own_errors=(Code.NOT_FOUND,),
    summary="The paths of a container that persist.",
)
SET_MOUNTS = Endpoint(
    name="mounts.set",
    method="PUT",
    path="/compute/containers/{id}/mounts",
    request=requests.SetMounts,
    response=resources.Mounts,
    auth=Auth.ANY,
    scope=_CONTAINER,
    action=Action.UPDATE,
    own_errors=(Code.NOT_FOUND, Code.TOO_LARGE),
    summary="Choose the paths that persist; a container that is up restarts when they change.",
)
LOG_IN = Endpoint(
    name="login",
    method="POST",
    path="/api/login",
    request=requests.LogIn,
    response=resources.Session,
    auth=Auth.NONE,
    scope=None,
    action=None,
    own_errors=(Code.UNAUTHENTICATED, Code.TOO_LARGE),
    summary="Trade a user name and password for a session token.",
)
GET_SESSION = Endpoint(
    name="session",
    method="GET",
    path="/api/session",
    request=requests.GetSession,
    response=resources.Session,
    auth=Auth.ANY,
    scope=None,
    action=None,
    own_errors=(),
    summary="Who the credential belongs to.",
)
LOG_OUT = Endpoint(
    name="logout",
    method="POST",
    path="/api/logout",
    request=requests.LogOut,
    response=resources.Acknowledgement,
    auth=Auth.SESSION,
    scope=None,
    action=None,
    own_errors=(Code.TOO_LARGE,),
    summary="End a session at once.",
)
LIST_TOKENS = Endpoint(
    name="tokens.list",
    method="GET",
    path="/api/tokens",
    request=requests.ListTokens,
    response=resources.TokenList,
    auth=Auth.SESSION,
    scope=None,
    action=None,
    own_errors=(),
    summary="The caller's API tokens, newest first.",
)
CREATE_TOKEN = Endpoint(
    name="tokens.create",
    method="POST",
    path="/api/tokens",
    request=requests.CreateToken,
    response=resources.Token,
    auth=Auth.SESSION,
    scope=None,
    action=None,
    own_errors=(Code.LIMIT_REACHED, Code.TOO_LARGE),
    summary="Make an API token with no more rights than its maker has.",
)
DELETE_TOKEN = Endpoint(
    name="tokens.delete",
    method="DELETE",
    path="/api/tokens/{id}",
    request=requests.DeleteToken,
    response=resources.Acknowledgement,
    auth=Auth.SESSION,
    scope=None,
    action=None,
    own_errors=(Code.NOT_FOUND,),
    summary="Revoke an API token at once.",
)

EVENTS = Channel(
    name="events",
    path="/compute/ws",
    request=requests.OpenEvents,
    auth=Auth.ANY,
    scope="compute.<uid>",
    action=Action.READ,
    own_errors=(),
    summary="Every status change of the caller's containers, as it happens.",
    send=type(None),
    receive=messages.ContainerSnapshot,
)
TERMINAL = Channel(
    name="terminal",
    path="/compute/containers/{id}/terminal",
    request=requests.OpenTerminal,
    auth=Auth.ANY,
    scope=_CONTAINER,
    action=Action.UPDATE,
    own_errors=(Code.NOT_FOUND, Code.NOT_RUNNING),
    summary="A shell on a pseudo-terminal in a running container, or one command.",
    send=bytes,
    receive=bytes,
    subprotocols=(catalog.TERMINAL_PROTOCOL, catalog.EXEC_PROTOCOL),
)

ENDPOINTS: tuple[Endpoint[Any, Any], ...] = (
    LIST_CONTAINERS,
    CREATE_CONTAINER,
    GET_CONTAINER,
    DELETE_CONTAINER,
    START_CONTAINER,
    STOP_CONTAINER,
    LIST_SSH_KEYS,
    ADD_SSH_KEY,
    DELETE_SSH_KEY,
    GET_SSH_ACCESS,
    SET_SSH_ACCESS,
    LIST_INGRESS,
    ADD_INGRESS,
    REMOVE_INGRESS,
    GET_MOUNTS,
    SET_MOUNTS,
    LOG_IN,
    GET_SESSION,
    LOG_OUT,
    LIST_TOKENS,
    CREATE_TOKEN,
    DELETE_TOKEN,
)
"""The HTTP operations, in the order of the API document, identity last."""

CHANNELS: tuple[Channel[Any, Any], ...] = (EVENTS, TERMINAL)
"""The WebSockets, in the order of the API document."""
