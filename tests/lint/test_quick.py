"""`outlive lint FILE` without typer does what typer's command does; whatever typer has to say is left to it."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from outlive.cli import quick
from outlive.cli.app import app

BAD = "import ray\nray.put(1, _owner=a)\nray.put(1, _owner=None)\n"


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write()


def write() -> None:
    Path("clean.py").write_text("import ray\n")
    Path("bad.py").write_text(BAD)
    Path("broken.py").write_text("import ray\ndef (\n")
    Path("page.ipynb").write_text("{}")


def quickly(arguments, monkeypatch, stdin=BAD):
    """The exit code, and what was written."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        code = quick.run(["lint", *arguments])
    out.flush()
    return code, out.buffer.getvalue().decode(), err.getvalue()


@pytest.mark.parametrize(
    "arguments",
    [
        ["bad.py"],
        ["clean.py", "bad.py"],
        ["."],
        ["missing.py"],
        ["broken.py", "bad.py"],
        ["page.ipynb"],
        ["-"],
        ["--fix", "-"],
        ["--fix", "bad.py"],
        ["bad.py", "--json"],
        ["--json", "missing.py"],
        ["--format", "concise", "bad.py"],
        ["bad.py", "--format=sarif"],
        ["--format", "sarif", "--format", "concise", "bad.py"],
        ["--select", "OUT1", "--ignore=out101", "bad.py"],
        ["--select", "OUT2", "--select", "OUT1", "."],
        ["--exclude", "b*", "--exclude=c*", "."],
        ["--exclude", ""],
        ["", "bad.py"],
    ],
    ids=" ".join,
)
def test_it_says_what_typer_s_command_says(arguments, monkeypatch):
    by_typer = CliRunner().invoke(app, ["lint", *arguments], input=BAD.encode())
    after = Path("bad.py").read_text()
    write()
    code, out, err = quickly(arguments, monkeypatch)
    if code is not None:
        assert (code, out, err) == (by_typer.exit_code, by_typer.stdout, by_typer.stderr)
        assert Path("bad.py").read_text() == after
    else:
        assert by_typer.exit_code == 2
    assert (code is None) == ("--exclude" in arguments and len(arguments) == 2)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--help"],
        ["bad.py", "-h"],
        ["--rules"],
        ["--explain", "OUT101"],
        ["--select", "OUT9", "bad.py"],
        ["--ignore", "X", "bad.py"],
        ["--format", "xml", "bad.py"],
        ["--json", "--format", "sarif", "bad.py"],
        ["--no-such-option", "bad.py"],
        ["--fix=yes", "bad.py"],
        ["bad.py", "--select"],
        ["bad.py", "--select", "--fix"],
        ["--fix"],
        ["--", "bad.py"],
    ],
    ids=" ".join,
)
def test_the_rest_is_typer_s_and_nothing_is_said_or_read_before(arguments, monkeypatch):
    assert quickly(arguments, monkeypatch, stdin="") == (None, "", "")
    assert Path("bad.py").read_text() == BAD


def test_a_configuration_that_is_wrong_is_typer_s_too(monkeypatch):
    Path("pyproject.toml").write_text("[tool.outlive.lint]\nselekt = []\n")
    assert quickly(["bad.py"], monkeypatch) == (None, "", "")


@pytest.mark.parametrize("arguments", [["--json", "lint", "bad.py"], ["lst"], []])
def test_other_commands_are_typer_s(arguments):
    assert quick.run(arguments) is None


def test_a_shell_that_completes_is_answered_by_typer(monkeypatch):
    monkeypatch.setenv("_OUTLIVE_COMPLETE", "complete_bash")
    assert quick.run(["lint", "bad.py"]) is None
