"""The Pareto front as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from outlive.extras import need
from outlive.workers.choosing import pareto
from outlive.workers.simulation import Outcome


def draw(found: Sequence[Outcome], path: Path) -> None:
    """Write a PNG: every outcome as a dot, those on the front joined and labelled."""
    need("matplotlib")
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    front = pareto(found)
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for shown, style, color, label in ((found, "o", "0.7", "settings tried"), (front, "o-", "C0", "best of both")):
        cold = [one.cold_starts for one in shown]
        axes.plot(cold, [one.idle_memory_hours for one in shown], style, color=color, markersize=5, label=label)
    for one in front:
        limit = "CPUs" if one.reaper.soft_limit < 0 else str(one.reaper.soft_limit)
        label = f"{one.reaper.threshold_ms / 1000:g} s, keep {limit}"
        axes.annotate(label, (one.cold_starts, one.idle_memory_hours), (5, 5), textcoords="offset points", fontsize=8)
    axes.set_xlabel("cold starts (tasks that waited for a worker to start)")
    axes.set_ylabel("idle memory (GiB h)")
    axes.set_title(f"{found[0].tasks} tasks replayed under {len(found)} settings of the idle reaper")
    axes.legend()
    figure.savefig(path, dpi=130)
    plt.close(figure)
