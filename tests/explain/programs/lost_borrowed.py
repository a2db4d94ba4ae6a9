"""What a borrower sees when the only copy is lost and the owner, alive, may not make it again."""

from __future__ import annotations

import os
import sys

import numpy as np
import ray
from ray.cluster_utils import Cluster

sys.path.append(os.path.dirname(__file__))
from several_nodes import ON_HEAD, head, lose, node


@ray.remote(max_retries=0, resources={"away": 1})
def make() -> np.ndarray:
    return np.ones(1 << 17)


@ray.remote(num_cpus=0, resources=ON_HEAD)
class Borrower:
    def store(self, wrapped: list[ray.ObjectRef]) -> None:
        self.wrapped = wrapped

    def read(self) -> int:
        return len(ray.get(self.wrapped[0], timeout=60))


def provoke(cluster: Cluster) -> None:
    borrower = Borrower.remote()
    with node(cluster, "away") as away:
        ref = make.remote()
        ray.wait([ref], fetch_local=False)
        ray.get(borrower.store.remote([ref]))
        lose(cluster, away)
        ray.get(borrower.read.remote(), timeout=60)


if __name__ == "__main__":
    with head() as cluster:
        provoke(cluster)
