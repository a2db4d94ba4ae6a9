"""From a goal to settings, and into files of which only the lines of the settings change."""

from __future__ import annotations

import ast
import json
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from outlive.cli.app import app
from outlive.errors import BadClusterFile, BadSetting
from outlive.workers import planning
from outlive.workers.checking import check_target
from outlive.workers.goals import GOALS, plan_for_goal, plan_for_numbers
from outlive.workers.settings import KNOWN
from outlive.workers.yaml_file import YamlFile

FILES = Path(__file__).with_name("files")


def run(*arguments):
    return CliRunner().invoke(app, ["workers", "plan", *map(str, arguments)])


@pytest.mark.parametrize("goal", GOALS)
def test_every_form_of_a_plan_says_the_same(goal):
    plan = plan_for_goal(goal)
    wanted = plan.system_config()
    assert (
        ast.literal_eval(planning.as_python(plan).removeprefix("ray.init(_system_config=").removesuffix(")")) == wanted
    )
    command = shlex.split(planning.as_command(plan))
    assert json.loads(command[-1].removeprefix("--system-config=")) == wanted
    script = planning.as_environment(plan) + "\nenv"
    seen = subprocess.run(["bash", "-c", script], capture_output=True, check=True, text=True).stdout.splitlines()
    for name, value in wanted.items():
        assert f"RAY_{name}={str(value).lower() if isinstance(value, bool) else value}" in seen
        assert isinstance(value, KNOWN[name].type)
    assert all(planned.reason and planned.cost for planned in (*plan.system, *plan.autoscaler))


def test_goals_differ_as_their_names_say():
    memory, balanced, latency = (plan_for_goal(goal).system_config() for goal in GOALS)
    threshold, limit = "idle_worker_killing_time_threshold_ms", "num_workers_soft_limit"
    assert memory[threshold] < balanced[threshold] < latency[threshold]
    assert (memory[limit], latency[limit]) == (0, -1)
    assert latency["enable_worker_prestart"] is True


def test_bounds():
    plan = plan_for_numbers(min_idle=1, max_idle=3, idle_after=30, node_idle_after=120)
    assert plan.system_config() == {
        "kill_idle_workers_interval_ms": 200,
        "idle_worker_killing_time_threshold_ms": 30_000,
        "num_workers_soft_limit": 3,
    }
    assert plan.autoscaler_config() == {"idle_timeout_minutes": 2, "upscaling_speed": 1.0}
    assert "keep_trim" in plan.notes[0]
    for wrong in ({"min_idle": 3, "max_idle": 1}, {"idle_after": -1}, {"node_idle_after": 0}, {"min_idle": -1}):
        with pytest.raises(BadSetting):
            plan_for_numbers(**wrong)


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize(("name", "option"), [("cluster.yaml", "--cluster"), ("raycluster.yaml", "--kuberay")])
def test_round_trip(tmp_path, goal, name, option):
    path = tmp_path / name
    path.write_text((FILES / name).read_text())
    shown = run("--goal", goal, option, path)
    assert shown.exit_code == 0, shown.stderr
    assert path.read_text() == (FILES / name).read_text()
    assert run("--goal", goal, option, path, "--in-place").exit_code == 0
    assert check_target(str(path)).findings == ()
    before, after = (FILES / name).read_text().splitlines(), path.read_text().splitlines()
    changed = [line for line in before if line not in after]
    allowed = ("idle_timeout_minutes", "ray start --head", ">-", "--dashboard-host", "--autoscaling-config")
    assert all(any(word in line for word in allowed) for line in changed)
    assert {line for line in before if "#" in line and "was 5" not in line} <= set(after)
    assert [line for line in before if line in after] == [line for line in after if line in before]  # the order
    for again in (run("--goal", goal, option, path), run("--goal", goal, option, path, "--in-place")):
        assert (again.exit_code, again.stdout) == (0, "")
        assert f"note: {path} is as planned already" in again.stderr
    assert '"written": false' in run("--goal", goal, option, path, "--in-place", "--json").stdout


