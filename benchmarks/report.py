"""The table, the file of raw results, and the curve."""

from __future__ import annotations

import json
import statistics
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.line import Line, nbytes, percentile, size

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


def save(lines: list[Line], path: Path, *, quick: bool) -> None:
    """Write raw samples and what they were measured on. Rows that the file has and that were not measured now stay."""
    rows = {line.row for line in lines}
    kept: list[dict[str, Any]] = []
    if path.exists():
        kept = [line for line in json.loads(path.read_text(encoding="utf-8"))["lines"] if line["row"] not in rows]
    commit = machine.commit()
    new = [{**line.as_json(), "commit": commit} for line in lines]
    result = {"form": "quick" if quick else "full", **machine.facts(), "units": {"s": "seconds", "B": "bytes"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    head = json.dumps({**result, "lines": []}, indent=1).removesuffix("[]\n}")
    each = ",\n".join(json.dumps(_short(line)) for line in (*kept, *new))
    path.write_text(f"{head}[\n{each}\n]\n}}\n", encoding="utf-8")


def _short(line: dict[str, Any]) -> dict[str, Any]:
    """The line with six digits of each sample: a clock has no more of them that mean something."""
    return line | {side: [float(f"{sample:.6g}") for sample in line[side]] for side in ("outlive", "ray")}


def draw(lines: list[Line], path: Path) -> Path | None:
    """The curve of row `many`, if it was measured and matplotlib is there."""
    try:
        import matplotlib as mpl
    except ImportError:
        return None
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    curves: dict[str, list[tuple[int, float]]] = {}
    for line in lines:
        before, power, after = line.what.partition("10^")
        if line.row == "many" and power:
            name = f"{before}N{after[1:]}"
            curves.setdefault(name, []).append((10 ** int(after[0]), statistics.median(line.outlive)))
            if line.ray:
                curves.setdefault("Ray: a loop of ray.put", []).append((10 ** int(after[0]), line.ray[0]))
    if not curves:
        return None
    figure, axes = plt.subplots(figsize=(7, 4.5))
    for name, points in curves.items():
        axes.loglog(
            *zip(*points, strict=True), marker="o", linestyle="--" if name.startswith("Ray") else "-", label=name
        )
    axes.set(xlabel="arrays of 1 KiB", ylabel="seconds")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    return path


def draw_nodes(lines: list[Line], path: Path) -> Path | None:
    """The curve of row `nodes-cost` by the number of nodes, if it was measured and matplotlib is there."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for line in lines:
        name, _, end = line.what.rpartition(", ")
        if line.row == "nodes-cost" and end.endswith(("node", "nodes")):
            curves.setdefault(name, []).append((int(end.split()[0]), statistics.median(line.outlive) * 1e3))
    return _plot(curves, path, "nodes", logarithmic=True)


def draw_align(lines: list[Line], path: Path) -> Path | None:
    """The curve of row `align` by where the source begins, if it was measured and matplotlib is there."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for line in lines:
        if line.row == "align":
            for name, samples in (("put", line.outlive), ("memcpy", line.ray)):
                point = int(line.what.split()[-5]), statistics.median(samples) * 1e3
                curves.setdefault(f"{name}, pages of {line.pages}", []).append(point)
    return _plot(curves, path, "bytes of a page before the source begins; the target begins on a page")


def draw_sizes(lines: list[Line], path: Path) -> Path | None:
    """The curves of row `sizes`: put and read, from 1 KiB to 1 GiB."""
    panels: dict[str, _Curves] = {}
    for line in lines:
        if line.row == "sizes":
            what, _, text = line.what.rpartition(", ")
            _add_sides(panels.setdefault(what, {}), line, text)
    return _plot_by_size(panels, path)


def draw_remote(lines: list[Line], path: Path) -> Path | None:
    """The curves of row `remote`: the first read of an array of another node, by size."""
    curves: _Curves = {}
    for line in lines:
        if line.row == "remote" and line.what.startswith("first read of ") and line.state.startswith("warm"):
            _add_sides(curves, line, " ".join(line.what.split()[3:5]))
    return _plot_by_size({"first read of an array of another node": curves} if curves else {}, path)


_Curves = dict[str, list[tuple[int, float]]]  # by name: bytes and seconds


def _add_sides(curves: _Curves, line: Line, text: str) -> None:
    for side, samples in (("outlive", line.outlive), ("Ray", line.ray)):
        curves.setdefault(f"{side}, pages of {line.pages}", []).append((nbytes(text), statistics.median(samples)))


def _plot_by_size(panels: dict[str, _Curves], path: Path) -> Path | None:
    try:
        import matplotlib as mpl
    except ImportError:
        return None
    if not panels:
        return None
    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, NullLocator

    figure, axes = plt.subplots(1, len(panels), figsize=(2.2 + 4.4 * len(panels), 4.4), sharey=True, squeeze=False)
    for each, (title, curves) in zip(axes[0], panels.items(), strict=True):
        for name, points in curves.items():
            style = {"color": "C1" if name.startswith("Ray") else "C0", "linestyle": "--" if "2 MiB" in name else "-"}
            each.loglog(*zip(*sorted(points), strict=True), marker="o", markersize=4, label=name, **style)
        largest = max(points[-1][0] for points in curves.values())
        ticks = [1 << power for power in range(10, largest.bit_length(), 5)]
        each.xaxis.set_major_locator(FixedLocator(ticks))
        each.xaxis.set_major_formatter(FixedFormatter([size(tick) for tick in ticks]))
        each.xaxis.set_minor_locator(NullLocator())
        each.yaxis.set_major_formatter(FuncFormatter(lambda seconds, _: number(seconds, "s").replace(".00", "")))
        each.set(title=title, xlabel="size of the array")
        each.grid(visible=True, alpha=0.3)
    axes[0][0].set_ylabel("median")
    axes[0][0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    return path


def _plot(
    curves: dict[str, list[tuple[int, float]]], path: Path, label: str, *, logarithmic: bool = False
) -> Path | None:
    try:
        import matplotlib as mpl
    except ImportError:
        return None
    if not curves:
        return None
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5))
    for name, points in curves.items():
        (axes.loglog if logarithmic else axes.plot)(*zip(*points, strict=True), marker="o", label=name)
    axes.set(xlabel=label, ylabel="milliseconds, median")
    if not logarithmic:
        axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    return path


def draw_world(lines: list[Line], path: Path) -> Path | None:
    """The curves of row `world`: by nodes with most arrays, and by arrays with most nodes."""
    points: dict[str, dict[str, dict[tuple[int, int], float]]] = {}  # quantity -> what -> nodes and arrays
    for line in lines:
        if line.row == "world":
            what, _, name = line.what.rpartition(": ")
            nodes, arrays = int(line.state.split()[0]), 10 ** int(line.state.partition("10^")[2].split()[0])
            typical = statistics.fmean(line.outlive) if line.mean else statistics.median(line.outlive)
            points.setdefault(name, {}).setdefault(what, {})[nodes, arrays] = typical
    try:
        import matplotlib as mpl
    except ImportError:
        return None
    if not points:
        return None
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    most = [max(key[i] for some in points.values() for one in some.values() for key in one) for i in (0, 1)]
    figure, axes = plt.subplots(len(points), 2, figsize=(13, 3.4 * len(points)), sharey="row", squeeze=False)
    for row, (name, curves) in zip(axes, points.items(), strict=True):
        scale, unit = (1e6, "us") if name == "CPU" else (1, "")
        for i, label in enumerate(("nodes", "arrays")):
            for number, (what, one) in enumerate(curves.items()):
                curve = sorted((key[i], value * scale) for key, value in one.items() if key[1 - i] == most[1 - i])
                style = {"marker": "os^vD"[number % 5], "linestyle": "--" if what.startswith("tick") else "-"}
                style["color"] = mpl.colormaps["tab20"](number)
                row[i].plot(*zip(*curve, strict=True), label=what, linewidth=1, markersize=4, **style)
            beside = f"{most[1]:,} arrays" if label == "nodes" else f"{most[0]:,} nodes"
            row[i].set(xscale="log", yscale="symlog", xlabel=f"{label} ({beside})")
            row[i].set_ylim(bottom=0)
            row[i].grid(visible=True, alpha=0.3)
        row[0].set_ylabel(f"{name}{', ' if unit else ''}{unit}")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    figure.suptitle("Of each operation, and of each tick while nothing happens")
    figure.set_layout_engine("constrained")
    figure.savefig(path, dpi=100)
    return path
