"""Mistakes in keys, containers, SSH access, ingress rules and mount paths."""

from __future__ import annotations

import datetime
from typing import Any

import attrs

from ecompute.contract import requests as ask

from .fault import fault, handler, request_field, rule, wrap


@fault("KEY-015", area="keys")
def key_ids_reused() -> None:
    """The id of a deleted key is given again."""
    from ecompute_server.store import people

    def insert(old: Any, db: Any, table: str, values: Any) -> Any:
        if table != "ssh_keys":
            return old(db, table, values)
        highest = db.conn.execute("SELECT COALESCE(MAX(id), 0) FROM ssh_keys").fetchone()[0]
        return old(db, table, {**values, "id": highest + 1})

    wrap(people, "insert", insert)


@fault("KEY-004", area="keys")
def key_twice() -> None:
    """The same key may be registered twice."""
    import secrets

    from ecompute_server.handlers import ssh_keys

    class AnyKey:
        fingerprint = property(lambda self: secrets.token_hex(8))

        @classmethod
        def parse(cls, text: str) -> AnyKey:
            return cls()

    ssh_keys.PublicKey = AnyKey  # type: ignore[assignment,misc]


@fault("KEY-009", area="keys")
def key_of_another_type() -> None:
    """The type inside a key's blob is not compared with the one in front of it."""
    from ecompute.contract import public_key

    def check(old: Any, type_: str, blob: bytes) -> None:
        length = int.from_bytes(blob[:4], "big")
        old(blob[4 : 4 + length].decode("ascii", "replace") or type_, blob)

    wrap(public_key, "_check", check)


@fault("KEY-010", area="keys")
def short_rsa_keys() -> None:
    """RSA keys of 1024 bits are taken."""
    from ecompute.contract import public_key

    public_key.MIN_RSA_BITS = 1024


@fault("KEY-011", area="keys")
def point_off_its_curve() -> None:
    """ECDSA points are not checked to be on their curve."""
    from ecompute.contract import public_key

    def ecdsa(old: Any, curve: str, reader: Any) -> None:
        reader.string()
        reader.string()

    wrap(public_key, "_ecdsa", ecdsa)


@fault("KEY-008", area="keys")
def key_options_taken() -> None:
    """Options in front of a key are dropped rather than refused."""

    def public_key(old: Any, value: str, bounds: Any) -> Any:
        place = value.find("ssh-ed25519")
        return old(value[place:] if place > 0 else value, bounds)

    rule(ask.AddSSHKey, "public_key", public_key)


@fault("KEY-014", area="keys")
def keys_oldest_first() -> None:
    """Keys are listed oldest first."""
    from ecompute_server.store.people import SqliteKeys

    wrap(SqliteKeys, "of_user", lambda old, self, user_id: list(reversed(old(self, user_id))))


@fault("KEY-016", area="keys")
def deleted_key_twice() -> None:
    """Deleting a key that is not there answers `ok`."""
    from ecompute_server.store.people import SqliteKeys

    async def remove(old: Any, self: Any, user_id: str, key_id: int) -> bool:
        await old(self, user_id, key_id)
        return True

    wrap(SqliteKeys, "remove", remove)


@fault("KEY-006", area="keys")
def key_comment_lost() -> None:
    """The comment of a key is not kept."""
    rule(ask.AddSSHKey, "public_key", lambda old, value, bounds: " ".join(old(value, bounds).split(" ")[:2]))


@fault("CRE-002", area="creation")
def memory_by_default_1024() -> None:
    """A container without `memory_mb` gets 1024."""
    request_field(ask.CreateContainer, "memory_mb", default=1024)


@fault("CRE-003", area="creation")
def storage_by_default_10() -> None:
    """A container without `storage_gb` gets 10."""
    request_field(ask.CreateContainer, "storage_gb", default=10)


@fault("CRE-001", area="creation")
def type_by_default_micro() -> None:
    """A container without a type is a `micro`."""
    request_field(ask.CreateContainer, "instance_type", default="micro")


@fault("CRE-004", area="creation")
def ssh_by_default_on() -> None:
    """SSH is on unless it is turned off."""
    request_field(ask.CreateContainer, "ssh_enabled", default=True)


