"""Classes of ray.exceptions without an entry of their own: Ray's documentation of them, and their versions.

`ray_classes.json` is made from Ray's wheels by `tests/explain/make_ray_classes.py`.
"""

from __future__ import annotations

import json
from collections.abc import Container
from pathlib import Path

from outlive.explain.model import Cause, Entry

_BASES = {"RayError", "RayTaskError"}  # these only carry another error, which is explained


def table() -> dict[str, dict[str, str]]:
    """By class: `since` and `until` (versions of Ray), and Ray's text (`says`)."""
    known: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("ray_classes.json").read_text())["classes"]
    return known


def entries(explained: Container[str]) -> tuple[Entry, ...]:
    """Entries for the classes that are not `explained`."""
    return tuple(
        Entry(
            name=f"class-{name}",
            classes=(name,),
            what=f"Ray says of it: {about['says']}",
            causes=(Cause("The message says it."),),
            tell_apart=("The rest of the message, and the traceback above it.",),
            fix="# see Ray's documentation of this class",
            sources=(f"Ray {about['since']} to {about['until']}: python/ray/exceptions.py, {name}",),
        )
        for name, about in table().items()
        if name not in explained and name not in _BASES
    )
