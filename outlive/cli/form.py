"""The form of `--help`: which panel of commands comes first, no type behind a flag, and text as wide as the screen."""

from __future__ import annotations

import inspect
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

ORDER = (
    "put", "get", "rm", "ls", "info",
    "workers",
    "dashboard", "doctor", "explain", "lint", "tune", "versions",
    "stats", "check", "save", "load", "shutdown",
    "nodes", "drain", "metrics",
    "demo",
)  # fmt: skip
"""The commands of `outlive`. A panel is shown where its first command is."""
LOCAL = ("put", "get", "rm", "ls", "info", "stats", "check", "save", "load", "shutdown")
"""Those of a store without Ray too."""


class Command(TyperCommand):
    """A command whose flags have no type in `--help`."""

    def __init__(self, *args: Any, help: str | None = None, **options: Any) -> None:  # noqa: A002 - typer's name
        super().__init__(*args, help=_filled(help), **options)

    def get_params(self, ctx: Any) -> list[Any]:
        """All options and arguments."""
        return _plain(super().get_params(ctx))


class Group(TyperGroup):
    """The same for a group of commands, in the order that they are shown in."""

    def __init__(self, *args: Any, help: str | None = None, **options: Any) -> None:  # noqa: A002 - typer's name
        super().__init__(*args, help=_filled(help), **options)

    def get_params(self, ctx: Any) -> list[Any]:
        """All options and arguments."""
        return _plain(super().get_params(ctx))

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of the commands: first those of `ORDER`."""
        places = {name: place for place, name in enumerate(ORDER)}
        return sorted(super().list_commands(ctx), key=lambda name: places.get(name, len(places)))


def apply(app: typer.Typer) -> None:
    """Give this form to all commands of `app`, and not to its groups."""
    for command in app.registered_commands:
        command.cls = Command


def _filled(text: str | None) -> str | None:
    """A help text with each paragraph of prose in one line, so that only the screen breaks it. Examples stay."""
    if text is None:
        return None
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(one if "\n$ " in one else " ".join(one.splitlines()) for one in paragraphs)


def _plain(params: list[Any]) -> list[Any]:
    for param in params:
        if getattr(param, "is_flag", False) and param.metavar is None:
            param.metavar = ""
    return params
