"""HTTP below the rows: framing, connections, paths, and what attackers try."""

from __future__ import annotations

import json
from contextlib import suppress

from ecompute.conformance import attacks
from ecompute.conformance.attacks import END, framed
from ecompute.conformance.check import Need, check
from ecompute.conformance.lab import Lab
from ecompute.conformance.raw import Line
from ecompute.conformance.requirement import Area, must, should
from ecompute.conformance.verdict import Lost
from ecompute.conformance.wire import Answer
from ecompute.conformance.wiring import head_of, keys_named, spoken
from ecompute.contract import catalog
from ecompute.contract.problems import Code

NOTES = "contract notes: requests"
KEYS, BOXES = "/compute/ssh-keys", "/compute/containers"
MOST = catalog.MAX_BODY_BYTES

AREA = Area(
    "http",
    "HTP",
    "HTTP",
    (
        must(1, "A body whose length is told wrongly or in two ways is refused.", "RFC 9112, 6.3"),
        must(2, "What is no HTTP is refused as the client's fault, or hung up on.", "RFC 9112, 2 to 5"),
        must(3, "No request is found inside of another one.", "RFC 9112, 6"),
        should(4, "Headers of hundreds of kilobytes are refused.", "RFC 9110, 5.4"),
        should(5, "Who never ends the head of a request is hung up on.", "RFC 9112, 9.5"),
        should(6, "A path with dots, slashes or NUL in disguise names nothing.", "RFC 3986, 7.3"),
        must(7, "A target may be a whole address, with the rights of its path.", "RFC 9112, 3.2.2"),
        should(8, "An id in escapes is that id, and in escapes of escapes it is none.", "RFC 3986, 2.4"),
        must(9, "Requests in a row on one connection are answered in their order.", "RFC 9112, 9.3.2"),
        must(10, "HEAD is answered as GET is, without the body.", "RFC 9110, 9.3.2"),
        must(
            11, "A method that a path does not know is refused and has no effect.", "contract notes: answers"
        ),
        must(12, "A client that expects 100 Continue gets it, or the answer.", "RFC 9110, 10.1.1"),
        must(13, "HTTP/1.0 is answered, and the connection ends.", "RFC 9112, 9.3"),
        must(14, "A body that is cut short has no effect.", "RFC 9112, 8"),
        must(15, "Connection: close is honoured; without it the connection stays.", "RFC 9112, 9.3"),
        must(16, "Whatever one client sends, others are answered.", "contract notes: answers"),
        should(17, "Of two credentials in one request none counts.", "RFC 9110, 5.3"),
        must(18, "A body of 64 KiB is read, and one byte more is too_large.", "contract notes: answers"),
        must(19, "A trailing slash names another path, and sends nowhere.", NOTES),
        must(20, "Nothing of a path or a query becomes a header of the answer.", "RFC 9110, 5.5"),
        must(21, "A body in chunks is read as one with a length.", "RFC 9112, 7.1"),
        should(22, "No header puts another method or path in the request's place.", "RFC 9110, 9.1"),
    ),
)


def _end(lab: Lab, line: Line) -> Answer | None:
    return line.answer(lab.target.timeout)


def _others(lab: Lab) -> None:
    answer = lab.get(BOXES)
    lab.holds("HTP-016", answer.status == 200, "200 to another client", answer)


def _post(lab: Lab, name: str) -> tuple[bytes, bytes]:
    """The head and the body of a request that makes a key of this name."""
    body = json.dumps({"name": name, "public_key": lab.public_key()}).encode()
    return head_of(lab, "POST", KEYS), body


@check("HTP-001", "HTP-003", "HTP-016")
def framing(lab: Lab) -> None:
    """Keys to be made by requests whose bodies have no certain end, and others behind them."""
    outer, inner = lab.name(), lab.name()
    post, body = _post(lab, outer)
    next_ = framed(*_post(lab, inner))
    for name, data in attacks.framings(post, body, next_):
        line = spoken(lab, data)
        answer = _end(lab, line)
        refused = answer is None or 400 <= answer.status < 500 or answer.status == 501
        lab.holds("HTP-001", refused, f"a refusal of {name}", answer)
        second = _end(lab, line) if answer is not None else None
        lab.holds("HTP-003", second is None or second.status >= 400, f"nothing behind {name}", second)
    lab.holds("HTP-003", not keys_named(lab, inner), "no second effect", "the key of the request inside")
    lab.holds("HTP-001", not keys_named(lab, outer), "no effect", "the key of the refused request")
    _others(lab)


