"""`conformance`: test any server of the API against the contract."""

from __future__ import annotations

import os
import signal
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Group, Parameter

from ecompute.errors import Error, one_line
from ecompute.files import expanded
from ecompute.settings import Given, hidden, resolve

from .common import Json, token_in
from .exits import CommandError, Exit
from .output import print_json, print_table, say

if TYPE_CHECKING:
    from ecompute.conformance import CheckReport, Report, Target
    from ecompute.conformance.runner import Progress

conformance: App = App(
    name="conformance", help="Test any server of the API against the contract.", help_format="plaintext"
)
SECOND_TOKEN_VARIABLE = "ECOMPUTE_SECOND_TOKEN"

_SERVER = Group("Server", sort_key=1)
_REPORT = Group("Report", sort_key=2)


@conformance.command
def run(
    *,
    url: Annotated[str | None, Parameter(group=_SERVER, help="Address of the server.")] = None,
    token_file: Annotated[
        Path | None, Parameter(group=_SERVER, help="File with a session's token; else ECOMPUTE_TOKEN.")
    ] = None,
    second_token_file: Annotated[
        Path | None,
        Parameter(group=_SERVER, help="File with the token of another user; else ECOMPUTE_SECOND_TOKEN."),
    ] = None,
    ca_file: Annotated[
        Path | None, Parameter(group=_SERVER, help="Certificate authorities to trust.")
    ] = None,
    insecure: Annotated[bool, Parameter(group=_SERVER, negative="", help="Take any certificate.")] = False,
    profile: Annotated[
        Literal["quick", "standard"], Parameter(help="How much is tried.", show_default=True)
    ] = "standard",
    only: Annotated[
        list[str] | None, Parameter(negative="", help="An area, a check or a requirement; may be repeated.")
    ] = None,
    fail_fast: Annotated[bool, Parameter(negative="", help="End with the first deviation.")] = False,
    seed: Annotated[int | None, Parameter(help="The seed of a run that is to be repeated.")] = None,
    dialect: Annotated[
        str, Parameter(help="What counts as conforming too: a name or a TOML file.", show_default=True)
    ] = "reference",
    rate: Annotated[float | None, Parameter(help="The most requests in a second.")] = None,
    container_limit: Annotated[int | None, Parameter(help="How many containers the user may have.")] = None,
    key_limit: Annotated[int | None, Parameter(help="How many SSH keys the user may have.")] = None,
    restart_command: Annotated[
        str | None,
        Parameter(help="Shell line that restarts the server and returns when it answers again."),
    ] = None,
    timeout: Annotated[float, Parameter(help="Seconds for one answer.", show_default=True)] = 30.0,
    boot_timeout: Annotated[
        float, Parameter(help="Seconds for a container to run.", show_default=True)
    ] = 180.0,
    junit: Annotated[Path | None, Parameter(group=_REPORT, help="File for JUnit's XML.")] = None,
    replays: Annotated[
        bool, Parameter(group=_REPORT, help="How to see a deviation again.", show_default=True)
    ] = True,
    json_: Annotated[bool, Parameter(name="--json", negative="", group=_REPORT, help="Print JSON.")] = False,
) -> int:
    """Test a server: 0 when it conforms, 1 when it deviates, 2 when it could not be tested.

    It makes containers, keys and tokens, never touches others, and deletes what it has made.
    """
    kit = _kit()
    try:
        settings = resolve(Given(token=hidden(token_in(token_file) if token_file else None), base_url=url))
        token = settings.credential.get(timeout).reveal() if settings.credential else ""
    except Error as error:
        # whatever is in the way, the server could not be tested
        raise CommandError(str(error), Exit.USAGE) from None
    limits: dict[str, Any] = {"container_limit": container_limit, "key_limit": key_limit, "seed": seed}
    target: Target = kit.Target(
        settings.base_url,
        token,
        os.environ.get(SECOND_TOKEN_VARIABLE) if second_token_file is None else token_in(second_token_file),
        profile=profile,
        rate=rate,
        timeout=timeout,
        boot_timeout=boot_timeout,
        verify=str(expanded(ca_file)) if ca_file else not insecure,
        restart_command=restart_command,
        dialect=dialect,
        **{name: value for name, value in limits.items() if value is not None},
    )
    if junit is not None:
        _writable(junit)
    with _Ending() as ending:
        report: Report = kit.run(target, only=only or (), fail_fast=fail_fast, progress=_progress(ending))
    return _told(report, junit, json_, replays)


