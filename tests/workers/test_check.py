"""Each rule finds what it is for, names the line, and the safe fixes mend it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import ray
from typer.testing import CliRunner

from outlive.cli.app import app
from outlive.workers.checking import check_target
from tests.workers.conftest import local_ray

FILES = Path(__file__).with_name("files")
THREAD_HEAD = (
    """ray start --head ... --system-config='{"kill_idle_workers_interval_ms":10000,"""
    """"idle_worker_killing_time_threshold_ms":10000}'"""
)


def run(*arguments):
    return CliRunner().invoke(app, ["workers", "check", *map(str, arguments)])


def kinds(target):
    return [(finding.line, finding.kind) for finding in check_target(str(target)).findings]


def test_the_thread_s_yaml_is_flagged_for_the_right_reasons():
    found = kinds(FILES / "thread.yaml")
    assert (6, "lazier-than-default") in found
    assert found.count((6, "lazier-than-default")) == 2  # both values, against the comment
    assert (9, "system-config-on-worker") in found
    assert [kind for _, kind in found if kind == "schema"] == ["schema"] * 2  # no cluster_name, no provider
    assert len(found) == 5
    texts = " ".join(finding.what for finding in check_target(str(FILES / "thread.yaml")).findings)
    assert "50 times less often" in texts
    assert "10 times lazier" in texts


def test_the_thread_s_start_commands():
    assert [kind for _, kind in kinds(THREAD_HEAD)] == ["lazier-than-default"]
    worker = THREAD_HEAD.replace("--head ...", "--address=$RAY_HEAD_IP:6379")
    assert [kind for _, kind in kinds(worker)] == ["system-config-on-worker"]
    assert [
        kind for _, kind in kinds("""ray start --head --system-config='{"kill_idle_workers_interval_ms":0}'""")
    ] == ["reaper-off"]


def test_files_that_are_fine():
    for name in ("cluster.yaml", "raycluster.yaml"):
        result = run(FILES / name)
        assert (result.exit_code, result.stdout) == (0, f"{FILES / name}: 0 findings\n")


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ('{"kill_idle_workers_intervall_ms":200}', "unknown-setting"),
        ('{"num_worker_soft_limit":0}', "unknown-setting"),
        ('{"num_workers_soft_limit":"0"}', "wrong-type"),
        ('{"num_workers_soft_limit":true}', "wrong-type"),
        ('{"num_workers_soft_limit":-2}', "wrong-type"),
        ('{"kill_idle_workers_interval_ms":1.5}', "wrong-type"),
        ('{"kill_idle_workers_interval_ms":0}', "reaper-off"),
        ('{"kill_idle_workers_interval_ms":60000}', "lazier-than-default"),
        ('{"idle_worker_killing_time_threshold_ms":50}', "shorter-than-start-up"),
        ("{oops", "not-json"),
        ("[1]", "not-json"),
    ],
)
def test_settings(config, kind):
    assert [found for _, found in kinds(f"ray start --head --system-config='{config}'")] == [kind]


@pytest.mark.parametrize(
    "config",
    ['{"num_workers_soft_limit":0}', '{"idle_worker_killing_time_threshold_ms":10000}', '{"ray_cookie":1}', "{}"],
)
def test_settings_that_are_fine(config):
    assert kinds(f"ray start --head --system-config='{config}'") == []


def test_options_of_ray_start():
    (finding,) = check_target("ray start --head --sytem-config='{}'").findings
    assert (finding.kind, finding.fix) == ("unknown-option", "did you mean --system-config?")
    assert kinds("ray start --head --num-cpus=4 --no-monitor") == []


CLUSTER = (FILES / "cluster.yaml").read_text()
RAY_CLUSTER = (FILES / "raycluster.yaml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "line", "kind"),
    [
        ("idle_timeout_minutes:   15", "idle_timeout_minuts: 15", 11, "unknown-key"),
        ("idle_timeout_minutes:   15", "idle_timeout_minutes: soon", 11, "wrong-type"),
        ("max_workers: 4\nprovider", "max_workers: -4\nprovider", 4, "schema"),
        ("type: aws", "typ: aws", 5, "schema"),
        ("head_node_type: head", "head_node_type: heads", 22, "schema"),
        ("        min_workers: 0", "        min_workers: 5", 4, "schema"),
        ("cluster_name: scans ", "min_workers: 1\ncluster_name: scans ", 2, "unknown-key"),
        ("# the end", "---\ncluster_name: two", 35, "schema"),
        ("cluster_name: scans ", "# cluster_name: scans ", 1, "schema"),
        ("        min_workers: 0", "        min_workers: 4", 11, "unreachable-timeout"),
        ("# Seldom changed", "# Aggressive clean-up", 11, "lazier-than-default"),
        ("$RAY_HEAD_IP:6379", "$RAY_HEAD_IP:6379 --system-config={}", 33, "system-config-on-worker"),
    ],
)
def test_cluster_yaml(tmp_path, old, new, line, kind):
    assert old in CLUSTER
    path = tmp_path / "c.yaml"
    path.write_text(CLUSTER.replace(old, new))
    assert (line, kind) in kinds(path)


