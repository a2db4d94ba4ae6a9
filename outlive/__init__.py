"""Arrays that outlive the Ray workers that made them, and workers that do not outlive their use."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if sys.platform == "win32":
    from outlive.errors import UnsupportedPlatform

    raise UnsupportedPlatform(
        "outlive needs POSIX file locks and memory maps, which Windows lacks; run it on Linux or in WSL 2"
    )

__version__ = "0.2.0"

if TYPE_CHECKING:
    from outlive import codecs as codecs
    from outlive import dask as dask
    from outlive import data as data
    from outlive import gpu as gpu
    from outlive import workers as workers
    from outlive import xarray as xarray
    from outlive import zarr as zarr
    from outlive.errors import (
        ArchiveNotFound,
        ArchiveUnavailable,
        ArrayLost,
        ArrayNotFound,
        CorruptArchive,
        CorruptArray,
        CreationEnded,
        GpuUnavailable,
        InvalidKey,
        InvalidKeyType,
        MissingPackage,
        OutliveError,
        PickleRefused,
        StoreFull,
        StoreUnavailable,
        TooManyViews,
        UnknownType,
        UnsafeRoot,
        UnsupportedArray,
        UnsupportedPlatform,
    )
    from outlive.store.handle import ArrayHandle
    from outlive.store.nodes import drain, nodes
    from outlive.store.numpy_store import NumpyStore
    from outlive.store.opening import load, open, shutdown
    from outlive.store.replicas import FewerReplicas
    from outlive.store.store import Store
    from outlive.versions import show_versions

_HOME = {
    **dict.fromkeys(("load", "open", "shutdown"), "outlive.store.opening"),
    "Store": "outlive.store.store",
    "show_versions": "outlive.versions",
    **dict.fromkeys(("drain", "nodes"), "outlive.store.nodes"),
    "FewerReplicas": "outlive.store.replicas",
    "ArrayHandle": "outlive.store.handle",
    "NumpyStore": "outlive.store.numpy_store",
    **dict.fromkeys(
        (
            "ArchiveNotFound",
            "ArchiveUnavailable",
            "ArrayLost",
            "ArrayNotFound",
            "CorruptArchive",
            "CorruptArray",
            "CreationEnded",
            "GpuUnavailable",
            "InvalidKey",
            "InvalidKeyType",
            "MissingPackage",
            "OutliveError",
            "PickleRefused",
            "StoreFull",
            "StoreUnavailable",
            "TooManyViews",
            "UnknownType",
            "UnsafeRoot",
            "UnsupportedArray",
            "UnsupportedPlatform",
        ),
        "outlive.errors",
    ),
}
__all__ = [
    "ArchiveNotFound",
    "ArchiveUnavailable",
    "ArrayHandle",
    "ArrayLost",
    "ArrayNotFound",
    "CorruptArchive",
    "CorruptArray",
    "CreationEnded",
    "FewerReplicas",
    "GpuUnavailable",
    "InvalidKey",
    "InvalidKeyType",
    "MissingPackage",
    "NumpyStore",
    "OutliveError",
    "PickleRefused",
    "Store",
    "StoreFull",
    "StoreUnavailable",
    "TooManyViews",
    "UnknownType",
    "UnsafeRoot",
    "UnsupportedArray",
    "UnsupportedPlatform",
    "drain",
    "load",
    "nodes",
    "open",
    "show_versions",
    "shutdown",
]


if not TYPE_CHECKING:  # to a type checker, a name that is not here is an error

    def __getattr__(name: str) -> Any:
        """Load a public name when it is first used: so keeper and catalog, which need none, do not load numpy."""
        if name in {"codecs", "dask", "data", "gpu", "workers", "xarray", "zarr"}:
            return importlib.import_module(f"outlive.{name}")
        if name not in _HOME:
            raise AttributeError(f"module 'outlive' has no attribute {name!r}")
        value = getattr(importlib.import_module(_HOME[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
