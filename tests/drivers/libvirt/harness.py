"""Drives `child.py`: requests with answers, facts to wait for, and what is left on the host afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

DEADLINE = 60.0

Fact = tuple[str, int, str, str]


class Failed(Exception):
    """The driver raised; `kind` is the name of its class."""

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(f"{kind}: {sentence}")
        self.kind = kind
        self.sentence = sentence


class Driver:
    """A driver in a child process of its own."""

    def __init__(
        self, state: Path, images: Path, *options: str, python: tuple[str, ...] = (sys.executable,)
    ) -> None:
        self._process = subprocess.Popen(
            [
                *(*python, str(Path(__file__).with_name("child.py"))),
                *("--state", str(state), "--images", str(images), *options),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.facts: deque[Fact] = deque()
        self._answers: dict[int, dict[str, Any]] = {}
        self._news = threading.Condition()
        self._number = 0
        self._ended = False
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            with self._news:
                if "fact" in message:
                    self.facts.append(tuple(message["fact"]))
                else:
                    self._answers[message["id"]] = message
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def begin(self, verb: str, **arguments: Any) -> int:
        """Sends a request without waiting for its answer."""
        assert self._process.stdin is not None
        self._number += 1
        self._process.stdin.write(json.dumps({"id": self._number, "do": verb, **arguments}) + "\n")
        self._process.stdin.flush()
        return self._number

    def answer(self, number: int) -> Any:
        with self._news:
            done = self._news.wait_for(lambda: number in self._answers or self._ended, DEADLINE)
            assert done, "the driver did not answer in time"
            assert number in self._answers, "the driver's process ended without an answer"
            answer = self._answers.pop(number)
        if "error" in answer:
            raise Failed(*answer["error"])
        return answer["ok"]

    def do(self, verb: str, **arguments: Any) -> Any:
        return self.answer(self.begin(verb, **arguments))

    def fact(self, container: str, generation: int, kind: str) -> Fact:
        """The first fact of that kind; takes it and all told before it out of `facts`."""
        end = time.monotonic() + DEADLINE
        seen: list[Fact] = []
        with self._news:
            while True:
                while self.facts:
                    seen.append(self.facts.popleft())
                    if seen[-1][:3] == (container, generation, kind):
                        return seen[-1]
                left = end - time.monotonic()
                told = f"no {kind} of {container}, only {seen}"
                assert left > 0, told
                assert not self._ended, told
                self._news.wait(left)

    def end(self) -> None:
        """Ends the process in order; guests run on."""
        assert self._process.stdin is not None
        if self._process.poll() is None:
            self._process.stdin.close()
        try:
            self._process.wait(DEADLINE)
        finally:
            self.kill()

    def kill(self) -> None:
        """Ends the process as a crash would."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def processes_of(word: str) -> dict[int, str]:
    """Processes whose command line or environment holds `word` (a state path, a domain), this one aside."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if word in command:
            found[int(entry.name)] = command
    return found
