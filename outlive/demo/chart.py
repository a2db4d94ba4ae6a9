"""The chart: memory of the worker processes over time, and that of the arrays, both sides on the same axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from outlive.demo.local_ray import CPUS
from outlive.demo.pipeline import CALLS
from outlive.demo.results import Result

_COLOURS = {"ray": "#d1495b", "outlive": "#00798c"}
_LABELS = {"ray": "ray.put: its workers", "outlive": "outlive: its workers,\nkeeper and catalog"}
_ARRAYS = "arrays in shared\nmemory (dashed)"
_PEAK = f"{CPUS} workers at a time: each leaves\nafter {CALLS} calls, with all that it leaked"
_DONE = "work done"
_SHOWN = (_DONE, "producer killed", "keeper killed", "catalog killed", "both are back")
_LABEL = 0.21  # of the time axis: the width of a label
_LINE = 0.042  # of the other axis: the height of a line of text


def draw(sides: list[Result], path: Path) -> None:
    """Write the chart as PNG."""
    figure = Figure(figsize=(9.5, 5.2), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    times = [sample.seconds for side in sides for sample in side.samples]
    longest = max(times, default=1.0)
    top = 1.12 * max((height for side in sides for height in _workers(side)), default=1.0)
    figure.suptitle(
        "Leaky tasks that keep their arrays: the memory that Ray's workers hold", x=0.01, ha="left", weight="bold"
    )
    axes.set_xlabel("seconds since the first task was submitted")
    axes.set_ylabel("MiB: unique memory (USS) of all worker processes")
    axes.set_xlim(0, longest)
    axes.set_ylim(0, top)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e3e3e3", linewidth=0.8)
    axes.set_axisbelow(True)
    ends = []  # time, height, label and colour of each line's end
    for side in sides:
        _lines(axes, side)
        _events(axes, side, longest)
        if side.samples:
            ends.append((side.samples[-1].seconds, _workers(side)[-1], _LABELS[side.side], _COLOURS[side.side]))
    if times:
        last = max(sides, key=lambda side: side.samples[-1].seconds if side.samples else 0)
        ends.append((last.samples[-1].seconds, _arrays(last)[-1], _ARRAYS, "#555555"))
    _name_lines(axes, ends, top)
    figure.savefig(path)


def _lines(axes: Any, side: Result) -> None:
    colour, times = _COLOURS[side.side], [sample.seconds for sample in side.samples]
    axes.plot(times, _workers(side), color=colour, linewidth=2.2, clip_on=False)
    axes.plot(times, _arrays(side), color=colour, linewidth=1.4, linestyle="--")


def _name_lines(axes: Any, ends: list[tuple[float, float, str, str]], top: float) -> None:
    """Each line's label beside its end. Those at the edge are kept apart."""
    free = 0.0  # the least height that no label at the edge has
    edge = max((seconds for seconds, *_ in ends), default=0.0)
    for seconds, height, label, colour in sorted(ends, key=lambda end: end[1]):
        lines = label.count("\n") + 1
        middle = max(height, free + lines * _LINE * top / 2) if seconds == edge else height
        if seconds == edge:
            free = middle + lines * _LINE * top / 2
        _write(axes, label, (seconds, middle), (6, 0), colour, ha="left", va="center", weight="bold")


def _events(axes: Any, side: Result, longest: float) -> None:
    """Dots at events, with one label for the end of the work, and one for all that was killed after it."""
    times, heights = [sample.seconds for sample in side.samples], _workers(side)
    shown = [(seconds, event) for seconds, event in side.events if event in _SHOWN and times]
    if not shown:
        return
    colour, places = _COLOURS[side.side], [float(np.interp(seconds, times, heights)) for seconds, _ in shown]
    axes.plot(
        [seconds for seconds, _ in shown], places, "o", color=colour, markeredgecolor="white", zorder=3, clip_on=False
    )
    if side.side == "outlive":
        peak = int(np.argmax(heights))
        _write(axes, _PEAK, (times[peak], heights[peak]), (4, 4), colour, ha="right", va="bottom")
    for (seconds, event), height in zip(shown, places, strict=True):
        if event == _DONE:
            _write(axes, event, (seconds, height), (4, 6), colour, ha="left", va="bottom")
    killed = [(seconds, _said(side, event)) for seconds, event in shown if event != _DONE]
    if killed:
        first, last = killed[0][0], killed[-1][0]
        left = first + _LABEL * longest < longest
        begin = first if left else last - _LABEL * longest
        over = [height for seconds, height in zip(times, heights, strict=True) if begin <= seconds <= last]
        highest = max([*over, float(np.interp(first, times, heights))])
        text = "\n".join(said for _, said in killed)
        _write(
            axes, text, (first if left else last, highest), (4, 4), colour, ha="left" if left else "right", va="bottom"
        )


def _write(
    axes: Any, text: str, place: tuple[float, float], offset: tuple[float, float], colour: str, **how: str
) -> None:
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
    axes.annotate(
        text,
        place,
        offset,
        textcoords="offset points",
        color=colour,
        fontsize=9,
        bbox=box,
        annotation_clip=False,
        **how,
    )


def _said(side: Result, event: str) -> str:
    reading = side.readings.get({"both are back": "back"}.get(event, event.removesuffix(" killed")))
    return event if reading is None else f"{event}: {reading.lost} of {reading.arrays} lost"


def _workers(side: Result) -> list[float]:
    return [sum(process.uss for process in sample.processes) / (1 << 20) for sample in side.samples]


def _arrays(side: Result) -> list[float]:
    return [sample.shared / (1 << 20) for sample in side.samples]
