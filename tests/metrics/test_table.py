"""The table of metrics, and what is made of it: the page, the dashboard, and the files of the package."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner

from outlive.cli.app import app
from outlive.metrics import files, grafana
from outlive.metrics.table import METRICS
from tests.pages.page import DOCS

NAMES = {metric.scraped for metric in METRICS}
_ASKED = re.compile(r"ray_outlive_\w+")


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_are_as_prometheus_has_them(metric):
    assert re.fullmatch(r"outlive(_[a-z]+)+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    if metric.unit:
        assert metric.name.removesuffix("_total").endswith(f"_{metric.unit}")
    assert set(metric.labels) <= {"node", "state", "reason", "kind"}
    assert metric.help.endswith(".") and "|" not in metric.help


def test_each_is_declared_once():
    assert len(NAMES) == len(METRICS)


def test_the_page_has_the_table():
    assert files.page() in (DOCS / "metrics.md").read_text()


def test_the_dashboard_is_the_one_of_the_table():
    assert files.text("grafana") == grafana.text()


def test_every_metric_is_in_a_panel_and_no_panel_asks_for_another():
    asked = set(_ASKED.findall(" ".join(target["expr"] for panel in _panels() for target in panel["targets"])))
    assert asked == NAMES


def test_the_dashboard_can_be_imported():
    board = grafana.dashboard()
    every = board["panels"]
    assert [panel["id"] for panel in every] == list(range(1, len(every) + 1))
    taken = set()
    for panel in every:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        cells = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    variables = {one["name"] for one in board["templating"]["list"]}
    used = set(re.findall(r"\$(?:\{(\w+)\}|(\w+))", json.dumps([panel.get("targets") for panel in every])))
    assert {one or other for one, other in used} - {"__rate_interval"} == variables - {""}
    for panel in _panels():
        refs = [target["refId"] for target in panel["targets"]]
        assert refs == sorted(set(refs)) and panel["datasource"]["uid"] == "${source}"


def _panels():
    return [panel for panel in grafana.dashboard()["panels"] if panel["type"] != "row"]


def test_the_commands(tmp_path):
    run = CliRunner()
    listed = run.invoke(app, ["metrics", "list"])
    assert listed.exit_code == 0 and all(name in listed.stdout for name in NAMES)
    as_json = json.loads(run.invoke(app, ["metrics", "list", "--json"]).stdout)
    assert {one["name"] for one in as_json} == NAMES
    done = run.invoke(app, ["metrics", "export", "--to", str(tmp_path / "a" / "b")])
    assert done.exit_code == 0
    paths = sorted((tmp_path / "a" / "b").iterdir())
    assert [path.name for path in paths] == ["outlive-alerts.yml", "outlive-dashboard.json"]
    assert sorted(done.stdout.splitlines()) == sorted(map(str, paths))
    assert json.loads(paths[1].read_text()) == grafana.dashboard()
    assert run.invoke(app, ["metrics", "export", "--prometheus"]).stdout == files.text("prometheus")
    blocked = tmp_path / "file"
    blocked.write_text("")
    refused = run.invoke(app, ["metrics", "export", "--to", str(blocked)])
    assert refused.exit_code == 2 and "File exists" in refused.stderr
