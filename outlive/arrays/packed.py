"""Packed values: a value that is no array, as the bytes that its segment holds. `outlive.values` makes and reads them.

To all else such a segment is a one-dimensional array of bytes, whose `ArrayInfo` has the name of a codec.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

if TYPE_CHECKING:
    from outlive.arrays.info import ArrayInfo

DTYPE = "'|u1'"  # of the segment of a packed value
_BYTE: np.dtype[Any] = np.dtype(np.uint8)


class Packed(NamedTuple):
    """A value to be written: `parts`, one after the other, are its bytes. Nothing is copied before that."""

    codec: str
    nbytes: int
    parts: list[np.ndarray[Any, Any]]  # some may have gaps; their bytes are those in C order


class PackedBytes(np.ndarray[Any, Any]):
    """The bytes of a packed value that was read: usually a map of its segment, and read-only unless it is private."""

    info: ArrayInfo
    tail = b""
    """Its last bytes, if they were read apart from the map: to look at them there takes longer."""

    def __array_finalize__(self, origin: object) -> None:
        if isinstance(origin, PackedBytes):
            self.info, self.tail = origin.info, origin.tail

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return packed_bytes, (self.view(np.ndarray), self.info)


def packed_over(buffer: Any, info: ArrayInfo, tail: bytes = b"") -> PackedBytes:
    """The bytes of a packed value in the buffer of its whole segment. Raises ValueError if it is too short."""
    found: PackedBytes = PackedBytes((info.nbytes,), _BYTE, buffer, info.offset)
    found.info, found.tail = info, tail
    return found


def packed_bytes(data: np.ndarray[Any, Any], info: ArrayInfo, tail: bytes = b"") -> PackedBytes:
    """A view of these bytes that says which value they are."""
    view = cast("PackedBytes", data.view(PackedBytes))
    view.info, view.tail = info, tail
    return view
