"""Each program of examples/ says what it shows, is listed in docs/examples.md, and runs."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = sorted((ROOT / "examples").glob("*.py"))
APPLICATIONS = sorted((ROOT / "examples").glob("*/main.py"))  # each in a folder, and with a test of its own
SAYS = {
    "actor_dies": ["ray.put: OwnerDiedError", "outlive: 3 of 3 volumes are there"],
    "embeddings": ["the first task embeds 4", "the second task embeds 1", "ends with its job"],
    "io_manager": ["the means of 3 days", "scans/2026-01-03, summary"],
    "idle_workers": ["MB, after leaky", "have left,", "came back"],
    "producer_leaves": ["the producer has left", "reads 4 arrays"],
    "replay_buffer": ["12 episodes", "has learned from 12 of 12"],
    "simulation": ["its 12 parts are there", "(256, 512) in 4 parts", "the most that one cell got"],
    "spark_partitions": ["all executors are stopped", "read 60,000 rows"],
    "stages": ["their batches went with the stage: OwnerDiedError", "gets 4 of 4 batches: [0, 1, 2, 3]"],
    "slices": ["4,000 rows", "is refused: True"],
    "volume_pipeline": ["1/mask:", "on 1 of 1 nodes", "6 arrays"],
}
NEEDS = {"idle_workers": ["grpc"], "simulation": ["dask.array"], "spark_partitions": ["pyarrow"]}


def name_of(program: Path) -> str:
    return program.relative_to(ROOT).as_posix()


def test_all_are_listed_and_tried() -> None:
    listed = re.findall(r"\]\(\.\./(examples/[\w/]+\.py)\)", (ROOT / "docs" / "examples.md").read_text())
    assert sorted(listed) == sorted(name_of(program) for program in [*PROGRAMS, *APPLICATIONS])
    assert [program.stem for program in PROGRAMS] == sorted(SAYS)
    tests = [path.name for path in Path(__file__).parent.glob("test_*.py")]
    assert [main for main in APPLICATIONS if f"test_{main.parent.name}.py" not in tests] == []


@pytest.mark.parametrize("program", [*PROGRAMS, *APPLICATIONS], ids=name_of)
def test_it_says_what_it_shows_and_how_it_is_run(program: Path) -> None:
    said = ast.get_docstring(ast.parse(program.read_text())) or ""
    assert f"python {name_of(program)}" in said
    assert len(said.splitlines()) > 1
    for part in [program] if program in PROGRAMS else program.parent.glob("*.py"):
        assert len(part.read_text().splitlines()) <= (90 if program in PROGRAMS else 130), part


def test_the_page_of_an_application_links_its_files() -> None:
    page = (ROOT / "docs" / "howto" / "serve.md").read_text()
    parts = sorted(name_of(part) for main in APPLICATIONS for part in main.parent.glob("*.py"))
    assert sorted(re.findall(r"\]\(\.\./\.\./(examples/[\w/]+\.py)\)", page)) == parts


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A Ray that all programs join; its address."""
    command = [sys.executable, "-m", "tests.cli.cluster"]
    for _ in range(3):  # Ray gives up a start that takes long on a busy machine
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            if address := process.stdout.readline().strip():
                yield address
                return
    pytest.fail("the cluster did not start")


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_it_runs(program: Path, cluster: str) -> None:
    environment = {**os.environ, "RAY_ADDRESS": cluster, "PYTHONPATH": str(ROOT)}
    for package in NEEDS.get(program.stem, []):
        pytest.importorskip(package)
    done = subprocess.run([sys.executable, program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for said in SAYS[program.stem]:
        assert said in done.stdout
    assert "Warning" not in done.stderr
