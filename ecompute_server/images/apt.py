"""Asking apt for packages of any architecture, in a world of its own.

apt runs with a private configuration, an empty package status and its own lists: the host's installation is
neither read nor changed, and no rights are needed. From the host come the sources that are Debian's, the
keyrings (so apt checks every signature), and how to reach the network. The host's hooks are left out, for
they run programs that change the host.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from attrs import frozen

from ecompute_server.images import sources, space
from ecompute_server.images.deb import stanzas
from ecompute_server.images.interface import ImageError, Progress, Report

HOST = Path("/etc/apt")
T = TypeVar("T")

CONFIGURATION = """\
Dir::State "{root}/state";
Dir::State::status "{root}/status";
Dir::Cache "{root}/cache";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{root}/sources";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "{root}/none";
Dir::Log "{root}";
APT::Architecture "{arch}";
APT::Architectures {{ "{arch}"; }};
APT::Install-Recommends "false";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::Languages "none";
// As root apt would change to a user who cannot enter a private cache directory.
APT::Sandbox::User "root";
"""

NOT_TAKEN = ("Acquire::Languages", "Acquire::IndexTargets", "Acquire::AllowInsecure", "Acquire::GzipIndexes")
"""Of the host's `Acquire` settings all but these are taken: proxies, time limits, validity checks."""


@frozen
class Package:
    """One version of a package as the archive offers it; `section` and `depends` are as in its index."""

    name: str
    version: str
    section: str
    size: int
    sha256: str
    depends: tuple[str, ...]


def _names(relation: str) -> tuple[str, ...]:
    """All package names in a dependency field, alternatives included."""
    return tuple(match[1] for match in re.finditer(r"(?:^|[,|])\s*([a-z0-9][a-z0-9+.-]+)", relation))


