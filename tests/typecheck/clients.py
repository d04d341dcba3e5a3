"""What a type checker knows of the sync client: every operation, by the types of what it takes and gives."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import assert_type

import ecompute
from ecompute import (
    Client,
    CommandResult,
    Container,
    IngressRule,
    Mounts,
    Session,
    SSHAccess,
    SSHKey,
    Token,
)


def makes(client: Client) -> None:
    assert_type(Client(), Client)
    assert_type(Client("token", "https://compute.example.org", timeout=3), Client)
    assert_type(
        Client(lambda: "token", profile="work", verify=False, proxy="http://proxy.example.org"), Client
    )
    assert_type(Client(retries=ecompute.Retries(attempts=1), hooks=ecompute.Hooks()), Client)
    assert_type(client.with_options(timeout=3), Client)
    assert_type(ecompute.login("https://compute.example.org", "ann", "secret"), Session)
    assert_type(client.session(), Session)
    assert_type(client.session().token, str | None)
    assert_type(client.stats.requests, int)
    with client as entered:
        assert_type(entered, Client)


def containers(client: Client, box: Container, key: SSHKey) -> None:
    assert_type(client.containers.list(), list[Container])
    assert_type(client.containers.create("name", [1, key]), Container)
    assert_type(
        client.containers.create("name", key, memory_mb=512, wait=True, delete_on_failure=True), Container
    )
    for one in (box, box.id):
        assert_type(client.containers.get(one), Container)
        assert_type(client.containers.start(one, wait=True), Container)
        assert_type(client.containers.stop(one), Container)
        assert_type(client.containers.wait(one, "running", timeout=3), Container)
        client.containers.delete(one)
    assert_type(client.containers.wait_all([box, "abc12345"]), list[Container])


def groups(client: Client, box: Container, key: SSHKey, token: Token) -> None:
    assert_type(client.ssh_keys.list(), list[SSHKey])
    assert_type(client.ssh_keys.add("name", "ssh-ed25519 AAAA"), SSHKey)
    assert_type(client.ssh_keys.add("name", Path("key.pub")), SSHKey)
    client.ssh_keys.delete(key)
    client.ssh_keys.delete(key.id)
    assert_type(client.ssh_access.get(box), SSHAccess)
    assert_type(client.ssh_access.set(box, True).ssh_enabled, bool)
    assert_type(client.ingress.list(box), list[IngressRule])
    assert_type(client.ingress.add(box, 443, 8000), IngressRule)
    client.ingress.remove(box, 443)
    assert_type(client.mounts.get(box), Mounts)
    assert_type(client.mounts.set(box, ["/srv"]).restarted, bool | None)
    assert_type(client.tokens.list(), list[Token])
    assert_type(client.tokens.create("name", {"compute.<uid>": ["read"]}), Token)
    assert_type(
        client.tokens.create("name", ecompute.Grants({"compute.u1": ["read"]}), expires_in="never"), Token
    )
    client.tokens.delete(token)
    client.tokens.delete(token.id)


def acting(box: Container) -> None:
    assert_type(box.refresh(), Container)
    assert_type(box.start(wait=True), Container)
    assert_type(box.stop(), Container)
    assert_type(box.wait(), Container)
    assert_type(box.run("uname -m"), CommandResult)
    assert_type(box.list_ingress(), list[IngressRule])
    assert_type(box.get_mounts(), Mounts)
    box.copy_to("here", "/there")
    box.copy_from("/there", Path("here"))
    with box.terminal() as terminal:
        assert_type(terminal, ecompute.Terminal)
    box.delete()


def values(box: Container, key: SSHKey, rule: IngressRule, session: Session, token: Token) -> None:
    assert_type(box.id, str)
    assert_type(box.status, str)
    assert_type(box.memory_mb, int)
    assert_type(box.created_at, datetime)
    assert_type(box.external_ip, str | None)
    assert_type(box.storage_used_gb, float | None)
    assert_type(key.id, int)
    assert_type(rule.created_at, int)
    assert_type(session.is_admin, bool)
    assert_type([*token.scopes.values()], list[tuple[str, ...]])


def conversations(client: Client, box: Container) -> None:
    with client.terminal(box, rows=40) as terminal:
        terminal.write("ls\n")
        terminal.resize(24, 80)
        assert_type(terminal.read(timeout=1), bytes)
        assert_type(terminal.exit_status, int | None)
        for piece in terminal:
            assert_type(piece, bytes)
    with client.temporary(memory_mb=512) as container:
        assert_type(container, Container)
    with client.watch() as view:
        assert_type(view, ecompute.Watch)
        assert_type(view["abc12345"], Container)
        assert_type([*view.values()], list[Container])
        view.wait(lambda now: all(box.status == "running" for box in now.values()))


def commands(client: Client, box: Container, on_output: Callable[[bytes], None]) -> None:
    assert_type(client.run(box, ["make", "test"]), CommandResult)
    result = client.run(box, "make", input=b"", on_output=on_output, on_error=print, timeout=3, check=True)
    assert_type(result.exit_status, int)
    assert_type(result.output, bytes)
    assert_type(result.text, str)
    client.run(box, "cat", input=[b"a", b"b"])
    client.run(box, "cat", input="text")
    with Path("file").open("rb") as file:
        client.run(box, "cat", input=file)


def settling(client: Client, unknown: ecompute.OutcomeUnknown) -> None:
    assert_type(client.resolve(unknown), Container | SSHKey)
    assert_type(ecompute.OutcomeUnknown.from_json(unknown.to_json()), ecompute.OutcomeUnknown)
