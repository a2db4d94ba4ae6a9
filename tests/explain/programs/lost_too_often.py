"""ObjectReconstructionFailedError, attempts exceeded: the object was lost, made again, and lost again."""

from __future__ import annotations

import os
import sys
import time

import numpy as np
import ray
from ray.cluster_utils import Cluster

sys.path.append(os.path.dirname(__file__))
from several_nodes import head, lose, node


@ray.remote(max_retries=1, resources={"away": 1})
def make() -> np.ndarray:
    return np.ones(1 << 17)


def provoke(cluster: Cluster) -> None:
    ref = None
    for _ in range(2):
        with node(cluster, "away") as away:
            ref = make.remote() if ref is None else ref
            ray.wait([ref], timeout=30, fetch_local=False)
            while True:
                where = ray.experimental.get_object_locations([ref])[ref]["node_ids"]
                if where == [away.node_id]:
                    break
                time.sleep(0.1)
            lose(cluster, away)
    ray.get(ref, timeout=60)


if __name__ == "__main__":
    with head() as cluster:
        provoke(cluster)
