"""The demo command hands its options on, and says what is missing."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
from typer.testing import CliRunner

from outlive.cli.app import app


@pytest.fixture
def calls(monkeypatch):
    """What `outlive.demo.run` was called with."""
    made = types.SimpleNamespace(arguments=[], answer=0)

    def run(*arguments):
        made.arguments.append(arguments)
        if isinstance(made.answer, Exception):
            raise made.answer
        return made.answer

    monkeypatch.setitem(sys.modules, "outlive.demo", types.SimpleNamespace(run=run))
    return made


@pytest.mark.parametrize("code", [0, 1])
def test_options_and_exit_code(calls, tmp_path, code):
    calls.answer = code
    result = CliRunner().invoke(app, ["demo", "--input", str(tmp_path), "--output", "charts", "--json"])
    assert result.exit_code == code
    assert CliRunner().invoke(app, ["demo"]).exit_code == code
    assert calls.arguments == [(tmp_path, Path("charts"), True), (None, Path("outlive-demo"), False)]


def test_what_is_not_installed_is_named(calls):
    calls.answer = ModuleNotFoundError("No module named 'nibabel'", name="nibabel")
    result = CliRunner().invoke(app, ["demo"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "nibabel" in result.stderr
    assert "pip install 'outlive[demo]'" in result.stderr


def test_no_such_input(calls, tmp_path):
    result = CliRunner().invoke(app, ["demo", "--input", str(tmp_path / "nope")])
    assert result.exit_code == 2
    assert calls.arguments == []
