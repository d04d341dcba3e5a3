"""`doctor`: what this host lacks, and how to get it."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
from typing import Annotated

import attrs
from cyclopts import Parameter

from ecompute_server import assembly, logs
from ecompute_server.hypervisor.interface import Finding, Severity
from ecompute_server.settings import Settings
from ecompute_server.state import StateDirectory

from .common import Json, SettingsFile, State, settings_of

_MARKS = {Severity.OK: "ok     ", Severity.WARNING: "warning", Severity.ERROR: "error  "}


def doctor(
    *,
    fix: Annotated[bool, Parameter(negative="", help="Run the commands that mend what was found.")] = False,
    hypervisor: Annotated[str | None, Parameter(help="libvirt or simulated.")] = None,
    json_: Json = False,
    state: State = None,
    settings: SettingsFile = None,
) -> int:
    """Look at what the server needs on this host. Exits 0 when nothing needs mending, else 1."""
    chosen = settings_of(state, settings, hypervisor=hypervisor)
    logs.set_up("error")
    findings = _look(chosen)
    if fix and any(finding.remedy for finding in findings):
        _mend(findings)
        findings = _look(chosen)
    if json_:
        print(json.dumps([attrs.asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            print(f"{_MARKS[finding.severity]}  {finding.check}: {finding.detail}")
            if finding.remedy:
                print(f"         mend: {finding.remedy}")
    return int(any(finding.severity is Severity.ERROR for finding in findings))


def _look(settings: Settings) -> list[Finding]:
    return asyncio.run(assembly.examine(settings, StateDirectory(settings.state)))


def _mend(findings: list[Finding]) -> None:
    for command in dict.fromkeys(finding.remedy for finding in findings if finding.remedy):
        words = shlex.split(command)
        if words[:1] == ["apt-get"]:
            if os.geteuid() != 0:
                print(f"doctor: this needs root: sudo {command}", file=sys.stderr)
                continue
            words.insert(2, "-y")
        elif words[:1] == ["ecompute-server"]:
            words[:1] = [sys.executable, "-m", "ecompute_server"]
        else:
            print(f"doctor: this is for you to do: {command}", file=sys.stderr)
            continue
        print(f"doctor: {command}", file=sys.stderr)
        subprocess.run(words, check=False, stdout=sys.stderr)
