"""Refs in type annotations."""

from __future__ import annotations

import re
from dataclasses import replace

import libcst as cst

from outlive.lint.values import UNKNOWN, Value, collection, ref

_REF = re.compile(r"\b(?:ObjectRef|ObjectID)\b")


def annotated(annotation: cst.Annotation | None, node: cst.CSTNode) -> Value:
    """The value that an annotation declares: an `ObjectRef`, or a list of them."""
    if annotation is None:
        return UNKNOWN
    text = cst.Module([]).code_for_node(annotation.annotation)
    if not _REF.search(text):
        return UNKNOWN
    head = re.split(r"\W", text.strip("\"' ").removeprefix("ray.").removeprefix("typing."))[0]
    if head in {"ObjectRef", "ObjectID"}:
        return ref(UNKNOWN, node)
    if head in {"List", "list", "Sequence", "Iterable", "Tuple", "tuple", "Set", "set", "Collection"}:
        inner = text.split("[", 1)[1]
        one = ref(UNKNOWN, node)
        return (
            replace(collection([one]), items=(), is_list=head in {"List", "list"})
            if re.match(r"[\"']?(ray\.)?Object(Ref|ID)\b", inner.strip())
            else UNKNOWN
        )
    return UNKNOWN
