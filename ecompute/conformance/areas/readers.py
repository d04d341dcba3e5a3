"""Reading requests: tolerant about what is unknown, strict about JSON and its types."""

from __future__ import annotations

import json
from typing import Any

from ecompute.conformance.check import Need, check
from ecompute.conformance.lab import Lab
from ecompute.conformance.not_json import NO_JSON, NO_OBJECT, NO_UTF8
from ecompute.conformance.requirement import Area, must
from ecompute.conformance.rows import Place, Row, body_of, effect, named, row_named
from ecompute.conformance.wire import Answer
from ecompute.contract.problems import Code

NOTES = "contract notes: requests"
CREATE = "POST /compute/containers"

AREA = Area(
    "readers",
    "RDR",
    "Reading requests",
    (
        must(1, "Fields of a body that are unknown are ignored.", NOTES),
        must(2, "A field that a server sets itself has no effect in a body.", NOTES),
        must(3, "A body needs no Content-Type.", NOTES),
        must(4, "A body is read as JSON whatever its Content-Type says.", NOTES),
        must(5, "The body of start and stop may be anything small, or nothing.", NOTES),
        must(6, "A body that is no JSON is refused.", "RFC 8259, 2"),
        must(7, "A body that is no JSON object is refused.", NOTES),
        must(8, "A name twice in one object is refused, wherever the object is.", NOTES),
        must(
            9,
            "For an integer neither a flag, a text, nor a number with a fraction or a point is taken.",
            NOTES,
        ),
        must(10, "For a flag neither a text nor a number is taken.", NOTES),
        must(11, "For a text nothing else is taken.", NOTES),
        must(12, "For a list neither a single value nor an object is taken.", NOTES),
        must(13, "NaN and the infinities are no JSON.", "RFC 8259, 6"),
        must(14, "Deep nesting is refused or ignored, and breaks nothing.", "RFC 8259, 9"),
        must(15, "Half of a surrogate pair in a text is refused.", "RFC 8259, 8.2"),
        must(16, "A body that is not UTF-8 is refused.", "RFC 8259, 8.1"),
        must(17, "A byte order mark is ignored or refused.", "RFC 8259, 8.1"),
        must(18, "Integers of any size are refused where they are too large, and break nothing.", NOTES),
        must(19, "What is refused has no effect.", NOTES),
        must(20, "JSON may have blanks, escapes and any order of names.", "RFC 8259, 2"),
        must(21, "Parameters in the query that are unknown are ignored.", NOTES),
    ),
)

ROWS_WITH_BODY = ("containers.create", "ssh_keys.add", "ssh_access.set", "ingress.add", "mounts.set")
"""Those that every server has, by name."""


def _place(lab: Lab) -> Place:
    return Place(container=lab.container(), key=lab.key())


def _send(lab: Lab, row: Row, content: bytes, kind: str | None = None) -> Answer:
    headers = {} if kind is None else {"Content-Type": kind}
    return lab.ask(row.method, _place(lab).path(row), lab.first, content=content, headers=headers)


def _sound(lab: Lab, row: Row) -> dict[str, Any]:
    """A sound body that leaves the shared container on its way."""
    path = f"/compute/containers/{lab.container()}"
    if row.name == "mounts.set":
        return {"mount_paths": lab.get(f"{path}/mounts").body["mount_paths"]}
    if row.name == "ssh_access.set":
        return dict(lab.get(f"{path}/ssh").body)
    return dict(body_of(lab, row))


def _rows(lab: Lab) -> list[Row]:
    """The rows with a body; that for containers only while there is room for one."""
    lab.make_room(1)
    lab.container()
    return [row_named(name) for name in ROWS_WITH_BODY if name != "containers.create" or lab.room()]


# --- tolerance


@check("RDR-001")
def unknown_fields(lab: Lab) -> None:
    """Fields of other clients and of nobody beside sound ones."""
    more: dict[str, Any] = {
        "image": "x",
        "pull_policy": "always",
        "": None,
        "a.b": [{"c": 1}],
        "__proto__": {},
        "x" * 300: 1.5,
    }
    for row in _rows(lab):
        answer = _send(lab, row, json.dumps({**more, **_sound(lab, row)}).encode())
        lab.holds("RDR-001", answer.status == 200, "200", answer)
        strange = [name for name in more if name in answer.body]
        lab.holds("RDR-001", not strange, "an answer without them", answer)
        _tidy(lab, row, answer)


