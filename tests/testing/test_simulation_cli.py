"""`python -m outlive.testing.simulation` with flags that are wrong: each is named, and nothing is played."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from outlive.testing.simulation.__main__ import main
from outlive.testing.simulation.several import SAME_ORDER

WRONG = [
    (["--theme", "nosuch"], "there is no theme 'nosuch'. There are: handles"),
    (["--plant", "homes alon", "--seed", "3"], "there is no fault 'homes alon' to plant. There are: homes alone"),
    (["--plant", "homes alone,moved is gone", "--seed", "3"], "only --planted takes several faults"),
    (["--plan", "nosuch.json"], "does not exist"),
    (["--shrink"], "it needs the schedule: --seed or --plan"),
    (["--plant", "homes alone"], "it needs the schedule, --seed or --plan, or else --planted"),
    (["--count", "0"], "greater than or equal to 1"),
    (["--processes", "-1"], "greater than or equal to 0"),
]


def says(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in SAME_ORDER.items():
        monkeypatch.setenv(name, value)
    app = typer.Typer(rich_markup_mode=None)
    app.command()(main)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    return " ".join(result.output.split())


@pytest.mark.parametrize(("arguments", "said"), WRONG)
def test_a_wrong_flag(arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said in says(arguments, monkeypatch)


@pytest.mark.parametrize("text", ["", "[1, 2]", "{}", "[tool.ruff]"])
def test_a_file_that_holds_no_plan(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    assert "holds no plan, as --shrink prints it" in says(["--plan", str(path)], monkeypatch)
