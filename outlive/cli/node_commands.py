"""Commands on nodes: nodes, drain."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from outlive.cli.failures import NOT_SO, BadLimit, UnknownNode, explained, wrong_usage
from outlive.cli.options import DEFAULT_STORE, Address, AsJson, StoreName
from outlive.cli.progress import ProgressBar
from outlive.cli.text import print_json, printable
from outlive.table import columns
from outlive.units import count, format_size, parse_duration

if TYPE_CHECKING:
    from outlive.store.nodes import NodeRow

_TRY_AGAIN = 1.0  # seconds until a head that did not answer is asked again
_STYLES = {"head": "", "stays": "", "may go": "green", "draining": "yellow", "lost": "red"}


def register(app: typer.Typer) -> None:
    """Add the commands to `outlive`."""
    codes: dict[Callable[..., None], str] = {
        nodes: "0 shown; 2 usage, no cluster.",
        drain: "0 its arrays live elsewhere; 1 some could not leave, or you said no; 2 usage, no such node or cluster.",
    }
    for command, about in codes.items():
        app.command(epilog=f"Exit codes: {about}", rich_help_panel="Nodes")(explained(command))


def nodes(
    store: StoreName = DEFAULT_STORE,  # noqa: ARG001  every command takes it; a shelf is shared by all stores
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Show each node: its role, its arrays, and why it cannot go.

    Roles: the head; one that stays; one that an autoscaler may remove when
    idle (may go); one that leaves soon (draining); one that is gone with
    arrays that no other node holds (lost). ONLY HERE counts arrays that live
    on no other node.

    [bold]Example[/bold]
    $ outlive nodes
    """
    rows = _ask(address)
    if as_json:
        print_json([_record(row) for row in rows])
        return
    short = _short_ids(rows)
    cells = [
        (
            short[row.id],
            _place(row),
            row.role,
            f"{row.arrays:,}",
            format_size(row.nbytes),
            f"{row.only_arrays:,}",
            format_size(row.only_bytes),
            _remark(row),
        )
        for row in rows
    ]
    header = ("NODE", "HOST/IP", "ROLE", "ARRAYS", "BYTES", "ONLY HERE", "BYTES", "WHY IT CANNOT GO")
    lines = columns(header, cells, right={3, 4, 5, 6})
    typer.secho(next(lines), bold=True)
    for row, line in zip(rows, lines, strict=True):
        before, role, after = line.partition(f"  {row.role}")
        typer.echo(before + typer.style(role, fg=_STYLES[row.role] or None) + after)


