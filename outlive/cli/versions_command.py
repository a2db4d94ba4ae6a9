"""The command that shows versions and limits: versions."""

from __future__ import annotations

import typer

from outlive.cli.failures import explained
from outlive.cli.options import AsJson
from outlive.cli.text import print_json


def register(app: typer.Typer) -> None:
    """Add the command to `outlive`."""
    app.command(epilog="Exit codes: 0 shown; 2 usage.", rich_help_panel="Understand")(explained(versions))


def versions(as_json: AsJson = False) -> None:
    """Show the versions and limits that a report of a fault needs.

    Versions of outlive, Python, Ray and others; the kernel; shared memory and its
    huge pages; the limits of the cgroup; variables OUTLIVE_... Needs no cluster.

    [bold]Example[/bold]
    $ outlive versions
    """
    from outlive import versions as found

    if as_json:
        print_json(found.versions())
    else:
        typer.echo("\n".join(found.lines(found.versions())))
