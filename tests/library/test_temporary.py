"""Temporary containers: whatever happens, the container and its key are deleted, or it is told."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import anyio
import pytest

import ecompute
from ecompute.contract.rules import Bounds, public_key

from .fake_server import LIMIT, FakeServer, Request, Socket

pytestmark = pytest.mark.anyio

Serve = Callable[..., FakeServer]
Connect = Callable[..., Any]


class Api:
    """Keys, containers and the feed, as far as a temporary container needs them.

    `twists` maps an operation (`POST /compute/containers`) to what happens instead of its answer, once.
    `late` maps one to how many requests overtake the next of it, whose sender sees its connection break.
    `come_again` is after how many seconds a request that is still on its way may be repeated.
    """

    def __init__(self, boots_to: str = "running", *, honours_keys: bool = False) -> None:
        self.keys: dict[str, dict[str, Any]] = {}
        self.boxes: dict[str, dict[str, Any]] = {}
        self.log: list[str] = []
        self.twists: dict[str, Callable[[Request], None]] = {}
        self.late: dict[str, int] = {}
        self.come_again = 0
        self.creates: dict[tuple[str, str], list[bytes]] = {}
        self._kept: dict[tuple[str, str], Any] = {}
        self._on_their_way: list[tuple[int, Request]] = []
        self._more = {"Idempotency_Supported": "true"} if honours_keys else {}
        self._boots_to = boots_to
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> None:
        parts = request.target.split("/")
        operation = f"{request.method} {'/'.join(parts[:3])}"
        if request.target == "/compute/ws":
            self._feed(request.upgrade())
        key = (operation, request.headers.get("idempotency-key", ""))
        with self._lock:
            self.log.append(operation)
            if request.method == "POST":
                self.creates.setdefault(key, []).append(request.body)
            if overtaken_by := self.late.pop(operation, 0):
                self._on_their_way.append((overtaken_by, request))
                request.wire.drop()
            busy = self._more and any(r.headers == request.headers for _, r in self._on_their_way)
            answer = None if busy else self._once(operation, request)
            self._let_time_pass()
        if busy:
            request.refuse(409, "conflict", Retry_After=str(self.come_again), **self._more)
        elif twist := self.twists.pop(operation, None):
            twist(request)
        elif answer is None:
            request.refuse(404, "not_found", **self._more)
        else:
            request.answer(answer, **self._more)

    def _let_time_pass(self) -> None:
        still = [(left - 1, request) for left, request in self._on_their_way]
        self._on_their_way = [(left, request) for left, request in still if left]
        for left, request in still:
            if not left:
                self._once(f"{request.method} {request.target}", request)

    def _once(self, operation: str, request: Request) -> Any:
        key = (operation, request.headers.get("idempotency-key", ""))
        if not self._more or not key[1]:
            return self._change(operation, request)
        if key not in self._kept:
            self._kept[key] = self._change(operation, request)
        return self._kept[key]

    def _change(self, operation: str, request: Request) -> Any:
        things = self.boxes if "containers" in operation else self.keys
        id_ = request.target.rpartition("/")[2]
        match request.method:
            case "GET" if request.target.endswith(("containers", "ssh-keys")):
                return {"containers": [*self.boxes.values()], "ssh_keys": [*self.keys.values()]}
            case "GET":
                return things.get(id_)
            case "POST":
                made = {**request.json(), "id": f"box{len(things)}", "status": self._boots_to}
                if things is self.keys:
                    made["id"] = 7
                things[str(made["id"])] = made
                return made
            case _:
                return {"status": "ok"} if things.pop(id_, None) else None

    def _feed(self, socket: Socket) -> None:
        socket.snapshot(**dict.fromkeys(self.boxes, self._boots_to))
        socket.serve_until_closed()

    def forget(self) -> None:
        """What is on its way never comes, and no answer is kept."""
        self._on_their_way.clear()
        self._kept.clear()

    @property
    def empty(self) -> bool:
        return not self.keys and not self.boxes


BOXES, KEYS = "/compute/containers", "/compute/ssh-keys"


def lose(request: Request) -> None:
    request.wire.drop()


def fail(request: Request) -> None:
    request.refuse(500, "internal")


async def test_a_container_for_a_block(serve: Serve, connect: Connect) -> None:
    """Made with a key of its own, handed over when it runs, deleted before its key."""
    api = Api()
    asked = {"instance_type": "tiny", "memory_mb": 64, "ssh_enabled": True}
    async with connect(serve(api)) as client, client.temporary(**asked) as box:
        assert isinstance(box, ecompute.Container | ecompute.AsyncContainer)
        assert (box.id, box.status) == ("box0", "running")
        (key,) = api.keys.values()
        made = api.boxes["box0"]
    assert made["ssh_key_ids"] == [7]
    assert made.items() >= asked.items()
    assert made["name"] == key["name"]
    assert public_key(key["public_key"], Bounds()) == key["public_key"]
    assert api.empty
    assert api.log[-2:] == [f"DELETE {BOXES}", f"DELETE {KEYS}"]


async def test_no_two_are_alike(serve: Serve, connect: Connect) -> None:
    """Each has a name and a key of its own."""
    api = Api()
    seen = set()
    async with connect(serve(api)) as client:
        for _ in range(3):
            async with client.temporary():
                (key,) = api.keys.values()
                seen |= {key["name"], key["public_key"].split()[1]}
    assert len(seen) == 6


async def test_the_callers_key_and_name(serve: Serve, connect: Connect) -> None:
    """A public key given is registered and deleted; registered ones are used and stay."""
    api = Api()
    async with connect(serve(api)) as client:
        async with client.temporary(name="box", public_key="ssh-ed25519 AAAA me"):
            assert api.keys["7"]["public_key"] == "ssh-ed25519 AAAA me"
            assert api.boxes["box0"]["name"] == "box"
        assert api.empty
        api.keys["3"] = {"id": 3, "name": "mine", "public_key": "x"}
        async with client.temporary(ssh_key_ids=[3]):
            assert api.boxes["box0"]["ssh_key_ids"] == [3]
        assert [*api.keys] == ["3"]
        with pytest.raises(ecompute.InvalidArgument):
            client.temporary(ssh_key_ids=[3], public_key="ssh-ed25519 AAAA")
        for bad in ({"name": 3}, {"public_key": b"x"}, {"memory_mb": "1"}, {"timeout": 0}):
            with pytest.raises(ecompute.InvalidArgument):
                client.temporary(**bad)


async def test_the_bodys_exception_leaves_as_it_is(serve: Serve, connect: Connect) -> None:
    """And both are gone."""
    api = Api()
    async with connect(serve(api)) as client:
        with pytest.raises(ZeroDivisionError) as caught:
            async with client.temporary():
                raise ZeroDivisionError
    assert api.empty
    assert not hasattr(caught.value, "__notes__")


async def test_a_boot_that_fails(serve: Serve, connect: Connect) -> None:
    """Is told as such, and both are gone."""
    api = Api(boots_to="failed")
    async with connect(serve(api)) as client:
        with pytest.raises(ecompute.ContainerFailed):
            await client.temporary().__aenter__()
    assert api.empty


async def test_a_boot_that_takes_too_long(serve: Serve, connect: Connect) -> None:
    """So is this."""
    api = Api(boots_to="pending")
    async with connect(serve(api)) as client:
        with pytest.raises(ecompute.DeadlineExceeded):
            await client.temporary(timeout=0.2).__aenter__()
    assert api.empty


@pytest.mark.parametrize("operation", [f"POST {KEYS}", f"POST {BOXES}"])
async def test_a_create_that_is_refused(serve: Serve, connect: Connect, operation: str) -> None:
    """What was made before is deleted, and nothing is looked for."""
    api = Api()

    def refuse(request: Request) -> None:
        api.boxes.clear()
        if operation == f"POST {KEYS}":
            api.keys.clear()
        request.refuse(409, "limit_reached")

    api.twists[operation] = refuse
    async with connect(serve(api)) as client:
        with pytest.raises(ecompute.LimitReached):
            await client.temporary().__aenter__()
    assert api.empty
    assert [line for line in api.log if line.startswith("GET")] == []


@pytest.mark.parametrize("operation", [f"POST {KEYS}", f"POST {BOXES}"])
async def test_a_create_whose_answer_is_lost(serve: Serve, connect: Connect, operation: str) -> None:
    """What was made all the same is found by its name; nothing else is touched."""
    api = Api()
    api.twists[operation] = lose
    api.boxes["other"] = {"id": "other", "name": "box", "status": "running"}
    api.keys["3"] = {"id": 3, "name": "k", "public_key": "x"}
    async with connect(serve(api)) as client:
        with pytest.raises(ecompute.OutcomeUnknown) as caught:
            await client.temporary().__aenter__()
    assert ([*api.boxes], [*api.keys]) == (["other"], ["3"])
    assert not hasattr(caught.value, "__notes__")


async def test_a_name_of_the_callers_is_no_proof(serve: Serve, connect: Connect) -> None:
    """A container that may be another's is left, and a note says so."""
    api = Api()
    api.twists[f"POST {BOXES}"] = lose
    async with connect(serve(api)) as client:
        with pytest.raises(ecompute.OutcomeUnknown) as caught:
            await client.temporary(name="box").__aenter__()
    assert ([*api.boxes], [*api.keys]) == (["box0"], [])
    (note,) = caught.value.__notes__
    assert "named box" in note


