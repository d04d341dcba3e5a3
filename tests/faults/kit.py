"""One run of the kit for `run`: `python -m tests.faults.kit PROFILE AREA`, with the server's line on standard
input. Prints which requirement was found not to be kept, if any.
"""

from __future__ import annotations

import json
import sys

from ecompute.conformance import Profile, run
from ecompute.conformance.registry import CHECKS

from .process import FaultyServer

SEED = 1
ANSWER_SECONDS, BOOT_SECONDS = 10.0, 30.0
"""What is enough for a simulated server, also on a busy machine."""


def main(profile: str, area: str) -> int:
    """Run the checks of the area, then all others, to the first deviation."""
    server = FaultyServer(**json.loads(sys.stdin.readline()))
    target = server.target(Profile(profile), timeout=ANSWER_SECONDS, boot_timeout=BOOT_SECONDS, seed=SEED)
    others = [check.name for check in CHECKS if check.area != area]
    found = ""
    for only in ([check.name for check in CHECKS if check.area == area], others):
        if not only:
            continue
        report = run(target, only=only, fail_fast=True)
        if report.deviations:
            found = report.deviations[0].requirement
            break
        if report.obstacle:
            # a server that goes away under test is found out as well
            print(report.obstacle, file=sys.stderr)
            return 2
    print(json.dumps({"requirement": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
