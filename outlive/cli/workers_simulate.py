"""The commands `outlive workers record` and `outlive workers simulate`."""

from __future__ import annotations

import dataclasses
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outlive.cli.failures import explained
from outlive.cli.not_installed import with_note
from outlive.cli.options import Address, AsJson
from outlive.cli.text import print_json
from outlive.extras import need
from outlive.table import columns
from outlive.units import count

if TYPE_CHECKING:
    from outlive.workers.simulation import Outcome
    from outlive.workers.trace import Trace


def register(app: typer.Typer) -> None:
    """Add the commands to `outlive workers`."""
    for command, codes in ((record, "0 recorded; 2 usage, no cluster"), (simulate, "0 replayed; 2 usage, a bad file")):
        app.command(epilog=with_note(f"Exit codes: {codes}.", "traces"))(explained(command))


def record(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="A Parquet file.")],
    seconds: Annotated[
        str,
        typer.Option("--seconds", "-s", metavar="TIME", help="For how long. Ctrl-C or SIGTERM ends it, and writes."),
    ] = "60",
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Record which tasks ran when, and how many workers there were.

    Costs the cluster a look at its workers twice a second, and at the end one
    request for the tasks that the GCS remembers.

    [bold]Example[/bold]
    $ outlive workers record -o trace.parquet --seconds 600
    """
    from outlive.cli.progress import ProgressBar
    from outlive.cli.workers_connection import found
    from outlive.units import parse_duration

    length = parse_duration(seconds, "--seconds", least=1)
    need("pyarrow")  # before a long recording, not after it
    from outlive.workers.recording import record as recorded

    _check_writable(output)
    job = found(address)
    with ProgressBar("recording", unit="s") as bar, _interrupted() as stopped:
        trace = recorded(
            length,
            stopped=stopped.is_set,
            progress=lambda done, total: bar.update(round(done), round(total)),
            leave_out_job=job,
        )
    trace.write(output)
    if as_json:
        print_json(
            {
                "tasks": len(trace.tasks),
                "lost": trace.lost,
                "seconds": trace.seconds,
                "nodes": len(trace.nodes),
                "file": str(output),
            }
        )
    else:
        typer.echo(f"{output}: {count(len(trace.tasks), 'task')} in {trace.seconds:.0f} s")
    _warn_of_lost(trace)


def _check_writable(output: Path) -> None:
    """Raise OSError now, and not after a long recording. An existing file does not change."""
    was_there = output.exists()
    with output.open("ab"):
        pass
    if not was_there:
        output.unlink()


def _warn_of_lost(trace: Trace) -> None:
    if trace.lost:
        typer.echo(
            f"warning: up to {count(trace.lost, 'task')} are missing: Ray dropped them before they were read. Record "
            "for a shorter time, or start the head with a larger RAY_task_events_max_num_task_in_gcs",
            err=True,
        )


@contextmanager
def _interrupted() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, instead of ending the command."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before: dict[int, Any] = {
        number: signal.signal(number, lambda *_: event.set()) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def simulate(
    trace: Annotated[Path, typer.Argument(metavar="FILE", help="A trace, as `record` writes it.")],
    idle_after: Annotated[
        str | None, typer.Option("--idle-after", metavar="TIME", help="Only this threshold, as 10s.")
    ] = None,
    soft_limit: Annotated[
        int, typer.Option("--soft-limit", metavar="N", min=-1, help="With --idle-after: workers to keep; -1: the CPUs.")
    ] = -1,
    png: Annotated[Path | None, typer.Option("--png", metavar="FILE", help="Draw it too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Replay a trace under other settings of Ray's idle reaper.

    Shows cold starts, idle memory, and which settings no other beats in both.

    [bold]Example[/bold]
    $ outlive workers simulate trace.parquet --png front.png
    $ outlive workers plan --trace trace.parquet
    """
    from outlive.units import parse_duration
    from outlive.workers.choosing import outcomes, pareto
    from outlive.workers.settings import Reaper
    from outlive.workers.trace import Trace

    if png is not None:
        need("matplotlib")  # before the replay, not after it
    chosen = None
    if idle_after is not None:
        chosen = [Reaper(200, round(parse_duration(idle_after, "--idle-after") * 1000), soft_limit)]
    loaded = Trace.read(trace)
    _warn_of_lost(loaded)
    found = outcomes(loaded, chosen)
    front = pareto(found)
    if png is not None:
        from outlive.workers.chart import draw

        draw(found, png)
    if as_json:
        print_json([{**_json(one), "on_front": one in front} for one in found])
        return
    rows = [_row(one, "*" if one in front else "") for one in sorted(found, key=_by_front(front))]
    header = ("IDLE AFTER", "KEEPS", "COLD STARTS", "STARTED", "WAITED", "IDLE GiB h", "BEST")
    typer.echo("\n".join(columns(header, rows, right={0, 1, 2, 3, 4, 5})))
    typer.echo(f"{count(found[0].tasks, 'task')}; * no other settings have both fewer cold starts and less idle memory")


def _by_front(front: list[Outcome]) -> Any:
    return lambda one: (one not in front, one.cold_starts, one.idle_memory_hours)


def _row(one: Outcome, star: str) -> tuple[str, ...]:
    from outlive.units import format_duration

    keeps = "CPUs" if one.reaper.soft_limit < 0 else str(one.reaper.soft_limit)
    idle_after = format_duration(one.reaper.threshold_ms / 1000)
    waited = format_duration(one.waited)
    return idle_after, keeps, str(one.cold_starts), str(one.started), waited, f"{one.idle_memory_hours:.4f}", star


def _json(one: Outcome) -> dict[str, Any]:
    plain = dataclasses.asdict(one)
    del plain["curve"]
    return plain