def _tidy(lab: Lab, row: Row, answer: Answer) -> None:
    """Make room for the next one."""
    if row.name == "containers.create" and answer.status == 200:
        lab.delete(f"/compute/containers/{answer.body['id']}")
    if row.name == "ssh_keys.add" and answer.status == 200:
        lab.delete(f"/compute/ssh-keys/{answer.body['id']}")


@check("RDR-002")
def fields_of_the_server(lab: Lab) -> None:
    """Ids, owners, statuses and times in bodies, where they are the server's."""
    lab.make_room(1)
    other = lab.container()
    mine = {
        "id": "aaaaaaaa",
        "user_id": "nobody",
        "owner": "nobody",
        "status": "running",
        "hostname": "example.org",
        "external_ip": "192.0.2.1",
        "created_at": "2001-01-01T00:00:00Z",
        "https_enabled": True,
        "ssh_command": "ssh nobody",
        "ssh_host_key": "x",
        "memory_used_mb": 7,
        "status_reason": "x",
    }
    body = {"name": lab.name(), "ssh_key_ids": [lab.key()]}
    answer = lab.post("/compute/containers", {**mine, **body})
    lab.holds("RDR-002", answer.status == 200, "200", answer)
    found = lab.get(f"/compute/containers/{answer.body['id']}")
    for each in (answer, found):
        kept = [name for name, value in mine.items() if name != "status" and each.body.get(name) == value]
        lab.holds("RDR-002", not kept, "the server's own values", each)
    lab.holds("RDR-002", answer.body["status"] == "pending", "the status pending", answer)
    lab.holds("RDR-002", found.status == 200, "200 to its owner", found)
    lab.delete(f"/compute/containers/{answer.body['id']}")
    key = lab.post(
        "/compute/ssh-keys",
        {
            "name": lab.name(),
            "public_key": lab.public_key(),
            "id": 999_999_999,
            "user_id": "x",
            "created_at": "x",
        },
    )
    lab.holds("RDR-002", key.status == 200, "200", key)
    lab.holds("RDR-002", key.body["id"] != 999_999_999, "an id of the server's", key)
    lab.holds("RDR-002", key.body["created_at"] != "x", "a time of the server's", key)
    path = f"/compute/containers/{other}/ingress"
    rule = lab.post(path, {"port": 8998, "id": 999_999, "created_at": 1, "container_id": "x"})
    lab.holds("RDR-002", rule.status == 200, "200", rule)
    lab.holds("RDR-002", rule.body["id"] != 999_999, "an id of the server's", rule)
    lab.holds("RDR-002", rule.body["created_at"] != 1, "a time of the server's", rule)
    lab.delete(f"{path}/8998")


_KINDS = (
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/json; charset=utf-8",
    "application/octet-stream",
    "text/xml; charset=iso-8859-1",
    "x",
)


@check("RDR-003", "RDR-004")
def content_types(lab: Lab) -> None:
    """Sound bodies without a Content-Type, and with such that are wrong."""
    for row in _rows(lab):
        kinds = lab.pick(lab.random.sample(_KINDS, 2), list(_KINDS))
        for kind in (None, *kinds):
            answer = _send(lab, row, json.dumps(_sound(lab, row)).encode(), kind)
            id_ = "RDR-003" if kind is None else "RDR-004"
            lab.holds(id_, answer.status == 200, f"200 with the Content-Type {kind}", answer)
            _tidy(lab, row, answer)


@check("RDR-005")
def start_and_stop(lab: Lab) -> None:
    """Start and stop with bodies of every kind."""
    lab.make_room(1)
    id_ = lab.new_container()
    bodies = [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"{",
        b"\xff\xfe",
        b'{"a":1,"a":2}',
        b"NaN",
        b"x" * 1000,
        b"[" * 5000,
    ]
    for action, status in (("stop", "stopped"), ("start", "pending")):
        for number, content in enumerate(bodies):
            kind = {"Content-Type": "application/json"} if number % 2 else {}
            path = f"/compute/containers/{id_}/{action}"
            answer = lab.ask("POST", path, lab.first, content=content, headers=kind)
            lab.holds("RDR-005", answer.status == 200, f"200 to a body of {content[:20]!r}", answer)
            told = answer.body.get("status")
            right = told == status if number == 0 or status == "stopped" else told != "stopped"
            lab.holds("RDR-005", right, f"the status after {action}", answer)


