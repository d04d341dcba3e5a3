"""What the kit has, as tables in Markdown: `python -m ecompute.conformance.description FOLDER` writes them
into the pages of the documentation, between their marks.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

from . import strategies
from .registry import AREAS, CHECKS
from .strategies import answered, asked, keys, messages, parts, rights, wrong

_THEMES: Mapping[str, ModuleType] = {
    "Requests": asked,
    "Requests with one fault": wrong,
    "Answers": answered,
    "Messages of WebSockets": messages,
    "Keys": keys,
    "Rights": rights,
    "Single fields": parts,
}


def requirements() -> str:
    """All requirements by area, with the checks that decide them."""
    return "\n".join(_requirements()) + "\n"


def _requirements() -> Iterator[str]:
    for area in AREAS:
        yield f"### {area.title}"
        yield ""
        yield "| id | level | what a server does | source | decided by |"
        yield "| --- | --- | --- | --- | --- |"
        for requirement in area.requirements:
            deciding = ", ".join(f"`{check.name}`" for check in CHECKS if requirement.id in check.decides)
            yield _row(
                requirement.id, requirement.level.value, requirement.sentence, requirement.source, deciding
            )
        yield ""


def all_strategies() -> str:
    """All public strategies by theme, with the first sentence of what each promises."""
    return "\n".join(_strategies()) + "\n"


def _strategies() -> Iterator[str]:
    public = {name: getattr(strategies, name) for name in strategies.__all__}
    for title, module in _THEMES.items():
        yield f"### {title}"
        yield ""
        yield "| strategy | draws |"
        yield "| --- | --- |"
        for name, made in public.items():
            if inspect.isfunction(made) and made.__module__ == module.__name__:
                told = " ".join((inspect.getdoc(made) or "").split())
                takes = ", ".join(inspect.signature(made).parameters)
                yield _row(f"`{name}({takes})`", re.split(r"(?<=\.) (?=[A-Z`])", told)[0])
        yield ""


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


TABLES: Mapping[str, tuple[str, Callable[[], str]]] = {
    "conformance.md": ("requirements", requirements),
    "library/strategies.md": ("strategies", all_strategies),
}
"""Page below the folder → the word of its marks, and what stands between them."""


def write(folder: Path) -> None:
    """Put each table into its page."""
    for name, (word, table) in TABLES.items():
        page = folder / name
        before, _, rest = page.read_text("utf-8").partition(f"<!-- {word} -->")
        after = rest.partition(f"<!-- end of {word} -->")[2]
        page.write_text(f"{before}<!-- {word} -->\n{table()}<!-- end of {word} -->{after}", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
