"""Operations and ticks of a played cluster: what they ask of others depends neither on its nodes nor on its arrays."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("greenlet")


def test_what_is_asked_does_not_grow() -> None:
    world = counted(nodes=(10, 300), arrays=(10, 10_000))
    few = world.pop((10, 10))
    assert len(few) > 15 and len(world) == 3
    for size, found in world.items():
        for what, before in few.items():
            after = found[what]
            assert after["calls"] == before["calls"], f"{what}, with {size}"
            # Keys and versions are a few digits longer; of a key that is not there, similar ones are told.
            assert what == "KeyError" or after["sent"] <= before["sent"] * 1.1, f"bytes of {what}, with {size}"
        assert found["tick of a keeper"] == few["tick of a keeper"], size
        nodes, _ = size
        # Once a minute a tick has the head note a version, which is some bytes more.
        sent = few["tick of the catalog"]["head_sent"] * nodes / 10
        assert found["tick of the catalog"]["head_sent"] == pytest.approx(sent, rel=0.01), size


def counted(nodes: tuple[int, ...], arrays: tuple[int, ...]) -> dict[tuple[int, int], dict[str, dict[str, Any]]]:
    """By the cluster's nodes and arrays, then by what is done. In a process of its own, which is played."""
    size = ["--nodes", *map(str, nodes), "--arrays", *map(str, arrays), "--times", "2", "--ticks", "2"]
    done = subprocess.run([sys.executable, "-m", "benchmarks.world", *size], stdout=subprocess.PIPE, check=True)
    found: dict[tuple[int, int], dict[str, dict[str, Any]]] = {}
    for what, count, number, _, sent, _, head_sent, _, asked in map(json.loads, done.stdout.splitlines()):
        calls = {name: times for name, times in asked.items() if not name.startswith("head.")}
        one = {"calls": calls, "sent": statistics.median(sent), "head_sent": statistics.median(head_sent)}
        found.setdefault((count, number), {})[what] = one
    return found