def test_the_patched_files_mean_the_plan(tmp_path):
    plan = plan_for_numbers(max_idle=2, idle_after=30, node_idle_after=120)
    file = YamlFile.read(FILES / "cluster.yaml")
    planning.patch_cluster(file, plan)
    loaded = yaml.safe_load(file.text)
    assert (loaded["idle_timeout_minutes"], loaded["upscaling_speed"]) == (2, 1.0)
    assert "idle_timeout_minutes:   2     # was 5" in file.text
    head = shlex.split(loaded["head_start_ray_commands"][1])
    assert head[:6] == ["ulimit", "-n", "65536;", "ray", "start", "--head"]
    assert json.loads(head[-1].removeprefix("--system-config=")) == plan.system_config()
    file = YamlFile.read(FILES / "raycluster.yaml")
    planning.patch_kuberay(file, plan)
    loaded = yaml.safe_load(file.text)
    assert loaded["spec"]["autoscalerOptions"] == {"idleTimeoutSeconds": 120}
    quoted = loaded["spec"]["headGroupSpec"]["rayStartParams"]["system-config"]
    command = f"printf %s --system-config={quoted}"  # as KubeRay writes it into the pod's shell command
    seen = subprocess.run(["bash", "-c", command], capture_output=True, check=True, text=True).stdout
    assert json.loads(seen.removeprefix("--system-config=")) == plan.system_config()


def test_settings_that_are_there_are_kept_and_workers_get_none():
    file = YamlFile.read(FILES / "thread.yaml")
    planning.patch_cluster(file, plan_for_goal("memory"))
    loaded = yaml.safe_load(file.text)
    assert "--system-config" not in loaded["worker_start_ray_commands"][1]
    assert '"idle_worker_killing_time_threshold_ms":1000' in loaded["head_start_ray_commands"][1]
    assert file.text.startswith("# Example YAML config")


def test_a_file_without_commands_gets_ray_s_own_with_the_settings():
    file = YamlFile("cluster_name: a\nprovider: {type: aws}", "x.yaml")
    planning.patch_cluster(file, plan_for_goal("memory"))
    loaded = yaml.safe_load(file.text)
    assert loaded["cluster_name"] == "a"
    assert "ray start --head" in loaded["head_start_ray_commands"][1]


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "a: [1\n", "just words\n", "a: &x *y\n"])
def test_files_that_are_no_cluster(tmp_path, text):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    for option in ("--cluster", "--kuberay"):
        result = run("--goal", "memory", option, path)
        assert (result.exit_code, result.stdout) == (2, ""), result.stdout
        assert result.stderr.startswith("error: ")


def test_wrong_usage(tmp_path):
    binary = tmp_path / "x.npy"
    binary.write_bytes(bytes(range(256)))
    for wrong in (
        [],
        ["--goal", "speed"],
        ["--goal", "memory", "--max-idle", "3"],
        ["--goal", "memory", "--in-place"],
        ["--idle-after", "soon"],
        ["--goal", "memory", "--cluster", tmp_path / "none.yaml"],
        ["--goal", "memory", "--cluster", binary],
        ["--goal", "memory", "--cluster", FILES / "raycluster.yaml"],
        ["--goal", "memory", "--kuberay", FILES / "cluster.yaml"],
        ["--goal", "memory", "--cluster", FILES / "cluster.yaml", "--kuberay", FILES / "cluster.yaml"],
    ):
        result = run(*wrong)
        assert (result.exit_code, result.stdout) == (2, ""), wrong
        assert result.stderr.startswith("error: ")


def test_json_that_is_none_is_refused_with_its_line():
    file = YamlFile("head_start_ray_commands:\n- ray start --head --system-config='{oops'\n", "x.yaml")
    with pytest.raises(BadClusterFile, match=r"x\.yaml, line 2"):
        planning.patch_cluster(file, plan_for_goal("memory"))


def test_what_people_see():
    result = run("--goal", "memory")
    assert result.exit_code == 0
    for part in ("num_workers_soft_limit = 0", "why ", "cost ", "_system_config=", "export RAY_", "ray start --head"):
        assert part in result.stdout
    assert json.loads(run("--goal", "memory", "--json").stdout)["system"][0]["name"] == "kill_idle_workers_interval_ms"
