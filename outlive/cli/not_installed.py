"""The notes in `--help` on packages that are not installed here."""

from __future__ import annotations

import typer

from outlive.cli.form import LOCAL
from outlive.extras import install, lacking

WITHOUT_RAY = {"explain", "lint", "plan", "simulate", "tune", "versions"}
"""The commands that need no Ray."""
_WHATS = {
    "ray": "all commands but explain, lint, tune, versions, workers plan, workers simulate, and those with --local",
    "traces": "workers record, workers simulate",
    "demo": "demo",
    "dashboard": "dashboard",
}


def note(extra: str, what: str = "") -> str:
    """A sentence for `--help`: what of this extra is missing, and the command that installs it. Empty if nothing is.

    Parameters
    ----------
    what
        For what it is needed. By default for the whole command.
    """
    lacks = ["Ray" if package == "ray" else package for package in lacking(extra)]
    if not lacks:
        return ""
    command = install(extra).replace("[", r"\[")  # or rich takes it for a style
    return f"[bold]Not installed here[/bold]: {', '.join(lacks)}{what and f', for {what}'}. {command}"


def with_note(text: str, extra: str, what: str = "") -> str:
    """The end of a command's help, and the note if there is one."""
    return "\n\n".join(filter(None, (text, note(extra, what))))


def say_without_ray(app: typer.Typer) -> None:
    """Add the note to the help of each command of `app` that needs Ray, if Ray is not installed."""
    for command in app.registered_commands:
        name = command.name or (command.callback.__name__ if command.callback else "")
        if name not in WITHOUT_RAY and name not in {"demo", "dashboard"}:  # whose own note names Ray too
            what = "all but --local" if name in LOCAL else ""
            command.epilog = with_note(command.epilog or "", "ray", what)


def with_summary(text: str) -> str:
    """The end of `outlive --help`, and all that is not installed."""
    for extra, what in _WHATS.items():
        text = with_note(text, extra, what)
    return text
