"""Without an extra, the command says which one to install."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from outlive.cli.app import app

FILES = Path(__file__).with_name("files")


@pytest.mark.parametrize(
    ("missing", "arguments", "extra"),
    [
        ("yaml", ["check", str(FILES / "cluster.yaml")], "workers"),
        ("yaml", ["plan", "--goal", "memory", "--cluster", str(FILES / "cluster.yaml")], "workers"),
        ("jsonschema.validators", ["check", str(FILES / "cluster.yaml")], "workers"),
        ("pyarrow", ["simulate", str(FILES / "cluster.yaml")], "traces"),
        ("pyarrow", ["record", "-o", "x.parquet"], "traces"),
    ],
)
def test_what_is_missing_is_named(monkeypatch, missing, arguments, extra):
    monkeypatch.setitem(sys.modules, missing, None)
    result = CliRunner().invoke(app, ["workers", *arguments])
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"needs {missing}" in result.stderr
    assert f"pip install 'outlive[{extra}]'" in result.stderr


def test_help_has_an_example_of_every_command():
    for command in ([], ["plan"], ["check"], ["trim"], ["record"], ["simulate"]):
        result = CliRunner().invoke(app, ["workers", *command, "--help"])
        assert result.exit_code == 0
        assert "Example" in result.stdout
        assert "Exit codes" in result.stdout
