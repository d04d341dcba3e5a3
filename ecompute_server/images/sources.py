"""Package sources of the host, read from the text of its apt configuration.

Pure: which of the entries may be Debian's own archive. Whether they are is told later by their signed
Release files; here only those are left out that cannot be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from attrs import frozen

from ecompute_server.images.deb import stanzas

SUITES = frozenset(
    {"oldoldstable", "oldstable", "stable", "testing", "unstable", "experimental"}
    | {"bullseye", "bookworm", "trixie", "forky", "duke", "sid"}
)
ONE_LINE = re.compile(
    r"deb\s+(?:\[(?P<options>[^]]*)\]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)\s*(?P<components>.*)"
)
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
IGNORED_FIELDS = frozenset({"types", "enabled", "architectures", "languages", "targets", "x-repolib-name"})
OPTION_NAMES = {"signed-by": "Signed-By", "trusted": "Trusted", "check-valid-until": "Check-Valid-Until"}


@frozen
class Source:
    """One entry, as the fields of a stanza in the form of apt's `.sources` files."""

    fields: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str:
        return next((value for key, value in self.fields if key.lower() == name.lower()), "")

    @property
    def suites(self) -> list[str]:
        return self.get("Suites").split()

    @property
    def has_debian_key(self) -> bool:
        """Whether the entry is checked with Debian's keyring, or names none: then a failure to read it is
        a failure of the build.
        """
        return "debian-archive" in (self.get("Signed-By") or "debian-archive")

    def text(self) -> str:
        return "".join(f"{key}: {value}\n" for key, value in self.fields)


def one_line_entries(text: str) -> Iterator[Source]:
    """The `deb` lines of a `sources.list`."""
    for line in text.splitlines():
        match = ONE_LINE.fullmatch(line.partition("#")[0].strip())
        if match is None:
            continue
        fields = [("Types", "deb"), ("URIs", match["uri"]), ("Suites", match["suite"])]
        if match["components"].strip():
            fields.append(("Components", match["components"].strip()))
        for option in (match["options"] or "").split():
            key, _, value = option.partition("=")
            if key in OPTION_NAMES:
                fields.append((OPTION_NAMES[key], value.replace(",", " ")))
        yield Source(tuple(fields))


def stanza_entries(text: str) -> Iterator[Source]:
    """The enabled stanzas of a `.sources` file that have binary packages."""
    for stanza in stanzas(text):
        lower = {key.lower(): value for key, value in stanza.items()}
        if lower.get("enabled", "yes").lower() in ("no", "false", "0", "off", "without", "disable"):
            continue
        if "deb" not in lower.get("types", "").split():
            continue
        kept = [(key, value) for key, value in stanza.items() if key.lower() not in IGNORED_FIELDS]
        yield Source((("Types", "deb"), *kept))


def may_be_debian(source: Source) -> bool:
    """Whether the suites and components are such as Debian's archive has."""
    names = {re.split(r"[-/]", suite)[0] for suite in source.suites}
    remote = not source.get("URIs").startswith("cdrom:")
    return remote and bool(names) and names <= SUITES and "main" in source.get("Components").split()


def for_guest(found: Sequence[Source]) -> str:
    """The text of a `.sources` file for a Debian that was made from these: the mirrors that others can reach,
    without names and passwords in their addresses, checked with the keyring that Debian's packages bring.
    """
    stanzas = []
    for source in found:
        addresses = [
            re.sub(r"(://)[^/@]*@", r"\1", address)
            for address in source.get("URIs").split() if re.match("https?://", address)
        ]  # fmt: skip
        if addresses:
            stanzas.append(
                f"Types: deb\nURIs: {' '.join(addresses)}\nSuites: {' '.join(source.suites)}\n"
                f"Components: {' '.join(source.get('Components').split())}\nSigned-By: {KEYRING}\n"
            )
    return (
        "\n".join(stanzas)
        or "# None of the mirrors that this system was made from can be reached from here.\n"
    )
