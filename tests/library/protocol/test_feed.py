"""The feed's two views: whatever the server tells, and however slow the caller is, no change is missed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ecompute.contract.messages import ContainerDeleted, ContainerSnapshot, ContainerStatus, FeedMessage
from ecompute.contract.resources import Container
from ecompute.protocol.feed import Deleted, Feed, Snapshot, StatusChanged


def snapshot(**statuses: str) -> ContainerSnapshot:
    return ContainerSnapshot(tuple(Container(id_, id_, status) for id_, status in statuses.items()))


def test_the_first_event_is_the_snapshot() -> None:
    """Nothing is told before it, and it is told once."""
    feed = Feed(lambda c: c)
    feed.opened()
    feed.receive(ContainerStatus("a", "running"))
    assert feed.take() is None
    feed.receive(snapshot(a="running"))
    assert feed.take() == Snapshot((Container("a", "a", "running"),))
    assert feed.take() is None


def test_a_later_snapshot_is_told_as_its_difference() -> None:
    """As a server sends one to a slow reader, and as each new connection begins."""
    feed = Feed(lambda c: c)
    feed.receive(snapshot(a="pending", b="running", c="running"))
    feed.take()
    feed.receive(snapshot(d="pending", c="running", a="running"))
    assert [feed.take() for _ in range(4)] == [
        Deleted("b", "running"),
        StatusChanged("d", "pending", None),
        StatusChanged("a", "running", "pending"),
        None,
    ]


def test_what_a_message_leaves_out_is_not_taken_back() -> None:
    """A snapshot that tells only the status does not forget address and reason."""
    feed = Feed(lambda c: c)
    feed.receive(snapshot(a="pending"))
    feed.take()
    feed.receive(ContainerStatus("a", "failed", external_ip="127.77.0.2", status_reason="It burnt."))
    assert feed.take() == StatusChanged("a", "failed", "pending", "127.77.0.2", "It burnt.")
    feed.receive(snapshot(a="failed"))
    assert feed.take() is None
    feed.receive(ContainerStatus("a", "pending"))
    assert feed.take() == StatusChanged("a", "pending", "failed", "127.77.0.2", None)


def test_changes_during_a_difference_are_told_once_and_last() -> None:
    """While the difference is told, a container may change again: then only its last state counts."""
    feed = Feed(lambda c: c, max_pending=1)
    feed.receive(snapshot(a="1", b="1"))
    feed.take()
    for id_, status in (("a", "2"), ("b", "2"), ("a", "3")):
        feed.receive(ContainerStatus(id_, status))
    assert feed.take() == StatusChanged("a", "3", "1")
    feed.receive(ContainerStatus("b", "1"))
    feed.receive(ContainerDeleted("a"))
    assert [feed.take() for _ in range(2)] == [Deleted("a", "3"), None]


IDS = st.sampled_from("abcd")
STATUSES = st.sampled_from(["pending", "running", "stopped"])
MESSAGES: st.SearchStrategy[FeedMessage | None] = st.one_of(
    st.builds(ContainerStatus, IDS, STATUSES),
    st.builds(ContainerDeleted, IDS),
    st.dictionaries(IDS, STATUSES).map(lambda statuses: snapshot(**statuses)),
    st.none(),  # the caller takes one event
)


@given(st.lists(MESSAGES, max_size=60), st.integers(1, 5))
def test_who_hears_all_events_knows_all(messages: list[FeedMessage | None], max_pending: int) -> None:
    """A model of the server and one of the listener agree in the end; memory stays bounded; nothing is told
    that is no change."""
    feed = Feed(lambda c: c, max_pending)
    truth: dict[str, str] = {}
    heard: dict[str, str] = {}

    def listen() -> bool:
        match feed.take():
            case None:
                return False
            case Snapshot(containers):
                assert heard == {}
                heard.update({c.id: c.status for c in containers})
            case StatusChanged(id_, status, previous):
                assert heard.get(id_) == previous != status
                heard[id_] = status
            case Deleted(id_, previous):
                assert heard.pop(id_) == previous
        return True

    feed.receive(snapshot())
    for message in messages:
        match message:
            case None:
                listen()
                continue
            case ContainerSnapshot():
                truth = {c.id: c.status for c in message.containers}
            case ContainerStatus():
                truth[message.container_id] = message.status
            case ContainerDeleted():
                truth.pop(message.container_id, None)
        feed.receive(message)
        assert len(feed._pending) <= max_pending
    while listen():
        pass
    assert heard == truth
