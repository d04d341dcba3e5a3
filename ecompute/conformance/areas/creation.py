"""Creating containers: what a body may say, its defaults, and what is refused."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from ecompute.conformance.check import Need, check
from ecompute.conformance.creating import CONTAINERS, at, create, listed, named
from ecompute.conformance.edge_values import (
    BAD_CHOICES,
    BAD_NAMES,
    BAD_SIZES,
    DEFAULTS,
    GOOD_NAMES,
    OTHER_ZEROS,
    ZEROS,
)
from ecompute.conformance.lab import Lab
from ecompute.conformance.reading import differences, faults_told
from ecompute.conformance.requirement import Area, must, ours, should
from ecompute.conformance.strategies import Almost, almost, create_containers, normal_paths
from ecompute.conformance.verdict import NotThere
from ecompute.conformance.wire import Answer
from ecompute.contract import catalog, codec
from ecompute.contract.problems import Code
from ecompute.contract.requests import CreateContainer

CREATE, NOTES = f"POST {CONTAINERS}", "contract notes: requests"

AREA = Area(
    "creation",
    "CRE",
    "Creating containers",
    (
        must(1, "Without an instance type it is a nano.", CREATE),
        must(2, "Without a size of memory it has 512 MB.", CREATE),
        must(3, "Without a size of storage it has 5 GB.", CREATE),
        must(4, "Unless asked for, SSH is off.", CREATE),
        must(5, "Without mount paths /root persists.", CREATE),
        should(6, "A zero value or null counts as a field that is left out.", NOTES),
        ours(7, "Zero values of any type count as a field that is left out.", NOTES),
        should(8, "Names of 1 to 63 printable characters are taken, and trimmed.", NOTES),
        should(9, "Other names are refused.", NOTES),
        should(10, "Sizes of memory from 64 to 65536 MB are taken as far as the host has them.", NOTES),
        should(11, "Other sizes of memory are refused.", NOTES),
        should(12, "Sizes of storage from 1 to 1024 GB are taken as far as the host has them.", NOTES),
        should(13, "Other sizes of storage are refused.", NOTES),
        must(14, "The instance types of the catalogue are taken.", "Reference: Instance Types"),
        must(15, "Other instance types are refused.", CREATE),
        must(16, "SSH is on or off: anything but true and false is refused.", CREATE),
        must(17, "At least one SSH key has to be named.", CREATE),
        should(18, "The same SSH key twice in a create is refused.", NOTES),
        must(19, "An SSH key that is not there, or not any more, is refused.", CREATE),
        must(20, "Another user's SSH key is refused.", CREATE),
        should(21, "A refusal names every faulty field, those inside of lists by their index.", NOTES),
        must(22, "A refused create makes nothing.", CREATE),
        should(23, "Unknown fields of a body are ignored.", NOTES),
        should(24, "A body with an object in which a name comes twice is refused.", NOTES),
        must(25, "Several SSH keys may be named.", CREATE),
        must(26, "A container is as it was asked for, in every answer about it.", CREATE),
    ),
)

_DEFAULT_OF = {
    "instance_type": "CRE-001",
    "memory_mb": "CRE-002",
    "storage_gb": "CRE-003",
    "ssh_enabled": "CRE-004",
}


def _mounts(lab: Lab, answer: Answer) -> list[str]:
    found: list[str] = lab.get(at(answer.body["id"], "/mounts")).body["mount_paths"]
    return found


@check(*_DEFAULT_OF.values(), "CRE-005")
def defaults(lab: Lab) -> None:
    """A container with nothing but a name and a key."""
    lab.make_room(1)
    answer = create(lab)
    for field, default in DEFAULTS.items():
        lab.holds(_DEFAULT_OF[field], answer.body[field] == default, f"{field} {default!r}", answer)
    paths = _mounts(lab, answer)
    lab.holds("CRE-005", paths == list(catalog.DEFAULT_MOUNT_PATHS), "the mount path /root", paths)


@check("CRE-006")
def zero_values(lab: Lab) -> None:
    """Every field left open in each way that clients know."""
    _left_open(lab, "CRE-006", {field: zeros[0] for field, zeros in ZEROS.items()})
    _left_open(lab, "CRE-006", {field: zeros[1] for field, zeros in ZEROS.items()})


@check("CRE-007")
def other_zero_values(lab: Lab) -> None:
    """Fields left open by zero values of other types."""
    _left_open(lab, "CRE-007", {field: zeros[0] for field, zeros in OTHER_ZEROS.items()})
    _left_open(lab, "CRE-007", {field: zeros[1] for field, zeros in OTHER_ZEROS.items()})


def _left_open(lab: Lab, requirement: str, fields: dict[str, Any]) -> None:
    lab.make_room(1)
    with lab.tidy():
        answer = create(lab, **fields)
        lab.holds(requirement, answer.status == 200, f"200 for {fields}", answer)
        wrong = {field for field, default in DEFAULTS.items() if answer.body.get(field) != default}
        lab.holds(requirement, not wrong, f"{DEFAULTS} of {fields}", answer)
        paths = _mounts(lab, answer)
        lab.holds(requirement, paths == list(catalog.DEFAULT_MOUNT_PATHS), "the mount path /root", paths)


@check("CRE-026")
def nothing_by_default(lab: Lab) -> None:
    """A container that is in nothing as it would be by default."""
    lab.make_room(1)
    wanted = {"instance_type": "micro", "memory_mb": 768, "storage_gb": 7, "ssh_enabled": True}
    answer = create(lab, mount_paths=["/srv", "/data"], **wanted)
    if answer.code == Code.INVALID_REQUEST and faults_told(answer) <= {"memory_mb", "storage_gb"}:
        raise NotThere("The host has no container of 768 MB and 7 GB.")
    wrong = [field for field, value in wanted.items() if answer.body.get(field) != value]
    lab.holds("CRE-026", not wrong, f"200 and {wanted}", answer)
    _same_everywhere(lab, answer)
    paths = _mounts(lab, answer)
    lab.holds("CRE-026", paths == ["/srv", "/data"], "the mount paths /srv and /data", paths)


def _same_everywhere(lab: Lab, made: Answer) -> None:
    got = lab.get(at(made.body["id"]))
    lab.holds("CRE-026", not differences(made.body, got.body), f"{made.body}", got)
    entry = [item for item in listed(lab) if item["id"] == made.body["id"]]
    same = len(entry) == 1 and not differences(made.body, entry[0])
    lab.holds("CRE-026", same, f"{made.body}", entry)


@check("CRE-005", "CRE-026")
def as_asked(lab: Lab) -> None:
    """Containers of many kinds; each is as it was asked for."""
    lab.make_room(1)
    key = lab.key()

    def test(asked: CreateContainer) -> None:
        body = codec.write_request(asked).body
        answer = create(lab, **body)
        sizes = {"memory_mb", "storage_gb"} & body.keys()
        if answer.code == Code.INVALID_REQUEST and faults_told(answer) and faults_told(answer) <= sizes:
            return  # the host may have bounds of its own
        lab.holds("CRE-026", answer.status == 200, f"200 for {body}", answer)
        wanted = {"name": asked.name.strip()}
        wanted |= {field: body.get(field) or default for field, default in DEFAULTS.items()}
        wrong = [field for field, value in wanted.items() if answer.body.get(field) != value]
        lab.holds("CRE-026", not wrong, f"{wanted}", answer)
        _same_everywhere(lab, answer)
        paths = list(normal_paths(asked.mount_paths or catalog.DEFAULT_MOUNT_PATHS))
        found = _mounts(lab, answer)
        lab.holds("CRE-005", sorted(found) == sorted(paths), f"the mount paths {paths}", found)

    strategy = create_containers(ssh_key_ids=st.just((key,)))
    lab.examples(strategy, test, quick=8, standard=80)


@check("CRE-008", "CRE-009", "CRE-022")
def names(lab: Lab) -> None:
    """Names just within the rules and just outside."""
    lab.make_room(1)
    for sent in GOOD_NAMES if lab.standard else GOOD_NAMES[1:4]:
        with lab.tidy():
            answer = create(lab, name=sent)
            told = f"200 and the name {sent.strip()!r} of {sent!r}"
            lab.holds("CRE-008", answer.body.get("name") == sent.strip(), told, answer)
            got = lab.get(at(answer.body["id"]))
            lab.holds("CRE-008", got.body.get("name") == sent.strip(), told, got)
    before = [item["id"] for item in listed(lab)]
    for bad in (*BAD_NAMES, None, 1, True, ["a"]):
        _refused(lab, "CRE-009", "name", bad)
    _refused(lab, "CRE-009", "name", "x", left_out=True)
    new = [item for item in listed(lab) if item["id"] not in before]
    lab.holds("CRE-022", not new, "no new container", new)


def _refused(lab: Lab, requirement: str, field: str, value: Any, *paths: str, left_out: bool = False) -> None:
    body = {"name": f"{lab.prefix}-refused", "ssh_key_ids": [lab.key()], field: value}
    if left_out:
        del body[field]
    mark = lab.history.mark()
    answer = lab.post(CONTAINERS, body)
    what = f"without {field}" if left_out else f"of {field} {value!r}"
    lab.holds(requirement, answer.status != 200, f"a refusal {what}", answer)
    lab.refused(requirement, answer, Code.INVALID_REQUEST)
    if "CRE-021" in lab.judge.check.decides:
        wanted = set(paths or (field,))
        told = faults_told(answer)
        lab.holds("CRE-021", told == wanted, f"{wanted} as the faulty fields of a create {what}", answer)
    lab.history.rewind(mark)


@check("CRE-011", "CRE-013", "CRE-015", "CRE-016", "CRE-021", "CRE-022")
def wrong_values(lab: Lab) -> None:
    """Values that no field takes, one at a time."""
    for requirement, field, values in (
        ("CRE-011", "memory_mb", BAD_SIZES["memory_mb"]),
        ("CRE-013", "storage_gb", BAD_SIZES["storage_gb"]),
        ("CRE-015", "instance_type", BAD_CHOICES["instance_type"]),
        ("CRE-016", "ssh_enabled", BAD_CHOICES["ssh_enabled"]),
    ):
        for value in values:
            _refused(lab, requirement, field, value)
    made = named(lab, f"{lab.prefix}-refused")
    lab.holds("CRE-022", not made, "no container that was refused", made)


@check("CRE-017", "CRE-018", "CRE-019", "CRE-021", "CRE-022")
def wrong_keys(lab: Lab) -> None:
    """Lists of SSH keys that are empty, or hold what they must not."""
    mine, gone, field = lab.key(), lab.new_key(), "ssh_key_ids"
    lab.delete(f"/compute/ssh-keys/{gone}")
    no_lists: tuple[Any, ...] = ([], None, mine, str(mine), {"0": mine})
    for value in no_lists:
        _refused(lab, "CRE-017", field, value)
    _refused(lab, "CRE-017", field, [], left_out=True)
    _refused(lab, "CRE-018", field, [mine, mine], f"{field}[1]")
    for absent in (gone, 0, -1, 2**31 - 1, 2**63, 10**30):
        _refused(lab, "CRE-019", field, [absent], f"{field}[0]")
        _refused(lab, "CRE-019", field, [mine, absent], f"{field}[1]")
    for other in (str(mine), float(mine), True, None, [mine]):
        _refused(lab, "CRE-019", field, [mine, other], f"{field}[1]")
    made = named(lab, f"{lab.prefix}-refused")
    lab.holds("CRE-022", not made, "no container that was refused", made)


@check("CRE-020", "CRE-022", needs=(Need.SECOND_TENANT,))
def foreign_keys(lab: Lab) -> None:
    """A container with a key of another user, alone or among one's own."""
    theirs, mine = lab.key(lab.second), lab.key()
    for value in ([theirs], [mine, theirs]):
        _refused(lab, "CRE-020", "ssh_key_ids", value)
    made = named(lab, f"{lab.prefix}-refused")
    lab.holds("CRE-022", not made, "no container that was refused", made)


