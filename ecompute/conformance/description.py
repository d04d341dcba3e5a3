"""The requirements as a table in Markdown: `python -m ecompute.conformance.description FILE` writes it into a
page, between the two marks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from .registry import AREAS, CHECKS

BEGIN = "<!-- requirements -->"
END = "<!-- end of requirements -->"


def table() -> str:
    """All requirements by area, with the checks that decide them."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    for area in AREAS:
        yield f"### {area.title}"
        yield ""
        yield "| id | level | what a server does | source | decided by |"
        yield "| --- | --- | --- | --- | --- |"
        for requirement in area.requirements:
            deciding = ", ".join(f"`{check.name}`" for check in CHECKS if requirement.id in check.decides)
            cells = (
                requirement.id,
                requirement.level.value,
                requirement.sentence,
                requirement.source,
                deciding,
            )
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        yield ""


def write(page: Path) -> None:
    """Put the table into a page."""
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n{table()}{END}{after}", "utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
