"""ObjectReconstructionFailedError, lineage disabled: Ray was told not to keep what would make it again."""

from __future__ import annotations

import os
import sys

import numpy as np
import ray
from ray.cluster_utils import Cluster

sys.path.append(os.path.dirname(__file__))
from several_nodes import ON_HEAD, head, lose, node


@ray.remote(resources={"away": 1})
def make() -> np.ndarray:
    return np.ones(1 << 17)


@ray.remote(num_cpus=0, resources=ON_HEAD, runtime_env={"env_vars": {"RAY_lineage_pinning_enabled": "0"}})
class Owner:
    def order(self) -> None:
        self.ref = make.remote()
        ray.wait([self.ref], fetch_local=False)

    def read(self) -> int:
        return len(ray.get(self.ref, timeout=60))


def provoke(cluster: Cluster) -> None:
    owner = Owner.remote()
    with node(cluster, "away") as away:
        ray.get(owner.order.remote())
        lose(cluster, away)
        ray.get(owner.read.remote(), timeout=60)


if __name__ == "__main__":
    with head() as cluster:
        provoke(cluster)
