"""Reading: a dataset whose rows are handles, each read on a node that has its array."""

from __future__ import annotations

import inspect
import itertools
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import ray.data
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask
from ray.data.extensions import ArrowPythonObjectArray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from outlive.store.handle import ArrayHandle

_QUESTIONS_AT_ONCE = 8  # to the catalog


def read(
    handles: Iterable[ArrayHandle],
    *,
    column: str = "data",
    near: Callable[[ray.data.Dataset], ray.data.Dataset] | None = None,
    override_num_blocks: int | None = None,
    ray_remote_args: Mapping[str, Any] | None = None,
) -> ray.data.Dataset:
    """A dataset with a row, and a block, for each handle. Each block is read on a node that has the handle's array.

    The column holds handles. So a task gets an array by `row["data"].get()`: without a copy if its node has it, and
    else it is copied there first. No array goes through Ray's object store. `arrays` makes arrays of the column.

    Ray Data runs a function in the task that reads a block, if it comes first and asks for the same resources. If the
    arrays are on several nodes, the dataset is a union of one for each node, and that holds for `near` alone.

    Parameters
    ----------
    column
        What the column is called.
    near
        What to do where the arrays are: a function of a dataset that returns another, as
        `lambda rows: rows.map(shrink)`. It is called once for each node. Tasks wait for a node that is busy. If it
        is gone, or never has what they ask for, they run on other ones.
    override_num_blocks
        As for Ray Data's own readers: the number of read tasks, for many small arrays. By default one a handle.
    ray_remote_args
        What the read tasks ask Ray for, as `{"num_cpus": 2}`. A function that asks for the same is run in them.

    Raises
    ------
    TypeError
        An item is no handle.
    StoreUnavailable
        This process is not connected to a Ray cluster, or a node that may have an array does not answer.

    Examples
    --------
    >>> scans = outlive.open("scans").put_many([np.ones(3), np.ones((2, 2))])
    >>> sums = read(scans).map(lambda row: {"sum": float(row["data"].get().sum())})
    >>> sorted(row["sum"] for row in sums.iter_rows())
    [3.0, 4.0]
    """
    rows = list(handles)
    for one in rows:
        if not isinstance(one, ArrayHandle):
            raise TypeError(f"this reads handles, as store.handle(key) gives them, and not {type(one).__qualname__}")
    tasks = len(rows) if override_num_blocks is None else override_num_blocks
    parts = []
    for node, few in _by_node(rows).items():
        source = _Handles(few, column, max(1, min(len(few), round(tasks * len(few) / max(1, len(rows))))))
        part = _read(source, node, dict(ray_remote_args or {}))
        parts.append(part if near is None else near(part))
    first, *others = parts
    return first.union(*others) if others else first


class _Handles(Datasource):  # type: ignore[misc]  # mypy does not look into Ray Data
    """Handles as the rows of one column."""

    def __init__(self, handles: Sequence[ArrayHandle], column: str, tasks: int) -> None:
        super().__init__()
        self.handles, self.column, self.tasks = handles, column, tasks

    def get_name(self) -> str:
        return "Outlive"

    def estimate_inmemory_data_size(self) -> int | None:
        return None  # some hundred bytes a handle

    def get_read_tasks(
        self,
        parallelism: int,  # noqa: ARG002  it is known already
        per_task_row_limit: int | None = None,
        **_: Any,
    ) -> list[ReadTask]:
        limit = {} if per_task_row_limit is None else {"per_task_row_limit": per_task_row_limit}
        return [
            ReadTask(_reader(few, self.column), BlockMetadata(len(few), None, None, None), **limit)
            for few in _portions(self.handles, self.tasks)
        ]


def _reader(handles: Sequence[ArrayHandle], column: str) -> Callable[[], list[pa.Table]]:
    def read_handles() -> list[pa.Table]:
        return [pa.table({column: ArrowPythonObjectArray.from_objects(handles)})]

    return read_handles


def _portions(handles: Sequence[ArrayHandle], count: int) -> Iterator[Sequence[ArrayHandle]]:
    ends = [len(handles) * number // count for number in range(count + 1)]
    for begin, end in itertools.pairwise(ends):
        yield handles[begin:end]


def _by_node(handles: list[ArrayHandle]) -> dict[str | None, list[ArrayHandle]]:
    """The handles by the nearest node that has the array, in the order of the first of each; None: no node has it."""
    distinct = list(dict.fromkeys(handles))
    with ThreadPoolExecutor(_QUESTIONS_AT_ONCE) as threads:
        homes = dict(zip(distinct, threads.map(lambda one: next(iter(one.location), None), distinct), strict=True))
    found: dict[str | None, list[ArrayHandle]] = defaultdict(list)
    for one in handles:
        found[homes[one]].append(one)
    return found or {None: []}


def _read(source: Datasource, node: str | None, remote: dict[str, Any]) -> ray.data.Dataset:
    """The dataset, whose tasks run on the node while it is there.

    Ray 2.60 prefers labels of nodes to this argument. But with labels that other nodes may lack too, it would not run a
    function in the task that reads.
    """
    options: dict[str, Any] = {"override_num_blocks": source.tasks}
    if node is not None:
        remote.setdefault("scheduling_strategy", NodeAffinitySchedulingStrategy(node, soft=True))
    if remote and "ray_remote_args" in inspect.signature(ray.data.read_datasource).parameters:
        options["ray_remote_args"] = remote
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
        return ray.data.read_datasource(source, **options)
