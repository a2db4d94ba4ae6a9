"""A simulation whose ranks end, and an analysis of its steps by dask: in situ, without files.

Each rank computes a part of the grid and stores it, step by step. The simulation ends, with all its processes. Then an
analysis makes one dask array of a step's parts. Its tasks map the parts where they are: nothing is sent.

    pip install 'outlive[dask]'
    python examples/simulation.py
"""

from __future__ import annotations

import dask.array
import numpy as np
import ray

import outlive

STORE = "examples/simulation"
RANKS, STEPS, ROWS, COLUMNS = 4, 3, 64, 512


@ray.remote(num_cpus=0)
class Rank:
    """Has the rows of one rank; stands for a process of MPI."""

    def __init__(self, rank: int) -> None:
        self.rank, self.heat = rank, np.zeros((ROWS, COLUMNS))
        self.heat[:, 0] = rank

    def advance(self, step: int) -> None:
        """One step of heat that flows along the rows, stored as one part of the grid."""
        self.heat[:, 1:-1] += 0.25 * (self.heat[:, 2:] - 2 * self.heat[:, 1:-1] + self.heat[:, :-2])
        outlive.open(STORE).put(self.heat, key=f"heat/{step}/{self.rank}")


def grid(store: outlive.Store, step: int) -> dask.array.Array:
    """The whole grid of a step; a part of it is read when it is computed."""
    parts = [store.handle(f"heat/{step}/{rank}") for rank in range(RANKS)]
    return dask.array.concatenate([part.to_dask(chunks=-1) for part in parts])


def main() -> None:
    store = outlive.open(STORE)
    ranks = [Rank.remote(rank) for rank in range(RANKS)]
    for step in range(STEPS):
        ray.get([rank.advance.remote(step) for rank in ranks])
    for rank in ranks:
        ray.kill(rank)
    print(f"the simulation has ended; its {len(store)} parts are there")

    steps = [grid(store, step) for step in range(STEPS)]
    print(f"each step is a dask array of {steps[0].shape} in {steps[0].npartitions} parts")
    heat = [float(step.sum().compute(scheduler="threads")) for step in steps]
    print(f"the heat of each step: {', '.join(f'{one:,.0f}' for one in heat)}")
    flow = (steps[-1] - steps[0]).max().compute(scheduler="threads")
    print(f"the most that one cell got: {flow:.4f}")
    assert sorted(heat) == heat
    store.clear()


if __name__ == "__main__":
    main()
