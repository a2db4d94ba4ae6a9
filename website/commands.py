"""The reference of commands: made from what `--help` shows, by walking the commands themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer

from outlive.cli.app import app

PAGE = "reference/commands.md"
_BOLD = re.compile(r"\[/?bold\]")
_OPTION = re.compile(r"`[^`]*`|(?<![\w-])(--[a-z][a-z-]*)")
"""Code, or an option in prose, which may not be parted at its hyphens (site.css)."""
_DOCS = re.compile(r"\bdocs/([\w.-]+\.md)\b")


def walk() -> Iterator[tuple[str, Any, Any]]:
    """Each command's whole name, the command, and its context: `outlive` first."""
    command = typer.main.get_command(app)
    yield from _below("outlive", command, None)


def _below(name: str, command: Any, parent: Any) -> Iterator[tuple[str, Any, Any]]:
    context = command.make_context(name.rpartition(" ")[2], [], parent=parent, resilient_parsing=True)
    yield name, command, context
    for short, inner in getattr(command, "commands", {}).items():
        yield from _below(f"{name} {short}", inner, context)


def page() -> str:
    """The whole page."""
    text = [
        "# Commands",
        "",
        "All of this is what `--help` says.",
        "",
    ]
    for name, command, context in walk():
        text += _entry(name, command, context)
    return "\n".join(text)


def _entry(name: str, command: Any, context: Any) -> Iterator[str]:
    yield from (f"## {name}", "", "```text", context.get_usage().removeprefix("Usage: "), "```", "")
    yield from _prose(command.help or "")
    rows = [(param, param.get_help_record(context)) for param in command.get_params(context)]
    for title, kind in (("argument", "argument"), ("option", "option")):
        shown = [record for param, record in rows if param.param_type_name == kind and record]
        if shown:
            yield from (f"| {title} | |", "|---|---|")
            for spelled, about in shown:
                yield f"| `{_cell(spelled)}` | {_linked(_cell(about))} |"
            yield ""
    if command.epilog:
        yield from (_linked(command.epilog), "")


def _prose(text: str) -> Iterator[str]:
    """The help text; its lines that begin with `$ ` are one block of code."""
    code = False
    for line in text.splitlines():
        is_code = line.startswith("$ ") or (code and line.startswith("  "))
        if is_code != code:
            yield from ("```console",) if is_code else ("```", "")
            code = is_code
        yield line if is_code else _linked(_BOLD.sub("**", line))
        if not is_code and _BOLD.search(line):
            yield ""
    yield from ("```", "") if code else ("",)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def _linked(text: str) -> str:
    return _DOCS.sub(r"[\1](../\1)", _OPTION.sub(lambda one: f"`{one[1]}`{{ .option }}" if one[1] else one[0], text))
