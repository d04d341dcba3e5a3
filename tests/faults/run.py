"""`make faults`: how many of the seeded faults the kit finds, by area, and how long that takes.

    python -m tests.faults.run [--profile quick|standard]... [--only FAULT]... [--json FILE]

Each fault has a server process of its own, and the checks of its area come first, as they would for somebody
who works on that area; a run ends with its first deviation. The last line is JSON for programs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from attrs import asdict, frozen

from . import Fault, load
from .process import ROOT, NoServer, serving

AT_ONCE = 2
"""Faults that are tried at the same time: one for each processor of a small machine."""
PATIENCE = 600.0
"""Seconds after which a run counts as hung."""


@frozen
class Trial:
    """What came of one fault: the requirement by which it was found, or why it was not."""

    fault: str
    area: str
    profile: str
    killed: bool
    requirement: str
    seconds: float
    reason: str = ""


def tried(fault: Fault, profile: str) -> Trial:
    """Run the kit against a server with the fault."""
    started = time.monotonic()
    requirement, reason = "", "no check has found it"
    try:
        with serving(fault.name) as server:
            started = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-m", "tests.faults.kit", profile, fault.area],
                cwd=ROOT,
                input=json.dumps(asdict(server)) + "\n",
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
        if done.returncode != 0:
            reason = done.stderr.strip()[-300:] or "the kit failed"
        else:
            requirement = str(json.loads(done.stdout)["requirement"])
    except NoServer as error:
        reason = str(error)
    except subprocess.TimeoutExpired:
        reason = "the kit hung"
    seconds = time.monotonic() - started
    return Trial(
        fault.name,
        fault.area,
        profile,
        bool(requirement),
        requirement,
        seconds,
        "" if requirement else reason,
    )


def main(arguments: Sequence[str]) -> int:
    """Try the faults and print what came of them."""
    parser = argparse.ArgumentParser(description="Which seeded faults the contract kit finds.")
    parser.add_argument("--profile", action="append", choices=("quick", "standard"))
    parser.add_argument("--only", action="append", help="name of a fault")
    parser.add_argument("--json", type=Path, help="file for all trials")
    given = parser.parse_args(arguments)
    known = load()
    if unknown := sorted(set(given.only or ()) - set(known)):
        parser.error(f"there is no fault {', '.join(unknown)}")
    faults = [fault for name, fault in known.items() if not given.only or name in given.only]
    profiles = given.profile or ["quick", "standard"]
    trials: dict[str, list[Trial]] = {}
    for profile in profiles:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            trials[profile] = list(pool.map(lambda fault, profile=profile: _told(fault, profile), faults))
        _table(profile, trials[profile])
        if given.json:
            given.json.write_text(json.dumps([asdict(t) for each in trials.values() for t in each], indent=1))
    print(json.dumps(summary(trials[profiles[-1]])))
    return 0


def _told(fault: Fault, profile: str) -> Trial:
    trial = tried(fault, profile)
    how = f"{trial.requirement} in {trial.seconds:.1f} s" if trial.killed else f"SURVIVED: {trial.reason}"
    print(f"{profile:9} {fault.area:14} {fault.name:40} {how}", flush=True)
    return trial


def _table(profile: str, trials: Sequence[Trial]) -> None:
    killed = Counter(trial.area for trial in trials if trial.killed)
    total = Counter(trial.area for trial in trials)
    print(f"\n{profile}: area, killed / total, median and longest seconds to kill")
    for area in total:
        times = [trial.seconds for trial in trials if trial.area == area and trial.killed]
        shown = f"{median(times):.1f} {max(times):.1f}" if times else "-"
        print(f"  {area:16} {killed[area]:3} / {total[area]:3}   {shown}")
    count = sum(killed.values())
    print(f"  {'all':16} {count:3} / {len(trials):3}   {100 * count / len(trials):.1f} %")
    for trial in trials:
        if not trial.killed:
            print(f"  survivor {trial.fault}: {trial.reason}")
    print(flush=True)


def summary(trials: Sequence[Trial]) -> dict[str, object]:
    """The figures of one profile, for programs."""
    areas: dict[str, dict[str, int]] = {}
    for trial in trials:
        area = areas.setdefault(trial.area, {"killed": 0, "total": 0})
        area["total"] += 1
        area["killed"] += trial.killed
    return {
        "killed": sum(trial.killed for trial in trials),
        "total": len(trials),
        "areas": areas,
        "survivors": [trial.fault for trial in trials if not trial.killed],
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
