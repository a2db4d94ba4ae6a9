"""`check` on what people have: KubeRay, Helm, scripts, Dockerfiles, compose files, systemd units. No false alarm."""

from __future__ import annotations

import json

import pytest
import ray
from typer.testing import CliRunner

from outlive.cli.app import app
from outlive.errors import BadClusterFile
from outlive.workers.checking import check_target, spelling
from outlive.workers.settings import KNOWN
from tests.workers.test_plan_files import VALUES, WRAPPERS, kuberay_file


def kinds(path, text, newline=None):
    path.write_text(text, newline=newline)
    return [(finding.line, finding.kind) for finding in check_target(str(path)).findings]


KUBERAY = kuberay_file("RayCluster", "block").replace(
    "enableInTreeAutoscaling", "autoscalerOptions: {}\n  enableInTreeAutoscaling"
)


@pytest.mark.parametrize("parameters", ["absent", "empty", "nothing", "block", "flow", "quoted"])
@pytest.mark.parametrize("kind", [kind for kind in WRAPPERS if kind != "List"])
def test_kuberay_files_that_are_fine(tmp_path, kind, parameters):
    assert kinds(tmp_path / "k.yaml", kuberay_file(kind, parameters) + "---\nkind: ConfigMap\napiVersion: v1\n") == []


@pytest.mark.parametrize("kind", [kind for kind in WRAPPERS if kind != "List"])
@pytest.mark.parametrize(
    ("old", "new", "kind_of_finding"),
    [
        ("minReplicas: 0", "minReplicas: few", "wrong-type"),
        ("num-cpus: '0'", "num-cpus: 0", "wrong-type"),
        ("num-cpus: '0'", "num_cpus: '0'", "unknown-option"),
        ("minReplicas: 0", "minReplica: 0", "unknown-key"),
        ("headGroupSpec:", "headGroup:", "unknown-key"),
        ("enableInTreeAutoscaling: true", "autoscalerOptions: {upscalingMode: Fast}", "wrong-type"),
        ("enableInTreeAutoscaling: true", "autoscalerOptions: {idleTimeoutSeconds: sixty}", "wrong-type"),
        ("num-cpus: '0'", "system-config: '{\"a\":1}'", "not-json"),
        ("num-cpus: '0'", 'system-config: \'"{\\"kill_idle_workers_interval_ms\\":0}"\'', "reaper-off"),
        ("rayStartParams: {}", "rayStartParams: {system-config: '{}'}", "system-config-on-worker"),
        ("image: r", "env: [{name: RAY_kill_idle_workers_interval_ms, value: '0'}]\n{indent}image: r", "reaper-off"),
        ("minReplicas: 0", "minReplicas: 0\n{group}minReplicas: 1", "duplicate-key"),
        ("minReplicas: 0", "maxReplicas: 1\n{group}minReplicas: 2", "schema"),
        ("minReplicas: 0", "idleTimeoutSeconds: -1", "wrong-type"),
        ("minReplicas: 0", "idleTimeoutSeconds: 10", "schema"),
        ("num-cpus: '0'", "labels: a=b", "schema"),
        ("rayStartParams: {}", "resources: {CPU: '1'}\n{group}rayStartParams: {num-cpus: '1'}", "schema"),
    ],
)
def test_what_kuberay_files_get_wrong(tmp_path, kind, old, new, kind_of_finding):
    text = kuberay_file(kind, "block")
    column = {
        word: next(line.index(word) for line in text.splitlines() if word in line)
        for word in ("image: r", "minReplicas")
    }
    new = new.replace("{indent}", " " * column["image: r"]).replace("{group}", " " * column["minReplicas"])
    assert old in text
    changed = text.replace(old, new)
    found = kinds(tmp_path / "k.yaml", changed)
    assert kind_of_finding in [name for _, name in found], found
    line = next(line for line, name in found if name == kind_of_finding)
    assert any(part in changed.splitlines()[line - 1] for part in new.split("\n")), (line, found)


def test_a_job_without_a_cluster(tmp_path):
    job = "apiVersion: ray.io/v1\nkind: RayJob\nspec: {entrypoint: a"
    assert kinds(tmp_path / "k.yaml", job + "}\n") == [(3, "schema")]
    assert kinds(tmp_path / "k.yaml", job + ", clusterSelector: {ray.io/cluster: b}}\n") == []


