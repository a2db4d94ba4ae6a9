"""The holders of memory, by the table of processes in an OutOfMemoryError's message, the largest first."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Literal

from outlive.explain.model import Scene, Sign

Group = Literal["idle", "tasks", "ray", "others"]
_ROW = re.compile(r"^\s*(\d{1,8})\s+(\d{1,6}(?:\.\d+)?)\s+(\S.*)")
_LEAST = 0.5  # GB: a group that holds less is no cause
_ONE: dict[Group, str] = {
    "idle": "idle worker",
    "tasks": "task or actor",
    "ray": "process of Ray",
    "others": "other process",
}
_MANY: dict[Group, str] = {
    "idle": "idle workers",
    "tasks": "tasks and actors",
    "ray": "processes of Ray",
    "others": "other processes",
}


def held_by(group: Group) -> Sign:
    """Evidence that a group of processes holds memory: how many, how much, the largest."""

    def sign(scene: Scene) -> str | None:
        rows = sorted(((size, command) for each, size, command in _rows(scene) if each == group), reverse=True)
        total = sum(size for size, _ in rows)
        if total < _LEAST:
            return None
        name = (_ONE if len(rows) == 1 else _MANY)[group]
        return f"the table: {len(rows)} {name}, {total:.1f} GB; the largest {rows[0][0]:.1f} GB, {rows[0][1][:60]}"

    return sign


def weight(group: Group) -> Callable[[Scene], float]:
    """The memory that a group holds, in GB."""
    return lambda scene: sum(size for each, size, _ in _rows(scene) if each == group)


def _rows(scene: Scene) -> Iterator[tuple[Group, float, str]]:
    for occurrence in scene.occurrences:
        within = False
        for line in occurrence.lines:
            within = within or "MEM(GB)" in line.text
            if within and (row := _ROW.match(line.text)):
                yield _group(row[3]), float(row[2]), row[3]


def _group(command: str) -> Group:
    if command.startswith(("ray::IDLE",)):
        return "idle"
    if command.startswith("ray::"):
        return "tasks"
    if re.search(r"raylet/raylet|gcs/gcs_server|ray/dashboard|ray/_private|ray/autoscaler", command):
        return "ray"
    return "others"
