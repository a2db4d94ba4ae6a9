"""`ray start` command lines and `RAY_...` variables: found in shell text, read, and changed in place."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from outlive.workers import shell
from outlive.workers.settings import Value
from outlive.workers.shell import Command, Word

Edit = tuple[int, int, str]
"""An edit: the offsets of the first letter and behind the last, and the text that replaces them."""
Outer = Callable[[Edit], Edit]
"""Turns an edit of a text in quotes into an edit of the text around it."""

_OPTION = "--system-config"
_SHELLS = {"ash", "bash", "dash", "ksh", "sh", "zsh"}
_PRINTS = {
    "[", "[[", "alias", "awk", "cat", "die", "echo", "egrep", "error", "fail", "grep", "info", "killall", "log", "man",
    "pgrep", "pkill", "print", "printf", "read", "rg", "sed", "test", "usage", "warn", "warning", "which",
}  # fmt: skip
"""Programs that print or search a text: a `ray start` behind them is not run."""
_LAUNCHERS = {
    "aprun", "apptainer", "blaunch", "builtin", "command", "conda", "docker", "enroot", "env", "exec", "ibrun", "jsrun",
    "kubectl", "micromamba", "mpiexec", "mpirun", "nice", "nohup", "numactl", "oc", "pdsh", "pixi", "podman", "poetry",
    "setsid", "shifter", "singularity", "srun", "ssh", "stdbuf", "sudo", "taskset", "timeout", "uv", "xargs",
}  # fmt: skip
"""Programs that run the command behind them."""
_DEEPEST = 4
"""The depth to which nested quotes and here-documents are read."""
_VARIABLE = re.compile(r"RAY_\w+\Z")


@dataclass(frozen=True)
class RayStart:
    """One `ray start ...` in a shell text."""

    text: str
    """The command as it is written, from `ray` to its last word."""
    offset: int
    """The offset of its start in the outermost text."""
    words: tuple[str, ...]
    """The words behind `ray start`, with quotes undone."""
    known: bool
    """Whether all words are known. `$ARGS`, for example, is known only when the command runs."""
    option: tuple[int, int] | None = field(default=None, repr=False)
    """The span of `--system-config` and its value."""
    before: int = field(default=0, repr=False)
    """The end of the word before them."""
    end: int = field(default=0, repr=False)
    config: str | None = None
    """The value of `--system-config`, with quotes undone; None if there is no such option, or it is not known."""
    outer: Outer = field(default=lambda edit: edit, repr=False, compare=False)
    quote: str = ""
    """The quotes around the whole command, as of `bash -c '...'`."""

    @property
    def head(self) -> bool:
        """Whether it starts a head node."""
        return "--head" in self.words

    @property
    def worker(self) -> bool:
        """Whether it certainly starts no head node."""
        return not self.head and (self.known or any(word.startswith("--address") for word in self.words))

    def settings(self) -> dict[str, Any]:
        """The JSON object of `--system-config`; empty without it.

        Raises
        ------
        ValueError
            It is not a JSON object, or is made when the command runs.
        """
        if self.option is None:
            return {}
        if self.config is None:
            raise ValueError("it is made when the command runs")
        loaded = json.loads(self.config)
        if not isinstance(loaded, dict):
            raise ValueError(f"{self.config!r} is no JSON object")  # noqa: TRY004 - as json does
        return loaded

    def with_settings(self, settings: dict[str, Value]) -> Edit:
        """The edit that adds these settings to its `--system-config`. Other settings stay.

        Raises
        ------
        ValueError
            The present value is not a JSON object.
        """
        return self.with_only({**self.settings(), **settings})

    def with_only(self, settings: dict[str, Any]) -> Edit:
        """The edit that gives it these settings and no others."""
        written = system_config_option(settings, self.quote)
        return self.outer((*self.option, written) if self.option else (self.end, self.end, f" {written}"))

    def without_settings(self) -> Edit | None:
        """The edit that removes its `--system-config`; None if there is none."""
        return None if self.option is None else self.outer((self.before, self.option[1], ""))


@dataclass(frozen=True)
class Variable:
    """A variable that a shell text puts into the environment of the programs that it starts."""

    name: str
    value: str
    known: bool
    offset: int


def system_config_option(settings: dict[str, Any], within: str = "") -> str:
    """`--system-config='{...}'`, quoted for a shell; `within` are the quotes that it stands in."""
    written = json.dumps(settings, separators=(",", ":"))
    if within == "'" and not set("$`\\!") & set(written):
        return f'{_OPTION}="' + written.replace('"', '\\"') + '"'
    return f"{_OPTION}={shlex.quote(written)}"


def edited(text: str, edit: Edit) -> str:
    """The text after an edit."""
    return text[: edit[0]] + edit[2] + text[edit[1] :]


def find(text: str, *, prose: bool = False) -> list[RayStart]:
    """Every `ray start` that a shell text runs, those in the quotes of `bash -c '...'` included.

    Parameters
    ----------
    prose
        The text may have other things than commands. Only lines that begin with `ray start`, or with a program that
        runs another, count.
    """
    return [one for one in _scan(text, prose) if isinstance(one, RayStart)]


def environment(text: str, *, prose: bool = False) -> list[Variable]:
    """The `RAY_...` variables that a shell text sets for the programs that it starts."""
    return [one for one in _scan(text, prose) if isinstance(one, Variable)]


def _scan(text: str, prose: bool) -> Iterator[RayStart | Variable]:
    yield from _Scan(text, prose, lambda edit: edit, "").run(0, len(text), 0)


class _Scan:
    def __init__(self, text: str, prose: bool, outer: Outer, quote: str) -> None:
        self.text = text
        self.prose = prose
        self.outer = outer
        self.quote = quote

    def run(self, start: int, end: int, depth: int) -> Iterator[RayStart | Variable]:
        found = shell.commands(self.text, start, end)
        exported = _exported(found)
        for command in found:
            at = _ray(command, self.prose)
            yield from self._variables(command, exported, command.words[:at] if at else [])
            if at is not None:
                yield self._ray_start(command.words[at:])
            elif command.name not in _PRINTS and depth < _DEEPEST:
                yield from self._inside(command, depth)
            for first, last in command.here if depth < _DEEPEST else ():
                below = _Scan(self.text, True, self.outer, self.quote)
                yield from below.run(first, last, depth + 1)

    def _inside(self, command: Command, depth: int) -> Iterator[RayStart | Variable]:
        """The texts in the quotes of a command's words."""
        script = _script(command)
        for word in (*command.assignments, *command.words):
            if not word.quoted or "start" not in word.text:
                continue
            skip = word.text.index("=") + 1 if word in command.assignments else 0
            quote = word.quotes[-1]
            below = _Scan(word.text, word is not script, _outer(word, self.outer), quote)
            yield from below.run(skip, len(word.text), depth + 1)

    def _variables(self, command: Command, exported: set[str], before: list[Word]) -> Iterator[Variable]:
        for word in (*command.assignments, *(command.words if _exports(command) else before)):
            name, equals, value = word.text.partition("=")
            own = word in command.assignments and not command.words
            if equals and _VARIABLE.match(name) and (not own or name in exported or "*" in exported):
                yield Variable(name, value, word.known, self.outer((word.start, word.start, ""))[0])

    def _ray_start(self, words: list[Word]) -> RayStart:
        rest = words[2:]
        option, config, before = None, None, 0
        for previous, word, following in zip(words[1:], rest, [*rest[1:], None], strict=False):
            if word.text == _OPTION and following is not None:
                option, config = (word.start, following.end), following.text if following.known else None
                before = previous.end
            elif word.text.startswith(_OPTION + "="):
                option, config = (word.start, word.end), word.text.partition("=")[2] if word.known else None
                before = previous.end
        start, end = words[0].start, words[-1].end
        return RayStart(
            self.text[start:end],
            self.outer((start, start, ""))[0],
            tuple(word.text for word in rest),
            all(word.known or word.text.startswith("--") for word in rest),
            option,
            before,
            end,
            config,
            self.outer,
            self.quote,
        )


