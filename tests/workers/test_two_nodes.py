"""Each node has its own pool: bounds hold on each, and every worker is found on its node."""

from __future__ import annotations

from collections import Counter

import ray
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from outlive.workers import inspect, trim
from tests.conftest import eventually
from tests.workers.conftest import pid_of_worker


def test_two_nodes():
    settings = {"kill_idle_workers_interval_ms": 0}
    options = {"num_cpus": 2, "object_store_memory": 80 << 20}
    cluster = Cluster(
        initialize_head=True, head_node_args={**options, "include_dashboard": False, "_system_config": settings}
    )
    try:
        cluster.add_node(**options)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
        assert len(nodes) == 2
        where = {
            node: ray.get(
                pid_of_worker.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote()
            )
            for node in nodes
        }

        def found():
            return {worker.pid: worker.node_id for worker in inspect().workers}

        eventually(lambda: all(found().get(pid) == node for node, pid in where.items()))
        report = inspect()
        assert {total.name for total in report.by_node()} == set(nodes)
        assert all(node.settings_known and node.error is None for node in report.nodes)

        def bound_holds():
            trim(max_idle=1)
            idle = Counter(worker.node_id for worker in inspect().workers if worker.state == "idle")
            return all(idle[node] <= 1 for node in nodes)

        eventually(bound_holds)
    finally:
        ray.shutdown()
        cluster.shutdown()
