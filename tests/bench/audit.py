"""What auditors find: testssl.sh on the gateway's ports, ssh-audit on a guest of each architecture.

`make audit` runs this; it takes some minutes. Exits 1 when something is found that docs/security.md does not
explain.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import ecompute
from ecompute_server.gateway.ports import can_bind_low_ports
from ecompute_server.testing import RunningServer, running_server

KNOWN = {
    "cert_revocation": "a certificate of 90 days by a private authority; no revocation list is served",
    "DNS_CAArecord": "names below .localhost have no DNS",
    "secure_renego": "asked without a name, which the shared listener refuses; nothing is renegotiated",
    "HSTS": "the site's to say: the gateway adds no header to it",
    "security_headers": "the site's to say: the gateway adds no header to it",
}
"""Findings above `INFO` that are meant, and why (docs/security.md)."""
HARMLESS = ("OK", "INFO", "DEBUG")
OFFSET = 0 if can_bind_low_ports() else 20000


def testssl(target: str, address: str, root: Path, folder: Path) -> list[dict[str, Any]]:
    """Everything that testssl.sh says about a TLS server."""
    report = folder / "testssl.json"
    report.unlink(missing_ok=True)
    command = ["testssl", "--quiet", "--color", "0", "--warnings", "batch", "--nodns", "none"]
    command += ["--add-ca", str(root), "--ip", address, "--jsonfile", str(report), target]
    subprocess.run(command, check=False, stdout=sys.stderr)
    found: list[dict[str, Any]] = json.loads(report.read_text())
    return found


def ssh_audit(box: ecompute.Container) -> list[str]:
    """The algorithms of a guest that ssh-audit fails, and its warnings."""
    command = [sys.executable, "-m", "ssh_audit.ssh_audit", "--json", "--skip-rate-test"]
    command += ["--port", str(22 + OFFSET), str(box.external_ip)]
    report = json.loads(subprocess.run(command, check=False, capture_output=True, text=True).stdout)
    return [
        f"{level}: {kind} {entry['algorithm']}: {note}"
        for kind in ("kex", "key", "enc", "mac")
        for entry in report[kind]
        for level in ("fail", "warn")
        for note in entry.get("notes", {}).get(level, [])
    ]


def boot(client: ecompute.Client, folder: Path) -> list[ecompute.Container]:
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    key_id = client.ssh_keys.add("audit", key.with_suffix(".pub").read_text()).id
    made = [
        client.containers.create(kind, [key_id], instance_type=kind, memory_mb=192, ssh_enabled=True)
        for kind in ("nano", "tiny")
    ]
    boxes = [client.containers.wait(box.id, "running", timeout=120) for box in made]
    for box in boxes:
        client.run(box.id, "mkdir -p /root/www && echo hello > /root/www/index.html", check=True)
        client.run(box.id, "httpd -h /root/www -p 3000", check=True)
        client.ingress.add(box.id, 443, target_port=3000)
    return boxes


def audit(server: RunningServer, shared_port: int, folder: Path) -> bool:
    root = folder / "root.pem"
    command = [sys.executable, "-m", "ecompute_server", "ca", "show", "--state", str(server.state)]
    root.write_text(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    clean = True
    with server.client() as client:
        boxes = boot(client, folder)
        for what, address, port in (
            ("the container's own address", str(boxes[0].external_ip), 443 + OFFSET),
            ("the shared listener", "127.0.0.1", shared_port),
        ):
            found = testssl(f"{boxes[0].hostname}:{port}", address, root, folder)
            above = [finding for finding in found if finding["severity"] not in HARMLESS]
            print(f"testssl.sh on {what}: {len(found)} findings, {len(above)} above INFO")
            for finding in above:
                known = KNOWN.get(finding["id"].split()[0])
                clean = clean and known is not None
                words = f"{finding['severity']} {finding['id']}: {finding['finding']}"
                print(f"  {words} ({'meant: ' + known if known else 'NOT EXPLAINED'})")
        for box in boxes:
            notes = ssh_audit(box)
            clean = clean and not any(note.startswith("fail") for note in notes)
            print(f"ssh-audit on {box.instance_type}: {len(notes)} notes")
            for note in notes:
                print(f"  {note}")
    return clean


def main() -> int:
    if shutil.which("testssl") is None:
        print("testssl.sh is missing: apt-get install testssl.sh", file=sys.stderr)
        return 1
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (
        tempfile.TemporaryDirectory(prefix="ecompute-audit-") as folder,
        running_server(hypervisor="libvirt", https_port=port, port_offset=OFFSET) as server,
    ):
        clean = audit(server, port, Path(folder))
    print("audit: ok" if clean else "audit: see above")
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
