"""What each field of a request, resource or message means, in one or two sentences.

The generated descriptions print these; the rules themselves stand in `rules`. A field that means the same
wherever it occurs has one entry, under its name alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from ecompute.contract import catalog, messages, requests, resources

FIELDS: Mapping[str, str] = {
    "cols": "Width of the terminal in characters.",
    "container_id": "Which container.",
    "containers": "The containers, newest first.",
    "created_at": "When it was made: ISO 8601, UTC.",
    "display_name": "The user's name for people to read.",
    "external_ip": "The container's own address on the host's network, once known; it stays the same.",
    "hostname": "The container's name in the domain of the server.",
    "https_enabled": "Whether port 443 is published, where the gateway ends TLS.",
    "id": "The container's id.",
    "instance_type": "The size of the machine; it decides the architecture and the processors.",
    "is_admin": "Whether the user administers the server.",
    "last_used_at": "When it last opened a request, in seconds since the epoch; 0 for never.",
    "memory_mb": "Memory in MB.",
    "memory_used_mb": "Memory in use in MB, the kernel's part included; there only while known.",
    "mount_paths": "The absolute paths whose data persists; everything else is new after each start.",
    "name": "What its owner calls it; need not be unique.",
    "port": "The external port: 80, 443 or 8000 to 8999.",
    "public_key": "One line of OpenSSH: type, base64 and comment.",
    "restarted": "Whether the container was restarted for the change; there only after one.",
    "rows": "Height of the terminal in lines.",
    "rules": "The rules, by port.",
    "ssh_command": "A command that opens a shell from outside; there only while SSH is on.",
    "ssh_enabled": "Whether SSH leads in from outside; the terminal works regardless.",
    "ssh_host_key": "The public line of its host key, for pinning, once known; it stays the same.",
    "ssh_key_ids": "The caller's own keys that root in the container accepts; at least one, all different.",
    "ssh_keys": "The keys, newest first.",
    "status": "Where the container is in its life. A newer server may know more statuses.",
    "status_reason": "Why it failed, in one sentence; there only with the status `failed`.",
    "storage_gb": "Storage in GB.",
    "storage_used_gb": (
        "What files take in GB, also those under paths that left the mount paths; there only while known."
    ),
    "target_port": "The port inside the container.",
    "tokens": "The tokens, newest first.",
    "user_id": "The user's id, which stands in scopes.",
    "username": "The name to log in with.",
}


def _name(lengths: range) -> str:
    return f"{lengths[0]} to {lengths[-1]} printable characters after trimming; need not be unique."


_PATHS = (
    f"absolute, at most {catalog.MAX_MOUNT_PATHS}, none inside another, none in a directory of the system"
)

SPECIAL: Mapping[tuple[type, str], str] = {
    (requests.AddSSHKey, "name"): _name(catalog.NAME_LENGTH),
    (requests.AddSSHKey, "public_key"): (
        "One line of an `id_*.pub` file, without options in front. Types: "
        f"{', '.join(catalog.PUBLIC_KEY_TYPES)}; RSA with at least {catalog.MIN_RSA_BITS} bits."
    ),
    (requests.CreateContainer, "name"): _name(catalog.NAME_LENGTH),
    (
        requests.CreateContainer,
        "mount_paths",
    ): f"The paths whose data persists over stop and start: {_PATHS}.",
    (requests.CreateToken, "name"): _name(catalog.TOKEN_NAME_LENGTH),
    (requests.AddIngress, "target_port"): "The port inside the container; left out, 0 or null: as `port`.",
    (requests.CreateToken, "expires_in"): "How long the token works.",
    (requests.CreateToken, "scopes"): "What the token may do: scopes of the caller's, each with its actions.",
    (requests.DeleteSSHKey, "id"): "The key's id.",
    (requests.DeleteToken, "id"): "The token's id, which is not the token itself.",
    (requests.LogIn, "password"): "The user's password.",
    (requests.SetMounts, "mount_paths"): (
        f"The paths whose data persists from now on: {_PATHS}. Data under a path that leaves the list is "
        "kept, and is there again when the path comes back."
    ),
    (requests.SetSSHAccess, "ssh_enabled"): "Whether SSH is to lead in from outside.",
    (resources.Acknowledgement, "status"): "Always `ok`.",
    (resources.IngressRule, "created_at"): "When the rule was made, in seconds since the epoch.",
    (resources.IngressRule, "id"): "The rule's id, which a change of its target keeps.",
    (resources.Session, "token"): "The session token; there only after a login.",
    (resources.SSHKey, "id"): "The key's id, which is never given to another key.",
    (resources.Token, "created_at"): "When it was made, in seconds since the epoch.",
    (resources.Token, "expires_at"): "When it ends, in seconds since the epoch; 0 for never.",
    (resources.Token, "id"): "The token's id, to revoke it by.",
    (resources.Token, "scopes"): "What the token may do: scopes, each with its actions.",
    (resources.Token, "token"): "The credential itself; told in the answer that made it and never again.",
    (messages.Execute, "command"): "A shell line, run as root.",
    (messages.Execute, "pty"): "Whether it gets a pseudo-terminal; all its output is then stream 1.",
    (messages.Exit, "status"): "What the process ended with; 128 + number for a signal.",
    (messages.Resize, "cols"): "Width in characters; taken as the nearest of "
    f"{catalog.TERMINAL_SIZE[0]} to {catalog.TERMINAL_SIZE[-1]}.",
    (messages.Resize, "rows"): "Height in lines; taken as the nearest of "
    f"{catalog.TERMINAL_SIZE[0]} to {catalog.TERMINAL_SIZE[-1]}.",
    (messages.Signal, "name"): "The signal's name without `SIG`, such as `TERM`.",
}


def meaning(cls: type, field: str) -> str:
    """What a field of a class of the contract means.

    Raises:
        KeyError: nothing is written about it.
    """
    return SPECIAL.get((cls, field)) or FIELDS[field]


def details(cls: type) -> str:
    """What its docstring says beyond the first paragraph, without line breaks; mostly nothing."""
    return " ".join((cls.__doc__ or "").partition("\n\n")[2].split())


def about(cls: type) -> str:
    """What a class of the contract is: the first paragraph of its docstring, as one line."""
    return " ".join((cls.__doc__ or "").partition("\n\n")[0].split())
