"""The files for Prometheus and Grafana that come with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from outlive.metrics.table import METRICS, Metric

FILES = {"prometheus": ("alerts.yml", "outlive-alerts.yml"), "grafana": ("dashboard.json", "outlive-dashboard.json")}
"""For each program the file's name here, and the one under which it is written."""


def text(program: str) -> str:
    """The text of the file for `prometheus` or `grafana`."""
    return resources.files("outlive.metrics").joinpath(FILES[program][0]).read_text("utf-8")


def write(program: str, folder: Path) -> Path:
    """Write the file into a folder, which is made if there is none; returns its path. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILES[program][1]
    path.write_text(text(program), "utf-8")
    return path


def page() -> str:
    """The table of all metrics, in Markdown, as docs/metrics.md has it."""
    lines = ["| metric | kind | labels | means |", "|---|---|---|---|"]
    return "\n".join([*lines, *map(_line, METRICS)]) + "\n"


def _line(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.scraped}` | {metric.kind} | {labels} | {metric.help} |"
