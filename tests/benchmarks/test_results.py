"""Files of results: what stays in them, what is drawn from them, and what a row says of its samples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import draw, report
from benchmarks.line import Line, times_as_fast
from benchmarks.names import WORST_SOURCE
from benchmarks.page_size import LARGE, SMALL
from benchmarks.rows import align
from benchmarks.timing import OUTLIVE, RAY


def line(row: str, what: str, pages: str, seconds: float = 1.0) -> Line:
    return Line(row, what, "warm", [seconds], [seconds], pages=pages)


def test_lines_of_other_pages_and_rows_stay(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    report.save([line("put", "a", SMALL), line("put", "a", LARGE), line("get", "b", SMALL)], file, quick=False)
    report.save([line("put", "a", LARGE, 2.0)], file, quick=False)
    found = [(one["row"], one["pages"], one["outlive"]) for one in json.loads(file.read_text())["lines"]]
    assert sorted(found) == [("get", SMALL, [1.0]), ("put", LARGE, [2.0]), ("put", SMALL, [1.0])]


def test_lines_that_do_not_say_which_pages_they_are_of_are_of_small_ones(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    report.save([line("put", "a", SMALL)], file, quick=False)
    found = json.loads(file.read_text())
    del found["lines"][0]["pages"]
    file.write_text(json.dumps(found))
    assert Line.from_json(found["lines"][0]).pages == SMALL
    report.save([line("put", "a", LARGE)], file, quick=False)
    assert len(json.loads(file.read_text())["lines"]) == 2


def test_quick_results_are_not_added_to_full_ones(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    assert report.unfit(file, quick=True) is None
    report.save([line("put", "a", SMALL)], file, quick=False)
    assert report.unfit(file, quick=False) is None
    assert "full form" in (report.unfit(file, quick=True) or "")


def test_curves_are_drawn_of_all_that_the_file_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    file, drawn = tmp_path / "results.json", dict[str, set[str]]()
    saved = Figure.savefig

    def save(figure: Figure, path: Path, **options: object) -> None:
        texts = {text.get_text() for text in figure.texts}
        labels = {label for axes in figure.axes for label in axes.get_legend_handles_labels()[1]}
        drawn[Path(path).name] = texts | labels
        saved(figure, path, **options)

    monkeypatch.setattr(Figure, "savefig", save)
    for pages in (SMALL, LARGE):
        lines = [line("sizes", f"{what}, {size}", pages) for what in ("put", "get") for size in ("1 KiB", "1 MiB")]
        report.save([*lines, line("put", "a", pages)], file, quick=False)
        assert [path.name for path in draw.curves(file)] == ["results-sizes.png"]
    machine = json.loads(file.read_text())["machine"]
    curves = {f"{side}, pages of {pages}" for side in ("outlive", "Ray") for pages in (SMALL, LARGE)}
    assert drawn == {"results-sizes.png": curves | {f"{machine['cpu']}, {machine['cores']} cores"}}


def test_the_best_source_is_a_median_and_one_line_says_how_many_miss_it() -> None:
    found = {
        0: {OUTLIVE: [0.5, 1.0, 1.0], RAY: [1.0]},  # one lucky time counts for nothing
        64: {OUTLIVE: [1.2, 1.2, 9.0], RAY: [1.0]},
        128: {OUTLIVE: [1.4, 1.4, 1.4], RAY: [1.0]},
    }
    *points, worst = align.lines(found)
    assert [one.reached for one in points] == [True, True, False]
    assert (worst.what, worst.reached) == (WORST_SOURCE, False)
    assert worst.note == "1 of 3 miss it; the slowest takes 1.40 times as long"
    assert (worst.outlive, worst.ray) == ([1.4, 1.4, 1.4], [0.5, 1.0, 1.0])


@pytest.mark.parametrize(("asked", "said"), [(1, "as fast"), (0.8, "0.8 times as fast"), (15.0, "15 times as fast")])
def test_what_is_asked_is_said_in_words(asked: float, said: str) -> None:
    assert times_as_fast(asked) == said
