"""An actor dies, and its arrays stay.

A scanner actor makes volumes. It keeps one with `ray.put` and the others with outlive. Then it is killed. Ray loses the
volume that the actor owned; those of the store are files of the node, and are read as before.

    python examples/actor_dies.py
"""

from __future__ import annotations

import time

import numpy as np
import ray
from ray.exceptions import OwnerDiedError

import outlive

STORE = "examples/actor-dies"


@ray.remote(num_cpus=0)
class Scanner:
    """Makes one volume a patient."""

    def scan(self, patient: int) -> outlive.ArrayHandle:
        return outlive.open(STORE).put(volume_of(patient), key=f"patient/{patient}")

    def scan_for_ray(self, patient: int) -> list[ray.ObjectRef]:
        return [ray.put(volume_of(patient))]  # this actor owns it


def volume_of(patient: int) -> np.ndarray:
    return np.full((32, 256, 256), patient, "int16")


def main() -> None:
    store = outlive.open(STORE)
    scanner = Scanner.remote()
    handles = ray.get([scanner.scan.remote(patient) for patient in range(3)])
    [ref] = ray.get(scanner.scan_for_ray.remote(3))
    ray.kill(scanner)

    try:
        while ray.get(ref) is not None:  # Ray takes a moment to notice
            time.sleep(0.1)
    except OwnerDiedError:
        print("ray.put: OwnerDiedError, the volume went with the actor")
    for patient, handle in enumerate(handles):
        assert (handle.get() == patient).all()
    print(f"outlive: {len(handles)} of {len(handles)} volumes are there: {', '.join(store)}")
    store.clear()


if __name__ == "__main__":
    main()
