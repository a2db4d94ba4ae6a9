"""ObjectReconstructionFailedError, retries disabled: the only copy was on a lost node, and max_retries=0."""

from __future__ import annotations

import os
import sys

import numpy as np
import ray
from ray.cluster_utils import Cluster

sys.path.append(os.path.dirname(__file__))
from several_nodes import head, lose, node


@ray.remote(max_retries=0, resources={"away": 1})
def make() -> np.ndarray:
    return np.ones(1 << 17)


def provoke(cluster: Cluster) -> None:
    with node(cluster, "away") as away:
        ref = make.remote()
        ray.wait([ref], fetch_local=False)
        lose(cluster, away)
        ray.get(ref, timeout=60)


if __name__ == "__main__":
    with head() as cluster:
        provoke(cluster)
