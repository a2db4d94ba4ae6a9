"""Commands that put, copy out or delete arrays: put, get, rm."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from outlive.cli.failures import NOT_SO, BadFile, explained, report
from outlive.cli.options import DEFAULT_STORE, Address, AsJson, DiskSize, Key, Local, Memory, SpillTo, StoreName
from outlive.cli.progress import ProgressBar
from outlive.cli.text import is_array, print_json, printable, record
from outlive.errors import ArrayNotFound
from outlive.units import count, format_size

_EXIT = "Exit codes: 0 {}; 1 {}; 2 usage, {}no cluster."


def register(app: typer.Typer) -> None:
    """Add the commands to `outlive`."""
    codes: dict[Callable[..., None], tuple[str, str, str]] = {
        put: ("stored", "no room", "a bad file, "),
        get: ("written", "no such key, or its array is lost or damaged", "a file that exists or cannot be written, "),
        rm: ("all deleted", "some keys did not exist; the others are deleted", ""),
    }
    for command, about in codes.items():
        app.command(epilog=_EXIT.format(*about), rich_help_panel="Arrays")(explained(command))


def put(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A .npy file; - for one that comes on stdin.")],
    key: Key,
    ttl: Annotated[
        Optional[str],  # noqa: UP045 - typer evaluates it, also on Python 3.10
        typer.Option(metavar="TIME", help="Time to live, as in 90s, 10min, 2h; without it, until deleted."),
    ] = None,
    pin: Annotated[bool, typer.Option("--pin", help="Keep it in memory: never spill it to disk.")] = False,
    replicas: Annotated[int, typer.Option(min=1, metavar="N", help="On how many nodes to keep it.")] = 1,
    memory: Memory = None,
    disk: DiskSize = None,
    spill_to: SpillTo = None,
    store: StoreName = DEFAULT_STORE,
    address: Address = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Store the array of a .npy file under KEY, replacing what had this key.

    [bold]Example[/bold]
    $ outlive put scan.npy ct/7
    $ outlive put scan.npy preview --ttl 10min
    $ outlive put scan.npy ct/8 --replicas 2
    """
    from outlive.cli import npy_file
    from outlive.cli.connection import open_store
    from outlive.units import parse_duration

    seconds = None if ttl is None else parse_duration(ttl, "--ttl", least=1e-9)
    source: Any
    if file == "-":
        source = npy_file.read_stream(sys.stdin.buffer, "stdin")
    elif (path := Path(file)).is_file():
        source = npy_file.read_header(path)
    else:  # a pipe, as in `outlive put <(program) KEY`; a file that cannot be opened raises here
        with path.open("rb") as stream:
            source = npy_file.read_stream(stream, file)
    target = open_store(store, address, memory, disk, spill_to, local=local)
    if isinstance(source, npy_file.NpyHeader):
        creation = target.create(
            source.shape,
            source.dtype,
            key,
            order="F" if source.fortran else "C",
            ttl=seconds,
            pin=pin,
            replicas=replicas,
        )
        with ProgressBar("put") as bar, creation as out:
            source.read_into(out, bar.update)
        handle = creation.handle
    else:
        handle = target.put(source, key, ttl=seconds, pin=pin, replicas=replicas)
    if as_json:
        print_json({**record(handle, None), "file": file})
    else:
        typer.echo(f"{printable(key)}: {_described(handle)}")


def get(
    key: Key,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="The .npy file to write; - for stdout.")
    ],
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace the file if it exists.")] = False,
    store: StoreName = DEFAULT_STORE,
    address: Address = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Write the array of KEY to a .npy file: all of it, or no file.

    [bold]Example[/bold]
    $ outlive get ct/7 -o copy.npy
    $ outlive get ct/7 -o - | gzip > copy.npy.gz
    """
    if output == "-" and as_json:
        raise typer.BadParameter("with -o - the array itself goes to stdout; leave out --json")
    if output == "-" and sys.stdout.isatty():
        raise typer.BadParameter("stdout is a terminal, which cannot show a .npy file; give a file, or a pipe")
    from outlive.cli import npy_file
    from outlive.cli.connection import open_store

    opened = open_store(store, address, local=local)
    opened.pickle = False  # a command runs nothing that a value brings with it
    handle = opened.handle(key)
    array: Any = opened[key] if is_array(handle) else None
    if type(array).__name__ != "ndarray":  # the key may stand for another value by now
        raise BadFile(
            f"{printable(key)} is no array, which a .npy file could hold: it is of the kind {handle.kind!r}, "
            f"{format_size(handle.nbytes)}. Read it in Python: outlive.open({store!r})[{key!r}]"
        )
    with ProgressBar("get") as bar:
        if output == "-":
            npy_file.write(array, sys.stdout.buffer, bar.update)
            return
        npy_file.save(array, Path(output), bar.update, force=force)
    if as_json:
        shape, dtype = list(array.shape), str(array.dtype)
        print_json({"key": key, "store": store, "shape": shape, "dtype": dtype, "nbytes": array.nbytes, "file": output})
    else:
        typer.echo(f"{output}: {_described(array)}")


def rm(
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="The keys to delete.")],
    store: StoreName = DEFAULT_STORE,
    address: Address = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Delete arrays. Programs that are looking at them keep their views.

    [bold]Example[/bold]
    $ outlive rm ct/7 ct/8
    """
    from outlive.cli.connection import open_store

    opened = open_store(store, address, local=local)
    deleted, missing = [], []
    for key in dict.fromkeys(keys):
        try:
            opened.delete(key)
            deleted.append(key)
        except ArrayNotFound as error:
            missing.append((key, error))
    if as_json:
        print_json({"store": store, "deleted": deleted, "missing": [key for key, _ in missing]})
    else:
        typer.echo(f"deleted {count(len(deleted), 'array')}")
    for _, reason in missing:
        report(reason, as_json=as_json)
    if missing:
        raise typer.Exit(NOT_SO)


def _described(array: Any) -> str:
    return f"{array.dtype} {array.shape}, {format_size(array.nbytes)}"
