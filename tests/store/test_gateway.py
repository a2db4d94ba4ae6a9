"""What a program outside the cluster sends, without a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from outlive.store.store import Store, _all_packed


def test_a_generator_may_give_all_values_in_the_same_memory() -> None:
    buffer = np.empty(3)

    def given() -> Iterator[Any]:
        for number in range(3):
            buffer[:] = number
            yield buffer
            yield {"array": buffer}

    _, sent = _all_packed(Store("default", None, True), given())
    assert [one[0] for one in sent[::2]] == [0, 1, 2]
    assert [b"".join(part.tobytes() for part in one.parts)[:24] for one in sent[1::2]] == [
        np.full(3, float(number)).tobytes() for number in range(3)
    ]
