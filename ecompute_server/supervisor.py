"""Makes machines follow records, and records follow machines.

Effects of a commit are carried out one after another for each container, and struck off the journal when
done; what was not done when the server ended is done at its next start. Facts about machines become
observations in the order in which they came.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from attrs import frozen

from ecompute.contract.catalog import Status

from .core import recovery
from .core.lifecycle import BOOTING, DOWN, EffectKind, Happening, Observation
from .core.record import ContainerRecord
from .gateway.interface import Gateway, GatewayError
from .guest.interface import GuestError, Guests, Login
from .hypervisor.interface import Fact, FactKind, Hypervisor, HypervisorError, MachineSpec
from .logs import get_logger
from .store.interface import Change, ContainerStore, Effect, StoreUnavailable

_log = get_logger(__name__)

_FIRST_RETRY = 0.1
_LAST_RETRY = 30.0
KNOCK_SECONDS = 15.0
"""How often a port that could not be opened is tried again."""
_UNWRITTEN = 0
"""The id of an effect that the journal does not know."""


@frozen
class Timing:
    """How long things may take, in seconds."""

    boot_deadline: float = 120.0
    stop_grace: float = 10.0


class Supervisor:
    """Runs effects and hears facts. Lives on the event loop."""

    def __init__(
        self,
        *,
        containers: ContainerStore,
        hypervisor: Hypervisor,
        guests: Guests,
        gateway: Gateway,
        spec: Callable[[ContainerRecord], MachineSpec],
        login: Callable[[ContainerRecord], Login],
        timing: Timing,
        erased: Callable[[ContainerRecord], None] = lambda record: None,
    ) -> None:
        self._containers = containers
        self._hypervisor = hypervisor
        self._guests = guests
        self._gateway = gateway
        self._spec = spec
        self._login = login
        self._timing = timing
        self._erased = erased
        self._queues: dict[str, deque[Effect]] = {}
        self._deadlines: dict[str, asyncio.TimerHandle] = {}
        self._stuck: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._probes: dict[str, asyncio.Task[None]] = {}
        self._facts: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._stopping = False

    async def start(self) -> None:
        """Take up the machines and whatever an earlier server left undone.

        Raises:
            HypervisorError: the hypervisor cannot work here.
            GatewayError: the gateway cannot.
        """
        await self._hypervisor.open(self._observe)
        await self._gateway.open()
        self._containers.listen(self._committed)
        for effect in await self._containers.journal():
            self._enqueue(effect)
        machines = {machine.container_id for machine in await self._hypervisor.machines()}
        found = recovery.compare(self._containers.all(), machines)
        for container_id, observation in found.observations:
            await self._containers.observe(container_id, observation)
        for container_id in found.strangers:
            _log.warning("machine without a record is removed", container=container_id)
            self._spawn(self._persist(container_id, partial(self._hypervisor.delete, container_id)))

    async def stop(self) -> None:
        """Let go of everything; machines keep running. Safe to call after a failed `start`."""
        self._stopping = True
        for timer in (*self._deadlines.values(), *self._stuck.values()):
            timer.cancel()
        tasks = [*self._tasks, *self._probes.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._gateway.close()
        await self._guests.close()
        await self._hypervisor.close()

    @property
    def queue_depth(self) -> int:
        """Effects that were committed and are not carried out yet."""
        return sum(map(len, self._queues.values()))

    # --- effects ----------------------------------------------------------------------------------

    def _committed(self, change: Change) -> None:
        for effect in change.effects:
            self._enqueue(effect)
        _tell(change)
        record = change.after
        if record is not None and (record.life.deleted or record.life.status not in BOOTING):
            self._forget_boot(record.id)

    def _enqueue(self, effect: Effect) -> None:
        if self._stopping:
            return
        queue = self._queues.get(effect.container_id)
        if queue is not None:
            queue.append(effect)
            return
        self._queues[effect.container_id] = deque([effect])
        self._spawn(self._work(effect.container_id))

    async def _work(self, container_id: str) -> None:
        queue = self._queues[container_id]
        while queue:
            # it stays in the queue until it is done: one that fails again and again is to be seen there
            await self._persist(container_id, partial(self._carry_out, queue[0]))
            queue.popleft()
        del self._queues[container_id]

    async def _persist(self, container_id: str, action: Callable[[], Awaitable[None]]) -> None:
        """Repeat an action until it succeeds: nothing is given up, only slowed down."""
        pause = _FIRST_RETRY
        while True:
            try:
                return await action()
            except (HypervisorError, StoreUnavailable) as error:
                _log.warning("will be tried again", container=container_id, reason=str(error), pause=pause)
            except Exception:
                _log.exception("will be tried again", container=container_id, pause=pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LAST_RETRY)

    async def _carry_out(self, effect: Effect) -> None:
        record = self._containers.get(effect.container_id)
        if record is None:
            return await self._containers.strike(effect)
        _log.debug("effect", container=record.id, kind=str(effect.kind), generation=effect.generation)
        match effect.kind:
            case EffectKind.POWER_ON:
                await self._power_on(record, effect)
            case EffectKind.POWER_OFF:
                await self._hypervisor.stop(record.id, grace=self._timing.stop_grace)
            case EffectKind.CUT_OFF:
                await self._cut_off(record)
            case EffectKind.OPEN_DOORS:
                await self._open_doors(record)
            case EffectKind.CLOSE_DOORS:
                await self._gateway.withdraw(record.id)
            case EffectKind.ERASE:
                await self._gateway.withdraw(record.id)
                await self._hypervisor.delete(record.id)
                await self._containers.purge(record.id)
                return self._erased(record)
        await self._containers.strike(effect)

    async def _power_on(self, record: ContainerRecord, effect: Effect) -> None:
        if record.life.deleted or record.life.generation != effect.generation or record.life.status in DOWN:
            return
        if record.life.status in BOOTING:
            self._set_deadline(record)
        try:
            await self._hypervisor.start(self._spec(record))
        except HypervisorError as error:
            # the sentence is the operator's: it may name paths and programs of this host
            _log.error("the machine did not start", container=record.id, reason=str(error))
            await self._apply(record.id, Happening.BOOT_FAILED, effect.generation, _NO_START)

    async def _cut_off(self, record: ContainerRecord) -> None:
        if record.life.status is Status.FAILED:
            console = await self._hypervisor.console_tail(record.id)
            _log.error("container failed", container=record.id, reason=record.life.reason, console=console)
        await self._hypervisor.stop(record.id, grace=0)

    async def _open_doors(self, record: ContainerRecord) -> None:
        if (timer := self._stuck.pop(record.id, None)) is not None:
            timer.cancel()
        if not record.is_running or record.life.deleted:
            return
        for port in self._gateway.published(record.id) - set(record.doors):
            await self._gateway.withdraw(record.id, port)
        for port, target in record.doors.items():
            try:
                await self._gateway.publish(record.id, record.external_ip, port, target)
            except GatewayError as error:
                _log.error("not reachable from outside", container=record.id, port=port, reason=str(error))
                self._knock_later(record.id)

    def _knock_later(self, container_id: str) -> None:
        """Whoever has the port now may leave it, and nobody would tell us."""
        if container_id not in self._stuck and not self._stopping:
            # in its turn among the container's effects, which may change the same doors
            again = Effect(_UNWRITTEN, container_id, 0, EffectKind.OPEN_DOORS)
            self._stuck[container_id] = asyncio.get_running_loop().call_later(
                KNOCK_SECONDS, self._enqueue, again
            )

    # --- facts ------------------------------------------------------------------------------------

    def _observe(self, fact: Fact) -> None:
        _log.debug("fact", container=fact.container_id, kind=str(fact.kind), generation=fact.generation)
        if self._stopping:
            return
        if fact.kind is FactKind.READY:
            self._probe(fact)
        else:
            happening = _HAPPENINGS[fact.kind]
            self._spawn(self._apply(fact.container_id, happening, fact.generation, fact.reason))

    def _probe(self, fact: Fact) -> None:
        old = self._probes.pop(fact.container_id, None)
        if old is not None:
            old.cancel()
        task = asyncio.create_task(self._wait_for_answer(fact.container_id, fact.generation))
        self._probes[fact.container_id] = task
        task.add_done_callback(lambda done: self._probe_ended(fact.container_id, done))

    def _probe_ended(self, container_id: str, task: asyncio.Task[None]) -> None:
        if self._probes.get(container_id) is task:
            del self._probes[container_id]

    async def _wait_for_answer(self, container_id: str, generation: int) -> None:
        pause = _FIRST_RETRY
        while True:
            record = self._containers.get(container_id)
            if record is None or record.life.deleted or record.life.generation != generation:
                return
            if record.life.status in DOWN:
                return
            try:
                await self._guests.answer(self._login(record))
            except GuestError as error:
                _log.info("guest does not answer yet", container=container_id, reason=str(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, 2.0)
            else:
                return await self._apply(container_id, Happening.GUEST_ANSWERED, generation)

    def _set_deadline(self, record: ContainerRecord) -> None:
        self._forget_boot(record.id)
        seconds = self._timing.boot_deadline
        reason = f"The guest did not answer within {seconds:g} seconds."
        self._deadlines[record.id] = asyncio.get_running_loop().call_later(
            seconds,
            lambda: self._spawn(
                self._apply(record.id, Happening.BOOT_FAILED, record.life.generation, reason)
            ),
        )

    def _forget_boot(self, container_id: str) -> None:
        timer = self._deadlines.pop(container_id, None)
        if timer is not None:
            timer.cancel()

    async def _apply(
        self, container_id: str, happening: Happening, generation: int, reason: str = ""
    ) -> None:
        """Facts of one container one after another, and none is given up: nobody tells it again."""
        lock = self._facts.setdefault(container_id, asyncio.Lock())
        async with lock:
            seen = Observation(happening, generation, reason)
            await self._persist(container_id, partial(self._observe_once, container_id, seen))

    async def _observe_once(self, container_id: str, seen: Observation) -> None:
        await self._containers.observe(container_id, seen)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a task of the supervisor failed", exc_info=task.exception())


def _tell(change: Change) -> None:
    before, after = change.before, change.after
    if after is None or (before is not None and before.life == after.life):
        return
    status = "deleted" if after.life.deleted else str(after.life.status)
    _log.info("container is " + status, container=after.id, user=after.user_id)


_NO_START = "The host could not start the machine; its operator finds the reason in the server's log."
_HAPPENINGS = {
    FactKind.STARTED: Happening.MACHINE_STARTED,
    FactKind.STOPPED: Happening.MACHINE_STOPPED,
    FactKind.LOST: Happening.MACHINE_LOST,
    FactKind.REFUSED: Happening.BOOT_FAILED,
}