@check("CRE-010", "CRE-012")
def sizes(lab: Lab) -> None:
    """The smallest and the largest sizes, as far as the host has them."""
    lab.make_room(1)
    for requirement, field, allowed in (
        ("CRE-010", "memory_mb", catalog.MEMORY_MB),
        ("CRE-012", "storage_gb", catalog.STORAGE_GB),
    ):
        for edge, inward in ((allowed[0], allowed[1]), (allowed[-1], allowed[-2])):
            with lab.tidy():
                answer = create(lab, **{field: edge})
                right = answer.body.get(field) == edge
                if answer.code == Code.INVALID_REQUEST:
                    # a host's own bound is anywhere, but not by chance exactly beside that of the contract
                    right = create(lab, **{field: inward}).status != 200
                    lab.undecided(requirement, f"The host does not take {field} {edge}.")
                lab.holds(requirement, right, f"200 and {field} {edge}, which is allowed", answer)


@check("CRE-014")
def instance_types(lab: Lab) -> None:
    """A container of each type."""
    lab.make_room(1)
    lacking = []
    for type_ in catalog.INSTANCE_TYPES:
        with lab.tidy():
            try:
                answer = create(lab, instance_type=type_)
            except NotThere as error:
                lacking.append(f"{type_}: {error}")
                continue
            lab.holds("CRE-014", answer.body.get("instance_type") == type_, f"200 and {type_}", answer)
    if lacking:
        lab.undecided("CRE-014", " ".join(lacking))


