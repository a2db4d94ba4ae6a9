"""Finding the cluster for the commands `outlive workers ...`."""

from __future__ import annotations


def joined(address: str | None) -> str | None:
    """Connect to the cluster. Returns the job of this command if it made one: its workers are not shown."""
    import ray

    from outlive.cli.connection import connect

    was_connected = ray.is_initialized()
    connect(address, from_inside=True)
    if was_connected and not getattr(joined, "own", False):
        return None
    joined.own = True  # type: ignore[attr-defined]
    job: str = ray.get_runtime_context().get_job_id()
    return job


def found(address: str | None) -> str | None:
    """Find the cluster without joining it, so nothing starts there and no job is added. Returns the same as `joined`.

    A process that has joined a cluster looks at that one.
    """
    import ray

    from outlive.cli.connection import find
    from outlive.ray_internals import rpc

    if ray.is_initialized():
        return joined(address)
    rpc.name_gcs(find(address))
    return None