@check("HTP-003", "HTP-016")
def ambiguous(lab: Lab) -> None:
    """Bodies that hold a request, where a server may take or refuse what holds them."""
    inner = lab.name()
    next_ = framed(*_post(lab, inner))
    for name, data in attacks.ambiguous(head_of(lab, "POST", KEYS), b"", next_).items():
        line = spoken(lab, data)
        with suppress(Lost):
            line.half_close()
        answer = _end(lab, line)
        fine = answer is None or answer.status < 500 or answer.status in (501, 505)
        lab.holds("HTP-003", fine, f"no error of the server at {name}", answer)
        made = keys_named(lab, inner)
        lab.holds("HTP-003", not made, f"no effect of what is inside of {name}", "the key of it")
    _others(lab)


@check("HTP-003")
def early_answers(lab: Lab) -> None:
    """Requests that are refused before their body is read, which is a request."""
    inner = lab.name()
    next_ = framed(*_post(lab, inner))
    some = "/compute/containers/zzzzzzzz/start"
    for method, path, known in (
        ("POST", "/nowhere", True), ("POST", KEYS, False), ("PUT", KEYS, True), ("POST", some, True),
        ("DELETE", f"{KEYS}/x", True), ("GET", "/compute/ws", True),
    ):  # fmt: skip
        head = head_of(lab, method, path, known=known)
        for data in (
            framed(head, next_),
            head + b"Transfer-Encoding: chunked" + END + attacks.chunked(next_),
        ):
            line = spoken(lab, data + head_of(lab, "GET", "/nowhere/else") + b"\r\n")
            answers = [_end(lab, line) for _ in range(2)]
            statuses = [answer.status for answer in answers if answer]
            right = all(400 <= status < 500 for status in statuses)
            lab.holds("HTP-003", right, f"refusals of {method} {path} and what follows it", answers[-1])
    lab.holds("HTP-003", not keys_named(lab, inner), "no effect of a body", "the key of a request inside")


@check("HTP-002", "HTP-016")
def no_http(lab: Lab) -> None:
    """Heads that are none."""
    for name, data in attacks.malformed(head_of(lab, "GET", BOXES)).items():
        answer = _end(lab, spoken(lab, data))
        refused = answer is None or 400 <= answer.status < 500 or answer.status in (501, 505)
        lab.holds("HTP-002", refused, f"a refusal of {name}", answer)
    _others(lab)


@check("HTP-004", "HTP-016")
def huge_headers(lab: Lab) -> None:
    """One huge header, a huge name, very many headers, with an end and without."""
    head = head_of(lab, "GET", BOXES)
    bombs = {
        "one huge header": b"X-Bomb: " + b"x" * 600_000,
        "a huge name": b"x" * 600_000 + b": 1",
        "many headers": b"\r\n".join(b"X-%d: 1" % number for number in range(60_000)),
    }
    for name, bomb in bombs.items():
        for end in (END, b""):
            with suppress(Lost):
                line = spoken(lab, b"")
                line.send(head + bomb + end)
                answer = _end(lab, line)
                refused = answer is None or 400 <= answer.status < 500
                lab.holds("HTP-004", refused, f"a refusal of {name}", answer)
    lab.holds("HTP-004", True, "refusals", "connections that were reset")
    _others(lab)


@check("HTP-005", standard=True)
def slow_heads(lab: Lab) -> None:
    """Connections on which a head begins and never ends, or does not begin."""
    lines = [spoken(lab, data) for data in (b"", b"GET / HT", head_of(lab, "GET", BOXES) + b"X-Slow: ")]
    busy = spoken(lab, head_of(lab, "GET", BOXES))

    def hung_up() -> bool:
        with suppress(Lost):
            busy.send(b"X-Drip: 1\r\n")
            return False
        return True

    lab.holds("HTP-005", lab.until(hung_up, 90.0), "an end while it drips", "a connection after 90 s")
    for line in lines:
        lab.holds("HTP-005", line.ended(90.0), "an end of the connection", "a connection after 90 s")


