"""`outlive lint` for people: the source of a finding, carets below it, and the width of the terminal."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from outlive.cli import lint_text, quick
from outlive.cli.app import app
from outlive.lint.finding import Finding
from outlive.lint.run import Report

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def lint(*arguments: str, stdin: bytes | None = None, **options):
    return CliRunner().invoke(app, ["lint", *arguments], input=stdin, **options)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_source_and_a_caret_below_what_it_is_about():
    Path("a.py").write_text("import ray\nif True:\n    x = ray.put(1, _owner=a)  # why\n")
    assert lint("a.py").stdout.splitlines()[1:4] == [
        "  |",
        "3 |     x = ray.put(1, _owner=a)  # why",
        "  |         ^^^^^^^^^^^^^^^^^^^^",
    ]


def test_no_control_sequence_of_a_source_or_of_its_name_reaches_a_terminal(monkeypatch, capsys):
    name = "a\x1b]0;name\x07.py"
    Path(name).write_text("import ray\n# \x1b]0;text\x07\nray.put(1, _owner=None)\nray.put(1, _owner=a)\n")
    before = Path(name).read_text()
    for arguments, tty in ((["--fix"], False), (["--fix"], True), ([], True)):
        Path(name).write_text(before)
        monkeypatch.setattr(sys.stdout, "isatty", lambda tty=tty: tty)
        quick.run(["lint", *arguments, name])
        shown = capsys.readouterr().out
        assert "OUT101" in shown
        assert ("\x1b]0;" in shown) is (not tty)  # in a pipe the difference is as it is
        assert "name\ufffd.py:4:1" in _COLOUR.sub("", shown)


def test_concise_is_a_line_a_finding():
    Path("a.py").write_text("import ray\nray.put(1, _owner=a)\nray.put(1, _owner=None)\n")
    lines = lint("--format", "concise", "a.py").stdout.splitlines()
    assert [line.split(" ")[0] for line in lines] == ["a.py:2:1:", "a.py:3:1:", "1"]
    assert [line.endswith(" (--fix does it)") for line in lines] == [False, True, False]


@pytest.mark.parametrize(
    ("line", "shown", "column"),
    [
        ("ray.put(1, _owner=a)", "ray.put(1, _owner=a)", 0),
        ('x = "漢字"; ray.put(1, _owner=a)', 'x = "漢字"; ray.put(1, _owner=a)', 12),
        ('x = "a\u0301"; ray.put(1, _owner=a)', 'x = "a\u0301"; ray.put(1, _owner=a)', 9),
        ('x = "\x1b[31m"; ray.put(1, _owner=a)', 'x = "\ufffd[31m"; ray.put(1, _owner=a)', 13),
    ],
)
@pytest.mark.parametrize("indent", ["", "\t", "  "])
def test_carets_are_below_it_whatever_comes_before(line, shown, column, indent):
    source = f"import ray\nif ray:\n {indent}{line}\n"
    found = lint("-", stdin=source.encode()).stdout.splitlines()
    indent = " " + indent.replace("\t", "    ")
    assert found[2:4] == [f"3 | {indent}{shown}", f"  | {indent}{' ' * column}{'^' * 20}"]


def test_of_several_lines_the_first_is_shown():
    Path("a.py").write_text("import ray\nray.put(  # why\n    1,\n    _owner=a,\n)\n")
    assert lint("a.py").stdout.splitlines()[2:4] == ["2 | ray.put(  # why", "  | ^^^^^^^^^^^^^^^"]


def test_after_a_fix_the_fixed_source_is_shown():
    source = "import ray\nray.put(1, _owner=None)\nray.put(1, _owner=a)\n"
    for stdin in (source.encode(), None):
        Path("a.py").write_text(source)
        result = lint("--fix", "-" if stdin else "a.py", stdin=stdin)
        said = result.stderr if stdin else result.stdout
        assert "\n3 | ray.put(1, _owner=a)\n  | ^^^^^^^^^^^^^^^^^^^^\n" in said


def finding(line: str, column: int, end: int) -> Finding:
    return Finding("a.py", 1, column, "OUT101", 1, end, "name", "it is so " * 20, "because " * 30, "do that " * 30)


class Terminal:
    """Stands for stdout."""

    def __init__(self, columns: int) -> None:
        self.columns = columns

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [40, 80, 120])
@pytest.mark.parametrize("length", [0, 10, 100, 1_000])
@pytest.mark.parametrize("about", [1, 20, 300])
def test_no_line_is_wider_than_the_terminal_and_the_carets_are_seen(columns, length, about, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(lint_text, "sys", SimpleNamespace(stdout=Terminal(columns), stderr=Terminal(columns)))
    monkeypatch.setattr(lint_text.shutil, "get_terminal_size", lambda: SimpleNamespace(columns=columns))
    monkeypatch.setattr(lint_text, "echo", lambda text, **_: said.extend(text.splitlines()))
    line = "x" * length + "y" * about + "z" * 500
    Path("a.py").write_text(line)
    lint_text.show(Report([finding(line, length + 1, length + about + 1)], files=1), concise=False, to_stderr=False)
    plain = [_COLOUR.sub("", text) for text in said]
    assert max(map(len, plain)) <= columns
    (carets,) = [text for text in plain if "^" in text]
    (source,) = [text for text in plain if text.startswith("1 | ")]
    below = source[carets.index("^") : carets.rindex("^") + 1]
    assert set(below) <= {"y", "."}
    assert below[0] == "y"
    assert "".join(plain).count("becaus") == 30
    assert any("\x1b[" in text for text in said)


def test_no_colour_in_a_pipe_or_with_no_color(monkeypatch):
    Path("a.py").write_text("import ray\nray.put(1, _owner=a)\n")
    said = io.StringIO()
    monkeypatch.setattr(sys, "stdout", said)
    for wanted, terminal, no_color in ((False, False, ""), (True, True, ""), (False, True, "1")):
        monkeypatch.setattr(said, "isatty", lambda terminal=terminal: terminal, raising=False)
        monkeypatch.setenv("NO_COLOR", no_color)
        said.seek(said.truncate(0))
        lint_text.show(Report([finding("a", 1, 2)], files=1), concise=False, to_stderr=False)
        assert ("\x1b[31m" in said.getvalue()) == wanted
        assert wanted or "\x1b" not in said.getvalue()


def test_a_file_that_is_gone_or_shorter_by_now_is_reported_without_its_source(capsys):
    lint_text.show(Report([finding("", 1, 2)], files=1), concise=False, to_stderr=False)
    Path("a.py").write_text("")
    lint_text.show(Report([finding("", 5, 6)], files=1), concise=False, to_stderr=False)
    assert "^" not in capsys.readouterr().out
