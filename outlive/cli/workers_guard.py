"""The commands `outlive workers guard ...`."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outlive.cli import form, not_installed
from outlive.cli.failures import NOT_SO, explained
from outlive.cli.options import Address, AsJson
from outlive.cli.text import print_json, print_table, printable, styled

if TYPE_CHECKING:
    from outlive.workers.guard_record import Decision, GuardState

_HELP = """Keep idle workers from holding memory, for good: a guard in the cluster.

The guard is one light actor on the head. It goes on when this command has ended,
and comes back with its policy if its process is killed. Without a command: status.

[bold]Example[/bold]
$ outlive workers guard start --max-idle 4 --max-memory 1GiB --dry-run
$ outlive workers guard log
$ outlive workers guard set --no-dry-run
$ outlive workers guard status
$ outlive workers guard stop
"""
_NONE = "none"
guard = typer.Typer(
    help=_HELP,
    short_help="Let idle workers go for good: start, status, set, stop, log.",
    cls=form.Group,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def register(app: typer.Typer) -> None:
    """Add the commands to `outlive workers`."""
    epilog = "Exit codes: 0 it runs, or ran and was stopped; 1 it does not run, or cannot look; 2 usage, no cluster."
    guard.callback(invoke_without_command=True, help=_HELP, epilog=epilog)(_before_command)
    for command, name in ((start, "start"), (status, "status"), (set_, "set"), (stop, "stop"), (log, "log")):
        guard.command(name, epilog=epilog)(explained(command))
    not_installed.say_without_ray(guard)
    form.apply(guard)
    app.add_typer(guard, name="guard")


def _option(name: str, metavar: str, text: str) -> Any:
    return typer.Option(name, metavar=metavar, help=text)


MaxIdle = Annotated[str | None, _option("--max-idle", "N", "Idle workers that may stay on each node.")]
MaxMemory = Annotated[str | None, _option("--max-memory", "SIZE", "Unique memory above which one leaves, as 2GiB.")]
MaxNode = Annotated[str | None, _option("--max-node-memory", "SIZE", "Of all idle workers of a node together.")]
MaxJob = Annotated[str | None, _option("--max-job-memory", "SIZE", "Of all idle workers of a job together.")]
MaxFor = Annotated[str | None, _option("--max-idle-for", "TIME", "One that is idle for longer leaves, as 10min.")]
MinIdle = Annotated[str | None, _option("--min-idle", "N", "Idle workers that stay on each node.")]
MinFor = Annotated[str | None, _option("--min-idle-for", "TIME", "None leaves that is idle for less, as 30s.")]
Every = Annotated[str | None, _option("--every", "TIME", "From one look to the next; 10s by default.")]
Share = Annotated[
    str | None, _option("--cpu-share", "PART", "The most of a core for looking; 0.005 by default: 0.5 %.")
]
Spare = Annotated[
    list[str] | None, _option("--spare", "JOB", "Leave a job alone: its id, or how it was started, with *.")
]
For = Annotated[
    list[str] | None,
    _option(
        "--for",
        "JOB:BOUNDS",
        "Other bounds for a job, as 'train.py*:max_idle=8'. A comma parts several.",
    ),
]
DryRun = Annotated[
    bool | None, typer.Option("--dry-run/--no-dry-run", help="Only write down which workers would leave.")
]


def _before_command(context: typer.Context, address: Address = None, as_json: AsJson = False) -> None:
    """Make options given before the command the defaults of those after it."""
    if context.invoked_subcommand is not None:
        given = {"address": address, "as_json": as_json or None}
        chosen = {name: value for name, value in given.items() if value is not None}
        context.default_map = {context.invoked_subcommand: chosen}
        return
    explained(status)(address=address, as_json=as_json)


def start(
    max_idle: MaxIdle = None,
    max_memory: MaxMemory = None,
    max_node_memory: MaxNode = None,
    max_job_memory: MaxJob = None,
    max_idle_for: MaxFor = None,
    min_idle: MinIdle = None,
    min_idle_for: MinFor = None,
    every: Every = None,
    cpu_share: Share = None,
    spare: Spare = None,
    bounds_for: For = None,
    dry_run: DryRun = None,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Start the guard, or give the one that runs this policy instead.

    It lets idle workers go as trim does: never one that runs a task or owns an
    object. Workers of a job with --spare or --for do not count among the others.

    [bold]Example[/bold]
    $ outlive workers guard start --max-idle 4 --max-memory 1GiB
    $ outlive workers guard start --max-job-memory 8GiB --spare 'python serve.py*'
    $ outlive workers guard start --max-idle 2 --for '02000000:max_idle=8' --dry-run
    """
    from outlive.cli.workers_connection import joined
    from outlive.workers.guarding import guard as start_guard
    from outlive.workers.policy import Policy

    fields = _fields(locals())
    policy = Policy.from_json(fields)
    joined(address)
    state = start_guard(policy)
    _say(state, f"runs on node {state.node_id[:8]}, pid {state.pid}", as_json=as_json)


