"""A YAML file that is changed only at the value itself: every other letter of the text stays as it is.

Each change is tried on the text, which is read again and compared. The new file differs from the old one in that value
alone, or the change is refused.
"""

from __future__ import annotations

import copy
import difflib
import json
from pathlib import Path
from typing import Any

from outlive.errors import BadClusterFile
from outlive.workers import replacing, templates, yaml_nodes
from outlive.workers.plain_data import YamlPath, at, changed, same, without
from outlive.workers.yaml_nodes import Alias, Mapping, Scalar, Sequence, YamlNode
from outlive.workers.yaml_scalars import Letters, emit, emit_lines, encode, letters

_Edit = tuple[int, int, str]
_LARGEST_BYTES = 8 << 20


class YamlFile:
    """The text of the file, and its documents as nodes that know their offsets."""

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self.original = text
        self.unread: list[int] = []
        """The lines of a template whose result is not known, from 1."""
        self.template = False
        """Whether Helm, Jinja or the like fill in parts of it. These read as `templates.UNKNOWN`."""
        self._json = _is_json(text)
        self.notes: list[str] = []
        """Notes for the user who changes the file."""
        self._take(text)

    @classmethod
    def read(cls, path: Path) -> YamlFile:
        """Read a file.

        Raises
        ------
        BadClusterFile
            The file is not YAML in UTF-8 with a mapping in it.
        """
        raw = path.read_bytes()
        if len(raw) > _LARGEST_BYTES:
            raise BadClusterFile(f"{path} has {len(raw) >> 20} MiB: no cluster file")
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            raise BadClusterFile(f"{path} is no text in UTF-8: give a cluster YAML") from None
        return cls(text, str(path))

    @property
    def lines(self) -> list[str]:
        """The lines as they are now, with their ends."""
        return self.text.splitlines(keepends=True)

    def diff(self) -> str:
        """The changes, as a unified diff. Empty if there are none."""
        before, after = (text.splitlines(keepends=True) for text in (self.original, self.text))
        made = difflib.unified_diff(before, after, self.name, self.name + " (patched)")
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in made)

    def write(self, path: Path) -> None:
        """Put the text into the file, see `replacing.replace`."""
        replacing.replace(path, self.text.encode())

    def node(self, path: YamlPath) -> YamlNode | None:
        """The node at a path, through aliases and merge keys; None if there is none."""
        found: YamlNode | None = self.documents[path[0]] if path[0] < len(self.documents) else None
        for key in path[1:]:
            found = yaml_nodes.child(found, key)
        return None if found is None else yaml_nodes.target(found)

    def letters(self, node: Scalar) -> Letters | None:
        """The offset in the text of each letter of a scalar."""
        return letters(self._cover, node)

    def value(self, path: YamlPath) -> Any:
        """The same as Python data; None if there is nothing."""
        at = self.data[path[0]]
        for key in path[1:]:
            inside = (isinstance(at, dict) and key in at) or (
                isinstance(at, list) and isinstance(key, int) and key < len(at)
            )
            if not inside:
                return None
            at = at[key]
        return at

    def line_of(self, path: YamlPath) -> int:
        """The line of a key or an item, from 1. If it is missing, the line of its container."""
        line = 1
        node: YamlNode | None = self.documents[path[0]]
        for key in path[1:]:
            line = node.line if node is not None else line
            own = node.explicit(key) if isinstance(node := yaml_nodes.target(node), Mapping) else None  # type: ignore[arg-type]
            found = yaml_nodes.child(node, key)
            if found is None:
                return line
            line, node = (own[0].line if own else found.line), found
        return line

    def set(self, path: YamlPath, value: Any, *, before: str | None = None, after: str | None = None) -> None:
        """Give a key this value. Missing mappings on the way to it are added.

        Parameters
        ----------
        before, after
            A key that is added goes next to this one; by default behind the last one of its mapping.

        Raises
        ------
        BadClusterFile
            It cannot be done without a change elsewhere.
        """
        old = self.value(path)
        if isinstance(value, str) and isinstance(old, str) and "\n" not in old + value:
            self.splice(path, 0, len(old), value)
        else:
            self._put(path, value, before, after)

    def _put(self, path: YamlPath, value: Any, before: str | None = None, after: str | None = None) -> None:
        if same(self.value(path), value):
            return
        try:
            expected = changed(self.data, path, value)
        except ValueError as error:
            raise self._refused(path, str(error)) from None
        parent, rest, found = self._closest(path)
        if isinstance(found, Scalar) and (found.value is None or len(rest) == 1):
            self._replace(path, found, parent, rest, value, expected)
        elif isinstance(found, Alias):
            name = f"*{found.name}"
            below = at(expected, path[: len(path) - len(rest) + 1])
            if len(rest) == 2 and isinstance(found.target, Mapping):
                made = f"{{<<: {name}, {emit(rest[1])}: {emit(value)}}}"
            else:
                made = emit(below)
            self._apply([(found.start, found.end, made)], expected, path)
        elif found is not None:
            raise self._refused(path, f"{rest[0]} is no single value")
        elif isinstance(parent, Mapping):
            below = at(expected, path[: len(path) - len(rest) + 1])
            self._apply([self._new_entry(parent, rest[0], below, before, after)], expected, path)
        else:
            raise self._refused(path, f"there is no mapping to put {rest[0]} into")

    def splice(self, path: YamlPath, start: int, end: int, new: str) -> None:
        """Write `new` in place of the letters `start` to `end` of a scalar, in any style.

        Raises
        ------
        BadClusterFile
            It cannot be done without a change elsewhere.
        """
        old = self.value(path)
        whole = old[:start] + new + old[end:]
        _, rest, node = self._closest(path)
        made = self.letters(node) if isinstance(node, Scalar) else None
        if not isinstance(node, Scalar) or made is None or len(rest) > 1:
            self._put(path, whole)
            return
        expected = changed(self.data, path, whole)
        others = self._written_out(node)
        first, last = made.span(start, end)
        edit = (first, last, encode(new, node.style))
        try:
            self._apply([edit, *others], expected, path)
        except BadClusterFile:
            if node.style is not None:
                raise
            quoted = _in_quotes(self.text, node, made, (start, end), new)
            self._apply([quoted, *others], expected, path)

    def remove(self, path: YamlPath) -> None:
        """Take a key and its value out of a mapping that has others.

        Raises
        ------
        BadClusterFile
            It cannot be done without a change elsewhere.
        """
        parent, rest, _ = self._closest(path)
        own = parent.explicit(rest[0]) if isinstance(parent, Mapping) and len(rest) == 1 else None
        if not isinstance(parent, Mapping) or own is None or len(parent.entries) == 1:
            raise self._refused(path, "the key does not stand here, beside others")
        number = parent.entries.index(own)
        start, end = own[0].start, own[1].end
        if not parent.flow:
            start = self.text.rfind("\n", 0, start) + 1
            end = self.text.find("\n", end) + 1 or len(self.text)
            if self.text[start : own[0].start].strip():
                raise self._refused(path, f"{rest[0]} is not alone on its lines")
        elif number + 1 < len(parent.entries):
            end = parent.entries[number + 1][0].start
        else:
            start = parent.entries[number - 1][1].end
        self._apply([(start, end, "")], without(self.data, path), path)

    def rename(self, path: YamlPath, name: str) -> None:
        """Rename a key.

        Raises
        ------
        BadClusterFile
            It cannot be done without a change elsewhere.
        """
        parent, rest, _ = self._closest(path)
        own = parent.explicit(rest[0]) if isinstance(parent, Mapping) and len(rest) == 1 else None
        if own is None or not isinstance(own[0], Scalar):
            raise self._refused(path, "the key does not stand here")
        expected = copy.deepcopy(self.data)
        mapping = at(expected, path[:-1])
        renamed = {name if key == path[-1] else key: value for key, value in mapping.items()}
        mapping.clear()
        mapping.update(renamed)
        key = own[0]
        quote = key.style or ""
        self._apply([(key.start, key.end, quote + name + quote)], expected, path)

    def _take(self, text: str) -> None:
        try:
            cover, unread = text, list[int]()
            documents = yaml_nodes.parse(text, self.name)
            data = _plain(documents, self.name)
            if self.template or any(_is_template(document) for document in documents):
                raise BadClusterFile(f"{self.name}: a template")
        except BadClusterFile:
            if not templates.parts(text):
                raise
            cover, unread = templates.covered(text)
            documents = yaml_nodes.parse(cover, self.name)
            data = _plain(documents, self.name)
            self.template = True
        if not documents or not any(isinstance(document, Mapping) for document in documents):
            raise BadClusterFile(f"{self.name} is no YAML mapping: give a cluster YAML or a RayCluster")
        self.text, self.documents, self.data, self.unread = text, documents, data, unread
        self._cover = cover

    def _closest(self, path: YamlPath) -> tuple[YamlNode, YamlPath, YamlNode | None]:
        """The last node on the path that is not an alias, the rest of the path, and the value of its first key."""
        parent: YamlNode = self.documents[path[0]]
        for i, key in enumerate(path[1:], 1):
            found: YamlNode | None = None
            if isinstance(parent, Mapping):
                own = parent.explicit(key)
                found = own[1] if own else None
            elif isinstance(parent, Sequence) and isinstance(key, int) and key < len(parent.items):
                found = parent.items[key]
            if found is None or isinstance(found, Alias | Scalar) or i == len(path) - 1:
                return parent, path[i:], found
            parent = found
        return parent, (), None

    def _replace(
        self, path: YamlPath, found: Scalar, parent: YamlNode, rest: YamlPath, value: Any, expected: Any
    ) -> None:
        """Write another value, or a mapping where nothing was."""
        below = at(expected, path[: len(path) - len(rest) + 1])
        if isinstance(below, dict) and found.start == found.end and isinstance(parent, Mapping) and not parent.flow:
            lines = emit_lines(below, parent.column + 2)
            edit = self._line_behind(found.end, lines)
        else:
            made = self._emit(below)
            gap = " " if found.start == found.end and not self.text[: found.start].endswith((" ", "\n")) else ""
            if isinstance(value, str) and found.style in {"'", '"'} and value.isprintable():
                made = found.style + encode(value, found.style) + found.style
            edit = (found.start, found.end, gap + made)
        self._apply([edit, *self._written_out(found)], expected, path)

    def _emit(self, value: Any) -> str:
        """A value on one line. In a file of JSON, which is YAML too, as JSON."""
        return json.dumps(value) if self._json else emit(value)

    def _written_out(self, node: YamlNode) -> list[_Edit]:
        """Write out the old value at each alias of a value that changes."""
        if node.anchor is None or not isinstance(node, Scalar):
            return []
        found = []
        for document in self.documents:
            for one in yaml_nodes.walk(document):
                if isinstance(one, Alias) and one.target is node:
                    found.append((one.start, one.end, emit(node.value)))
                    self.notes.append(f"line {one.line}: *{one.name} is written out, as &{one.name} changes")
        return found

    def _new_entry(self, mapping: Mapping, key: Any, value: Any, before: str | None, after: str | None) -> _Edit:
        if mapping.flow:
            entry = f"{self._emit(key)}: {self._emit(value)}"
            if mapping.entries:
                end = mapping.entries[-1][1].end
                return end, end, f", {entry}"
            return mapping.end - 1, mapping.end - 1, entry
        lines = emit_lines({key: value}, mapping.column)
        own = mapping.explicit(before) if before is not None else None
        if own is not None:
            start = self.text.rfind("\n", 0, own[0].start) + 1
            if not self.text[start : own[0].start].strip(" \ufeff"):
                return start, start, "".join(line + self._newline(start) for line in lines)
        above = mapping.explicit(after) if after is not None else None
        return self._line_behind(above[1].end if above is not None else mapping.end, lines)

    def _line_behind(self, at: int, lines: list[str]) -> _Edit:
        """The lines below that of `at`."""
        end = self.text.find("\n", at)
        newline = self._newline(at)
        if end < 0:
            return len(self.text), len(self.text), "".join(newline + line for line in lines)
        return end + 1, end + 1, "".join(line + newline for line in lines)

    def _newline(self, at: int) -> str:
        """The line end that the text uses there."""
        end = self.text.find("\n", at)
        end = self.text.rfind("\n", 0, at) if end < 0 else end
        return "\r\n" if end > 0 and self.text[end - 1] == "\r" else "\n"

    def _apply(self, edits: list[_Edit], expected: Any, path: YamlPath) -> None:
        """Make the edits, if the file then has the expected content."""
        text = self.text
        for start, end, new in sorted(edits, reverse=True):
            text = text[:start] + new + text[end:]
        before = (self.text, self.documents, self.data, self.unread, self._cover)
        try:
            self._take(text)
            if not same(self.data, expected):
                raise BadClusterFile("")
        except BadClusterFile:
            self.text, self.documents, self.data, self.unread, self._cover = before
            raise self._refused(path, self._why_not(path)) from None

    def _why_not(self, path: YamlPath) -> str:
        for i in range(1, len(path)):
            node = self.node(path[: i + 1])
            if node is None or node.anchor is None:
                continue
            users = [one for root in self.documents for one in yaml_nodes.walk(root) if isinstance(one, Alias)]
            lines = sorted({one.line for one in users if one.target is node})
            if lines:
                where = ", ".join(map(str, lines))
                return f"{path[i]} is the anchor &{node.anchor}, which line {where} uses: both would change"
        return f"{path[-1]} cannot be changed without a change elsewhere"

    def _refused(self, path: YamlPath, why: str) -> BadClusterFile:
        return BadClusterFile(f"{self.name}, line {self.line_of(path)}: {why}")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _plain(documents: list[YamlNode], name: str) -> list[Any]:
    try:
        return [yaml_nodes.plain(document) for document in documents]
    except ValueError as error:
        raise BadClusterFile(f"{name}, {error}") from None


def _is_template(document: YamlNode) -> bool:
    """Whether it is a template: `name: {{ .Name }}` reads as braces in braces."""
    for node in yaml_nodes.walk(document):
        if isinstance(node, Mapping) and node.flow and any(isinstance(key, Mapping) for key, _ in node.entries):
            return True
    return False


def _in_quotes(text: str, node: Scalar, made: Letters, span: tuple[int, int], new: str) -> _Edit:
    """A plain scalar in quotes: its lines fold in the same way."""
    first, last = made.span(*span)
    raw = encode(text[node.start : first], "'") + encode(new, "'") + encode(text[last : node.end], "'")
    return node.start, node.end, f"'{raw}'"
