"""outlive as a store of zarr: groups and arrays of zarr that outlive the workers that wrote them.

Needs the extra `outlive[zarr]`, and so Python 3.11 or later, as zarr 3 does. See docs/howto/zarr.md.
"""

from __future__ import annotations

from outlive.extras import named

try:
    import zarr.abc.store as _abc  # zarr 2 has none
except ModuleNotFoundError as error:
    raise named(error) from None

from outlive.zarr.store import OutliveStore as OutliveStore

__all__ = ["OutliveStore"]

assert _abc
