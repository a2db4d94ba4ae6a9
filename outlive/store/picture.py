"""A small picture of an array, as PNG: for people who look at a notebook.

zlib makes it: matplotlib and Pillow are no dependencies, and would take longer to load than the picture to make. It
reads a sample of at most 160 x 160 items, whatever the array's size, so that it costs milliseconds and some 80 KB.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np

_LARGEST = 160  # pixels of a side
_LEAST = 12  # items of a side: what is smaller is better read as numbers
_COLOURS = (3, 4)  # channels of an image in colour


def picture(array: np.ndarray[Any, Any]) -> tuple[bytes, str] | None:
    """A PNG of an array, and a word on what of the array it shows; None if the array is no image.

    Of more than two axes, the middle of the outermost is shown: its items lie together in memory. That is the first
    axis, or the last one of an array in Fortran order. An axis of 3 or 4 at the end of uint8 items is colour.
    """
    colour = array.ndim >= 3 and array.shape[-1] in _COLOURS and array.dtype == np.uint8
    if array.dtype.kind not in "biufc" or array.ndim < 2:
        return None
    outermost = -1 if array.flags.f_contiguous and not array.flags.c_contiguous and not colour else 0
    shown: list[str] = [":"] * array.ndim
    begin, end = 0, array.ndim
    while array.ndim > 2 + colour:
        at = array.shape[outermost] // 2
        if not array.shape[outermost]:
            return None
        array = array[at] if outermost == 0 else array[..., at]
        if outermost == 0:
            shown[begin], begin = str(at), begin + 1
        else:
            shown[end - 1], end = str(at), end - 1
    height, width = array.shape[:2]
    if min(height, width) < _LEAST:
        return None
    step = tuple(slice(None, None, -(-side // _LARGEST)) for side in (height, width))
    pixels = array[step] if colour else _grey(array[step])
    said = "" if set(shown) == {":"} else f"[{', '.join(shown)}]"
    return png(np.ascontiguousarray(pixels)), said


def _grey(sample: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The items as bytes: from black for the least to white for the greatest. Others are black."""
    with np.errstate(all="ignore"):  # a longdouble, or the length of a complex number, may be too large
        values = np.abs(sample) if sample.dtype.kind == "c" else sample
        values = values.astype(np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(values.shape, np.uint8)
    least, greatest = float(values[finite].min()), float(values[finite].max())
    half = greatest / 2 - least / 2  # their difference may be more than a float can be
    scaled = (np.where(finite, values, least) / 2 - least / 2) / (half or 1.0)
    return (255 * scaled).astype(np.uint8)


def png(pixels: np.ndarray[Any, Any]) -> bytes:
    """A PNG of bytes in C order: (height, width) in grey, (height, width, 3 or 4) in colour."""
    height, width = pixels.shape[:2]
    kind = 0 if pixels.ndim == 2 else 2 if pixels.shape[2] == 3 else 6
    rows = np.zeros((height, 1 + width * (pixels.size // (height * width))), np.uint8)  # each begins with its filter: 0
    rows[:, 1:] = pixels.reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    parts = (b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
