"""A sink: the arrays of a column are stored by the tasks that write them, on their nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from ray.data import Datasink
from ray.data.block import BlockAccessor

from outlive.arrays.info import check_key
from outlive.errors import UnsupportedArray
from outlive.store import opening
from outlive.store.handle import ArrayHandle
from outlive.store.store import DEFAULT, LifetimeName, Store

_NUMBERS = "biufcmM"


class OutliveSink(Datasink):  # type: ignore[misc]  # mypy does not look into Ray Data
    """For `Dataset.write_datasink`: the array in a column of each row is stored under a key of its own.

    A write task stores its arrays on its node, all or none. If Ray repeats it, its arrays replace those that it has
    stored, and there are no doubles. Writing a dataset again replaces them too. If it fails in the middle, the arrays
    of the tasks that were done stay. `handles` has those of the last write, for `read` and others.

    An array is stored as the row has it: see docs/howto/ray-data.md for what Ray Data makes of some. Its columns
    may have wrong numbers of big-endian arrays before a sink sees them: convert these in the function that makes them,
    by `array.astype(array.dtype.newbyteorder("="))`, or let it return a handle, as `store.put(array)` does. A number is
    stored as an array without dimensions. For a handle, what it names is stored once more, under the new key.

    Parameters
    ----------
    store
        Its name as for `outlive.open`, or a store. Arrays that are written through a scope end with it.
    column
        The column with the arrays.
    key
        A column with each row's key, or a function that makes the key of a row, a dict.
    lifetime, ttl, pin, replicas
        As for `Store.put`. By default the arrays stay until they are deleted.

    Raises
    ------
    UnsupportedArray
        When it writes: a row has something else than an array, a number or a handle.
    KeyError
        When it writes: there is no such column.
    ValueError
        When it writes: two rows have the same key. If different tasks wrote them, the array of one is stored.
    InvalidKey, InvalidKeyType, StoreFull
        When it writes: see `Store.put`.

    Examples
    --------
    >>> rows = ray.data.from_items([{"name": "a", "image": np.ones(3)}, {"name": "b", "image": np.ones((2, 2))}])
    >>> sink = OutliveSink("images", column="image", key="name")
    >>> rows.write_datasink(sink)
    >>> outlive.open("images")["b"].shape, len(sink.handles)
    ((2, 2), 2)
    """

    def __init__(
        self,
        store: str | Store = DEFAULT,
        *,
        key: str | Callable[[dict[str, Any]], str],
        column: str = "data",
        lifetime: LifetimeName | None = None,
        ttl: float | str | None = None,
        pin: bool = False,
        replicas: int = 1,
    ) -> None:
        self.store = store if isinstance(store, Store) else opening.open(store)
        self.column, self.key = column, key
        self.handles: list[ArrayHandle] = []
        """Those of the last write."""
        self._ends: dict[str, Any] = {"lifetime": lifetime, "ttl": ttl, "pin": pin, "replicas": replicas}

    def get_name(self) -> str:
        return "Outlive"

    def on_write_start(self, schema: Any = None) -> None:  # noqa: ARG002  Ray 2.49 gives none
        self.handles = []

    def write(self, blocks: Iterable[Any], ctx: Any) -> list[ArrayHandle]:  # noqa: ARG002
        values: dict[str, Any] = {}
        for block in blocks:
            for key, value in self._items(BlockAccessor.for_block(block)):
                if check_key(key) in values:
                    raise ValueError(_twice(key))
                values[key] = value
        return list(self.store.put_many(values, **self._ends).values())

    def on_write_complete(self, write_result: Any) -> None:
        self.handles = [handle for handles in write_result.write_returns for handle in handles or ()]
        for key, count in Counter(handle.key for handle in self.handles).items():
            if count > 1:
                raise ValueError(_twice(key))

    def _items(self, block: BlockAccessor) -> Iterator[tuple[str, Any]]:
        numbers = None
        for place, row in enumerate(block.iter_rows(public_row_format=True)):
            value = _field(row, self.column)
            if isinstance(value, ArrayHandle):
                value = value.get()
            elif not isinstance(value, np.ndarray):
                numbers = block.to_numpy(self.column) if numbers is None else numbers
                value = self._number(value, np.asarray(numbers[place]))
            yield self.key(row) if callable(self.key) else _field(row, self.key), value

    def _number(self, value: Any, cell: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """A number as an array without dimensions, with the dtype that its column has in the block."""
        if value is None or cell.shape != () or cell.dtype.kind not in _NUMBERS:
            raise UnsupportedArray(
                f"the column {self.column!r} has a {type(value).__qualname__}, and arrays are stored: let Dataset.map "
                "make arrays of it, by numpy.asarray(...); or handles, by store.put(...), which takes any value"
            )
        return cell


def _field(row: Any, column: str) -> Any:
    if column not in row:
        raise KeyError(f"no column {column!r}; there are {', '.join(map(repr, row))}")
    return row[column]


def _twice(key: str | None) -> str:
    return f"two rows have the key {key!r}, and the one would replace the other: give each row a key of its own"
