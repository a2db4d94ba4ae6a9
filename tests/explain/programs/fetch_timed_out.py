"""ObjectFetchTimedOutError: the owner lives, is stopped, and so does not learn that the copy it named is gone."""

from __future__ import annotations

import os
import signal
import sys

import numpy as np
import ray
from ray.cluster_utils import Cluster

sys.path.append(os.path.dirname(__file__))
from several_nodes import ON_HEAD, head, lose, node


@ray.remote(resources={"away": 1})
def make() -> np.ndarray:
    return np.ones(1 << 17)


@ray.remote(num_cpus=0, resources=ON_HEAD)
class Owner:
    def order(self) -> tuple[int, list[ray.ObjectRef]]:
        self.ref = make.remote()
        ray.wait([self.ref], fetch_local=False)
        return os.getpid(), [self.ref]


@ray.remote(resources={"here": 1})
class Reader:
    def meet(self, wrapped: list[ray.ObjectRef]) -> None:
        self.wrapped = wrapped

    def read(self) -> int:
        return len(ray.get(self.wrapped[0], timeout=60))


def provoke(cluster: Cluster) -> None:
    with (
        node(cluster, "away") as away,
        node(cluster, "here", fetch_fail_timeout_milliseconds=500, object_manager_pull_timeout_ms=200),
    ):
        owner, reader = Owner.remote(), Reader.remote()
        pid, wrapped = ray.get(owner.order.remote())
        ray.get(reader.meet.remote(wrapped))
        raylet = away.all_processes["raylet"][0].process.pid
        os.kill(raylet, signal.SIGSTOP)  # it promises the object and does not send it
        result = reader.read.remote()
        ray.wait([result], timeout=1)  # the reader has asked
        os.kill(pid, signal.SIGSTOP)
        try:
            lose(cluster, away)
            ray.get(result, timeout=60)
        finally:
            os.kill(pid, signal.SIGCONT)


if __name__ == "__main__":
    with head() as cluster:
        provoke(cluster)
