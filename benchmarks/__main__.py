"""`python -m benchmarks`: measure all rows, or some, side by side with Ray; print the table; keep the raw timings."""

from __future__ import annotations

import argparse
import contextlib
import functools
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from benchmarks import draw, page_size, pages, report
from benchmarks.cluster import GIB, cluster
from benchmarks.line import Line
from benchmarks.rows import (
    actors,
    align,
    calls,
    checksums,
    copies,
    create,
    data,
    get,
    guard,
    guard_real,
    huge,
    live,
    long,
    many,
    memory,
    named,
    nodes,
    nodes_cost,
    nodes_lost,
    put,
    readers,
    remote,
    save,
    scale,
    sizes,
    soak,
    spilled,
    values,
    workers,
    world,
    zarr,
)

BOTH, HERE, LARGE = "both", "here", "large"  # values of --pages
SHARED = {
    row.NAME: row for row in (get, live, named, put, values, memory, spilled, zarr, data, save)
}  # on one cluster, in turn
FRESH = {
    row.NAME: row for row in (sizes, workers, long, create, actors, many, soak, scale)
}  # each on a cluster of its own
ALONE = {row.NAME: row for row in (align, checksums, copies, huge, world, guard)}  # without Ray
SEVERAL = {
    row.NAME: row for row in (nodes, remote, readers, calls, nodes_lost, nodes_cost, guard_real)
}  # each on several raylets
PAGED = {
    row.NAME
    for row in (
        align,
        copies,
        get,
        live,
        put,
        values,
        memory,
        spilled,
        zarr,
        data,
        save,
        sizes,
        workers,
        long,
        create,
        nodes,
        remote,
        readers,
    )
}  # large arrays in shared memory: measured with pages of both sizes
ABOUT = {name: row.ABOUT for name, row in (*SHARED.items(), *FRESH.items(), *ALONE.items(), *SEVERAL.items())}


def main() -> int:
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a run that is terminated leaves nothing in shared memory
    console = Console() if sys.stdout.isatty() else Console(width=200)
    if arguments.list:
        for name, about in ABOUT.items():
            console.print(f"{name:11} {about}", highlight=False)
        return 0
    plan = planned(arguments.only or list(ABOUT), arguments.pages or (HERE if arguments.quick else BOTH))
    if plan.said:
        console.print(plan.said, highlight=False, soft_wrap=True)
    lines: list[Line] = []
    failed = int(plan.failed)
    for name, (seconds, found) in measure(plan, quick=arguments.quick):
        console.print(f"[dim]{name}: {'failed, ' if found is None else ''}{seconds:.0f} s[/dim]", highlight=False)
        lines += found or []
        failed += found is None
    if lines:
        lines.sort(key=lambda line: list(ABOUT).index(line.row))
        report.show(lines, console)
        path = arguments.output or report.new_path(form="quick" if arguments.quick else "")
        report.save(lines, path, quick=arguments.quick)
        console.print(f"raw timings: {path}", highlight=False, soft_wrap=True)
        for curve in draw.curves(path):
            console.print(f"curve: {curve}", highlight=False, soft_wrap=True)
    return 1 if failed or not lines else 0


class Plan(NamedTuple):
    """Which rows are measured where, and what is to be said of that."""

    here: list[str]
    private: list[str]  # on a private mount with large pages
    said: str = ""
    failed: bool = False


def planned(names: list[str], sizes: str) -> Plan:
    """Rows of large arrays are measured on a private mount too, if there can be one and it makes a difference."""
    paged = [name for name in names if name in PAGED]
    here = [] if sizes == LARGE else names
    if sizes == HERE:
        return Plan(here, [])
    if not paged:
        said = "none of these rows is measured with pages of both sizes"
        return Plan(here, [], said, failed=True) if sizes == LARGE else Plan(here, [])
    if page_size.pages() == page_size.LARGE:
        said = f"shared memory has pages of {page_size.LARGE} here, so each row is measured once"
        return Plan(here or paged, [], said)
    if why := pages.refused():
        return Plan(here, [], f"rows with pages of {page_size.LARGE} are left out: {why}", failed=sizes == LARGE)
    return Plan(here, paged)


def measure(plan: Plan, *, quick: bool) -> Iterator[tuple[str, tuple[float, list[Line] | None]]]:
    """The lines of each row, None if it failed, and the seconds that it took."""
    yield from _measure(plan.here, quick=quick)
    if plan.private:
        found = pages.measure(plan.private, quick=quick)
        for _ in range(2):  # the lines, then whether a row failed
            yield f"pages of {page_size.LARGE}", _timed(lambda: next(found, []))


def _measure(names: list[str], *, quick: bool) -> Iterator[tuple[str, tuple[float, list[Line] | None]]]:
    for name in names:
        if row := {**ALONE, **SEVERAL}.get(name):
            yield name, _timed(functools.partial(row.run, quick))
    if {*ALONE, *SEVERAL} >= set(names):
        return
    with cluster(2 * GIB) if quick else contextlib.nullcontext():  # starting Ray takes longer than the quick rows do
        for name in names:
            if name in FRESH:
                yield name, _timed(functools.partial(FRESH[name].run, quick))
        shared = [name for name in names if name in SHARED]
        if shared:
            with cluster() as store:
                for name in shared:
                    yield name, _timed(functools.partial(SHARED[name].run, store, quick))


def _timed(run: Callable[[], list[Line]]) -> tuple[float, list[Line] | None]:
    begin = time.monotonic()
    try:
        lines: list[Line] | None = run()
    except Exception:
        traceback.print_exc()
        lines = None
    return time.monotonic() - begin, lines


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="ROW", choices=ABOUT, help="these rows; see --list")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="few repetitions on one cluster: to see that it works, in about six minutes",
    )
    parser.add_argument(
        "--pages",
        choices=(BOTH, HERE, LARGE),
        help="of shared memory: as /dev/shm has them here (the default with --quick); of 2 MiB, on a private mount"
        " (needs root or user namespaces); or rows of large arrays with both (the default, as far as it can be done)",
    )
    parser.add_argument("--list", action="store_true", help="what the rows are")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write the JSON there; lines of an existing file stay if that row is not measured now, with those pages",
    )
    arguments = parser.parse_args()
    if arguments.output and (reason := report.unfit(arguments.output, quick=arguments.quick)):
        parser.error(reason)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