@pytest.mark.parametrize("operation", [f"POST {KEYS}", f"POST {BOXES}"])
@pytest.mark.parametrize("overtaken_by", [1, 2, 3, 4])
async def test_a_create_that_comes_late(
    serve: Serve, connect: Connect, operation: str, overtaken_by: int
) -> None:
    """It is repeated as it was, under its key, until its answer comes; then it is deleted."""
    api = Api(honours_keys=True)
    api.late[operation] = overtaken_by
    async with connect(serve(api)) as client, client.temporary() as box:
        assert box.status == "running"
        assert len(api.boxes) == len(api.keys) == 1
    assert api.empty
    # the first question whether keys count overtakes it once, then come refusals of a key that is in use
    asked = operation == f"POST {KEYS}"
    (bodies,) = [sent for (name, _), sent in api.creates.items() if name == operation]
    assert len(bodies) == 2 + overtaken_by - asked
    assert len(set(bodies)) == 1


@pytest.mark.parametrize("given", [{}, {"name": "box", "public_key": "ssh-ed25519 AAAA me"}])
async def test_a_create_that_never_came(serve: Serve, connect: Connect, given: dict[str, Any]) -> None:
    """Its repetition makes what is deleted then, also under a name that others may have."""
    api = Api(honours_keys=True)
    api.late[f"POST {BOXES}"] = 1000
    api.come_again = 1000  # longer than a call may take, so that it asks no more
    api.boxes["other"] = {"id": "other", "name": "box", "status": "running"}

    def forget(request: Request) -> None:
        api.forget()
        request.answer({"containers": []}, Idempotency_Supported="true")

    api.twists[f"GET {BOXES}"] = forget
    async with connect(serve(api)) as client:
        with pytest.raises(ecompute.OutcomeUnknown) as caught:
            await client.temporary(**given).__aenter__()
    assert ([*api.boxes], [*api.keys]) == (["other"], [])
    assert not hasattr(caught.value, "__notes__")


