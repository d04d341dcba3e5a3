"""One sequence of operations on a server, and the model's world beside it after each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from ecompute.contract import endpoints
from ecompute.contract import requests as ask
from ecompute.contract.catalog import Status
from ecompute.contract.endpoint import Endpoint
from ecompute.contract.scopes import Action

from . import strategies as given_by
from .comparing import CONTAINERS, KEYS, PARTS, REFUSED, Comparison
from .credential import Credential, Tenant
from .feeds import Feed
from .lab import Lab
from .model import Expected, expect
from .setting import Hand, Setting
from .verdict import Deviation
from .watching import Watch
from .wire import NOTHING, Answer
from .world import REACH, World

LOOKS = (ask.GetContainer, ask.GetSSHAccess, ask.ListIngress, ask.GetMounts)
"""Operations on a container that change nothing of it."""

KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa")
"""The types of the few keys that a sequence has."""

_ROWS: Mapping[type, Endpoint[Any, Any]] = {row.request: row for row in endpoints.ENDPOINTS}
_ABOUT_KEYS = (ask.AddSSHKey, ask.DeleteSSHKey, ask.ListSSHKeys)
_MOST = 4


class Sequence:
    """A sequence that begins with `setting`. `tidy` ends it: what was made is gone then."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.lab: Lab = setting.lab
        self.world: World = setting.world
        self._comparison = Comparison(setting.lab)
        self._watches: dict[str, Watch] = {}
        self._lines: dict[int, str] = {}
        self.lab.history.rewind(setting.mark)
        self._end = ExitStack()
        self._end.enter_context(self.lab.tidy(forgetting=False))

    def tidy(self) -> None:
        """Delete what was made, and close the feeds."""
        self._end.close()

    def owner(self, hand: Hand) -> str:
        """The symbol of the tenant to whom a hand belongs."""
        return self.world.passes[hand.symbol].owner

    def owner_of(self, box: str) -> Hand:
        """The tenant whose container this is or was."""
        symbol = self.world.made[("container", box)]
        return next(hand for hand in self.setting.hands if hand.symbol == symbol)

    def first_box(self) -> str:
        """The container that was made first, which may be gone, or an id that no container has."""
        return next((str(id_) for kind, id_ in self.world.made if kind == "container"), "0" * 8)

    def shared_key(self, hand: Hand) -> int:
        """A key that the hand's tenant has throughout."""
        return self.setting.shared[self.owner(hand)]

    def do(
        self, who: Hand, cls: type, parameters: Mapping[str, str], body: Mapping[str, Any] = NOTHING
    ) -> tuple[Answer, Expected]:
        """Ask the server and the model, and compare all that may have changed.

        Raises:
            Deviation: they differ.
        """
        with self.setting.shortest():
            row, before = _ROWS[cls], self.world
            expected = expect(before, row, who.symbol, parameters, body)
            path = row.path.format_map(parameters)
            answer = self.lab.ask(row.method, path, who.credential, body if row.has_body else None)
            self._comparison.answer(expected, answer)
            if expected.code is None:
                self._comparison.made(before, row, parameters, expected, answer)
                self.world = expected.after(answer.body)
            self._follow(before.passes[who.symbol].owner, expected, cls, answer)
            self._look_around(who, cls, parameters.get("id", ""), refused=expected.code is not None)
        return answer, expected

    def _follow(self, owner: str, expected: Expected, cls: type, answer: Answer) -> None:
        news = expected.news
        if cls is ask.CreateContainer and expected.code is None:
            news = ((str(answer.body.get("id")), REACH[Status.PENDING]),)
        for symbol, watch in self._watches.items():
            if symbol == owner:
                for id_, status in expected.hints:
                    watch.allow(id_, status)
            watch.follow(self.world, news if symbol == owner else ())

    def _look_around(self, who: Hand, cls: type, id: str, *, refused: bool) -> None:
        """The lists of all whom the operation could touch, and the container that it named. A look that finds
        nothing wrong leaves no trace in the history.
        """
        mark = self.lab.history.mark()
        box = self.world.box(id)
        owners = {self.owner(who), *((box.owner,) if box else ())}
        for tenant in self.setting.tenants:
            if tenant.symbol not in owners:
                continue
            self.world = self._comparison.containers(REFUSED if refused else CONTAINERS, self.world, tenant)
            if cls in _ABOUT_KEYS:
                self._comparison.keys(REFUSED if refused else KEYS, self.world, tenant)
            if box is not None and box.owner == tenant.symbol and cls not in LOOKS:
                self._comparison.parts(REFUSED if refused else PARTS, box, tenant)
        self.lab.history.rewind(mark)

    def look_at_all(self) -> None:
        """Everything of everybody is as the model has it, and the feeds have told it.

        Raises:
            Deviation: something is not.
        """
        mark = self.lab.history.mark()
        with self.setting.shortest():
            for tenant in self.setting.tenants:
                self.world = self._comparison.containers(CONTAINERS, self.world, tenant)
                self._comparison.keys(KEYS, self.world, tenant)
                for box in self.world.boxes_of(tenant.symbol):
                    self._comparison.parts(PARTS, box, tenant)
                self.lab.history.rewind(mark)
            for watch in self._watches.values():
                watch.agrees(self.world)

    # --- operations of several steps

    def subscribe(self, tenant: Tenant) -> None:
        """Follow a tenant's feed from now on, if it is not followed already."""
        if tenant.symbol not in self._watches:
            feed = Feed.open(self.lab, tenant)
            self._watches[tenant.symbol] = Watch(
                self.lab, feed, tenant.symbol, self.setting.tells_ends, self.setting.patience
            )

    def add_key(self, who: Hand, slot: int, name: str) -> int | None:
        """Add one of the sequence's few keys; None if that is refused."""
        # the same slot is the same key in a sequence, and a new one in the next
        if slot not in self._lines:
            number = int.from_bytes(self.lab.public_key().encode(), "big")
            self._lines[slot] = given_by.public_key_of(KEY_TYPES[slot], number)
        body = {"name": name, "public_key": self._lines[slot]}
        answer, expected = self.do(who, ask.AddSSHKey, {}, body)
        return None if expected.code is not None else int(answer.body.get("id", 0))

    def create(self, who: Hand, key_ids: list[int], **more: Any) -> str | None:
        """Create a container; None if that is refused."""
        body = {"name": self.lab.name(), "ssh_key_ids": key_ids, **more}
        answer, expected = self.do(who, ask.CreateContainer, {}, body)
        return None if expected.code is not None else str(answer.body.get("id"))

    def fill(self, who: Hand) -> None:
        """Create containers up to the limit, and one more."""
        for _ in range(1 + min(_MOST, self.world.room(self.owner(who)))):
            self.create(who, [self.shared_key(who)])

    def make_token(self, who: Hand, below: Mapping[str, set[Action]], box: str) -> Hand | None:
        """A token for parts of what a user has (`.containers.<id>` for a container); None if
        that is refused.
        """
        owner = self.owner(who)
        start = f"compute.{self.world.accounts[owner].user_id}"
        scopes = {
            start + rest.replace("<id>", box): sorted(map(str, actions)) for rest, actions in below.items()
        }
        body = {"name": self.lab.name(), "scopes": scopes, "expires_in": "30d"}
        answer, expected = self.do(who, ask.CreateToken, {}, body)
        if expected.code is not None:
            return None
        secret = str(answer.body.get("token"))
        symbol = self.lab.history.symbol("token", secret)
        return Hand(Credential(symbol, secret, owner), str(answer.body.get("id")))

    def revoke(self, who: Hand, token: Hand) -> None:
        """Revoke a token, which may be revoked already."""
        self.do(who, ask.DeleteToken, {"id": token.symbol})


Step = Callable[[Sequence], object]


def walk(lab: Lab, steps: tuple[Step, ...]) -> None:
    """Go through a sequence step by step, with a look at everything at its end. After a deviation, steps are
    left out as long as it still deviates and the profile allows.

    Raises:
        Deviation: the server and the model differ; the history is the shortest that leads there.
        NotThere: the server has no room for it.
    """
    setting = Setting(lab)
    reached = _deviates(setting, steps)
    if reached is None:
        return
    left, size = steps[:reached], reached
    while size > 1:
        # as in delta debugging: large parts first
        size = (size + 1) // 2
        for start in range(reached - reached % size, -1, -size):
            fewer = left[:start] + left[start + size :]
            if not setting.is_over and (found := _deviates(setting, fewer)) is not None:
                left = fewer[:found]
        reached = len(left)
    setting.recall()


def _deviates(setting: Setting, steps: tuple[Step, ...]) -> int | None:
    """How many steps lead to a deviation, None if there is none."""
    sequence, reached = Sequence(setting), 0
    try:
        for step in steps:
            reached += 1
            step(sequence)
        sequence.look_at_all()
    except Deviation:
        return reached
    finally:
        sequence.tidy()
    return None