@check("RDR-020")
def spellings(lab: Lab) -> None:
    """Blanks, escapes, and names in another order."""
    for row in _rows(lab):
        sound = _sound(lab, row)
        turned = json.dumps(dict(reversed(sound.items())), indent=3).encode()
        escaped = json.dumps(sound).replace('"port"', '"\\u0070ort"').replace('"name"', '"n\\u0061me"')
        escaped = escaped.replace("/", "\\/").replace("_", "\\u005f")
        for content in (b" \t\r\n" + turned + b"\r\n ", escaped.encode()):
            answer = _send(lab, row, content)
            lab.holds("RDR-020", answer.status == 200, "200", answer)
            _tidy(lab, row, answer)


@check("RDR-021")
def queries(lab: Lab) -> None:
    """Queries where there are no parameters."""
    id_ = lab.container()
    for path in ("/compute/containers", f"/compute/containers/{id_}", "/compute/ssh-keys"):
        for query in (
            "",
            "x=1",
            "limit=0&offset=9",
            "user_id=nobody&status=none",
            "id=zzzzzzzz&%FF=%00",
            "&&=&",
        ):
            answer = lab.get(f"{path}?{query}")
            lab.holds("RDR-021", answer.status == 200, "200", answer)
            items = answer.body.get("containers", answer.body.get("ssh_keys", [answer.body]))
            lab.holds("RDR-021", items, "all that there is", answer)
    answer = lab.put(f"/compute/containers/{id_}/ssh?ssh_enabled=true", {})
    lab.refused("RDR-021", answer, Code.INVALID_REQUEST)


# --- strictness


class _Before:
    """What there is before requests that are refused."""

    def __init__(self, lab: Lab, *names: str) -> None:
        self._lab = lab
        self._names = names
        self._seen = self._look()

    def _look(self) -> dict[str, Any]:
        return {name: effect(self._lab, row_named(name), _place(self._lab)) for name in self._names}

    def still(self) -> None:
        """Judge that it is there still, and nothing else."""
        after = self._look()
        self._lab.holds("RDR-019", after == self._seen, f"{self._seen}", after)


@check("RDR-006", "RDR-007", "RDR-016", "RDR-017", "RDR-019")
def no_json(lab: Lab) -> None:
    """Everything that is no JSON object, at every row with a body."""
    before = _Before(lab, *ROWS_WITH_BODY)
    for name in ROWS_WITH_BODY:
        row = row_named(name)
        sound = json.dumps(body_of(lab, row)).encode()
        broken = [*NO_JSON, sound[:-1], sound + b"]", sound + sound, b"," + sound]
        for id_, contents in (("RDR-006", broken), ("RDR-007", NO_OBJECT), ("RDR-016", NO_UTF8)):
            for content in lab.each(lab.pick(lab.random.sample([*contents], 5), [*contents])):
                lab.refused(id_, _send(lab, row, content), Code.INVALID_REQUEST)
        lab.refused("RDR-007", _send(lab, row, b"[" + sound + b"]"), Code.INVALID_REQUEST)
        lab.refused("RDR-007", _send(lab, row, json.dumps(sound.decode()).encode()), Code.INVALID_REQUEST)
        for coding in ("utf-16", "utf-16-le", "utf-32"):
            answer = _send(lab, row, sound.decode().encode(coding))
            lab.refused("RDR-016", answer, Code.INVALID_REQUEST)
    before.still()
    marked = b"\xef\xbb\xbf" + json.dumps(_sound(lab, row_named("ssh_access.set"))).encode()
    answer = _send(lab, row_named("ssh_access.set"), marked)
    lab.holds("RDR-017", answer.status in (200, 400), "200 or 400", answer)


@check("RDR-008", "RDR-019")
def names_twice(lab: Lab) -> None:
    """A name twice, with two values, with equal ones, escaped, and somewhere inside."""
    before = _Before(lab, *ROWS_WITH_BODY)
    for name in ROWS_WITH_BODY:
        row = row_named(name)
        sound = json.dumps(body_of(lab, row))
        first = json.loads(sound)
        field, value = next(iter(first.items()))
        again = json.dumps(value)
        contents = [
            f'{sound[:-1]},"{field}":{again}}}',
            f'{sound[:-1]},"{field}":null}}',
            f'{{"{field}":null,{sound[1:]}',
            f'{sound[:-1]},"\\u{ord(field[0]):04x}{field[1:]}":{again}}}',
            f'{sound[:-1]},"x":1,"x":1}}',
            f'{sound[:-1]},"x":{{"y":1,"y":2}}}}',
            f'{sound[:-1]},"x":[[{{"y":1,"y":2}}]]}}',
        ]
        for content in lab.each(contents):
            lab.refused("RDR-008", _send(lab, row, content.encode()), Code.INVALID_REQUEST)
    before.still()


