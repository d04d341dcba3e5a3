"""SSH keys: adding, listing, deleting."""

from __future__ import annotations

import secrets
from typing import Any

from ecompute.conformance import wrong_keys
from ecompute.conformance.check import Need, check
from ecompute.conformance.lab import Lab
from ecompute.conformance.reading import faults_told, is_now, moment, places
from ecompute.conformance.requirement import Area, must, ours, should
from ecompute.conformance.strategies import Almost, almost, public_key_of
from ecompute.conformance.verdict import NotThere
from ecompute.conformance.wire import Answer
from ecompute.contract.catalog import NAME_LENGTH, PUBLIC_KEY_TYPES
from ecompute.contract.problems import Code
from ecompute.contract.requests import AddSSHKey

PATH = "/compute/ssh-keys"
ADD, LIST, DELETE = f"POST {PATH}", f"GET {PATH}", f"DELETE {PATH}/{{id}}"
NOTES = "contract notes: requests"

AREA = Area(
    "keys",
    "KEY",
    "SSH keys",
    (
        must(1, "Adding a key answers 200 with its id, name, public key and time.", ADD),
        must(2, "A key that was added is in the list, as it was answered.", LIST),
        must(3, "A key that was deleted is not in the list any more.", DELETE),
        ours(4, "The same key twice by one user is a conflict, whatever its name and comment.", NOTES),
        must(5, "Keys of all five types are taken.", ADD),
        should(6, "The stored text is type, base64 and comment, without needless white space.", NOTES),
        must(7, "Keys of other types are refused.", ADD),
        should(8, "What is no single line of a key alone is refused.", NOTES),
        should(9, "A key that is malformed for its type is refused.", NOTES),
        should(10, "RSA keys of less than 2048 bits are refused.", NOTES),
        should(11, "ECDSA keys whose point is not on their curve are refused.", NOTES),
        should(12, "Names of 1 to 63 printable characters are taken, and trimmed.", NOTES),
        should(13, "Other names are refused.", NOTES),
        should(14, "The list begins with the newest key; keys of one second go by their ids.", NOTES),
        should(15, "The id of a deleted key is not given again.", NOTES),
        must(16, "Deleting a key that is not there is answered with not_found.", DELETE),
        should(17, "An id in the path that is no integer is refused.", NOTES),
        should(18, "A key that was deleted can be added again.", NOTES),
        must(19, "Two users may have the same key, each their own.", ADD),
        should(20, "A refusal names every faulty field.", "contract notes: answers"),
        should(21, "Unknown fields of a body are ignored.", NOTES),
        should(22, "A refused key is not there afterwards.", ADD),
        must(23, "The time of a key is that of its addition, in ISO 8601 in UTC.", ADD),
        must(24, "Deleting a key leaves all others there.", DELETE),
        should(25, "A body with a wrong or missing field is refused.", NOTES),
        should(26, "Any integer counts as the id of a key that is not there.", NOTES),
    ),
)


def _add(lab: Lab, public_key: Any, name: Any = None, **more: Any) -> Answer:
    body = {"name": lab.name() if name is None else name, "public_key": public_key, **more}
    answer = lab.post(PATH, body)
    if answer.code == Code.LIMIT_REACHED:
        raise NotThere("The user has as many SSH keys as there may be.")
    return answer


def _new(type_: str, comment: str = "") -> str:
    # a multiple of three gives RSA keys of the least size
    return public_key_of(type_, 3 * secrets.randbelow(2**40), comment)


def _keys(lab: Lab) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = lab.get(PATH).body["ssh_keys"]
    return found


@check("KEY-001", "KEY-002", "KEY-003", "KEY-023", "KEY-024")
def add_list_delete(lab: Lab) -> None:
    """A key comes, is there, and goes."""
    other = _add(lab, lab.public_key())
    text, name = lab.public_key(), lab.name()
    answer = _add(lab, text, name)
    lab.holds("KEY-001", answer.status == 200, "200", answer)
    lab.holds("KEY-001", type(answer.body.get("id")) is int, "an integer as the id", answer)
    lab.holds("KEY-001", answer.body["id"] > 0, "a positive integer as the id", answer)
    lab.holds("KEY-001", answer.body.get("name") == name, f"the name {name!r}", answer)
    lab.holds("KEY-001", answer.body.get("public_key") == text, "the key that was sent", answer)
    lab.holds("KEY-023", is_now(moment(answer.body.get("created_at")), answer), "the time of now", answer)
    listed = _keys(lab)
    lab.holds("KEY-002", listed.count(answer.body) == 1, "the new key in the list, once", listed)
    gone = lab.delete(f"{PATH}/{answer.body['id']}")
    lab.holds("KEY-003", gone.status == 200, "200", gone)
    lab.holds("KEY-003", gone.body.get("status") == "ok", "the status 'ok'", gone)
    listed = _keys(lab)
    lab.holds("KEY-003", places(listed, [answer.body["id"]]) == [-1], "a list without the key", listed)
    lab.holds("KEY-024", other.body in listed, "the other key in the list", listed)


