"""Places and processes for tests that run real guests; all of it ends with the test, failed or not."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ecompute_server.hypervisor.interface import Severity
from ecompute_server.hypervisor.libvirt import LibvirtSettings, probe
from ecompute_server.hypervisor.libvirt.layout import layout_of
from ecompute_server.images.catalogue import Catalogue, default_cache

from .harness import Driver, processes_of

Drive = Callable[..., Driver]


@pytest.fixture(scope="session")
def images() -> Path:
    """The cache of built images. Without one, or without QEMU and libvirt, real guests are skipped."""
    cache = default_cache()
    find = Catalogue(cache).find
    missing = [arch for arch in ("amd64", "arm64") if find("micro", arch) is None]
    if missing:
        pytest.skip(f"no image for {', '.join(missing)}: run `ecompute-server images build`")
    findings = probe.look(LibvirtSettings(state=Path("/nonexistent"), find_image=lambda name, arch: None))
    faults = [finding for finding in findings if finding.severity is Severity.ERROR]
    if faults:
        pytest.skip(f"{faults[0].check}: {faults[0].detail}: {faults[0].remedy}")
    return cache


def end_all(state: Path) -> None:
    """Kills what still runs for a state directory, by process id."""
    for name in {str(state), str(layout_of(state).base)}:
        for pid in processes_of(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A new directory with a short name, closed to others as a state directory is."""
    folder = Path(tempfile.mkdtemp(prefix="ec-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def state(place: Path) -> Iterator[Path]:
    """A state directory without guests; those left at the end are killed."""
    folder = Path(tempfile.mkdtemp(prefix="s", dir=place))
    yield folder
    end_all(folder)


@pytest.fixture
def drive(images: Path, state: Path) -> Iterator[Drive]:
    """Starts drivers in processes of their own, which end before what is left for the state directory does:
    libvirt's look at a QEMU outlives a driver that is killed meanwhile.
    """
    drivers: list[Driver] = []

    def start(state: Path, *options: str, **more: tuple[str, ...]) -> Driver:
        drivers.append(Driver(state, images, *options, **more))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.kill()
