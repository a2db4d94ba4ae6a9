"""`python -m benchmarks.draw FILE.json ...`: draw the curves of files of results, as PNG files beside them.

Needs matplotlib.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.line import Line, nbytes, size
from benchmarks.report import number

_Curves = dict[str, list[tuple[int, float]]]  # by name: where, and the median
_POINT = " bytes into a page"  # in row `align`, the end of what a line says


def curves(path: Path) -> list[Path]:
    """Draw what this file has lines for. Nothing if matplotlib is not installed."""
    if not importlib.util.find_spec("matplotlib"):
        return []
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    found = json.loads(path.read_text(encoding="utf-8"))
    lines = [Line.from_json(line) for line in found["lines"]]
    drawn = []
    for ending, draw in _DRAWN.items():
        if (figure := draw(lines)) is not None:
            figure.text(1, 0, f"{found['machine']['cpu']}, {found['machine']['cores']} cores", **_CAPTION)
            drawn.append(path.with_name(f"{path.stem}{ending}.png"))
            figure.savefig(drawn[-1], bbox_inches="tight")
            plt.close(figure)
    return drawn


_CAPTION: dict[str, Any] = {"ha": "right", "va": "top", "fontsize": 6, "color": "gray"}


def _many(lines: list[Line]) -> Any:
    """Row `many`, by the number of arrays."""
    points: _Curves = {}
    for line in lines:
        before, power, after = line.what.partition("10^")
        if line.row == "many" and power:
            name = f"{before}N{after[1:]}"
            points.setdefault(name, []).append((10 ** int(after[0]), statistics.median(line.outlive)))
            if line.ray:
                points.setdefault("Ray: a loop of ray.put", []).append((10 ** int(after[0]), line.ray[0]))
    return _plot(points, "arrays of 1 KiB", unit="seconds", logarithmic=True)


def _nodes_cost(lines: list[Line]) -> Any:
    """Row `nodes-cost`, by the number of nodes."""
    points: _Curves = {}
    for line in lines:
        name, _, end = line.what.rpartition(", ")
        if line.row == "nodes-cost" and end.endswith(("node", "nodes")):
            points.setdefault(name, []).append((int(end.split()[0]), statistics.median(line.outlive) * 1e3))
    return _plot(points, "nodes", logarithmic=True)


def _align(lines: list[Line]) -> Any:
    """Row `align`, by where the source begins."""
    points: _Curves = {}
    for line in lines:
        if line.row == "align" and line.what.endswith(_POINT):
            for name, samples in (("put", line.outlive), ("memcpy", line.ray)):
                point = int(line.what.removesuffix(_POINT).split()[-1]), statistics.median(samples) * 1e3
                points.setdefault(f"{name}, pages of {line.pages}", []).append(point)
    return _plot(points, "bytes of a page before the source begins; the target begins on a page")


def _sizes(lines: list[Line]) -> Any:
    """Row `sizes`: put and read, from 1 KiB to 1 GiB."""
    panels: dict[str, _Curves] = {}
    for line in lines:
        if line.row == "sizes":
            what, _, text = line.what.rpartition(", ")
            _add_sides(panels.setdefault(what, {}), line, text)
    return _plot_by_size(panels)


def _remote(lines: list[Line]) -> Any:
    """Row `remote`: the first read of an array of another node, by size."""
    points: _Curves = {}
    for line in lines:
        if line.row == "remote" and line.what.startswith("first read of ") and line.state.startswith("warm"):
            _add_sides(points, line, " ".join(line.what.split()[3:5]))
    return _plot_by_size({"first read of an array of another node": points} if points else {})


def _world(lines: list[Line]) -> Any:
    """Row `world`: by nodes with most arrays, and by arrays with most nodes."""
    points: dict[str, dict[str, dict[tuple[int, int], float]]] = {}  # quantity -> what -> nodes and arrays
    for line in lines:
        if line.row == "world":
            what, _, name = line.what.rpartition(": ")
            nodes, arrays = int(line.state.split()[0]), 10 ** int(line.state.partition("10^")[2].split()[0])
            typical = statistics.fmean(line.outlive) if line.mean else statistics.median(line.outlive)
            points.setdefault(name, {}).setdefault(what, {})[nodes, arrays] = typical
    if not points:
        return None
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    most = [max(key[i] for some in points.values() for one in some.values() for key in one) for i in (0, 1)]
    shape = {"figsize": (13, 3.4 * len(points)), "sharey": "row", "squeeze": False, "dpi": 100}
    figure, axes = plt.subplots(len(points), 2, **shape)
    for row, (name, of) in zip(axes, points.items(), strict=True):
        scale, unit = (1e6, "us") if name == "CPU" else (1, "")
        for i, label in enumerate(("nodes", "arrays")):
            for place, (what, one) in enumerate(of.items()):
                curve = sorted((key[i], value * scale) for key, value in one.items() if key[1 - i] == most[1 - i])
                style = {"marker": "os^vD"[place % 5], "linestyle": "--" if what.startswith("tick") else "-"}
                style["color"] = mpl.colormaps["tab20"](place)
                row[i].plot(*zip(*curve, strict=True), label=what, linewidth=1, markersize=4, **style)
            beside = f"{most[1]:,} arrays" if label == "nodes" else f"{most[0]:,} nodes"
            row[i].set(xscale="log", yscale="symlog", xlabel=f"{label} ({beside})")
            row[i].set_ylim(bottom=0)
            row[i].grid(visible=True, alpha=0.3)
        row[0].set_ylabel(f"{name}{', ' if unit else ''}{unit}")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    figure.suptitle("Of each operation, and of each tick while nothing happens")
    figure.set_layout_engine("constrained")
    return figure


_DRAWN: dict[str, Callable[[list[Line]], Any]] = {
    "": _many,
    "-nodes": _nodes_cost,
    "-align": _align,
    "-world": _world,
    "-sizes": _sizes,
    "-remote": _remote,
}
"""By the end of the picture's name: a figure of some lines, None if none of them belongs to it."""


