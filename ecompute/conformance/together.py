"""Several requests at the same time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from attrs import frozen

from .history import Request
from .lab import Lab
from .wire import Answer


@frozen
class Asked:
    """One of them, as the first tenant."""

    method: str
    path: str
    body: Any = None


def together(lab: Lab, asked: Sequence[Asked]) -> list[Answer]:
    """Ask all at once; the answers are in the order of the requests. The history has the requests one after
    another.

    Raises:
        Lost: one has got no answer.
    """
    for one in asked:
        lab.things.guard(one.method, one.path)
    credential = lab.first.credential
    start = threading.Barrier(len(asked))

    def send(one: Asked) -> Answer:
        start.wait()
        return lab.wire.send(one.method, one.path, token=credential.token, body=one.body)

    with ThreadPoolExecutor(len(asked)) as threads:
        running = [threads.submit(send, one) for one in asked]
    made = [
        (one, future.result()) for one, future in zip(asked, running, strict=True) if not future.exception()
    ]
    for one, answer in made:
        step = Request(one.method, one.path, credential.symbol, one.body)
        lab.history.add(lab.history.answered(step, answer.status, answer.body))
        lab.things.saw(one.method, one.path, credential, answer)
    return [future.result() for future in running]
