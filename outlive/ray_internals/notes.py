"""A few bytes in the GCS's key-value store, for any process that can ask the GCS, joined or not; within a deadline.

They are in the namespace of `kv`. With the GCS's own fault tolerance they outlive it. Source: gcs_service.proto,
`InternalKVGcsService` (2.49 to 2.60); `kInternalKVSuccess` is no error, and `NotFound` means that there is no such key.
"""

from __future__ import annotations

from outlive.ray_internals import rpc

_NAMESPACE = b"outlive"


def put(key: str, value: bytes) -> None:
    """Note the value, in place of an earlier one.

    Raises
    ------
    StoreUnavailable
        The GCS does not answer.
    """
    pb = rpc.messages("gcs_service")
    request = pb.InternalKVPutRequest(key=key.encode(), value=value, overwrite=True, namespace=_NAMESPACE)
    with rpc.explained("the GCS"):
        rpc.gcs("InternalKV").InternalKVPut(request, timeout=rpc.GCS_PATIENCE)


def get(key: str) -> bytes | None:
    """The noted value; None if there is none. It raises as `put`."""
    pb = rpc.messages("gcs_service")
    request = pb.InternalKVGetRequest(key=key.encode(), namespace=_NAMESPACE)
    with rpc.explained("the GCS"):
        reply = rpc.gcs("InternalKV").InternalKVGet(request, timeout=rpc.GCS_PATIENCE)
    value: bytes = reply.value
    return value or None