def _add_sides(points: _Curves, line: Line, text: str) -> None:
    for side, samples in (("outlive", line.outlive), ("Ray", line.ray)):
        points.setdefault(f"{side}, pages of {line.pages}", []).append((nbytes(text), statistics.median(samples)))


def _plot_by_size(panels: dict[str, _Curves]) -> Any:
    if not panels:
        return None
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, NullLocator

    shape = {"figsize": (2.2 + 4.4 * len(panels), 4.4), "sharey": True, "squeeze": False, "dpi": 120}
    figure, axes = plt.subplots(1, len(panels), **shape)
    for each, (title, points) in zip(axes[0], panels.items(), strict=True):
        for name, curve in points.items():
            style = {"color": "C1" if name.startswith("Ray") else "C0", "linestyle": "--" if "2 MiB" in name else "-"}
            each.loglog(*zip(*sorted(curve), strict=True), marker="o", markersize=4, label=name, **style)
        largest = max(nbytes for curve in points.values() for nbytes, _ in curve)
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
    return figure


def _plot(points: _Curves, label: str, *, unit: str = "milliseconds, median", logarithmic: bool = False) -> Any:
    if not points:
        return None
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), dpi=120)
    for name, curve in points.items():
        style = "--" if name.startswith("Ray") else "-"
        (axes.loglog if logarithmic else axes.plot)(
            *zip(*sorted(curve), strict=True), marker="o", linestyle=style, label=name
        )
    axes.set(xlabel=label, ylabel=unit)
    if not logarithmic:
        axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    return figure


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.draw", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.json")
    drawn = [picture for path in parser.parse_args().files for picture in curves(path)]
    print(*drawn, sep="\n")
    return 0 if drawn else 1


if __name__ == "__main__":
    sys.exit(main())
