"""ActorDiedError: the actor's node is lost."""

from __future__ import annotations

import os
import sys

import ray
from ray.cluster_utils import Cluster

sys.path.append(os.path.dirname(__file__))
from several_nodes import head, lose, node


@ray.remote(resources={"away": 1})
class Counter:
    def count(self) -> int:
        return 1


def provoke(cluster: Cluster) -> None:
    with node(cluster, "away") as away:
        counter = Counter.remote()
        ray.get(counter.count.remote())
        lose(cluster, away)
        while True:
            ray.get(counter.count.remote(), timeout=60)


if __name__ == "__main__":
    with head() as cluster:
        provoke(cluster)
