"""What operations and ticks ask of others, in a played cluster of up to 1,000 nodes and a million arrays."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from typing import Any

from benchmarks.line import Line
from benchmarks.world import Counted
from outlive.testing.simulation.several import SAME_ORDER

NAME = "world"
ABOUT = "calls, bytes and the catalog's CPU time of each operation and tick: 1 to 1,000 nodes, 10^3 to 10^6 arrays"
CALLS, SENT, HEAD_CALLS, HEAD_SENT, CPU = "calls", "bytes sent", "calls of the head", "bytes from the head", "CPU"
_UNITS = {CALLS: "calls", SENT: "B", HEAD_CALLS: "calls", HEAD_SENT: "B", CPU: "s"}
_BASE = 10, 10**3  # nodes, where there are others; and arrays
_SLACK = 1.1  # longer numbers in keys and versions

Point = tuple[int, int]  # nodes and arrays


def run(quick: bool) -> list[Line]:
    nodes = (1, 10, 30) if quick else (1, 10, 100, 1000)
    arrays = (10**3, 10**4) if quick else (10**3, 10**4, 10**5, 10**6)
    found = [counted for count in nodes for counted in _world(count, arrays)]
    lines = []
    for what in dict.fromkeys(one.what for one in found):
        at = {(one.nodes, one.arrays): one for one in found if one.what == what}
        lines += _lines(what, at, (nodes[-1], arrays[-1]))
    return lines


def _world(nodes: int, arrays: tuple[int, ...]) -> list[Counted]:
    """In a process of its own, which is played by a simulation."""
    command = [sys.executable, "-m", "benchmarks.world", "--nodes", str(nodes), "--arrays", *map(str, arrays)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=os.environ | SAME_ORDER)
    return [Counted(*json.loads(line)) for line in done.stdout.splitlines()]


def _lines(what: str, at: dict[Point, Counted], largest: Point) -> list[Line]:
    """All are kept, for the curve; of each quantity that of the largest world is shown, beside that of the least."""
    lines = []
    for name, unit in _UNITS.items():
        for (nodes, arrays), counted in at.items():
            state = f"{nodes} node{'s' if nodes > 1 else ''}, 10^{len(str(arrays)) - 1} arrays"
            line = Line(NAME, f"{what}: {name}", state, _samples(counted, name), unit=unit, shown=False)
            line.mean = what.startswith("tick")  # some of it is not done in each
            if (nodes, arrays) == largest and any(line.outlive):
                line.shown = True
                _compare(line, _typical(at[_BASE], name), name)
            lines.append(line)
    return lines


def _compare(line: Line, before: float, name: str) -> None:
    now = statistics.fmean(line.outlive) if line.mean else statistics.median(line.outlive)
    few = f"{_BASE[0]} nodes and {_BASE[1]:,} arrays"
    line.note = f"{now / before:.2f} times that with {few}" if before else f"none with {few}"
    if name in {CALLS, SENT}:
        line.asked, line.reached = "no more than there", now <= before * (1 if name == CALLS else _SLACK)


def _samples(counted: Counted, name: str) -> list[float]:
    samples: dict[str, Any] = {
        CALLS: counted.calls,
        SENT: counted.sent,
        HEAD_CALLS: counted.head_calls,
        HEAD_SENT: counted.head_sent,
        CPU: counted.seconds,
    }
    return [float(one) for one in samples[name]]


def _typical(counted: Counted, name: str) -> float:
    samples = _samples(counted, name)
    return statistics.fmean(samples) if counted.what.startswith("tick") else statistics.median(samples)
