"""A YAML file that is changed line by line: comments, order, quotes and everything else stay as they are.

ruamel.yaml says on which line each value stands; only those lines are written anew. Dumping the parsed file would
re-indent and re-wrap the rest of it.
"""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

from outlive.errors import BadClusterFile


class YamlFile:
    """The text of the file, and its parsed form with line numbers."""

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self.original = text
        self.lines = text.splitlines(keepends=True)
        self.data = _parse(text, name)

    @classmethod
    def read(cls, path: Path) -> YamlFile:
        """Read a file.

        Raises
        ------
        BadClusterFile
            It is not a YAML mapping in UTF-8.
        """
        try:
            text = path.read_bytes().decode()
        except UnicodeDecodeError:
            raise BadClusterFile(f"{path} is no text in UTF-8: give a cluster YAML") from None
        return cls(text, str(path))

    @property
    def text(self) -> str:
        """As it is now."""
        return "".join(self.lines)

    def diff(self) -> str:
        """What changed, as a unified diff."""
        before, after = self.original.splitlines(keepends=True), self.text.splitlines(keepends=True)
        return "".join(difflib.unified_diff(before, after, self.name, self.name + " (patched)"))

    def line_of(self, mapping: Any, key: Any) -> int:
        """The line of a key or of an item of a list, from 0."""
        position = mapping.lc.data.get(key) if hasattr(mapping, "lc") and mapping.lc.data else None
        return int(position[0]) if position else 0

    def set_scalar(self, mapping: Any, key: str, value: Any) -> None:
        """Give `key` this value, on its own line; a new key goes below the last one of `mapping`."""
        if key in mapping:
            row, _, value_row, column = mapping.lc.data[key]
            line = self.lines[value_row]
            end = _scalar_end(line, column)
            self.lines[value_row] = line[:column] + _scalar(value) + line[end:]
            if row != value_row and not line.strip():
                raise BadClusterFile(f"{self.name}, line {row + 1}: cannot set {key}")
        else:
            indent = " " * (mapping.lc.col if hasattr(mapping, "lc") else 0)
            self.insert(self._end_of(mapping), f"{indent}{key}: {_scalar(value)}\n")
            return
        self._again()

    def replace_item(self, sequence: Any, index: int, value: str) -> None:
        """Write an item of a list of commands anew. It may span lines; it takes one afterwards."""
        row, column = sequence.lc.data[index][:2]
        last = self._last_line(row)
        ending = "\n" if self.lines[last].endswith("\n") else ""
        self.lines[row : last + 1] = [self.lines[row][:column] + _scalar(value) + ending]
        self._again()

    def insert(self, row: int, line: str) -> None:
        """Put a line before the line `row`."""
        if row and not self.lines[row - 1].endswith("\n"):
            self.lines[row - 1] += "\n"
        self.lines.insert(row, line)
        self._again()

    def append(self, text: str) -> None:
        """Put lines at the end."""
        if self.lines and not self.lines[-1].endswith("\n"):
            self.lines[-1] += "\n"
        self.lines += text.splitlines(keepends=True)
        self._again()

    def rename_key(self, mapping: Any, key: str, name: str) -> None:
        """Call a key otherwise."""
        row, column = mapping.lc.data[key][:2]
        line = self.lines[row]
        self.lines[row] = line[:column] + line[column:].replace(key, name, 1)
        self._again()

    def _again(self) -> None:
        self.data = _parse(self.text, self.name)

    def _end_of(self, mapping: Any) -> int:
        """The line behind the last one of a mapping."""
        last = max((position[0] for position in mapping.lc.data.values()), default=0)
        indent = len(self.lines[last]) - len(self.lines[last].lstrip())
        row = last + 1
        while row < len(self.lines):
            line = self.lines[row]
            deeper = len(line) - len(line.lstrip()) > indent or (
                line.lstrip().startswith("- ") and len(line) - len(line.lstrip()) == indent
            )
            if not line.strip() or not deeper:
                break
            row += 1
        return row

    def _last_line(self, row: int) -> int:
        """The last line of the list item that begins there: until one that is not indented deeper than its dash."""
        dash = len(self.lines[row]) - len(self.lines[row].lstrip())
        last = row
        while last + 1 < len(self.lines):
            line = self.lines[last + 1]
            if not line.strip() or line.lstrip().startswith("#") or len(line) - len(line.lstrip()) <= dash:
                break
            last += 1
        return last


def _parse(text: str, name: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        data = YAML(typ="rt").load(text)
    except YAMLError as error:
        mark: Any = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise BadClusterFile(f"{name}{where}: no YAML: {problem}") from None
    except ValueError as error:
        raise BadClusterFile(f"{name}: no YAML: {error}") from None
    if not hasattr(data, "lc") or not hasattr(data, "keys"):
        raise BadClusterFile(f"{name} is no YAML mapping: give a cluster YAML or a RayCluster")
    return data


def _scalar(value: Any) -> str:
    """A value as YAML: plain where that is safe, else quoted."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    text = str(value)
    risky = not text or text != text.strip() or text[0] in "!&*?|>@`%{[]},#'\"-" or ": " in text or " #" in text
    if not risky and not text.endswith(":"):
        return text
    return "'" + text.replace("'", "''") + "'" if "\n" not in text else json.dumps(text)


def _scalar_end(line: str, column: int) -> int:
    """Where the scalar that begins at `column` ends: before its comment or the newline."""
    quote = line[column] if column < len(line) and line[column] in "'\"" else None
    if quote:
        closing = line.find(quote, column + 1)
        return closing + 1 if closing >= 0 else len(line.rstrip("\n"))
    comment = line.find(" #", column)
    end = comment if comment >= 0 else len(line.rstrip("\n"))
    return len(line[:end].rstrip())
