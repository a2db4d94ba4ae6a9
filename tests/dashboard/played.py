"""A played cluster: 1,000 workers, 10,000 arrays, 40 nodes, and hostile names. No Ray.

Run as a program it is a looker that answers for it. `Played.error` makes it a cluster that does not answer.
"""

from __future__ import annotations

import base64
import math
import random
import threading
import time
from typing import Any

import numpy as np

from outlive.dashboard import looker
from outlive.errors import BadSetting
from outlive.store.picture import picture

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "a\nb\x1b[31m",
    "../../etc/passwd",
    "\u202eevil",
]
GIB, MIB = 1 << 30, 1 << 20
_REASONS = (
    ("owns objects", "owns {} live objects, which would be lost with it; it refuses to exit", "use outlive"),
    ("within soft limit", "within the soft limit: 16 idle, 16 kept (CPUs available)", "outlive workers trim"),
    ("below threshold", "idle for 0.4 s, less than the threshold of 1 s", None),
    ("holds borrowed refs", "holds 2 borrowed references; it refuses to exit", "drop them"),
)  # fmt: skip


class Played:
    """See `outlive.dashboard.sources.Source`."""

    def __init__(
        self, workers: int = 1000, arrays: int = 10_000, nodes: int = 40, seed: int = 7, hostile: bool = True
    ) -> None:
        self._hostile = HOSTILE if hostile else []
        draw = random.Random(seed)
        self.error: str | None = None
        self.calls: list[tuple[str, Any]] = []
        self.go_on = threading.Event()  # a drain waits for it in the middle
        self.go_on.set()
        self.now = time.time()
        self._ids = [draw.randbytes(28).hex() for _ in range(nodes)]
        self._nodes = [self._node(draw, number) for number in range(nodes)]
        self._workers = [self._worker(draw, number) for number in range(workers)]
        self._arrays = sorted((self._array(draw, number) for number in range(arrays)), key=lambda row: row["key"])

    def _node(self, draw: random.Random, number: int) -> dict[str, Any]:
        role = "head" if number == 0 else draw.choice(["may go", "stays", "may go", "may go", "draining"])
        because = [] if number == 0 else draw.choice([[], ["a task runs there: train"], ["CPU 4 of 16 in use"]])
        used, budget = draw.randrange(1, 90) * GIB, 96 * GIB
        arrays, alone = draw.randrange(50, 400), draw.randrange(0, 50)
        return {
            "id": self._ids[number], "host": f"node-{number:02}", "ip": f"10.0.0.{number + 1}", "role": role,
            "because": because, "until": self.now + 90 if role == "draining" else None, "arrays": arrays,
            "nbytes": used, "alone": alone, "alone_bytes": alone * GIB // 4, "used": used, "budget": budget,
            "disk_used": draw.choice([0, 0, 12 * GIB]), "disk_budget": 200 * GIB, "spilled": 3,
            "path": f"/dev/shm/outlive-1000/c/{self._ids[number]}", "on_disk": None, "keeper": True,
            "silent": number == 5,
        } | ({"alone": None, "alone_bytes": None, "budget": 0} if number == 5 else {})  # fmt: skip

    def _worker(self, draw: random.Random, number: int) -> dict[str, Any]:
        state = draw.choices(["idle", "running", "actor", "leaving", "silent"], [60, 25, 10, 4, 1])[0]
        kind, text, remedy = draw.choices(_REASONS, [30, 50, 15, 5])[0]
        if state not in {"idle", "leaving"}:
            kind, text, remedy = "not idle", "not idle: it runs a task", None
        owned = draw.randrange(1, 9) if kind == "owns objects" else 0
        return {
            "id": draw.randbytes(28).hex(), "node": draw.choice(self._ids), "pid": 1000 + number,
            "job": f"{draw.randrange(1, 4):02}000000", "title": "ray::IDLE" if state == "idle" else "ray::train",
            "state": state, "idle_for": draw.expovariate(1 / 600) if state in {"idle", "leaving"} else None,
            "unique": draw.randrange(80, 20_000) * MIB, "shared": draw.randrange(20, 90) * MIB, "owned": owned,
            "borrowed": 0, "tasks": draw.randrange(500), "pending": 0,
            "function": draw.choice(["segment_volume", "resample", *self._hostile[:1], None]), "kind": kind,
            "why": [{"text": text.format(owned), "remedy": remedy}], "retirable": state == "idle" and not owned,
        }  # fmt: skip

    def _array(self, draw: random.Random, number: int) -> dict[str, Any]:
        key = (
            self._hostile[number]
            if number < len(self._hostile)
            else f"ct/study-{number // 20:04}/series-{number % 20:02}"
        )
        shape = draw.choice([[512, 512, 300], [256, 256, 128], [1024, 1024]])
        put_at, nodes = self.now - draw.expovariate(1 / 3600), draw.sample(self._ids, draw.choice([1, 1, 2]))
        wanted = draw.choice([1, 2]) if len(nodes) == 2 else draw.choices([1, 2], [9, 1])[0]
        return {
            "key": key, "id": draw.randbytes(16).hex(), "kind": "array", "dtype": "int16", "shape": shape,
            "nbytes": 2 * math.prod(shape), "put_at": put_at, "ends": draw.choice([None, None, "job 02000000"]),
            "ttl": draw.choice([None, None, 600.0]), "node": nodes[0], "nodes": nodes, "replicas": len(nodes),
            "wanted": wanted, "lost_at": self.now - 60 if number == 77 else None,
        }  # fmt: skip

    def _told(self, method: str, *args: Any) -> None:
        self.calls.append((method, args))
        if self.error is not None:
            raise ConnectionError(self.error)

    def about(self) -> dict[str, Any]:
        self._told("about")
        return {"address": "10.0.0.1:6379", "ray": "2.60.0", "outlive": "0.3.0"}

    def workers(self) -> dict[str, Any]:
        self._told("workers")
        nodes = [{"id": one, "name": one[:8], "keeps": 16, "error": None, "settings": []} for one in self._ids]
        return {
            "workers": self._workers,
            "nodes": nodes,
            "unseen": ["pid 1044 on node 5: no answer for 12 s"],
            "entrypoints": {},
        }

    def arrays(self, store: str) -> dict[str, Any]:
        self._told("arrays", store)
        return {"stores": self._stores(), "rows": self._arrays if store == "default" else [], "left_out": 0}

    def details(self, arrays: list[tuple[str, str]]) -> dict[str, Any]:
        self._told("details", arrays)
        by_id = {row["id"]: row for row in self._arrays}
        found = {}
        for array_id, _ in arrays:
            row = by_id[array_id]
            ends_at = None if row["ttl"] is None else self.now + row["ttl"]
            found[array_id] = {"read_at": row["put_at"] + 5, "ends_at": ends_at, "on_disk": row["nbytes"] % 3 == 0}
        return found

    def picture(self, store: str, key: str, array_id: str, at: int | None) -> dict[str, Any]:
        self._told("picture", store, key, array_id, at)
        row = next((one for one in self._arrays if one["key"] == key), None)
        if row is None:
            raise KeyError(key)
        volume = len(row["shape"]) == 3
        at = (row["shape"][0] // 2 if at is None else at) if volume else None
        y, x = np.mgrid[-1:1:160j, -1:1:160j]
        radius = 0.8 - abs((at or 0) / row["shape"][0] - 0.5)
        drawn = picture(np.where(np.hypot(x, y) < radius, 200 + 40 * np.cos(9 * x * y), 20).astype(np.int16))
        assert drawn is not None
        said = "" if at is None else f"[{at}, ...]"
        slices = row["shape"][0] if volume else None
        return {"png": base64.b64encode(drawn[0]).decode(), "said": said, "slices": slices, "at": at, "changed": False}

    def nodes(self) -> dict[str, Any]:
        self._told("nodes")
        return {"nodes": self._nodes, "stores": self._stores(), "autoscaler": True}

    def doctor(self) -> dict[str, Any]:
        self._told("doctor")
        evidence = [
            {"text": f"owns {n} objects, 1.2 GiB", "node": self._ids[1], "pid": 1000 + n, "numbers": {}}
            for n in range(9)
        ]
        worst = {
            "kind": "spent-owners", "severity": "wrong",
            "what": "9 workers at their max_calls own objects: 12.4 GiB stay",
            "why": "They take no more tasks and cannot end before their objects do.",
            "fix": "store the arrays with outlive:\n    outlive.open().put(volume)", "evidence": evidence,
            "source": "src/ray/core_worker/core_worker.cc, HandleExit", "weight": 1,
        }  # fmt: skip
        nearly = {
            "kind": "shelf-nearly-full", "severity": "risk",
            "what": f"outlive's shelf on node {HOSTILE[0]} is 93 % full",
            "why": "The next put that does not fit raises StoreFull.", "fix": "outlive ls --long, outlive rm KEY",
            "evidence": [], "source": None, "weight": 0,
        }  # fmt: skip
        told = {
            **nearly,
            "kind": "known-bug",
            "severity": "info",
            "what": "Ray 2.60 keeps a spent worker that owns objects",
        }
        return {
            "ray_version": "2.60.0", "nodes": 40, "workers": 1000, "findings": [worst, nearly, told], "muted": [],
            "unchecked": [{"check": "shelves", "reason": "node 5 did not answer in 10 s"}], "notes": [],
            "healthy": False,
        }  # fmt: skip

    def preview_trim(self, limits: dict[str, Any]) -> dict[str, Any]:
        self._told("preview_trim", limits)
        return self._trim(limits, None)

    def trim(self, limits: dict[str, Any], only: list[str]) -> dict[str, Any]:
        self._told("trim", limits, only)
        found = self._trim(limits, set(only))
        gone = {row["id"] for row in found["chosen"]}
        self._workers = [row for row in self._workers if row["id"] not in gone]
        return found

    def _trim(self, limits: dict[str, Any], only: set[str] | None) -> dict[str, Any]:
        if limits.get("min_idle", 0) > limits.get("max_idle", 0):
            raise BadSetting("max_idle is below min_idle: a node cannot keep both")
        if "max_memory" in limits:
            raise BadSetting(f"max_memory is no size: {limits['max_memory']}")
        named = limits.get("workers")
        chosen = [
            {
                **row,
                "because": "the largest of 16 idle workers, 0 may stay",
                "outcome": "left" if only else "would leave",
                "left": bool(only),
            }
            for row in self._workers
            if row["retirable"] and (named is None or row["id"] in named) and (only is None or row["id"] in only)
        ]
        spared = [row for row in self._workers if row["state"] == "idle" and not row["retirable"]]
        return {"chosen": chosen, "spared": spared, "unseen": [], "freed": sum(row["unique"] for row in chosen)}

    def preview_drain(self, node: str) -> dict[str, Any]:
        self._told("preview_drain", node)
        row = next(one for one in self._nodes if one["id"] == node)
        return {"node": row, "others": 39, "answered": 38, "room": 900 * GIB}

    def drain(self, node: str, progress: Any) -> dict[str, Any]:
        self._told("drain", node)
        progress(GIB, 4 * GIB)
        self.go_on.wait(60)
        self._told("drain, its end", node)
        progress(4 * GIB, 4 * GIB)
        return {"arrays": 16, "nbytes": 4 * GIB, "stayed": None}

    def _stores(self) -> dict[str, list[int]]:
        return {
            "default": [len(self._arrays), sum(row["nbytes"] for row in self._arrays)],
            "masks": [0, 0],
            HOSTILE[0]: [0, 0],
        }


if __name__ == "__main__":
    looker.run(Played())
