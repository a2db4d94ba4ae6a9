"""`[tool.outlive.lint]` in pyproject.toml: select, ignore, exclude."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outlive.lint.selection import UnknownRule, parse

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class BadConfiguration(ValueError):
    """pyproject.toml is not TOML, or has something under [tool.outlive.lint] that lint does not know."""


@dataclass(frozen=True)
class Configuration:
    """The settings in pyproject.toml."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


def load(folder: Path) -> Configuration:
    """The settings in the nearest pyproject.toml at or above `folder`.

    Raises
    ------
    BadConfiguration
    """
    for above in (folder, *folder.parents):
        path = above / "pyproject.toml"
        if path.is_file():
            return _read(path)
    return Configuration()


def _read(path: Path) -> Configuration:
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfiguration(f"{path}: {error}") from None
    table: Any = document
    for name in ("tool", "outlive", "lint"):
        table = table.get(name, {}) if isinstance(table, dict) else {}
    if not isinstance(table, dict):
        raise BadConfiguration(f"{path}: [tool.outlive.lint] is no table")
    for name, value in table.items():
        if name not in {"select", "ignore", "exclude"}:
            raise BadConfiguration(f"{path}: [tool.outlive.lint] has no {name!r}; it takes select, ignore and exclude")
        if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
            raise BadConfiguration(f"{path}: [tool.outlive.lint] {name} is to be a list of strings")
    try:
        select, ignore = parse(",".join(table.get("select", []))), parse(",".join(table.get("ignore", [])))
    except UnknownRule as error:
        raise BadConfiguration(f"{path}: {error}") from None
    return Configuration(tuple(select), tuple(ignore), tuple(table.get("exclude", [])))