@check("KEY-004", "KEY-018", "KEY-022")
def twice(lab: Lab) -> None:
    """The same key a second time, also under other names, and again after its deletion."""
    text, name = lab.public_key(), lab.name()
    first = _add(lab, f"{text} me@here", name)
    again = (("with another comment", f"{text} you@there", None), ("unchanged", f"{text} me@here", name))
    for how, line, called in again:
        answer = _add(lab, line, called)
        lab.refused("KEY-004", answer, Code.CONFLICT)
        found = [key["id"] for key in _keys(lab) if key["public_key"].startswith(text)]
        lab.holds("KEY-022", found == [first.body["id"]], f"the key once, when it came again {how}", found)
    lab.delete(f"{PATH}/{first.body['id']}")
    answer = _add(lab, text)
    lab.holds("KEY-018", answer.status == 200, "200", answer)


@check("KEY-005", "KEY-006")
def types(lab: Lab) -> None:
    """A key of each type, with a comment and without, in several spellings."""
    for type_ in PUBLIC_KEY_TYPES:
        with lab.tidy():
            text = _new(type_)
            answer = _add(lab, text)
            lab.holds("KEY-005", answer.status == 200, f"200 for {type_}", answer)
            lab.holds("KEY-005", answer.body.get("public_key") == text, f"the key {text}", answer)
            lab.holds("KEY-005", answer.body in _keys(lab), "the key in the list", answer)
    for before, between, comment, after in (
        ("", " ", "me@here", ""),
        ("", " ", "two words", ""),
        ("  ", "  ", "", " "),
        ("", "\t", "me@here", "\n"),
    ):
        with lab.tidy():
            text = _new("ssh-ed25519")
            type_, encoded = text.split(" ")
            sent = f"{before}{type_}{between}{encoded}{between}{comment}{after}"
            wanted = f"{text} {comment}".rstrip()
            answer = _add(lab, sent)
            lab.holds("KEY-006", answer.body.get("public_key") == wanted, f"{wanted!r} of {sent!r}", answer)


@check("KEY-005", standard=True)
def large_keys(lab: Lab) -> None:
    """RSA keys of several sizes."""
    for offset in (1, 2):
        answer = _add(lab, public_key_of("ssh-rsa", 3 * secrets.randbelow(2**40) + offset))
        lab.holds("KEY-005", answer.status == 200, "200 for an RSA key of more than 2048 bits", answer)


@check("KEY-007", "KEY-008", "KEY-009", "KEY-010", "KEY-011", "KEY-022")
def wrong(lab: Lab) -> None:
    """Keys that are almost right."""
    name = lab.name()
    for requirement, flawed in (
        ("KEY-007", wrong_keys.unknown_types()),
        ("KEY-008", wrong_keys.not_lines()),
        ("KEY-009", wrong_keys.malformed()),
        ("KEY-010", wrong_keys.short()),
        ("KEY-011", wrong_keys.beside_their_curves()),
    ):
        for flaw, text in flawed:
            mark = lab.history.mark()
            answer = _add(lab, text, name)
            lab.holds(requirement, answer.status != 200, f"a refusal of a key with this flaw: {flaw}", answer)
            lab.refused(requirement, answer, Code.INVALID_REQUEST)
            lab.history.rewind(mark)
    found = [key for key in _keys(lab) if key["name"] == name]
    lab.holds("KEY-022", not found, "no key that was refused", found)


@check("KEY-012", "KEY-013", "KEY-022")
def names(lab: Lab) -> None:
    """Names just within the rules and just outside."""
    longest = NAME_LENGTH[-1]
    for sent in ("a", "  a b  ", "a" * longest, f" {'é' * longest} ", "日本 🦆", "<b>\"\\/&'%s{}", "\tend\n"):
        with lab.tidy():
            answer = _add(lab, lab.public_key(), sent)
            told = f"200 and the name {sent.strip()!r} of {sent!r}"
            lab.holds("KEY-012", answer.body.get("name") == sent.strip(), told, answer)
            lab.holds("KEY-012", answer.body in _keys(lab), "the key as answered in the list", answer)
    for sent in ("", "   ", "a" * (longest + 1), "é" * (longest + 1), "a\nb", "a\0b", "a\x7fb", "a\x1b[1mb"):
        text = lab.public_key()
        answer = _add(lab, text, sent)
        lab.holds("KEY-013", answer.status != 200, f"a refusal of the name {sent!r}", answer)
        lab.refused("KEY-013", answer, Code.INVALID_REQUEST)
        lab.holds("KEY-022", text not in [key["public_key"] for key in _keys(lab)], "no such key", text)