def drain(
    node: Annotated[
        str | None, typer.Argument(metavar="NODE", help="Its id, the beginning of it, or its ip or host name.")
    ] = None,
    ending_in: Annotated[
        str | None,
        typer.Option("--ending-in", metavar="TIME", help="Drain this node, which ends in so long, as 100s."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    store: StoreName = DEFAULT_STORE,  # noqa: ARG001  every command takes it; a shelf is shared by all stores
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Copy the arrays that live only on NODE to others, so that it may go.

    Reads and writes go on meanwhile. Asks first if stdin is a terminal.
    Arrays for which no other node has room stay, after another try, and the
    command says so.

    With --ending-in instead of NODE, this node is drained, as before a pod
    of Kubernetes is stopped (preStop). Ray is told that the node ends in that
    time: it sends no more work there, and arrays that are put there meanwhile
    leave too. It asks nobody, and gives up once the time is over. Nothing is
    told to Ray of the head.

    [bold]Example[/bold]
    $ outlive nodes
    $ outlive drain 4be1c0 --yes
    $ outlive drain --ending-in 100s
    """
    if ending_in is not None:
        with wrong_usage():
            seconds = parse_duration(ending_in, "--ending-in")
        if node is not None:
            raise BadLimit("--ending-in drains this node: leave out NODE, or --ending-in")
        _show(_depart(time.monotonic() + seconds, address), as_json)
        return
    if node is None:
        raise BadLimit("which node? Name one (`outlive nodes` shows them), or --ending-in TIME for this one")
    row = _chosen(node, _ask(address))
    what = f"{count(row.only_arrays, 'array')} ({format_size(row.only_bytes)})"
    if row.only_arrays and not yes and _is_terminal():
        typer.echo(f"Copy {what} from {row.id[:8]} ({_place(row)}) to other nodes? [y/N] ", nl=False, err=True)
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise typer.Exit(NOT_SO)
    import outlive

    with ProgressBar("drain") as bar:
        done = outlive.drain(row.id, progress=bar.update)
    _show((row.id, *done), as_json)


def _show(done: tuple[str, int, int, str | None], as_json: bool) -> None:
    """Show what became of a node's arrays: its id, how many left, of how many bytes, and why some stayed."""
    node, arrays, nbytes, stayed = done
    if as_json:
        print_json({"node": node, "arrays": arrays, "nbytes": nbytes, "stayed": stayed})
    else:
        typer.echo(f"copied {count(arrays, 'array')}, {format_size(nbytes)}, from {node[:8]} to other nodes")
        if stayed is not None:
            typer.echo(f"{typer.style('NEEDS YOU', fg='red', bold=True)}: {printable(stayed)}")
    if stayed is not None:
        raise typer.Exit(NOT_SO)


class _TimeIsOver(Exception):
    """The node ends now."""


def _depart(deadline: float, address: str | None) -> tuple[str, int, int, str | None]:
    """Drain this node until `deadline` by `time.monotonic`; see `_show` for what is returned.

    If the head does not answer, it is asked again: it may be about to start anew.
    """
    from outlive.cli.connection import find
    from outlive.cluster import departure
    from outlive.errors import StoreUnavailable
    from outlive.ray_internals import rpc

    while True:
        try:
            rpc.name_gcs(find(address))
            here = departure.here()
            break
        except StoreUnavailable:
            if not departure.runs_here() or time.monotonic() + _TRY_AGAIN >= deadline:
                raise
            time.sleep(_TRY_AGAIN)
    with ProgressBar("drain") as bar:
        if not here.is_head:
            return departure.depart(here, deadline, bar.update)
        first = dict(departure.kept(here.shelf))
        return departure.result(here, first, _empty(here.id, address, deadline, bar.update))


def _empty(head: str, address: str | None, deadline: float, show: Callable[[int, int], None]) -> str:
    """Drain the head until `deadline`, and tell Ray nothing: it would end the head. Returns why something stayed."""
    from outlive.cli.connection import connect
    from outlive.cluster.departure import OVER

    connect(address)
    import outlive
    from outlive.store.nodes import WHY_SOME_STAY

    def update(done: int, total: int) -> None:
        show(done, total)
        if time.monotonic() >= deadline:
            raise _TimeIsOver

    try:
        outlive.drain(head, progress=update)
    except _TimeIsOver:
        return OVER
    return WHY_SOME_STAY


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _ask(address: str | None) -> list[NodeRow]:
    from outlive.cli.connection import connect

    connect(address)
    import outlive

    return list(outlive.nodes())


def _chosen(wanted: str, rows: Sequence[NodeRow]) -> NodeRow:
    """The node that `wanted` names.

    Raises
    ------
    UnknownNode
        None, more than one, or one that is gone.
    """
    text = wanted.strip().lower()
    here = [row for row in rows if row.role != "lost"]
    named = [row for row in here if text in {row.id, row.ip, row.host.lower()}]
    found = named or [row for row in here if text and row.id.startswith(text)]
    if len(found) == 1:
        return found[0]
    short = _short_ids(here)
    listed = ", ".join(f"{short[row.id]} ({_place(row)})" for row in (found or here))
    if found:
        raise UnknownNode(f"{wanted!r} names {len(found)} nodes: {listed}; give more of the id")
    lost = [row for row in rows if row.role == "lost" and (text == row.ip or (text and row.id.startswith(text)))]
    if lost:
        raise UnknownNode(f"node {lost[0].id[:8]} ({_place(lost[0])}) is gone: nothing can be copied from it")
    raise UnknownNode(f"no node is named {wanted!r}; there are: {listed or 'none'}")


def _short_ids(rows: Sequence[NodeRow]) -> dict[str, str]:
    """Ids cut where they still differ, at eight digits or later."""
    ids = {row.id for row in rows}
    longest = max(map(len, ids), default=8)
    length = next((size for size in range(8, longest) if len({one[:size] for one in ids}) == len(ids)), longest)
    return {one: one[:length] for one in ids}


def _place(row: NodeRow) -> str:
    return "/".join(dict.fromkeys(printable(part) for part in (row.host, row.ip) if part)) or "-"


def _remark(row: NodeRow) -> str:
    """Why it cannot go, or what there is to say instead."""
    said = [text for text in (row.through_ray, row.refused) if text]
    reasons = "; ".join(map(printable, (*row.stays_because, *said)))
    if row.role == "lost":
        return f"lost {_ago(row.until)}"
    if row.role == "draining":
        deadline = (
            "no deadline"
            if row.until is None or math.isinf(row.until)
            else f"{max(0, row.until - time.time()):.0f} s left"
        )
        return f"{deadline}; {reasons}" if reasons else deadline
    return reasons or "-"


def _ago(moment: float | None) -> str:
    if moment is None:
        return "at some time"
    from outlive.cli.text import age

    return f"{age(int(moment * 1e9))} ago"


def _record(row: NodeRow) -> dict[str, object]:
    """JSON knows no infinity: a draining node without a deadline has none."""
    until = None if row.until is None or math.isinf(row.until) else row.until
    return {**row._asdict(), "stays_because": list(row.stays_because), "until": until}
