"""The commands `outlive workers ...`: the table of workers, plan, check, trim, record, simulate."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outlive.cli import form, workers_check, workers_guard, workers_plan, workers_simulate, workers_trim
from outlive.cli.failures import explained
from outlive.cli.options import Address, AsJson
from outlive.cli.text import hanging, print_json, printable, styled, width
from outlive.cli.workers_table import BY, lines

if TYPE_CHECKING:
    from outlive.workers.guard_record import GuardState
    from outlive.workers.rows import Report

_HELP = """Show idle workers, why they stay, and how to let them go without harm.

Without a command: every worker process of the cluster, the memory that would come
back with it, and why it is still here. UNIQUE is what comes back when the process
ends; UNIQUE + SHARED is its RES in top.

[bold]Example[/bold]
$ outlive workers
$ outlive workers --watch 2
$ outlive workers --state idle --sort unique --top 10
$ outlive workers --by function
$ outlive workers trim --max-idle 4
$ outlive workers guard start --max-idle 4
"""
_CLEAR = "\x1b[H\x1b[2J"
_LEAST_WATCH = 0.2  # seconds

_SHORT = "Show idle workers and why they stay; trim, guard, plan, check, record, simulate."
workers = typer.Typer(
    help=_HELP,
    short_help=_SHORT,
    cls=form.Group,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def register(app: typer.Typer) -> None:
    """Add the commands to `outlive`."""
    epilog = "Exit codes: 0 shown, even if there are none; 1 a node or worker did not answer; 2 usage, no cluster."
    for module in (workers_plan, workers_check, workers_trim, workers_guard, workers_simulate):
        module.register(workers)
    workers.callback(invoke_without_command=True, help=_HELP, epilog=epilog)(show)
    app.add_typer(workers, name="workers", rich_help_panel="Workers")


def show(
    context: typer.Context,
    node: Annotated[str | None, typer.Option("--node", metavar="NODE", help="Only of this node: id or host.")] = None,
    job: Annotated[str | None, typer.Option("--job", metavar="ID", help="Only of this job.")] = None,
    state: Annotated[
        str | None, typer.Option("--state", metavar="STATE", help="Only running, idle, leaving, actor, io or silent.")
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option("--sort", metavar="WHAT", help="By unique, idle, owned, tasks, pid, node, job or function."),
    ] = None,
    top: Annotated[int | None, typer.Option("--top", metavar="N", min=1, help="The first N alone.")] = None,
    by: Annotated[
        str | None, typer.Option("--by", metavar="WHAT", help="Totals of each node, job or function instead.")
    ] = None,
    watch: Annotated[
        str | None, typer.Option("--watch", "-w", metavar="TIME", help="Look again every so often, as 2s.")
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
    which = {"node": node, "job": job, "state": state, "sort": sort, "top": top}
    explained(_show)(which=which, by=by, watch=watch, exact=exact, address=address, as_json=as_json)


def _show(
    *, which: dict[str, Any], by: str | None, watch: str | None, exact: bool, address: str | None, as_json: bool
) -> None:
    from outlive.cli.workers_connection import found, joined
    from outlive.errors import BadSetting, StoreUnavailable
    from outlive.units import parse_duration
    from outlive.workers.selection import Selection

    if by is not None and by not in BY:
        raise BadSetting(f"by={by!r}: there are {', '.join(BY)}")
    every = None if watch is None else parse_duration(watch, "--watch", least=_LEAST_WATCH)
    selection = Selection(**which)
    own_job = (joined if exact else found)(address)
    report = selection.of(_report(own_job, exact))
    _print(report, by, None, as_json=as_json, clear=every is not None)
    while every is not None:
        time.sleep(every)
        before = {worker.worker_id: worker.unique for worker in report.workers if worker.unique is not None}
        try:
            report = selection.of(_report(joined(address) if exact else own_job, exact))
        except (StoreUnavailable, BadSetting) as error:  # the GCS, the node or the job may come back
            typer.echo(f"{time.strftime('%X')}: {error}", err=True)
        else:
            _print(report, by, before, as_json=as_json, clear=True)
    if report.unseen:
        raise typer.Exit(1)


def _report(own_job: str | None, exact: bool) -> Report:
    from outlive.workers.inspection import inspect

    return inspect(leave_out_job=own_job, exact=exact)


def _print(report: Report, by: str | None, before: dict[str, int] | None, *, as_json: bool, clear: bool) -> None:
    guard = _guard()
    if as_json:
        print_json({**report.to_json(), "guard": guard and guard.to_json()})
        return
    if clear and sys.stdout.isatty():
        sys.stdout.write(_CLEAR)  # not through typer, which takes it for a colour
    typer.echo("\n".join(lines(report, by, before, width(), styled)))
    if guard is not None:
        typer.echo("\n".join(hanging("", printable(workers_guard.summary(guard)), width())))


def _guard() -> GuardState | None:
    """The guard, if there is one. The table is shown whether or not the GCS tells of it."""
    from outlive.errors import StoreUnavailable
    from outlive.workers.guard_record import guard_state

    try:
        return guard_state()
    except StoreUnavailable:
        return None