@conformance.command(name="requirements")
def requirements(*, json_: Json = False) -> None:
    """List what the contract asks of a server."""
    _kit()
    from ecompute.conformance.registry import REQUIREMENTS

    if json_:
        print_json(
            [
                {"id": r.id, "level": r.level.value, "sentence": r.sentence, "source": r.source}
                for r in REQUIREMENTS.values()
            ]
        )
        return
    print_table(
        ("id", "level", "requirement", "source"),
        [(r.id, r.level.value, r.sentence, r.source) for r in REQUIREMENTS.values()],
    )


@conformance.command(name="dialects")
def dialects() -> None:
    """List the dialects that come with the kit."""
    _kit()
    from ecompute.conformance import dialect

    print_table(("name", "summary"), [(name, dialect.load(name).summary) for name in dialect.names()])


def _kit() -> Any:
    if find_spec("hypothesis") is None:
        raise CommandError(
            "`ecompute conformance` needs more packages: pip install 'ecompute[conformance]'", Exit.PACKAGES
        )
    from ecompute import conformance

    return conformance


def _writable(junit: Path) -> None:
    # a run takes minutes, and is not to be for nothing
    place = expanded(junit)
    try:
        place.open("a").close()
    except (OSError, ValueError) as error:
        raise _unwritten(place, error) from None


def _unwritten(place: Path, error: Exception) -> CommandError:
    return CommandError(f"{one_line(str(place))} cannot be written: {getattr(error, 'strerror', error)}.")


class _Ending:
    """Inside, a polite signal ends the run as Ctrl-C does: after it has tidied up. What is left is told."""

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Ending:
        # signals come to the main thread, and what somebody has chosen to ignore, as nohup does, stays so
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                number = getattr(signal, name, None)
                if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._end)
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if isinstance(error, KeyboardInterrupt):
            for note in getattr(error, "__notes__", ()):
                say(f"ecompute: {note}")

    def _end(self, number: int, frame: object) -> None:
        self._asked = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """End the run where an interrupt was lost: in a callback of the collector of garbage, for one."""
        if self._asked:
            raise KeyboardInterrupt


def _progress(ending: _Ending) -> Progress:
    """How a person at a terminal sees that it goes on."""
    shows = sys.stderr.isatty()
    number = 0

    def progress(result: CheckReport) -> None:
        nonlocal number
        number += 1
        ending.check()
        if shows:
            mark = "deviates" if result.deviates else "ok"
            print(f"\r\033[K{number:4} {result.check.name}: {mark}", end="", file=sys.stderr, flush=True)

    return progress


def _told(report: Report, junit: Path | None, json_: bool, replays: bool) -> int:
    from ecompute.conformance.report import documents, table

    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    unwritten: CommandError | None = None
    if junit is not None:
        place = expanded(junit)
        try:
            place.write_text(documents.to_junit(report), "utf-8")
        except OSError as error:
            unwritten = _unwritten(place, error)
    try:
        if json_:
            sys.stdout.write(documents.to_json(report))
        elif report.checks:
            sys.stdout.write(table.text(report, replays=replays))
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        # the server does not deviate for that
        raise CommandError(f"The report cannot be written: {error.strerror}.") from None
    if report.obstacle:
        say(f"ecompute: {table.summary(report)}")
    if unwritten is not None:
        raise unwritten
    return report.exit_code
