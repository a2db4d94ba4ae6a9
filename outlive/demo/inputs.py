"""Volumes to work on: images that nibabel and pydicom ship, or the user's own .npy, .dcm, .nii and .nii.gz files."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Volume = np.ndarray[Any, Any]
SUFFIXES = (".npy", ".dcm", ".nii", ".nii.gz")
MOST_VOLUMES = 8
MOST_BYTES = 256 << 20  # bytes of all volumes together, as 32-bit floats


class NoInput(Exception):
    """There is nothing to work on. The message says where it was looked for."""


class Source(NamedTuple):
    """The source of one volume. Any process can `load` it."""

    name: str
    paths: tuple[str, ...]  # one file, or the slices of a DICOM series in their order
    number: int | None = None  # along the last axis of a series, if the file holds one


class Skipped(NamedTuple):
    """A file that cannot be used."""

    path: str
    reason: str


class Inputs(NamedTuple):
    """The volumes that were found."""

    sources: list[Source]
    skipped: list[Skipped]
    left_out: int  # volumes beyond what a demo should take
    nbytes: int  # bytes of the largest volume as 32-bit floats


class _Unreadable(Exception):
    """Carries the path of the file that cannot be read, and why."""


def find(folder: Path | None = None) -> Inputs:
    """The volumes of a folder (or one file); without one, those that the packages ship.

    Raises
    ------
    NoInput
        The folder does not exist, or holds nothing that can be read.
    ImportError
        nibabel or pydicom is not installed.
    """
    packaged = _packaged()
    sources: list[Source] = []
    skipped: list[Skipped] = []
    left_out = total = largest = 0
    for candidate in _candidates(packaged if folder is None else _files(folder), skipped):
        if len(sources) == MOST_VOLUMES or total > MOST_BYTES:
            left_out += 1
            continue
        found = _readable(candidate, skipped)
        if found is None:
            continue
        source, nbytes = found
        if sources and total + nbytes > MOST_BYTES:
            left_out += 1
            continue
        sources.append(source)
        total, largest = total + nbytes, max(largest, nbytes)
    if not sources:
        where = "the nibabel and pydicom packages" if folder is None else str(folder)
        reasons = "".join(f"\n  {path}: {reason}" for path, reason in skipped)
        raise NoInput(f"no volume that can be read in {where} (looked for {', '.join(SUFFIXES)}){reasons}")
    return Inputs(sources, skipped, left_out, largest)


def load(source: Source) -> Volume:
    """The volume, as 32-bit floats.

    Raises
    ------
    Exception
        The error of the file's library if it cannot read the file.
    """
    return np.ascontiguousarray(_read(source), dtype=np.float32)


def _packaged() -> list[Path]:
    """An MRI series of two volumes, and an ultrasound cine loop of 30 colour frames."""
    import nibabel  # imported here and below, because they take time and a worker needs at most one of them
    import pydicom

    return [
        Path(nibabel.__file__).parent / "tests" / "data" / "example4d.nii.gz",
        Path(pydicom.__file__).parent / "data" / "test_files" / "examples_ybr_color.dcm",
    ]


def _files(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise NoInput(f"{folder} does not exist")
    return sorted(path for path in folder.rglob("*") if path.name.lower().endswith(SUFFIXES) and path.is_file())


def _candidates(files: Iterable[Path], skipped: list[Skipped]) -> Iterator[Source]:
    """One source for each volume, from the files' headers alone. Slices of one DICOM series are one volume."""
    slices: dict[tuple[Any, ...], list[tuple[int, str]]] = {}
    for path in files:
        try:
            with _silence():
                found = list(_of_file(path, slices))
        except Exception as error:  # noqa: BLE001  these libraries raise anything on damaged files
            skipped.append(Skipped(str(path), _reason(error)))
        else:
            yield from found
    for members in slices.values():
        paths = tuple(path for _, path in sorted(members))
        name = Path(paths[0]).name
        yield Source(name if len(paths) == 1 else f"{name} and {len(paths) - 1} more slices", paths)


def _of_file(path: Path, slices: dict[tuple[Any, ...], list[tuple[int, str]]]) -> Iterator[Source]:
    name, suffix = path.name, path.name.lower()
    if suffix.endswith(".npy"):
        yield Source(name, (str(path),))
    elif suffix.endswith((".nii", ".nii.gz")):
        import nibabel

        shape: tuple[int, ...] = nibabel.load(path).shape  # type: ignore[attr-defined]
        if len(shape) < 4:
            yield Source(name, (str(path),))
        else:
            yield from (Source(f"{name}, volume {n}", (str(path),), n) for n in range(shape[-1]))
    elif suffix.endswith(".dcm"):
        import pydicom

        header = pydicom.dcmread(path, stop_before_pixels=True)
        if int(header.get("NumberOfFrames") or 1) > 1:
            yield Source(name, (str(path),))
            return
        series = header.get("SeriesInstanceUID", str(path)), header.get("Rows"), header.get("Columns")
        slices.setdefault(series, []).append((int(header.get("InstanceNumber") or 0), str(path)))
    else:
        raise ValueError(f"not one of {', '.join(SUFFIXES)}")


def _readable(source: Source, skipped: list[Skipped]) -> tuple[Source, int] | None:
    """The source and its size if it can be read, without those of its slices that cannot; None if nothing is left."""
    while source.paths:
        try:
            return source, _read(source).size * 4
        except _Unreadable as error:
            path, reason = error.args
            skipped.append(Skipped(path, reason))
            source = source._replace(paths=tuple(other for other in source.paths if other != path))
    return None


def _read(source: Source) -> Volume:
    parts: list[Volume] = []
    for path in source.paths:
        try:
            with _silence():
                part = _checked(_read_file(path, source.number))
                if parts and part.shape != parts[0].shape:
                    raise ValueError(f"is {part.shape}, the slices before it are {parts[0].shape}")
        except Exception as error:
            raise _Unreadable(path, _reason(error)) from error
        parts.append(part)
    return parts[0] if len(parts) == 1 else np.stack(parts)


def _read_file(path: str, number: int | None) -> Volume:
    if path.lower().endswith(".npy"):
        return np.asarray(np.load(path, allow_pickle=False, mmap_mode="r"))
    if path.lower().endswith(".dcm"):
        import pydicom

        return pydicom.dcmread(path).pixel_array
    import nibabel

    data = nibabel.load(path).dataobj  # type: ignore[attr-defined]
    return np.asarray(data if number is None else data[..., number])


def _checked(volume: Volume) -> Volume:
    if volume.dtype.kind not in "biuf":
        raise TypeError(f"holds {volume.dtype}, and the demo works on real numbers")
    if volume.ndim == 0 or volume.size == 0:
        raise ValueError(f"holds no volume: its shape is {volume.shape}")
    return volume


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Silences the libraries' remarks on odd files: a file that cannot be read is reported once, by name."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "nibabel.global")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
