"""Errors: their form, their order, and what they keep to themselves."""

from __future__ import annotations

import json
from typing import Any

from ecompute.conformance.check import Need, check
from ecompute.conformance.lab import Lab
from ecompute.conformance.requirement import Area, must, should
from ecompute.conformance.rows import EVERYTHING, MINE, ROWS, WITH_ID, Place, Row, ask_row, body_of, row_named
from ecompute.conformance.verdict import Lost
from ecompute.conformance.wire import Answer
from ecompute.contract.catalog import MAX_BODY_BYTES
from ecompute.contract.endpoint import Auth, Channel, Endpoint
from ecompute.contract.problems import PROBLEMS, Code

NOTES = "contract notes: answers"

AREA = Area(
    "errors",
    "ERR",
    "Errors",
    (
        must(1, "An error is a JSON object with a sentence for people in error and a word in code.", NOTES),
        must(2, "The code of an error is one of the table, with the status that belongs to it.", NOTES),
        must(3, "Every JSON answer has the content type application/json.", NOTES),
        must(4, "Every answer has an X-Request-Id.", NOTES),
        must(5, "No two answers have the same X-Request-Id.", NOTES),
        must(6, "An error repeats neither an id nor a token nor anything of the body.", NOTES),
        must(7, "An unknown path is answered with 404, whoever asks.", NOTES),
        must(8, "An unknown method of a known path is answered with 405, whoever asks.", NOTES),
        must(9, "A 405 lists in Allow the methods that the path has.", "RFC 9110, 15.5.6"),
        must(10, "A missing credential counts before all that may be wrong with the rest.", NOTES),
        must(11, "A missing right counts before whether a thing is there, and before the body.", NOTES),
        must(12, "A thing that is not there counts before what is wrong with the body or the query.", NOTES),
        must(13, "A fault of the body counts before the state of things.", NOTES),
        must(14, "All faults of a body are told at once, each with its place.", NOTES),
        must(15, "The place of a fault in a list has its index.", NOTES),
        must(16, "HEAD is answered as GET is, but for the body.", "RFC 9110, 9.3.2"),
        must(
            17, "A path with a slash too many is unknown; nothing is redirected.", "contract notes: requests"
        ),
        must(18, "A body of more than 64 KiB is answered with 413.", NOTES),
        must(19, "A body of 64 KiB is read.", NOTES),
        must(20, "An id of a key, or a port, that is no integer is answered with 400.", NOTES),
        must(
            21, "An integer of a key or a port that is not there is answered with 404, however large.", NOTES
        ),
        must(22, "Every success is 200 with a JSON object.", NOTES),
        must(
            23, "A WebSocket is refused by an ordinary answer of the same form.", "contract notes: websockets"
        ),
        should(24, "An error tells nothing of the server's inside.", NOTES),
    ),
)

FORM = ("ERR-001", "ERR-002", "ERR-003", "ERR-004", "ERR-024")
_INSIDE = ("Traceback", ".py", ".go:", "goroutine", "Exception", "sqlite", "SELECT ", "/usr/", "/home/")


def _formed(lab: Lab, answer: Answer) -> None:
    """Judge the form of an error."""
    body = answer.body
    lab.holds("ERR-003", _is_json(answer), "application/json", f"{answer.headers.get('content-type')}")
    sentence = body.get("error")
    lab.holds("ERR-001", isinstance(sentence, str) and sentence.strip(), "a sentence in error", answer)
    lab.holds("ERR-001", isinstance(body.get("code"), str), "a word in code", answer)
    extra = body.keys() - {"error", "code", "fields", "needed"}
    lab.holds("ERR-001", not extra, "error, code, and at most fields and needed", answer)
    right = {problem.status for code, problem in PROBLEMS.items() if code == body["code"]}
    lab.holds("ERR-002", answer.status in right, f"the status {right} or another code", answer)
    told = next((mark for mark in _INSIDE if mark in answer.content.decode("utf-8", "replace")), None)
    lab.holds("ERR-024", told is None, "nothing of the server's inside", answer)
    _identified(lab, answer)


