"""`python -m outlive.testing.simulation`: play schedules, and show and shrink those that fail."""

from __future__ import annotations

import difflib
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from outlive.testing.simulation.several import SAME_ORDER, Failure, run, work

_HELP = """
Plays outlive in a simulated cluster: no Ray, one process, and all that can go wrong between machines.

Each schedule comes from its seed. The seed decides the operations of clients, the messages that are late, repeated or
lost, and the kills, stops and cuts. All reads have to be linearizable, and nothing may be left at the end.

Examples:

  python -m outlive.testing.simulation --count 20000         play this many

  python -m outlive.testing.simulation --seed 1313           play one, and show what happens

  python -m outlive.testing.simulation --seed 1313 --shrink  cut it down first, as long as it fails

  python -m outlive.testing.simulation --planted             plant known faults, and see that each is found
"""


def _theme(name: str | None) -> str | None:
    if name is not None:
        from outlive.testing.simulation.themes import THEMES

        if name not in THEMES:
            raise typer.BadParameter(f"there is no theme {name!r}. There are: {', '.join(THEMES)}")
    return name


def _faults(names: str | None) -> str | None:
    if names is not None:
        from outlive.testing.simulation.planted import PLANTED

        for name in names.split(","):
            if name not in PLANTED:
                alike = difflib.get_close_matches(name, PLANTED, 3, 0) or list(PLANTED)
                raise typer.BadParameter(
                    f"there is no fault {name!r} to plant. There are: {', '.join(alike)}, and more"
                )
    return names


def _plan(path: Path | None) -> Path | None:
    if path is not None:
        from outlive.testing.simulation.plan import Plan

        try:
            Plan.loads(path.read_text())
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise typer.BadParameter(f"{path} holds no plan, as --shrink prints it: {error}") from None
    return path


def main(
    count: Annotated[int, typer.Option(min=1, help="How many schedules to play.")] = 1000,
    first: Annotated[int, typer.Option(help="The first seed.")] = 0,
    processes: Annotated[int, typer.Option(min=0, help="How many processes play; 0: one for each processor.")] = 0,
    seed: Annotated[int | None, typer.Option(help="Play this seed alone, and show what happens.")] = None,
    plan: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, callback=_plan, help="Play the plan in this file, as --shrink prints it."
        ),
    ] = None,
    theme: Annotated[
        str | None,
        typer.Option(
            callback=_theme, help="The theme of all schedules; see `themes`. By default each seed has its own."
        ),
    ] = None,
    shrink: Annotated[bool, typer.Option("--shrink", help="Cut the schedule down, as long as it fails.")] = False,
    plant: Annotated[
        str | None,
        typer.Option(
            callback=_faults, help="Plant this fault first; --planted shows the names, and takes several, by commas."
        ),
    ] = None,
    planted: Annotated[bool, typer.Option("--planted", help="Plant each known fault, and look for it.")] = False,
    most: Annotated[int, typer.Option(min=1, help="Schedules after which a planted fault counts as not found.")] = 2000,
    worker: Annotated[tuple[int, int, int] | None, typer.Option(hidden=True)] = None,
) -> None:
    if os.environ.get("PYTHONHASHSEED") != SAME_ORDER["PYTHONHASHSEED"]:
        arguments = [sys.executable, "-m", "outlive.testing.simulation", *sys.argv[1:]]
        os.execve(sys.executable, arguments, os.environ | SAME_ORDER)  # noqa: S606 - the same program
    if shrink and seed is None and plan is None:
        raise typer.BadParameter("it needs the schedule: --seed or --plan", param_hint="--shrink")
    if plant is not None and seed is None and plan is None and not planted:
        raise typer.BadParameter("it needs the schedule, --seed or --plan, or else --planted", param_hint="--plant")
    if plant is not None and "," in plant and not planted:
        raise typer.BadParameter("only --planted takes several faults", param_hint="--plant")
    if worker is not None:
        work(range(*worker), theme)
    elif seed is not None or plan is not None:
        from outlive.testing.simulation.report import show

        raise typer.Exit(show(seed, plan, theme, plant, shrink_it=shrink))
    elif planted:
        from outlive.testing.simulation.report import look_for_planted

        raise typer.Exit(look_for_planted(first, most, theme, plant))
    else:
        raise typer.Exit(_many(first, count, processes or os.cpu_count() or 1, theme))


def _many(first: int, count: int, processes: int, theme: str | None) -> int:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task("schedules", total=count)
        failures = run(first, count, processes, lambda more: progress.advance(task, more), theme)
    for failure in failures:
        _tell(failure, theme)
    sys.stdout.write(
        f"{len(failures)} of {count} schedules failed\n" if failures else f"{count} schedules: all is well\n"
    )
    return 1 if failures else 0


def _tell(failure: Failure, theme: str | None) -> None:
    of = "" if theme is None else f" --theme {theme}"
    sys.stdout.write(f"seed {failure.seed}: {failure.violation}\n")
    sys.stdout.write(f"  python -m outlive.testing.simulation --seed {failure.seed}{of} --shrink\n")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(help=_HELP)(main)
    app()
