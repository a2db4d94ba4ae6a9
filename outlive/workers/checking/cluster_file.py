"""A cluster YAML of `ray up`: Ray's own schema, and what the schema lets pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from outlive.workers import autoscaler_files
from outlive.workers.checking import command_line, schema
from outlive.workers.checking.finding import Finding
from outlive.workers.checking.places import line_in, says_eager
from outlive.workers.commands import Edit
from outlive.workers.yaml_file import Path_, YamlFile

_COMMANDS = {"head_start_ray_commands": False, "worker_start_ray_commands": True}


def check(file: YamlFile) -> list[Finding]:
    """Look at a cluster YAML."""
    found = list(
        schema.check(
            file, (0,), autoscaler_files.schema(), "Ray's own schema (ray-schema.json)", "`ray up` refuses the file"
        )
    )
    eager = says_eager(file)
    for key, worker in _COMMANDS.items():
        items = file.value((0, key))
        for index, command in enumerate(items if isinstance(items, list) else ()):
            if isinstance(command, str):
                path = (0, key, index)
                found += command_line.check_text(
                    command, line_in(file, path), worker=worker, eager=eager, change=_writer(file, path)
                )
    return found + list(_unreachable(file, eager))


def _writer(file: YamlFile, path: Path_) -> Callable[[int, Edit], None]:
    def write(_: int, edit: Edit) -> None:
        file.splice(path, *edit)

    return write


def _unreachable(file: YamlFile, eager: bool) -> Iterator[Finding]:
    """An idle timeout that cannot let any node go, or not when it is meant to."""
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
        yield Finding("unreachable-timeout", line, what, why, "lower min_workers")
    if eager and timeout > 5:
        what = f"idle_timeout_minutes={timeout:g} is longer than Ray's default of 5"
        yield Finding("lazier-than-default", line, what, "the comment says aggressive", "1 or 2, or leave it out")
