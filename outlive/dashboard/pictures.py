"""A picture of an array, or of one slice of a volume. Of an array on another node only that slice is brought here."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from outlive.store.picture import picture

if TYPE_CHECKING:
    from outlive.store.handle import ArrayHandle

_BRING = 64 << 20  # bytes of an array that are brought from another node
_COLOURS = (3, 4)


def of(handle: ArrayHandle, here: str, at: int | None) -> dict[str, Any]:
    """`Source.picture`.

    Parameters
    ----------
    here
        The id of this process's node.
    at
        The index in the first axis of a volume; None: the middle.
    """
    if handle.kind != "array":
        return _none(f"it is no array, but of kind {handle.kind}")
    slices = _slices(handle)
    if slices == 0:
        return _none("it has no items")
    at = None if slices is None else min(max(0, slices // 2 if at is None else at), slices - 1)
    whole = slices is None or handle.info.fortran
    size = handle.nbytes if whole else handle.nbytes // (slices or 1)
    nodes = handle.location
    if here not in nodes and size > _BRING:
        return _none(f"it is on node {(nodes or ['?'])[0][:8]}, and too large to be brought here to be looked at")
    shown = handle[...] if at is None else handle[at]
    drawn = picture(shown)
    if drawn is None:
        return _none("it is no image: too small, or of other items than numbers")
    png, more = drawn
    said = "" if at is None else f"[{at}, ...]"
    encoded = base64.b64encode(png).decode("ascii")
    return {"png": encoded, "said": f"{said} {more}".strip(), "slices": slices, "at": at}


def _slices(handle: ArrayHandle) -> int | None:
    """How many slices there are along the first axis; None if the array is one image by itself."""
    colour = handle.ndim >= 3 and handle.shape[-1] in _COLOURS and handle.dtype == "uint8"
    return handle.shape[0] if handle.ndim > 2 + colour else None


def _none(why: str) -> dict[str, Any]:
    return {"png": None, "said": why, "slices": None, "at": None}
