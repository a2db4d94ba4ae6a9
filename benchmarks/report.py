"""The table, and the file of raw results."""

from __future__ import annotations

import json
import statistics
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.line import Line, percentile
from benchmarks.page_size import SMALL

RESULTS = Path(__file__).parent / "results"


def new_path(kind: str = "", form: str = "") -> Path:
    """A file for results of this day and machine, never over an older one."""
    parts = kind, f"{datetime.now(timezone.utc):%Y-%m-%d}", machine.nickname(), form
    name = "-".join(filter(None, parts))
    path, count = RESULTS / f"{name}.json", 2
    while path.exists():
        path, count = RESULTS / f"{name}-{count}.json", count + 1
    return path


def show(lines: list[Line], console: Console) -> None:
    """Print medians, with the 99th percentile in brackets where there are several samples."""
    table = Table(title="outlive side by side with Ray: median (p99)", title_justify="left", show_lines=False)
    for name in ("row", "what", "cold or warm", "pages"):
        table.add_column(name, overflow="fold")
    for name in ("Ray", "outlive", "Ray / outlive", "asked", "reached"):
        table.add_column(name, justify="right")
    previous = ""
    for line in lines:
        if not line.shown:
            continue
        if line.row != previous and previous:
            table.add_section()
        what = f"{line.what} [dim]({line.note})[/dim]" if line.note else line.what
        ratio = "" if line.ratio is None else f"{line.ratio:.1f}x"
        reached = {None: "", True: "[green]yes[/green]", False: "[red]no[/red]"}[line.reached]
        cells = (
            _cell(line.ray, line.unit),
            _cell(line.outlive, line.unit),
            ratio,
            line.asked or "[dim]for information[/dim]",
        )
        table.add_row("" if line.row == previous else line.row, what, line.state, line.pages, *cells, reached)
        previous = line.row
    console.print(table)


def _cell(samples: list[float], unit: str) -> str:
    if not samples:
        return "-"
    text = number(statistics.median(samples), unit)
    return f"{text} ({number(percentile(samples, 0.99), unit)})" if len(samples) > 1 else text


def number(value: float, unit: str) -> str:
    if unit == "B":
        factor, name = next((f, n) for f, n in ((1e6, "MB"), (1e3, "kB"), (0, "B")) if abs(value) >= f)
        return f"{value / (factor or 1):.{1 if factor else 0}f} {name}"
    if unit == "calls":
        return f"{value:g}"
    if unit == "s per s":
        return f"{value * 100:.2f} %"
    factor, name = next((f, n) for f, n in ((1, "s"), (1e-3, "ms"), (0, "us")) if abs(value) >= f)
    return f"{value / (factor or 1e-6):.{3 if value < 1e-6 else 2}f} {name}"


def unfit(path: Path, *, quick: bool) -> str | None:
    """Why lines of this form are not to be added to a file; None if they may be."""
    form = json.loads(path.read_text(encoding="utf-8"))["form"] if path.exists() else _form(quick=quick)
    return None if form == _form(quick=quick) else f"{path} has results of the {form} form: choose another file"


def _form(*, quick: bool) -> str:
    return "quick" if quick else "full"


def save(lines: list[Line], path: Path, *, quick: bool) -> None:
    """Write raw samples and what they were measured on. Lines that the file has stay, but for those of a row that was
    measured now with the same pages.
    """
    measured = {(line.row, line.pages) for line in lines}
    kept: list[dict[str, Any]] = []
    if path.exists():
        old = json.loads(path.read_text(encoding="utf-8"))["lines"]
        kept = [line for line in old if (line["row"], line.get("pages", SMALL)) not in measured]
    commit = machine.commit()
    new = [{**line.as_json(), "commit": commit} for line in lines]
    result = {"form": _form(quick=quick), **machine.facts(), "units": {"s": "seconds", "B": "bytes"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    head = json.dumps({**result, "lines": []}, indent=1).removesuffix("[]\n}")
    each = ",\n".join(json.dumps(_short(line)) for line in (*kept, *new))
    path.write_text(f"{head}[\n{each}\n]\n}}\n", encoding="utf-8")


def _short(line: dict[str, Any]) -> dict[str, Any]:
    """The line with six digits of each sample: a clock has no more of them that mean something."""
    return line | {side: [float(f"{sample:.6g}") for sample in line[side]] for side in ("outlive", "ray")}
