"""Mount paths: telling and changing what persists."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from ecompute.conformance.check import Need, check
from ecompute.conformance.creating import at
from ecompute.conformance.lab import Lab
from ecompute.conformance.reading import differences, faults_told
from ecompute.conformance.requirement import Area, must, should
from ecompute.conformance.strategies import Almost, almost, mount_lists, normal_paths
from ecompute.conformance.terminals import Command
from ecompute.conformance.wire import Answer
from ecompute.contract.catalog import MAX_MOUNT_PATH_BYTES, MAX_MOUNT_PATHS
from ecompute.contract.problems import Code
from ecompute.contract.requests import SetMounts

GET, PUT = "GET /compute/containers/{id}/mounts", "PUT /compute/containers/{id}/mounts"
NOTES, LIFE = "contract notes: requests", "contract notes: lifecycle"

AREA = Area(
    "mounts",
    "MNT",
    "Mount paths",
    (
        must(1, "The paths are those that the create asked for.", GET),
        must(2, "A change is answered with the new paths, and told from then on.", PUT),
        should(3, "Paths are told in normal form, equal ones once.", NOTES),
        must(4, "Relative paths are refused.", PUT),
        should(5, "Paths with .. or NUL are refused.", NOTES),
        should(6, "The root and the system's own part of the tree are refused.", NOTES),
        should(7, "A path inside another one of the list is refused.", NOTES),
        should(8, "Paths of up to 255 bytes are taken, and no longer ones.", NOTES),
        should(9, "Up to 16 paths are taken, and no more.", NOTES),
        must(10, "At least one path has to be named.", PUT),
        should(11, "What is no list of texts is refused.", NOTES),
        should(12, "A refusal names every faulty path by its index.", NOTES),
        must(13, "A refused change changes nothing.", PUT),
        must(14, "A container that runs is restarted for other paths, and the answer says so.", PUT),
        should(15, "The same set of paths in any order restarts nothing.", LIFE),
        must(16, "A stopped container stays so, and the answer says that it was not restarted.", PUT),
        should(17, "A container on its way is restarted as well.", LIFE),
        must(18, "What lies below a mount path is there again after stop and start.", PUT),
        should(19, "What lies elsewhere is gone after stop and start.", LIFE),
        should(20, "What lies below a path that leaves the list comes back with it.", LIFE),
        should(21, "The rules are the same in a create.", "POST /compute/containers"),
        should(22, "Paths that only look like the system's are taken.", NOTES),
        should(23, "A change changes nothing else of the container.", PUT),
    ),
)

_LONG = "/data/" + "x" * (MAX_MOUNT_PATH_BYTES - len("/data/"))
_WIDE = "/data/" + "é" * ((MAX_MOUNT_PATH_BYTES - len("/data/")) // 2)

_SPELLED = (
    (["/var//data/"], ["/var/data"]),
    (["//data"], ["/data"]),
    (["/./data/./a"], ["/data/a"]),
    (["/data", "/data/", "//data", "/srv"], ["/data", "/srv"]),
    (["///srv///"], ["/srv"]),
)
_HARMLESS = (
    ["/process", "/system", "/devices", "/runner", "/bootstrap", "/etcetera", "/binary", "/sbin2", "/usr2"],
    ["/opt/lib", "/srv/etc", "/data/usr/bin"],
    ["/..data", "/data..", "/...", "/.hidden"],
    ["/data", "/data2", "/data-old", "/Data"],
    ["/with space", "/données"],
)
_WRONG: tuple[tuple[str, list[Any], tuple[int, ...]], ...] = (
    *(("MNT-004", ["/srv", bad], (1,)) for bad in ("data", "", "./data", "~/data", " /data", "\\data")),
    *(("MNT-005", ["/srv", bad], (1,)) for bad in ("/data/../x", "/..", "/../data", "/data/..", "/a/..//b")),
    *(("MNT-005", ["/srv", bad], (1,)) for bad in ("/data\0", "/da\0ta", "\0/data")),
    *(("MNT-006", ["/srv", bad], (1,)) for bad in ("/", "//", "///", "/.", "/./")),
    *(("MNT-006", ["/srv", bad], (1,)) for bad in ("//proc", "/./etc", "/etc/", "/usr//local", "///dev")),
    ("MNT-007", ["/data", "/data/a"], (1,)),
    ("MNT-007", ["/data/a", "/data"], (0,)),
    ("MNT-007", ["/data/a/b/c", "/srv", "/data//a/"], (0,)),
    ("MNT-008", ["/srv", _LONG + "x"], (1,)),
    ("MNT-008", ["/srv", _WIDE + "é"], (1,)),
    *(("MNT-011", ["/srv", bad], (1,)) for bad in (None, 1, True, ["/data"], {"path": "/data"})),
)


def _paths(lab: Lab, id_: str) -> list[str]:
    found: list[str] = lab.get(at(id_, "/mounts")).body["mount_paths"]
    return found


def _set(lab: Lab, id_: str, paths: Any) -> Answer:
    return lab.put(at(id_, "/mounts"), {"mount_paths": paths})


def _stopped(lab: Lab, **more: Any) -> str:
    """A new container that is stopped, so that no change has to wait for a boot."""
    lab.make_room(1)
    id_ = lab.new_container(**more)
    lab.stop(id_)
    return id_


def _taken(lab: Lab, requirement: str, id_: str, sent: list[str], wanted: list[str]) -> None:
    answer = _set(lab, id_, sent)
    lab.holds(requirement, answer.status == 200, f"200 for {sent}", answer)
    lab.holds(requirement, answer.body.get("mount_paths") == wanted, f"{wanted} of {sent}", answer)
    found = _paths(lab, id_)
    lab.holds(requirement, found == wanted, f"{wanted} of {sent}", found)


@check("MNT-001", "MNT-002", "MNT-003", "MNT-016", "MNT-022", "MNT-023")
def spelled(lab: Lab) -> None:
    """Paths as people write them, and such as only look forbidden, for a stopped container."""
    first = ["/srv/b", "/data", "/root"]
    id_ = _stopped(lab, mount_paths=first, ssh_enabled=True)
    lab.post(at(id_, "/ingress"), {"port": 443, "target_port": 80})
    found = _paths(lab, id_)
    lab.holds("MNT-001", found == first, f"{first}", found)
    before = lab.get(at(id_)).body
    for sent, wanted in _SPELLED:
        _taken(lab, "MNT-003", id_, list(sent), list(wanted))
    for paths in _HARMLESS:
        _taken(lab, "MNT-022", id_, list(paths), list(paths))
    answer = _set(lab, id_, ["/data", "/root"])
    lab.holds("MNT-002", answer.body.get("mount_paths") == ["/data", "/root"], "the new paths", answer)
    lab.holds("MNT-016", answer.body.get("restarted") is False, "restarted false", answer)
    after = lab.get(at(id_))
    lab.holds("MNT-016", after.body.get("status") == "stopped", "the status stopped still", after)
    lab.holds("MNT-023", not differences(before, after.body), f"the container as before: {before}", after)


@check("MNT-004", "MNT-005", "MNT-006", "MNT-007", "MNT-008", "MNT-011", "MNT-012", "MNT-013")
def wrong(lab: Lab) -> None:
    """Lists with one path that is not taken."""
    id_ = _stopped(lab, mount_paths=["/keep"])
    forbidden = [("MNT-006", ["/srv", path], (1,)) for path in _forbidden(lab)]
    for requirement, paths, faulty in (*_WRONG, *forbidden):
        mark = lab.history.mark()
        answer = _set(lab, id_, paths)
        lab.holds(requirement, answer.status != 200, f"a refusal of {paths}", answer)
        lab.refused(requirement, answer, Code.INVALID_REQUEST)
        wanted = {f"mount_paths[{index}]" for index in faulty}
        lab.holds("MNT-012", faults_told(answer) == wanted, f"the faults {wanted} of {paths}", answer)
        lab.history.rewind(mark)
    found = _paths(lab, id_)
    lab.holds("MNT-013", found == ["/keep"], "the paths as before", found)


def _forbidden(lab: Lab) -> list[str]:
    roots = ["proc", "sys", "dev", "run", "boot", "etc", "bin", "sbin", "lib", "lib32", "lib64", "usr"]
    below = ("", "/a", "/local/share")
    return [f"/{root}{lab.random.choice(below)}" for root in roots] + [
        "/proc",
        "/etc",
        "/lib64/a",
        "/usr/local",
    ]


@check("MNT-008", "MNT-009", "MNT-010", "MNT-011", "MNT-012", "MNT-013")
def bounds(lab: Lab) -> None:
    """As much as there may be, and one more."""
    id_ = _stopped(lab)
    most = [f"/m{number}" for number in range(MAX_MOUNT_PATHS)]
    _taken(lab, "MNT-009", id_, most, most)
    _taken(lab, "MNT-009", id_, [*most, "/m0/", "//m1"], most)
    for sent in ([_LONG], [_WIDE]):
        _taken(lab, "MNT-008", id_, sent, sent)
    before = _paths(lab, id_)
    answer = _set(lab, id_, [*most, "/m16"])
    lab.holds("MNT-009", answer.status != 200, "a refusal of 17 paths", answer)
    lab.refused("MNT-009", answer, Code.INVALID_REQUEST)
    for requirement, body in (
        ("MNT-010", {}),
        ("MNT-010", {"mount_paths": []}),
        ("MNT-010", {"mount_paths": None}),
        ("MNT-011", {"mount_paths": "/data"}),
        ("MNT-011", {"mount_paths": {"0": "/data"}}),
        ("MNT-011", {"mount_paths": 1}),
    ):
        answer = lab.put(at(id_, "/mounts"), body)
        lab.refused(requirement, answer, Code.INVALID_REQUEST)
        lab.holds(
            "MNT-012", faults_told(answer) == {"mount_paths"}, "mount_paths as the faulty field", answer
        )
    answer = _set(lab, id_, ["x", "/ok", "/etc", "/ok/in"])
    wanted = {"mount_paths[0]", "mount_paths[2]", "mount_paths[3]"}
    lab.holds("MNT-012", faults_told(answer) == wanted, f"the faults {sorted(wanted)}", answer)
    found = _paths(lab, id_)
    lab.holds("MNT-013", found == before, f"the paths as before: {before}", found)


@check("MNT-003", "MNT-013")
def lists(lab: Lab) -> None:
    """Lists of many kinds, and such with exactly one fault."""
    id_ = _stopped(lab)

    def good(paths: tuple[str, ...]) -> None:
        _taken(lab, "MNT-003", id_, list(paths), list(normal_paths(paths)))

    def bad(wrong: Almost) -> None:
        before = _paths(lab, id_)
        answer = lab.put(at(id_, "/mounts"), wrong.body)
        lab.holds("MNT-013", answer.status == 400, f"400: {wrong.path} {wrong.problem}", answer)
        found = _paths(lab, id_)
        lab.holds("MNT-013", found == before, f"the paths as before: {before}", found)

    lab.examples(mount_lists(spelled=True), good, quick=6, standard=80)
    around = st.builds(SetMounts, st.just(id_), mount_lists(spelled=True))
    lab.examples(almost(SetMounts, around), bad, quick=6, standard=80)


@check("MNT-021")
def in_a_create(lab: Lab) -> None:
    """The same rules for a new container."""
    lab.make_room(1)
    for paths in _bad_lists():
        body = {"name": lab.name(), "ssh_key_ids": [lab.key()], "mount_paths": paths}
        answer = lab.post("/compute/containers", body)
        lab.holds("MNT-021", answer.status != 200, f"a refusal of {paths}", answer)
        lab.refused("MNT-021", answer, Code.INVALID_REQUEST)
    id_ = lab.new_container(mount_paths=["/var//data/", "//srv", "/srv/"])
    found = _paths(lab, id_)
    lab.holds("MNT-021", found == ["/var/data", "/srv"], "the paths in normal form", found)


def _bad_lists() -> list[list[Any]]:
    sample: dict[str, list[Any]] = {}
    for requirement, paths, _ in _WRONG:
        sample.setdefault(requirement, paths)
    many = [f"/m{number}" for number in range(MAX_MOUNT_PATHS + 1)]
    return [*sample.values(), ["/root", "/"], ["/lib64"], ["/data/.."], many]


@check("MNT-014", "MNT-015", "MNT-016", "MNT-017", needs=(Need.RUNNING,))
def restarts(lab: Lab) -> None:
    """Changes while a container runs, boots and stands still."""
    lab.make_room(1)
    id_ = lab.running()
    before = _paths(lab, id_)
    try:
        _restarted(lab, "MNT-014", id_, ["/data", "/srv"])
        _unmoved(lab, "MNT-017", id_)
        lab.wait(id_, "running")
        for same in (["/srv", "/data"], ["/data/", "/srv"], ["/data", "/srv", "//srv"]):
            answer = _set(lab, id_, same)
            lab.holds("MNT-015", answer.body.get("restarted") is False, f"restarted false for {same}", answer)
            wanted = list(normal_paths(same))
            lab.holds("MNT-015", answer.body.get("mount_paths") == wanted, f"{wanted}", answer)
            status = lab.status(id_)
            lab.holds("MNT-015", status == "running", "the status running still", status)
        _restarted(lab, "MNT-014", id_, ["/data"])
        lab.stop(id_)
        answer = _set(lab, id_, ["/srv"])
        lab.holds("MNT-016", answer.body.get("restarted") is False, "restarted false", answer)
        status = lab.status(id_)
        lab.holds("MNT-016", status == "stopped", "the status stopped still", status)
    finally:
        _set(lab, id_, before)


def _restarted(lab: Lab, requirement: str, id_: str, paths: list[str]) -> None:
    answer = _set(lab, id_, paths)
    lab.holds(requirement, answer.status == 200, "200", answer)
    lab.holds(requirement, answer.body.get("mount_paths") == paths, f"the mount paths {paths}", answer)
    lab.holds(requirement, answer.body.get("restarted") is True, "restarted true", answer)


def _unmoved(lab: Lab, requirement: str, id_: str) -> None:
    """Paths that change while the container is on its way, as far as it is so still."""
    status = lab.status(id_)
    answer = _set(lab, id_, ["/srv", "/data"])
    lab.holds(requirement, answer.body.get("restarted") is False, "no restart for the same paths", answer)
    for paths in (["/data"], ["/data", "/srv"]):
        if status in ("pending", "initializing", "running"):
            # it is one of these still, since only a failure could end it
            answer = _set(lab, id_, paths)
            after = lab.status(id_)
            told = answer.body.get("restarted") is (after != "failed")
            lab.holds(requirement, told, f"restarted true in the status {status}", answer)


@check("MNT-014", "MNT-018", "MNT-019", "MNT-020", needs=(Need.COMMANDS,))
def persistence(lab: Lab) -> None:
    """Files below mount paths and elsewhere, over a stop and changes of the paths."""
    lab.make_room(1)
    id_ = lab.new_container(mount_paths=["/data", "/srv"])
    lab.wait(id_, "running")
    for path in ("/data", "/srv", "/var"):
        written = Command.run(lab, id_, f"echo kept > {path}/conformance")
        lab.holds("MNT-018", written.statuses == [0], f"a file in {path}", bytes(written.error))
    lab.stop(id_)
    lab.start(id_)
    _found(lab, "MNT-018", id_, "/data", True)
    _found(lab, "MNT-018", id_, "/srv", True)
    _found(lab, "MNT-019", id_, "/var", False)
    _restarted(lab, "MNT-014", id_, ["/data"])
    lab.wait(id_, "running")
    _found(lab, "MNT-018", id_, "/data", True)
    _found(lab, "MNT-019", id_, "/srv", False)
    _restarted(lab, "MNT-014", id_, ["/srv"])
    lab.wait(id_, "running")
    _found(lab, "MNT-020", id_, "/srv", True)
    _found(lab, "MNT-019", id_, "/data", False)


def _found(lab: Lab, requirement: str, id_: str, path: str, there: bool) -> None:
    read = Command.run(lab, id_, f"cat {path}/conformance")
    right = bytes(read.output) == b"kept\n" if there else read.statuses != [0] and not read.output
    seen = (bytes(read.output), bytes(read.error), read.statuses)
    lab.holds(requirement, right, f"{'the' if there else 'no'} file in {path}", seen)
