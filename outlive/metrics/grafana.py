"""The Grafana dashboard, made from the table: each metric is in a panel, and no panel asks for any other.

`dashboard.json` beside this file is what `dashboard` makes. `python -m outlive.metrics.grafana` writes it again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from outlive.metrics import table
from outlive.metrics.table import Metric

FILE = "dashboard.json"
_WIDTH, _COLUMNS, _HEIGHT = 8, 24, 8  # of Grafana's grid
_UNITS = {"bytes": "bytes", "seconds": "s", "": "short"}
_SOURCE = {"type": "prometheus", "uid": "${source}"}
_OF = 'SessionName=~"$session"'
_PERIOD = "$__rate_interval"


class _Panel(NamedTuple):
    title: str
    metrics: tuple[Metric, ...]
    kind: str = "timeseries"
    stacked: bool = False


_OF_CATALOG = (table.VIOLATED, table.REFUSED)  # their nodes may be the catalog, which is none of the dashboard's
_ROWS: dict[str, tuple[_Panel, ...]] = {
    "At a glance": (
        _Panel("Promises broken (must be 0)", (table.VIOLATED,), "stat"),
        _Panel("Arrays lost", (table.LOST,), "stat"),
        _Panel("Arrays that lack replicas", (table.REPLICAS_MISSING,), "stat"),
        _Panel("Keys", (table.KEYS,), "stat"),
        _Panel("Nodes that have not said what they have", (table.UNLISTED,), "stat"),
        _Panel("Puts without room", (table.PUTS_REFUSED,)),
    ),
    "Shelves": (
        _Panel("Bytes by state", (table.SHELF,), stacked=True),
        _Panel("Budgets", (table.BUDGET,)),
        _Panel("Arrays by state", (table.ARRAYS,), stacked=True),
        _Panel("Kernel's memory for files", (table.KERNEL,)),
        _Panel("Files that still fit", (table.FREE_INODES,)),
        _Panel("Spilled, promoted and evicted", (table.SPILLS, table.PROMOTIONS, table.EVICTIONS)),
        _Panel("Bytes spilled", (table.SPILLED_BYTES,)),
    ),
    "Puts and gets": (
        _Panel("Puts", (table.PUTS,)),
        _Panel("Bytes put", (table.PUT_BYTES,)),
        _Panel("Gets by where the array was", (table.GETS, table.GET_MISSES)),
    ),
    "Between nodes": (
        _Panel("Arrays copied here", (table.FETCHES,)),
        _Panel("Bytes copied and sent", (table.FETCHED_BYTES, table.SENT_BYTES)),
        _Panel("Through Ray and not by a port", (table.FALLBACKS,)),
        _Panel("Nodes reached through Ray", (table.THROUGH_RAY,)),
        _Panel("Connections refused", (table.REFUSED,)),
    ),
    "Catalog": (
        _Panel("Calls", (table.CALLS,)),
        _Panel("Seconds of calls, each second", (table.CALL_SECONDS,)),
        _Panel("Longest call", (table.LONGEST_CALL,)),
        _Panel("Calls under way", (table.CALLS_UNDER_WAY,)),
    ),
    "Workers": (
        _Panel("Workers by state", (table.WORKERS,), stacked=True),
        _Panel("Idle workers by what keeps them", (table.IDLE,), stacked=True),
        _Panel("Memory that idle workers keep", (table.IDLE_BYTES,), stacked=True),
        _Panel("Let go", (table.TRIMMED, table.RECYCLED, table.SPARED)),
    ),
}


def dashboard() -> dict[str, Any]:
    """The dashboard, as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in _ROWS.items():
        panels.append(_row(title, len(panels) + 1, y))
        y += 1
        for place, panel in enumerate(row):
            x = place * _WIDTH % _COLUMNS
            grid = {"h": _HEIGHT, "w": _WIDTH, "x": x, "y": y + place * _WIDTH // _COLUMNS * _HEIGHT}
            panels.append(_drawn(panel, len(panels) + 1, grid))
        y += -(-len(row) * _WIDTH // _COLUMNS) * _HEIGHT
    return {
        "title": "outlive",
        "uid": "outlive",
        "description": "Arrays that outlive the Ray workers that made them, and workers that do not outlive their use.",
        "tags": ["ray", "outlive"],
        "schemaVersion": 36,
        "version": 1,
        "editable": True,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_source(), _choice("session", "SessionName"), _choice("node", "node")]},
        "panels": panels,
    }


def _row(title: str, number: int, y: int) -> dict[str, Any]:
    grid = {"h": 1, "w": _COLUMNS, "x": 0, "y": y}
    return {"type": "row", "id": number, "title": title, "collapsed": False, "panels": [], "gridPos": grid}


def _drawn(panel: _Panel, number: int, grid: dict[str, int]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": _UNITS[panel.metrics[0].unit], "min": 0}
    if panel.kind == "timeseries":
        stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
        defaults["custom"] = {"fillOpacity": 20 if panel.stacked else 0, "stacking": stacking, "spanNulls": 120_000}
    return {
        "type": panel.kind,
        "id": number,
        "title": panel.title,
        "description": " ".join(metric.help for metric in panel.metrics),
        "datasource": _SOURCE,
        "gridPos": grid,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _OPTIONS[panel.kind],
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": _SOURCE,
                "expr": query(metric),
                "legendFormat": _legend(metric, several=len(panel.metrics) > 1),
            }
            for place, metric in enumerate(panel.metrics)
        ],
    }


_OPTIONS: dict[str, dict[str, Any]] = {
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"},
    "timeseries": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
}


def query(metric: Metric) -> str:
    """The query of a panel: of a counter how much it grows in a second. A restarted process has a series of its own."""
    chosen = f'{{{_OF}, node=~"$node"}}' if "node" in metric.labels and metric not in _OF_CATALOG else f"{{{_OF}}}"
    by = ", ".join(metric.labels)
    if metric.kind == "counter":
        return f"sum by ({by}) (rate({metric.scraped}{chosen}[{_PERIOD}]))"
    return f"max by ({by}) ({metric.scraped}{chosen})"


def _legend(metric: Metric, *, several: bool) -> str:
    what = [metric.name.removeprefix("outlive_").removesuffix("_total")] if several else []
    return " ".join([*(f"{{{{{label}}}}}" for label in metric.labels), *what]) or metric.name


def _source() -> dict[str, Any]:
    return {"type": "datasource", "name": "source", "label": "Data source", "query": "prometheus", "hide": 0}


def _choice(name: str, label: str) -> dict[str, Any]:
    """A list of values to choose from, of which all are chosen at first."""
    query_ = f"label_values({table.BUDGET.scraped}, {label})"
    return {
        "type": "query",
        "name": name,
        "label": {"session": "Cluster", "node": "Node"}[name],
        "datasource": _SOURCE,
        "query": {"query": query_, "refId": name},
        "definition": query_,
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "sort": 1,
        "hide": 0,
    }


def text() -> str:
    """The dashboard as the text of a file."""
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name(FILE).write_text(text(), "utf-8")