def _identified(lab: Lab, answer: Answer) -> None:
    ids = [value for name, value in answer.all_headers if name == "x-request-id"]
    lab.holds("ERR-004", len(ids) == 1 and ids[0], "one X-Request-Id", f"{ids} with {answer}")


def _is_json(answer: Answer) -> bool:
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


def _rows(lab: Lab) -> tuple[Row, ...]:
    """The rows that the server has."""
    identity = lab.abilities.lack(Need.IDENTITY) is None
    return tuple(row for row in ROWS if identity or row.path.startswith("/compute"))


def _place(lab: Lab) -> Place:
    return Place(container=lab.container(), key=lab.key())


@check(*FORM, "ERR-005", "ERR-023")
def form(lab: Lab) -> None:
    """Every kind of refusal at every row, and the ids of all answers."""
    seen: dict[str, Answer] = {}
    place = _place(lab)

    def look(answer: Answer) -> None:
        _formed(lab, answer)
        id_ = answer.headers["x-request-id"]
        lab.holds("ERR-005", id_ not in seen, f"another X-Request-Id than that of {seen.get(id_)}", answer)
        seen[id_] = answer

    for row in _rows(lab):
        if row.auth is not Auth.NONE:
            refused = ask_row(lab, row, place.path(row), None)
            look(refused)
            if isinstance(row, Channel):
                lab.refused("ERR-023", refused, Code.UNAUTHENTICATED)
        if row.scope is not None and row in WITH_ID:
            look(ask_row(lab, row, Place().path(row), lab.first, body_of(lab, row)))
        if isinstance(row, Endpoint) and row.has_body and row.scope is not None:
            look(ask_row(lab, row, place.path(row), lab.first, {}))
    look(lab.get("/nothing"))
    look(lab.ask("PATCH", "/compute/containers", lab.first, {}))
    text = lab.public_key()
    for _ in range(2):
        answer = lab.post("/compute/ssh-keys", {"name": lab.name(), "public_key": text})
        if answer.status != 200:
            look(answer)


@check("ERR-003", "ERR-004", "ERR-005", "ERR-022")
def successes(lab: Lab) -> None:
    """The answers to everything that can be read and made without waiting."""
    id_ = lab.container()
    path = f"/compute/containers/{id_}"
    ssh, mounts = lab.get(f"{path}/ssh"), lab.get(f"{path}/mounts")
    key = lab.post("/compute/ssh-keys", {"name": lab.name(), "public_key": lab.public_key()})
    answers = [
        ssh,
        mounts,
        key,
        lab.get("/compute/containers"),
        lab.get(path),
        lab.get("/compute/ssh-keys"),
        lab.put(f"{path}/ssh", ssh.body),
        lab.put(f"{path}/mounts", {"mount_paths": mounts.body["mount_paths"]}),
        lab.post(f"{path}/ingress", {"port": 8999}),
        lab.get(f"{path}/ingress"),
        lab.delete(f"{path}/ingress/8999"),
        lab.delete(f"/compute/ssh-keys/{key.body['id']}"),
    ]
    for answer in answers:
        lab.holds("ERR-022", answer.status == 200, "200", answer)
        lab.holds("ERR-022", isinstance(answer.json, dict), "a JSON object", answer)
        lab.holds("ERR-003", _is_json(answer), "application/json", answer.headers.get("content-type"))
        _identified(lab, answer)
    ids = [answer.headers["x-request-id"] for answer in answers]
    lab.holds("ERR-005", len(set(ids)) == len(ids), "different ids", ids)
    feed = lab.socket("/compute/ws", lab.first).answer
    _identified(lab, feed)


@check("ERR-004", "ERR-005")
def own_request_ids(lab: Lab) -> None:
    """A client that sends an X-Request-Id of its own, twice."""
    sent = {"X-Request-Id": "f" * 16}
    answers = [lab.ask("GET", "/compute/containers", lab.first, headers=sent) for _ in range(2)]
    answers.append(lab.get("/compute/containers"))
    for answer in answers:
        _identified(lab, answer)
    if answers[0].headers["x-request-id"] != sent["X-Request-Id"]:
        ids = {answer.headers["x-request-id"] for answer in answers}
        lab.holds("ERR-005", len(ids) == len(answers), "different ids", ids)


