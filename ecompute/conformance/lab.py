"""The laboratory: what a check works with. Everything that it says to the server goes through here, so that
it is written down for the report, judged, and tidied up afterwards.
"""

from __future__ import annotations

import random
import secrets
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from ecompute.contract.problems import Code

from .abilities import Abilities
from .check import Check, Need
from .credential import Credential, Tenant
from .dialect import Dialect
from .examples import run_examples
from .history import Waited
from .judge import Judge
from .materials import public_key
from .speaking import Speaker
from .target import Profile, Target
from .things import Thing
from .verdict import Lost, NotThere
from .wire import Answer, Wire

T = TypeVar("T")


class Lab(Speaker):
    """One for a run; the runner gives it to each check in turn."""

    def __init__(self, target: Target, wire: Wire, dialect: Dialect, tenants: tuple[Tenant, ...]) -> None:
        super().__init__(target, wire, tenants)
        self.dialect = dialect
        self.random: random.Random = random.Random(target.seed)
        self.prefix: str = f"conformance-{secrets.token_hex(3)}"
        self._shared: dict[tuple[str, str], Any] = {}
        self._numbers = 0
        self._judge: Judge | None = None
        self.abilities: Abilities = Abilities(self)

    @property
    def standard(self) -> bool:
        """Whether more than the quick profile is asked for."""
        return self.target.profile is Profile.STANDARD

    def pick(self, quick: T, standard: T) -> T:
        """The one for the profile of the run."""
        return standard if self.standard else quick

    def need(self, *needs: Need) -> None:
        """Go on only if the server has all these.

        Raises:
            NotThere: it lacks one.
        """
        for need in needs:
            lack = self.abilities.lack(need)
            if lack is not None:
                raise NotThere(lack)

    @property
    def judge(self) -> Judge:
        """The judge of the check that runs."""
        if self._judge is None:
            raise RuntimeError("no check is running")
        return self._judge

    def holds(self, requirement: str, condition: object, expected: str, seen: object) -> None:
        """As `Judge.holds`."""
        self.judge.holds(requirement, condition, expected, seen)

    def refused(self, requirement: str, answer: Answer, *codes: Code) -> None:
        """As `Judge.refused`."""
        self.judge.refused(requirement, answer, *codes)

    def undecided(self, requirement: str, why: str) -> None:
        """As `Judge.undecided`."""
        self.judge.undecided(requirement, why)

    @contextmanager
    def checking(self, check: Check) -> Iterator[Judge]:
        """For the time of one check: its judge, a fresh history, and tidiness at its end. Things that are
        shared between checks stay.
        """
        self._judge = judge = Judge(check, self.dialect)
        self.history.rewind()
        self.random.seed(f"{self.target.seed}:{check.name}")
        try:
            with self.tidy():
                yield judge
        finally:
            self._judge = None

    @contextmanager
    def tidy(self, *, forgetting: bool = True) -> Iterator[None]:
        """At the end close what was opened inside, and delete what was made. The history forgets it, unless a
        deviation was found inside: what is gone is nothing that later steps build on, and said again it would
        stand in their way.
        """
        outer, self._open = self._open, ExitStack()
        mark, begun = len(self.things), self.history.mark()
        try:
            yield
            if forgetting:
                self.history.rewind(begun)
        finally:
            self._open.close()
            self._open = outer
            shared = {str(value) for value in self._shared.values() if isinstance(value, str | int)}
            kept = [thing for thing in self.things.since(mark) if thing.id in shared]
            gone = tuple(thing for thing in self.things.since(mark) if thing not in kept)
            self.remove(gone)

    def examples(
        self, strategy: Any, test: Callable[[Any], None], *, quick: int, standard: int | None = None
    ) -> None:
        """Run `test` on so many values of a Hypothesis strategy, by the seed of the run, and tidy up after
        each. A failure is shrunk, and the history is that of its simplest example.
        """
        count = quick if not self.standard else (quick * 5 if standard is None else standard)
        mark = self.history.mark()

        def trial(value: Any) -> None:
            self.history.rewind(mark)
            with self.tidy():
                test(value)

        run_examples(strategy, trial, count=count, seed=self.seed)

    def each(self, values: Iterable[T]) -> Iterator[T]:
        """Values to be tried one after the other, where none builds on those before it: the history of each
        is without them.
        """
        mark = self.history.mark()
        for value in values:
            self.history.rewind(mark)
            yield value

    @property
    def seed(self) -> int:
        """A number of the run's seed and the check's name, so that a check does the same alone as among
        others.
        """
        return zlib.crc32(f"{self.target.seed}:{self.judge.check.name}".encode())

    def name(self) -> str:
        """A name that tells whose things these are."""
        self._numbers += 1
        return f"{self.prefix}-{self._numbers}"

    def public_key(self) -> str:
        """A public key that no user has yet."""
        return public_key(secrets.token_bytes(32))

    def key(self, who: Tenant | None = None) -> int:
        """The id of an SSH key that checks share; it is not to be deleted.

        Raises:
            NotThere: there can be none.
        """
        owner = who or self.first
        return int(self._share("key", owner, lambda: self.new_key(owner)))

    def new_key(self, who: Tenant | None = None) -> int:
        """The id of a new SSH key.

        Raises:
            NotThere: there can be none.
        """
        answer = self.post("/compute/ssh-keys", {"name": self.name(), "public_key": self.public_key()}, who)
        return int(self._made("an SSH key", answer, int))

    def new_container(self, who: Tenant | None = None, **more: Any) -> str:
        """The id of a new container.

        Raises:
            NotThere: there can be none.
        """
        owner = who or self.first
        body = {"name": self.name(), "ssh_key_ids": [self.key(owner)], **more}
        return str(self._made("a container", self.post("/compute/containers", body, owner), str))

    def container(self, who: Tenant | None = None) -> str:
        """The id of a container that checks share, whatever its status; it is not to be deleted.

        Raises:
            NotThere: there can be none.
        """
        owner = who or self.first
        return str(self._share("container", owner, lambda: self.new_container(owner)))

    def running(self, who: Tenant | None = None) -> str:
        """The id of a container that checks share, and that runs now.

        Raises:
            NotThere: it does not come to run.
        """
        owner = who or self.first
        id_ = self.container(owner)
        self.start(id_, owner)
        return id_

    def start(self, id_: str, who: Tenant | None = None) -> None:
        """Bring a container to run.

        Raises:
            NotThere: it does not come to run.
        """
        if self.status(id_, who) in ("stopped", "failed"):
            self.post(f"/compute/containers/{id_}/start", None, who)
        self.wait(id_, "running", who)

    def stop(self, id_: str, who: Tenant | None = None) -> None:
        """Bring a container to `stopped`."""
        if self.status(id_, who) != "stopped":
            self.post(f"/compute/containers/{id_}/stop", None, who)
        self.wait(id_, "stopped", who)

    def status(self, id_: str, who: Tenant | None = None) -> str:
        """The status that a container has now; empty when it cannot be had."""
        return str(self.get(f"/compute/containers/{id_}", who).body.get("status", ""))

    def wait(self, id_: str, status: str, who: Tenant | None = None) -> None:
        """Wait until a container has a status.

        Raises:
            NotThere: it gets another final one, or the time for a boot is over.
        """
        owner = who or self.first
        mark = self.history.mark()

        def look() -> bool:
            self.history.rewind(mark)
            found = self.status(id_, owner)
            if found == "failed" and status != "failed":
                raise NotThere(f"The container has the status 'failed' instead of {status!r}.")
            return found == status

        there = self.until(look, self.target.boot_timeout)
        self.history.rewind(mark)
        self.history.add(Waited(id_, status, owner.symbol))
        if not there:
            raise NotThere(
                f"The container did not get the status {status!r} in {self.target.boot_timeout:g} s."
            )

    def until(self, condition: Callable[[], bool], within: float) -> bool:
        """Whether a condition comes true before so many seconds are over, looked at again and again."""
        deadline = time.monotonic() + within
        pause = 0.01
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, 0.5)
        return True

    def token(self, scopes: Mapping[str, list[str]], who: Tenant | None = None) -> Credential:
        """A new API token; `<uid>` in a scope stands for its tenant's id.

        Raises:
            NotThere: the server makes none.
        """
        owner = who or self.first
        self.need(Need.SESSION)
        filled = {scope.replace("<uid>", str(owner.user_id)): actions for scope, actions in scopes.items()}
        body = {"name": self.name(), "scopes": filled, "expires_in": "30d"}
        answer = self.post("/api/tokens", body, owner)
        token = str(self._made("an API token", answer, str, "token"))
        return Credential(self.history.symbol("token", token), token, owner.symbol)

    def shared_token(self, scopes: Mapping[str, list[str]], who: Tenant | None = None) -> Credential:
        """As `token`, for checks to share; it is not to be revoked.

        Raises:
            NotThere: the server makes none.
        """
        owner = who or self.first
        name = f"token {sorted(scopes.items())}"

        def make() -> Credential:
            made = self.token(scopes, owner)
            # what is shared is kept by its id
            self._shared[(f"id of {name}", owner.symbol)] = self.things.all("token", owner.symbol)[-1].id
            return made

        return self._share(name, owner, make)

    def room(self, who: Tenant | None = None) -> int:
        """How many containers more the tenant may have."""
        # nothing that a report needs
        mark = self.history.mark()
        listed = self.get("/compute/containers", who).body.get("containers")
        self.history.rewind(mark)
        return self.target.container_limit - (len(listed) if isinstance(listed, list) else 0)

    def make_room(self, count: int, who: Tenant | None = None) -> None:
        """See that the tenant may have so many containers more; those that checks share go if they must.

        Raises:
            NotThere: there is no such room, since the user has containers of other making.
        """
        owner = who or self.first
        if self.room(owner) < count:
            self.forget("container", owner)
        if self.room(owner) < count:
            raise NotThere(
                f"The user may have {self.target.container_limit} containers and has too many to make "
                f"{count} more: delete some, or give the token of another user."
            )

    def forget(self, kind: str, who: Tenant | None = None) -> None:
        """Delete what checks share of a kind; it is made anew when it is wanted again."""
        owner = who or self.first
        shared = self._shared.pop((kind, owner.symbol), None)
        self.remove(
            tuple(
                t for t in self.things.all(kind, owner.symbol) if shared is not None and t.id == str(shared)
            )
        )

    def remove(self, things: tuple[Thing, ...]) -> tuple[Thing, ...]:
        """Delete things of the kit's own, past the history, and tell which could not be."""
        return self.things.remove(things, self._delete)

    def _delete(self, thing: Thing) -> Answer:
        token = self._tenants[thing.owner].credential.token
        try:
            return self.wire.send("DELETE", thing.path, token=token)
        except Lost as error:
            return Answer(0, {}, str(error).encode())

    def _share(self, kind: str, owner: Tenant, make: Callable[[], T]) -> T:
        place = (kind, owner.symbol)
        if place not in self._shared:
            with self.history.as_preface():
                self._shared[place] = make()
        found: T = self._shared[place]
        return found

    def _made(self, what: str, answer: Answer, kind: type, field: str = "id") -> Any:
        value = answer.body.get(field)
        if answer.status != 200 or not isinstance(value, kind) or isinstance(value, bool):
            raise NotThere(f"The server did not make {what}: {answer}")
        return value
