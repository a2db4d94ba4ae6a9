"""Byte ranges, as zarr asks for them."""

from __future__ import annotations

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest

from outlive.zarr.chunks import Cut


def cut_of(request: ByteRequest | None) -> Cut | None:
    """What a range names of a chunk; None for all of it. What is beyond the end does not exist.

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