class PrivateApt:
    """apt for one architecture, with everything below `root`, which the caller removes. After `update`, the
    `sources` are those that proved to be Debian's.
    """

    def __init__(self, root: Path, arch: str) -> None:
        self.arch = arch
        self.sources: list[sources.Source] = []
        self._root = root
        for name in ("state/lists/partial", "cache/archives/partial", "sources", "none"):
            (root / name).mkdir(parents=True, exist_ok=True)
        (root / "status").touch()
        self._config = root / "apt.conf"
        self._config.write_text(CONFIGURATION.format(root=root, arch=arch) + _host_settings())

    def update(self, report: Report, host: Path = HOST) -> None:
        """Fetch the index of every source of the host that proves to be Debian's.

        Raises:
            ImageError: the host has no such source, or one could not be fetched or verified.
        """
        found = [source for source in host_sources(host) if sources.may_be_debian(source)]
        if not found:
            raise ImageError(
                f"No package source of Debian, which the image is made from, is set up in {host}."
            )
        paths = {self._root / "sources" / f"{index:03}.sources": source for index, source in enumerate(found)}
        for path, source in paths.items():
            path.write_text(source.text())
        complaint = self._transfer(["update"], lambda percent: report(Progress("index", percent, 100)))
        origins = self._origins()
        for path, source in paths.items():
            origin = origins.get(path)
            if origin is None and source.has_debian_key:
                reason = complaint or "apt gave no reason"
                raise ImageError(f"The package index could not be fetched: {reason}.")
            if origin != "Debian":
                path.unlink()
        self.sources = [source for path, source in paths.items() if path.exists()]
        if not self.sources:
            raise ImageError(f"No package source in {host} proved to be Debian's.")

    def resolve(self, names: Sequence[str]) -> list[Package]:
        """The packages with all that they depend on, as apt would install them on an empty system.

        Raises:
            ImageError: a package does not exist, or its dependencies cannot be met.
        """
        listing = self._run("apt-get", "install", "--print-uris", "-qq", "-y", *names)
        versions = {}
        for line in listing.splitlines():
            if match := re.match(r"'[^']*' ([^_ ]+)_([^_ ]+)_[^_ ]+\.deb ", line):
                versions[match[1]] = match[2].replace("%3a", ":")
        shown = self._run("apt-cache", "show", *(f"{name}={version}" for name, version in versions.items()))
        packages = {}
        for fields in stanzas(shown):
            name = fields.get("Package", "")
            if versions.get(name) == fields.get("Version") and name not in packages:
                packages[name] = _package(fields)
        if missing := versions.keys() - packages.keys():
            raise ImageError(f"apt does not describe these packages: {', '.join(sorted(missing))}.")
        return [packages[name] for name in sorted(packages)]

    def fetch(self, packages: Sequence[Package], folder: Path, report: Report) -> dict[str, Path]:
        """Download the packages into the folder and check each against the index; name → file.

        Raises:
            ImageError: a download failed, or a file is not what the signed index promises.
            OSError: the disk is full.
        """
        total = sum(package.size for package in packages)
        complaint = self._transfer(
            ["download", *(f"{package.name}={package.version}" for package in packages)],
            lambda percent: report(Progress("download", total * percent // 100, total)),
            folder,
        )
        files = {path.name.partition("_")[0]: path for path in folder.glob("*.deb")}
        for package in packages:
            path = files.get(package.name)
            if path is None:
                space.check(folder)
                reason = complaint or "apt gave no reason"
                raise ImageError(f"The package {package.name} could not be downloaded: {reason}.")
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != package.sha256:
                    space.check(folder)
                    raise ImageError(f"The package {package.name} is not the one that the index promises.")
        report(Progress("download", total, total))
        return {package.name: files[package.name] for package in packages}

    def _origins(self) -> dict[Path, str]:
        """Source file → origin that its signed Release file names; files without an index are missing."""
        text = self._run(
            "apt-get", "indextargets", "--format", "$(SOURCESENTRY)|$(ORIGIN)", "Created-By: Packages"
        )
        pairs = (line.partition("|") for line in text.splitlines())
        return {Path(entry.rpartition(":")[0]): origin for entry, _, origin in pairs}

    def _environment(self) -> dict[str, str]:
        return os.environ | {"APT_CONFIG": str(self._config), "LC_ALL": "C.UTF-8"}

    def _run(self, *command: str) -> str:
        result = _started(
            lambda: subprocess.run(command, env=self._environment(), capture_output=True, text=True)
        )
        if result.returncode != 0:
            raise ImageError(f"{command[0]} failed: {_complaint(result.stderr)}.")
        return result.stdout

    def _transfer(self, arguments: list[str], tell: Callable[[int], None], folder: Path | None = None) -> str:
        """Run apt-get and tell its progress in percent; returns what it complained about, if anything."""
        reading, writing = os.pipe()
        with open(reading) as status, (self._root / "errors").open("w+") as errors:  # noqa: PTH123 (a descriptor)
            try:
                process = _started(
                    lambda: subprocess.Popen(
                        ["apt-get", "-qq", "-o", f"APT::Status-Fd={writing}", *arguments],
                        env=self._environment(), cwd=folder, pass_fds=[writing],
                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
                    )
                )  # fmt: skip
            finally:
                os.close(writing)
            with process:
                for line in status:
                    if match := re.match(r"dlstatus:\d+:(\d+)", line):
                        tell(int(match[1]))
            errors.seek(0)
            return _complaint(errors.read())


def host_sources(host: Path) -> list[sources.Source]:
    """Every enabled binary source in a directory like `/etc/apt`; unreadable files are passed over."""
    found: list[sources.Source] = []
    for path in [host / "sources.list", *sorted((host / "sources.list.d").glob("*"))]:
        parse = {".list": sources.one_line_entries, ".sources": sources.stanza_entries}.get(path.suffix)
        if parse is not None and path.is_file() and os.access(path, os.R_OK):
            found.extend(parse(path.read_text("utf-8", "replace")))
    return found


def _host_settings() -> str:
    dump = _started(lambda: subprocess.run(["apt-config", "dump"], capture_output=True, text=True)).stdout
    taken = (
        line for line in dump.splitlines() if line.startswith("Acquire::") and not line.startswith(NOT_TAKEN)
    )
    return "".join(f"{line}\n" for line in taken)


def _started(start: Callable[[], T]) -> T:
    try:
        return start()
    except FileNotFoundError:
        raise ImageError(
            "apt is not installed; images can be built on Debian and its derivatives only."
        ) from None


def _complaint(text: str) -> str:
    """apt's first error, else its first warning, without the mark in front and the full stop."""
    lines: Iterable[str] = [line.strip() for line in text.splitlines() if line.strip()]
    marked = [line for mark in ("E: ", "W: ") for line in lines if line.startswith(mark)]
    return next(iter([*marked, *lines]), "")[:300].removeprefix("E: ").removeprefix("W: ").rstrip(" .")


def _package(fields: dict[str, str]) -> Package:
    return Package(
        name=fields["Package"],
        version=fields["Version"],
        section=fields.get("Section", "").rpartition("/")[2],
        size=int(fields["Size"]),
        sha256=fields["SHA256"],
        depends=_names(fields.get("Pre-Depends", "")) + _names(fields.get("Depends", "")),
    )
