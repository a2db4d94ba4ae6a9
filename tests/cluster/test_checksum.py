"""What the checksum of a chunk notices, in memory alone."""

from __future__ import annotations

import numpy as np
import pytest

from outlive.cluster.checksum import checksum

ROW = 2048 * 8


@pytest.fixture
def data() -> bytearray:
    return bytearray(np.random.default_rng(3).integers(0, 256, 70 * ROW + 5, np.uint8))


def test_equal_bytes_have_equal_checksums(data: bytearray) -> None:
    assert checksum(data) == checksum(bytes(data)) == checksum(memoryview(data))


@pytest.mark.parametrize("where", [0, 7, ROW - 1, ROW, 33 * ROW + 11, 70 * ROW - 1, 70 * ROW, 70 * ROW + 4])
def test_a_flipped_bit_is_noticed(data: bytearray, where: int) -> None:
    before = checksum(data)
    data[where] ^= 16
    assert checksum(data) != before


@pytest.mark.parametrize(("one", "other", "size"), [(0, 8, 8), (0, ROW, 8), (0, ROW, ROW), (ROW, 40 * ROW, 20 * ROW)])
def test_words_and_rows_that_changed_places_are_noticed(data: bytearray, one: int, other: int, size: int) -> None:
    before = checksum(data)
    data[one : one + size], data[other : other + size] = data[other : other + size], data[one : one + size]
    assert checksum(data) != before


def test_a_piece_of_zeros_is_noticed(data: bytearray) -> None:
    before = checksum(data)
    data[5 * ROW : 9 * ROW] = bytes(4 * ROW)
    assert checksum(data) != before


@pytest.mark.parametrize("size", [0, 1, 8, ROW - 1, ROW, ROW + 1])
def test_any_size_has_one(size: int) -> None:
    assert checksum(bytes(size)) == checksum(bytes(size))
    assert size == 0 or checksum(bytes(size)) != checksum(b"\1" + bytes(size - 1))
