"""The events feed: the list, then every change, to those who may see it."""

from __future__ import annotations

import time
from typing import Any

from ecompute.conformance.check import Need, check
from ecompute.conformance.feeds import PATH, Feed
from ecompute.conformance.following import PATIENCE, STEPS, agrees, follow, once, strays, told
from ecompute.conformance.frames import PING, frame
from ecompute.conformance.lab import Lab
from ecompute.conformance.requirement import Area, must, ours
from ecompute.conformance.sockets import Closed, Ponged
from ecompute.contract.problems import Code

ROW = "GET /compute/ws"
NOTES = "contract notes: WebSockets"

_PINGS = 60_000
"""More than any two hosts keep for each other."""
_ROUNDS = 80
"""Changes of a container that are more than a server would queue."""
_BUSY = 10.0
"""Seconds after which it has been enough."""

AREA = Area(
    "feed",
    "FED",
    "Events feed",
    (
        must(1, "The first message holds at least id, name and status of each container.", ROW),
        must(2, "The first message is the list as it is at that moment.", ROW),
        must(3, "A new container is told by its first status, and then by each one up to running.", ROW),
        must(4, "A stop and a start are told, with each status on the way.", ROW),
        must(5, "What changes no status is not told as a status.", ROW),
        must(6, "A restart for new mount paths is told, beginning with pending.", ROW),
        ours(7, "A deletion is told, once.", NOTES),
        must(8, "After its deletion nothing is told of a container.", NOTES),
        must(9, "What is told is so: a GET afterwards finds that status or a later one.", ROW),
        must(10, "The first message and all that follows it give the list.", NOTES),
        must(11, "Two subscribers are told the same.", ROW),
        must(12, "Who reads late knows the list all the same, when everything is read.", NOTES),
        must(13, "A token without read on the whole of compute is refused before the upgrade.", ROW),
        must(14, "Without a valid credential the feed is refused before the upgrade.", ROW),
        must(15, "The credential may come as token in the query.", NOTES),
        must(16, "A token with read on the whole of compute opens the feed.", ROW),
        must(17, "The feed of a credential that is revoked is closed with 1008.", NOTES),
        must(18, "What a client says on the feed changes nothing.", NOTES),
        must(19, "A ping is answered with its payload.", "RFC 6455, 5.5.3"),
        must(20, "With the status running comes the address of the container.", ROW),
        must(21, "Nothing is told of another user's containers.", ROW),
        must(22, "Messages are texts of one JSON object with type and data.", ROW),
        ours(
            23, "The containers of the first message are as complete as those of a GET, in its order.", NOTES
        ),
        must(
            24, "Statuses follow each other as the life of a container has them.", "contract notes: lifecycle"
        ),
    ),
)


@check("FED-007", "FED-008", needs=(Need.DELETED_EVENTS,))
def deletion(lab: Lab) -> None:
    """Two containers go, one of them on its way; then another one comes, before which nothing may be told."""
    lab.make_room(2)
    feed = Feed.open(lab)
    one, two = lab.new_container(), lab.new_container()
    lab.post(f"/compute/containers/{one}/stop")
    for id_ in (one, two):
        lab.delete(f"/compute/containers/{id_}")
        gone = feed.next_of("container_deleted", id_, within=PATIENCE)
        lab.holds("FED-007", gone is not None, "the message container_deleted", f"none in {PATIENCE:g} s")
    last = lab.new_container()
    feed.next_of("container_status", last, within=PATIENCE)
    for id_ in (one, two):
        kinds = [message["type"] for message in told(feed, id_)]
        lab.holds("FED-007", kinds.count("container_deleted") == 1, "one such message", kinds)
        lab.holds("FED-008", kinds[-1] == "container_deleted", "nothing after the deletion", kinds)


def _list(lab: Lab) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = lab.get("/compute/containers").body["containers"]
    return found


