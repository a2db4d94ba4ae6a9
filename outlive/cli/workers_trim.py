"""The command `outlive workers trim`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from outlive.cli.failures import NOT_SO, explained
from outlive.cli.options import Address, AsJson
from outlive.cli.text import hanging, print_json, styled, width
from outlive.table import columns
from outlive.units import count

if TYPE_CHECKING:
    from outlive.workers.trimming import Trimmed


_STYLES = {"left": "green", "would leave": "cyan", "stays": "yellow", "not needed": "green", "spared": "dim"}
_LEAST = 16  # columns of the outcomes


def register(app: typer.Typer) -> None:
    """Add the command to `outlive workers`."""
    epilog = "Exit codes: 0 the bounds hold or would hold; 1 a worker stayed, or was not seen; 2 usage, no cluster."
    app.command(epilog=epilog)(explained(trim))


def trim(
    max_idle: Annotated[
        int | None, typer.Option("--max-idle", metavar="N", min=0, help="Idle workers that may stay on each node.")
    ] = None,
    max_memory: Annotated[
        str | None, typer.Option("--max-memory", metavar="SIZE", help="Unique memory above which one leaves, as 2GiB.")
    ] = None,
    min_idle: Annotated[
        int, typer.Option("--min-idle", metavar="N", min=0, help="Idle workers that stay on each node.")
    ] = 0,
    job: Annotated[str | None, typer.Option("--job", metavar="ID", help="Only workers of this job.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it; else it is only shown.")] = False,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Let idle workers go, the largest first. Shows which; --yes does it.

    Never one that runs a task or owns an object: those are listed with the
    reason. No task fails, and no object is lost.

    [bold]Example[/bold]
    $ outlive workers trim --max-idle 4 --max-memory 1GiB
    $ outlive workers trim --max-idle 4 --max-memory 1GiB --yes
    """
    from outlive.cli.workers_connection import found, joined
    from outlive.workers.bounds import bounds
    from outlive.workers.inspection import inspect
    from outlive.workers.trimming import carry_out, decide, lacks_job

    limits = bounds(min_idle, max_idle, max_memory)
    by_task = limits.max_memory is not None  # other machines are asked for their workers' memory
    report = inspect(leave_out_job=(joined if by_task else found)(address))
    chosen = decide(report, limits, job)
    if yes and lacks_job(chosen):
        joined(address)
    result = carry_out(report, chosen, job, dry_run=not yes)
    if as_json:
        print_json(dataclasses.asdict(result))
    else:
        _show(result, done=yes)
    if result.unseen or (yes and not all(choice.left for choice in result.chosen)):
        raise typer.Exit(NOT_SO)


def _table(rows: Sequence[Sequence[str]], room: int | None) -> Iterator[str]:
    """As wide as the terminal: a reason may take several lines there, and is below an outcome that is long."""
    longest = max(len("OUTCOME"), *(len(outcome) for *_, outcome, _ in rows))
    outcomes = longest if room is None else min(longest, max(_LEAST, room // 3))
    cells = [(*row[:3], "x" * outcomes, "") for row in rows]
    header, *lines = columns(("PID", "JOB", "UNIQUE", "OUTCOME", "BECAUSE"), cells, right={0, 2})
    yield styled(header, "bold")
    for (*_, outcome, because), line in zip(rows, lines, strict=True):
        begin, style = line[: line.index("x" * outcomes)], _STYLES.get(outcome.partition(":")[0], "red")
        below = " " * (len(begin) + outcomes + 2)
        first, *rest = hanging("", because, None if room is None else room - len(below))
        if len(outcome) <= outcomes:
            yield f"{begin}{styled(outcome, style)}{' ' * (outcomes - len(outcome))}  {first}".rstrip()
        else:
            for part in hanging("", outcome, None if room is None else room - len(begin)):
                yield f"{begin}{styled(part, style)}"
                begin = " " * len(begin)
            rest = [first, *rest]
        for part in rest:
            yield f"{below}{part}".rstrip()


def _show(result: Trimmed, *, done: bool) -> None:
    from outlive.units import format_size

    rows = []
    for choice in result.chosen:
        size = "?" if choice.worker.unique is None else format_size(choice.worker.unique)
        rows.append((str(choice.worker.pid), choice.worker.job or "-", size, choice.outcome, choice.because))
    for worker in result.spared:
        size = "?" if worker.unique is None else format_size(worker.unique)
        rows.append((str(worker.pid), worker.job or "-", size, "spared", worker.why))
    if rows:
        typer.echo("\n".join(_table(rows, width())))
    for line in result.unseen:
        typer.echo(f"not seen: {line}")
    leaving = sum(choice.left or not done for choice in result.chosen)
    verb = "left" if done else "would leave"
    typer.echo(
        f"{count(leaving, 'worker')} {verb}, {format_size(result.freed)} {'came' if done else 'would come'} back"
    )
    if not done and result.chosen:
        typer.echo("nothing was done: add --yes")
