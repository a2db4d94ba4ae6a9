"""Ray's agent shows Prometheus the names that are declared. Needs the packages of ray[default], and no cluster."""

from __future__ import annotations

import re
import subprocess

import pytest

from outlive.metrics.table import METRICS
from tests.metrics.agent import PYTHON, lacking
from tests.metrics.test_alerts import PROMTOOL
from tests.pages.page import DOCS

_SERIES = re.compile(r"^(ray_outlive_\w+)(?:\{.*\})? ", re.MULTILINE)
_TYPE = re.compile(r"^# TYPE (ray_outlive_\w+) (\w+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def shown() -> str:
    if lacks := lacking():
        pytest.skip(f"Ray's metrics agent needs {lacks}: pip install 'ray[default]'")
    command = [PYTHON, "-m", "tests.metrics.recorded"]
    return subprocess.run(command, cwd=DOCS.parent, capture_output=True, text=True, check=True, timeout=240).stdout


def test_all_names_and_kinds(shown):
    assert set(_SERIES.findall(shown)) == {metric.scraped for metric in METRICS}
    assert dict(_TYPE.findall(shown)) == {metric.scraped: metric.kind for metric in METRICS}


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_promtool_finds_nothing_wrong(shown):
    done = subprocess.run(
        [str(PROMTOOL), "check", "metrics"], input=shown, check=False, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