def _outer(word: Word, around: Outer) -> Outer:
    """Turns edits of a word's text into edits of the text that has the word."""

    def outer(edit: Edit) -> Edit:
        start, end, new = edit
        if start < end:
            first, last = word.spans[start][0], word.spans[end - 1][1]
            quote, following = word.quotes[start], word.quotes[end - 1]
        else:
            first = last = word.spans[start - 1][1] if start else word.spans[0][0]
            quote = following = word.quotes[max(start - 1, 0)]
        close = quote + following if quote != following else ""  # the next letters are in other quotes
        return around((first, last, shell.quoted_for(new, quote) + close))

    return outer


def _ray(command: Command, prose: bool) -> int | None:
    """The index of `ray start` among the words of a command that runs it."""
    words = [word.text for word in command.words]
    if command.name in _PRINTS:
        return None
    for i, (one, two) in enumerate(itertools.pairwise(words)):
        if two != "start" or not (one in {"ray", "ray.scripts.scripts"} or one.endswith("/ray")):
            continue
        if prose and ((i and not _launches(command)) or _positional(words[i + 2 :])):
            return None
        return i
    return None


def _launches(command: Command) -> bool:
    return command.name in _LAUNCHERS | _SHELLS or command.name.startswith("python")


def _positional(words: list[str]) -> bool:
    """Words that are neither options nor their values: `ray start` has none."""
    return any(
        not word.startswith(("-", "$", "#")) and not before.startswith("-")
        for before, word in zip(["", *words], words, strict=False)
    )


def _script(command: Command) -> Word | None:
    """The script of `bash -c SCRIPT`, anywhere in the command."""
    names = [word.text.rpartition("/")[2] for word in command.words]
    for i, name in enumerate(names):
        if name in _SHELLS:
            for option, script in zip(command.words[i + 1 :], command.words[i + 2 :], strict=False):
                if re.fullmatch(r"-[a-z]*c", option.text):
                    return script
    return command.words[1] if command.name == "eval" and len(command.words) > 1 else None


def _exports(command: Command) -> bool:
    """Whether its arguments `NAME=value` become variables of the program that it starts."""
    return command.name in {"export", "declare", "typeset", "env", "sudo", "docker", "podman", "setenv"}


def _exported(found: list[Command]) -> set[str]:
    """The names that are exported apart from their values; "*" for all."""
    names = {word.text for one in found if one.name == "export" for word in one.words[1:]}
    every = any(one.name == "set" and {"-a", "allexport"} & {word.text for word in one.words} for one in found)
    return names | {"*"} if every else names
