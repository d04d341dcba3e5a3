"""Any sequence of operations: two tenants and their API tokens, a server and the model side by side.

Hypothesis chooses the operations, and makes a sequence that fails as short as it can. What is made is gone
after each sequence. Nothing here waits for a container to run.
"""

from __future__ import annotations

import sys
from typing import Any

from hypothesis import Verbosity, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.errors import Flaky, FlakyFailure
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from hypothesis.strategies import SearchStrategy

from ecompute.contract import codec
from ecompute.contract import requests as ask
from ecompute.contract.scopes import Action

from . import strategies as given_by
from .examples import options
from .lab import Lab
from .sequence import KEY_TYPES, LOOKS, Sequence
from .setting import Hand, Setting
from .verdict import Deviation

# stands where the run's own prefix will
_PLACE = "conformance-000000-"
_NAMES = given_by.padded(given_by.container_names(_PLACE))
# few, so that they meet
_PORTS = st.sampled_from((8080, 443, 80))
_TARGETS = st.sampled_from((None, 0, 80, 65535))
_WRONG = (
    ask.CreateContainer,
    ask.AddIngress,
    ask.SetMounts,
    ask.SetSSHAccess,
    ask.RemoveIngress,
    ask.AddSSHKey,
)
_BELOW = st.dictionaries(
    st.sampled_from(("", ".containers", ".keys", ".containers.<id>")),
    st.sets(st.sampled_from(tuple(Action)), min_size=1),
    min_size=1,
    max_size=2,
)


def _almost(cls: type) -> SearchStrategy[tuple[type, given_by.Almost]]:
    return st.tuples(st.just(cls), given_by.almost(cls))


def _if_made(made: Any) -> Any:
    return multiple() if made is None else made


