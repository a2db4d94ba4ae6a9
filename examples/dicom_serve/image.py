"""Pictures of a volume: a slice or a projection, through a window, as PNG."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

LARGEST = 1 << 26  # pixels of a picture that is larger than its section
AXES = {"z": 0, "y": 1, "x": 2}  # from slice to slice, from row to row, from column to column


class NoSuchSlice(IndexError):
    """The message says how many there are."""


def window(values: np.ndarray, center: float, width: float) -> np.ndarray:
    """Grays from 0 to 255, by the function LINEAR of DICOM PS3.3, C.11.2.1.2.1; the width is 1 at least."""
    lowest = center - 0.5 - (width - 1) / 2
    grays = (np.asarray(values, "float32") - lowest) / max(width - 1, 1e-6)
    return (grays.clip(0, 1) * 255).round().astype("uint8")


def section(series: dict[str, Any], axis: str, number: int | None) -> np.ndarray:
    """A slice across an axis, or the maximum intensity projection (MIP) along it if there is no number."""
    volume = np.moveaxis(series["volume"], AXES[axis], 0)
    if number is None:
        return volume.max(axis=0)
    if not 0 <= number < len(volume):
        raise NoSuchSlice(f"there is no slice {number} across {axis}: there are {len(volume)}, and the first is 0")
    return volume[number]


def png(
    series: dict[str, Any], axis: str, number: int | None, center: float | None = None, width: float | None = None
) -> bytes:
    """The picture, with square pixels: those of the section, or wider ones if it would be too large.

    What is left of the window is that of the series.
    """
    center = series["center"] if center is None else center
    width = max(series["width"], 1) if width is None else width
    picture = Image.fromarray(window(section(series, axis, number), center, width))
    down, across = (length for place, length in enumerate(series["spacing"]) if place != AXES[axis])
    for unit in sorted((down, across)):
        size = max(1, round(picture.width * across / unit)), max(1, round(picture.height * down / unit))
        if size[0] * size[1] <= LARGEST:
            break
    file = io.BytesIO()
    picture.resize(size).save(file, "PNG", compress_level=1)
    return file.getvalue()
