"""ObjectReconstructionFailedError for the result of an actor task: the only copy was on a lost node."""

from __future__ import annotations

import os
import sys

import numpy as np
import ray
from ray.cluster_utils import Cluster

sys.path.append(os.path.dirname(__file__))
from several_nodes import head, lose, node


@ray.remote(resources={"away": 1})
class Maker:
    def make(self) -> np.ndarray:
        return np.ones(1 << 17)


def provoke(cluster: Cluster) -> None:
    with node(cluster, "away") as away:
        maker = Maker.remote()
        ref = maker.make.remote()
        ray.wait([ref], fetch_local=False)
        lose(cluster, away)
        ray.get(ref, timeout=60)


if __name__ == "__main__":
    with head() as cluster:
        provoke(cluster)