@check("RDR-008", needs=(Need.SESSION,))
def scopes_twice(lab: Lab) -> None:
    """One scope twice in the body for a token."""
    scope = f"compute.{lab.first.user_id}"
    content = f'{{"name":"x","expires_in":"30d","scopes":{{"{scope}":["read"],"{scope}":["create"]}}}}'
    answer = lab.ask("POST", "/api/tokens", lab.first, content=content.encode())
    lab.refused("RDR-008", answer, Code.INVALID_REQUEST)


_INTEGERS = (
    ("containers.create", "memory_mb", 512),
    ("containers.create", "storage_gb", 5),
    ("containers.create", "ssh_key_ids", None),
    ("ingress.add", "port", 8081),
    ("ingress.add", "target_port", 3000),
)
_FLAGS = (("containers.create", "ssh_enabled"), ("ssh_access.set", "ssh_enabled"))
_TEXTS = (
    ("containers.create", "name"),
    ("containers.create", "instance_type"),
    ("containers.create", "mount_paths"),
    ("ssh_keys.add", "name"),
    ("ssh_keys.add", "public_key"),
    ("mounts.set", "mount_paths"),
)
_LISTS = (
    ("containers.create", "ssh_key_ids"),
    ("containers.create", "mount_paths"),
    ("mounts.set", "mount_paths"),
)


def _with(lab: Lab, name: str, field: str, raw: str) -> Answer:
    """A sound request but for the raw JSON of one field."""
    row = row_named(name)
    kept = {**body_of(lab, row), field: "@@"}
    return _send(lab, row, json.dumps(kept).replace('"@@"', raw).encode())


def _all_wrong(lab: Lab, id_: str, name: str, field: str, raws: list[str]) -> None:
    for raw in lab.each(_some(lab, raws)):
        answer = _with(lab, name, field, raw)
        lab.refused(id_, answer, Code.INVALID_REQUEST)


def _some(lab: Lab, raws: list[str]) -> list[str]:
    """All of them, or the first ones, which tell most, and a few others."""
    first, others = raws[:4], raws[4:]
    return raws if lab.standard else [*first, *lab.random.sample(others, min(2, len(others)))]


@check("RDR-009", "RDR-018", "RDR-019")
def integers(lab: Lab) -> None:
    """Every integer as a flag, a text, a number with a point, and beyond all bounds."""
    before = _Before(lab, "containers.create", "ingress.add")
    for name, field, value in _INTEGERS:
        if value is None:
            key = lab.key()
            wrong = [
                "true",
                "[true]",
                f'["{key}"]',
                f"[{key}.0]",
                f"[{key}.5]",
                "[null]",
                f"[[{key}]]",
                "[{}]",
            ]
            wrong += [f"[{key}, {key}.0]", f"[{key}, false]"]
            form = "[{}]"
        else:
            wrong = [
                "true",
                "false",
                f'"{value}"',
                f"{value}.0",
                f"{value}.5",
                f"[{value}]",
                "{}",
                "0.0",
                "-0.0",
            ]
            form = "{}"
        _all_wrong(lab, "RDR-009", name, field, wrong)
        one = value or 1
        huge = [2**63, 2**64 + one, 10**30, 2**32 + one, 2**31, 2**63 - 1, 2**64, -(2**63) - 1, -one, 10**400]
        _all_wrong(lab, "RDR-018", name, field, [form.format(number) for number in huge])
        _all_wrong(lab, "RDR-018", name, field, [form.format("9" * 5000), form.format("1e400")])
    before.still()


@check("RDR-010", "RDR-011", "RDR-012", "RDR-019")
def types(lab: Lab) -> None:
    """Every flag, text and list as something else."""
    before = _Before(lab, *ROWS_WITH_BODY)
    for name, field in _FLAGS:
        wrong = ['"true"', '"false"', '""', '"yes"', "1", "0", "1.0", "[]", "[true]", "{}"]
        _all_wrong(lab, "RDR-010", name, field, wrong)
    lab.refused("RDR-010", _with(lab, "ssh_access.set", "ssh_enabled", "null"), Code.INVALID_REQUEST)
    for name, field in _TEXTS:
        wrong = ["1", "true", "false", "1.5", '{"a":"b"}', "[[]]", "[null]", "[1]"]
        _all_wrong(lab, "RDR-011", name, field, wrong)
    for name, field in _LISTS:
        wrong = ["1", "true", '"/root"', '"1"', "{}", '{"0":"/root"}', "[[]]"]
        _all_wrong(lab, "RDR-012", name, field, wrong)
    before.still()