@fault("CRE-005", area="creation")
def mounts_by_default_home() -> None:
    """A container without mount paths persists `/home`."""
    request_field(ask.CreateContainer, "mount_paths", default=("/home",))


@fault("CRE-006", area="creation")
def zero_memory_refused() -> None:
    """`memory_mb: 0` is refused instead of being the default."""
    request_field(ask.CreateContainer, "memory_mb", empty=())


@fault("CRE-006", area="creation")
def empty_mounts_refused() -> None:
    """`mount_paths: []` is refused in a create body."""
    request_field(ask.CreateContainer, "mount_paths", empty=())


@fault("CRE-010", area="creation")
def memory_off_by_one() -> None:
    """64 MB are refused."""
    rule(
        ask.CreateContainer,
        "memory_mb",
        lambda old, value, bounds: old(value - 1 if value == 64 else value, bounds),
    )


@fault("CRE-011", area="creation")
def memory_beyond_its_end() -> None:
    """65537 MB are taken."""
    rule(
        ask.CreateContainer,
        "memory_mb",
        lambda old, value, bounds: value if value == 65537 else old(value, bounds),
    )


@fault("CRE-009", area="creation")
def name_of_64() -> None:
    """A name of 64 characters is taken."""
    rule(
        ask.CreateContainer,
        "name",
        lambda old, value, bounds: value if len(value) == 64 else old(value, bounds),
    )


@fault("CRE-009", area="creation")
def name_with_controls() -> None:
    """Control characters in a name are dropped instead of refused."""
    rule(
        ask.CreateContainer,
        "name",
        lambda old, value, bounds: old("".join(c for c in value if c.isprintable()), bounds),
    )


@fault("CRE-026", area="creation")
def name_not_trimmed() -> None:
    """Spaces around a name stay."""
    rule(ask.CreateContainer, "name", lambda old, value, bounds: old(value, bounds) and value)


@fault("CRE-018", area="creation")
def keys_may_repeat() -> None:
    """The same key twice in `ssh_key_ids` is taken."""
    rule(
        ask.CreateContainer,
        "ssh_key_ids",
        lambda old, value, bounds: old(tuple(dict.fromkeys(value)), bounds),
    )


@fault("CRE-017", area="creation")
def no_key_needed() -> None:
    """A container without any key is made."""
    rule(ask.CreateContainer, "ssh_key_ids", lambda old, value, bounds: tuple(value) and old(value, bounds))


@fault("CRE-021", area="creation")
def first_fault_only() -> None:
    """Of several faults in a body only the first is told."""
    from ecompute_server.http import app

    wrap(app, "invalid", lambda old, faults: old(faults[:1]))


@fault("CON-016", area="containers")
def list_is_stale_after_delete() -> None:
    """A deleted container stays in the list until the next change."""
    from ecompute_server.store.containers import SqliteContainers

    def remember(old: Any, self: Any, record: Any) -> None:
        late = getattr(self, "_late", None)
        if late is not None:
            old(self, late)
            self._late = None
        if record.life.deleted:
            self._records[record.id] = record
            self._late = record
        else:
            old(self, record)

    wrap(SqliteContainers, "_remember", remember)


@fault("LIF-010", area="containers")
def deleted_container_still_answers() -> None:
    """`GET` of a deleted container answers until it is cleaned up."""
    from ecompute_server.http import app

    def container_of(old: Any, services: Any, asked: Any, connection: Any, caller: Any) -> Any:
        if asked.name == "containers.get":
            record = services.containers.get(connection.path_params["id"])
            if record is not None and record.user_id == caller.user_id:
                return record
        return old(services, asked, connection, caller)

    wrap(app, "container_of", container_of)


@fault("CON-006", area="containers")
def containers_oldest_first() -> None:
    """Containers are listed oldest first."""
    from ecompute_server.store.containers import SqliteContainers

    wrap(SqliteContainers, "of_user", lambda old, self, user_id: list(reversed(old(self, user_id))))


@fault("CRE-026", area="containers")
def list_and_get_differ() -> None:
    """The list leaves `storage_gb` at its default."""
    from ecompute_server.core.presentation import View

    def json_of(old: Any, self: Any, record: Any) -> Any:
        import inspect

        inside = inspect.stack()[2].function == "list_"
        return old(self, attrs.evolve(record, storage_gb=5) if inside else record)

    wrap(View, "json", json_of)


