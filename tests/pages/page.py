"""A page of docs/ that is run: its programs, its commands, and what they are said to print.

A block that begins with three backquotes and `python NAME` is the file NAME. One that begins with `sh` and holds
`ray start --head` says how the cluster is started. One that begins with `console` holds commands, each on a line that
begins with `$ `, and below each what it prints. All other blocks are for the reader alone.
"""

from __future__ import annotations

import re
import shlex
import textwrap
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"^```(?P<kind>\w+)(?: (?P<name>\S+))?\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_PROMPT = "$ "
WIDTH = 100  # columns


@dataclass(frozen=True)
class Step:
    """A command, and the lines that the page shows below it."""

    command: str
    shown: tuple[str, ...]

    @property
    def looks(self) -> bool:
        """It changes nothing, so that it may be run again until it sees what is to be seen."""
        words = shlex.split(self.command)
        return words[0] == "outlive" and "--yes" not in words


@dataclass(frozen=True)
class Page:
    """A page, taken apart."""

    text: str

    @property
    def files(self) -> dict[str, str]:
        """The programs by name."""
        return {block["name"]: block["body"] for block in self._blocks("python") if block["name"]}

    @property
    def start(self) -> list[str]:
        """The options of `ray start`."""
        (line,) = [line for block in self._blocks("sh") for line in block["body"].splitlines() if "ray start" in line]
        return shlex.split(line.split("ray start", 1)[1], comments=True)

    @property
    def steps(self) -> list[Step]:
        """The commands, in their order."""
        found = []
        for block in self._blocks("console"):
            for part in re.split(r"^\$ ", block["body"], flags=re.MULTILINE)[1:]:
                command, *shown = part.splitlines()
                found.append(Step(command, tuple(shown)))
        return found

    def with_outputs(self, outputs: list[list[str]]) -> Page:
        """The same page, with what the commands print now."""
        rest = iter(zip(self.steps, outputs, strict=True))

        def written(block: re.Match[str]) -> str:
            if block["kind"] != "console":
                return block[0]
            lines = ["```console"]
            for _ in range(len(re.findall(r"^\$ ", block["body"], re.MULTILINE))):
                step, output = next(rest)
                lines += [_PROMPT + step.command, *(part for line in output for part in _folded(line))]
            return "\n".join([*lines, "```"])

        return Page(_BLOCK.sub(written, self.text))

    def _blocks(self, kind: str) -> list[re.Match[str]]:
        return [block for block in _BLOCK.finditer(self.text) if block["kind"] == kind]


def _folded(line: str) -> list[str]:
    """A line of the page: at most 100 wide."""
    return textwrap.wrap(line, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False) or [""]
