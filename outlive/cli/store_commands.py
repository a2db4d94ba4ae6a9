"""Commands on all arrays together: stats, check, shutdown."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from outlive.cli.failures import NOT_SO, explained
from outlive.cli.options import DEFAULT_STORE, Address, AsJson, DiskSize, Local, Memory, SpillTo, StoreName
from outlive.cli.progress import ProgressBar
from outlive.cli.text import print_json, print_table, printable, short_node
from outlive.units import count

if TYPE_CHECKING:
    from outlive.cluster.keeper import ShelfStats

_STATS_SECONDS = 10.0  # seconds: a keeper that takes longer counts as silent, and can still be shut down


def register(app: typer.Typer) -> None:
    """Add the commands to `outlive`."""
    codes: dict[Callable[..., None], str] = {
        stats: "0 shown; 2",
        check: "0 all is well, or was mended; 1 damage that needs you; 2",
        shutdown: "0 shut down, or nothing was running; 1 you said no; 2",
    }
    for command, about in codes.items():
        epilog = f"Exit codes: {about} usage, no cluster."
        app.command(epilog=epilog, rich_help_panel="The whole store")(explained(command))


def stats(
    memory: Memory = None,
    disk: DiskSize = None,
    spill_to: SpillTo = None,
    store: StoreName = DEFAULT_STORE,
    address: Address = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Show how much a store holds, and how full each node's shelf is.

    With --memory, --disk or --spill-to it changes this node's limits first.

    A shelf is shared by all stores; it counts arrays without a key too.

    [bold]Example[/bold]
    $ outlive stats
    """
    from outlive.cli.connection import open_store
    from outlive.units import format_size

    found = open_store(store, address, memory, disk, spill_to, local=local).stats()
    if as_json:
        print_json({**found._asdict(), "shelves": [shelf._asdict() for shelf in found.shelves]})
        return
    typer.echo(f"store {printable(found.store)}: {count(found.arrays, 'array')}, {format_size(found.nbytes)}\n")
    rows = [
        (
            short_node(shelf.node),
            f"{shelf.arrays:,}",
            format_size(shelf.used),
            format_size(shelf.budget),
            f"{100 * shelf.used / shelf.budget:.0f} %",
            str(shelf.keeper_pid),
            shelf.path.rsplit("/", 2)[0],
        )
        for shelf in found.shelves
    ]
    print_table(("NODE", "ARRAYS", "USED", "BUDGET", "FULL", "KEEPER", "ROOT"), rows, right={1, 2, 3, 4, 5})
    spilling = [
        (
            short_node(shelf.node),
            f"{shelf.spilled:,}",
            format_size(shelf.disk_used),
            format_size(shelf.disk_budget),
            shelf.spill_to.rsplit("/", 2)[0],
        )
        for shelf in found.shelves
        if shelf.spill_to is not None
    ]
    if spilling:
        typer.echo()
        print_table(("NODE", "SPILLED", "ON DISK", "BUDGET", "SPILLS TO"), spilling, right={1, 2, 3})
    for shelf in found.shelves:
        if shelf.on_disk:
            typer.echo(f"\nnode {short_node(shelf.node)} keeps arrays on disk: {shelf.on_disk}")
        if shelf.stays:
            typer.echo(f"\nnode {short_node(shelf.node)} cannot go: {shelf.stays}")


def check(
    store: StoreName = DEFAULT_STORE,
    address: Address = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Verify every array of all stores, and mend what a crash left.

    Reads all bytes. Programs may go on meanwhile.

    [bold]Example[/bold]
    $ outlive check
    """
    from outlive.cli.connection import open_store

    opened = open_store(store, address, local=local)
    with ProgressBar("check") as bar:
        findings = opened.check(progress=bar.update)
    unmended = sum(not finding.mended for finding in findings)
    arrays = sum(shelf.arrays for shelf in opened.stats().shelves)
    if as_json:
        found = [finding._asdict() for finding in findings]
        print_json({"arrays": arrays, "findings": found, "unmended": unmended})
    else:
        for finding in findings:
            state = "mended" if finding.mended else typer.style("NEEDS YOU", fg="red", bold=True)
            typer.echo(f"{state}: {finding.problem} {printable(finding.subject)}: {finding.action}")
        result = f"{count(len(findings), 'finding')}, {unmended} not mended" if findings else "all is well"
        typer.echo(f"{count(arrays, 'array')} checked: {result}")
    if unmended:
        raise typer.Exit(NOT_SO)


def shutdown(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    store: StoreName = DEFAULT_STORE,  # noqa: ARG001  every command takes it; this one ends all stores
    address: Address = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Delete all arrays of all stores, and stop keepers and catalog.

    Asks first if there are arrays and stdin is a terminal. With --local it
    ends the store of this machine, for all programs that use it.

    [bold]Example[/bold]
    $ outlive shutdown --yes
    """
    import outlive
    from outlive.cli.connection import connect, no_address
    from outlive.units import format_size

    if local:
        no_address(address)
        shelves, running = _local_shelves()
    else:
        connect(address)
        shelves, running = _shelves()
    arrays = sum(shelf.arrays for shelf in shelves)
    if (arrays or len(shelves) < running) and not yes and sys.stdin.isatty():
        used = format_size(sum(shelf.used for shelf in shelves))
        what = f"all {count(arrays, 'array')} ({used}) of all stores"
        typer.echo(f"Delete {what}? [y/N] ", nl=False, err=True)  # typer.confirm writes to stdout too
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise typer.Exit(NOT_SO)
    freed = outlive.shutdown(local=local)
    if as_json:
        print_json({"arrays": arrays, "freed": freed})
    elif running:
        typer.echo(f"deleted {count(arrays, 'array')}, freed {format_size(freed)}")
    else:
        typer.echo(f"nothing to shut down: {'no local store is here' if local else 'this cluster holds no arrays'}")


def _local_shelves() -> tuple[list[ShelfStats], int]:
    """The shelf of the local store, if there is one: none is begun."""
    from outlive.cli.connection import local_store

    store = local_store()
    shelves = [] if store is None else store.stats().shelves
    return shelves, len(shelves)


def _shelves() -> tuple[list[ShelfStats], int]:
    """The shelves whose keepers answer, and how many keepers there are.

    They are asked without joining the store: a store of another version, which cannot be joined, can be shut down.
    """
    from outlive.cluster.port import Call
    from outlive.cluster.ray_port import RayPeers
    from outlive.errors import OutliveError

    peers, shelves = RayPeers(), []
    nodes = peers.keeper_nodes()
    for node in nodes:
        with contextlib.suppress(OutliveError):
            shelves.append(peers.ask_keeper(node, Call.of("stats"), _STATS_SECONDS))
    return shelves, len(nodes)
