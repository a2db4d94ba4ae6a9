"""The report of `outlive workers` as text: a table as wide as the terminal, totals, and the settings."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from outlive.cli.text import printable
from outlive.table import columns
from outlive.units import count

if TYPE_CHECKING:
    from outlive.workers.rows import Report, Total, Worker

BY = ("node", "job", "function")
_LEAST = 44  # columns for the reasons in full; with fewer they are named, and explained below the table
_NAMED = 14  # columns for their names
# the columns that are left out if there is no room, in this order
_LEFT_OUT = ("TITLE", "SHARED", "JOB", "OWNS", "IDLE FOR", "NODE")
_WIDE = 120
Paint = Callable[[str, str], str]
_STATES = {"running": "green", "idle": "yellow", "leaving": "cyan", "actor": "blue", "io": "dim", "silent": "red"}
_REASONS = {  # no setting of the reaper helps against the red ones
    "owns objects": "red",
    "owns objects, max_calls spent": "red",
    "holds borrowed refs": "red",
    "no answer": "red",
    "reaper off": "yellow",
    "job ended": "yellow",
    "waits for its tasks": "yellow",
}
_GROWTH = {"+": "red", "-": "green"}
_LONGEST = 24  # letters of a function's name; half as many on a narrow terminal


def plain(text: str, _style: str) -> str:
    """A part of the report without colour."""
    return text


def lines(
    report: Report, by: str | None, before: Mapping[str, int] | None, room: int | None, paint: Paint = plain
) -> Iterator[str]:
    """The report, header first.

    Parameters
    ----------
    by
        Totals of each `node`, `job` or `function` in place of the workers.
    before
        Unique memory of each worker id at the last look, if there was one.
    room
        Columns; None: as many as it takes.
    paint
        Gives a part of a line a style, as "red" or "bold". It must not change what is seen of it.
    """
    if not report.workers:
        yield "no worker processes"
    elif by is None:
        yield from _workers(report, before, room, paint)
    else:
        totals = {"node": report.by_node, "job": report.by_job, "function": report.by_function}[by]()
        header, *rows = _totals(by, totals, report, room)
        yield paint(header, "bold")
        yield from rows
    yield ""
    for line in _about(report):
        style = "dim" if line.startswith("settings on ") else ""
        yield from (paint(part, style) for part in _wrapped(line, room))


def _cells(report: Report, before: Mapping[str, int] | None, room: int | None) -> dict[str, list[str]]:
    """The columns but the last, by their header."""
    from outlive.units import format_duration

    workers, longest = report.workers, None if room is None else _LONGEST if room >= _WIDE else _LONGEST // 2
    cells: dict[str, list[str]] = {}
    if len(report.nodes) > 1:
        cells["NODE"] = [worker.node_id[:8] for worker in workers]
    cells["PID"] = [str(worker.pid) for worker in workers]
    if len({worker.job for worker in workers}) > 1 or room is None:
        cells["JOB"] = [worker.job or "-" for worker in workers]
    cells["STATE"] = [worker.state for worker in workers]
    cells["IDLE FOR"] = ["-" if one.idle_for is None else format_duration(one.idle_for) for one in workers]
    cells["UNIQUE"] = [_size(worker.unique) for worker in workers]
    if before is not None:
        cells["GROWTH"] = [_growth(worker, before) for worker in workers]
    cells["SHARED"] = [_size(worker.shared) for worker in workers]
    cells["OWNS"] = [str(worker.owned) for worker in workers]
    cells["LAST TASK"] = [_cut(printable(one.function or "-"), longest) for one in workers]
    cells["TITLE"] = [printable(worker.title or "?") for worker in workers]
    for name in _LEFT_OUT if room is not None else ():
        taken = sum(2 + max(map(len, (header, *column))) for header, column in cells.items())
        if room is not None and room - taken < (_LEAST if name in _LEFT_OUT[:2] else _NAMED):
            cells.pop(name, None)
    return cells


def _workers(report: Report, before: Mapping[str, int] | None, room: int | None, paint: Paint) -> Iterator[str]:
    workers, cells = report.workers, _cells(report, before, room)
    right = {i for i, name in enumerate(cells) if name in {"PID", "IDLE FOR", "UNIQUE", "GROWTH", "SHARED", "OWNS"}}
    header, *rows = columns([*cells, ""], [[*row, ""] for row in zip(*cells.values(), strict=True)], right)
    width = None if room is None else room - len(header)
    named = width is not None and width < _LEAST
    yield paint(header + ("WHY" if named else "WHY IT IS STILL HERE"), "bold")
    for worker, row, growth in zip(workers, rows, cells.get("GROWTH", [""] * len(rows)), strict=True):
        why = ", ".join(one.kind for one in worker.reasons) if named else "; ".join(one.text for one in worker.reasons)
        first, *more = [why] if width is None else textwrap.wrap(why, max(width, 12)) or [""]
        style = _REASONS.get(worker.reasons[0].kind, "") if worker.reasons else ""
        line = row if first else row.rstrip()
        end = header.find("GROWTH") + len("GROWTH")
        line = _painted(line, end - len(growth), growth, _GROWTH.get(growth[:1], ""), paint)
        line = _painted(line, header.find("STATE"), worker.state, _STATES[worker.state], paint)
        yield line + paint(first, style)
        yield from (" " * len(header) + paint(part, style) for part in more)
    if named:
        yield ""
        yield from _told(workers, room)


def _painted(line: str, begin: int, cell: str, style: str, paint: Paint) -> str:
    """A line, with the cell that begins there in a style. Call it from the right to the left."""
    return line[:begin] + paint(cell, style) + line[begin + len(cell) :] if style else line


def _told(workers: Sequence[Worker], room: int | None) -> Iterator[str]:
    """Each reason that the table only names, in full. If its numbers differ, those of one worker."""
    found: dict[str, dict[str, int]] = {}
    for worker in workers:
        for one in worker.reasons:
            found.setdefault(one.kind, {}).setdefault(one.text, worker.pid)
    for kind, texts in found.items():
        (text, pid), *others = texts.items()
        text = text.removeprefix(f"{kind}: ")
        yield from _wrapped(f"{kind}{f' (pid {pid})' if others else ''}: {text}", room)


def _size(number: int | None) -> str:
    from outlive.units import format_size

    return "?" if number is None else format_size(number)


def _growth(worker: Worker, before: Mapping[str, int]) -> str:
    """The unique memory that a worker has gained since the last look."""
    if worker.unique is None or worker.worker_id not in before:
        return "-"
    change = worker.unique - before[worker.worker_id]
    return f"{'+' if change > 0 else '-' if change < 0 else ''}{_size(abs(change))}"


def _totals(by: str, totals: list[Total], report: Report, room: int | None) -> Iterator[str]:
    from outlive.units import format_size

    rows = []
    for total in sorted(totals, key=lambda one: -one.idle_unique):
        name = total.name[:8] if by == "node" else _cut(printable(total.name), None if room is None else 40)
        about = [str(total.workers), str(total.idle), format_size(total.idle_unique), format_size(total.unique)]
        rows.append([name, *about, str(total.owned), printable(report.entrypoints.get(total.name, ""))])
    header = [by.upper(), "WORKERS", "IDLE", "IDLE UNIQUE", "UNIQUE", "OWNS", "ENTRYPOINT" if by == "job" else ""]
    for line in columns(header, rows, right={1, 2, 3, 4, 5}):
        yield _cut(line.rstrip(), room)


def _about(report: Report) -> Iterator[str]:
    """Totals, missing answers, and the settings: once for all nodes with the same."""
    from outlive.units import format_size

    for label, totals in (("node", report.by_node()), ("job", report.by_job())):
        for total in totals:
            entrypoint = report.entrypoints.get(total.name, "") if label == "job" else ""
            started = f" ({_cut(printable(entrypoint), 60)})" if entrypoint else ""
            yield (
                f"{label} {total.name[:8]}{started}: {count(total.workers, 'worker')}, {total.idle} idle with "
                f"{format_size(total.idle_unique)} of {format_size(total.unique)} unique, "
                f"{count(total.owned, 'object')} owned"
            )
    alike: dict[str, list[tuple[str, int]]] = {}
    for node in report.nodes:
        unseen = sum(worker.node_id == node.node_id and worker.unique is None for worker in report.workers)
        if unseen and not node.error:
            yield (
                f"node {node.node_id[:8]}: the memory of {count(unseen, 'worker')} is not known here: another machine. "
                "--exact asks there, by a task that makes the node busy for a moment"
            )
        if node.error:
            yield f"node {node.node_id[:8]}: {node.error}"
        reaper = ", ".join(f"{setting.name}={setting.value} ({setting.source})" for setting in node.settings[:3])
        known = "" if node.settings_known else " (the environment could not be read: defaults may be overridden there)"
        alike.setdefault(reaper + known, []).append((node.node_id[:8], node.keeps))
    for settings, nodes in alike.items():
        where = (
            f"node {nodes[0][0]}" if len(nodes) == 1 else f"{len(nodes)} nodes ({', '.join(name for name, _ in nodes)})"
        )
        least, most = min(keeps for _, keeps in nodes), max(keeps for _, keeps in nodes)
        keeps = str(least) if least == most else f"{least} to {most}"
        yield f"settings on {where}: {settings}; keeps {keeps} now{' each' if len(nodes) > 1 else ''}"


def _wrapped(line: str, room: int | None) -> list[str]:
    return [line] if room is None else textwrap.wrap(line, room, subsequent_indent="  ", break_on_hyphens=False)


def _cut(text: str, room: int | None) -> str:
    return text if room is None or len(text) <= room else text[: room - 3] + "..."
