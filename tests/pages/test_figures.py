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
