"""Without an extra, the command says which one to install."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from outlive.cli.app import app

FILES = Path(__file__).with_name("files")


@pytest.mark.parametrize(
    ("missing", "arguments", "says"),
    [
        ("yaml", ["check", str(FILES / "cluster.yaml")], "pyyaml, which is not installed: pip install outlive\n"),
        (
            "yaml",
            ["plan", "--goal", "memory", "--cluster", str(FILES / "cluster.yaml")],
            "pyyaml, which is not installed: pip install outlive\n",
        ),
        (
            "jsonschema.validators",
            ["check", str(FILES / "cluster.yaml")],
            "jsonschema, which is not installed: pip install outlive\n",
        ),
        (
            "pyarrow",
            ["simulate", str(FILES / "cluster.yaml")],
            "pyarrow, which is not installed: pip install 'outlive[traces]'\n",
        ),
        (
            "pyarrow",
            ["record", "-o", "x.parquet"],
            "pyarrow, which is not installed: pip install 'outlive[traces]'\n",
        ),
    ],
)
def test_what_is_missing_is_named(monkeypatch, missing, arguments, says):
    monkeypatch.setitem(sys.modules, missing, None)
    result = CliRunner().invoke(app, ["workers", *arguments])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"error: this needs {says}"


def test_help_has_an_example_of_every_command():
    for command in ([], ["plan"], ["check"], ["trim"], ["record"], ["simulate"]):
        result = CliRunner().invoke(app, ["workers", *command, "--help"])
        assert result.exit_code == 0
        assert "Example" in result.stdout
        assert "Exit codes" in result.stdout
