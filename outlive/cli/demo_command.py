"""The command that shows what outlive is for: demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from outlive.cli.failures import explained
from outlive.cli.not_installed import with_note
from outlive.cli.options import AsJson
from outlive.errors import MissingPackage
from outlive.extras import install, lacking


def register(app: typer.Typer) -> None:
    """Add the command to `outlive`."""
    codes = "Exit codes: 0 outlive kept every array; 1 it lost something; 2 usage, a bad file, something not installed."
    app.command(epilog=with_note(codes, "demo"), rich_help_panel="See for yourself")(explained(demo))


def demo(
    input_folder: Annotated[
        Path | None,
        typer.Option("--input", metavar="DIR", exists=True, file_okay=False, help="Your own .npy, .dcm, .nii files."),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", metavar="DIR", file_okay=False, help="Where the chart and the raw numbers go.")
    ] = Path("outlive-demo"),
    as_json: AsJson = False,
) -> None:
    """Run leaky workers over real images, with plain Ray and with outlive, and compare.

    Starts a Ray of its own, and takes about a minute.

    [bold]Example[/bold]
    $ outlive demo --output results
    """
    if lacks := lacking("demo"):
        raise MissingPackage(f"the demo needs {', '.join(lacks)}, not installed here: {install('demo')}")
    from outlive.demo import run

    raise typer.Exit(run(input_folder, output, as_json))
