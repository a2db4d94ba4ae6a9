"""The exporter, with a stand-in for `ray.util.metrics`, whose classes are those of 2.49 to 2.60."""

from __future__ import annotations

import logging

import pytest
from ray.util import metrics

from outlive.metrics import watch
from outlive.metrics.exporter import Exporter
from outlive.metrics.table import LOST, METRICS, PUTS, SHELF, Value


class Stand:
    """Notes what a metric is told."""

    def __init__(self, name, description="", tag_keys=None):
        assert isinstance(tag_keys, tuple)
        self.name, self.keys = name, tag_keys
        said.setdefault(name, [])

    def _record(self, value, tags=None):
        assert set(tags or ()) == set(self.keys)
        assert all(isinstance(tag, str) for tag in (tags or {}).values())
        said[self.name].append((value, *(tags or {}).values()))


class Gauge(Stand):
    def set(self, value, tags=None):
        self._record(value, tags)


class Counter(Stand):
    def inc(self, value=1.0, tags=None):
        assert value > 0
        self._record(value, tags)


said: dict[str, list[tuple]] = {}


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    said.clear()
    monkeypatch.setattr(metrics, "Gauge", Gauge)
    monkeypatch.setattr(metrics, "Counter", Counter)


def test_gauges_are_set_and_counters_begin_at_zero():
    exporter = Exporter()
    exporter.export(
        [Value(SHELF, 7, {"node": "ab", "state": "memory"}), Value(PUTS, 0, {"node": "ab"}), Value(LOST, 0)]
    )
    exporter.export(
        [Value(SHELF, 5, {"node": "ab", "state": "memory"}), Value(PUTS, 3, {"node": "ab"}), Value(LOST, 1)]
    )
    exporter.export([Value(PUTS, 0, {"node": "ab"})])
    assert said == {
        "outlive_shelf_bytes": [(7, "ab", "memory"), (5, "ab", "memory")],
        "outlive_puts_total": [(0, "ab"), (3, "ab")],
        "outlive_arrays_lost": [(0,), (1,)],
    }


def test_a_ray_without_that_way_exports_what_is_counted(monkeypatch):
    monkeypatch.delattr(Stand, "_record")
    monkeypatch.setattr(Counter, "inc", lambda self, value, tags: said[self.name].append(value))
    Exporter().export([Value(PUTS, 2, {"node": "ab"})])
    assert said == {"outlive_puts_total": [2]}


def test_what_fails_is_logged_once_and_the_rest_is_exported(monkeypatch, caplog):
    def refused(*_, **__):
        raise OSError("no agent")

    monkeypatch.setattr(Gauge, "set", refused)
    exporter = Exporter()
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            exporter.export([Value(LOST, 1), Value(PUTS, 1, {"node": "ab"})])
    assert len(caplog.records) == 1
    assert said["outlive_puts_total"] == [(0, "ab"), (1, "ab"), (1, "ab"), (1, "ab")]


def test_every_metric_is_one_that_ray_takes(recwarn):
    """Real objects: they are made and recorded without any cluster."""
    from ray.util.metrics import Metric

    for metric in METRICS:
        Metric(metric.name, metric.help, metric.labels)
    assert not recwarn.list


@pytest.mark.parametrize(
    ("settings", "periods"),
    [
        ({}, (5.0, 60.0)),
        ({watch.METRICS: "off"}, (None, None)),
        ({watch.WORKERS: "off"}, (5.0, None)),
        ({watch.METRICS: "2s", watch.WORKERS: "5min"}, (2.0, 300.0)),
        ({watch.METRICS: "often"}, (5.0, 60.0)),
        ({watch.METRICS: "1ms"}, (5.0, 60.0)),
    ],
)
def test_the_settings(settings, periods, monkeypatch):
    for name in (watch.METRICS, watch.WORKERS):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert watch.periods() == periods
