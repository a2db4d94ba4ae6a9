"""The chart: memory of the worker processes over time, both sides on the same axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from outlive.demo.results import Result

_COLOURS = {"ray": "#d1495b", "outlive": "#00798c"}
_LABELS = {"ray": "ray.put", "outlive": "outlive, its keeper and catalog included"}
_ALL = ("worker", "keeper", "catalog")
_PLACES = {  # heights of the labels: apart from each other at any distance
    "work done": "above left",
    "producer killed": "above right",
    "keeper killed": "below right",
    "catalog killed": "below right",
    "both are back": "above right",
}
_WIDTH = 9.5  # inches
_LABEL_ROOM = 0.16  # of the time axis: the width of a label


def draw(sides: list[Result], path: Path) -> None:
    """Write the chart as PNG."""
    figure = Figure(figsize=(_WIDTH, 5.2), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    longest = max((sample.seconds for side in sides for sample in side.samples), default=1.0)
    for side in sides:
        _line(axes, side)
        _events(axes, side, longest)
    figure.suptitle("Leaky tasks that keep their arrays: what Ray's workers hold", x=0.01, ha="left", weight="bold")
    axes.set_xlabel("seconds since the first task was submitted")
    axes.set_ylabel("unique memory (USS) of all worker processes, MiB")
    axes.set_xlim(0, longest * (1 + _LABEL_ROOM))
    top = axes.get_ylim()[1] * 1.08
    axes.set_ylim(-0.13 * top, top)  # room for labels below low values
    axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick <= top])
    axes.axhline(0, color="#888888", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e3e3e3", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=3, frameon=False)
    figure.savefig(path)


def _line(axes: Any, side: Result) -> None:
    colour = _COLOURS[side.side]
    times = [sample.seconds for sample in side.samples]
    axes.plot(times, _mebibytes(side, _ALL), color=colour, linewidth=2.2, label=_LABELS[side.side])
    tending = _mebibytes(side, ("keeper", "catalog"))
    if any(tending):
        axes.plot(times, tending, color=colour, linewidth=1.2, linestyle=":", label="keeper and catalog alone")


def _events(axes: Any, side: Result, longest: float) -> None:
    """Dots at events. Events that are too close for labels of their own share one."""
    times, heights = [sample.seconds for sample in side.samples], _mebibytes(side, _ALL)
    labels: list[tuple[str, float, float, list[str]]] = []
    for seconds, event in side.events:
        if event not in _PLACES or not times:
            continue
        height = float(np.interp(seconds, times, heights))
        axes.plot([seconds], [height], "o", color=_COLOURS[side.side], markersize=6, markeredgecolor="white", zorder=3)
        if labels and labels[-1][0] == _PLACES[event] and seconds - labels[-1][1] < longest / 20:
            place, _, _, said = labels.pop()
            labels.append((place, seconds, height, [*said, _said(side, event)]))
        else:
            labels.append((_PLACES[event], seconds, height, [_said(side, event)]))
    for place, seconds, height, said in labels:
        axes.annotate(
            "\n".join(said),
            (seconds, height),
            (-2 if "left" in place else 4, 7 if "above" in place else -7),
            textcoords="offset points",
            ha="right" if "left" in place else "left",
            va="bottom" if "above" in place else "top",
            color=_COLOURS[side.side],
            fontsize=9,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
        )


def _said(side: Result, event: str) -> str:
    reading = side.readings.get(event.removesuffix(" killed"))
    return event if reading is None else f"{event}: {reading.lost} lost"


def _mebibytes(side: Result, roles: tuple[str, ...]) -> list[float]:
    return [
        sum(process.uss for process in sample.processes if process.role in roles) / (1 << 20) for sample in side.samples
    ]
