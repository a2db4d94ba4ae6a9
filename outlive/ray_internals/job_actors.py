"""Actors that may still use the workers of their job: `ActorInfo.GetAllActorInfo` of the GCS (2.49 to 2.60)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from outlive.ray_internals import rpc
from outlive.ray_internals.named_actor import GUARD, NAMESPACE


@dataclass(frozen=True)
class JobActor:
    """An actor of a job."""

    actor_id: str
    label: str
    """Its name, else its class and id."""
    alive: bool
    """Whether it takes calls: it is neither dead, nor starting, nor starting again."""
    dead: bool
    detached: bool
    record: Any = field(compare=False)
    """`ActorTableData` of gcs.proto."""


def by_job(*, dead: bool = False) -> dict[str, list[JobActor]]:
    """Actors by the id of their job, the detached ones first: all, or those that are not dead.

    The guard is left out: its few tasks have a runtime environment of their own, so it uses no worker of its job.
    """
    pb, gcs = rpc.messages("gcs_service"), rpc.messages("gcs")
    states = gcs.ActorTableData.ActorState
    with rpc.explained("the GCS"):
        reply = rpc.gcs("ActorInfo").GetAllActorInfo(pb.GetAllActorInfoRequest(), timeout=rpc.PATIENCE)
    found: dict[str, list[JobActor]] = {}
    for one in sorted(reply.actor_table_data, key=lambda one: (not one.is_detached, one.name)):
        if (one.name, one.ray_namespace) == (GUARD, NAMESPACE):
            continue
        if dead or one.state != states.DEAD:
            label = repr(one.name) if one.name else f"{one.class_name} {one.actor_id.hex()[:8]}"
            actor = JobActor(
                one.actor_id.hex(), label, one.state == states.ALIVE, one.state == states.DEAD, one.is_detached, one
            )
            found.setdefault(one.job_id.hex(), []).append(actor)
    return found
