"""Workers that trim and `recycle` let go, counted on the shelf of this process's node. Its keeper exports the numbers.

A node without a shelf has no keeper, and nothing is counted there. Nothing is counted either by a process that has not
joined the cluster, as `outlive workers trim` has not.
"""

from __future__ import annotations

import contextlib
import os

from outlive.arrays.layout import TALLY
from outlive.arrays.root import default_root
from outlive.arrays.tally import RECYCLED, SPARED, TRIMMED, Tally
from outlive.errors import OutliveError
from outlive.ray_internals import Connection


def trimmed(left: int, stayed: int) -> None:
    """Count workers that trim let go, and those that it chose and that stayed."""
    _add({TRIMMED: left, SPARED: stayed})


def recycled() -> None:
    """Count this worker, which leaves at a limit."""
    _add({RECYCLED: 1})


def _add(counts: dict[int, int]) -> None:
    with contextlib.suppress(OutliveError, OSError):
        here = Connection()
        tally = Tally(os.path.join(default_root()[0], here.cluster, here.node_id, TALLY))
        for number, count in counts.items():
            tally.add(number, count)
