"""Rows: a part of an array that is on another node, without the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outlive.arrays.info import ArrayInfo
from outlive.store.elsewhere import WORTH_A_PART, rows
from outlive.store.gone import missing
from outlive.store.reading import as_array, by_handle

if TYPE_CHECKING:
    from outlive.store.session import Session


def part(session: Session, info: ArrayInfo, hint: str | None, index: Any) -> Any:
    """`array[index]`. From another node, only the rows that the first of `index` names are moved. They are not kept.

    Raises
    ------
    ArrayNotFound, ArrayLost, CorruptArray, TooManyViews
    """
    run = None if session.shelf.has(info.id) else rows_of(info, index)
    if run is None:
        return by_handle(session, info, hint)[index]
    begin, end, rest = run
    row = info.nbytes // info.shape[0]
    data = rows(session, info, hint, begin * row, end * row) if end > begin else bytearray()
    if not isinstance(data, bytearray):
        raise missing(session, info, data, hint)
    return as_array(info._replace(shape=(end - begin, *info.shape[1:])), data)[rest]


def rows_of(info: ArrayInfo, index: Any) -> tuple[int, int, Any] | None:
    """The run of rows that an index needs, and the index into them; None if it is better to have the whole array."""
    import numpy as np

    first, *rest = index if isinstance(index, tuple) and index else (index,)
    whole = info.fortran or not info.shape or info.nbytes < WORTH_A_PART
    if whole or isinstance(first, bool) or not isinstance(first, int | np.integer | slice):
        return None
    count = info.shape[0]
    if not isinstance(first, slice):
        first = int(first)
        if not -count <= first < count:
            raise IndexError(f"index {first} is out of bounds for axis 0 with size {count}")
        return first % count, first % count + 1, (0, *rest)
    steps = range(count)[first]
    if not steps:
        return 0, 0, (slice(0, 0), *rest)
    begin, end = min(steps[0], steps[-1]), max(steps[0], steps[-1]) + 1
    if (end - begin) * 2 > count:
        return None
    return begin, end, (slice(None, None, steps.step), *rest)
