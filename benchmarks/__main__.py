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

from rich.console import Console

from benchmarks import machine, pages, report
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
        zarr,
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
    lines: list[Line] = []
    failed = 0
    for name, (seconds, found) in measure(arguments.only or list(ABOUT), arguments.pages, quick=arguments.quick):
        console.print(f"[dim]{name}: {'failed, ' if found is None else ''}{seconds:.0f} s[/dim]", highlight=False)
        lines += found or []
        failed += found is None
    if lines:
        lines.sort(key=lambda line: list(ABOUT).index(line.row))
        report.show(lines, console)
        path = arguments.output or report.new_path(form="quick" if arguments.quick else "")
        report.save(lines, path, quick=arguments.quick)
        console.print(f"raw timings: {path}", highlight=False, soft_wrap=True)
        drawn = (
            report.draw(lines, path.with_suffix(".png")),
            report.draw_nodes(lines, path.with_name(f"{path.stem}-nodes.png")),
            report.draw_align(lines, path.with_name(f"{path.stem}-align.png")),
            report.draw_world(lines, path.with_name(f"{path.stem}-world.png")),
            report.draw_sizes(lines, path.with_name(f"{path.stem}-sizes.png")),
            report.draw_remote(lines, path.with_name(f"{path.stem}-remote.png")),
        )
        for curve in filter(None, drawn):
            console.print(f"curve: {curve}", highlight=False, soft_wrap=True)
    return 1 if failed else 0


def measure(names: list[str], sizes: str, *, quick: bool) -> Iterator[tuple[str, tuple[float, list[Line] | None]]]:
    """The lines of each row, None if it failed, and the seconds that it took."""
    paged = [name for name in names if name in PAGED]
    if sizes != LARGE:
        yield from _measure(names, quick=quick)
    if sizes != HERE and paged:
        found = pages.measure(paged, quick=quick)
        for _ in range(2):  # the lines, then whether a row failed
            yield f"pages of {machine.LARGE}", _timed(lambda: next(found, []))


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
    parser.add_argument("--quick", action="store_true", help="few repetitions on one cluster: to see that it works")
    parser.add_argument(
        "--pages",
        choices=(BOTH, HERE, LARGE),
        default=BOTH,
        help="of shared memory: as /dev/shm has them here; of 2 MiB, on a private mount (needs root or user"
        " namespaces); or rows of large arrays with both (the default)",
    )
    parser.add_argument("--list", action="store_true", help="what the rows are")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write the JSON there; rows of an existing file that are not measured now stay",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
