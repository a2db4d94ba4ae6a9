"""Table, conclusion and chart, from made-up measurements."""

from __future__ import annotations

import importlib
import io
import json
import os

import pytest
from rich.console import Console

from outlive.demo import report, shared
from outlive.demo.results import Reading, Result, leftover
from outlive.demo.watch import Process, Sample

MIB = 1 << 20


def sample(seconds: float, *workers: int, tending: int = 0) -> Sample:
    processes = [Process(n, "worker", size * MIB, 2 * size * MIB) for n, size in enumerate(workers)]
    processes += [Process(100 + n, role, 50 * MIB, 90 * MIB) for n, role in enumerate(("keeper", "catalog")[:tending])]
    return Sample(seconds, processes)


def reading(arrays: int, lost: int = 0, error: str = "OwnerDiedError") -> Reading:
    return Reading(arrays, arrays - lost, {error: lost} if lost else {}, [2e-4] * (arrays - lost))


@pytest.fixture
def plain() -> Result:
    return Result(
        "ray",
        puts=[0.01, 0.03],
        nbytes=8 * MIB,
        spent=4,
        spent_left=4,
        left=leftover(sample(9, 200, 200, 200, 200), settled=True),
        killed="a spent worker that had stayed",
        readings={"work": reading(8), "producer": reading(8, lost=2)},
        samples=[sample(0, 100), sample(5, 200, 200), sample(9, 200, 200, 200, 200)],
        events=[(0.0, "work starts"), (6.0, "work done"), (9.0, "producer killed")],
    )


@pytest.fixture
def kept() -> Result:
    return Result(
        "outlive",
        puts=[0.01, 0.02],
        nbytes=8 * MIB,
        spent=4,
        spent_left=0,
        left=leftover(sample(9, tending=2), settled=True),
        killed="one started for this, right after its put had returned",
        readings={"work": reading(8), **{name: reading(9) for name in ("producer", "keeper", "catalog", "back")}},
        samples=[sample(0, 100, tending=2), sample(5, 200, 200, tending=2), sample(9, tending=2)],
        events=[(6.0, "work done"), (9.0, "producer killed"), (9.1, "keeper killed"), (9.2, "catalog killed")],
    )


def test_table_shows_both_sides(plain, kept):
    cells = {label.strip(): (left, right) for label, left, right in report.rows(plain, kept)}
    assert cells["after the work"] == ("8 of 8", "8 of 8")
    assert cells["after a producer was killed"] == ("6 of 8", "9 of 9")
    assert cells["after the keeper was killed"] == ("n/a", "9 of 9")
    assert cells["spent workers"] == ("4 of 4", "0 of 4")
    assert cells["workers in all"] == ("4", "0")
    assert cells["their memory (USS)"] == ("800 MiB", "0")
    assert cells["keeper and catalog (USS)"] == ("n/a", "100 MiB")
    assert cells["time to put, median"] == ("20.0 ms", "15.0 ms")
    assert cells["time of a first read, median"] == ("200 us", "200 us")
    stream = io.StringIO()
    Console(file=stream, width=100).print(report.table(plain, kept))
    assert "6 of 8" in stream.getvalue()


def test_conclusion_follows_from_the_numbers(plain, kept):
    assert report.conclusion(plain, kept) == (
        "With ray.put, 4 of 4 spent workers stayed (4 workers held 800 MiB), "
        "and 2 of 8 arrays were lost after a producer was killed; "
        "with outlive, 0 of 4 spent workers stayed (no worker was left, keeper and catalog held 100 MiB), "
        "and all 9 arrays were read back bit-identical after a producer, the keeper and the catalog were killed."
    )


def test_conclusion_when_ray_loses_nothing_and_outlive_does(plain, kept):
    plain.readings["producer"] = reading(8)
    kept.readings["catalog"] = reading(9, lost=1, error="other content")
    said = report.conclusion(plain, kept)
    assert "all 8 arrays were read back bit-identical after a producer was killed" in said
    assert "1 of 9 arrays was lost" in said
    assert kept.lost == 1
    assert any("other content" in note for note in report.notes(plain, kept))


def test_notes_say_what_was_killed_and_what_went_wrong(plain, kept):
    kept.left = leftover(sample(9, 100, tending=2), settled=False)
    notes = " ".join(report.notes(plain, kept))
    assert "one started for this, right after its put had returned" in notes
    assert "With ray.put, reads failed with OwnerDiedError." in notes
    assert "With outlive, workers were still coming and going" in notes


def test_summary_is_json(plain, kept):
    summary = json.loads(json.dumps(plain.summary()))
    assert summary["lost"] == 2
    assert summary["readings"]["producer"]["errors"] == {"OwnerDiedError": 2}
    assert summary["left"]["workers_uss"] == 800 * MIB
    assert "samples" not in summary
    kept.readings["work"] = reading(8, lost=8)
    assert kept.summary()["read_median_seconds"] is None
    assert report.table(plain, kept).row_count == len(report.rows(plain, kept))


@pytest.fixture
def chart():
    """The module. With Matplotlib it takes longer to load than most tests take."""
    return importlib.import_module("outlive.demo.chart")


def test_chart_is_a_png(chart, plain, kept, tmp_path):
    chart.draw([plain, kept], tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
    chart.draw([Result("ray"), Result("outlive")], tmp_path / "empty.png")
    assert (tmp_path / "empty.png").read_bytes().startswith(b"\x89PNG")


def test_pages_of_files_are_counted(tmp_path):
    (tmp_path / "mem").mkdir()
    with (tmp_path / "mem" / "array").open("wb", 0) as file:
        file.write(b"1" * MIB)
        os.fsync(file)  # or a file system may not have chosen blocks yet
    counted = shared.in_folder(str(tmp_path))
    assert MIB <= counted < 1.1 * MIB
    (tmp_path / "mem" / "hole").touch()
    os.truncate(tmp_path / "mem" / "hole", 8 * MIB)
    assert shared.in_folder(str(tmp_path)) < counted + MIB
    assert shared.in_folder(str(tmp_path / "gone")) == 0


def test_the_arena_of_a_raylet_has_no_name_any_more(tmp_path):
    with (tmp_path / "plasmaXy12").open("wb", 0) as arena, (tmp_path / "other").open("wb", 0) as other:
        for file in (arena, other):
            file.write(b"1" * MIB)
            os.fsync(file)
        os.remove(arena.name)
        assert MIB <= shared.in_arenas([os.getpid()]) < 1.1 * MIB
    assert shared.in_arenas([os.getpid(), 0]) == 0


def test_the_chart_ends_with_the_data_and_names_its_lines(chart, plain, kept, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(chart.Figure, "savefig", lambda figure, path: drawn.append(figure))
    for side in (plain, kept):
        side.samples = [one._replace(shared=50 * MIB) for one in side.samples]
    chart.draw([plain, kept], tmp_path / "chart.png")
    (axes,) = drawn[0].axes
    assert axes.get_xlim() == (0, 9) and axes.get_ylim()[0] == 0
    assert [max(line.get_ydata()) for line in axes.lines if line.get_linestyle() == "--"] == [50, 50]
    said = " ".join(text.get_text() for text in axes.texts)
    for words in (
        "ray.put: its workers",
        "outlive: its workers",
        "arrays in shared",
        "each leaves",
        "work done",
        "2 of 8",
    ):
        assert words in said