@check("CRE-021", "CRE-022", "CRE-024")
def all_faults(lab: Lab) -> None:
    """A body in which everything is wrong, and what is no body at all."""
    name = f"{lab.prefix}-refused"
    body = {
        "name": "",
        "ssh_key_ids": [],
        "instance_type": "huge",
        "memory_mb": 1,
        "storage_gb": -1,
        "ssh_enabled": "yes",
        "mount_paths": ["/root", "relative", "/proc"],
    }
    told = faults_told(lab.post(CONTAINERS, body))
    wanted = {*body} - {"mount_paths"} | {"mount_paths[1]", "mount_paths[2]"}
    lab.holds("CRE-021", told == wanted, f"the faults {sorted(wanted)}", sorted(told))
    told = faults_told(lab.post(CONTAINERS, {}))
    lab.holds("CRE-021", told == {"name", "ssh_key_ids"}, "name and ssh_key_ids as the faults", sorted(told))
    twice = (
        codec.dump_json({"name": name, "ssh_key_ids": [lab.key()]})[:-1] + b',"memory_mb":64,"memory_mb":512}'
    )
    answer = lab.ask("POST", CONTAINERS, lab.first, content=twice)
    lab.refused("CRE-024", answer, Code.INVALID_REQUEST)
    made = named(lab, name)
    lab.holds("CRE-022", not made, "no container that was refused", made)