@check("FED-001", "FED-002", "FED-022")
def first_message(lab: Lab) -> None:
    """The first message after each change, while somebody else watches."""
    lab.make_room(1)
    lab.container()
    watcher = Feed.open(lab)
    id_ = ""
    for change in ("nothing", "create", "stop", "delete"):
        if change == "create":
            id_ = lab.new_container()
        elif change == "stop":
            lab.post(f"/compute/containers/{id_}/stop")
        elif change == "delete":
            lab.delete(f"/compute/containers/{id_}")
        before = _list(lab)
        feed = Feed.open(lab)
        first, after = feed.messages[0], _list(lab)
        lab.holds("FED-022", not feed.malformed, "JSON with type and data", feed.malformed)
        lab.holds("FED-001", first["type"] == "containers", "a message of the type containers", first)
        complete = all({"id", "name", "status"} <= item.keys() for item in first["data"])
        lab.holds("FED-001", complete, "id, name and status of each container", first)
        expected = f"the containers of {_short(before)}, or of {_short(after)}"
        lab.holds("FED-002", agrees(first["data"], before, after), expected, _short(first["data"]))
    watcher.drain(0)
    lab.holds("FED-022", not watcher.malformed, "JSON with type and data", watcher.malformed)


def _short(items: list[dict[str, Any]]) -> str:
    return str([(item.get("id"), item.get("name"), item.get("status")) for item in items])


@check("FED-023")
def complete_containers(lab: Lab) -> None:
    """The first message beside the list, field by field, also right after a change."""
    lab.make_room(1)
    id_ = lab.container()
    lab.stop(id_)
    watcher = Feed.open(lab)
    enabled = lab.get(f"/compute/containers/{id_}/ssh").body["ssh_enabled"]
    for value in (not enabled, enabled):
        lab.put(f"/compute/containers/{id_}/ssh", {"ssh_enabled": value})
        wanted = lab.get(f"/compute/containers/{id_}").body
        found = [item for item in Feed.open(lab).messages[0]["data"] if item.get("id") == id_]
        lab.holds("FED-023", found == [wanted], f"{wanted}", found)
    lab.new_container()
    before = [item["id"] for item in _list(lab)]
    shown = [item.get("id") for item in Feed.open(lab).messages[0]["data"]]
    if before == [item["id"] for item in _list(lab)]:
        lab.holds("FED-023", shown == before, f"the order {before}", shown)
    watcher.drain(0)


@check("FED-003", "FED-004", "FED-005", "FED-006", "FED-009", "FED-011", "FED-020", needs=(Need.RUNNING,))
def life(lab: Lab) -> None:
    """A container is made, stopped, started, restarted; two watch."""
    lab.make_room(1)
    feed, twin = Feed.open(lab), Feed.open(lab)
    id_ = lab.new_container()
    path = f"/compute/containers/{id_}"
    way = ["pending", "initializing", "running"]
    seen = follow(lab, feed, id_, "running")
    lab.holds("FED-003", seen == way, f"the statuses {way}", seen)
    address = lab.get(path).body.get("external_ip")
    running = told(feed, id_)[-1]["data"]
    lab.holds("FED-020", running.get("external_ip"), "the field external_ip", running)
    if address is not None:
        lab.holds("FED-020", running["external_ip"] == address, f"external_ip {address}", running)
    lab.put(f"{path}/ssh", {"ssh_enabled": True})
    lab.post(f"{path}/start")
    lab.post(f"{path}/ingress", {"port": 8080})
    lab.post(f"{path}/stop")
    seen = follow(lab, feed, id_, "stopped")
    lab.holds("FED-004", seen[-1:] == ["stopped"], "the status stopped", seen)
    lab.holds("FED-005", seen == ["stopped"], "nothing of an edit and a start that changes nothing", seen)
    lab.post(f"{path}/stop")
    lab.put(f"{path}/mounts", {"mount_paths": ["/root", "/data"]})
    lab.post(f"{path}/start")
    seen = follow(lab, feed, id_, "running", each=lambda status: _is_so(lab, id_, status))
    lab.holds("FED-005", seen[:1] != ["stopped"], "nothing of a second stop and of an edit", seen)
    lab.holds("FED-004", seen == way, f"the statuses {way}", seen)
    lab.put(f"{path}/mounts", {"mount_paths": ["/root"]})
    seen = follow(lab, feed, id_, "running")
    lab.holds("FED-006", seen == way, f"the statuses {way}", seen)
    follow(lab, twin, id_, "running", times=3)
    same = told(twin, id_) == told(feed, id_)
    lab.holds("FED-011", same, f"{told(feed, id_)}", told(twin, id_))


