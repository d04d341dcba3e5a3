"""The reference server keeps its contract on real machines as well: the kit's quick profile on libvirt."""

from __future__ import annotations

from ecompute.conformance import Outcome, Profile, run
from ecompute.conformance.report import table
from tests.faults.process import serving

UNDECIDED = {
    # a run cannot end its own session, and knows no password for another
    "SES-012",
    # the guest image needs more than the least memory that a container may ask for
    "CRE-010",
    # the figures of a guest come every few seconds, and quick does not wait for them
    "CON-012",
}


def test_real_machines_conform() -> None:
    """Nothing deviates over a restart as well, and nothing is left behind."""
    with serving(hypervisor="libvirt") as server:
        report = run(server.target(Profile.QUICK))
    assert report.exit_code == 0, table.text(report)
    assert report.left_behind == ()
    undecided = {verdict.requirement for verdict in report.of(Outcome.UNDECIDED)}
    assert undecided <= UNDECIDED, table.text(report)
