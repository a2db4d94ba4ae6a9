"""NodeDiedError: the node is lost while the task runs there, and no retry is left."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import ray
from ray.cluster_utils import Cluster

sys.path.append(os.path.dirname(__file__))
from several_nodes import ON_HEAD, head, lose, node


@ray.remote(num_cpus=0, resources=ON_HEAD)
class Door:
    entered = False

    def enter(self) -> None:
        self.entered = True

    def is_entered(self) -> bool:
        return self.entered


@ray.remote(max_retries=0, resources={"away": 1})
def work(door: Any) -> None:
    ray.get(door.enter.remote())
    time.sleep(600)


def provoke(cluster: Cluster) -> None:
    door = Door.remote()
    with node(cluster, "away") as away:
        ref = work.remote(door)
        while not ray.get(door.is_entered.remote()):
            time.sleep(0.05)
        lose(cluster, away)
        ray.get(ref, timeout=60)


if __name__ == "__main__":
    with head() as cluster:
        provoke(cluster)
