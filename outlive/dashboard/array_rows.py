"""Arrays as rows of the page, from the catalog's list of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outlive.arrays.dtypes import decode_dtype
from outlive.arrays.lifetimes import JOB, SCOPE, job_id, lifetime_of

if TYPE_CHECKING:
    from outlive.catalog.wire import Found


def row(found: Found) -> dict[str, Any]:
    """One array. `ends` says with what it ends by itself; `ttl` is its time to live in seconds, or None."""
    info, lifetime = found.info, lifetime_of(found.info)
    ends = f"job {job_id(lifetime.number)}" if lifetime.kind & JOB else "scope" if lifetime.kind & SCOPE else None
    return {
        "key": info.key or "",
        "id": info.id,
        "kind": info.codec or "array",
        "dtype": None if info.codec else str(decode_dtype(info.dtype)),
        "shape": None if info.codec else list(info.shape),
        "nbytes": info.nbytes,
        "put_at": info.version / 1e9,
        "ends": ends,
        "ttl": info.ttl or None,
        "node": found.nodes[0] if found.nodes else "",
        "nodes": found.nodes,
        "replicas": 0 if found.lost_at else len(found.nodes),
        "wanted": info.replicas,
        "lost_at": found.lost_at or None,
    }