@fault("CON-010", area="containers")
def time_without_zone() -> None:
    """`created_at` is told in local time with an offset."""
    from ecompute_server.core.presentation import View

    zone = datetime.timezone(datetime.timedelta(hours=2))

    def container(old: Any, self: Any, record: Any, usage: Any) -> Any:
        made = old(self, record, usage)
        return attrs.evolve(made, created_at=made.created_at.replace(tzinfo=None).replace(tzinfo=zone))

    wrap(View, "_container", container)


@fault("CON-003", area="containers")
def hostname_by_name() -> None:
    """The host name is made of the container's name."""
    from ecompute_server.core.presentation import View

    wrap(View, "hostname", lambda old, self, record: f"{record.name}.{self.domain}")


@fault("CRE-006", area="creation")
def created_is_201() -> None:
    """A create is answered with 201."""
    from ecompute_server.http import responses

    def _json(old: Any, status: int, body: bytes, headers: Any) -> Any:
        return old(
            201 if b'"status":"pending"' in body and status == 200 and body[:1] == b"{" else status,
            body,
            headers,
        )

    wrap(responses, "_json", _json)


@fault("CON-007", area="containers")
def delete_is_204() -> None:
    """A delete is answered with 204 and nothing."""
    from ecompute_server.http import responses

    def _json(old: Any, status: int, body: bytes, headers: Any) -> Any:
        return old(204, b"", headers) if body == b'{"status":"ok"}' else old(status, body, headers)

    wrap(responses, "_json", _json)


@fault("SSH-003", area="ssh_access")
def ssh_access_not_kept() -> None:
    """Turning SSH access on is answered, and forgotten."""
    from ecompute_server.core import edits

    def set_ssh_access(old: Any, record: Any, enabled: bool) -> Any:
        made = old(record, enabled)
        return attrs.evolve(made, record=record)

    async def set_(old: Any, call: Any) -> Any:
        await old(call)
        from ecompute.contract.resources import SSHAccess

        return SSHAccess(call.request.ssh_enabled)

    wrap(edits, "set_ssh_access", set_ssh_access)
    handler("ssh_access.set", set_)


@fault("SSH-008", area="ssh_access")
def ssh_command_without_ssh() -> None:
    """`ssh_command` is told also while SSH is off."""
    from ecompute_server.core.presentation import View

    def container(old: Any, self: Any, record: Any, usage: Any) -> Any:
        made = old(self, record, usage)
        return attrs.evolve(made, ssh_command=self._ssh_command(record))

    wrap(View, "_container", container)


@fault("SSH-002", area="ssh_access")
def ssh_access_only_on() -> None:
    """SSH access can be turned on but not off."""
    from ecompute_server.core import edits

    wrap(edits, "set_ssh_access", lambda old, record, enabled: old(record, enabled or record.ssh_enabled))


@fault("ING-003", area="ingress")
def port_9000() -> None:
    """Port 9000 may be published."""
    rule(ask.AddIngress, "port", lambda old, value, bounds: value if value == 9000 else old(value, bounds))


@fault("ING-002", area="ingress")
def port_8000_refused() -> None:
    """Port 8000 may not be published."""
    rule(ask.AddIngress, "port", lambda old, value, bounds: old(79 if value == 8000 else value, bounds))


@fault("ING-004", area="ingress")
def target_is_80() -> None:
    """Without a target port a rule leads to 80."""

    async def add(old: Any, call: Any) -> Any:
        request = call.request
        return await old(
            attrs.evolve(call, request=attrs.evolve(request, target_port=request.target_port or 80))
        )

    handler("ingress.add", add)


@fault("ING-010", area="ingress")
def rule_replaced_with_a_new_id() -> None:
    """A rule for a port that has one gets a new id."""
    from ecompute_server.core import edits

    def put_rule(old: Any, record: Any, port: int, target_port: int, *, now: int) -> Any:
        bare = attrs.evolve(record, ingress=tuple(r for r in record.ingress if r.port != port))
        return old(bare, port, target_port, now=now)

    wrap(edits, "put_rule", put_rule)


@fault("ING-012", area="ingress")
def rules_by_age() -> None:
    """Rules are listed by age instead of by port."""
    from ecompute_server.core import edits

    wrap(edits, "_sorted", lambda old, *rules: tuple(sorted(rules, key=lambda rule: rule.id)))


