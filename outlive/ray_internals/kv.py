"""A few bytes that outlive every actor: the GCS's key-value store, in a namespace of its own.

Source: ray/experimental/internal_kv.py (2.49 to 2.60).
"""

from __future__ import annotations

from typing import Any

from ray.experimental import internal_kv

_NAMESPACE = b"outlive"


def put(key: str, value: bytes) -> None:
    kv: Any = internal_kv
    kv._internal_kv_put(key.encode(), value, overwrite=True, namespace=_NAMESPACE)


def put_first(key: str, value: bytes) -> None:
    """Put the value unless there is one. If several processes do so at once, one of them succeeds."""
    kv: Any = internal_kv
    kv._internal_kv_put(key.encode(), value, overwrite=False, namespace=_NAMESPACE)


def get(key: str) -> bytes | None:
    kv: Any = internal_kv
    value: bytes | None = kv._internal_kv_get(key.encode(), namespace=_NAMESPACE)
    return value