@check("HTP-006", "HTP-008", "HTP-019", "HTP-020")
def paths(lab: Lab) -> None:
    """Paths that only look like one, and the two that are one."""
    id_ = lab.container()
    wrong = (
        f"{KEYS}/%2e%2e/containers", "/compute/%2E%2E/compute/containers", f"{BOXES}/%252e%252e",
        f"{BOXES}/{id_}%00", f"{BOXES}/{id_}%0A", f"{BOXES}%0A", f"{BOXES}/{id_}%20",
        f"{BOXES}/{id_};v=1", f"{BOXES}/%c0%af", f"{BOXES}/%ed%a0%80", f"{BOXES}/%zz", f"{BOXES}/%4",
        f"{BOXES}/..%2f..%2f..%2fetc%2fpasswd", "/compute%5Ccontainers",
        f"/Compute/containers/{id_}", "/compute//containers", f"{BOXES}//{id_}", "//compute/containers",
        f"{KEYS}/../containers", f"{BOXES}/./{id_}",
    )  # fmt: skip
    for path in wrong:
        answer = _end(lab, spoken(lab, head_of(lab, "GET", path) + b"\r\n"))
        lab.holds("HTP-006", answer is not None and answer.status in (400, 404), f"404 for {path}", answer)
    for path in (f"{BOXES}/{id_}%2Fssh", f"{BOXES}%2F{id_}", f"/%63ompute/containers/{id_}"):
        # whether escapes are taken for the path or not, they open nothing
        answer = _end(lab, spoken(lab, head_of(lab, "GET", path, known=False) + b"\r\n"))
        closed = answer is not None and answer.status in (400, 401, 404)
        lab.holds("HTP-006", closed, f"401 or 404 for {path} without a credential", answer)
    escaped = "".join(f"%{ord(character):02X}" for character in id_)
    answer = _end(lab, spoken(lab, head_of(lab, "GET", f"{BOXES}/{escaped}") + b"\r\n"))
    lab.holds("HTP-008", answer and answer.body.get("id") == id_, "the container of that id", answer)
    twice = escaped.replace("%", "%25")
    answer = _end(lab, spoken(lab, head_of(lab, "GET", f"{BOXES}/{twice}") + b"\r\n"))
    lab.holds("HTP-008", answer and answer.status == 404, "404 for escapes of escapes", answer)
    for path in (BOXES, KEYS, f"{BOXES}/{id_}", f"{BOXES}/{id_}/ssh"):
        answer = _end(lab, spoken(lab, head_of(lab, "GET", f"{path}/") + b"\r\n"))
        lab.holds("HTP-019", answer and answer.status == 404, f"404 for {path}/", answer)
    for path in (f"{BOXES}/%0D%0AX-Injected:%201", f"{BOXES}?a=%0D%0AX-Injected:%201"):
        answer = _end(lab, spoken(lab, head_of(lab, "GET", path) + b"\r\n"))
        lab.holds("HTP-020", answer and "x-injected" not in answer.headers, "no such header", answer)


@check("HTP-007")
def whole_addresses(lab: Lab) -> None:
    """Targets as clients of a proxy write them."""
    for known, status in ((True, 200), (False, 401)):
        target = f"{lab.target.url}{BOXES}"
        answer = _end(lab, spoken(lab, head_of(lab, "GET", target, known=known) + b"\r\n"))
        lab.holds("HTP-007", answer and answer.status == status, f"{status}", answer)
    target = f"{lab.target.url}/nowhere"
    answer = _end(lab, spoken(lab, head_of(lab, "GET", target) + b"\r\n"))
    lab.holds("HTP-007", answer and answer.status == 404, "404", answer)


