"""A cluster YAML of `ray up`: Ray's own schema, and mistakes that the schema lets pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from outlive.workers import autoscaler_files
from outlive.workers.checking import command_line, schema
from outlive.workers.checking.misconfiguration import Misconfiguration
from outlive.workers.checking.yaml_lines import line_in, says_eager
from outlive.workers.commands import Edit
from outlive.workers.plain_data import YamlPath
from outlive.workers.yaml_file import YamlFile

_COMMANDS = {"head_start_ray_commands": False, "worker_start_ray_commands": True}


def check(file: YamlFile) -> list[Misconfiguration]:
    """Look at a cluster YAML."""
    rules = autoscaler_files.schema()
    found = [*schema.check(file, (0,), rules, "Ray's own schema (ray-schema.json)", _unknown), *_bounds(file)]
    if len(file.documents) > 1:
        what = f"{len(file.documents)} documents"
        found.append(
            Misconfiguration("schema", file.documents[1].line, what, "`ray up` reads files with one", "split the file")
        )
    eager = says_eager(file.lines)
    for key, worker in _COMMANDS.items():
        items = file.value((0, key))
        for index, command in enumerate(items if isinstance(items, list) else ()):
            if isinstance(command, str):
                path = (0, key, index)
                found += command_line.check_text(
                    command, line_in(file, path), worker=worker, eager=eager, change=_writer(file, path)
                )
    return found + list(_unreachable(file, eager))


def _unknown(key: str, value: Any) -> str | None:
    """The rule of `prepare_config` in ray/autoscaler/_private/util.py."""
    if key == "min_workers":
        return "`ray up` drops it without a word"
    if key in {"head_node", "worker_nodes"} and not value:
        return None
    return "`ray up` refuses the file"


def _bounds(file: YamlFile) -> Iterator[Misconfiguration]:
    """Further rules of `validate_config` in the same file."""
    types, head = file.value((0, "available_node_types")), file.value((0, "head_node_type"))
    if not isinstance(types, dict) or file.template:
        return
    if isinstance(head, str) and head not in types:
        line = file.line_of((0, "head_node_type"))
        what = f"head_node_type: no type {head} in available_node_types"
        yield Misconfiguration(
            "schema", line, what, "`ray up` refuses the file", f"one of: {', '.join(map(str, types))}"
        )
    least = [about.get("min_workers", 0) for about in types.values() if isinstance(about, dict)]
    most = file.value((0, "max_workers"))
    if isinstance(most, int) and all(isinstance(one, int) for one in least) and sum(least) > most:
        line = file.line_of((0, "max_workers"))
        what = f"max_workers={most} is below the sum {sum(least)} of all min_workers"
        yield Misconfiguration("schema", line, what, "`ray up` refuses the file", "raise it, or lower min_workers")


def _writer(file: YamlFile, path: YamlPath) -> Callable[[int, Edit], None]:
    def write(_: int, edit: Edit) -> None:
        file.splice(path, *edit)

    return write


def _unreachable(file: YamlFile, eager: bool) -> Iterator[Misconfiguration]:
    """An idle timeout that can let no node go, or too late."""
    timeout = file.value((0, "idle_timeout_minutes"))
    if not isinstance(timeout, int | float) or isinstance(timeout, bool):
        return
    line = file.line_of((0, "idle_timeout_minutes"))
    types = file.value((0, "available_node_types"))
    workers = {
        name: about
        for name, about in (types.items() if isinstance(types, dict) else ())
        if name != file.value((0, "head_node_type")) and isinstance(about, dict)
    }
    most = file.value((0, "max_workers"))
    if workers and all(
        about.get("min_workers", 0) == about.get("max_workers", 2 if most is None else most)
        for about in workers.values()
    ):
        why = "every worker type has min_workers equal to max_workers, so that the autoscaler may remove none"
        what = f"idle_timeout_minutes={timeout:g} can let no node go"
        yield Misconfiguration("unreachable-timeout", line, what, why, "lower min_workers")
    if eager and timeout > 5:
        what = f"idle_timeout_minutes={timeout:g} is longer than Ray's default of 5"
        yield Misconfiguration(
            "lazier-than-default", line, what, "the comment says aggressive", "1 or 2, or leave it out"
        )
