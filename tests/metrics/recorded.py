"""Run as a program, with the packages of ray[default]: prints what Ray's agent shows Prometheus of every metric.

No cluster is needed: the part of the agent that names and writes metrics is given a value of each.
"""

from __future__ import annotations

import os

from ray._private.ray_constants import RAY_ENABLE_OPEN_TELEMETRY

from outlive.metrics.table import METRICS, Metric


def by_open_telemetry() -> str:
    """As Ray 2.60 does it by default."""
    from prometheus_client import generate_latest
    from ray._private.telemetry.open_telemetry_metric_recorder import OpenTelemetryMetricRecorder

    recorder = OpenTelemetryMetricRecorder()
    for metric in METRICS:
        is_gauge = metric.kind == "gauge"
        (recorder.register_gauge_metric if is_gauge else recorder.register_counter_metric)(metric.name, metric.help)
        recorder.set_metric_value(metric.name, dict.fromkeys(metric.labels, "x"), 1)
    return generate_latest().decode()


def by_opencensus() -> str:
    """As Ray 2.49 does it by default."""
    from opencensus.metrics.export.value import ValueDouble
    from opencensus.stats.aggregation_data import LastValueAggregationData, SumAggregationData
    from prometheus_client import generate_latest
    from ray._private.metrics_agent import OpenCensusProxyCollector

    class Found:
        def collect(self) -> list:
            return [family for families in made.values() for family in families]

    collector, made = OpenCensusProxyCollector("ray"), {}

    def record(metric: Metric) -> None:
        kind = LastValueAggregationData if metric.kind == "gauge" else SumAggregationData
        labels = ("x",) * len(metric.labels)
        with collector._components_lock:
            collector.to_prometheus_metrics(
                metric.name, metric.help, list(metric.labels), "", labels, kind(ValueDouble, 1.0), made
            )

    for metric in METRICS:
        record(metric)
    return generate_latest(Found()).decode()


if __name__ == "__main__":
    shown = by_open_telemetry() if RAY_ENABLE_OPEN_TELEMETRY else by_opencensus()
    print("\n".join(line for line in shown.splitlines() if "ray_outlive_" in line), flush=True)
    os._exit(0)  # what Ray has begun does not hold up the test
