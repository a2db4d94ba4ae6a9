"""docs/operations.md can be followed: its files are what the programs take."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from outlive.metrics import files
from tests.metrics.test_alerts import PROMTOOL, alerts
from tests.pages.page import DOCS

PAGE = (DOCS / "operations.md").read_text()
_FILE = re.compile(r"^```yaml (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = {Path(name).name: text for name, text in _FILE.findall(PAGE)}


def test_its_files_name_what_export_writes():
    written = {name for _, name in files.FILES.values()}
    assert yaml.safe_load(FILES["prometheus.yml"])["rule_files"] == ["outlive-alerts.yml"]
    assert {name for name in written if name in PAGE} == written
    (provider,) = yaml.safe_load(FILES["outlive.yml"])["providers"]
    assert provider["options"]["path"] == "/etc/prometheus"


def test_the_file_of_endpoints_is_the_one_that_ray_writes():
    from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE

    (scraped,) = yaml.safe_load(FILES["prometheus.yml"])["scrape_configs"]
    assert scraped["file_sd_configs"] == [{"files": [f"/tmp/ray/{PROMETHEUS_SERVICE_DISCOVERY_FILE}"]}]


def test_every_alert_has_a_section_and_no_other_is_there():
    sections = PAGE.split("\n## Alerts\n")[1]
    assert re.findall(r"^### (\w+)$", sections, re.MULTILINE) == [alert["alert"] for alert in alerts()]


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_prometheus_takes_the_configuration(tmp_path):
    """With the path of the endpoints' file changed to one that is there."""
    endpoints = tmp_path / "prom_metrics_service_discovery.json"
    endpoints.write_text(json.dumps([{"labels": {"job": "ray"}, "targets": ["127.0.0.1:8080"]}]))
    text = FILES["prometheus.yml"].replace("/tmp/ray/prom_metrics_service_discovery.json", str(endpoints))
    (tmp_path / "prometheus.yml").write_text(text)
    files.write("prometheus", tmp_path)
    done = subprocess.run(
        [str(PROMTOOL), "check", "config", str(tmp_path / "prometheus.yml")],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
