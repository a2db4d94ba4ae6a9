"""Large trees: what is not parsed at all, and several processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from outlive.cli.app import app
from outlive.lint import processes
from outlive.lint.job import Job
from outlive.lint.rules import RULES
from tests.conftest import eventually

BAD = "import ray\nray.put(1, _owner=a)\n"
LONG = BAD + "x = [ray.put(1), 2, 3]\n" * 3_000  # enough to be worth several processes

without = """
import sys
for name in {names!r}:
    sys.modules[name] = None
from outlive.cli.app import app
try:
    app({arguments!r})
except SystemExit as end:
    print(end.code, [name for name in {loaded!r} if sys.modules.get(name)])
"""


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, names: tuple[str, ...] = (), loaded: tuple[str, ...] = ()) -> str:
    code = without.format(arguments=list(arguments), names=names, loaded=loaded)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("arguments", [("lint", "."), ("lint", "--rules"), ("lint", "--explain", "OUT101")])
def test_the_parser_is_loaded_only_for_a_source_that_mentions_ray(arguments):
    Path("a.py").write_text("array = 1  # an arrayed gray x-ray_ of outlived\n")
    assert run(*arguments, loaded=("libcst", "ray", "numpy")) == "0 []"


def test_it_works_where_ray_and_numpy_are_not_installed():
    Path("a.py").write_text(BAD)
    assert run("lint", ".", names=("ray", "numpy")) == "1 []"


def test_what_does_not_mention_ray_is_not_parsed():
    Path("a.py").write_text("def (\n")
    assert CliRunner().invoke(app, ["lint", "."]).exit_code == 0


def several(monkeypatch) -> None:
    monkeypatch.setattr(processes, "wanted", lambda jobs: 2)


def test_several_processes_find_the_same_in_the_same_order(monkeypatch):
    for number in range(9):
        Path(f"a{number}.py").write_text(BAD + "\n" * 100 * (number % 3))
    Path("broken.py").write_text(BAD + "def (")
    alone = CliRunner().invoke(app, ["lint", "--json", "."])
    several(monkeypatch)
    together = CliRunner().invoke(app, ["lint", "--json", "."])
    assert json.loads(together.stdout) == json.loads(alone.stdout)
    assert (together.exit_code, alone.exit_code) == (2, 2)
    assert len(json.loads(alone.stdout)["findings"]) == 9


def test_several_processes_fix(monkeypatch):
    several(monkeypatch)
    for number in range(4):
        Path(f"a{number}.py").write_text("import ray\nray.put(1, _owner=None)\n")
    assert CliRunner().invoke(app, ["lint", "--fix", "."]).exit_code == 0
    assert {path.read_text() for path in Path().iterdir()} == {"import ray\nray.put(1)\n"}


def test_a_source_that_kills_its_process_fails_alone(monkeypatch):
    monkeypatch.setattr(
        processes,
        "_START",
        processes._START.replace(
            "serve()",
            "import os, outlive.lint.one as one; lint = one.lint_one; "
            "one.lint_one = lambda job: os.abort() if job.name == 'b.py' else lint(job); serve()",
        ),
    )
    jobs = [Job(f"{name}.py", BAD.encode(), None, frozenset(RULES), False) for name in "abcd"]
    results = dict(processes.outcomes(jobs, 2))
    assert [len(results[number].findings) for number in range(4)] == [1, 0, 1, 1]
    failure = results[1].failure
    assert failure is not None
    assert "SIGABRT" in failure.message


def test_the_current_directory_is_no_place_for_modules(monkeypatch):
    several(monkeypatch)
    for name in ("queue", "libcst", "outlive", "b"):
        Path(f"{name}.py").write_text("import ray\nraise SystemExit('was run')\n")
    result = CliRunner().invoke(app, ["lint", "."])
    assert (result.exit_code, result.stdout) == (0, "4 files linted: no findings\n")


def children(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def start() -> subprocess.Popen[bytes]:
    for number in range(30):
        Path(f"a{number}.py").write_text(LONG)
    code = (
        "from outlive.lint import processes; processes.wanted = lambda jobs: 2\n"
        "from outlive.cli import main; import sys; sys.argv[1:] = ['lint', '.']; main()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    eventually(lambda: len(children(process.pid)) == 2 or process.poll() is not None)
    return process


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_one_that_started_it(number):
    process = start()
    started = children(process.pid)
    os.kill(process.pid, number)
    out, err = process.communicate(timeout=120)
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started))
    assert out == b""
    if number == signal.SIGINT:
        assert (process.returncode, err) == (130, b"")
