"""Commands that tell what is stored: ls, info."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from outlive.cli.failures import explained
from outlive.cli.options import DEFAULT_STORE, Address, AsJson, Key, StoreName
from outlive.cli.text import age, count, ends, moment, print_json, print_table, printable, record

_WIDEST_DTYPE = 24  # a structured one may be any length; `outlive info` shows all of it


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
    store: StoreName = DEFAULT_STORE,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    r"""List keys, sorted, one a line.

    What a terminal would act upon is escaped: a newline as \n, a backslash as \\.
    With --json keys are exact.

    [bold]Example[/bold]
    $ outlive ls ct/ --long
    """
    from outlive.arrays.root import format_bytes
    from outlive.cli.connection import open_store

    opened = open_store(store, address)
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
        dtype = str(handle.dtype)
        dtype = dtype if len(dtype) <= _WIDEST_DTYPE else dtype[: _WIDEST_DTYPE - 3] + "..."
        about = format_bytes(handle.nbytes), age(handle.info.version), dtype, str(handle.shape), ends(handle), node[:8]
        rows.append((*about, "disk" if handle.id in spilled else "memory", printable(handle.key or "")))
    print_table(("SIZE", "AGE", "DTYPE", "SHAPE", "ENDS", "NODE", "WHERE", "KEY"), rows, right={0, 1})


def info(key: Key, store: StoreName = DEFAULT_STORE, address: Address = None, as_json: AsJson = False) -> None:
    """Show what is known of the array of KEY, without reading it.

    [bold]Example[/bold]
    $ outlive info ct/7
    """
    from outlive.arrays.root import format_bytes
    from outlive.cli.connection import open_store
    from outlive.cluster import session

    opened = open_store(store, address)
    handle = opened.handle(key)
    node = next((node for other, node in opened.entries(prefix=key) if other == handle), None)
    here = session.current()
    file = here.shelf.locate(handle.id) if node == here.node else None
    if as_json:
        order = "F" if handle.info.fortran else "C"
        print_json({**record(handle, node), "on_disk": handle.id in opened.spilled(), "order": order, "file": file})
        return
    put_at = moment(handle.info.version).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    facts = {
        "store": printable(handle.store),
        "shape": str(handle.shape),
        "dtype": str(handle.dtype) + (", in Fortran order" if handle.info.fortran else ""),
        "size": f"{count(handle.nbytes, 'byte')}"
        + (f", {format_bytes(handle.nbytes)}" if handle.nbytes >= 1024 else ""),
        "put": f"{put_at}, {age(handle.info.version)} ago",
        "ends": ends(handle),
        "node": node or "deleted meanwhile",
        "file": file or "on another node",
    }
    typer.secho(printable(key), bold=True)
    for name, value in facts.items():
        typer.echo(f"  {name:<6} {value}")
