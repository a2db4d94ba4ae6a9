"""YAML as a tree whose nodes know their offsets in the text, with documents, anchors, aliases and merge keys.

PyYAML reads the events, as it does for `ray up`, so a value has the same meaning here as in Ray.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from outlive.errors import BadClusterFile

MERGE = "<<"
_LARGEST = 1_000_000
"""The largest number of nodes in a file with its aliases written out: a few lines of anchors can mean billions."""
_PROPERTIES = re.compile(r"(?:[&!]\S*(?:[ \t\r\n]+(?:#[^\n]*)?)*)+")
BLOCK_HEADER = re.compile(r"[|>][0-9+-]*[ \t]*(?:#[^\r\n]*)?(?:\r\n|\r|\n|$)")


@dataclass(eq=False)
class YamlNode:
    """A value and its offsets in the text: `start` and `end`, behind its anchor and tag."""

    start: int
    end: int
    line: int
    """From 1."""
    column: int
    anchor: str | None = None
    complete: bool = field(default=True, repr=False)


@dataclass(eq=False)
class Scalar(YamlNode):
    """A single value. `text` is the text without quotes, folds and escapes; `value` is its value in YAML 1.1."""

    text: str = ""
    value: Any = None
    style: str | None = None
    """None, or one of `'`, `"`, `|`, `>`."""


@dataclass(eq=False)
class Sequence(YamlNode):
    """A list, in lines or in brackets."""

    items: list[YamlNode] = field(default_factory=list)
    flow: bool = False


@dataclass(eq=False)
class Mapping(YamlNode):
    """Keys and values, in lines or in braces."""

    entries: list[tuple[YamlNode, YamlNode]] = field(default_factory=list)
    flow: bool = False

    def explicit(self, key: Any) -> tuple[YamlNode, YamlNode] | None:
        """The entry of a key in this mapping itself. If there are two, the last counts."""
        found = None
        for name, value in self.entries:
            if isinstance(name, Scalar) and name.value == key and not is_merge(name):
                found = (name, value)
        return found


@dataclass(eq=False)
class Alias(YamlNode):
    """`*name`."""

    name: str = ""
    target: YamlNode = field(default_factory=lambda: YamlNode(0, 0, 1, 0))


def is_merge(key: YamlNode) -> bool:
    """Whether the key is an unquoted `<<`."""
    return isinstance(key, Scalar) and key.text == MERGE and key.style is None


def target(node: YamlNode) -> YamlNode:
    """The node itself, or the node that an alias refers to."""
    return node.target if isinstance(node, Alias) else node


def child(node: YamlNode | None, key: Any) -> YamlNode | None:
    """The value of a key, or the item at an index, through aliases and merge keys; None if there is none."""
    node = None if node is None else target(node)
    if isinstance(node, Sequence):
        return node.items[key] if isinstance(key, int) and key < len(node.items) else None
    if not isinstance(node, Mapping):
        return None
    if own := node.explicit(key):
        return own[1]
    return next((found for one in merged(node) if (found := child(one, key)) is not None), None)


def merged(node: Mapping) -> Iterator[YamlNode]:
    """The mappings that its merge keys name."""
    for key, named in node.entries:
        if is_merge(key):
            value = target(named)
            yield from (target(item) for item in value.items) if isinstance(value, Sequence) else (value,)


def items(node: YamlNode | None) -> list[YamlNode]:
    """The items of a list, with aliases followed; empty for anything else."""
    node = None if node is None else target(node)
    return [target(item) for item in node.items] if isinstance(node, Sequence) else []


def scalar(node: YamlNode | None) -> Any:
    """The value of a scalar; None for anything else."""
    node = None if node is None else target(node)
    return node.value if isinstance(node, Scalar) else None


def walk(node: YamlNode) -> Iterator[YamlNode]:
    """The node and all nodes below it, in the order of the text."""
    yield node
    if isinstance(node, Sequence):
        for item in node.items:
            yield from walk(item)
    elif isinstance(node, Mapping):
        for key, value in node.entries:
            yield from walk(key)
            yield from walk(value)


def plain(node: YamlNode, memo: dict[int, Any] | None = None) -> Any:
    """The value as Python data. An alias gives the same object as its anchor.

    Raises
    ------
    ValueError
        A key is a list or a mapping. The message has the line.
    """
    memo = {} if memo is None else memo
    node = target(node)
    if id(node) in memo:
        return memo[id(node)]
    made: Any
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Sequence):
        made = [plain(item, memo) for item in node.items]
    elif isinstance(node, Mapping):
        for key, _ in node.entries:
            if not isinstance(target(key), Scalar):
                raise ValueError(f"line {key.line}: a key that is itself a list or a mapping")  # noqa: TRY004
        made = {}
        for one in merged(node):
            below = plain(one, memo)
            made = (below if isinstance(below, dict) else {}) | made
        made |= {scalar(key): plain(value, memo) for key, value in node.entries if not is_merge(key)}
    else:
        return None
    memo[id(node)] = made
    return made


def parse(text: str, name: str) -> list[YamlNode]:
    """The documents of a file that are not empty.

    Raises
    ------
    BadClusterFile
        The text is not YAML. The message has the line and the reason.
    """
    import yaml

    try:
        documents = _Composer(text, name).documents()
        for document in documents:
            if _size(document, {}) > _LARGEST:
                raise BadClusterFile(f"{name}: its aliases stand for more than {_LARGEST} values: no cluster file")
    except yaml.YAMLError as error:
        mark: Any = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise BadClusterFile(f"{name}{where}: no YAML: {problem}") from None
    except RecursionError:
        raise BadClusterFile(f"{name}: nested too deeply for a cluster file") from None
    return documents


def _size(node: YamlNode, known: dict[int, int]) -> int:
    node = target(node)
    if id(node) not in known:
        below: list[YamlNode] = []
        if isinstance(node, Sequence):
            below = node.items
        elif isinstance(node, Mapping):
            below = [one for entry in node.entries for one in entry]
        known[id(node)] = 1 + sum(_size(one, known) for one in below)
    return known[id(node)]


class _Composer:
    """Nodes from PyYAML's events."""

    def __init__(self, text: str, name: str) -> None:
        import yaml

        self.text = text
        self.name = name
        self.loader = yaml.SafeLoader(text)
        self.yaml = yaml
        self.anchors: dict[str, YamlNode] = {}

    def documents(self) -> list[YamlNode]:
        found = []
        self.loader.get_event()  # the start of the stream
        while not self.loader.check_event(self.yaml.StreamEndEvent):
            self.loader.get_event()
            self.anchors = {}
            node = self._node()
            self.loader.get_event()
            if not (isinstance(node, Scalar) and node.value is None):
                found.append(node)
        return found

    def _node(self) -> YamlNode:
        event = self.loader.get_event()
        if isinstance(event, self.yaml.AliasEvent):
            return self._alias(event)
        place = self._place(event)
        if isinstance(event, self.yaml.ScalarEvent):
            node: YamlNode = self._scalar(event, place)
            return self._named(node)
        flow = bool(event.flow_style)
        if isinstance(event, self.yaml.SequenceStartEvent):
            sequence = Sequence(**place, complete=False, flow=flow)
            self._named(sequence)
            while not self.loader.check_event(self.yaml.SequenceEndEvent):
                sequence.items.append(self._node())
            return self._closed(sequence, sequence.items[-1:])
        mapping = Mapping(**place, complete=False, flow=flow)
        self._named(mapping)
        while not self.loader.check_event(self.yaml.MappingEndEvent):
            key = self._node()
            mapping.entries.append((key, self._node()))
        if mapping.entries and not flow:
            mapping.column = mapping.entries[0][0].column
        return self._closed(mapping, [value for _, value in mapping.entries[-1:]])

    def _closed(self, node: YamlNode, last: list[YamlNode]) -> YamlNode:
        """The end of a block. PyYAML puts it at the next value, behind comments and blank lines."""
        end = self.loader.get_event().end_mark.index
        flow = isinstance(node, Sequence | Mapping) and node.flow
        node.end = end if flow or not last else last[0].end
        node.complete = True
        return node

    def _alias(self, event: Any) -> Alias:
        mark = event.start_mark
        named = self.anchors.get(event.anchor)
        if named is None:
            raise BadClusterFile(f"{self.name}, line {mark.line + 1}: no YAML: no anchor &{event.anchor} above it")
        if not named.complete:
            raise BadClusterFile(f"{self.name}, line {mark.line + 1}: &{event.anchor} contains itself")
        return Alias(mark.index, event.end_mark.index, mark.line + 1, mark.column, name=event.anchor, target=named)

    def _place(self, event: Any) -> dict[str, Any]:
        mark = event.start_mark
        start, line, column = mark.index, mark.line, mark.column
        if event.anchor is not None or getattr(event, "tag", None) is not None:
            match = _PROPERTIES.match(self.text, start)
            if match is not None:
                end = min(match.end(), max(event.end_mark.index, start))
                skipped = self.text[start:end]
                line += skipped.count("\n")
                column = column + len(skipped) if "\n" not in skipped else len(skipped.rpartition("\n")[2])
                start = end
        return {"start": start, "end": start, "line": line + 1, "column": column, "anchor": event.anchor}

    def _named(self, node: YamlNode) -> YamlNode:
        if node.anchor is not None:
            self.anchors[node.anchor] = node
        return node

    def _scalar(self, event: Any, place: dict[str, Any]) -> Scalar:
        style = event.style if event.style in {"'", '"', "|", ">"} else None
        tag = event.tag
        if tag is None or tag == "!":
            tag = self.loader.resolve(self.yaml.ScalarNode, event.value, event.implicit)
        try:
            value = self.loader.construct_object(self.yaml.ScalarNode(tag, event.value))
        except (self.yaml.YAMLError, ValueError, KeyError):  # such as a tag of another program, or a 30th of February
            value = event.value
        place["end"] = event.end_mark.index
        if style in {"|", ">"}:
            place["end"] = _block_end(self.text, place["start"], event.end_mark.index)
        return Scalar(**place, text=event.value, value=value, style=style)


def _block_end(text: str, start: int, end: int) -> int:
    """The end of the content of a block that begins with `|` or `>`. After a `+`, blank lines are content."""
    header = BLOCK_HEADER.match(text, start)
    block = text[start:end]
    if header is not None and "+" in header.group().partition("#")[0] and block.endswith("\n"):
        return start + len(block.removesuffix("\n").removesuffix("\r"))
    return start + len(block.rstrip(" \r\n"))
