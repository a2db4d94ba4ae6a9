"""The commands `outlive workers ...`: who is idle and why, plan, check, trim, record, simulate."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from outlive.cli import workers_check, workers_plan, workers_simulate, workers_trim
from outlive.cli.failures import explained
from outlive.cli.options import Address, AsJson
from outlive.cli.text import columns, count, print_json

if TYPE_CHECKING:
    from outlive.workers.rows import Report, Worker

_HELP = """Who is idle, why they stay, and how to let them go without harm.

Without a command: every worker process of the cluster, the memory that would come
back with it, and why it is still here. UNIQUE is what comes back when the process
ends; UNIQUE + SHARED is its RES in top.

[bold]Example[/bold]
$ outlive workers
$ outlive workers --watch 2
$ outlive workers trim --max-idle 4
"""
_CLEAR = "\x1b[H\x1b[2J"
_HEADER = ("NODE", "PID", "JOB", "STATE", "IDLE FOR", "UNIQUE", "SHARED", "OWNS", "TITLE", "WHY IT IS STILL HERE")

workers = typer.Typer(help=_HELP, rich_markup_mode="rich", context_settings={"help_option_names": ["-h", "--help"]})


def register(app: typer.Typer) -> None:
    """Add the commands to `outlive`."""
    epilog = "Exit codes: 0 shown, even if there are none; 1 a node or worker did not answer; 2 usage, no cluster."
    for module in (workers_plan, workers_check, workers_trim, workers_simulate):
        module.register(workers)
    workers.callback(invoke_without_command=True, help=_HELP, epilog=epilog)(show)
    app.add_typer(workers, name="workers", rich_help_panel="Workers")


def show(
    context: typer.Context,
    watch: Annotated[
        float | None, typer.Option("--watch", "-w", metavar="SECONDS", min=0.2, help="Look again every so often.")
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Ask other machines for memory too, by a task: busy for a moment.")
    ] = False,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Show every worker."""
    if context.invoked_subcommand is not None:
        given = {"address": address, "as_json": as_json or None}
        chosen = {name: value for name, value in given.items() if value is not None}
        context.default_map = {context.invoked_subcommand: chosen}
        return
    explained(_show)(watch=watch, exact=exact, address=address, as_json=as_json)


def _show(*, watch: float | None, exact: bool, address: str | None, as_json: bool) -> None:
    from outlive.cli.workers_connection import found, joined, needs
    from outlive.errors import StoreUnavailable

    with needs("workers"):
        own_job = (joined if exact else found)(address)
        report = _report(own_job, exact)
        _print(report, as_json=as_json, clear=watch is not None)
        while watch is not None:
            time.sleep(watch)
            try:
                report = _report(joined(address) if exact else own_job, exact)
            except StoreUnavailable as error:  # the GCS may come back
                typer.echo(f"{time.strftime('%X')}: {error}", err=True)
            else:
                _print(report, as_json=as_json, clear=True)
    if report.unseen:
        raise typer.Exit(1)


def _report(own_job: str | None, exact: bool) -> Report:
    from outlive.workers.inspection import inspect

    return inspect(leave_out_job=own_job, exact=exact)


def _print(report: Report, *, as_json: bool, clear: bool) -> None:
    if as_json:
        print_json(report.to_json())
    else:
        typer.echo((_CLEAR if clear else "") + "\n".join(_lines(report)))


def _lines(report: Report) -> Iterator[str]:
    from outlive.workers.sizes import format_bytes

    if report.workers:
        header, *rows = columns(_HEADER, [_row(worker) for worker in report.workers], right={1, 4, 5, 6, 7})
        yield header
        yield from rows
    else:
        yield "no worker processes"
    yield ""
    for label, totals in (("node", report.by_node()), ("job", report.by_job())):
        for total in totals:
            yield (
                f"{label} {total.name[:8]}: {count(total.workers, 'worker')}, {total.idle} idle with "
                f"{format_bytes(total.idle_unique)} of {format_bytes(total.unique)} unique, "
                f"{count(total.owned, 'object')} owned"
            )
    for node in report.nodes:
        unseen = sum(worker.node_id == node.node_id and worker.unique is None for worker in report.workers)
        if unseen and not node.error:
            yield (
                f"node {node.node_id[:8]}: the memory of {count(unseen, 'worker')} is not known here: another machine. "
                "--exact asks there, by a task that makes the node busy for a moment"
            )
        if node.error:
            yield f"node {node.node_id[:8]}: {node.error}"
        known = "" if node.settings_known else " (its environment could not be read: defaults may be overridden there)"
        reaper = ", ".join(f"{setting.name}={setting.value} ({setting.source})" for setting in node.settings[:3])
        yield f"settings on node {node.node_id[:8]}: {reaper}; keeps {node.keeps} now{known}"


def _row(worker: Worker) -> tuple[str, ...]:
    from outlive.workers.sizes import format_bytes, format_seconds

    return (
        worker.node_id[:8],
        str(worker.pid),
        worker.job or "-",
        worker.state,
        "-" if worker.idle_for is None else format_seconds(worker.idle_for),
        "?" if worker.unique is None else format_bytes(worker.unique),
        "?" if worker.shared is None else format_bytes(worker.shared),
        str(worker.owned),
        worker.title or "?",
        "; ".join(reason.text for reason in worker.reasons),
    )