@fault("ING-016", area="ingress")
def absent_rule_removed() -> None:
    """Removing a rule that is not there answers `ok`."""
    from ecompute_server.core import edits

    wrap(edits, "remove_rule", lambda old, record, port: attrs.evolve(old(record, port), result=True))


@fault("ING-014", area="ingress")
def https_by_any_port() -> None:
    """`https_enabled` is true once any port is published."""
    from ecompute_server.core.record import ContainerRecord

    wrap(ContainerRecord, "https_enabled", lambda old, self: bool(self.ingress))


@fault("ING-001", area="ingress")
def rule_time_as_text() -> None:
    """`created_at` of a rule is a text."""
    from ecompute_server.handlers import ingress

    def present(old: Any, made: Any) -> Any:
        return attrs.evolve(old(made), created_at=str(made.created_at))

    wrap(ingress, "_present", present)


@fault("ING-006", area="ingress")
def zero_target_refused() -> None:
    """`target_port: 0` is refused."""
    request_field(ask.AddIngress, "target_port", empty=())


@fault("MNT-005", area="mounts")
def mount_path_escapes() -> None:
    """`..` in a mount path is resolved instead of refused, so that it leads anywhere."""
    import posixpath

    from ecompute.contract import rules

    wrap(
        rules, "mount_path", lambda old, value: old(posixpath.normpath(value) if value[:1] == "/" else value)
    )


@fault("MNT-006", area="mounts")
def system_folders_mounted() -> None:
    """`/etc` may be a mount path."""
    from ecompute.contract import rules

    rules.FORBIDDEN_ROOTS = tuple(root for root in rules.FORBIDDEN_ROOTS if root != "/etc")


@fault("MNT-021", area="mounts")
def libraries_mounted() -> None:
    """`/lib64` may be a mount path."""
    from ecompute.contract import rules

    wrap(rules, "mount_path", lambda old, value: value if value == "/lib64" else old(value))


@fault("MNT-012", area="mounts")
def nested_mounts() -> None:
    """A mount path inside another one is taken."""
    from ecompute.contract import rules

    def mount_paths(old: Any, value: Any, bounds: Any) -> Any:
        return tuple(dict.fromkeys(rules.mount_path(path) for path in value)) or old(value, bounds)

    for cls in (ask.CreateContainer, ask.SetMounts):
        rule(cls, "mount_paths", mount_paths)


@fault("MNT-009", area="mounts")
def seventeen_mounts() -> None:
    """17 mount paths are taken."""
    from ecompute.contract import catalog

    catalog.MAX_MOUNT_PATHS = 17


@fault("MNT-003", area="mounts")
def mounts_as_written() -> None:
    """Mount paths are kept as they were written."""
    for cls in (ask.CreateContainer, ask.SetMounts):
        rule(cls, "mount_paths", lambda old, value, bounds: old(value, bounds) and tuple(value))


@fault("MNT-017", area="mounts")
def same_mounts_restart() -> None:
    """The same mount paths in another order restart the container."""
    from ecompute_server.core import edits

    def set_mounts(old: Any, record: Any, paths: Any) -> Any:
        return old(attrs.evolve(record, mount_paths=("/other",)), paths)

    wrap(edits, "set_mounts", set_mounts)


@fault("MNT-016", area="mounts")
def stopped_containers_restart() -> None:
    """Changing the mount paths of a stopped container starts it."""
    from ecompute_server.core import edits

    def set_mounts(old: Any, record: Any, paths: Any) -> Any:
        made = old(record, paths)
        started = edits.command(made.record, edits.Command.START)
        return made if made.result else edits.Edited(started.record, started.effects, bool(started.effects))

    wrap(edits, "set_mounts", set_mounts)


@fault("MNT-014", area="mounts")
def mounts_say_no_restart() -> None:
    """`restarted` is always false."""

    async def set_(old: Any, call: Any) -> Any:
        return attrs.evolve(await old(call), restarted=False)

    handler("mounts.set", set_)


@fault("MNT-018", area="mounts")
def data_lost_with_its_path() -> None:
    """Nothing persists over stop and start."""
    from ecompute_server.hypervisor.simulated.files import Files

    wrap(Files, "_mount", lambda old, self, path: None)
