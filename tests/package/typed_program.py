"""A program that uses the public API, for pyright in strict mode: `make types`. It is read, and never run."""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping

import numpy as np
import numpy.typing as npt

import outlive
from outlive import ArrayHandle, NumpyStore, Store


def fill(out: npt.NDArray[np.int16]) -> None:
    out[:] = 1


async def coroutines(store: Store) -> None:
    handle = await store.aput(np.zeros(3), key="a")
    array = await store.aget("a")
    print(handle.key, array.sum())


def main() -> None:
    store = outlive.open("scans", memory="1GiB", disk=0)
    as_mapping: MutableMapping[str, npt.NDArray[np.float64]] = store
    print(len(as_mapping))
    volume = np.zeros((4, 4))
    handle: ArrayHandle = store.put(volume, key="ct/7", ttl="10min", lifetime="job", replicas=2, pin=True)
    print(handle.shape, handle.dtype, handle.ndim, handle.size, handle.nbytes, handle.key, len(handle), handle.id)
    view = handle.get()
    part = handle[1:2]
    print(np.asarray(handle).sum(), view.sum(), part.sum())
    store["ct/8"] = volume
    maybe = store.get("ct/8")
    if maybe is not None:
        print(maybe.shape)
    default = store.get("ct/8", volume)
    print(default.shape)
    with store.create((512, 512), "int16", key="mask") as out:
        fill(out)
    with store.scope() as tmp:
        tmp["x"] = volume
        print(tmp["x"].mean())
    handles = store.put_many({"a": volume, "b": volume})
    print(handles["a"].key, list(store.keys(prefix="a")))
    got = store.get_many(["a", "b"])
    print(got["a"].shape)
    for name, array in store.items():
        print(name, array.shape)
    for finding in store.check():
        print(finding.problem, finding.mended)
    for lost in store.lost():
        print(lost.node, lost.at, lost.handle.key)
    print(store.stats().arrays, store.handle("a").durability.replicas)
    print(store.strategy(handle))
    store.delete(handle)
    print(store.pop("b").shape, "a" in store)
    del store["a"]
    for row in outlive.nodes():
        print(row.id, row.role)
    drained = outlive.drain("abc")
    print(drained.arrays)
    print(NumpyStore(volume, key="k").retrieve().shape, NumpyStore.open("k").shape)
    asyncio.run(coroutines(store))
    facts = outlive.show_versions(as_dict=True)
    print(facts["outlive"])
    outlive.show_versions()
    try:
        store["no"]
    except outlive.ArrayLost as error:
        print(error)
    except (outlive.ArrayNotFound, outlive.MissingPackage) as error:
        print(error)
    report = outlive.workers.inspect()
    print(report.workers[0].pid)
    trimmed = outlive.workers.trim(max_idle=2, dry_run=True)
    print(trimmed.freed)
    print(outlive.shutdown())


@outlive.workers.recycle(max_memory="2GiB")
def work(number: int) -> int:
    return number + 1


if __name__ == "__main__":
    print(work(3))
    main()


def wrong() -> None:
    """Misspelt names are errors, and so is one that is ignored below and is none."""
    outlive.opne()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    outlive.workers.trimm()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
