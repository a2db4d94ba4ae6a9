"""Text that starts Ray: shell scripts, Dockerfiles, systemd units, notes. All but commands becomes blank lines."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from outlive.workers import commands
from outlive.workers.checking import command_line
from outlive.workers.checking.misconfiguration import Misconfiguration
from outlive.workers.checking.yaml_lines import says_eager

_SHELL_SUFFIXES = {
    ".bash", ".bsub", ".ksh", ".lsf", ".pbs", ".qsub", ".sbatch", ".sh", ".slurm", ".sub", ".zsh",
}  # fmt: skip
_SHEBANG = re.compile(r"#!.*\b(?:ba|da|k|z|a)?sh\b")
_FROM = re.compile(r"(?:\s*#[^\n]*\n|\s*\n|\s*ARG\s[^\n]*\n)*\s*FROM\s", re.IGNORECASE)
_UNIT = re.compile(r"^\[Service\]\s*$", re.MULTILINE)
_INSTRUCTION = re.compile(r"[ \t]*(?:(?:ONBUILD|HEALTHCHECK[^\n]*?)\s+)?(RUN|CMD|ENTRYPOINT|ENV)\s+", re.IGNORECASE)
_FLAGS = re.compile(r"(?:--\w+(?:=\S+)?\s+)+")
_UNIT_KEY = re.compile(r"(Environment|Exec\w+)[ \t]*=[ \t]*[-@:+!|]*")


def shell_text(path: Path, text: str) -> tuple[str, bool]:
    """A file as shell text, with the same line numbers, and whether it may be prose."""
    if path.suffix == ".service" or _UNIT.search(text):
        return _unit(text), False
    name = path.name.lower()
    if name.endswith(".env") or name.startswith(".env"):
        return "set -a; " + text, False
    if name.startswith(("dockerfile", "containerfile")) or path.suffix == ".dockerfile" or _FROM.match(text):
        return _dockerfile(text), False
    return text, not (path.suffix in _SHELL_SUFFIXES or _SHEBANG.match(text))


def check(path: Path, text: str) -> list[Misconfiguration] | None:
    """Check a file; None if it has nothing of Ray."""
    shell, prose = shell_text(path, text)
    if not commands.find(shell, prose=prose) and not commands.environment(shell, prose=prose):
        return None
    eager = says_eager(text.splitlines())
    return command_line.check_text(shell, lambda offset: shell.count("\n", 0, offset) + 1, prose=prose, eager=eager)


def _logical(text: str) -> list[str]:
    """Lines with their continuations."""
    made: list[str] = []
    going_on = False
    for line in text.splitlines(keepends=True):
        if going_on:
            made[-1] += line
        else:
            made.append(line)
        comment = going_on and line.lstrip().startswith("#")
        going_on = comment or (line.rstrip().endswith("\\") and not line.lstrip().startswith("#"))
    return made


def _blank(text: str) -> str:
    return re.sub(r"[^\r\n]", " ", text)


def _bridged(text: str) -> str:
    """Turn comments between the lines of one command into continuations: in a shell they would end it."""
    return re.sub(r"^[ \t]*#[^\r\n]*", r"\\", text, flags=re.MULTILINE)


def _dockerfile(text: str) -> str:
    made, until = [], None
    for line in _logical(text):
        head = _INSTRUCTION.match(line)
        if until is not None:
            made.append(line)
            until = None if line.strip() == until else until
            continue
        if head is None:
            made.append(_blank(line))
            continue
        keyword, rest = head.group(1).upper(), line[head.end() :]
        if flags := _FLAGS.match(rest):
            rest = _blank(flags.group()) + rest[flags.end() :]
        if keyword == "ENV":
            made.append(_variables(rest))
        else:
            made.append(_bridged(_command(rest)))
            here = re.search(r"<<-?[ \t]*[\"']?(\w+)", rest)
            until = here.group(1) if here else None
    return "".join(made)


def _variables(rest: str) -> str:
    """`ENV a=b` or `ENV a b` as shell text."""
    words = rest.split()
    return "export " + (rest if words and "=" in words[0] else re.sub(r"\A(\S+)[ \t]+", r"\1=", rest))


def _command(rest: str) -> str:
    """`["ray", "start"]` as shell text."""
    try:
        words = json.loads(rest.replace("\\\n", "\n"))
    except ValueError:
        return rest
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return rest
    return shlex.join(words) + "\n" * rest.count("\n")


def _unit(text: str) -> str:
    made = []
    for line in _logical(text):
        key = _UNIT_KEY.match(line)
        if key is None:
            made.append(_blank(line))
        elif key.group(1) == "Environment":
            made.append("export " + line[key.end() :])
        else:
            made.append(_bridged(line[key.end() :]))
    return "".join(made)