def _is_so(lab: Lab, id_: str, status: str) -> None:
    way = ["pending", "initializing", "running"]
    found = lab.status(id_)
    late = way[way.index(status) :] if status in way else [status]
    lab.holds("FED-009", found in late, f"a status of {late}, as the feed told {status}", found)


@check("FED-014", "FED-015", "FED-018", "FED-019")
def opening(lab: Lab) -> None:
    """By header, by query, by nobody; then a client that talks."""
    for query in ("", "?token=", "?token=x", "?access_token=x"):
        lab.refused("FED-014", lab.socket(PATH + query).answer, Code.UNAUTHENTICATED)
    feed = Feed(lab.socket(PATH, lab.first, in_query=True))
    lab.holds("FED-015", feed.socket.is_open, "101", feed.socket.answer)
    first = feed.next(lab.target.timeout)
    lab.holds("FED-015", first is not None, "the first message", first)
    for text in ("", "{", '{"type":"subscribe"}', '{"type":"containers","data":[]}', b"\xff\0", "x" * 70_000):
        feed.socket.send(text)
    payload = lab.random.randbytes(125)
    for content in (b"", payload):
        feed.socket.ping(content)
        received = feed.socket.control(lab.target.timeout)
        lab.holds("FED-018", not isinstance(received, Closed), "an open feed", received)
        lab.holds("FED-019", received == Ponged(content), f"a pong with {content!r}", received)


@check("FED-018")
def talkative(lab: Lab) -> None:
    """A client that talks is told changes as before."""
    lab.make_room(1)
    feed = Feed.open(lab)
    for _ in range(100):
        feed.socket.send("?")
    id_ = lab.new_container()
    message = feed.next_of("container_status", id_, within=PATIENCE)
    lab.holds("FED-018", message is not None, "the status of a new container", feed.closed)


@check("FED-013", "FED-016", needs=(Need.SESSION,))
def scopes(lab: Lab) -> None:
    """Tokens that see the whole of compute, a part of it, or may do everything but see."""
    whole, read = "compute.<uid>", ["read"]
    lacking = (
        {f"{whole}.containers": ["create", "read", "update", "delete"], f"{whole}.keys": read},
        {f"{whole}.containers.{lab.container()}": read},
        {whole: ["create", "update", "delete"]},
    )
    for scope in lacking:
        answer = lab.socket(PATH, lab.token(scope)).answer
        lab.refused("FED-013", answer, Code.FORBIDDEN)
    token = lab.token({whole: read})
    for in_query in (False, True):
        feed = Feed(lab.socket(PATH, token, in_query=in_query))
        lab.holds("FED-016", feed.socket.is_open, "101", feed.socket.answer)
        first = feed.next(lab.target.timeout)
        lab.holds("FED-016", first is not None, "the first message", first)
        seen = lab.container() in feed.state
        lab.holds("FED-016", seen, "the user's containers", first)


@check("FED-017", "FED-014", needs=(Need.SESSION,))
def revocation(lab: Lab) -> None:
    """A feed by header and one by query, whose token is revoked, beside one that stays."""
    token = lab.token({"compute.<uid>": ["read"]})
    revoked = lab.things.all("token")[-1].path
    feeds = [Feed(lab.opened(PATH, token, in_query=in_query)) for in_query in (False, True)]
    other = Feed.open(lab)
    lab.delete(revoked)
    for feed in feeds:
        feed.drain(PATIENCE)
        lab.holds("FED-017", feed.closed is not None, "a close", f"none in {PATIENCE:g} s")
        code = feed.closed.code if feed.closed else None
        lab.holds("FED-017", code == 1008, "the code 1008", code)
    lab.refused("FED-014", lab.socket(PATH, token).answer, Code.UNAUTHENTICATED)
    other.socket.ping(b"here")
    received = other.socket.receive(lab.target.timeout)
    lab.holds("FED-017", received == Ponged(b"here"), "other feeds stay open", received)


