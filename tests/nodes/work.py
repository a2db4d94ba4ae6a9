"""What the tests have their tasks do. Imports nothing of tests/: tests.conftest would give a worker another root."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

import outlive

SEED = 7


def arrays(number: int) -> list[np.ndarray]:
    """What node `number` puts: large, small, empty, Fortran-ordered, NaNs with payloads."""
    random = np.random.default_rng([SEED, number])
    bits = random.integers(0, 2**63, (1 << 18,), dtype="int64")
    return [
        random.integers(0, 256, (5 << 20,), dtype="uint8"),
        np.asfortranarray(random.normal(size=(300, 200))),
        bits.view("float64"),
        np.empty((0, 3), "int16"),
        *(random.integers(0, 9, (7,), dtype="int32") for _ in range(20)),
    ]


def put(number: int) -> list[outlive.ArrayHandle]:
    """Put the arrays of node `number`."""
    store = outlive.open("scans")
    return [store.put(array, key=f"{number}/{index}") for index, array in enumerate(arrays(number))]


def meet(folder: Path, number: int, all_of_them: int = 2, seconds: float = 90) -> None:
    """Return once tasks 0 to `all_of_them` - 1 run at the same time."""
    (folder / str(number)).touch()
    deadline = time.monotonic() + seconds
    while len(list(folder.iterdir())) < all_of_them:
        assert time.monotonic() < deadline, f"not all {all_of_them} tasks started"
        time.sleep(0.05)