@check("CRE-021", "CRE-022")
def almost_right(lab: Lab) -> None:
    """Bodies with exactly one fault."""
    name = f"{lab.prefix}-almost"
    good = create_containers(names=st.just(name), ssh_key_ids=st.just((lab.key(),)))
    before = [item["id"] for item in listed(lab)]

    def test(wrong: Almost) -> None:
        answer = lab.post(CONTAINERS, wrong.body)
        what = f"{wrong.path} {wrong.problem}"
        lab.holds("CRE-022", answer.status != 200, f"a refusal: {what}", answer)
        told = faults_told(answer)
        # a host may have bounds of its own, which the rest of the body breaks
        others = told - {wrong.path, "memory_mb", "storage_gb"}
        right = answer.code == Code.INVALID_REQUEST and wrong.path in told and not others
        lab.holds("CRE-021", right, f"the faulty field {wrong.path}: {what}", answer)

    lab.examples(almost(CreateContainer, good), test, quick=12, standard=250)
    new = [item for item in listed(lab) if item["id"] not in before]
    lab.holds("CRE-022", not new, "no container that was refused", new)


@check("CRE-023", "CRE-025")
def more_fields(lab: Lab) -> None:
    """A body with fields that mean nothing, or that are not the client's to say."""
    lab.make_room(1)
    more = {
        "id": "zzzzzzzz",
        "status": "running",
        "hostname": "x.example",
        "user_id": "u0",
        "created_at": "2001-01-01T00:00:00Z",
        "https_enabled": True,
        "external_ip": "192.0.2.1",
        "memory_used_mb": 1,
    }
    keys = [lab.key(), lab.new_key()]
    answer = create(lab, ssh_key_ids=keys, image="alpine:3", pull_policy="Always", _x={"a": [1]}, **more)
    lab.holds("CRE-025", answer.status == 200, "200", answer)
    lab.holds("CRE-023", answer.status == 200, "200", answer)
    taken = [field for field, value in more.items() if answer.body.get(field) == value]
    lab.holds("CRE-023", not taken, "nothing of what is not the client's to say", f"{taken} in {answer}")
