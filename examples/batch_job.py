"""A batch job on a machine of each architecture at the same time.

    python examples/batch_job.py [FOLDER]

Each machine gets the same files, does the same work, hands back its results, and is gone. In the end it is
said whether both came to the same. The server is the one of `ECOMPUTE_URL` and `ECOMPUTE_TOKEN`, or of the
profile that `ecompute login` has written.
"""

from __future__ import annotations

import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import ecompute

KINDS = ("nano", "tiny")  # arm64 and amd64

# what is to be done: for each file the fingerprint of its bytes, and how many lines it has
JOB = """
cd /root/job
for file in *; do
    [ -f "$file" ] || continue
    echo "$(sha256sum "$file"), $(cat "$file" | wc -l) lines"
done > /root/results
uname -m
"""


def work(client: ecompute.Client, folder: Path, kind: str) -> tuple[str, str]:
    """The results of one machine, and a line that tells how long it took."""
    began = time.monotonic()
    # a key and a container for this block; both are deleted in the end, whatever happens
    with client.temporary(name=f"batch-{kind}", instance_type=kind, memory_mb=192) as box:
        booted = time.monotonic()
        box.copy_to(folder, "/root/job")
        machine = box.run(JOB, timeout=60, check=True).text.strip()
        with tempfile.TemporaryDirectory() as here:
            box.copy_from("/root/results", here)
            results = (Path(here) / "results").read_text()
        done = time.monotonic()
    told = f"{kind} ({machine}): booted in {booted - began:.1f} s, worked for {done - booted:.1f} s"
    return results, told


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    # one client for all threads: they share its connections
    with ecompute.Client() as client, ThreadPoolExecutor() as pool:
        outcomes = []
        for results, told in pool.map(partial(work, client, folder), KINDS):
            print(told, flush=True)  # by this thread alone: lines of two threads can run into each other
            outcomes.append(results)
    first, second = outcomes
    print(first, end="")
    print("the same on both" if first == second else f"not the same:\n{second}")
    return 0 if first == second else 1


if __name__ == "__main__":
    sys.exit(main())
