"""One worked example of each request, resource and message, as instances of the contract's classes.

Total over the tables, and valid by the contract's own rules; tests hold both. No credential in here opens
anything, and the private half of the public key is nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from attrs import evolve

from ecompute.contract import messages, requests, resources

CONTAINER_ID = "k3x9q2ab"
USER_ID = "u7f3k2m9"
TOKEN_ID = "t5w8r1"
TOKEN = "ecloud_EXAMPLE"
SESSION_TOKEN = "EXAMPLE.SESSION.TOKEN"

_PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB1C+s8dhKfd0nwFAcAaVWOH/wVjsqPkxC6htB0uGYaY ada@workshop"
_HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKFx475gtsUtgWOzT2Rz33LD/XB0wUbHiNiOc2SDYSCy"
_MADE = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)
_SECONDS = int(_MADE.timestamp())
_DAY = 24 * 60 * 60

_PENDING = resources.Container(
    id=CONTAINER_ID,
    name="weather-station",
    status="pending",
    hostname=f"{CONTAINER_ID}.compute.localhost",
    memory_mb=1024,
    storage_gb=10,
    instance_type="small",
    created_at=_MADE,
    ssh_enabled=True,
    ssh_command="ssh root@127.77.12.5",
    external_ip="127.77.12.5",
    ssh_host_key=_HOST_KEY,
)
_CONTAINER = evolve(_PENDING, status="running", memory_used_mb=187, storage_used_gb=1.4)
_KEY = resources.SSHKey(id=4, name="workshop", public_key=_PUBLIC_KEY, created_at=_MADE)
_RULE = resources.IngressRule(id=12, port=8080, target_port=5000, created_at=_SECONDS)
_PATHS = ("/root", "/srv/readings")
_SCOPES = {f"compute.{USER_ID}.containers": ("create", "read")}
_TOKEN = resources.Token(
    id=TOKEN_ID,
    name="nightly build",
    scopes=_SCOPES,
    expires_at=_SECONDS + 30 * _DAY,
    created_at=_SECONDS,
    last_used_at=_SECONDS + 2 * _DAY,
)

_REQUESTS = (
    requests.ListContainers(),
    requests.CreateContainer(
        name="weather-station",
        ssh_key_ids=(4,),
        instance_type="small",
        memory_mb=1024,
        storage_gb=10,
        ssh_enabled=True,
        mount_paths=_PATHS,
    ),
    requests.GetContainer(CONTAINER_ID),
    requests.DeleteContainer(CONTAINER_ID),
    requests.StartContainer(CONTAINER_ID),
    requests.StopContainer(CONTAINER_ID),
    requests.ListSSHKeys(),
    requests.AddSSHKey(name="workshop", public_key=_PUBLIC_KEY),
    requests.DeleteSSHKey(4),
    requests.GetSSHAccess(CONTAINER_ID),
    requests.SetSSHAccess(CONTAINER_ID, ssh_enabled=False),
    requests.ListIngress(CONTAINER_ID),
    requests.AddIngress(CONTAINER_ID, port=8080, target_port=5000),
    requests.RemoveIngress(CONTAINER_ID, port=8080),
    requests.GetMounts(CONTAINER_ID),
    requests.SetMounts(CONTAINER_ID, mount_paths=_PATHS),
    requests.OpenEvents(),
    requests.OpenTerminal(CONTAINER_ID, rows=40, cols=120),
    requests.LogIn(username="ada", password="EXAMPLE-PASSWORD"),
    requests.GetSession(),
    requests.LogOut(),
    requests.ListTokens(),
    requests.CreateToken(name="nightly build", scopes=_SCOPES, expires_in="30d"),
    requests.DeleteToken(TOKEN_ID),
)

_RESOURCES = (
    _CONTAINER,
    resources.ContainerList((_CONTAINER,)),
    _KEY,
    resources.SSHKeyList((_KEY,)),
    resources.SSHAccess(ssh_enabled=False),
    _RULE,
    resources.IngressRuleList((_RULE,)),
    resources.Mounts(_PATHS, restarted=True),
    resources.Acknowledgement("ok"),
    resources.Session(user_id=USER_ID, username="ada", display_name="Ada", token=SESSION_TOKEN),
    _TOKEN,
    resources.TokenList((_TOKEN,)),
)

_MESSAGES = (
    messages.ContainerSnapshot((_CONTAINER,)),
    messages.ContainerStatus(CONTAINER_ID, status="running", external_ip="127.77.12.5"),
    messages.ContainerDeleted(CONTAINER_ID),
    messages.Resize(rows=50, cols=132),
    messages.Execute("sha256sum /srv/readings/*"),
    messages.EndOfInput(),
    messages.Signal("TERM"),
    messages.Exit(0),
)

EXAMPLES: Mapping[type, Any] = {type(one): one for one in (*_REQUESTS, *_RESOURCES, *_MESSAGES)}
"""The example of each class. Those of one story fit together: the container that is asked for is answered."""

ANSWERS: Mapping[str, Any] = {
    "containers.create": _PENDING,
    "containers.start": _PENDING,
    "containers.stop": evolve(_PENDING, status="stopped"),
    "session": evolve(EXAMPLES[resources.Session], token=None),
    "mounts.get": evolve(EXAMPLES[resources.Mounts], restarted=None),
    "tokens.create": evolve(_TOKEN, last_used_at=0, token=TOKEN),
}
"""The answers, by the row's name, that differ from the example of their class."""
