"""dpkg's database as it is after unpacking and before configuring any package.

Pure: from what packages tell about themselves to the files below `/var/lib/dpkg`. The format is dpkg's own,
version 1 of `info/format`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from attrs import field, frozen

from ecompute_server.images import deb
from ecompute_server.images.interface import ImageError

DATABASE = "var/lib/dpkg"


@frozen
class Record:
    """One unpacked package. `files` is what its `control.tar` has, name → (mode, content); `paths` all its
    paths as it names them, without a leading slash; `configuration` those of files that an administrator may
    change, `hashes` the MD5 of each.
    """

    fields: Mapping[str, str]
    files: Mapping[str, tuple[int, bytes]] = field(repr=False)
    configuration: frozenset[str] = frozenset()
    paths: list[str] = field(factory=list, repr=False)
    hashes: dict[str, str] = field(factory=dict, repr=False)

    @property
    def name(self) -> str:
        return self.fields["Package"]

    @property
    def full_name(self) -> str:
        """The name by which dpkg keeps it: with the architecture where several can be installed at once."""
        several = self.fields.get("Multi-Arch") == "same"
        return f"{self.name}:{self.fields['Architecture']}" if several else self.name

    def add(self, member: deb.Member) -> None:
        """Note one of the package's paths."""
        self.paths.append(member.path)
        if member.path in self.configuration:
            self.hashes[member.path] = hashlib.md5(member.data, usedforsecurity=False).hexdigest()

    def stanza(self) -> str:
        """Its part of the `status` file."""
        text = self._text("control").strip("\n") + "\n"
        text = re.sub(
            r"(?m)^Package:.*\n", lambda match: f"{match[0]}Status: install ok unpacked\n", text, count=1
        )
        if self.hashes:
            text += "Conffiles:\n" + "".join(f" /{path} {md5}\n" for path, md5 in sorted(self.hashes.items()))
        return text

    def triggers(self) -> Iterator[tuple[str, str]]:
        """What it is interested in: (trigger, its entry in the table of that trigger)."""
        for line in self._text("triggers").splitlines():
            match = re.match(r"interest(-await|-noawait)?\s+(\S+)", line)
            if match:
                yield match[2], self.full_name + ("/noawait" if match[1] == "-noawait" else "")

    def _text(self, name: str) -> str:
        return self.files.get(name, (0, b""))[1].decode("utf-8", "replace")


def record(package: Path) -> Record:
    """A package's own data, to which its paths are to be added.

    Raises:
        ImageError: the package is damaged, or says too little of itself.
    """
    files = deb.control_files(package)
    fields = next(deb.stanzas(files.get("control", (0, b""))[1].decode("utf-8", "replace")), {})
    for name in ("Package", "Version", "Architecture"):
        if not fields.get(name):
            raise ImageError(f"The package {package.name} is damaged: it does not tell its {name}.")
    lines = files.get("conffiles", (0, b""))[1].decode("utf-8", "replace").splitlines()
    # Other lines name files that only an upgrade removes.
    return Record(fields, files, frozenset(line.strip()[1:] for line in lines if line.startswith("/")))


def entries(records: Iterable[Record]) -> Iterator[tuple[str, int, bytes]]:
    """The files of the database: path, mode and content, sorted."""
    files: dict[str, tuple[int, bytes]] = {
        "available": (0o644, b""), "diversions": (0o644, b""), "statoverride": (0o644, b""),
        "lock": (0o640, b""), "lock-frontend": (0o640, b""), "triggers/Lock": (0o600, b""),
        "triggers/Unincorp": (0o644, b""), "info/format": (0o644, b"1\n"),
    }  # fmt: skip
    ordered = sorted(records, key=lambda record: record.full_name)
    files["status"] = (0o644, "\n".join(record.stanza() for record in ordered).encode())
    interests: dict[str, list[str]] = {}
    for one in ordered:
        for trigger, entry in one.triggers():
            interests.setdefault(trigger, []).append(entry)
        for name, content in one.files.items():
            if name != "control":
                files[f"info/{one.full_name}.{name}"] = content
        listing = "".join(f"/{path}\n" for path in one.paths)
        files[f"info/{one.full_name}.list"] = (0o644, f"/.\n{listing}".encode())
    by_path = sorted((path, entry) for path, names in interests.items() for entry in names if path[0] == "/")
    files["triggers/File"] = (0o644, "".join(f"{path} {entry}\n" for path, entry in by_path).encode())
    for trigger, names in interests.items():
        if not trigger.startswith("/"):
            files[f"triggers/{trigger}"] = (0o644, "".join(f"{name}\n" for name in names).encode())
    for name in sorted(files):
        yield f"{DATABASE}/{name}", *files[name]


def automatic(records: Iterable[Record], asked: Iterable[str], arch: str) -> bytes:
    """apt's `extended_states`: which packages are there only because others need them. Those of all
    architectures are listed under the system's own.
    """
    wanted = set(asked)
    chosen = (
        record for record in records
        if record.name not in wanted and record.fields.get("Essential") != "yes"
        and record.fields.get("Priority") != "required"
    )  # fmt: skip
    return "".join(
        f"Package: {record.name}\nArchitecture: {arch}\nAuto-Installed: 1\n\n"
        for record in sorted(chosen, key=lambda record: record.name)
    ).encode()
