"""Commands and variables in YAML of other programs that start Ray: compose files, Deployments, workflows, tasks."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from outlive.workers import commands, yaml_nodes
from outlive.workers.checking import command_line, environment
from outlive.workers.checking.misconfiguration import Misconfiguration
from outlive.workers.checking.yaml_lines import line_in_scalar, says_eager
from outlive.workers.templates import UNKNOWN
from outlive.workers.yaml_file import YamlFile
from outlive.workers.yaml_nodes import Mapping, Scalar, Sequence, YamlNode

_COMMANDS = {"args", "cmd", "command", "commands", "entrypoint", "run", "script", "setup", "shell"}
_ENVIRONMENTS = {"containerEnv", "env", "env_vars", "environment", "envs"}


def check(file: YamlFile) -> list[Misconfiguration]:
    """Look at all commands and variables."""
    eager = says_eager(file.lines)
    found = []
    for key, node in _strings(file):
        line_of = line_in_scalar(file, node)
        found += command_line.check_text(node.text, line_of, prose=key not in _COMMANDS, eager=eager)
    for words, line in _lists(file):
        found += command_line.check_text(shlex.join(words), lambda _, line=line: line, eager=eager)  # type: ignore[misc]
    for name, value, line in _variables(file):
        if UNKNOWN not in name + value:
            found += environment.check(name, value, line, eager=eager)
    return found


def starts_ray(file: YamlFile) -> bool:
    """Whether it has anything that `check` looks at."""
    texts = [(node.text, key not in _COMMANDS) for key, node in _strings(file)]
    texts += [(shlex.join(words), False) for words, _ in _lists(file)]
    found = any(commands.find(text, prose=prose) or commands.environment(text, prose=prose) for text, prose in texts)
    return found or any(True for _ in _variables(file))


def _strings(file: YamlFile) -> Iterator[tuple[str, Scalar]]:
    """The texts in it, each with its key."""
    for document in file.documents:
        yield from _below("", document)


def _below(key: str, node: YamlNode) -> Iterator[tuple[str, Scalar]]:
    if isinstance(node, Scalar) and isinstance(node.value, str) and ("start" in node.text or "RAY_" in node.text):
        yield key, node
    elif isinstance(node, Mapping):
        for name, value in node.entries:
            own = str(yaml_nodes.scalar(name))
            if own not in _ENVIRONMENTS:
                yield from _below(own, value)
    elif isinstance(node, Sequence) and not _is_command(node):
        for item in node.items:
            yield from _below(key, item)


def _lists(file: YamlFile) -> Iterator[tuple[list[str], int]]:
    """Commands that are written as a list of their words."""
    for document in file.documents:
        for node in yaml_nodes.walk(document):
            if isinstance(node, Sequence) and _is_command(node):
                yield _words(node), node.line


def _is_command(node: Sequence) -> bool:
    words = _words(node)
    if len(words) < 2 or len(words) != len(node.items):
        return False
    name = words[0].rpartition("/")[2]
    return (name == "ray" and words[1] == "start") or (name in {"bash", "sh"} and words[1].startswith("-"))


def _words(node: Sequence) -> list[str]:
    return [item.text for item in node.items if isinstance(item, Scalar)]


def _variables(file: YamlFile) -> Iterator[tuple[str, str, int]]:
    """Name, value and line of each `RAY_...` variable: in a mapping, as `NAME=value`, or as `name:` and `value:`."""
    for document in file.documents:
        for node in yaml_nodes.walk(document):
            if not isinstance(node, Mapping):
                continue
            for key, value in node.entries:
                if yaml_nodes.scalar(key) in _ENVIRONMENTS:
                    yield from _listed(yaml_nodes.target(value))


def _listed(node: YamlNode) -> Iterator[tuple[str, str, int]]:
    pairs: list[tuple[str, Any, int]] = []
    if isinstance(node, Mapping):
        pairs = [(key.text, value.text, key.line) for key, value in node.entries if _both(key, value)]  # type: ignore[attr-defined]
    for item in yaml_nodes.items(node):
        if isinstance(item, Scalar) and "=" in item.text:
            name, _, text = item.text.partition("=")
            pairs.append((name, text, item.line))
        elif (name_node := yaml_nodes.child(item, "name")) is not None:
            value = yaml_nodes.child(item, "value")
            if _both(name_node, value):
                pairs.append((name_node.text, value.text, item.line))  # type: ignore[attr-defined, union-attr]
    yield from (pair for pair in pairs if pair[0].startswith("RAY_"))


def _both(one: YamlNode | None, other: YamlNode | None) -> bool:
    return isinstance(one, Scalar) and isinstance(other, Scalar)