def test_bounds_that_keep_every_node(tmp_path):
    text = kuberay_file("RayJob", "empty").replace("minReplicas: 0", "minReplicas: 2\n      maxReplicas: 2")
    assert kinds(tmp_path / "k.yaml", text) == []  # nobody asked for a timeout
    asked = text.replace("  headGroupSpec", "  autoscalerOptions:\n      idleTimeoutSeconds: 60\n    headGroupSpec")
    assert [kind for _, kind in kinds(tmp_path / "k.yaml", asked)] == ["unreachable-timeout"]
    group = asked.replace("idleTimeoutSeconds: 60", "version: v2").replace(
        "minReplicas: 2", "idleTimeoutSeconds: 9\n      minReplicas: 2"
    )
    assert [kind for _, kind in kinds(tmp_path / "k.yaml", group)] == ["unreachable-timeout"]
    assert kinds(tmp_path / "k.yaml", asked.replace("minReplicas: 2", "minReplicas: 1")) == []


def test_helm_values(tmp_path):
    assert kinds(tmp_path / "values.yaml", VALUES) == []
    worker = VALUES.replace("groupName: w\n  rayStartParams: {}", "rayStartParams: {system-config: '{}'}")
    assert kinds(tmp_path / "values.yaml", worker) == [(7, "system-config-on-worker")]
    options = VALUES.replace("  containerEnv: []", "  autoscalerOptions: {idleTimeoutSecond: 5}")
    assert kinds(tmp_path / "values.yaml", options) == [(5, "unknown-key")]
    unknown = CliRunner().invoke(app, ["workers", "check", str(tmp_path / "values.yaml"), "--fix"])
    assert "fixed: no key idleTimeoutSecond: did you mean idleTimeoutSeconds?" in unknown.stdout
    assert "idleTimeoutSeconds: 5" in (tmp_path / "values.yaml").read_text()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("name: {{.Name}}\n", [4]),
        ('{{- include "labels" . | nindent 2 }}\n', [4]),
        ("{{- if .Values.x }}\n  labels: {}\n  {{- end }}\n", [4, 6]),
    ],
)  # fmt: skip
def test_a_template_is_never_found_to_be_fine(tmp_path, text, lines):
    text = kuberay_file("RayCluster", "empty").replace("metadata: {name: a}\n", f"metadata:\n  {text}")
    (found,) = check_target_of(tmp_path / "k.yaml", text)
    assert found.kind == "not-read" and found.line == lines[0]
    assert str(lines).strip("[]") in found.what


def test_fix_writes_settings_into_ray_start_params(tmp_path):
    path = tmp_path / "k.yaml"
    text = kuberay_file("RayService", "quoted").replace("worker_register_timeout_seconds", "num_worker_soft_limit")
    path.write_text(text)
    result = CliRunner().invoke(app, ["workers", "check", str(path), "--fix"])
    assert (result.exit_code, path.read_text()) == (0, text.replace("num_worker_soft", "num_workers_soft")), (
        result.stdout
    )


def test_fix_takes_settings_off_a_worker_group(tmp_path):
    path = tmp_path / "k.yaml"
    text = kuberay_file("RayJob", "empty").replace("rayStartParams: {}\n      template", "PARAMETERS\n      template")
    assert "PARAMETERS" in text
    path.write_text(text.replace("PARAMETERS", "rayStartParams: {num-cpus: '1', system-config: '{}'}  # w"))
    result = CliRunner().invoke(app, ["workers", "check", str(path), "--fix"])
    assert (result.exit_code, path.read_text()) == (
        0,
        text.replace("PARAMETERS", "rayStartParams: {num-cpus: '1'}  # w"),
    )
    path.write_text(text.replace("PARAMETERS", "rayStartParams: {system-config: '{}'}"))
    assert CliRunner().invoke(app, ["workers", "check", str(path), "--fix"]).exit_code == 1


def check_target_of(path, text):
    path.write_text(text)
    return check_target(str(path)).findings


