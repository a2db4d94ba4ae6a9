"""A pipeline's stage is scaled down while its output queue is full.

The stage's actors put batches into a queue, which is an actor, and the autoscaler of the pipeline takes all of them
away. With `ray.put`, each batch goes with the actor that put it. With handles in the queue, all are there.

    python examples/stages.py
"""

from __future__ import annotations

import time

import numpy as np
import ray
from ray.exceptions import OwnerDiedError

import outlive

STORE = "examples/stages"
WORKERS, BATCHES = 2, 4


@ray.remote(num_cpus=0)
class Queue:
    """As `ray.util.queue` has it: an actor with a list."""

    def __init__(self) -> None:
        self.items: list[object] = []

    def put(self, items: list[object]) -> None:
        self.items += items

    def take(self) -> list[object]:
        taken, self.items = self.items, []
        return taken


@ray.remote(num_cpus=0)
class Decode:
    """A stage's worker: what it makes, it puts into the queue."""

    def run(self, queue: ray.actor.ActorHandle, numbers: list[int]) -> None:
        store = outlive.open(STORE)
        for number in numbers:
            ray.get(queue.put.remote([store.put(frames(number))]))  # a handle; without a key, it ends with the job

    def run_with_ray(self, queue: ray.actor.ActorHandle, numbers: list[int]) -> None:
        for number in numbers:
            ray.get(queue.put.remote([ray.put(frames(number))]))  # a ref: this worker owns the batch


def frames(number: int) -> np.ndarray:
    return np.full((16, 128, 128), number, "uint8")


def fill(method: str) -> ray.actor.ActorHandle:
    """Let two workers fill a queue, and take both away."""
    queue, workers = Queue.remote(), [Decode.remote() for _ in range(WORKERS)]
    shares = [list(range(worker, BATCHES, WORKERS)) for worker in range(WORKERS)]
    ray.get([getattr(one, method).remote(queue, share) for one, share in zip(workers, shares, strict=True)])
    for worker in workers:
        ray.kill(worker)
    return queue


def main() -> None:
    store = outlive.open(STORE)
    refs = ray.get(fill("run_with_ray").take.remote())
    try:
        while ray.get(refs[0]) is not None:  # Ray takes a moment to notice
            time.sleep(0.1)
    except OwnerDiedError:
        print(f"ray.put: {len(refs)} refs are in the queue, and their batches went with the stage: OwnerDiedError")

    handles = ray.get(fill("run").take.remote())
    batches = sorted(int(handle.get()[0, 0, 0]) for handle in handles)
    print(f"outlive: the next stage gets {len(batches)} of {BATCHES} batches: {batches}")
    store.delete(*handles)  # the memory of what is done is used again
    assert batches == list(range(BATCHES))


if __name__ == "__main__":
    main()