# --- what an error keeps to itself


@check("ERR-006")
def nothing_repeated(lab: Lab) -> None:
    """Marks in ids, tokens, bodies and queries, and every answer that they get."""
    id_ = lab.container()
    path = f"/compute/containers/{id_}"
    mark, own = "mark8472", lab.container()
    key = lab.key()
    told: list[tuple[Answer, tuple[str, ...]]] = []
    for row in WITH_ID:
        if row.scope is not None:
            spot = Place(container=mark, key=8472847284, port=8472)
            answer = ask_row(lab, row, spot.path(row), lab.first, body_of(lab, row))
            told.append((answer, (mark, "8472")))
            answer = ask_row(lab, row, spot.path(row), headers={"Authorization": f"Bearer {mark}"})
            told.append((answer, (mark,)))
    bodies: list[tuple[str, str, Any]] = [
        ("POST", "/compute/containers", {"name": f"{mark}\n", "ssh_key_ids": [key], "instance_type": mark}),
        (
            "POST",
            "/compute/containers",
            {"name": {mark: 1}, "ssh_key_ids": [8472847284], "memory_mb": 84728472},
        ),
        (
            "POST",
            "/compute/containers",
            {"name": "x", "ssh_key_ids": [mark], "mount_paths": [mark, f"/etc/{mark}"]},
        ),
        ("POST", "/compute/ssh-keys", {"name": f"{mark}\0", "public_key": f"{mark} {mark}"}),
        ("POST", "/compute/ssh-keys", {"name": "x", "public_key": f"ssh-ed25519 {mark} {mark}"}),
        ("PUT", f"{path}/ssh", {"ssh_enabled": mark}),
        ("PUT", f"{path}/mounts", {"mount_paths": [f"/../{mark}", mark]}),
        ("POST", f"{path}/ingress", {"port": 84728, "target_port": mark}),
        ("POST", f"{path}/{mark}", {}),
    ]
    told += [(lab.ask(method, where, lab.first, body), (mark, "8472", own)) for method, where, body in bodies]
    for content in (f"{mark}", f'{{"{mark}"', f'{{"{mark}":1,"{mark}":2}}', f'["{mark}"]'):
        answer = lab.ask("POST", "/compute/containers", lab.first, content=content.encode())
        told.append((answer, (mark,)))
    told.append((lab.delete(f"/compute/ssh-keys/{mark}"), (mark,)))
    told.append((lab.delete(f"{path}/ingress/{mark}"), (mark, own)))
    told.append((lab.delete(f"{path}/ingress/8472"), ("8472", own)))
    told.append((lab.socket(f"{path}/terminal?rows={mark}", lab.first).answer, (mark, own)))
    told.append((lab.socket("/compute/ws?token=" + mark).answer, (mark,)))
    for answer, marks in told:
        lab.holds("ERR-006", answer.status >= 400, "an error", answer)
        # the id of the answer is nobody's text, and may have any digits
        text = json.dumps(answer.json)
        found = [each for each in marks if each in text]
        lab.holds("ERR-006", not found, f"nothing of {marks}", answer)


# --- the order of what is looked at

_BROKEN = b"{"