@check("KEY-014", "KEY-015")
def order(lab: Lab) -> None:
    """Keys one after another, and one in the place of the last."""
    name = lab.name()
    ids = [int(_add(lab, lab.public_key(), f"{name}-{letter}").body["id"]) for letter in "bca"]
    listed = _keys(lab)
    found = places(listed, reversed(ids))
    lab.holds("KEY-014", -1 not in found and found == sorted(found), f"{ids[::-1]} in this order", listed)
    marks = [(moment(key["created_at"]) or 0.0, key["id"]) for key in listed]
    lab.holds("KEY-014", marks == sorted(marks, reverse=True), "the newest first", listed)
    lab.delete(f"{PATH}/{ids[-1]}")
    new = _add(lab, lab.public_key()).body.get("id")
    lab.holds("KEY-015", new not in ids, f"an id other than {ids}", new)


@check("KEY-016", "KEY-017", "KEY-026")
def absent(lab: Lab) -> None:
    """Deleting what is not there."""
    id_ = lab.new_key()
    lab.delete(f"{PATH}/{id_}")
    for unknown in (id_, 2**31 - 1):
        lab.refused("KEY-016", lab.delete(f"{PATH}/{unknown}"), Code.NOT_FOUND)
    for unknown in (0, -1, -id_, 2**63, 10**30):
        lab.refused("KEY-026", lab.delete(f"{PATH}/{unknown}"), Code.NOT_FOUND)
    for text in ("abc", "1.0", "1e3", "+1", "0x1", "1_0", "1a", "--1", "%20", "%C2%B2", "null"):
        lab.refused("KEY-017", lab.delete(f"{PATH}/{text}"), Code.INVALID_REQUEST)


@check("KEY-019", needs=(Need.SECOND_TENANT,))
def two_users(lab: Lab) -> None:
    """The same key of two users, until one deletes theirs."""
    text = lab.public_key()
    mine = _add(lab, text)
    theirs = lab.post(PATH, {"name": lab.name(), "public_key": text}, lab.second)
    lab.holds("KEY-019", theirs.status == 200, "200", theirs)
    lab.holds("KEY-019", theirs.body.get("id") != mine.body.get("id"), "a key of its own", theirs)
    lab.delete(f"{PATH}/{mine.body['id']}")
    listed = lab.get(PATH, lab.second)
    lab.holds("KEY-019", theirs.body in listed.body["ssh_keys"], "the other user's key in place", listed)


@check("KEY-020", "KEY-021", "KEY-025")
def bodies(lab: Lab) -> None:
    """Bodies with several faults, and with more than is asked for."""
    for body in ({}, {"name": "", "public_key": "none"}, {"name": 1, "public_key": None}):
        answer = lab.post(PATH, body)
        lab.refused("KEY-025", answer, Code.INVALID_REQUEST)
        told = faults_told(answer)
        lab.holds("KEY-020", told == {"name", "public_key"}, "name and public_key as faulty fields", answer)
    more = {"id": 10**9, "created_at": "2001-01-01T00:00:00Z", "user_id": "u0", "type": 5, "": None}
    answer = _add(lab, lab.public_key(), **more)
    lab.holds("KEY-021", answer.status == 200, "200", answer)
    taken = [name for name in ("id", "created_at") if answer.body.get(name) == more[name]]
    lab.holds("KEY-021", not taken, "an id and a time of the server's own", answer)


@check("KEY-020", "KEY-022", "KEY-025")
def almost_right(lab: Lab) -> None:
    """Bodies with exactly one fault."""

    def test(wrong: Almost) -> None:
        answer = lab.post(PATH, wrong.body)
        lab.holds("KEY-025", answer.status != 200, f"a refusal: {wrong.path} {wrong.problem}", answer)
        lab.refused("KEY-025", answer, Code.INVALID_REQUEST)
        told = faults_told(answer)
        lab.holds("KEY-020", told == {wrong.path}, f"{wrong.path} as the only faulty field", answer)

    before = _keys(lab)
    lab.examples(almost(AddSSHKey), test, quick=10, standard=150)
    new = [key for key in _keys(lab) if key not in before]
    lab.holds("KEY-022", not new, "no key that was refused", new)
