"""A command loads no more than it needs: so `--help` and `lint` begin at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RAY = {"ray", "numpy", "grpc"}
"""What takes longest to load."""


def loaded(*arguments: str) -> set[str]:
    """The packages that a command has loaded."""
    code = f"""
import atexit, sys
atexit.register(lambda: print(*{{name.split('.')[0] for name in sys.modules}}, file=sys.stderr))
sys.argv = ['outlive', *{arguments!r}]
from outlive.cli import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("arguments", "not_loaded"),
    [
        (["--help"], {*RAY, "libcst", "pydantic", "yaml", "jsonschema", "msgpack"}),
        (["--version"], {*RAY, "libcst", "yaml", "jsonschema", "msgpack"}),
        (["lint", "--help"], {*RAY, "libcst", "yaml", "jsonschema", "msgpack"}),
        (["lint", "--explain", "OUT101"], {*RAY, "libcst", "yaml", "jsonschema", "msgpack"}),
        (["lint", "outlive/cli/app.py"], {*RAY, "jsonschema", "msgpack", "typer", "rich", "pydantic"}),
        (["explain", "tests/explain/cases/objects.txt"], {*RAY, "libcst", "yaml", "jsonschema", "msgpack"}),
        (["versions"], {*RAY, "libcst", "yaml", "jsonschema", "msgpack"}),
        (["tune", "--quick"], {"ray", "grpc", "libcst", "yaml", "jsonschema"}),
        (["workers", "plan", "--goal", "memory"], {*RAY, "libcst", "jsonschema"}),
        (["metrics", "list"], {*RAY, "libcst", "yaml", "jsonschema", "msgpack"}),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_what_a_command_does_not_load(arguments, not_loaded):
    assert loaded(*arguments) & not_loaded == set()
