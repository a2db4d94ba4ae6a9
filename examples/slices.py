"""Slices of a large array: each task reads its part, and nobody gets a copy of the whole.

The array is made in place, in shared memory. A task on the same node maps it: it reads the pages that it looks at, and
no others. On another node, `handle[a:b]` moves these rows alone.

    python examples/slices.py
"""

from __future__ import annotations

import numpy as np
import ray

import outlive

STORE = "examples/slices"
ROWS, COLUMNS, PARTS = 4_000, 2_000, 4


@ray.remote
def mean_of(handle: outlive.ArrayHandle, begin: int, end: int) -> np.ndarray:
    """The mean of each column over some rows."""
    return handle[begin:end].mean(axis=0)


def main() -> None:
    store = outlive.open(STORE)
    with store.create((ROWS, COLUMNS), "float32", key="table") as table:
        np.add(np.arange(ROWS)[:, None], np.arange(COLUMNS), out=table, casting="unsafe")
    handle = store.handle("table")
    print(f"the table has {len(handle):,} rows, {handle.nbytes / 1e6:.0f} MB")

    part = ROWS // PARTS
    means = ray.get([mean_of.remote(handle, begin, begin + part) for begin in range(0, ROWS, part)])
    mean = np.mean(means, axis=0)
    print(f"{PARTS} tasks read {part:,} rows each; the first means are {mean[:3]}")
    assert np.allclose(mean, np.arange(COLUMNS) + (ROWS - 1) / 2, rtol=1e-4)

    view = handle.get()
    print(f"a corner of it: {view[-2:, :3].tolist()}; writing to it is refused: {not view.flags.writeable}")
    store.clear()


if __name__ == "__main__":
    main()
