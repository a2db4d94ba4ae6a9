"""A pipeline of volumes: make, smooth, segment, count. Every worker ends after its call.

Each stage gets a handle and returns one, so that a volume is never sent from process to process, and no stage waits for
the process that made its input. The result is kept on two nodes, where the cluster has two.

    python examples/volume_pipeline.py
"""

from __future__ import annotations

import numpy as np
import ray

import outlive

STORE = "examples/volumes"
SHAPE = (48, 128, 128)


@ray.remote(max_calls=1)
def make(patient: int) -> outlive.ArrayHandle:
    """A volume of noise with a bright ball in it."""
    random = np.random.default_rng(patient)
    radius = 8 + 4 * patient
    z, y, x = np.ogrid[tuple(slice(-size // 2, size // 2) for size in SHAPE)]
    volume = random.normal(0, 120, SHAPE) + 1000 * (z**2 + y**2 + x**2 < radius**2)
    return outlive.open(STORE).put(volume.astype("int16"), key=f"{patient}/raw")


@ray.remote(max_calls=1)
def smooth(raw: outlive.ArrayHandle) -> outlive.ArrayHandle:
    """The mean of each voxel and its six neighbours."""
    volume = raw.get().astype("float32")  # the view itself cannot be changed
    near = [np.roll(volume, step, axis) for axis in range(3) for step in (-1, 1)]
    return outlive.open(STORE).put((volume + sum(near)) / 7, key=raw.key.replace("raw", "smooth"))


@ray.remote(max_calls=1)
def segment(smoothed: outlive.ArrayHandle, replicas: int) -> outlive.ArrayHandle:
    store = outlive.open(STORE)
    return store.put(smoothed.get() > 500, key=smoothed.key.replace("smooth", "mask"), replicas=replicas)


def main() -> None:
    store = outlive.open(STORE)
    replicas = min(2, sum(node.role != "lost" for node in outlive.nodes()))
    masks = [segment.remote(smooth.remote(make.remote(patient)), replicas) for patient in range(2)]
    for mask in ray.get(masks):
        voxels, ball = int(mask.get().sum()), 4 / 3 * np.pi * (8 + 4 * int(mask.key[0])) ** 3
        kept = mask.durability.replicas
        print(f"{mask.key}: {voxels:,} voxels, {voxels / ball:.0%} of the ball, on {kept} of {replicas} nodes")
        assert 0.9 < voxels / ball < 1.1
    print(f"all stages are there: {len(store)} arrays, {store.stats().nbytes / 1e6:.1f} MB")
    store.clear()


if __name__ == "__main__":
    main()