@check("RDR-013", "RDR-014", "RDR-019")
def strange_numbers_and_nesting(lab: Lab) -> None:
    """NaN and the infinities, known and unknown; nesting of thousands of levels."""
    before = _Before(lab, *ROWS_WITH_BODY)
    for name in lab.pick(lab.random.sample(ROWS_WITH_BODY, 2), list(ROWS_WITH_BODY)):
        row = row_named(name)
        field = next(iter(body_of(lab, row)))
        for constant in ("NaN", "Infinity", "-Infinity"):
            for place in (field, "x"):
                lab.refused("RDR-013", _with(lab, name, place, constant), Code.INVALID_REQUEST)
            lab.refused("RDR-013", _with(lab, name, field, f"[{constant}]"), Code.INVALID_REQUEST)
        for depth in lab.pick((900, 30_000), (100, 900, 1100, 5_000, 30_000)):
            for opening, closing in (("[", "]"), ('{"a":', "}")):
                depth = min(depth, 60_000 // (len(opening) + 1))
                nest = opening * depth + "1" + closing * depth
                lab.refused("RDR-014", _with(lab, name, field, nest), Code.INVALID_REQUEST)
                unclosed = (opening * depth).encode()
                lab.refused("RDR-014", _send(lab, row, unclosed), Code.INVALID_REQUEST)
    before.still()
    for depth in (50, 900, 30_000):
        answer = _with(lab, "ssh_access.set", "x", "[" * depth + "]" * depth)
        lab.holds("RDR-014", answer.status in (200, 400), "200 or 400", answer)


@check("RDR-015", "RDR-019")
def surrogates(lab: Lab) -> None:
    """Halves of surrogate pairs in every text."""
    before = _Before(lab, *ROWS_WITH_BODY)
    for name, field in _TEXTS:
        for half in ("\\ud800", "\\udfff", "a\\ude00\\ud83db", "\\ud83d\\ud83d"):
            raw = f'["/{half}"]' if field == "mount_paths" else f'"{half}"'
            lab.refused("RDR-015", _with(lab, name, field, raw), Code.INVALID_REQUEST)
    text = lab.public_key()
    raw = f'"{text} \\ud800"'
    lab.refused("RDR-015", _with(lab, "ssh_keys.add", "public_key", raw), Code.INVALID_REQUEST)
    before.still()
    answer = _with(lab, "ssh_access.set", "\ud800".encode("utf-8", "replace").decode(), '"\\ud800"')
    lab.holds("RDR-015", answer.status in (200, 400), "200 or 400 to one in an unknown field", answer)
    whole = _with(lab, "ssh_keys.add", "name", '"\\ud83d\\ude00"')
    lab.holds("RDR-015", whole.body.get("name") == "\U0001f600", "200 to a whole pair", whole)


@check("RDR-015", "RDR-011", "RDR-019", needs=(Need.SESSION,))
def token_bodies(lab: Lab) -> None:
    """The same faults in the body for a token."""
    before = named(lab, "/api/tokens")
    scope = f"compute.{lab.first.user_id}"
    fields = {
        "name": ["1", "true", "null", '"\\ud800"', "[]", "{}", "NaN"],
        "expires_in": ["30", "true", "null", '"\\ud800"', '["30d"]', "{}"],
        "scopes": ["1", "null", f'"{scope}"', f'["{scope}"]', f'{{"{scope}":"read"}}', f'{{"{scope}":[1]}}'],
    }
    fields["scopes"] += [
        f'{{"{scope}\\ud800":["read"]}}',
        f'{{"{scope}":["\\ud800"]}}',
        f'{{"{scope}":[null]}}',
    ]
    for field, raws in fields.items():
        for raw in lab.each(raws):
            body = {"name": lab.name(), "scopes": {scope: ["read"]}, "expires_in": "30d", field: "@@"}
            content = json.dumps(body).replace('"@@"', raw).encode()
            answer = lab.ask("POST", "/api/tokens", lab.first, content=content)
            id_ = "RDR-015" if "\\ud800" in raw else "RDR-011"
            lab.refused(id_, answer, Code.INVALID_REQUEST)
    after = named(lab, "/api/tokens")
    lab.holds("RDR-019", after == before, f"{before}", after)
