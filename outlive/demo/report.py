"""The report at the end of the demo: a table, and one sentence that follows from the numbers."""

from __future__ import annotations

import statistics

from rich import box
from rich.table import Table

from outlive.demo.results import Leftover, Reading, Result
from outlive.units import count

_NONE = "-"


def table(plain: Result, kept: Result) -> Table:
    """The two sides next to each other."""
    shown = Table(box=box.SIMPLE_HEAD, title="The same pipeline twice", title_style="bold", title_justify="left")
    shown.add_column("")
    shown.add_column("ray.put", justify="right")
    shown.add_column("outlive", justify="right")
    for label, left, right in rows(plain, kept):
        shown.add_row(label, left, right, end_section=label.startswith(("  after both", "  keeper")))
    return shown


def rows(plain: Result, kept: Result) -> list[tuple[str, str, str]]:
    """The table's cells."""
    both = plain, kept
    cells: list[tuple[str, list[str]]] = [
        ("arrays made", [f"{len(side.puts)}, {_size(side.nbytes)}" for side in both]),
        ("readable and bit-identical", ["", ""]),
        *(
            (f"  {label}", [_reading(side.readings.get(name)) for side in both])
            for name, label in (
                ("work", "after the work"),
                ("producer", "after a producer was killed"),
                ("keeper", "after the keeper was killed"),
                ("catalog", "after the catalog was killed"),
                ("back", "after both had restarted"),
            )
        ),
        ("left when all is quiet", ["", ""]),
        ("  spent workers", [f"{side.spent_left} of {side.spent}" for side in both]),
        ("  workers in all", [_workers(side.left) for side in both]),
        ("  their memory (USS)", [_size(side.left.workers_uss) if side.left else _NONE for side in both]),
        ("  keeper and catalog (USS)", [_tending(side.left) for side in both]),
        ("time to put, median", [_time(statistics.median(side.puts)) for side in both]),
        ("time to put, all", [_time(sum(side.puts)) for side in both]),
        ("time of a first read, median", [_first_read(side) for side in both]),
    ]
    return [(label, left, right) for label, (left, right) in cells]


def notes(plain: Result, kept: Result) -> list[str]:
    """Notes below the table."""
    said = ["Spent: has served its max_calls, and Ray wants it to exit. Ray keeps some others idle for the next task."]
    said += [f"The producer killed with {_name(side)}: {side.killed}." for side in (plain, kept)]
    for side in (plain, kept):
        if side.left is not None and not side.left.settled:
            said.append(f"With {_name(side)}, workers were still coming and going when they were counted.")
        errors = {what: n for reading in side.readings.values() for what, n in reading.errors.items()}
        if errors:
            said.append(f"With {_name(side)}, reads failed with " + ", ".join(sorted(errors)) + ".")
    return said


def conclusion(plain: Result, kept: Result) -> str:
    """The outcome in one sentence."""
    return f"With ray.put, {_outcome(plain)}; with outlive, {_outcome(kept)}."


def _outcome(side: Result) -> str:
    left = side.left
    if left is None or "producer" not in side.readings:
        return "the run did not come to its end"
    holdings = (
        f"{count(left.workers, 'worker')} held {_size(left.workers_uss)}" if left.workers else "no worker was left"
    )
    if left.tending:
        holdings += f", keeper and catalog held {_size(left.tending_uss)}"
    killed = ["a producer", *(f"the {name}" for name in ("keeper", "catalog") if name in side.readings)]
    deaths = f"{', '.join(killed[:-1])} and {killed[-1]} were" if len(killed) > 1 else f"{killed[0]} was"
    worst = max(side.readings.values(), key=lambda reading: (reading.lost, reading.arrays))
    fate = f"all {worst.arrays} arrays were read back bit-identical"
    if worst.lost:
        fate = f"{worst.lost} of {count(worst.arrays, 'array')} {'was' if worst.lost == 1 else 'were'} lost"
    spent = f"{side.spent_left} of {count(side.spent, 'spent worker')} stayed"
    return f"{spent} ({holdings}), and {fate} after {deaths} killed"


def _name(side: Result) -> str:
    return "ray.put" if side.side == "ray" else side.side


def _reading(reading: Reading | None) -> str:
    return "n/a" if reading is None else f"{reading.identical} of {reading.arrays}"


def _workers(left: Leftover | None) -> str:
    return _NONE if left is None else str(left.workers)


def _tending(left: Leftover | None) -> str:
    return "n/a" if left is None or not left.tending else _size(left.tending_uss)


def _first_read(side: Result) -> str:
    return _time(statistics.median(side.first_reads)) if side.first_reads else _NONE


def _size(nbytes: int) -> str:
    return "0" if not nbytes else f"{nbytes / (1 << 20):.0f} MiB"


def _time(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} us"
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
