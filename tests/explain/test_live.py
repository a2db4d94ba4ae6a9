"""What a running cluster still knows of ids and errors."""

from __future__ import annotations

import numpy as np
import pytest
import ray

from outlive import explain
from outlive.explain import live
from tests.conftest import eventually

pytest.importorskip("grpc")


def finished(decoded):
    text = " ".join(live.facts(decoded))
    return text if "is dead" in text else ""


def test_owner_task_and_exit(plain):
    explanation = explain.why(plain("owner_died").error)
    assert explanation is not None
    facts = eventually(
        lambda: [f for f in live.facts(explanation.ids[0]) if "SYSTEM_ERROR" in f] and live.facts(explanation.ids[0])
    )
    text = " ".join(facts)
    assert "Task " in text and "owner_died.make" in text.replace("make", "owner_died.make", 1)
    assert "pid" in text
    assert "is dead: SYSTEM_ERROR, Worker unexpectedly exits" in text


def test_holders_and_call_site(plain):
    @ray.remote(num_cpus=0)
    class Holder:
        def hold(self, wrapped):
            self.wrapped = wrapped

    ref = ray.put(np.ones(1 << 17))
    holder = Holder.remote()
    ray.get(holder.hold.remote([ref]))
    mine = ref.hex()
    eventually(lambda: len(live.holders(mine)) == 2)
    held = live.holders(mine)
    assert any("driver" in one and "test_live.py" in one for one in held)
    assert any("Held by worker" in one for one in held)
    ray.kill(holder)
    del ref
    eventually(lambda: not live.holders(mine))
    assert "No living process holds a reference" in live.facts(explain.decode(mine))[0]


def test_actor_and_its_death(plain):
    explanation = explain.why(plain("actor_killed").error)
    assert explanation is not None
    text = " ".join(explanation.live)
    assert "Actor Counter: DEAD" in text
    assert "killed by `ray.kill`" in text


def test_workers_and_nodes(plain):
    context = ray.get_runtime_context()
    assert "is alive" in " ".join(live.facts(explain.decode(context.get_worker_id())))
    assert "A node, alive" in " ".join(live.facts(explain.decode(context.get_node_id())))
    assert "knows no worker and no node" in live.facts(explain.decode("ab" * 28))[0]


def test_a_cluster_that_does_not_answer_is_said(plain, monkeypatch):
    monkeypatch.setattr("outlive.ray_internals.records.PATIENCE", -1)
    node = explain.decode(ray.get_runtime_context().get_node_id())
    assert live.facts(node) == ("The cluster did not answer (DEADLINE_EXCEEDED).",)


def test_the_command_asks_the_cluster(plain):
    import json

    from typer.testing import CliRunner

    from outlive.cli.app import app

    context = ray.get_runtime_context()
    result = CliRunner().invoke(app, ["explain", context.get_node_id(), "--address", context.gcs_address, "--json"])
    assert result.exit_code == 0, result.output
    assert "A node, alive" in json.loads(result.stdout)["live"][0]
    result = CliRunner().invoke(app, ["explain", "--address", context.gcs_address], input=plain("actor_killed").text)
    assert result.exit_code == 0, result.output
    assert "now: Actor Counter: DEAD" in result.stdout
