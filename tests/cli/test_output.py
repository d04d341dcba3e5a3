"""What is shown, whatever a server tells."""

from __future__ import annotations

import pytest

from ecompute.cli.output import print_lines, print_table, say


@pytest.fixture
def hostile() -> str:
    """A name that would move the cursor, change the title, forge a row and turn the text around."""
    return "a\x1b[2J\x1b]0;title\x07\r\nroot  running\u202e\x9b31m[bold]"


def test_a_table_holds_one_line_for_each_row(capsys: pytest.CaptureFixture[str], hostile: str) -> None:
    """Of printable characters only, in columns as wide as a terminal shows them."""
    print_table(("name", "none", "status"), [(hostile, "", "running"), ("日本", "", hostile)])
    shown = capsys.readouterr().out
    headings, *rows = shown.splitlines()
    assert headings.split() == ["NAME", "STATUS"]
    assert len(rows) == 2
    assert all(row.isprintable() for row in rows)
    assert rows[1].index("a [2J") + 2 == rows[0].rindex("running")


def test_lines_and_sentences_are_as_safe(capsys: pytest.CaptureFixture[str], hostile: str) -> None:
    """Each is one line."""
    print_lines([("name", hostile)])
    say(hostile)
    shown = capsys.readouterr()
    for text in (shown.out, shown.err):
        (line,) = text.splitlines()
        assert line.isprintable()
