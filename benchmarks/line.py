"""A line of the table: what was measured, how it compares, and what was asked of it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from typing import Any

from benchmarks.page_size import SMALL, pages
from benchmarks.timing import OUTLIVE, RAY, Samples

_UNITS = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10}


def size(nbytes: int) -> str:
    """As lines have it, such as "16 MiB"."""
    unit, factor = next((unit, factor) for unit, factor in _UNITS.items() if nbytes >= factor)
    return f"{nbytes // factor} {unit}"


def nbytes(text: str) -> int:
    """The bytes of such a size."""
    count, unit = text.split()
    return int(count) * _UNITS[unit]


@dataclass
class Line:
    """`ray` and `outlive` are raw samples in `unit`; `ray` is empty if there is no counterpart."""

    row: str
    what: str
    state: str  # cold or warm, and what that means here
    outlive: list[float]
    ray: list[float] = field(default_factory=list)
    unit: str = "s"  # seconds; "B" bytes; "s per s" a share of the time; "calls" a number
    asked: str = ""  # empty: for information
    reached: bool | None = None
    note: str = ""
    compared: bool = True  # the two columns are the same operation
    shown: bool = True  # in the table; else in the file and the curves alone
    mean: bool = False  # what is typical of the samples is their mean, as some of it is done seldom; else the median
    pages: str = field(default_factory=pages)  # of shared memory: "4 KiB" or "2 MiB"
    measured_at: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))

    @property
    def ratio(self) -> float | None:
        """Ray's median over outlive's: how many times less outlive takes."""
        mine = statistics.median(self.outlive)
        return statistics.median(self.ray) / mine if self.ray and self.compared and mine > 0 else None

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> Line:
        """Of a file of results. The first ones did not say which pages there were: these were small."""
        known = {field.name for field in fields(cls)}
        return cls(**{"pages": SMALL, **{name: value for name, value in line.items() if name in known}})

    def as_json(self) -> dict[str, Any]:
        summary = {name: summarise(samples) for name, samples in ((RAY, self.ray), (OUTLIVE, self.outlive)) if samples}
        return {"ratio": self.ratio, "summary": summary, **asdict(self)}


def summarise(samples: Sequence[float]) -> dict[str, float]:
    shares = {"p90": percentile(samples, 0.9), "p99": percentile(samples, 0.99)}
    return {"n": len(samples), "median": statistics.median(samples), **shares}


def percentile(samples: Sequence[float], share: float) -> float:
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def times_faster(row: str, what: str, state: str, samples: Samples, asked: float | None = None, note: str = "") -> Line:
    """A line that asks for outlive to be `asked` times as fast as Ray (None: for information)."""
    line = Line(row, what, state, samples[OUTLIVE], samples[RAY], note=note)
    if asked is not None:
        line.asked = times_as_fast(asked)
        line.reached = (line.ratio or 0) >= asked
    return line


def times_as_fast(asked: float) -> str:
    """What is asked, in words."""
    return "as fast" if asked == 1 else f"{asked:g} times as fast"


def at_most(line: Line, limit: float, asked: str) -> Line:
    """Ask for a median of outlive's under `limit`, in the line's unit."""
    line.asked, line.reached = asked, statistics.median(line.outlive) < limit
    return line


def hardest(lines: list[Line], asked: float) -> list[Line]:
    """Of several ways to do a thing with Ray, ask for `asked` times of the one that favours Ray most."""
    chosen = min(lines, key=lambda line: line.ratio or 0)
    chosen.asked, chosen.reached = times_as_fast(asked), (chosen.ratio or 0) >= asked
    return lines