@check("ERR-007", "ERR-008", "ERR-009")
def paths_and_methods(lab: Lab) -> None:
    """Paths that are not there and methods that paths do not have, by nobody and by somebody."""
    place = _place(lab)
    known: dict[str, set[str]] = {}
    for row in _rows(lab):
        known.setdefault(place.path(row), set()).add(row.method)
    unknown = ["/compute", "/compute/nothing", "/compute/containers/a/nothing", "/compute/ssh-keys/1/x"]
    unknown += [f"{place.path(row)}/x/y/z" for row in lab.random.sample(ROWS, lab.pick(4, len(ROWS)))]
    unknown += ["/Compute/containers", "/compute/Containers", "/compute/containers%2F"]
    for path in unknown:
        for who in (None, lab.first):
            lab.refused("ERR-007", lab.ask("GET", path, who), Code.NOT_FOUND)
    lab.refused("ERR-007", lab.ask("POST", "/compute/nothing", None, content=_BROKEN), Code.NOT_FOUND)
    for path, methods in known.items():
        has_head = methods | ({"HEAD"} if "GET" in methods else set())
        for method in sorted({"PATCH", "POST", "PUT", "DELETE", "GET"} - methods):
            who = lab.random.choice((None, lab.first))
            answer = lab.ask(method, path, who)
            lab.refused("ERR-008", answer, Code.METHOD_NOT_ALLOWED)
            allowed = {each.strip() for each in answer.headers.get("allow", "").split(",")}
            lab.holds("ERR-009", methods <= allowed, f"Allow: {sorted(has_head)}", f"{sorted(allowed)}")
            more = allowed - has_head - {"OPTIONS", "HEAD"}
            lab.holds("ERR-009", not more, f"Allow: {sorted(has_head)}", f"{sorted(allowed)}")


@check("ERR-010")
def credential_first(lab: Lab) -> None:
    """Nobody, with things that are not there and bodies that are broken."""
    for row in lab.each(_rows(lab)):
        if row.auth is not Auth.NONE:
            for place in (_place(lab), Place(key="x", port="x")):
                answer = ask_row(lab, row, place.path(row), None, content=_BROKEN)
                lab.refused("ERR-010", answer, Code.UNAUTHENTICATED)


@check("ERR-011", needs=(Need.SESSION,))
def right_second(lab: Lab) -> None:
    """A token without the right, with things that are not there and bodies that are broken."""
    weak = lab.shared_token({f"{MINE}.keys.none": EVERYTHING})
    for row in lab.each(ROWS):
        if row.scope is None:
            continue
        for place in (_place(lab), Place(), Place(key="x", port="x")):
            answer = ask_row(lab, row, place.path(row), weak, content=_BROKEN)
            lab.refused("ERR-011", answer, Code.FORBIDDEN)
        if isinstance(row, Endpoint) and row.has_body:
            answer = ask_row(lab, row, _place(lab).path(row), weak, {})
            lab.refused("ERR-011", answer, Code.FORBIDDEN)


@check("ERR-012")
def thing_third(lab: Lab) -> None:
    """Containers that are not there, with whatever else is wrong."""
    for row in lab.each(WITH_ID):
        if not (row.scope or "").endswith(".containers.<id>"):
            continue
        for id_ in lab.pick(("zzzzzzzz", "x"), ("zzzzzzzz", "x", "0", "%20", "%C3%A9", "a" * 200)):
            path = Place(container=id_, port="x").path(row)
            for content in (_BROKEN, b"{}"):
                query = "?rows=x" if isinstance(row, Channel) else ""
                answer = ask_row(lab, row, f"{path}{query}", lab.first, content=content)
                lab.refused("ERR-012", answer, Code.NOT_FOUND)


@check("ERR-013")
def state_last(lab: Lab) -> None:
    """Faulty requests that would be a conflict if they were sound."""
    text = lab.public_key()
    again = {"name": lab.name(), "public_key": text}
    for _ in range(2):
        lab.post("/compute/ssh-keys", again)
    lab.refused("ERR-013", lab.post("/compute/ssh-keys", {**again, "name": ""}), Code.INVALID_REQUEST)
    lab.refused("ERR-013", lab.post("/compute/ssh-keys", {"public_key": text}), Code.INVALID_REQUEST)
    lab.stop(lab.container())
    path = f"/compute/containers/{lab.container()}/terminal"
    for query in ("rows=0", "cols=1001", "rows=x"):
        lab.refused("ERR-013", lab.socket(f"{path}?{query}", lab.first).answer, Code.INVALID_REQUEST)


@check("ERR-013", standard=True)
def state_last_at_the_limit(lab: Lab) -> None:
    """Faulty creates of a user who may have no container more."""
    for _ in range(lab.room()):
        lab.new_container()
    faults: list[dict[str, Any]] = [{"name": ""}, {"ssh_key_ids": []}, {"memory_mb": 1}, {"storage_gb": 9999}]
    for fault in faults:
        body = {"name": lab.name(), "ssh_key_ids": [lab.key()], **fault}
        lab.refused("ERR-013", lab.post("/compute/containers", body), Code.INVALID_REQUEST)