async def test_a_repetition_that_is_refused(serve: Serve, connect: Connect) -> None:
    """Then nothing was made, and that is what is told."""
    api = Api(honours_keys=True)

    def lose_for_good(request: Request) -> None:
        api.boxes.clear()
        api.twists[f"POST {BOXES}"] = refuse
        api.forget()
        request.wire.drop()

    def refuse(request: Request) -> None:
        api.boxes.clear()
        request.refuse(409, "limit_reached", Idempotency_Supported="true")

    api.twists[f"POST {BOXES}"] = lose_for_good
    async with connect(serve(api)) as client:
        with pytest.raises(ecompute.LimitReached) as caught:
            await client.temporary().__aenter__()
    assert api.empty
    assert not hasattr(caught.value, "__notes__")
    assert api.log[-3:] == [f"POST {BOXES}", f"POST {BOXES}", f"DELETE {KEYS}"]


async def test_a_token_that_may_not_list(serve: Serve, connect: Connect) -> None:
    """A refusal tells as well that the server honours keys."""
    api = Api(honours_keys=True)
    api.late[f"POST {KEYS}"] = 1
    api.twists["GET /api/session"] = lambda r: r.refuse(403, "forbidden", Idempotency_Supported="true")
    async with connect(serve(api)) as client, client.temporary():
        pass
    assert api.empty


