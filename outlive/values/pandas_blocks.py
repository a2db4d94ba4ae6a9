"""Frames of pandas as pandas keeps them: numbers of one dtype as one block, a row for each column. See `of_pandas`.

Where columns are is said in runs: `[0, 3, 5, 6]` are the columns 0, 1, 2 and 5.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from outlive.errors import CorruptArray
from outlive.values.pandas_arrays import is_of_numbers
from outlive.values.parts import Stack

try:
    from pandas.api.internals import create_dataframe_from_blocks as _of_blocks
except ImportError:  # before pandas 3
    _of_blocks = None

_MOST_EMPTY = 1 << 16  # columns without rows, of which pandas 2 makes each


def split(frame: Any) -> tuple[list[tuple[list[int], Any]], list[int]]:
    """The blocks of numbers, each with the places of its columns, and the places of all other columns.

    Nothing is copied. Blocks of one dtype become one stack, unless one has its columns side by side, as a table has.
    The places in a stack ascend.
    """
    blocks, stacks, others = list[tuple[list[int], Any]](), dict[Any, list[tuple[list[int], Any]]](), list[int]()
    for places, values in sorted(_blocks(frame), key=lambda block: block[0][:1]):
        if values is None:
            others += places
        elif places and values.flags.f_contiguous and not values.flags.c_contiguous:
            blocks.append((places, values))
        elif places:
            stacks.setdefault(values.dtype, []).append((places, values))
    return [*blocks, *map(_stack, stacks.values())], sorted(others)


def _stack(blocks: list[tuple[list[int], Any]]) -> tuple[list[int], Stack]:
    """Blocks as one. Those between whose columns others lie are taken apart."""
    places = [place for of_block, _ in blocks for place in of_block]
    if places != sorted(places):
        blocks = sorted((piece for block in blocks for piece in _pieces(*block)), key=lambda piece: piece[0][0])
        places = [place for of_piece, _ in blocks for place in of_piece]
    return places, Stack([values for _, values in blocks])


def _pieces(places: list[int], values: Any) -> Any:
    """The runs of a block: views of it."""
    reached = 0
    for begin, end in _pairs(runs(places)):
        yield [*range(begin, end)], values[reached : reached + end - begin]
        reached += end - begin


def _blocks(frame: Any) -> list[tuple[list[int], Any]]:
    """The places of each block, and its numbers; None if it has none."""
    blocks = getattr(getattr(frame, "_mgr", None), "blocks", None)
    if blocks is None:  # an option of pandas 2
        columns = [frame.iloc[:, place] for place in range(frame.shape[1])]
        return [([place], _numbers(column)) for place, column in enumerate(columns)]
    return [(block.mgr_locs.as_array.tolist(), _numbers(block.values)) for block in blocks]


def _numbers(values: Any) -> Any:
    return np.atleast_2d(np.asarray(values)) if is_of_numbers(values.dtype) else None


def runs(places: list[int]) -> list[int]:
    """Places in runs."""
    found: list[int] = []
    for place in places:
        if found and found[-1] == place:
            found[-1] += 1
        else:
            found += [place, place + 1]
    return found


def in_runs(found: Any) -> int:
    """How many places these runs have. Raises TypeError for what are none."""
    if type(found) is not list:
        raise TypeError("no runs")
    count = 0
    for begin, end in zip(found[::2], found[1::2], strict=True):
        if type(begin) is not int or type(end) is not int:
            raise TypeError("no runs")
        count += end - begin
    return count


def frame_of(blocks: list[Any], places: Any, arrays: list[Any], others: Any, index: Any, labels: Any) -> Any:
    """A frame of blocks of numbers in these runs, and of its other columns in those of `others`.

    Raises
    ------
    CorruptArray
        They do not fit each other.
    """
    rows = len(index)
    for block, there in zip(blocks, places, strict=True):
        if block.shape != (in_runs(there), rows):
            raise CorruptArray(f"a stored frame is damaged: it has {block.shape} numbers, for {rows} rows")
    if len(arrays) != in_runs(others) or not _are_all([*places, others], len(labels)):
        raise CorruptArray("a stored frame is damaged: it has other columns than labels")
    if any(len(one) != rows for one in arrays):
        raise CorruptArray("a stored frame is damaged: its columns have other lengths than its index")
    if _of_blocks is None:
        return _of_columns(blocks, places, arrays, others, index, labels)
    found = [piece for block, there in zip(blocks, places, strict=True) for piece in _placed(block, there)]
    at = [place for begin, end in _pairs(others) for place in range(begin, end)]
    for place, array in zip(at, arrays, strict=True):
        found.append((array[np.newaxis] if isinstance(array, np.ndarray) else array, slice(place, place + 1)))
    return _of_blocks(found, index, labels)


def _pairs(found: list[int]) -> Any:
    return zip(found[::2], found[1::2], strict=True)


def _are_all(places: Any, count: int) -> bool:
    """Whether these runs have each of so many places once. It takes no longer if they are many."""
    reached = 0
    for begin, end in sorted(pair for found in places for pair in _pairs(found)):
        if begin != reached or end <= begin:
            return False
        reached = end
    return reached == count


def _placed(block: Any, there: list[int]) -> list[tuple[Any, Any]]:
    """A block with its places, which pandas believes to ascend: a block where they do not stays in pieces.

    So does one without rows, which has no bytes, but any number of places.
    """
    pairs = list(_pairs(there))
    if len(pairs) == 1:
        return [(block, slice(*pairs[0]))]
    if block.shape[1] and pairs == sorted(pairs):
        return [(block, np.concatenate([np.arange(*pair) for pair in pairs]))]
    found, reached = [], 0
    for begin, end in pairs:
        found.append((block[reached : reached + end - begin], slice(begin, end)))
        reached += end - begin
    return found


def _of_columns(blocks: list[Any], places: Any, arrays: list[Any], others: Any, index: Any, labels: Any) -> Any:
    """The frame, before pandas 3."""
    if len(blocks) == 1 and not arrays and len(places[0]) == 2:
        return pd.DataFrame(blocks[0].T, index, labels, copy=False)
    if not len(index) and len(labels) > _MOST_EMPTY:
        raise TypeError("columns without rows")
    rows = [row for block in blocks for row in block]
    at = [place for found in (*places, others) for begin, end in _pairs(found) for place in range(begin, end)]
    columns = dict(sorted(zip(at, [*rows, *arrays], strict=True), key=lambda pair: pair[0]))
    made = pd.DataFrame(
        {place: pd.Series(one, index, one.dtype, copy=False) for place, one in columns.items()}, index, copy=False
    )
    made.columns = labels
    return made