@pytest.mark.parametrize(
    ("old", "new", "line", "kind"),
    [
        ("  headGroup", "  autoscalerOptions:\n    idle_timeout_minutes: 1\n  headGroup", 9, "unknown-key"),
        ("  headGroup", "  autoscalerOptions:\n    idleTimeoutSecond: 1\n  headGroup", 9, "unknown-key"),
        ("  headGroup", "  autoscalerOptions:\n    idleTimeoutSeconds: soon\n  headGroup", 9, "wrong-type"),
        ("  headGroup", "  autoscalerOptions:\n    upscalingMode: Fast\n  headGroup", 9, "wrong-type"),
        ("rayStartParams: {}", "rayStartParams: {system-config: '{}'}", 16, "system-config-on-worker"),
        ("dashboard-host: '0.0.0.0'", "system-config: '{\"a\":1}'", 11, "not-json"),
        ("  headGroupSpec", "  headGroup", 5, "schema"),
    ],
)
def test_ray_cluster(tmp_path, old, new, line, kind):
    assert old in RAY_CLUSTER
    path = tmp_path / "r.yaml"
    path.write_text(RAY_CLUSTER.replace(old, new))
    assert (line, kind) in kinds(path)


def test_autoscaler_options_without_an_autoscaler(tmp_path):
    path = tmp_path / "r.yaml"
    text = RAY_CLUSTER.replace("enableInTreeAutoscaling: true", "autoscalerOptions: {idleTimeoutSeconds: 9}")
    path.write_text(text)
    assert kinds(path) == [(7, "unreachable-timeout")]


def test_fix_writes_the_safe_ones_and_nothing_else(tmp_path):
    path = tmp_path / "c.yaml"
    text = CLUSTER.replace("$RAY_HEAD_IP:6379", """$RAY_HEAD_IP:6379 --system-config='{"a":1}'""").replace(
        "idle_timeout_minutes", "idle_timeout_minuts"
    )
    text = text.replace(
        "      --dashboard-host", """      --system-config='{"num_worker_soft_limit":0}' --dashboard-host"""
    )
    path.write_text(text)
    result = run(path, "--fix")
    assert (result.exit_code, result.stdout.count("fixed: ")) == (0, 3), result.stdout
    assert kinds(path) == []
    fixed = path.read_text().splitlines()
    assert fixed[10] == CLUSTER.splitlines()[10]
    assert """--system-config='{"num_workers_soft_limit":0}'""" in path.read_text()
    assert {line for line in CLUSTER.splitlines() if "#" in line} <= set(fixed)


def test_what_cannot_be_fixed_stays(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text((FILES / "thread.yaml").read_text())
    result = run(path, "--fix")
    assert result.exit_code == 1
    assert [kind for _, kind in kinds(path)].count("schema") == 2
    assert "system-config-on-worker" not in dict(kinds(path)).values()


def test_json_and_wrong_usage(tmp_path):
    shown = json.loads(run(FILES / "thread.yaml", "--json").stdout)
    assert {"line", "what", "why", "fix"} <= set(shown["findings"][0])
    binary = tmp_path / "b"
    binary.write_bytes(bytes(range(256)))
    empty = tmp_path / "e"
    empty.touch()
    for wrong in ([tmp_path / "none.yaml"], [binary], [empty], [THREAD_HEAD, "--fix"]):
        result = run(*wrong)
        assert (result.exit_code, result.stdout) == (2, ""), wrong
        assert result.stderr.startswith("error: ")


def test_text_files_of_commands(tmp_path):
    path = tmp_path / "start.sh"
    path.write_text(f"#!/bin/sh\nray stop\n{THREAD_HEAD}\n")
    assert kinds(path) == [(3, "lazier-than-default")]


def test_the_running_cluster():
    with local_ray(1, kill_idle_workers_interval_ms=0) as address:
        result = run("--address", address, "--json")
        assert result.exit_code == 1, result.stderr
        assert [finding["kind"] for finding in json.loads(result.stdout)["findings"]] == ["reaper-off"]
    assert not ray.is_initialized()
