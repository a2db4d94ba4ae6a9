"""Byte ranges, as zarr asks for them."""

from __future__ import annotations

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest

from outlive.zarr.chunks import Cut


def cut_of(request: ByteRequest | None) -> Cut | None:
    """The part of a chunk that a range names; None for all of it. Bytes beyond the end do not exist.

    Raises
    ------
    TypeError
        It is no range.
    """
    if request is None:
        return None
    if isinstance(request, RangeByteRequest):
        start, end = request.start, request.end
        return lambda nbytes: slice(min(start, nbytes), min(end, nbytes))
    if isinstance(request, OffsetByteRequest):
        offset = request.offset
        return lambda nbytes: slice(min(offset, nbytes), nbytes)
    if isinstance(request, SuffixByteRequest):
        suffix = request.suffix
        return lambda nbytes: slice(max(0, nbytes - suffix), nbytes)
    raise TypeError(f"Unexpected byte_range, got {request}.")
