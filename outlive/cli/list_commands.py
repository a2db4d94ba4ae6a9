"""Commands that show stored arrays: ls, info."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from outlive.cli.failures import explained
from outlive.cli.options import DEFAULT_STORE, Address, AsJson, Key, Local, StoreName
from outlive.cli.text import age, ends, is_array, moment, print_json, print_table, printable, record, short_node
from outlive.units import count

if TYPE_CHECKING:
    from outlive.store.handle import ArrayHandle
    from outlive.store.store import Store

_WIDEST_DTYPE = 24  # a structured dtype may be of any length; `outlive info` shows all of it


def register(app: typer.Typer) -> None:
    """Add the commands to `outlive`."""
    codes: dict[Callable[..., None], str] = {
        ls: "0 listed, even if there are none; 2",
        info: "0 shown; 1 no such key; 2",
    }
    for command, about in codes.items():
        app.command(epilog=f"Exit codes: {about} usage, no cluster.", rich_help_panel="Arrays")(explained(command))


def ls(
    prefix: Annotated[str, typer.Argument(metavar="PREFIX", help="Only keys that begin with it.")] = "",
    long: Annotated[bool, typer.Option("--long", "-l", help="Size, age, dtype, shape, end, node and place.")] = False,
    lost: Annotated[bool, typer.Option("--lost", help="Only lost arrays, with their node and time.")] = False,
    store: StoreName = DEFAULT_STORE,
    address: Address = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    r"""List keys, sorted, one a line.

    Characters that a terminal would act upon are escaped: a newline as \n,
    a backslash as \\. With --json keys are exact.

    [bold]Example[/bold]
    $ outlive ls ct/ --long
    $ outlive ls --lost
    """
    from outlive.cli.connection import open_store
    from outlive.units import format_size

    opened = open_store(store, address, local=local)
    if lost:
        _list_lost(opened, prefix, as_json=as_json)
        return
    if not long and not as_json:
        if keys := list(opened.keys(prefix)):
            typer.echo("\n".join(map(printable, keys)))
        return
    entries = opened.entries(prefix)
    spilled = opened.spilled() if entries else set()
    if as_json:
        print_json([{**record(handle, node), "on_disk": handle.id in spilled} for handle, node in entries])
        return
    rows = []
    for handle, node in entries:
        dtype, shape = (str(handle.dtype), str(handle.shape)) if is_array(handle) else (handle.kind, "-")
        dtype = dtype if len(dtype) <= _WIDEST_DTYPE else dtype[: _WIDEST_DTYPE - 3] + "..."
        about = format_size(handle.nbytes), age(handle.info.version), dtype, shape, ends(handle), short_node(node)
        rows.append((*about, "disk" if handle.id in spilled else "memory", printable(handle.key or "")))
    print_table(("SIZE", "AGE", "DTYPE", "SHAPE", "ENDS", "NODE", "WHERE", "KEY"), rows, right={0, 1})


def _list_lost(store: Store, prefix: str, *, as_json: bool) -> None:
    lost = [one for one in store.lost() if (one.handle.key or "").startswith(prefix)]
    if as_json:
        print_json([{**record(one.handle, one.node), "lost_at": one.at} for one in lost])
        return
    rows = [(age(int(one.at * 1e9)), short_node(one.node), printable(one.handle.key or one.handle.id)) for one in lost]
    print_table(("LOST", "WITH NODE", "KEY"), rows, right={0})


def info(
    key: Key,
    store: StoreName = DEFAULT_STORE,
    address: Address = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Show what is known of the array of KEY, without reading it.

    [bold]Example[/bold]
    $ outlive info ct/7
    """
    from outlive.cli.connection import open_store
    from outlive.store import session
    from outlive.store.ray_in_use import is_client
    from outlive.units import format_size

    opened = open_store(store, address, local=local)
    handle = opened.handle(key)
    nodes, durability = handle.location, handle.durability
    node = nodes[0] if nodes else None
    here = None if not local and is_client() else session.at(opened.place)
    file = here.shelf.locate(handle.id) if here is not None and node == here.node else None
    if as_json:
        order = "F" if handle.info.fortran else "C"
        more = {"on_disk": handle.id in opened.spilled(), "order": order, "file": file, "nodes": nodes}
        print_json({**record(handle, node), **more, "durability": durability._asdict()})
        return
    put_at = moment(handle.info.version).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    facts = {
        "store": printable(handle.store),
        **(_form(handle) if is_array(handle) else {"kind": handle.kind}),
        "size": f"{count(handle.nbytes, 'byte')}"
        + (f", {format_size(handle.nbytes)}" if handle.nbytes >= 1024 else ""),
        "put": f"{put_at}, {age(handle.info.version)} ago",
        "ends": ends(handle),
        "nodes": ", ".join(map(short_node, nodes)) or "deleted meanwhile",
        "kept": f"on {count(durability.replicas, 'node')}, of {durability.wanted} asked for",
        "file": file or "on another node",
    }
    typer.secho(printable(key), bold=True)
    for name, value in facts.items():
        typer.echo(f"  {name:<6} {value}")


def _form(handle: ArrayHandle) -> dict[str, str]:
    order = ", in Fortran order" if handle.info.fortran else ""
    return {"shape": str(handle.shape), "dtype": f"{handle.dtype}{order}"}