@check("HTP-009", "HTP-010", "HTP-015")
def in_a_row(lab: Lab) -> None:
    """Requests without waiting for answers, HEAD among them; then the same one by one."""
    id_, key = lab.container(), lab.key()
    asked = [("GET", BOXES), ("HEAD", f"{BOXES}/{id_}/mounts"), ("GET", f"{BOXES}/{id_}/mounts"),
        ("GET", "/nowhere"), ("HEAD", KEYS), ("GET", KEYS), ("GET", f"{BOXES}/{id_}/ssh"),
        ("HEAD", "/nowhere"), ("PUT", KEYS), ("GET", f"{BOXES}/{id_}/ingress"), ("HEAD", BOXES)]  # fmt: skip
    lab.random.shuffle(asked)
    data = [head_of(lab, method, path) + b"\r\n" for method, path in asked]
    row = spoken(lab, b"".join(data))
    alone = spoken(lab, b"")
    for (method, path), each in zip(asked, data, strict=True):
        answers = [row.answer(lab.target.timeout, head=method == "HEAD")]
        alone.send(each)
        answers.append(alone.answer(lab.target.timeout, head=method == "HEAD"))
        plain = lab.ask("GET" if method == "HEAD" else method, path, lab.first)
        for answer, rule in zip(answers, ("HTP-009", "HTP-015"), strict=True):
            seen = answer or "the end of the connection"
            lab.holds(rule, answer, f"an answer to {method} {path}", seen)
            assert answer is not None
            rule = "HTP-010" if method == "HEAD" else rule
            lab.holds(rule, answer.status == plain.status, f"{plain.status} to {method} {path}", seen)
            same = answer.headers.get("content-type") == plain.headers.get("content-type")
            lab.holds(rule, same, f"the Content-Type of GET to {method} {path}", answer.headers)
            if method == "HEAD" and path != BOXES:
                length = answer.headers.get("content-length", plain.headers.get("content-length"))
                same = length == plain.headers.get("content-length")
                lab.holds(rule, same, f"the Content-Length of GET to {path}", answer.headers)
            elif path != BOXES:
                lab.holds(rule, answer.body == plain.body, f"{plain} to {method} {path}", seen)
    closing = spoken(lab, head_of(lab, "GET", BOXES) + b"Connection: close" + END + data[0])
    answer = _end(lab, closing)
    lab.holds("HTP-015", answer and answer.status == 200, "200", answer)
    lab.holds("HTP-015", closing.ended(5.0), "the end of the connection", "a connection after 5 s")
    lab.holds("HTP-009", key in [one["id"] for one in lab.get(KEYS).body["ssh_keys"]], "the key", "none")


@check("HTP-009", "HTP-021")
def effects_in_a_row(lab: Lab) -> None:
    """A key is made by a body in chunks, listed and deleted without waiting for answers."""
    name = lab.name()
    post, body = _post(lab, name)
    cut = len(body) // 2
    chunks = attacks.chunked(body[:1], body[1:cut], body[cut:])
    line = spoken(
        lab,
        post + b"Transfer-Encoding: chunked" + END + chunks + head_of(lab, "GET", KEYS) + b"\r\n",
    )
    made, listed = _end(lab, line), _end(lab, line)
    lab.holds("HTP-021", made and made.status == 200, "200", made)
    lab.holds("HTP-021", made and made.body.get("name") == name, f"the name {name}", made)
    lab.holds("HTP-009", listed and name in str(listed.body), "the key in the list that follows", listed)
    keys_named(lab, name)


@check("HTP-011", "HTP-022")
def methods(lab: Lab) -> None:
    """Methods that no row has, and headers that say another one."""
    id_ = lab.container()
    for method in ("TRACE", "BREW", "get", "PATCH", "GETT", "CONNECT", "X" * 200):
        for path in (BOXES, f"{BOXES}/{id_}", KEYS):
            answer = _end(lab, spoken(lab, head_of(lab, method, path) + b"\r\n"))
            refused = answer is None or 400 <= answer.status < 500 or answer.status == 501
            lab.holds("HTP-011", refused, f"405 for {method[:9]} {path}", answer)
            echoed = answer is not None and b"Bearer" in answer.content
            lab.holds("HTP-011", not echoed, "nothing of the request in the answer", "its credential")
    answer = _end(lab, spoken(lab, head_of(lab, "OPTIONS", f"{BOXES}/{id_}") + b"\r\n"))
    lab.holds("HTP-011", answer is None or answer.status < 500, "no error of the server", answer)
    name = lab.name()
    post, body = _post(lab, name)
    for header in ("X-HTTP-Method-Override: DELETE", "X-HTTP-Method: DELETE", "X-Method-Override: DELETE"):
        data = head_of(lab, "GET", f"{BOXES}/{id_}") + header.encode() + END
        answer = _end(lab, spoken(lab, data))
        lab.holds("HTP-022", answer and answer.body.get("id") == id_, f"a GET in spite of {header}", answer)
    for header in (f"X-Original-URL: {KEYS}", f"X-Rewrite-URL: {KEYS}"):
        lines = post.replace(KEYS.encode(), b"/nowhere") + header.encode() + b"\r\n"
        answer = _end(lab, spoken(lab, framed(lines, body)))
        lab.holds("HTP-022", answer and answer.status == 404, f"404 in spite of {header}", answer)
    lab.holds("HTP-022", lab.get(f"{BOXES}/{id_}").status == 200, "the container is there", "none")
    lab.holds("HTP-022", not keys_named(lab, name), "no effect", "the key")