@pytest.mark.parametrize("operation", [f"POST {KEYS}", f"POST {BOXES}"])
@pytest.mark.parametrize("overtaken_by", [1, 2, 3])
async def test_a_late_create_where_keys_count_for_nothing(
    serve: Serve, connect: Connect, operation: str, overtaken_by: int
) -> None:
    """It is looked for again, and never repeated, which might make a second one."""
    api = Api()
    api.late[operation] = overtaken_by
    async with connect(serve(api)) as client:
        with pytest.raises(ecompute.OutcomeUnknown) as caught:
            await client.temporary().__aenter__()
    assert api.empty
    assert not hasattr(caught.value, "__notes__")
    assert api.log.count(operation) == 1


async def test_every_create_has_a_key_of_its_own(serve: Serve, connect: Connect) -> None:
    """Random ones, so that none gets another's answer."""
    api = Api(honours_keys=True)
    async with connect(serve(api)) as client:
        for _ in range(3):
            async with client.temporary():
                pass
    assert len({key for _, key in api.creates}) == 6
    assert min(len(key) for _, key in api.creates) >= 32


async def test_a_deletion_that_fails(serve: Serve, connect: Connect) -> None:
    """Is raised, and the other one happens all the same."""
    api = Api()
    async with connect(serve(api)) as client:
        for operation in (f"DELETE {BOXES}", f"DELETE {KEYS}"):
            with pytest.raises(ecompute.InternalError) as caught:
                async with client.temporary():
                    api.twists[operation] = fail
            assert caught.value.operation in ("containers.delete box0", "ssh_keys.delete 7")
            assert api.empty

        async def work() -> None:
            async with client.temporary():
                api.twists |= {f"DELETE {BOXES}": fail, f"DELETE {KEYS}": fail}
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError) as body:
            await work()
    assert ["containers.delete" in note for note in body.value.__notes__] == [True, False]
    assert len(body.value.__notes__) == 2


async def test_who_deletes_it_alone(serve: Serve, connect: Connect) -> None:
    """Finding nothing left to delete is no fault."""
    api = Api()
    async with connect(serve(api)) as client, client.temporary() as box:
        await client.containers.delete(box.id)
        await client.ssh_keys.delete(7)
    assert api.empty


async def test_it_is_entered_once(serve: Serve, connect: Connect) -> None:
    """A second one has to be asked for."""
    api = Api()
    async with connect(serve(api)) as client:
        temporary = client.temporary()
        async with temporary:
            pass
        with pytest.raises(ecompute.Closed):
            await temporary.__aenter__()


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
@pytest.mark.parametrize("moment", [f"POST {KEYS}", f"POST {BOXES}", "the boot", "the body"])
async def test_cancelling_deletes_both(serve: Serve, anyio_backend: str, moment: str) -> None:
    """Whenever it comes, it waits for the deletions, and then it is a cancellation."""
    api = Api(boots_to="running" if moment == "the body" else "pending")
    there, go_on = threading.Event(), threading.Event()

    def hold(request: Request) -> None:
        there.set()
        assert go_on.wait(LIMIT)
        made = api.keys if request.target == KEYS else api.boxes
        request.answer([*made.values()][-1])

    if moment.startswith("POST"):
        api.twists[moment] = hold

    async def body() -> None:
        async with client.temporary():
            there.set()
            await anyio.sleep_forever()

    async def cancel() -> None:
        if moment == "the boot":
            async with client.events() as events:
                while not api.boxes:
                    await anyio.lowlevel.checkpoint()
                await events.receive(LIMIT)
        else:
            await anyio.to_thread.run_sync(there.wait, LIMIT)
        tasks.cancel_scope.cancel()
        go_on.set()

    async with ecompute.AsyncClient("t", serve(api).url, verify=False) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(body)
            tasks.start_soon(cancel)
        assert tasks.cancel_scope.cancelled_caught
    assert api.empty
    assert api.log.count(f"DELETE {KEYS}") == 1


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C is heard also where the tests run in the background, whose shell has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("operation", [f"POST {KEYS}", f"POST {BOXES}", f"DELETE {BOXES}", f"DELETE {KEYS}"])
def test_an_interrupt_deletes_both(serve: Serve, operation: str) -> None:
    """Ctrl-C during any of the calls: what was made is found, and deleted."""
    api = Api()

    def disturb(request: Request) -> None:
        interrupt()
        if request.method == "POST":
            request.wire.receive()  # until the client has gone
        request.wire.drop()

    api.twists[operation] = disturb
    client = ecompute.Client("t", serve(api).url, verify=False)
    with client, pytest.raises(KeyboardInterrupt) as caught, client.temporary():
        pass
    assert api.empty
    assert not hasattr(caught.value, "__notes__")


