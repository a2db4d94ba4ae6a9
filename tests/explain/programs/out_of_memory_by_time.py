"""OutOfMemoryError: Ray's memory monitor kills the worker. Policy: by time."""

from __future__ import annotations

import os
import sys
import time

import numpy as np
import ray
from ray.cluster_utils import Cluster

sys.path.append(os.path.dirname(__file__))
from several_nodes import head, node


@ray.remote(max_retries=0, resources={"tight": 1})
def work() -> None:
    hoard = np.ones(1 << 24)
    time.sleep(600)
    del hoard


def provoke(cluster: Cluster) -> None:
    settings = {
        "memory_usage_threshold": 0.01,
        "memory_monitor_refresh_ms": 100,
        "task_oom_retries": 0,
        "worker_killing_policy_by_group": 0,
        "BACKEND_LOG_LEVEL": "debug",  # only then does the raylet say which policy it was
    }
    with node(cluster, "tight", **settings):
        ray.get(work.remote(), timeout=60)


if __name__ == "__main__":
    with head() as cluster:
        provoke(cluster)
