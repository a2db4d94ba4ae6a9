"""The command that explains errors and ids of Ray: explain."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from outlive.cli.failures import NOT_SO, UNABLE, explained, report
from outlive.cli.options import Address, AsJson
from outlive.cli.text import print_json
from outlive.units import count

if TYPE_CHECKING:
    from outlive.explain import Reading


def register(app: typer.Typer) -> None:
    """Add the command to `outlive`."""
    codes = (
        "Exit codes: 0 explained; 1 nothing in the text that is known here; 2 usage, no such file or id, no cluster."
    )
    app.command(epilog=codes, rich_help_panel="Understand")(explained(explain))


def explain(
    what: Annotated[
        str, typer.Argument(metavar="[ID|FILE]", help="An id, a log, or an error's text; - or nothing: standard input.")
    ] = "-",
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Explain an id of Ray, or every error of Ray in a traceback or log.

    Ids are of objects, tasks, actors, jobs, workers or nodes. Needs no cluster.
    With --address it adds what that cluster still knows.

    [bold]Example[/bold]
    $ python program.py 2>&1 | outlive explain
    $ outlive explain /tmp/ray/session_latest/logs/raylet.out
    $ outlive explain 00f7ac668d3063a5ffffffffffffffffffffffff0200000002e1f505
    """
    if what != "-" and not os.path.lexists(what):
        _explain_argument(what, address, as_json)
        return
    if what == "-" and sys.stdin.isatty():
        typer.echo("reading standard input; end it with Ctrl-D", err=True)
    _finish(_read(what), address, as_json)


def _explain_argument(what: str, address: str | None, as_json: bool) -> None:
    """Explain an argument that is not a file: an id, or an error's text."""
    from outlive.explain import NotAnId, decode, read
    from outlive.explain.render import id_record, show_id

    try:
        decoded = decode(what)
    except NotAnId as error:
        reading = read(what)
        if reading.explanations or reading.unexplained:
            _finish(reading, address, as_json)
            return
        report(FileNotFoundError(2, f"no such file, and {error}"), as_json=as_json)
        raise typer.Exit(UNABLE) from None
    live: tuple[str, ...] = ()
    if address is not None:
        from outlive.cli.connection import connect
        from outlive.explain.live import facts

        connect(address, from_inside=True)
        live = facts(decoded)
    if as_json:
        print_json(id_record(decoded, live))
    else:
        show_id(decoded, live)


def _read(what: str) -> Reading:
    from outlive.cli.progress import ProgressBar
    from outlive.explain.lines import of_file
    from outlive.explain.reader import Reader

    reader = Reader()
    with ProgressBar("reading") as bar:
        if what == "-":
            reader.read(of_file(sys.stdin.buffer, 0, bar.update))
        else:
            with open(what, "rb") as file:
                reader.read(of_file(file, os.fstat(file.fileno()).st_size, bar.update))
    return reader.reading()


def _finish(reading: Reading, address: str | None, as_json: bool) -> None:
    from outlive.explain.render import reading_record, show_reading

    if address is not None:
        reading = _with_live_facts(reading, address)
    if as_json:
        print_json(reading_record(reading))
    else:
        show_reading(reading)
        if not reading.explanations and not reading.unexplained and not reading.unknown:
            lines = count(reading.lines, "line")
            typer.echo(f"nothing in these {lines} is an error of Ray that is known here", err=True)
    if not reading.explanations:
        raise typer.Exit(NOT_SO)


def _with_live_facts(reading: Reading, address: str) -> Reading:
    from dataclasses import replace

    from outlive.cli.connection import connect
    from outlive.explain.live import facts

    connect(address, from_inside=True)
    explanations = (
        replace(one, live=tuple(fact for decoded in one.ids for fact in facts(decoded))) for one in reading.explanations
    )
    return replace(reading, explanations=tuple(explanations))
