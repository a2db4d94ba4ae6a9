"""Settings in force that keep idle workers, or that Ray misunderstands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from outlive.doctor.cluster import Cluster
from outlive.doctor.model import Evidence, Severity, Symptom
from outlive.workers.rows import NodeReport
from outlive.workers.settings import KNOWN

_RESTART = "Nothing can be changed on a running cluster: restart it with `outlive workers plan --goal memory`"
_SOURCE = "Ray: src/ray/common/ray_config_def.h; src/ray/raylet/worker_pool.cc, TryKillingIdleWorkers"


def check(cluster: Cluster) -> Iterable[Symptom]:
    """Check the settings of the head, and those in each raylet's environment."""
    yield from of_settings(cluster.system_config, cluster.report.nodes)


def of_settings(system_config: dict[str, Any], nodes: Iterable[NodeReport]) -> Iterator[Symptom]:
    """`check`, on plain data."""
    from outlive.workers.checking import system_settings

    given = {name: value for name, value in system_config.items() if name in KNOWN}
    sources: list[tuple[str, str | None, dict[str, Any]]] = [("the head's system config", None, given)]
    for node in nodes:
        own = {one.name: one.value for one in node.settings if one.source == "environment"}
        sources.append((f"the environment of the raylet of node {node.node_id[:8]}", node.node_id, own))
    for source, node_id, settings in sources:
        for one in system_settings.check(settings, None):
            severity: Severity = "risk" if one.kind in {"unknown-setting", "wrong-type"} else "waste"
            evidence = Evidence(f"{source}: {one.what}", node=node_id)
            fix = f"{one.fix}. {_RESTART}"
            yield Symptom(one.kind, severity, one.what, one.why, fix, (evidence,), _SOURCE)