def set_(
    max_idle: MaxIdle = None,
    max_memory: MaxMemory = None,
    max_node_memory: MaxNode = None,
    max_job_memory: MaxJob = None,
    max_idle_for: MaxFor = None,
    min_idle: MinIdle = None,
    min_idle_for: MinFor = None,
    every: Every = None,
    cpu_share: Share = None,
    spare: Spare = None,
    bounds_for: For = None,
    dry_run: DryRun = None,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Change some fields of the guard that runs; 'none' takes a bound away.

    The others stay. Once this returns, no worker leaves by what was changed.

    [bold]Example[/bold]
    $ outlive workers guard set --max-idle 2
    $ outlive workers guard set --max-memory none --for '02000000:none'
    """
    from outlive.cli.workers_connection import joined
    from outlive.errors import BadSetting
    from outlive.workers.guarding import change_guard

    fields = _fields(locals())
    if not fields:
        raise BadSetting("nothing to change: give at least one option, as --max-idle 2; see --help")
    joined(address)
    state = change_guard(**fields)
    _say(state, "is set to", as_json=as_json)


def status(address: Address = None, as_json: AsJson = False) -> None:
    """Show the guard: its policy, its last look, and what it has done.

    It joins no cluster and does not ask the guard, which may be stopped.

    [bold]Example[/bold]
    $ outlive workers guard status
    $ outlive workers guard status --json
    """
    from outlive.cli.workers_connection import found
    from outlive.workers.guard_record import guard_state

    found(address)
    state = guard_state()
    if as_json:
        print_json(None if state is None else state.to_json())
    elif state is None:
        typer.echo("no guard runs: `outlive workers guard start` starts one")
    else:
        typer.echo("\n".join(_lines(state)))
    if state is None or not state.well:
        raise typer.Exit(NOT_SO)


def stop(address: Address = None, as_json: AsJson = False) -> None:
    """Stop the guard. Its record and its log stay: see status and log.

    [bold]Example[/bold]
    $ outlive workers guard stop
    """
    from outlive.cli.workers_connection import joined
    from outlive.workers.guarding import stop_guard

    joined(address)
    ran = stop_guard()
    if as_json:
        print_json({"was_there": ran})
    else:
        typer.echo("stopped" if ran else "no guard runs")


def log(
    last: Annotated[int | None, typer.Option("--last", "-n", metavar="N", min=1, help="The latest N alone.")] = None,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Show the guard's latest 200 decisions, each with its reason, the oldest first.

    [bold]Example[/bold]
    $ outlive workers guard log
    $ outlive workers guard log --last 20
    """
    from outlive.cli.workers_connection import found
    from outlive.workers.guard_record import guard_log

    found(address)
    decisions = guard_log()[-(last or 0) :]
    if as_json:
        print_json([dataclasses.asdict(one) for one in decisions])
    else:
        _print_log(decisions)


def summary(state: GuardState) -> str:
    """A line for the table of workers."""
    parts = [f"guard: {state.about}", state.words, f"{state.let_go} let go"]
    return "; ".join([*parts, f"its last look failed: {state.error}"] if state.error else parts)


def _say(state: GuardState, done: str, *, as_json: bool) -> None:
    if as_json:
        print_json(state.to_json())
    else:
        typer.echo(f"the guard {done}: {printable(state.words)}")


def _lines(state: GuardState) -> list[str]:
    from outlive.units import count, format_age, format_duration, format_size

    now = time.time()
    rows = {
        "guard": styled(state.about, "green" if state.well else "red"),
        "policy": printable(state.words),
        "where": f"node {state.node_id[:8]}, pid {state.pid}, outlive {state.version}",
        "since": f"{format_age(max(0.0, now - state.started))}, {count(state.restarts, 'restart')}",
        "last look": f"{count(state.workers, 'worker')}, {state.idle} idle"
        + (f" with {format_size(state.idle_memory)}" if state.idle_memory else ""),
        "let go": f"{count(state.let_go, 'worker')}, {format_size(state.freed)} came back; {state.stayed} stayed"
        + (f"; {state.would_leave} would leave now" if state.would_leave else ""),
        "looks": f"{state.looks}, {state.failed_looks} failed; the next after {format_duration(state.pause)}",
        "cost": f"{format_duration(state.took)} of a core a look, {_share(state, now)}",
    }
    if state.error:
        rows["error"] = printable(state.error)
    lines = [f"{name:<9}  {text}" for name, text in rows.items()]
    return [*lines, *(f"not seen   {printable(one)}" for one in state.unseen)]


def _share(state: GuardState, now: float) -> str:
    return f"{100 * state.cpu / max(1.0, now - state.started):.2g} % of one since it started"


def _print_log(decisions: tuple[Decision, ...]) -> None:
    from outlive.units import format_size

    rows = [
        (
            time.strftime("%m-%d %X", time.localtime(one.time)),
            "-" if one.pid is None else str(one.pid),
            (one.node_id or "-")[:8],
            one.job or "-",
            "-" if one.unique is None else format_size(one.unique),
            printable(one.outcome),
            printable(one.because),
        )
        for one in decisions
    ]
    print_table(("TIME", "PID", "NODE", "JOB", "UNIQUE", "OUTCOME", "BECAUSE"), rows, right={1, 4})


def _fields(given: dict[str, Any]) -> dict[str, Any]:
    """The fields of a policy that were given."""
    numbers = {"max_idle": _whole, "min_idle": _whole, "cpu_share": _part}
    fields: dict[str, Any] = {}
    for name in ("max_idle", "min_idle", "cpu_share", *_TEXTS):
        if (value := given[name]) is not None:
            fields[name] = _value(name, value, numbers)
    if given["dry_run"] is not None:
        fields["dry_run"] = given["dry_run"]
    jobs: dict[str, Any] = {job: {} for job in given["spare"] or ()}
    for text in given["bounds_for"] or ():
        job, bounds = _for_job(text, numbers)
        jobs[job] = bounds
    return {**fields, "jobs": jobs} if jobs else fields


_TEXTS = ("max_memory", "max_node_memory", "max_job_memory", "max_idle_for", "min_idle_for", "every")
_ALWAYS = {"min_idle": 0, "min_idle_for": 0.0}
"""The values that stand for 'none' of bounds that always have one."""


def _value(name: str, text: str, numbers: dict[str, Any]) -> Any:
    if text.strip().lower() == _NONE:
        return _ALWAYS.get(name)
    return numbers[name](name, text) if name in numbers else text


def _whole(name: str, text: str) -> int:
    from outlive.errors import BadSetting

    if not text.strip().isdecimal():
        raise BadSetting(f"{name}={text!r} is no number of workers: write 0 or more, or 'none' for no bound")
    return int(text)


def _part(name: str, text: str) -> float:
    from outlive.errors import BadSetting

    try:
        return float(text)
    except ValueError:
        raise BadSetting(f"{name}={text!r} is no part of a core: write a number, as 0.005 for 0.5 %") from None


def _for_job(text: str, numbers: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """A job, and its bounds; None to end its exception."""
    from outlive.errors import BadSetting

    job, colon, bounds = text.rpartition(":")
    if not colon or not job:
        raise BadSetting(f"--for {text!r}: write JOB:BOUNDS, as '02000000:max_idle=8,max_memory=4GiB', or JOB:none")
    if bounds.strip().lower() == _NONE:
        return job, None
    found = {}
    for part in bounds.split(","):
        name, equals, value = part.strip().replace("-", "_").partition("=")
        if not equals:
            raise BadSetting(f"--for {text!r}: {part!r} is no bound: write NAME=VALUE, as max_idle=8")
        found[name] = _value(name, value, numbers)
    return job, found