# --- faults


@check("ERR-014", "ERR-015", *FORM)
def all_faults(lab: Lab) -> None:
    """Bodies of which everything is wrong."""
    path = f"/compute/containers/{lab.container()}"
    key = lab.key()
    bodies: list[tuple[str, str, Any, set[str]]] = [
        ("POST", "/compute/containers", {}, {"name", "ssh_key_ids"}),
        (
            "POST",
            "/compute/containers",
            {
                "name": 1,
                "ssh_key_ids": "1",
                "instance_type": "giant",
                "memory_mb": 1,
                "storage_gb": 100_000,
                "ssh_enabled": "yes",
                "mount_paths": "/root",
            },
            {"name", "ssh_key_ids", "instance_type", "memory_mb", "storage_gb", "ssh_enabled", "mount_paths"},
        ),
        ("POST", "/compute/ssh-keys", {}, {"name", "public_key"}),
        ("POST", "/compute/ssh-keys", {"name": "", "public_key": "x"}, {"name", "public_key"}),
        ("PUT", f"{path}/ssh", {}, {"ssh_enabled"}),
        ("PUT", f"{path}/mounts", {}, {"mount_paths"}),
        ("POST", f"{path}/ingress", {}, {"port"}),
        ("POST", f"{path}/ingress", {"port": 22, "target_port": 65536}, {"port", "target_port"}),
    ]
    for method, where, body, wanted in lab.each(bodies):
        answer = lab.ask(method, where, lab.first, body)
        lab.refused("ERR-014", answer, Code.INVALID_REQUEST)
        _formed(lab, answer)
        found = {path.partition("[")[0].partition(".")[0] for path in _faults(lab, answer)}
        lab.holds("ERR-014", found == wanted, f"faults of {sorted(wanted)}", answer)
    lists: list[tuple[str, str, Any, set[str]]] = [
        (
            "POST",
            "/compute/containers",
            {"name": "x", "ssh_key_ids": [key, "x", 1.5]},
            {"ssh_key_ids[1]", "ssh_key_ids[2]"},
        ),
        ("PUT", f"{path}/mounts", {"mount_paths": ["/ok", 1, "relative"]}, {"mount_paths[1]"}),
        (
            "PUT",
            f"{path}/mounts",
            {"mount_paths": ["/ok", "/etc", "relative"]},
            {"mount_paths[1]", "mount_paths[2]"},
        ),
    ]
    for method, where, body, wanted in lab.each(lists):
        answer = lab.ask(method, where, lab.first, body)
        lab.refused("ERR-015", answer, Code.INVALID_REQUEST)
        paths = set(_faults(lab, answer))
        lab.holds("ERR-015", wanted <= paths, f"faults at {sorted(wanted)}", answer)


def _faults(lab: Lab, answer: Answer) -> list[str]:
    fields = answer.body.get("fields")
    formed = isinstance(fields, list) and all(
        isinstance(fault, dict)
        and fault.keys() == {"path", "problem"}
        and isinstance(fault["path"], str)
        and isinstance(fault["problem"], str)
        and fault["problem"]
        for fault in fields
    )
    lab.holds("ERR-014", formed, "fields, each with path and problem", answer)
    return [fault["path"] for fault in answer.body["fields"]]


# --- paths


@check("ERR-016", "ERR-004")
def head(lab: Lab) -> None:
    """HEAD beside GET, where there is something and where there is nothing."""
    paths = [_place(lab).path(row) for row in ROWS if row.method == "GET" and isinstance(row, Endpoint)]
    paths = [path for path in paths if path.startswith("/compute")]
    paths += ["/compute/containers/zzzzzzzz", "/compute/containers/zzzzzzzz/ssh", "/nothing"]
    for path in paths:
        get, answer = lab.get(path), lab.ask("HEAD", path, lab.first)
        lab.holds("ERR-016", answer.status == get.status, f"{get.status} as to GET", answer)
        lab.holds("ERR-016", not answer.content, "no body", answer)
        kinds = (get.headers.get("content-type"), answer.headers.get("content-type"))
        lab.holds("ERR-016", kinds[0] == kinds[1], f"the content type {kinds[0]}", kinds[1])
        _identified(lab, answer)


