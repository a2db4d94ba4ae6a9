"""The commands of outlive that pages show: are they there, with these options?"""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterator

from website.commands import walk

_BLOCK = re.compile(r"^```(?:sh|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_OUTLIVE = re.compile(r"(?:^|\$ |\| *|&& *|sudo |-- )(outlive(?: .*)?)$")


@functools.cache
def options() -> dict[str, set[str]]:
    """The options of each command, by its name."""
    return {
        name: {option for param in command.get_params(context) for option in [*param.opts, *param.secondary_opts]}
        for name, command, context in walk()
    }


def shown(text: str) -> Iterator[list[str]]:
    """The words of each command of outlive in the blocks of a page."""
    for block in _BLOCK.finditer(text):
        for line in block[1].splitlines():
            if found := _OUTLIVE.search(line.partition("  #")[0].rstrip()):
                yield shlex.split(re.split(r" [|<>&]", found[1])[0])


def wrong(words: list[str]) -> str:
    """What is wrong with a command; "" if nothing is."""
    name, rest = words[0], words[1:]
    while rest and f"{name} {rest[0]}" in options():
        name, rest = f"{name} {rest[0]}", rest[1:]
    if name == "outlive" and rest and not rest[0].startswith("-"):
        return f"no command {rest[0]!r}"
    known = options()[name]
    unknown = [word for word in rest if word.startswith("-") and word != "-" and word.partition("=")[0] not in known]
    return f"{name} has no {unknown[0]}" if unknown else ""
