"""No figure in the tables of README.md and of pages in docs/ is typed by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import report, tables

ROOT = Path(__file__).parents[2]


def test_the_tables_are_those_of_the_results() -> None:
    texts = [page.read_text() for page in tables.PAGES]
    assert sum(text.count("<!-- figures: ") for text in texts) == len([*tables.TABLES, *tables.OTHERS])
    assert [tables.written(text) for text in texts] == texts, "run python -m benchmarks.tables"


@pytest.mark.parametrize(("page", "figure", "other"), [(0, " MiB |", " KiB |"), (1, " us |", " ns |")])
def test_a_figure_that_was_changed_by_hand_is_noticed(page: int, figure: str, other: str) -> None:
    text = tables.PAGES[page].read_text()
    changed = text.replace(figure, other, 1)
    assert changed != text and tables.written(changed) == text


def test_a_row_that_was_never_measured_is_an_error() -> None:
    with pytest.raises(LookupError, match="unheard of"):
        tables._latest(tables.Row("", "unheard of", ""), tables.results())


def test_a_row_that_is_awaited_is_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tables.TABLES, "new", (tables.Row("a new row", "unheard of", "", awaited=True),))
    assert "| a new row | not measured yet | | | | |" in tables.table("new").splitlines()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("1x faster", "as fast"),
        ("15x faster", "15 times as fast"),
        ("20x faster than the whole", "20 times as fast as the whole"),
        ("under 3 us", "under 3 us"),
    ],
)
def test_what_earlier_runs_asked_for_is_said_in_words(asked: str, said: str) -> None:
    line = {"asked": asked, "reached": False, "note": "3 of 64 miss it"}
    assert tables._asked(tables.Row("", "", ""), line) == f"{said}: missed"
    assert tables._asked(tables.Row("", "", "", note=True), line) == f"{said}: missed (3 of 64 miss it)"


def test_a_picture_that_is_not_there_is_named_with_the_command_that_draws_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    monkeypatch.setattr(tables, "FIGURES", tmp_path / "figures")
    monkeypatch.setattr(tables, "PAGES", [])
    monkeypatch.setattr(sys, "argv", ["tables"])
    lines = [{"row": row, "measured_at": "2026-11-28"} for row in ("align", "sizes")]
    (tmp_path / "run.json").write_text(json.dumps({"form": "full", "machine": {}, "lines": lines}))
    (tmp_path / "run-sizes.png").write_bytes(b"a picture")
    assert tables.main() == 1
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["put-and-read.png"]
    assert f"python -m benchmarks.draw {tmp_path}/run.json draws it" in capsys.readouterr().err


def test_each_row_of_the_benchmark_is_explained() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--list"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    text = (ROOT / "benchmarks" / "README.md").read_text()
    named = {name for line in text.splitlines() if line.startswith("| `") for name in line.split("|")[1].split(", ")}
    rows = {line.split()[0] for line in listed.splitlines()}
    assert len(rows) > 20
    assert {name.strip(" `") for name in named} == rows


def test_tables_are_written_without_ray() -> None:
    program = "import sys, benchmarks.tables; print('ray' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout == "False\n"


def test_the_pictures_are_those_of_the_results() -> None:
    differ = [shown.name for shown, drawn in tables.pictures().items() if shown.read_bytes() != drawn.read_bytes()]
    assert differ == [], "run python -m benchmarks.tables"


def test_a_row_has_the_line_of_its_pages_alone() -> None:
    lines = [("file", {}, {"row": "get", "what": "get", "state": "", **pages}) for pages in ({"pages": "2 MiB"}, {})]
    small, large = (tables._latest(tables.Row("", "get", "get", pages=each), lines) for each in ("4 KiB", "2 MiB"))
    assert (small, large) == (lines[1], lines[0]), "files of before have no pages: these were of 4 KiB"


@pytest.mark.parametrize(("other", "said"), [(1e-3, "0.50, LMDB is faster"), (6e-3, "3.0")])
def test_a_row_says_that_the_other_side_is_faster(other: float, said: str) -> None:
    line = {"unit": "s", "summary": {"outlive": {"median": 2e-3}, "ray": {"median": other}}}
    assert tables._cells(tables.Row("", "", "", beside="LMDB"), line)[2] == said


def test_a_row_names_the_fastest_store_of_arrays() -> None:
    seconds = {"1 KiB": {"outlive": {"put": [2e-3, 1e-3, 9e-3], "get": [1e-6]}, "LMDB": {"put": [1e-3], "get": [2e-6]}}}
    shown = tables.peers_table("peers-1.json", {"machine": {"cpu": "a processor"}, "seconds": seconds})
    rows = [line.strip("|").split("|") for line in shown.splitlines() if line.startswith("|")]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["what", "outlive", "LMDB", "fastest"],
        ["---"] * 4,
        ["put 1 KiB", "2.00 ms", "1.00 ms", "LMDB"],
        ["get 1 KiB", "1.00 us", "2.00 us", "outlive"],
    ]
    assert "`peers-1.json` on a processor" in shown


def test_the_other_stores_are_those_of_the_latest_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    found = {"machine": {"cpu": "a processor"}, "seconds": {"1 KiB": {"outlive": {"put": [1e-3]}}}}
    days = {"peers-a.json": "2026-11-28", "peers-b.json": "2026-11-27", "peers-c.json": None}
    for name, day in days.items():
        (tmp_path / name).write_text(json.dumps({**found, "measured_at": day} if day else found))
    assert [name for name in days if name in tables.peers()] == ["peers-a.json"]


def test_a_result_is_not_written_over_an_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    for _ in range(3):
        path = report.new_path("peers", "quick")
        assert not path.exists()
        path.touch()
    names = sorted(path.stem.removesuffix("-quick") for path in tmp_path.iterdir())
    assert len(names) == 3 and all(name.startswith("peers-") for name in names)


def test_benchmarks_are_not_set_up_as_tests_are() -> None:
    """`tests.conftest` has the catalog validate itself after each step, and Ray start without its agents."""
    program = "import sys, benchmarks.__main__; print(*(name for name in sys.modules if name.endswith('conftest')))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout == "\n"
