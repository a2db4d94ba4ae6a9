"""The command that shows what outlive is for: demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from outlive.cli.failures import UNABLE, explained
from outlive.cli.options import AsJson


def register(app: typer.Typer) -> None:
    """Add the command to `outlive`."""
    codes = "Exit codes: 0 outlive kept every array; 1 it lost something; 2 usage, a bad file, something not installed."
    app.command(epilog=codes, rich_help_panel="See for yourself")(explained(demo))


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
    try:
        from outlive.demo import run

        code = run(input_folder, output, as_json)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "outlive":
            raise
        typer.echo(f"error: the demo needs {error.name}, which is not installed: pip install 'outlive[demo]'", err=True)
        raise typer.Exit(UNABLE) from None
    raise typer.Exit(code)
