"""The alert rules: they ask for what is exported, each is on the page, and promtool has them fire when they should."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from outlive.metrics import files
from outlive.metrics.table import METRICS
from tests.pages.links import anchors
from tests.pages.page import DOCS

RULES = Path(files.__file__).with_name("alerts.yml")
STORIES = Path(__file__).with_name("alerts.yml")
PROMTOOL = os.environ.get("OUTLIVE_PROMTOOL") or shutil.which("promtool")
NAMES = {metric.scraped for metric in METRICS}


def alerts() -> list[dict]:
    (group,) = yaml.safe_load(files.text("prometheus"))["groups"]
    return group["rules"]


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_says_what_to_do(alert):
    assert set(re.findall(r"ray_outlive_\w+", alert["expr"])) <= NAMES
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert {"summary", "description", "page"} == set(alert["annotations"])
    page, _, anchor = alert["annotations"]["page"].partition("#")
    assert page == "docs/operations.md"
    text = (DOCS / "operations.md").read_text()
    assert anchor in anchors(text)
    section = text.split(f"\n### {alert['alert']}\n")[1].split("\n#")[0]
    assert "`" in section, "it names a command"


def test_each_alert_has_a_story_in_which_it_fires_and_one_in_which_it_does_not():
    tested = [one for story in yaml.safe_load(STORIES.read_text())["tests"] for one in story["alert_rule_test"]]
    names = {alert["alert"] for alert in alerts()}
    assert {one["alertname"] for one in tested if one.get("exp_alerts")} == names
    quiet = {one["alertname"] for one in tested if not one.get("exp_alerts")}
    # in the story of this one, another node is quiet
    assert names - quiet <= {"OutliveDeletedStillMapped", "OutliveInvariantViolated"}


@pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed (Debian: prometheus); OUTLIVE_PROMTOOL names it"
)
@pytest.mark.parametrize("what", [("check", "rules", str(RULES)), ("test", "rules", str(STORIES))])
def test_promtool(what):
    done = subprocess.run([str(PROMTOOL), *what], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
