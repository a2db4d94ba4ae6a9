"""A DICOM study becomes volumes, one a series: sorted, rescaled, and with what is needed to show them.

The terms are those of DICOM PS3.3: C.7.6.2 for where an image is, C.7.6.3 for its pixels, C.11.1 for the rescaling.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np
import pydicom
from pydicom.pixels import apply_rescale

LARGEST = 1 << 30  # bytes of an upload, and of its files; and their pixels, as files may be compressed
SPACINGS, WINDOWS = (1e-3, 1e3), 1e6  # mm: the least and the most; the most of a window's center and width


class NotAStudy(ValueError):
    """An upload that cannot be stored. The message says why, and names the file or the series."""


class Slice(NamedTuple):
    study: str
    series: str
    plane: tuple[Any, ...]  # shape, orientation and pixel spacing: those of all slices of a series
    position: float  # mm, along the normal of the plane
    thickness: float
    window: tuple[float, float] | None
    pixels: np.ndarray


def read_study(upload: bytes) -> tuple[str, dict[str, dict[str, Any]]]:
    """The StudyInstanceUID of a ZIP of DICOM files, and its volumes by SeriesInstanceUID.

    Raises
    ------
    NotAStudy
    """
    slices = list(_slices(upload))
    if len(studies := {one.study for one in slices}) != 1:
        raise NotAStudy(f"the upload has files of {len(studies)} studies")
    by_series = defaultdict(list)
    for one in slices:
        by_series[one.series].append(one)
    return studies.pop(), {series: _volume(series, found) for series, found in by_series.items()}


def _slices(upload: bytes) -> Iterator[Slice]:
    try:
        archive = zipfile.ZipFile(io.BytesIO(upload))
    except (zipfile.BadZipFile, NotImplementedError):
        raise NotAStudy("the upload is no ZIP of DICOM files") from None
    files = [one for one in archive.infolist() if not one.is_dir() and PurePath(one.filename).name != "DICOMDIR"]
    if sum(one.file_size for one in files) > LARGEST:
        raise NotAStudy(f"the files have more than {LARGEST:,} bytes")
    room = LARGEST
    for file in files:
        try:
            yield (found := _slice(pydicom.dcmread(io.BytesIO(archive.read(file))), room))
            room -= found.pixels.size
        except pydicom.errors.InvalidDicomError:
            raise NotAStudy(f"{file.filename}: this is no DICOM file") from None
        except Exception as error:  # of any kind, if the file is damaged or lacks something
            raise NotAStudy(f"{file.filename}: {error}") from error


def _slice(file: pydicom.Dataset, room: int) -> Slice:
    """The slice of a file, which may have `room` pixels."""
    study, series = str(file.StudyInstanceUID), str(file.SeriesInstanceUID)
    if not all(re.fullmatch(r"[0-9.]{1,64}", uid) for uid in (study, series)):
        raise ValueError("a UID has digits and points, 64 at most")
    if file.Rows * file.Columns > LARGEST // 8 or file.get("NumberOfFrames") not in {None, 1}:
        raise ValueError("the image is too large, or has several frames")
    if file.Rows * file.Columns > room:
        raise ValueError(f"the files have more than {LARGEST:,} pixels")
    if file.PhotometricInterpretation != "MONOCHROME2":
        raise ValueError(f"the image is {file.PhotometricInterpretation}, not MONOCHROME2")
    orientation = np.array(file.ImageOrientationPatient, float)  # of the rows, then of the columns
    if not np.isfinite(position := float(np.cross(*orientation.reshape(2, 3)) @ np.array(file.ImagePositionPatient))):
        raise ValueError("its position is no finite number")
    if (pixels := file.pixel_array).shape != (file.Rows, file.Columns):
        raise ValueError("the image has several samples a pixel")
    return Slice(
        study,
        series,
        (file.Rows, file.Columns, *np.round(orientation, 4), *map(float, file.PixelSpacing)),
        position,
        float(file.get("SliceThickness") or 1),
        _window(file),
        _narrow(apply_rescale(pixels, file)),
    )


def _window(file: pydicom.Dataset) -> tuple[float, float] | None:
    """The first center and width that the file has, if they make a window."""
    if file.get("WindowCenter") is None or file.get("WindowWidth") is None:
        return None
    center, width = float(np.atleast_1d(file.WindowCenter)[0]), float(np.atleast_1d(file.WindowWidth)[0])
    return (center, width) if abs(center) <= WINDOWS and 0 <= width <= WINDOWS else None


def _narrow(values: np.ndarray) -> np.ndarray:
    """The same values as int16, as CT has them, or else as float32."""
    if not np.isfinite(values).all():
        raise ValueError("a pixel is no finite number")
    fits = values.min() >= -0x8000 and values.max() < 0x8000 and (values == np.trunc(values)).all()
    return values.astype("int16" if fits else "float32")


def _volume(series: str, slices: list[Slice]) -> dict[str, Any]:
    """The slices in the order of their positions, whatever the order of the files."""
    slices.sort(key=lambda one: one.position)
    first, gaps = slices[0], np.diff([one.position for one in slices])
    if any(one.plane != first.plane for one in slices):
        raise NotAStudy(f"series {series}: slices differ in size, orientation or pixel spacing")
    if len(gaps) and (gaps.max() > 1.02 * gaps.min() or not gaps.min()):
        raise NotAStudy(f"series {series}: a slice is missing, or there twice: gaps of {gaps.min()} to {gaps.max()} mm")
    spacing = (float(gaps.mean()) if len(gaps) else first.thickness, *first.plane[-2:])
    if not all(SPACINGS[0] <= one <= SPACINGS[1] for one in spacing):
        raise NotAStudy(f"series {series}: slices or pixels are {spacing} mm apart, not {SPACINGS[0]} to {SPACINGS[1]}")
    volume = np.stack([one.pixels for one in slices])
    low, high = float(volume.min()), float(volume.max())
    center, width = first.window or ((low + high + 1) / 2, high - low + 1)
    return {"volume": volume, "spacing": spacing, "center": center, "width": width}
