"""The header of a .npy file, as a manifest tells it. No pickle is ever loaded.

Source: NEP 1, https://numpy.org/neps/nep-0001-npy-format.html
"""

from __future__ import annotations

from outlive.archive.manifest import Entry
from outlive.arrays import segment
from outlive.arrays.dtypes import decode_dtype, literal
from outlive.errors import CorruptArray

LONGEST = 1 << 20  # bytes of a header
_MAGIC = b"\x93NUMPY"
_VERSIONS = {1: (10, "latin1"), 2: (12, "latin1"), 3: (12, "utf-8")}  # bytes before the text, and its encoding


def why_not(header: bytes, entry: Entry) -> str | None:
    """Why this is not the header of a file that has the entry's array; None if it is."""
    if header == segment.header(entry.dtype, entry.shape, entry.order == "F"):
        return None  # as `save` writes it: reading it would take longer than storing a small array
    prefix, encoding = _VERSIONS.get(header[6] if len(header) > 9 else 0, (0, ""))
    if not header.startswith(_MAGIC) or not prefix:
        return "it is no .npy file of a known version"
    if int.from_bytes(header[8:prefix], "little") != len(header) - prefix:
        return "its header has another length"
    try:
        found = literal(header[prefix:].decode(encoding).strip())
        dtype, shape, fortran = decode_dtype(repr(found["descr"])), tuple(found["shape"]), found["fortran_order"]
    except (ValueError, TypeError, KeyError, SyntaxError, MemoryError, RecursionError, CorruptArray) as error:
        return f"its header cannot be read ({error!s:.100})"
    if dtype != decode_dtype(entry.dtype) or shape != entry.shape or bool(fortran) != (entry.order == "F"):
        return f"it has {dtype} of shape {shape}{' in Fortran order' * bool(fortran)}"
    return None
