"""What a restart of the server leaves as it was."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from attrs import frozen

from ecompute.conformance.check import Need, check
from ecompute.conformance.credential import Credential
from ecompute.conformance.feeds import PATH, Feed
from ecompute.conformance.history import Restarted
from ecompute.conformance.lab import Lab
from ecompute.conformance.operating import operate
from ecompute.conformance.requirement import Area, must, ours
from ecompute.conformance.terminals import Command
from ecompute.conformance.verdict import Lost
from ecompute.contract.problems import Code

KEYS, BOXES, TOKENS = "/compute/ssh-keys", "/compute/containers", "/api/tokens"
LIFE = "contract notes: lifecycle"
RESTART_SECONDS = 180.0
NEEDS = (Need.RESTART,)
# what a server measures, and what may be on its way
MOVING = ("status", "memory_used_mb", "storage_used_gb")

AREA = Area(
    "persistence",
    "PER",
    "Restart of the server",
    (
        must(1, "SSH keys are after a restart as they were.", "GET /compute/ssh-keys"),
        must(2, "Containers are after a restart as they were, in their order.", "GET /compute/containers"),
        must(3, "A container that ran runs again after a restart.", LIFE),
        must(4, "A container that was stopped stays stopped over a restart.", LIFE),
        must(5, "Ingress rules are after a restart as they were.", "GET /compute/containers/{id}/ingress"),
        must(6, "Mount paths and SSH access are after a restart as they were.", LIFE),
        must(
            7,
            "Sessions and API tokens hold over a restart, with the rights they had.",
            "contract notes: credentials",
        ),
        must(8, "A token that was revoked before a restart stays revoked.", "contract notes: credentials"),
        must(9, "What was deleted before a restart stays deleted.", LIFE),
        must(10, "Ids that were given before a restart are not given again.", "contract notes: requests"),
        ours(
            11,
            "An idempotency key has the same answer, and no second effect, after a restart.",
            "contract notes: requests",
        ),
        must(12, "A container that was on its way runs after a restart.", LIFE),
        must(13, "The feed is there again after a restart, with the list.", "GET /compute/ws"),
        must(14, "Files under a mount path are after a restart as they were.", LIFE),
        must(15, "Another user's things stay that user's over a restart.", "contract notes: answers"),
        must(16, "The limit of containers counts those from before a restart.", "contract notes: answers"),
    ),
)


def _restart(lab: Lab) -> None:
    """Have the operator's command restart the server, and wait until it answers.

    Raises:
        NotThere: the command fails.
    """
    operate(lab.target.restart_command or "", RESTART_SECONDS)
    lab.history.add(Restarted())

    def answers() -> bool:
        with suppress(Lost):
            return lab.wire.send("GET", BOXES, token=lab.first.credential.token).status != 503
        return False

    if not lab.until(answers, lab.target.boot_timeout):
        raise Lost("The server did not answer after its restart.")


def _settled(lab: Lab, container: str) -> str:
    """The status of a container when it is not on its way any more."""
    lab.until(lambda: lab.status(container) not in ("pending", "initializing"), lab.target.boot_timeout)
    return lab.status(container)


@frozen
class World:
    """What a user can see, at one time."""

    keys: Any
    containers: list[dict[str, Any]]
    rules: dict[str, Any]
    mounts: dict[str, Any]

    @classmethod
    def seen(cls, lab: Lab, ids: list[str]) -> World:
        """The lists, and what belongs to these containers."""
        listed = lab.get(BOXES).body["containers"]
        return cls(
            lab.get(KEYS).body,
            [{name: value for name, value in item.items() if name not in MOVING} for item in listed],
            {id_: lab.get(f"{BOXES}/{id_}/ingress").body for id_ in ids},
            {id_: (lab.get(f"{BOXES}/{id_}/mounts").body, lab.get(f"{BOXES}/{id_}/ssh").body) for id_ in ids},
        )


@check("PER-001", "PER-002", "PER-003", "PER-004", "PER-005", "PER-006", "PER-009", "PER-010", "PER-013",
    "PER-014", needs=NEEDS)  # fmt: skip
def things(lab: Lab) -> None:
    """Keys, rules and two containers, one of which runs; something of each kind is deleted before."""
    tells = lab.abilities.lack(Need.COMMANDS) is None
    lab.make_room(3)
    running, stopped, gone = lab.new_container(), lab.new_container(), lab.new_container()
    lost_key = lab.new_key()
    new_key = lab.new_key()
    lab.post(f"{BOXES}/{stopped}/stop")
    lab.wait(running, "running")
    for id_ in (running, stopped):
        for port in (80, 443, 8000, 8999):
            lab.post(f"{BOXES}/{id_}/ingress", {"port": port, "target_port": 3000 + port % 7})
    lab.put(f"{BOXES}/{stopped}/mounts", {"mount_paths": ["/data", "/root"]})
    lab.put(f"{BOXES}/{stopped}/ssh", {"ssh_enabled": True})
    before = World.seen(lab, [running, stopped])
    last = lab.post(f"{BOXES}/{running}/ingress", {"port": 8500})
    rules = [rule["id"] for id_ in (running, stopped) for rule in before.rules[id_]["rules"]]
    rules.append(last.body["id"])
    lab.delete(f"{BOXES}/{running}/ingress/8500")
    lab.delete(f"{KEYS}/{lost_key}")
    latest = lab.new_key()
    lab.delete(f"{KEYS}/{latest}")
    if tells:
        Command.run(lab, running, "cat > /root/conformance", b"kept")
    lab.delete(f"{BOXES}/{gone}")
    before = World.seen(lab, [running, stopped])
    _restart(lab)
    after = World.seen(lab, [running, stopped])
    lab.holds("PER-009", gone not in str(after.containers), "no container that was deleted", after.containers)
    lab.holds(
        "PER-009", lab.get(f"{BOXES}/{gone}").status == 404, "404 for what was deleted", "the container"
    )
    lab.holds("PER-001", after.keys == before.keys, f"{before.keys}", after.keys)
    lab.holds("PER-002", after.containers == before.containers, f"{before.containers}", after.containers)
    lab.holds("PER-005", after.rules == before.rules, f"{before.rules}", after.rules)
    lab.holds("PER-006", after.mounts == before.mounts, f"{before.mounts}", after.mounts)
    status = lab.status(stopped)
    lab.holds("PER-004", status == "stopped", "stopped", status)
    status = lab.status(running)
    up = ("pending", "initializing", "running")
    lab.holds("PER-003", status in up, f"a status of {up}", status)
    status = _settled(lab, running)
    lab.holds("PER-003", status == "running", "running", status)
    feed = Feed.open(lab)
    lab.holds("PER-013", feed.state.get(running) == "running", "the container that runs", feed.messages[0])
    lab.post(f"{BOXES}/{running}/stop")
    told = feed.until(running, "stopped", within=lab.target.timeout)
    lab.holds("PER-013", told == ["stopped"], "its stop", told)
    if tells:
        lab.start(running)
        found = bytes(Command.run(lab, running, "cat /root/conformance").output)
        lab.holds("PER-014", found == b"kept", "the file as it was", found)
    key = lab.new_key()
    used = [lost_key, new_key, latest, *(item["id"] for item in before.keys["ssh_keys"])]
    lab.holds("PER-010", key not in used, f"an id that is none of {used}", key)
    rule = lab.post(f"{BOXES}/{running}/ingress", {"port": 8600}).body["id"]
    lab.holds("PER-010", rule not in rules, f"an id that is none of {rules}", rule)


@check("PER-007", "PER-008", "PER-011", "PER-012", "PER-015", "PER-016", needs=NEEDS)
def rights(lab: Lab) -> None:
    """Tokens, an idempotency key, a neighbour, and a container that has just been made."""
    tokens, repeats = (lab.abilities.lack(need) is None for need in (Need.SESSION, Need.IDEMPOTENCY))
    lab.make_room(1)
    shared = lab.container()
    theirs = lab.container(lab.second) if lab.has_second else None
    listed: dict[str, Any] = {}
    valid = revoked = lab.first.credential
    if tokens:
        valid, revoked = (_token(lab, shared) for _ in range(2))
        lab.delete(lab.things.all("token")[-1].path)
        listed = lab.get(TOKENS).body
    body = {"name": lab.name(), "public_key": lab.public_key()}
    headers = {"Idempotency-Key": lab.name()}
    first = lab.ask("POST", KEYS, lab.first, body, headers=headers) if repeats else None
    early = lab.new_container()
    _restart(lab)
    answer = lab.get(BOXES)
    lab.holds("PER-007", answer.status == 200, "200 to the session", answer)
    if tokens:
        answer = lab.get(f"{BOXES}/{shared}", valid)
        lab.holds("PER-007", answer.status == 200, "200 to the token", answer)
        answer = lab.post(f"{BOXES}/{shared}/start", None, valid)
        lab.holds("PER-007", answer.status == 403, "403 for what it has no right to", answer)
        found = lab.get(TOKENS).body
        same = _unmoved(found) == _unmoved(listed)
        lab.holds("PER-007", same, f"the tokens {_unmoved(listed)}", _unmoved(found))
        lab.refused("PER-008", lab.get(f"{BOXES}/{shared}", revoked), Code.UNAUTHENTICATED)
        lab.refused("PER-008", lab.socket(PATH, revoked).answer, Code.UNAUTHENTICATED)
    else:
        lab.undecided("PER-008", "The server makes no tokens here.")
    if first is not None:
        again = lab.ask("POST", KEYS, lab.first, body, headers=headers)
        lab.holds("PER-011", again.body == first.body, f"{first}", again)
        names = [item["name"] for item in lab.get(KEYS).body["ssh_keys"]]
        lab.holds("PER-011", names.count(body["name"]) == 1, "one key of that name", names)
        other = lab.ask("POST", KEYS, lab.first, {**body, "name": lab.name()}, headers=headers)
        lab.refused("PER-011", other, Code.CONFLICT)
    status = _settled(lab, early)
    lab.holds("PER-012", status == "running", "running", status)
    if theirs is not None:
        answer = lab.get(f"{BOXES}/{theirs}", lab.second)
        lab.holds("PER-015", answer.status == 200, "200 to the owner", answer)
        lab.refused("PER-015", lab.get(f"{BOXES}/{theirs}"), Code.NOT_FOUND)
        lab.refused("PER-015", lab.get(f"{BOXES}/{shared}", lab.second), Code.NOT_FOUND)
    for _ in range(max(0, lab.room())):
        lab.new_container()
    full = lab.post(BOXES, {"name": lab.name(), "ssh_key_ids": [lab.key()]})
    lab.refused("PER-016", full, Code.LIMIT_REACHED)


def _token(lab: Lab, container: str) -> Credential:
    return lab.token({f"compute.<uid>.containers.{container}": ["read"]})


def _unmoved(listed: dict[str, Any]) -> list[dict[str, Any]]:
    """A list of tokens without when they were used last."""
    return [{k: v for k, v in item.items() if k != "last_used_at"} for item in listed.get("tokens", [])]