def disturbed(api: Api, *operations: str) -> Callable[[Request], None]:
    """Ctrl-C comes during the first of each of these, and during every deletion."""
    left = list(operations)

    def handle(request: Request) -> None:
        operation = f"{request.method} {request.target}"
        if operation in left:
            left.remove(operation)
            if request.method == "POST":
                api.twists[operation] = overtake
            else:
                interrupt()
        elif request.method == "DELETE":
            interrupt()
        api(request)

    def overtake(request: Request) -> None:
        interrupt()
        request.wire.receive()  # until the client has gone
        request.wire.drop()

    return handle


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("operations", [(), (f"POST {KEYS}",), (f"POST {BOXES}",)], ids=str)
def test_impatience_changes_nothing(serve: Serve, operations: tuple[str, ...]) -> None:
    """However often Ctrl-C is pressed while the two are deleted, they are."""
    api = Api()
    client = ecompute.Client("t", serve(disturbed(api, *operations)).url, verify=False)
    with client, pytest.raises(KeyboardInterrupt), client.temporary():
        pass
    assert api.empty
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("operations", [(f"POST {BOXES}",), ("GET /compute/ws",)], ids=str)
def test_impatience_with_a_create(serve: Serve, operations: tuple[str, ...]) -> None:
    """One that deletes what does not come to run does so also then, be its create on its way or done."""
    api = Api(boots_to="pending", honours_keys=True)
    client = ecompute.Client("t", serve(disturbed(api, *operations)).url, verify=False)
    with client, pytest.raises(KeyboardInterrupt):
        client.containers.create("web", 7, wait=True, delete_on_failure=True)
    assert api.empty
    assert api.log.count(f"DELETE {BOXES}") == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("honours_keys", [True, False])
def test_what_is_left_after_an_interrupt_is_told(serve: Serve, honours_keys: bool) -> None:
    """By its id where that is known, else by its name."""
    api = Api(honours_keys=honours_keys)
    api.twists[f"DELETE {BOXES}"] = fail
    client = ecompute.Client("t", serve(disturbed(api, f"POST {BOXES}")).url, verify=False)
    with client, pytest.raises(KeyboardInterrupt) as caught:
        client.containers.create("web", 7, wait=True, delete_on_failure=True)
    (note,) = caught.value.__notes__
    assert note.startswith(
        "Container box0 is left: " if honours_keys else "Container named web may be left: "
    )


async def test_what_nobody_has_deleted_is_logged(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """The last resort: a block that ended where nothing could be done any more."""
    async with connect(serve(Api())) as client:
        entered = client.temporary()
        await entered.__aenter__()
        assert caplog.messages == []
        del entered
        gc.collect()
    assert [text.partition(":")[0] for text in caplog.messages] == ["Container box0 is left", "Key 7 is left"]


@pytest.fixture
def interrupted_wait() -> Iterator[None]:
    """An interrupt that comes as soon as the main thread waits for an event."""

    def interrupt_or_later(_: int, frame: FrameType | None) -> None:
        while frame is not None:
            if frame.f_code.co_qualname == "Hub._perform":
                raise KeyboardInterrupt
            frame = frame.f_back
        signal.setitimer(signal.ITIMER_REAL, 0.001)

    before = signal.signal(signal.SIGALRM, interrupt_or_later)
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("interrupted_wait")
def test_an_interrupt_while_it_boots(serve: Serve) -> None:
    """Ctrl-C during the wait, which is where it mostly comes."""
    api = Api(boots_to="pending")
    client = ecompute.Client("t", serve(api).url, verify=False)
    with client, pytest.raises(KeyboardInterrupt), client.temporary():
        pass
    assert api.empty
    assert api.log.count(f"DELETE {BOXES}") == 1
