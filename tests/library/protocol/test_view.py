"""The view's state: what is shown after each message, and which containers are due for a look."""

from __future__ import annotations

from attrs import evolve

from ecompute.contract.messages import ContainerDeleted, ContainerSnapshot, ContainerStatus
from ecompute.contract.resources import Container
from ecompute.errors import Closed, ConnectError, NotFound
from ecompute.protocol.view import View


def whole(id_: str, status: str, **more: object) -> Container:
    return evolve(Container(id_, id_, status, hostname=f"{id_}.x"), **more)


def started(*containers: Container) -> View:
    view = View(lambda c: c)
    view.opened()
    view.receive(ContainerSnapshot(containers))
    return view


def shown(view: View) -> list[tuple[str, str]]:
    return [(c.id, c.status) for c in view.shown.values()]


def test_a_snapshot_is_shown_as_it_came() -> None:
    """In its order, and a later one replaces all."""
    view = started(whole("b", "running"), whole("a", "stopped"))
    assert shown(view) == [("b", "running"), ("a", "stopped")]
    assert view.take() is None
    assert view.synced
    view.receive(ContainerSnapshot((whole("c", "pending", memory_mb=64),)))
    assert view.shown == {"c": whole("c", "pending", memory_mb=64)}


def test_a_snapshot_that_tells_little() -> None:
    """Containers of which only id, name and status were told are due."""
    view = started(whole("b", "running"), Container("a", "a", "stopped"))
    assert (view.take(), view.take()) == ("a", None)
    view.looked_at("a", whole("a", "stopped", memory_mb=64))
    assert view.shown["a"].memory_mb == 64
    assert [*view.shown] == ["b", "a"]


def test_a_change_is_shown_at_once_and_completed_later() -> None:
    """The look brings what the feed does not tell; the feed's status counts, also against a look ahead."""
    view = started(whole("a", "pending"))
    view.receive(ContainerStatus("a", "initializing", external_ip="127.77.0.2"))
    assert view.shown["a"] == whole("a", "initializing", external_ip="127.77.0.2")
    assert view.take() == "a"
    view.looked_at("a", whole("a", "failed", ssh_host_key="k", status_reason="It burnt."))
    assert view.shown["a"] == whole("a", "initializing", external_ip="127.77.0.2", ssh_host_key="k")
    view.receive(ContainerStatus("a", "failed", status_reason="It burnt."))
    assert view.shown["a"].status_reason == "It burnt."
    view.receive(ContainerStatus("a", "pending"))
    assert view.shown["a"].status_reason is None


def test_a_new_container_is_shown_once_it_was_looked_at() -> None:
    """Before all others, in the status that was told last."""
    view = started(whole("a", "running"))
    view.receive(ContainerStatus("b", "pending"))
    assert view.ready
    assert view.take() == "b"
    view.receive(ContainerStatus("b", "initializing"))
    assert shown(view) == [("a", "running")]
    view.looked_at("b", whole("b", "pending", memory_mb=64))
    assert shown(view) == [("b", "initializing"), ("a", "running")]
    assert view.shown["b"].memory_mb == 64
    assert (view.take(), view.take()) == ("b", None)


def test_changes_of_one_container_make_one_look() -> None:
    """However many there were meanwhile."""
    view = started(whole("a", "running"), whole("b", "running"))
    for turn in range(100):
        view.receive(ContainerStatus("a", f"s{turn}"))
    assert (view.take(), view.take(), view.ready) == ("a", None, False)


def test_a_deletion() -> None:
    """Takes a container away, also one that was never shown or is being looked at."""
    view = started(whole("a", "running"))
    view.receive(ContainerStatus("b", "pending"))
    assert view.take() == "b"
    view.receive(ContainerDeleted("b"))
    view.receive(ContainerDeleted("a"))
    view.receive(ContainerDeleted("z"))
    view.looked_at("b", whole("b", "pending"))
    assert shown(view) == []


def test_a_look_that_finds_nothing() -> None:
    """Is a deletion that nobody told."""
    view = started(whole("a", "running"))
    view.receive(ContainerStatus("a", "stopped"))
    assert view.take() == "a"
    view.looked_at("a", NotFound("x", status=404))
    assert shown(view) == []


def test_a_look_that_fails() -> None:
    """What the feed told has to do."""
    view = started(whole("a", "running"))
    for id_ in ("a", "b"):
        view.receive(ContainerStatus(id_, "stopped"))
    for id_ in ("a", "b"):
        assert view.take() == id_
        view.looked_at(id_, ConnectError("x"))
    assert view.shown == {"b": Container("b", "", "stopped"), "a": whole("a", "stopped")}


def test_what_was_read_does_not_change() -> None:
    """A reader keeps its moment."""
    view = started(whole("a", "running"))
    before = view.shown
    view.receive(ContainerStatus("a", "stopped"))
    view.receive(ContainerDeleted("a"))
    assert before == {"a": whole("a", "running")}


def test_the_first_reason_of_an_end_counts() -> None:
    """Closing what has ended already does not hide why."""
    view = View(lambda c: c)
    assert isinstance(view.ended, Closed)
    view.begin()
    error = ConnectError("x")
    version = view.version
    view.end(error)
    view.end(Closed("x"))
    assert view.ended is error
    assert view.is_newer(version)


def test_a_lost_connection_is_something_to_do() -> None:
    """`ready` tells the owner, who then opens another."""
    view = started(whole("a", "running"))
    assert not view.ready
    view.lost(None)
    assert view.ready
