"""A cluster YAML of `ray up`: Ray's own schema, and what the schema lets pass."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray

from outlive.workers import commands
from outlive.workers.checking import command_line
from outlive.workers.checking.finding import Finding
from outlive.workers.yaml_file import YamlFile

_EAGER = ("aggressive", "eager", "quick", "as soon as", "immediately", "sooner")
_COMMANDS = {"head_start_ray_commands": False, "worker_start_ray_commands": True}


def check(file: YamlFile) -> list[Finding]:
    """Look at a cluster YAML."""
    found = list(_against_schema(file))
    eager = says_eager(file)
    for key, worker in _COMMANDS.items():
        items = file.data.get(key)
        for index, command in enumerate(items if isinstance(items, list) else []):
            if not isinstance(command, str):
                continue
            line = file.line_of(items, index) + 1
            for start in commands.find(command):
                write = _writer(file, key, index, start)
                found += command_line.check(start, line, worker=worker, eager=eager, change=write)
    return found + list(_unreachable(file, eager))


def says_eager(file: YamlFile) -> bool:
    """A comment says that cleaning up aggressively is meant."""
    comments = (line.partition("#")[2].lower() for line in file.lines if "#" in line)
    return any(word in comment for comment in comments for word in _EAGER)


def _writer(file: YamlFile, key: str, index: int, start: commands.RayStart) -> Callable[[str], None]:
    def write(text: str) -> None:
        items = file.data[key]
        again = next(one for one in commands.find(items[index]) if one.start == start.start)
        file.replace_item(items, index, commands.replaced(items[index], again, text))

    return write


def schema() -> dict[str, Any]:
    """The schema that comes with the installed Ray."""
    path = Path(str(ray.__file__)).parent / "autoscaler" / "ray-schema.json"
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def _against_schema(file: YamlFile) -> Iterator[Finding]:
    from jsonschema.validators import validator_for

    rules = schema()
    validator = validator_for(rules)(rules)
    plain = json.loads(json.dumps(file.data, default=str))
    for error in sorted(validator.iter_errors(plain), key=lambda error: [str(part) for part in error.absolute_path]):
        line = _line(file, list(error.absolute_path))
        if error.validator == "additionalProperties":
            yield from _wrong_keys(file, error, line)
            continue
        where = ".".join(str(part) for part in error.absolute_path) or "the file"
        kind = "wrong-type" if error.validator == "type" else "schema"
        description = error.schema.get("description", "") if isinstance(error.schema, dict) else ""
        why = f"Ray's own schema: {description}" if description else "Ray's own schema (ray-schema.json)"
        yield Finding(kind, line, f"{where}: {error.message[:200]}", why, _remedy(error))


def _remedy(error: Any) -> str:
    if error.validator == "required":
        return f"add {error.message.split()[0]}"
    return f"make it {error.validator_value}" if error.validator in {"type", "minimum"} else "see Ray's example YAML"


def _wrong_keys(file: YamlFile, error: Any, line: int) -> Iterator[Finding]:
    allowed = list(error.schema.get("properties", {}))
    mapping = file.data
    for part in error.absolute_path:
        mapping = mapping[part]
    for key in mapping:
        if key in allowed:
            continue
        close = difflib.get_close_matches(str(key), allowed, 1, 0.6)
        fix = f"did you mean {close[0]}?" if close else f"one of: {', '.join(sorted(allowed))}"
        mend = None
        if close and close[0] not in mapping:

            def mend(
                key: str = str(key), name: str = close[0], path: tuple[Any, ...] = tuple(error.absolute_path)
            ) -> None:
                at = file.data
                for part in path:
                    at = at[part]
                file.rename_key(at, key, name)

        here = file.line_of(mapping, key) + 1 if hasattr(mapping, "lc") else line
        yield Finding("unknown-key", here, f"no key {key}", "`ray up` refuses the file", fix, mend)


def _line(file: YamlFile, path: list[Any]) -> int:
    """The line of a value, from 1."""
    at, row = file.data, 0
    for part in path:
        row = file.line_of(at, part)
        at = at[part]
    return row + 1


def _unreachable(file: YamlFile, eager: bool) -> Iterator[Finding]:
    """An idle timeout that cannot let any node go, or not when it is meant to."""
    timeout = file.data.get("idle_timeout_minutes")
    if not isinstance(timeout, int | float) or isinstance(timeout, bool):
        return
    line = file.line_of(file.data, "idle_timeout_minutes") + 1
    types = file.data.get("available_node_types")
    workers = {
        name: about
        for name, about in (types.items() if hasattr(types, "items") else ())
        if name != file.data.get("head_node_type") and hasattr(about, "get")
    }
    if workers and all(
        about.get("min_workers", 0) == about.get("max_workers", file.data.get("max_workers", 2))
        for about in workers.values()
    ):
        why = "every worker type has min_workers equal to max_workers, so that the autoscaler may remove none"
        what = f"idle_timeout_minutes={timeout:g} can let no node go"
        yield Finding("unreachable-timeout", line, what, why, "lower min_workers")
    if eager and timeout > 5:
        what = f"idle_timeout_minutes={timeout:g} is longer than Ray's default of 5"
        yield Finding("lazier-than-default", line, what, "the comment says aggressive", "1 or 2, or leave it out")