@check("ERR-017")
def slashes(lab: Lab) -> None:
    """Every path with a slash at its end, and one with two inside."""
    place = _place(lab)
    for path in sorted({place.path(row) for row in ROWS}):
        row = next(row for row in ROWS if place.path(row) == path)
        answer = lab.ask(row.method, f"{path}/", lab.first, body_of(lab, row))
        lab.refused("ERR-017", answer, Code.NOT_FOUND)
    lab.refused("ERR-017", lab.get("/compute//containers"), Code.NOT_FOUND)
    there = lab.get(f"/compute/containers/{place.container}")
    lab.holds("ERR-017", there.status == 200, "the container, as it was", there)


@check("ERR-020", "ERR-021")
def numbers(lab: Lab) -> None:
    """Ids of keys and ports that are no integers, and such that are beyond everything."""
    places = ("/compute/ssh-keys/{}", f"/compute/containers/{lab.container()}/ingress/{{}}")
    for place in places:
        for wrong in (
            "x",
            "1x",
            "x1",
            "1.0",
            "1e3",
            "0x50",
            "%201",
            "1_0",
            "%D9%A1",
            "%EF%BC%91",
            "-",
            "--1",
        ):
            answer = lab.delete(place.format(wrong))
            lab.refused("ERR-020", answer, Code.INVALID_REQUEST)
        for absent in ("0", "-1", "999999999", str(2**31), str(2**63), str(2**64), "9" * 60):
            answer = lab.delete(place.format(absent))
            lab.refused("ERR-021", answer, Code.NOT_FOUND)


# --- sizes


@check("ERR-018", "ERR-019")
def large_bodies(lab: Lab) -> None:
    """Bodies of 64 KiB and one byte more, made so by blanks, a long text, and chunks."""
    place = _place(lab)
    names = ["ssh_access.set", "mounts.set", "containers.stop", "ingress.add", "ssh_keys.add"]
    for name in names:
        row = row_named(name)
        path = place.path(row)
        sound = {
            "ssh_access.set": lab.get(f"/compute/containers/{place.container}/ssh").body,
            "mounts.set": lab.get(f"/compute/containers/{place.container}/mounts").body,
        }.get(name, body_of(lab, row))
        content = json.dumps(sound or {}).encode()
        answer = lab.ask(row.method, path, lab.first, content=content.ljust(MAX_BODY_BYTES))
        lab.holds("ERR-019", answer.status == 200, f"200 to {MAX_BODY_BYTES} bytes", answer)
        for size in lab.pick((MAX_BODY_BYTES + 1,), (MAX_BODY_BYTES + 1, 2 * MAX_BODY_BYTES)):
            _too_large(lab, row, path, content.ljust(size))
    lab.delete(f"/compute/containers/{place.container}/ingress/8081")
    row = row_named("containers.create")
    long = json.dumps({"name": "x" * MAX_BODY_BYTES, "ssh_key_ids": [place.key]}).encode()
    _too_large(lab, row, row.path, long)
    filled = json.dumps({"name": "", "ssh_key_ids": [], "x": ""}).encode()
    filled = filled[:-2] + b"x" * (MAX_BODY_BYTES - len(filled)) + filled[-2:]
    answer = lab.ask("POST", row.path, lab.first, content=filled)
    lab.refused("ERR-019", answer, Code.INVALID_REQUEST)


def _too_large(lab: Lab, row: Row, path: str, content: bytes) -> None:
    for _ in range(3):
        try:
            answer = lab.ask(row.method, path, lab.first, content=content)
        except Lost:
            # who does not read all of a body may lose its answer on the way (RFC 9112, 9.6)
            continue
        lab.refused("ERR-018", answer, Code.TOO_LARGE)
        return
    lab.undecided("ERR-018", "The connection broke before the answer was there.")
