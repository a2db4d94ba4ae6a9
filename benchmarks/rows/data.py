"""Ray Data over stored arrays, against what Ray Data reads itself: object refs, `.npy` files and Parquet."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ray

import outlive
from benchmarks.cluster import MIB
from benchmarks.line import Line, times_faster
from benchmarks.timing import OUTLIVE, RAY, alternate

NAME = "data"
ABOUT = "a Ray dataset of 64 arrays of 16 MiB, read to the end, against from_numpy_refs, .npy files and Parquet"
_SHAPE = (4, 512, 1024)  # of 8 bytes each: 16 MiB
_REFS, _NPY, _PARQUET = "from_numpy_refs", "read_numpy", "read_parquet"


def run(store: outlive.Store, quick: bool) -> list[Line]:
    if not importlib.util.find_spec("pyarrow"):
        return []
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False
    count = 8 if quick else 64
    folder = Path(tempfile.mkdtemp(prefix="outlive-bench-data-"))
    numbers = np.random.default_rng(7)
    arrays = [numbers.random(_SHAPE) for _ in range(count)]
    handles = store.put_many(arrays)
    try:
        sides = {OUTLIVE: _handles(handles), **_others(arrays, folder)}
        total = sum(array.sum() for array in arrays)
        samples = alternate({name: _timed(rows, total) for name, rows in sides.items()}, rounds=2 if quick else 9)
    finally:
        store.delete(*handles)
        shutil.rmtree(folder)
    about = {
        _REFS: "",
        _NPY: "of files in the page cache",
        _PARQUET: "of files in the page cache",
    }
    return [
        times_faster(
            NAME,
            f"the sums of {count} arrays of {arrays[0].nbytes // MIB} MiB, by Ray Data, beside {other}",
            "warm: a round before was not measured",
            {RAY: samples[other], OUTLIVE: samples[OUTLIVE]},
            note=note,
        )
        for other, note in about.items()
    ]


def _handles(handles: list[outlive.ArrayHandle]) -> Callable[[], Any]:
    import outlive.data

    return lambda: outlive.data.read(handles).map(lambda row: {"sum": float(row["data"].get().sum())})


def _others(arrays: list[np.ndarray], folder: Path) -> dict[str, Callable[[], Any]]:
    from ray import data

    refs = [ray.put(array) for array in arrays]
    (folder / "npy").mkdir()
    for number, array in enumerate(arrays):
        np.save(folder / "npy" / f"{number}.npy", array)
    data.from_numpy_refs(refs).write_parquet(str(folder / "parquet"))

    def summed(rows: Any) -> Any:
        def add(batch: dict[str, np.ndarray]) -> dict[str, list[float]]:
            (column,) = batch.values()
            return {"sum": [float(column.sum())]}

        return rows.map_batches(add, batch_size=None, zero_copy_batch=True)

    return {
        _REFS: lambda: summed(data.from_numpy_refs(refs)),
        _NPY: lambda: summed(data.read_numpy(str(folder / "npy"))),
        _PARQUET: lambda: summed(data.read_parquet(str(folder / "parquet"))),
    }


def _timed(rows: Callable[[], Any], total: float) -> Callable[[], float]:
    """A side: makes the dataset and reads it to the end. The first time, which imports modules, is not measured."""

    def once() -> float:
        begin = time.perf_counter()
        found = sum(row["sum"] for row in rows().iter_rows())
        seconds = time.perf_counter() - begin
        assert np.isclose(found, total), (found, total)
        return seconds

    once()
    return once
