"""What the caller of an actor sees when Ray's memory monitor kills it."""

from __future__ import annotations

import os
import sys
import time

import numpy as np
import ray
from ray.cluster_utils import Cluster

sys.path.append(os.path.dirname(__file__))
from several_nodes import head, node


@ray.remote(resources={"tight": 1})
class Hoarder:
    def work(self) -> None:
        self.hoard = np.ones(1 << 24)
        time.sleep(600)


def provoke(cluster: Cluster) -> None:
    with node(cluster, "tight", memory_usage_threshold=0.01, memory_monitor_refresh_ms=100, task_oom_retries=0):
        ray.get(Hoarder.remote().work.remote(), timeout=60)


if __name__ == "__main__":
    with head() as cluster:
        provoke(cluster)
