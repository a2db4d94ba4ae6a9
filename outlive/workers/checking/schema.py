"""A document of YAML against a JSON schema: Ray's own of `ray up`, KubeRay's of its custom resources."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from outlive.workers.checking import spelling
from outlive.workers.checking.misconfiguration import Misconfiguration
from outlive.workers.plain_data import YamlPath
from outlive.workers.templates import UNKNOWN
from outlive.workers.yaml_file import YamlFile

Unknown = Callable[[str, Any], str | None]
_PLACEHOLDER = re.compile(r"\$\w+|\$\{\w+\}|<[^<>]+>|__\w+__|\w*PLACEHOLDER\w*")
"""A placeholder that envsubst, sed or a person fills in."""


def check(
    file: YamlFile, path: YamlPath, rules: dict[str, Any], source: str, unknown: Unknown
) -> Iterator[Misconfiguration]:
    """Check the value at a path.

    Parameters
    ----------
    source
        The name of the schema, for messages.
    unknown
        The effect of a key that the schema does not have, with its value; None if such a key is allowed.
    """
    validator = _validator(rules)
    data = json.loads(json.dumps(file.value(path), default=str, skipkeys=True))
    for error in sorted(validator.iter_errors(data), key=lambda error: [str(part) for part in error.absolute_path]):
        where = (*path, *error.absolute_path)
        if error.validator == "additionalProperties":
            yield from _unknown(file, where, error, unknown)
        elif isinstance(error.instance, str) and _PLACEHOLDER.fullmatch(error.instance):
            what = f"{error.instance} is filled in later"
            yield Misconfiguration(
                "not-read", file.line_of(where), what, "its value is not known here", "check what it becomes"
            )
        elif not _left_open(file, error):
            name = ".".join(str(part) for part in error.absolute_path) or "the file"
            kind = "wrong-type" if error.validator in {"type", "enum"} else "schema"
            about = error.schema.get("description", "") if isinstance(error.schema, dict) else ""
            message = error.message[:200]
            yield Misconfiguration(
                kind, file.line_of(where), f"{name}: {message}", f"{source}: {about}".rstrip(": "), _remedy(error)
            )


def _validator(rules: dict[str, Any]) -> Any:
    from jsonschema.validators import validator_for

    return validator_for(rules)(rules)


def _left_open(file: YamlFile, error: Any) -> bool:
    """Whether a template fills it in, or it is null, which Kubernetes and Ray take for absent."""
    text = json.dumps(error.instance, ensure_ascii=False)
    return UNKNOWN in text or error.instance is None or (bool(file.unread) and error.validator == "required")


def _remedy(error: Any) -> str:
    if error.validator == "required":
        return f"add {error.message.split()[0]}"
    if error.validator == "type" and error.validator_value == "string" and not isinstance(error.instance, dict | list):
        return f'put it in quotes: "{error.instance}"'
    return f"make it {error.validator_value}" if error.validator in {"type", "minimum"} else "see the examples"


def _unknown(file: YamlFile, where: YamlPath, error: Any, unknown: Unknown) -> Iterator[Misconfiguration]:
    properties = error.schema.get("properties", {})
    for key in error.instance:
        if key in properties or UNKNOWN in key or (why := unknown(key, error.instance[key])) is None:
            continue
        name = spelling.meant(key, properties)
        mend: Callable[[], None] | None = None
        rest = {"$defs": error.schema.get("$defs", {})}
        fits = name is not None and name not in error.instance
        if fits and name is not None and _fits(error.instance[key], properties[name] | rest):

            def mend(path: YamlPath = (*where, key), name: str = name) -> None:
                file.rename(path, name)

        place = f" in {'.'.join(map(str, error.absolute_path))}" if error.absolute_path else ""
        line = file.line_of((*where, key))
        yield Misconfiguration("unknown-key", line, f"no key {key}{place}", why, spelling.advice(key, properties), mend)


def _fits(value: Any, rules: dict[str, Any]) -> bool:
    """Whether the value is allowed at the other key. If it is not, something else is meant."""
    if "$ref" in json.dumps(rules):
        return isinstance(value, dict)
    return bool(_validator(rules).is_valid(value))