class Sequences(RuleBasedStateMachine):
    """Sequences as Hypothesis makes them: each rule is one operation."""

    hands: Bundle[Hand] = Bundle("hands")
    tokens: Bundle[Hand] = Bundle("tokens")
    boxes: Bundle[str] = Bundle("boxes")
    keys: Bundle[int] = Bundle("keys")
    # None is the container's owner, who gets furthest
    anybody: SearchStrategy[Hand | None] = st.one_of(st.none(), st.none(), hands)

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.setting = setting
        self.sequence: Sequence = Sequence(setting)

    def teardown(self) -> None:
        """The last look, and tidying up."""
        try:
            if sys.exc_info()[0] is None:
                self.sequence.look_at_all()
        finally:
            self.sequence.tidy()

    def on(self, who: Hand | None, box: str, cls: type, body: Any = None, **parameters: str) -> None:
        """An operation on a container."""
        hand = who or self.sequence.owner_of(box)
        self.sequence.do(hand, cls, {"id": box, **parameters}, body or {})

    def own(self, name: str) -> str:
        """A name of the run's own."""
        return name.replace(_PLACE, f"{self.setting.lab.prefix}-")

    # --- who there is

    @initialize(target=hands)
    def tenants(self) -> MultipleResults[Hand]:
        return multiple(*self.setting.hands)

    @initialize(target=boxes)
    def first_container(self) -> Any:
        # most operations are on one
        owner = self.setting.hands[0]
        return _if_made(self.sequence.create(owner, [self.sequence.shared_key(owner)]))

    @initialize(watched=st.sets(st.integers(0, 1)))
    def watch(self, watched: set[int]) -> None:
        for number in sorted(watched):
            if number < len(self.setting.tenants):
                self.sequence.subscribe(self.setting.tenants[number])

    @precondition(lambda self: self.setting.makes_tokens)
    @rule(targets=(hands, tokens), who=hands, box=boxes, below=_BELOW)
    def make_token(self, who: Hand, box: str, below: dict[str, set[Action]]) -> Any:
        return _if_made(self.sequence.make_token(who, below, box))

    @rule(who=hands, token=tokens)
    def revoke(self, who: Hand, token: Hand) -> None:
        self.sequence.revoke(who, token)

    # --- keys

    @rule(target=keys, who=hands, slot=st.integers(0, len(KEY_TYPES) - 1), name=_NAMES)
    def add_key(self, who: Hand, slot: int, name: str) -> Any:
        return _if_made(self.sequence.add_key(who, slot, self.own(name)))

    @rule(who=hands, key=keys)
    def delete_key(self, who: Hand, key: int) -> None:
        self.sequence.do(who, ask.DeleteSSHKey, {"id": str(key)})

    @rule(
        target=boxes,
        who=hands,
        memory=st.sampled_from((None, 0, 256, 512)),
        request=given_by.create_containers(names=_NAMES, ssh_key_ids=st.just((1,))),
    )
    def create(self, who: Hand, memory: int | None, request: ask.CreateContainer) -> Any:
        told = codec.write_request(request).body
        more: dict[str, Any] = {name: told[name] for name in ("ssh_enabled", "mount_paths") if name in told}
        if memory is not None:
            more["memory_mb"] = memory
        key_ids = [self.sequence.shared_key(who)]
        return _if_made(self.sequence.create(who, key_ids, name=self.own(request.name), **more))

    @rule(target=boxes, who=hands, key=keys)
    def create_with(self, who: Hand, key: int) -> Any:
        # the key may be gone, or another's
        return _if_made(self.sequence.create(who, [key]))

    @rule(who=hands, cls=st.sampled_from((ask.ListContainers, ask.ListSSHKeys)))
    def list_(self, who: Hand, cls: type) -> None:
        self.sequence.do(who, cls, {})

    @rule(who=anybody, box=boxes, cls=st.sampled_from(LOOKS))
    def look(self, who: Hand | None, box: str, cls: type) -> None:
        self.on(who, box, cls)

    @rule(who=anybody, box=boxes)
    def start(self, who: Hand | None, box: str) -> None:
        self.on(who, box, ask.StartContainer)

    @rule(who=anybody, box=boxes)
    def stop(self, who: Hand | None, box: str) -> None:
        self.on(who, box, ask.StopContainer)

    @rule(who=anybody, box=boxes)
    def delete(self, who: Hand | None, box: str) -> None:
        self.on(who, box, ask.DeleteContainer)

    # --- what belongs to a container

    @rule(who=anybody, box=boxes, enabled=st.booleans())
    def set_ssh(self, who: Hand | None, box: str, enabled: bool) -> None:
        self.on(who, box, ask.SetSSHAccess, {"ssh_enabled": enabled})

    @rule(who=anybody, box=boxes, port=_PORTS, inner=_TARGETS)
    def publish(self, who: Hand | None, box: str, port: int, inner: int | None) -> None:
        self.on(who, box, ask.AddIngress, {"port": port, "target_port": inner})

    @rule(who=anybody, box=boxes, port=_PORTS)
    def unpublish(self, who: Hand | None, box: str, port: int) -> None:
        self.on(who, box, ask.RemoveIngress, port=str(port))

    @rule(who=anybody, box=boxes, request=given_by.set_mounts())
    def mount(self, who: Hand | None, box: str, request: ask.SetMounts) -> None:
        self.on(who, box, ask.SetMounts, codec.write_request(request).body)

    @rule(who=anybody, box=boxes, case=st.sampled_from(_WRONG).flatmap(_almost))
    def almost(self, who: Hand | None, box: str, case: tuple[type, given_by.Almost]) -> None:
        cls, wrong = case
        hand, body = who or self.sequence.owner_of(box), {**wrong.body}
        parameters = {**wrong.parameters, "id": box} if "id" in wrong.parameters else wrong.parameters
        if "ssh_key_ids" in body and not wrong.path.startswith("ssh_key_ids"):
            body["ssh_key_ids"] = [self.sequence.shared_key(hand)]
        self.sequence.do(hand, cls, parameters, body)


def run_sequences(lab: Lab, *, count: int, steps: int) -> None:
    """Try so many sequences of so many operations, by the seed of the run. A failure is made short for as
    long as the profile allows; the history is then that of the shortest.

    Raises:
        Deviation: the server and the model differ.
        NotThere: the server has no room for it.
    """
    setting = Setting(lab)
    how = settings(options(count), stateful_step_count=steps, verbosity=Verbosity.quiet)

    def machine() -> Sequences:
        setting.enough()
        return Sequences(setting)

    factory: Any = seeded(lab.seed)(machine)
    try:
        run_state_machine_as_test(factory, settings=how)
    except (Deviation, Flaky, FlakyFailure):
        setting.recall()
        raise
