"""`--help` has the panels that matter first; the shell completes commands; a typo is told the right spelling."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from outlive.cli.app import app
from outlive.cli.form import ORDER

ROOT = Path(__file__).parents[2]


def outlive(*arguments: str):
    return CliRunner().invoke(app, [*arguments], env={"COLUMNS": "80"})


def commands(command, name="outlive"):
    """All commands, each with its name."""
    yield name, command
    for short, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{name} {short}")


def test_all_commands_are_in_order():
    group = typer.main.get_command(app)
    assert set(ORDER) == set(group.commands)
    assert group.list_commands(None) == list(ORDER)
    panels = re.findall(r"╭─ ([^─]+) ─", outlive("--help").stdout)
    assert panels == [
        "Options", "Arrays", "Workers", "Understand", "The whole store", "Nodes", "See for yourself",
    ]  # fmt: skip


def test_no_type_stands_behind_a_flag_and_no_word_is_cut():
    for name, _ in commands(typer.main.get_command(app)):
        shown = outlive(*name.split()[1:], "--help")
        assert shown.exit_code == 0
        assert not re.search(r"<bool>|BOOLEAN|…", shown.stdout), name


def test_each_command_has_an_example_and_only_the_screen_breaks_its_prose():
    for name, command in commands(typer.main.get_command(app)):
        *prose, example = command.help.split("\n\n")
        assert re.match(r"\[bold\]Example\[/bold\]\n(?s:.*)\$ .*outlive", example), name
        assert not any("\n" in paragraph for paragraph in prose), name


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("typed", "completed"),
    [("outlive li", "lint"), ("outlive workers tr", "trim"), ("outlive lint --expl", "--explain")],
)
def test_bash_completes(typed, completed, tmp_path):
    script = tmp_path / "outlive"
    script.write_text(f"#!{sys.executable}\nfrom outlive.cli import main\nmain()\n")
    script.chmod(0o755)
    said = f"""
eval "$(_OUTLIVE_COMPLETE=source_bash outlive)"
COMP_WORDS=({typed}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_outlive_completion outlive; echo "${{COMPREPLY[*]}}"
"""
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", said], check=True, capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.stdout == completed + "\n"


def test_a_typo():
    assert "Did you mean 'lint'?" in outlive("lnit").stderr
    assert "--exclude" in outlive("lint", "--exlude", "x").stderr