@check("FED-021", needs=(Need.SECOND_TENANT,))
def neighbours(lab: Lab) -> None:
    """One user's life goes on beside another one's feed."""
    lab.make_room(1)
    lab.make_room(1, lab.second)
    feed = Feed.open(lab, lab.second)
    mine = lab.new_container()
    lab.post(f"/compute/containers/{mine}/stop")
    lab.delete(f"/compute/containers/{mine}")
    theirs = lab.new_container(lab.second)
    feed.next_of("container_status", theirs, within=PATIENCE)
    stray = [message for message in feed.messages if mine in str(message)]
    lab.holds("FED-021", not stray, "nothing of the other user's", stray)
    first = Feed.open(lab).messages[0]
    lab.holds("FED-021", theirs not in str(first), "nothing of the other user's", first)


@check("FED-010", "FED-024", needs=(Need.RUNNING,))
def any_life(lab: Lab) -> None:
    """Containers come, change and go in any order, as fast as they can."""
    lab.make_room(2)
    tells_deletion = lab.abilities.lack(Need.DELETED_EVENTS) is None
    lab.examples(STEPS, lambda steps: _any_life(lab, steps, tells_deletion), quick=1, standard=25)


def _any_life(lab: Lab, steps: list[tuple[str, int]], tells_deletion: bool) -> None:
    feed = Feed.open(lab)
    slots: dict[int, str] = {}
    for step, slot in steps:
        once(lab, step, slot, slots)
    view, right = {}, {}
    settled = False

    def same() -> bool:
        nonlocal view, right, settled
        right = {item["id"]: item["status"] for item in _list(lab)}
        settled = not set(right.values()) & {"pending", "initializing"}
        feed.drain(0.02)
        view = {id_: status for id_, status in feed.state.items() if tells_deletion or id_ in right}
        return settled and view == right

    if not lab.until(lambda: same() or settled, lab.target.boot_timeout):
        lab.undecided("FED-010", "Containers did not settle.")
        return
    lab.holds("FED-010", lab.until(same, PATIENCE), f"{right}", view)
    found = strays(feed)
    lab.holds("FED-024", not found, "steps that are in the life of a container", found)


@check("FED-012", standard=True, needs=(Need.RUNNING,))
def late_reader(lab: Lab) -> None:
    """A watcher whose connection is full while containers change; it reads only afterwards."""
    lab.make_room(2)
    socket = lab.opened(PATH)
    socket.narrow()
    # the answers to the pings are not read either, and fill what lies between the server and here
    socket.push(frame(PING, bytes(125)) * _PINGS, 0.5)
    ids = [lab.new_container() for _ in range(2)]
    deadline = time.monotonic() + _BUSY
    for _ in range(_ROUNDS):
        for action in ("stop", "start"):
            for id_ in ids:
                lab.post(f"/compute/containers/{id_}/{action}")
        if time.monotonic() > deadline:
            break
    lab.stop(ids[1])
    lab.delete(f"/compute/containers/{ids[0]}")
    right = {item["id"]: item["status"] for item in _list(lab)}
    feed = Feed(socket)

    def same() -> bool:
        feed.drain(0.05)
        return all(feed.state.get(id_) == status for id_, status in right.items())

    lab.holds("FED-012", lab.until(same, lab.target.timeout), f"{right}", (feed.state, feed.closed))
    if lab.abilities.lack(Need.DELETED_EVENTS) is None:
        lab.holds("FED-012", ids[0] not in feed.state, "no container that was deleted", feed.state)
