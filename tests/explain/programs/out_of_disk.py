"""OutOfDiskError: more than the object store holds, and the disk is over its limit."""

from __future__ import annotations

import os
import sys

import numpy as np
import ray
from ray.cluster_utils import Cluster

sys.path.append(os.path.dirname(__file__))
from several_nodes import head, node


@ray.remote(max_retries=0, resources={"tight": 1})
def make() -> None:
    ray.put(np.ones(100 << 20, "u1"))


def provoke(cluster: Cluster) -> None:
    with node(cluster, "tight", local_fs_capacity_threshold=0.0001):
        ray.get(make.remote(), timeout=60)


if __name__ == "__main__":
    with head() as cluster:
        provoke(cluster)
