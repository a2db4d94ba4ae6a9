"""The actor `workers-guard` in namespace `outlive`: one light process on the head that runs a `Watch`.

Ray gives up an actor whose constructor raises, so that one only starts a thread. Whatever has to ask the GCS is done
there, again and again.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Mapping
from typing import Any

from outlive import actor_logs
from outlive.ray_internals import notes
from outlive.workers.guard_record import FORM
from outlive.workers.policy import Policy
from outlive.workers.watch import Watch


class Guard:
    """Its calls are made by `guarding`."""

    def __init__(self, policy: dict[str, Any]) -> None:
        import ray

        actor_logs.begin()
        context = ray.get_runtime_context()
        self._about = {
            "version": importlib.import_module("outlive").__version__,  # an import of it would be a cycle
            "actor_id": context.get_actor_id(),
            "node_id": context.get_node_id(),
            "pid": os.getpid(),
        }
        self._watch = Watch(Policy.from_json(policy), notes, self._about)
        threading.Thread(target=self._watch.run, name="outlive-guard", daemon=True).start()

    def about(self) -> dict[str, Any]:
        """Its version, form and process. This call has to stay as it is: other versions make it."""
        return {**self._about, "form": FORM}

    def replace(self, policy: dict[str, Any]) -> bool:
        """Another policy in place of the present one. False: this guard was stopped."""
        return self._watch.change(lambda _: Policy.from_json(policy))

    def amend(self, fields: dict[str, Any]) -> bool:
        """Other values of some fields. `jobs` adds exceptions; None in place of one ends it."""
        return self._watch.change(lambda policy: amended(policy, fields))

    def stop(self) -> None:
        """End the rounds. Once this returns, it holds no worker. This call has to stay as it is."""
        self._watch.stop()


def amended(policy: Policy, fields: Mapping[str, Any]) -> Policy:
    """The policy with other values of some fields.

    >>> amended(Policy(max_idle=4, min_idle=1), {"max_idle": 2}).words()
    'max_idle=2, min_idle=1'
    """
    jobs = {**policy.to_json()["jobs"], **(fields.get("jobs") or {})}
    kept = {job: bounds for job, bounds in jobs.items() if bounds is not None}
    return Policy.from_json({**policy.to_json(), **fields, "jobs": kept})