@pytest.mark.parametrize(
    "text",
    [
        "kind: ConfigMap\napiVersion: v1\ndata: {a: b}\n",
        "kind: CustomResourceDefinition\napiVersion: v1\nspec: {names: {kind: RayCluster}}\n",
        "services: {db: {image: postgres}}\n",
        "a: 1\n",
    ],
)
def test_what_has_nothing_of_ray_is_not_found_to_be_fine(tmp_path, text):
    with pytest.raises(BadClusterFile, match="nothing of Ray in it"):
        check_target_of(tmp_path / "k.yaml", text)
    result = CliRunner().invoke(app, ["workers", "check", str(tmp_path / "k.yaml")])
    assert (result.exit_code, result.stdout) == (2, "")


OFF = "kill_idle_workers_interval_ms"
FILES = {
    "start.sh": (
        (
            f"#!/bin/bash\n# ray start --headd\nexport RAY_{OFF}=0\nexport RAY_idle_worker_killing_time_treshold_ms=9\n"
            'echo "now: ray start --hed"\nray start --head \\\n    --port=6379 --num-cpus "$N" \\\n'
            """    --system-config='{"idle_worker_killing_time_threshold_ms": 10}' # --x\n"""
            'srun --nodes=1 ray start --address "$ip" $ARGS --block &\n'
        ),
        [(3, "reaper-off"), (4, "unknown-setting"), (6, "shorter-than-start-up")],
    ),
    "job.sbatch": (
        f'#SBATCH -N 2\nsrun bash -c \\\n  "pip install ray \\\n  && RAY_{OFF}=0 ray start --head"\n',
        [(4, "reaper-off")],
    ),
    "heredoc.sub": (
        (
            "cmd=$(cat <<EOF\ntrap 'echo it' EXIT\ncat <<INNER > /launch.sh\nray start --head \\\n"
            '  --resources="{\\"a\\": $N}" \\\n'
            f'  --system-config=\'{{"{OFF}":0}}\'\nINNER\nbash /launch.sh\nEOF\n)\nsrun bash -c "$cmd"\n'
        ),
        [(4, "reaper-off")],
    ),
    "Dockerfile": (
        (
            f'FROM rayproject/ray\nLABEL a="ray start --x"\nENV RAY_{OFF}=0 \\\n    A=1\n'
            "ENV RAY_num_workers_soft_limit many\n"
            "RUN pip install a \\\n# not this one\n  && ray start --address=a --system-config='{}' \\\n  && ray stop\n"
            'CMD ["bash", "-c", "ray start --head --block --num_cpus=4"]\n'
        ),
        [(3, "reaper-off"), (5, "wrong-type"), (8, "system-config-on-worker"), (10, "unknown-option")],
    ),
    "ray.service": (
        (
            f'[Unit]\nDescription=ray start --x\n[Service]\nEnvironment="RAY_{OFF}=0" A=1\n'
            "ExecStartPre=-/v/bin/ray stop\nExecStart=/v/bin/ray start --head \\\n# not this one\n"
            "    --block --redis-port=1\n"
        ),
        [(4, "reaper-off"), (6, "unknown-option")],
    ),
    "compose.yaml": (
        (
            f"services:\n  head:\n    command: ray start --head --block --system-config='{{\"{OFF}\":0}}'\n"
            f"  one:\n    environment:\n      RAY_{OFF}: 0\n    command: >\n      ray start\n"
            "      --address=a\n      --x\n"
            f"  two:\n    environment:\n    - RAY_{OFF}=0\n"
            "    command: [ray, start, --address=head, '--system-config={}']\n"
        ),
        [
            (3, "reaper-off"),
            (6, "reaper-off"),
            (8, "unknown-option"),
            (13, "reaper-off"),
            (14, "system-config-on-worker"),
        ],
    ),
    "deployment.yaml": (
        (
            "apiVersion: apps/v1\nkind: Deployment\nspec:\n  template:\n    spec:\n      containers:\n      - env:\n"
            f"        - name: RAY_{OFF}\n          value: '0'\n        command: [/bin/bash, -c, --]\n"
            "        args: ['ray start --head --x']\n"
        ),
        [(8, "reaper-off"), (11, "unknown-option")],
    ),
    "workflow.yml": (
        (
            "name: how to ray start --head\non: push\njobs:\n  a:\n    steps:\n    - run: |\n        pip install ray\n"
            "        ray start --head --x\n"
        ),
        [(8, "unknown-option")],
    ),
    "ray.env": (f"RAY_{OFF}=0\nRAY_ADDRESS=auto\n", [(1, "reaper-off")]),
    "eager.sh": (
        "# aggressive\nray start --head --system-config='{\"idle_worker_killing_time_threshold_ms\":9000}'\n",
        [(2, "lazier-than-default")],
    ),
    "notes.md": ("# Starting\n\nFirst you ray start --heed there.\n\n    ray start --heed\n", [(5, "unknown-option")]),
}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("name", FILES)
def test_what_starts_ray(tmp_path, name, newline):
    text, wanted = FILES[name]
    assert kinds(tmp_path / name, text, newline) == wanted


