"""OwnerDiedError: the node of the worker that called ray.put is lost."""

from __future__ import annotations

import os
import sys

import numpy as np
import ray
from ray.cluster_utils import Cluster

sys.path.append(os.path.dirname(__file__))
from several_nodes import head, lose, node


@ray.remote(max_retries=0, resources={"away": 1})
def make() -> list[ray.ObjectRef]:
    return [ray.put(np.ones(1 << 17))]


def provoke(cluster: Cluster) -> None:
    with node(cluster, "away") as away:
        (ref,) = ray.get(make.remote())
        lose(cluster, away)
        ray.get(ref, timeout=60)


if __name__ == "__main__":
    with head() as cluster:
        provoke(cluster)
