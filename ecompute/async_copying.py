"""Copies of the async client, by `tar` in the container."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from contextlib import aclosing, closing
from inspect import isawaitable
from os import PathLike

from anyio import to_thread

from .errors import CommandResult, DeadlineExceeded, within
from .packing import Source, pack, size_of, source_at
from .protocol import copying
from .protocol.archive import Progress
from .settings import checked_timeout
from .unpacking import Unpacking, target_at


class AsyncCopying:
    """One copy. `run` runs a command, as a client does."""

    def __init__(
        self,
        run: Callable[..., Awaitable[CommandResult]],
        id: str,
        progress: Callable[[Progress], object] | None,
        timeout: float | None,
        now: Callable[[], float],
    ) -> None:
        self._run = run
        self._id = id
        self._progress = progress
        self._timeout = None if timeout is None else checked_timeout(timeout)
        self._deadline = None if self._timeout is None else now() + self._timeout
        self._now = now
        self._left_out = copying.LeftOut()

    async def copy_to(self, source: str | PathLike[str], target: str | PathLike[str]) -> None:
        """As the client's method says."""
        text = copying.path_text(target, "target")
        found = await to_thread.run_sync(source_at, source)
        seen = await self._command("copy_to", copying.look(text))
        place = copying.place(self._id, found.name, found.is_folder, text, seen)
        async with aclosing(self._packed(found, place.name)) as packed:
            result = await self._command("copy_to", copying.extract(place.folder), input=packed)
        copying.check(self._id, result)
        self._left_out.check()

    async def _packed(self, source: Source, name: str) -> AsyncGenerator[bytes]:
        size = await to_thread.run_sync(size_of, source)
        with closing(pack(source, name, size, self._left_out)) as pieces:
            while (step := await to_thread.run_sync(next, pieces, None)) is not None:
                data, progress = step
                yield data
                await self._tell(progress)

    async def copy_from(self, source: str | PathLike[str], target: str | PathLike[str]) -> None:
        """As the client's method says."""
        text = copying.path_text(source, "source")
        _, name = copying.split(text)
        unpacking = Unpacking(await to_thread.run_sync(target_at, target, name), self._left_out)

        async def take(data: bytes) -> None:
            await self._tell(await to_thread.run_sync(unpacking.feed, data))

        try:
            result = await self._command("copy_from", copying.create(text), on_output=take)
            copying.check(self._id, result, text)
            unpacking.finish()
        finally:
            unpacking.close()
        self._left_out.check()

    async def _tell(self, progress: Progress) -> None:
        result = None if self._progress is None else self._progress(progress)
        if isawaitable(result):
            await result

    async def _command(
        self,
        caller: str,
        command: str,
        input: AsyncIterable[bytes] | None = None,
        on_output: Callable[[bytes], object] | None = None,
    ) -> CommandResult:
        """Run one with the time that is left; of what it says only the beginning is kept."""
        words = copying.Words()
        try:
            result = await self._run(
                self._id,
                command,
                self._left(),
                input=input,
                on_output=on_output or words.take_output,
                on_error=words.take_error,
                caller=caller,
            )
        except DeadlineExceeded as error:
            if self._timeout is None:
                raise
            raise self._late() from error
        return words.result(result.exit_status)

    def _left(self) -> float | None:
        if self._deadline is None:
            return None
        left = self._deadline - self._now()
        if left <= 0:
            raise self._late()
        return left

    def _late(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"The copy with container {self._id} did not end {within(self._timeout)}.")