def test_a_file_wins_over_a_command_and_quotes_in_a_command_are_undone(tmp_path, monkeypatch):
    assert [one.kind for one in check_target(f"RAY_{OFF}=0 ray start --head").findings] == ["reaper-off"]
    assert check_target('docker run x bash -c "ray start --head --resources=\'{\\"a\\":1}\'"').findings == ()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ray start").write_text(f"ray start --head --system-config='{json.dumps({OFF: 0})}'\n")
    assert [one.line for one in check_target("ray start").findings] == [1]


@pytest.mark.parametrize(
    ("name", "known", "certain"),
    [
        ("idle_timeout_minuts", ["idle_timeout_minutes", "max_workers"], "idle_timeout_minutes"),
        ("idle-timeout-minutes", ["idle_timeout_minutes"], "idle_timeout_minutes"),
        ("idleTimeoutMinutes", ["idle_timeout_minutes"], None),  # KubeRay counts in seconds: say so
        ("max_wrokers", ["max_workers", "min_workers"], "max_workers"),
        ("min_workers", ["max_workers"], None),
        ("autoscaling_mode", ["upscaling_speed"], None),
        ("head_node", ["head_node_type"], None),
        ("worker_nodes", ["worker_node"], None),
        ("worker", ["workers", "provider"], "workers"),
        ("head", ["heads"], None),
        ("--redis-address", ["--node-ip-address", "--address"], None),
        ("abcdef1", ["abcdef2", "abcdef3"], None),
    ],
)
def test_only_what_is_certainly_the_same_key(name, known, certain):
    assert spelling.meant(name, known) == certain


def test_fix_leaves_what_is_not_certain_and_explains_it(tmp_path):
    path = tmp_path / "c.yaml"
    text = (
        "cluster_name: a\nmin_workers: 3\nautoscaling_mode: default\nprovider: {type: aws, region: a}\n"
        "idle_timeout_minuts: 5  # five\nsetup_command: pip install a\nhead_node:\n  InstanceType: m5.large\n"
    )
    path.write_text(text)
    result = CliRunner().invoke(app, ["workers", "check", str(path), "--fix"])
    assert path.read_text() == text.replace("minuts", "minutes")
    for part in (
        "Ray 2 has no modes",
        "each node type has its own min_workers",
        "did you mean setup_commands?",
        "node_config",
    ):
        assert part in result.stdout
    assert result.exit_code == 1


def test_fix_keeps_line_ends_and_does_not_touch_a_file_without_fixes(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_bytes(b"cluster_name: a\r\nprovider: {type: aws}\r\nmax_wrokers: 1 # x\r\n")
    CliRunner().invoke(app, ["workers", "check", str(path), "--fix"])
    assert path.read_bytes() == b"cluster_name: a\r\nprovider: {type: aws}\r\nmax_workers: 1 # x\r\n"
    before = path.stat()
    CliRunner().invoke(app, ["workers", "check", str(path), "--fix"])
    assert path.stat() == before or path.stat().st_ino == before.st_ino


@pytest.mark.parametrize("name", KNOWN)
def test_every_setting_is_read_from_the_environment(tmp_path, name):
    known = KNOWN[name]
    value = str(known.default).lower()
    text = f"export RAY_{name}={value}\nray start --head\n"
    older = tuple(map(int, ray.__version__.split(".")[:2])) < (2, 60)
    assert {kind for _, kind in kinds(tmp_path / "a.sh", text)} <= ({"not-in-this-ray"} if older else set())
