"""ReferenceCountingAssertionError: a ref went through a worker that died, and its living owner let go."""

from __future__ import annotations

import contextlib
import os
import time

import numpy as np
import ray


@ray.remote(num_cpus=0)
class Keeper:
    def store(self, wrapped: list[ray.ObjectRef]) -> None:
        self.wrapped = wrapped

    def holds(self) -> bool:
        return hasattr(self, "wrapped")

    def read(self) -> tuple[int, ...]:
        return ray.get(self.wrapped[0]).shape


@ray.remote(num_cpus=0)
class Maker:
    def make(self) -> list[ray.ObjectRef]:
        self.ref = ray.put(np.ones(1 << 17))
        return [self.ref]

    def let_go(self) -> None:
        del self.ref


@ray.remote(max_retries=0)
def middle(keeper: ray.actor.ActorHandle, wrapped: list[ray.ObjectRef]) -> None:
    keeper.store.remote(wrapped)
    while not ray.get(keeper.holds.remote()):
        time.sleep(0.01)
    os._exit(1)  # before it could tell the owner that the keeper holds the ref too


def provoke() -> None:
    keeper, maker = Keeper.remote(), Maker.remote()
    with contextlib.suppress(ray.exceptions.WorkerCrashedError):
        ray.get(middle.remote(keeper, maker.make.remote()))
    ray.get(maker.let_go.remote())
    while True:  # until the owner has noticed that the middle is dead
        ray.get(keeper.read.remote(), timeout=60)
        time.sleep(0.1)


if __name__ == "__main__":
    ray.init(address="local", num_cpus=4, object_store_memory=100 << 20, include_dashboard=False)
    provoke()
