"""Lines in a YAML file, and its comments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from outlive.workers import templates, yaml_nodes
from outlive.workers.checking.misconfiguration import Misconfiguration
from outlive.workers.plain_data import YamlPath
from outlive.workers.yaml_file import YamlFile
from outlive.workers.yaml_nodes import Mapping, Scalar, YamlNode

_EAGER = ("aggressive", "eager", "quick", "as soon as", "immediately", "sooner")


def says_eager(lines: Iterable[str]) -> bool:
    """Whether a comment says that aggressive cleaning up is meant."""
    comments = (line.partition("#")[2].lower() for line in lines if "#" in line)
    return any(word in comment for comment in comments for word in _EAGER)


def line_in(file: YamlFile, path: YamlPath) -> Callable[[int], int]:
    """Gives the line (from 1) of a letter of the text at a path."""
    node = file.node(path)
    return line_in_scalar(file, node) if isinstance(node, Scalar) else lambda _: file.line_of(path)


def line_in_scalar(file: YamlFile, node: Scalar) -> Callable[[int], int]:
    """Gives the line (from 1) of a letter of a scalar."""
    made = file.letters(node)
    if made is None:
        return lambda _: node.line
    return lambda offset: file.text.count("\n", 0, made.starts[min(offset, len(made.starts) - 1)]) + 1


def doubled(file: YamlFile) -> Iterator[Misconfiguration]:
    """Keys that are twice in one mapping."""
    if file.template:
        return  # the branches of an `if`
    for document in file.documents:
        for node in yaml_nodes.walk(document):
            if isinstance(node, Mapping):
                yield from _doubled(node)


def _doubled(mapping: Mapping) -> Iterator[Misconfiguration]:
    seen: dict[str, YamlNode] = {}
    for key, _ in mapping.entries:
        if not isinstance(key, Scalar) or yaml_nodes.is_merge(key):
            continue
        if key.text in seen:
            what = f"{key.text} stands twice, on line {seen[key.text].line} too"
            why = "Python takes the last, Kubernetes refuses the file"
            yield Misconfiguration("duplicate-key", key.line, what, why, "remove one")
        seen[key.text] = key


def unread(file: YamlFile) -> Iterator[Misconfiguration]:
    """Lines of a template whose result is not known."""
    if file.unread:
        what = f"a template: lines {_some(file.unread)} cannot be read"
        why = "what stands there is known once it is rendered"
        yield Misconfiguration(
            "not-read", file.unread[0], what, why, "check the values, or what `helm template` prints"
        )
    elif file.template:
        found = sorted({line for line, _ in templates.parts(file.text)})
        what = f"a template: its values on lines {_some(found)} were not looked at"
        why = "what stands there is known once it is rendered; the rest was looked at"
        yield Misconfiguration("not-read", found[0], what, why, "check what it renders to")


def _some(lines: list[int]) -> str:
    return ", ".join(map(str, lines[:10])) + (", ..." if len(lines) > 10 else "")
