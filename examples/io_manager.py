"""Values between the steps of a pipeline, each a process of its own: an IO manager, as dagster has them.

A step's output is stored under its asset's name, and its process ends. The next step reads it: a view of shared memory,
also in a process that starts days later. With dagster, `OutliveIOManager` is a `dagster.ConfigurableIOManager`, and the
rest is as it stands here; so this program has a context of its own, with the names that dagster's has.

    python examples/io_manager.py
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray

import outlive


@dataclass
class Context:
    """Of dagster's InputContext and OutputContext what an IO manager asks for."""

    path: list[str]
    asset_partition_keys: list[str] = field(default_factory=list)


class OutliveIOManager:
    store = "examples/io-manager"

    def handle_output(self, context: Context, obj: Any) -> None:
        [key] = self.keys(context).values()
        outlive.open(self.store).put(obj, key=key)  # when this returns, the step may end

    def load_input(self, context: Context) -> Any:
        keys = self.keys(context)
        found = outlive.open(self.store).get_many(keys.values())  # or ArrayNotFound, which names those that are missing
        by_partition = {partition: found[key] for partition, key in keys.items()}
        return by_partition if len(keys) > 1 else next(iter(by_partition.values()))

    @staticmethod
    def keys(context: Context) -> dict[str, str]:
        """The key of each partition, or of the asset."""
        asset = "/".join(context.path)
        return {part: f"{asset}/{part}" for part in context.asset_partition_keys} or {asset: asset}


@ray.remote(max_calls=1)  # each step's process ends with it
def scan(day: str) -> None:
    image = np.random.default_rng(int(day[-2:])).random((512, 512), "float32")
    OutliveIOManager().handle_output(Context(["scans"], [day]), image)


@ray.remote(max_calls=1)
def summary(days: list[str]) -> None:
    scans = OutliveIOManager().load_input(Context(["scans"], days))
    means = {day: float(image.mean()) for day, image in scans.items()}
    OutliveIOManager().handle_output(Context(["summary"]), {"means": means, "mean": np.mean(list(scans.values()), 0)})


def main() -> None:
    store = outlive.open(OutliveIOManager.store)
    days = ["2026-01-01", "2026-01-02", "2026-01-03"]
    ray.get([scan.remote(day) for day in days])
    ray.get(summary.remote(days))
    print("all steps have ended")
    found = OutliveIOManager().load_input(Context(["summary"]))
    print(f"the summary has the means of {len(found['means'])} days, and an image of {found['mean'].shape}")
    print(f"stored: {', '.join(store)}")
    store.clear()


if __name__ == "__main__":
    main()
