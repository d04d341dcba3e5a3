"""dpkg's `path-exclude` and `path-include`: which files of packages stay out of the image.

The rules are read from the file that the image keeps, so what is installed later follows the same ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import translate

from attrs import frozen


@frozen
class Filters:
    """Rules in their order; the last one that matches a path counts (dpkg(1))."""

    rules: tuple[tuple[bool, re.Pattern[str]], ...]

    def keeps(self, path: str) -> bool:
        """Whether a path (without a leading slash) stays. Directories are not to be asked for."""
        kept = True
        for keep, pattern in self.rules:
            if keep is not kept and pattern.match(f"/{path}"):
                kept = keep
        return kept


def parse(text: str) -> Filters:
    """The rules of a configuration file of dpkg; other lines are passed over."""
    return Filters(tuple(_rules(text)))


def _rules(text: str) -> Iterator[tuple[bool, re.Pattern[str]]]:
    for line in text.splitlines():
        match = re.fullmatch(r"path-(exclude|include)\s*[=\s]\s*(\S+)", line.strip())
        if match:
            yield match[1] == "include", re.compile(translate(match[2]))
