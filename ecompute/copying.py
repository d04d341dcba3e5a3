"""Copies of the sync client, by `tar` in the container."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from os import PathLike

from .errors import CommandResult, DeadlineExceeded, within
from .packing import Source, pack, size_of, source_at
from .protocol import copying
from .protocol.archive import Progress
from .settings import checked_timeout
from .unpacking import Unpacking, target_at


class Copying:
    """One copy. `run` runs a command, as a client does."""

    def __init__(
        self,
        run: Callable[..., CommandResult],
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

    def copy_to(self, source: str | PathLike[str], target: str | PathLike[str]) -> None:
        """As the client's method says."""
        text = copying.path_text(target, "target")
        found = source_at(source)
        seen = self._command("copy_to", copying.look(text))
        place = copying.place(self._id, found.name, found.is_folder, text, seen)
        with closing(self._packed(found, place.name)) as packed:
            result = self._command("copy_to", copying.extract(place.folder), input=packed)
        copying.check(self._id, result)
        self._left_out.check()

    def _packed(self, source: Source, name: str) -> Generator[bytes]:
        for data, progress in pack(source, name, size_of(source), self._left_out):
            yield data
            self._tell(progress)

    def copy_from(self, source: str | PathLike[str], target: str | PathLike[str]) -> None:
        """As the client's method says."""
        text = copying.path_text(source, "source")
        _, name = copying.split(text)
        unpacking = Unpacking(target_at(target, name), self._left_out)

        def take(data: bytes) -> None:
            self._tell(unpacking.feed(data))

        try:
            result = self._command("copy_from", copying.create(text), on_output=take)
            copying.check(self._id, result, text)
            unpacking.finish()
        finally:
            unpacking.close()
        self._left_out.check()

    def _tell(self, progress: Progress) -> None:
        if self._progress is not None:
            self._progress(progress)

    def _command(
        self,
        caller: str,
        command: str,
        input: Iterable[bytes] | None = None,
        on_output: Callable[[bytes], object] | None = None,
    ) -> CommandResult:
        """Run one with the time that is left; of what it says only the beginning is kept."""
        words = copying.Words()
        try:
            result = self._run(
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
