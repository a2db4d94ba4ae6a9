"""An actor by its name, for any process that can ask the GCS: `ActorInfo.GetNamedActorInfo` (2.49 to 2.60)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from outlive.ray_internals import rpc

NAMESPACE = "outlive"
GUARD = "workers-guard"
"""The guard of `outlive.workers`. Its own tasks use no worker that any other task could."""
State = Literal["alive", "starting", "restarting", "dead"]
_STATES: dict[str, State] = {"ALIVE": "alive", "RESTARTING": "restarting", "DEAD": "dead"}


@dataclass(frozen=True)
class NamedActor:
    """An actor that has this name now."""

    actor_id: str
    state: State
    node_id: str
    pid: int
    restarts: int


def find(name: str, namespace: str) -> NamedActor | None:
    """The actor of this name that is not dead for good; None if there is none.

    Raises
    ------
    StoreUnavailable
        The GCS does not answer.
    """
    pb, gcs = rpc.messages("gcs_service"), rpc.messages("gcs")
    request = pb.GetNamedActorInfoRequest(name=name, ray_namespace=namespace)
    with rpc.explained("the GCS"):
        row = rpc.gcs("ActorInfo").GetNamedActorInfo(request, timeout=rpc.GCS_PATIENCE).actor_table_data
    if not row.actor_id:
        return None
    state = _STATES.get(gcs.ActorTableData.ActorState.Name(row.state), "starting")
    if state == "dead":
        return None
    return NamedActor(row.actor_id.hex(), state, row.node_id.hex(), row.pid, int(row.num_restarts))
