"""outlive for Ray Data: datasets of stored arrays, and a sink that stores a dataset's arrays.

Needs the extra `outlive[data]`. See docs/howto/ray-data.md.
"""

from __future__ import annotations

from outlive.extras import named

try:
    from outlive.data.reading import read
    from outlive.data.sink import OutliveSink
    from outlive.data.tensors import arrays
except ModuleNotFoundError as error:
    raise named(error, "data") from None

__all__ = ["OutliveSink", "arrays", "read"]
