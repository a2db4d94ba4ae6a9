"""A producer leaves, and consumers that start later read what it made: what `ray.put(_owner=...)` was used for.

The producer needs its libraries and gigabytes for a while, and is then let go. Consumers start when it has gone. They
find the arrays by key, or by handles, which are small values: here, in a file.

    python examples/producer_leaves.py
"""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path

import numpy as np
import ray
from ray.exceptions import RayActorError

import outlive

STORE = "examples/producer-leaves"


@ray.remote(num_cpus=0)
class Producer:
    def produce(self, file: str) -> None:
        """Store a batch, all of it or nothing, and write its handles to a file."""
        batch = {f"batch/{number}": np.full((256, 256), number, "float32") for number in range(4)}
        handles = outlive.open(STORE).put_many(batch)
        Path(file).write_bytes(pickle.dumps(list(handles.values())))

    def leave(self) -> None:
        ray.actor.exit_actor()


@ray.remote(num_cpus=0)
class Consumer:
    def sum_of(self, handle: outlive.ArrayHandle) -> float:
        return float(handle.get().sum())


def main() -> None:
    store = outlive.open(STORE)
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/handles"
        producer = Producer.remote()
        ray.get(producer.produce.remote(file))
        try:
            ray.get(producer.leave.remote())
        except RayActorError:
            print("the producer has left")
        handles = pickle.loads(Path(file).read_bytes())

    consumer = Consumer.remote()
    sums = ray.get([consumer.sum_of.remote(handle) for handle in handles])
    print(f"a consumer that started later reads {len(sums)} arrays: {sums}")
    assert sums == [256 * 256 * number for number in range(4)]
    print(f"by key they are found too: {list(store.keys(prefix='batch/'))}")
    store.clear()


if __name__ == "__main__":
    main()
