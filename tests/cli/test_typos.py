"""A typo says what was meant."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from outlive.cli.app import app


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("lst", "ls"),
        ("shutdwon", "shutdown"),
        ("ls --lng", "--long"),
        ("workers trm", "trim"),
        ("workers trim --max-idl 3", "--max-idle"),
        ("lint --fromat json a.py", "--format"),
        ("lint --format jsn a.py", "json"),
    ],
)
def test_the_error_names_it(typed: str, meant: str) -> None:
    done = CliRunner().invoke(app, typed.split())
    assert done.exit_code == 2
    assert meant in done.stderr.partition("Error")[2]
    assert "Traceback" not in done.output
