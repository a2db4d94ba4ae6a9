"""A .npy file: read into an array that is being made, written from a view. No pickle is ever loaded."""

from __future__ import annotations

import os
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from outlive.arrays import segment
from outlive.arrays.dtypes import encode_dtype
from outlive.cli.failures import BadFile

Array = np.ndarray[Any, Any]
Progress = Callable[[int, int], None]

_STEP = 64 << 20  # bytes between two calls of `progress`


class NpyHeader(NamedTuple):
    """The header of a .npy file, and the offset of the array's bytes."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    offset: int

    def read_into(self, out: Array, progress: Progress) -> None:
        """Fill `out`, which has this header's shape, dtype and order.

        The file is read, not mapped: if another program truncates it meanwhile, that is an error and not a SIGBUS.

        Raises
        ------
        BadFile
            It ends early.
        """
        data = _bytes_of(out)
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.offset)
            done = 0
            while done < len(data):
                read = file.readinto(data[done : done + _STEP])
                if not read:
                    raise BadFile(f"{str(self.path)!r} became shorter while it was read")
                done += read
                progress(done, len(data))


def read_header(path: Path) -> NpyHeader:
    """The header of a regular file, checked against the file's length.

    Raises
    ------
    BadFile
        It is no .npy file, is truncated, or holds Python objects.
    """
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - numpy raises nearly anything over a garbled header
        raise _bad(str(path), error) from None
    fortran = bool(array.flags.f_contiguous and not array.flags.c_contiguous)
    return NpyHeader(path, array.shape, array.dtype, fortran, array.offset)


def read_stream(stream: BinaryIO, name: str) -> Array:
    """The array of a .npy file that comes through a pipe. Raises `BadFile` as `read_header`."""
    try:
        # an object with only `read`, so that numpy does not try to seek
        reader: Any = types.SimpleNamespace(read=stream.read)
        return np.lib.format.read_array(reader, allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - as above
        raise _bad(name, error) from None


def write(array: Array, file: BinaryIO, progress: Progress) -> None:
    """Write `array` as a .npy file, byte for byte as it was stored."""
    fortran = bool(array.flags.f_contiguous and not array.flags.c_contiguous)
    file.write(segment.header(encode_dtype(array.dtype), array.shape, fortran))
    data = _bytes_of(array)
    for start in range(0, len(data), _STEP):
        file.write(data[start : start + _STEP])
        progress(min(start + _STEP, len(data)), len(data))
    file.flush()


def save(array: Array, path: Path, progress: Progress, *, force: bool) -> None:
    """Write the file `path` in full, or not at all. A device or pipe is written to directly.

    Raises
    ------
    FileExistsError
        It exists already, and `force` does not say to replace it.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            write(array, file, progress)
        return
    if path.exists() and not force:
        raise FileExistsError(17, "File exists; --force replaces it", str(path))
    target = path.resolve()  # a link stays a link
    partial = target.with_name(f".{target.name[:100]}.{os.urandom(6).hex()}.partial")
    try:
        with partial.open("xb") as file:
            write(array, file, progress)
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _bytes_of(array: Array) -> memoryview:
    """The bytes of a contiguous array, in the order they lie in memory; writable if it is."""
    if not array.nbytes:
        return memoryview(b"")
    flat = array if array.flags.c_contiguous else array.T
    return flat.reshape(-1).view(np.uint8).data


def _bad(name: str, error: Exception) -> BadFile:
    if "allow_pickle" in str(error) or "Python objects" in str(error):
        return BadFile(f"{name!r} holds Python objects, which cannot be stored; save it as numbers or text instead")
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return BadFile(f"{name!r} is not a .npy file that can be read, as numpy.save writes them: {reason}")
