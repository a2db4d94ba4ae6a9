"""Partitions of a data frame outlive the executors that made them, as Spark's do in RayDP.

Each executor makes partitions as Arrow tables and stores them. The executors are stopped, as `raydp.stop_spark()` does
to give their memory to the training. The trainers read the partitions: without a copy, and without pickle.

    pip install 'outlive[data]'
    python examples/spark_partitions.py
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

import outlive

STORE = "examples/spark-partitions"
EXECUTORS, PARTITIONS, ROWS = 2, 6, 10_000


@ray.remote(num_cpus=0)
class Executor:
    """Stands for one of Spark's."""

    def convert(self, partitions: list[int]) -> list[outlive.ArrayHandle]:
        """Store partitions, all or none; the handles, in their order."""
        return outlive.open(STORE).put_many([table_of(partition) for partition in partitions])


@ray.remote(num_cpus=0)
class Trainer:
    def fit(self, parts: list[outlive.ArrayHandle]) -> tuple[int, float]:
        """Rows, and the mean of a column; its numbers are views of shared memory."""
        columns = [part.get()["price"] for part in parts]
        return sum(map(len, columns)), float(np.mean([pc.mean(column).as_py() for column in columns]))


def table_of(partition: int) -> pa.Table:
    random = np.random.default_rng(partition)
    labels = pa.array(random.choice(["train", "test"], ROWS))
    return pa.table({"partition": np.full(ROWS, partition), "price": random.normal(100, 15, ROWS), "part": labels})


def main() -> None:
    store = outlive.open(STORE)
    executors = [Executor.remote() for _ in range(EXECUTORS)]
    shares = [list(range(place, PARTITIONS, EXECUTORS)) for place in range(EXECUTORS)]
    converted = [executor.convert.remote(share) for executor, share in zip(executors, shares, strict=True)]
    handles = [handle for part in ray.get(converted) for handle in part]
    for executor in executors:
        ray.kill(executor)
    print(f"{len(handles)} partitions are stored, and all executors are stopped")

    trainers = [Trainer.remote() for _ in range(2)]
    results = ray.get([trainer.fit.remote(handles[place::2]) for place, trainer in enumerate(trainers)])
    rows, means = zip(*results, strict=True)
    print(f"{len(trainers)} trainers read {sum(rows):,} rows; the mean price is {np.mean(means):.1f}")
    assert sum(rows) == PARTITIONS * ROWS
    store.delete(*handles)


if __name__ == "__main__":
    main()