@check("HTP-012", "HTP-013", "HTP-014")
def manners(lab: Lab) -> None:
    """A client that waits to be told to go on, one of 1.0, and those that leave in the middle."""
    name = lab.name()
    post, body = _post(lab, name)
    line = spoken(lab, post + b"Expect: 100-continue\r\nContent-Length: %d" % len(body) + END)
    lab.holds("HTP-012", line.wait(lab.target.timeout), "100 Continue or an answer", "nothing")
    line.send(body)
    answer = _end(lab, line)
    lab.holds("HTP-012", answer and answer.status == 200, "200 behind the body", answer)
    lab.holds("HTP-012", keys_named(lab, name), "the key", "none")
    head = head_of(lab, "GET", BOXES).replace(b"HTTP/1.1", b"HTTP/1.0")
    line = spoken(lab, head + b"\r\n")
    answer = _end(lab, line)
    lab.holds("HTP-013", answer and answer.status == 200, "200 to HTTP/1.0", answer)
    lab.holds("HTP-013", answer and "transfer-encoding" not in answer.headers, "no chunks", answer)
    lab.holds("HTP-013", line.ended(5.0), "the end of the connection", "a connection after 5 s")
    name = lab.name()
    post, body = _post(lab, name)
    chunks = post + b"Transfer-Encoding: chunked" + END
    # the whole JSON comes, but not the whole body
    cut = (
        post + b"Content-Length: %d" % (len(body) + 1) + END + body,
        chunks + b"%x\r\n" % len(body) + body + b"\r\n",
        chunks + b"%x\r\n" % (len(body) + 1) + body,
        post + b"Content-Length: %d" % len(body) + END + body[:-1],
    )
    for data in cut:
        line = spoken(lab, data)
        line.half_close()
        answer = _end(lab, line)
        refused = answer is None or 400 <= answer.status < 500
        lab.holds("HTP-014", refused, "a refusal, or the end", answer)
    lab.holds("HTP-014", not keys_named(lab, name), "no effect", "the key")


@check("HTP-017", needs=(Need.SECOND_TENANT,))
def two_credentials(lab: Lab) -> None:
    """Right and wrong credentials side by side, and those of two users."""
    mine, theirs = (f"Authorization: Bearer {who.credential.token}\r\n" for who in (lab.first, lab.second))
    wrong = "Authorization: Bearer x\r\n"
    for lines in (mine + wrong, wrong + mine, mine + theirs, theirs + mine):
        head = head_of(lab, "GET", BOXES, known=False) + lines.encode() + b"\r\n"
        answer = _end(lab, spoken(lab, head))
        lab.holds("HTP-017", answer and answer.status in (400, 401), "401", answer)


@check("HTP-018")
def large_bodies(lab: Lab) -> None:
    """A key in a body that is filled up with spaces."""
    names = [lab.name() for _ in range(2)]
    for chunked, name in zip((False, True), names, strict=True):
        post, body = _post(lab, name)
        whole = body + b" " * (MOST - len(body))
        over = whole + b" "
        for data in (over, whole):
            if chunked:
                message = post + b"Transfer-Encoding: chunked" + END + attacks.chunked(data)
            else:
                message = framed(post, data)
            line = spoken(lab, b"")
            with suppress(Lost):
                line.send(message)
            answer = _end(lab, line)
            if data is whole:
                lab.holds("HTP-018", answer and answer.status == 200, f"200 to {MOST} bytes", answer)
            elif answer is not None:
                lab.refused("HTP-018", answer, Code.TOO_LARGE)
        lab.holds("HTP-018", len(keys_named(lab, name)) == 1, "one key", "another number of them")
    for path in (KEYS, f"{BOXES}/{lab.container()}/ssh"):
        method = "POST" if path == KEYS else "PUT"
        line = spoken(lab, head_of(lab, method, path) + b"Content-Length: %d" % (MOST + 1) + END)
        answer = _end(lab, line)
        lab.holds("HTP-018", answer, "an answer before the body", answer)
        assert answer is not None
        lab.refused("HTP-018", answer, Code.TOO_LARGE)
