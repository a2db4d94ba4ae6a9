"""The hook for pre-commit names a command that exists."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from outlive.cli.app import app

yaml = pytest.importorskip("yaml")  # comes with Ray
ROOT = Path(__file__).parents[2]


def test_the_hook_runs(tmp_path):
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert {"id", "name", "entry", "language"} <= hook.keys()
    program, *arguments = shlex.split(hook["entry"])
    assert program == "outlive"
    (tmp_path / "a.py").write_text("import ray\nray.put(1, _owner=a)\n")
    assert CliRunner().invoke(app, [*arguments, str(tmp_path / "a.py")]).exit_code == 1
