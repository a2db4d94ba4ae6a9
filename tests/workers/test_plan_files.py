"""`plan` on files as people write them: the planned values change, and every other line keeps its bytes."""

from __future__ import annotations

import copy
import difflib
import json
import shlex
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from outlive.cli.app import app
from outlive.errors import BadClusterFile
from outlive.workers import commands, planning
from outlive.workers.goals import plan_for_goal
from outlive.workers.kuberay import clusters, system_config
from outlive.workers.yaml_file import YamlFile
from tests.long import few

FILES = Path(__file__).with_name("files")
PLAN = plan_for_goal("memory")


def patched(text, name="x.yaml"):
    file = YamlFile(text, name)
    if clusters(file):
        planning.patch_kuberay(file, PLAN)
    else:
        planning.patch_cluster(file, PLAN)
    return file


def touched(before, after):
    """How many lines of a text are gone or changed."""
    one, two = before.splitlines(keepends=True), after.splitlines(keepends=True)
    codes = difflib.SequenceMatcher(None, one, two, autojunk=False).get_opcodes()
    return sum(b - a for code, a, b, _, _ in codes if code != "equal")


HEADS = [
    "{} ray start --head --port=6379",
    "{} ulimit -n 65536; ray start --head --port=6379 --dashboard-host=0.0.0.0 && echo it''s up",
    '{} bash -lc \'conda activate a && ray start --head --labels={{"a":"b"}}\' # started',
    '{} "ray start --head --port=6379 > /tmp/\\"log\\" 2>&1 &"',
    "{} 'echo ''a''; (ray start --head --port=6379) || exit 1'",
    "{} ray start\n      --head\n      --port=6379 # folded",
    '{} "ulimit -n 1; \\\n      ray start --head \\\n      --port=6379"',
    "{} >-\n      ulimit -n 65536;\n      ray start --head\n      --port=6379\n\n    # behind",
    "{} |\n      # start it\n      ray start --head \\\n        --port=6379\n\n      echo done\n",
    "{} |+\n      ray start --head   \n\n",
    "{} !!str ray start --head --system-config='{{\"object_spilling_threshold\":0.5}}' --block",
    '{} &head "ray start --head --system-config \'{{\\"num_workers_soft_limit\\":7}}\'"',
]
BLOCKS = [
    "provider: {type: aws, region: us-west-2}  # near",
    "auth:\n    ssh_user: ubuntu\n\n    # who\n\n",
    (
        "available_node_types:\n    head: &h\n        resources: {CPU: 8}\n        node_config: {}\n\n"
        "    w:\n        <<: *h\n        min_workers: 0"
    ),
    "file_mounts: {\n  '/a': '/b',\n}",
    'setup_commands:\n- pip install a   \n- >\n  a\n  b\n\n\n- "x: \\\n  y"',
    "head_node_type: head",
    "idle_timeout_minutes: 5   # five",
    "idle_timeout_minutes:\n    5",
    "idle_timeout_minutes: &idle 5",
    "upscaling_speed: 32  # for bursts",
    (
        "worker_start_ray_commands:\n    - ray stop\n    # workers\n"
        "    - ray start --address=$RAY_HEAD_IP:6379 --system-config='{\"a\":1}' # w"
    ),
    "# the end",
]


@st.composite
def cluster_files(draw):
    heads = draw(st.lists(st.sampled_from(HEADS), min_size=1, max_size=3, unique=True))
    blocks = draw(st.lists(st.sampled_from(BLOCKS), unique_by=lambda block: block.partition(":")[0]))
    blocks.insert(
        draw(st.integers(0, len(blocks))), "head_start_ray_commands:\n" + "\n".join(f"  {h.format('-')}" for h in heads)
    )
    text = "cluster_name: x # x\n\n" + draw(st.sampled_from(["\n", "\n\n", "\n# and\n"])).join(blocks)
    text += draw(st.sampled_from(["\n", ""]))
    return draw(st.sampled_from(["", "\ufeff"])) + text.replace("\n", draw(st.sampled_from(["\n", "\r\n"])))


@settings(max_examples=few(200), deadline=None)
@given(cluster_files())
def test_any_cluster_file(text):
    wanted = yaml.safe_load(text)
    file = patched(text)
    found = yaml.safe_load(file.text)
    for before, after in zip(wanted["head_start_ray_commands"], found["head_start_ray_commands"], strict=True):
        (old,), (new,) = commands.find(before), commands.find(after)
        assert new.settings() == old.settings() | PLAN.system_config()
        rest = [word for word in new.words if "system-config" not in word and not word.startswith("{")]
        assert rest == [word for word in old.words if "system-config" not in word and not word.startswith("{")]
    for i, command in enumerate(found.get("worker_start_ray_commands", ())):
        assert "system-config" not in command
        wanted["worker_start_ray_commands"][i] = command
    wanted["head_start_ray_commands"] = found["head_start_ray_commands"]
    wanted["idle_timeout_minutes"] = 1
    wanted.setdefault("upscaling_speed", 1.0)
    assert found == wanted
    places = len(found["head_start_ray_commands"]) + ("worker_start" in text) + ("idle_timeout" in text)
    assert touched(text, file.text) <= places + (not text.endswith("\n"))
    assert file.text.count("\r\n") >= text.count("\r\n")
    assert patched(file.text).text == file.text


CLUSTER = """\
enableInTreeAutoscaling: true  # scale
headGroupSpec:
  # the head
{parameters}
  template:
    spec:
      containers:
      - name: ray-head

        image: rayproject/ray:2.60.0
workerGroupSpecs:
- groupName: small  # ours
  minReplicas: 0
  rayStartParams: {{}}
  template: {{}}
"""
PARAMETERS = {
    "absent": "",
    "empty": "  rayStartParams: {}  # none",
    "nothing": "  rayStartParams:  # none",
    "null": "  rayStartParams: null",
    "block": "  rayStartParams:\n    num-cpus: '0'  # none\n\n  # and",
    "flow": '  rayStartParams: {num-cpus: "0",\n    block: "true"}',
    "settings": """  rayStartParams:\n    system-config: '{"a":1}' # by shell: {a:1}""",
    "quoted": """  rayStartParams:\n    system-config: '"{\\"worker_register_timeout_seconds\\":90}"'  # slow""",
    "folded": """  rayStartParams:
    system-config: >-
      '{"worker_register_timeout_seconds":90}'

    block: 'true'""",
}
HEAD = "apiVersion: ray.io/v1\nkind: {}\nmetadata: {{name: a}}\nspec:\n".format
WRAPPERS = {
    "RayCluster": HEAD("RayCluster"),
    "RayJob": HEAD("RayJob") + "  entrypoint: python a.py\n  rayClusterSpec:\n",
    "RayService": HEAD("RayService") + "  rayClusterConfig:\n",
    "RayCronJob": HEAD("RayCronJob") + "  schedule: '* * * * *'\n  jobTemplate:\n    rayClusterSpec:\n",
    "List": "apiVersion: v1\nkind: List\nitems:\n- apiVersion: ray.io/v1\n  kind: RayCluster\n  spec:\n",
}  # fmt: skip
OTHER = (
    "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  a.py: |\n    import ray\n\n    ray.init()\n"
)


def kuberay_file(kind, parameters):
    head = WRAPPERS[kind]
    last = head.splitlines()[-1]
    indent = len(last) - len(last.lstrip()) + 2
    body = CLUSTER.format(parameters=PARAMETERS[parameters]).replace("\n\n  template", "\n  template")
    return head + "".join(" " * indent + line if line.strip() else line for line in body.splitlines(keepends=True))


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("parameters", [name for name in PARAMETERS if name != "settings"])
@pytest.mark.parametrize("kind", WRAPPERS)
def test_every_kind_of_kuberay(kind, parameters, newline):
    text = (OTHER.removeprefix("---\n") + "---\n" + kuberay_file(kind, parameters) + OTHER).replace("\n", newline)
    before = YamlFile(text, "x")
    (cluster,) = clusters(before)
    file = patched(text)
    wanted = copy.deepcopy(before.data)
    spec = wanted
    for key in cluster.spec:
        spec = spec[key]
    given_ = spec["headGroupSpec"].get("rayStartParams") or {}
    written = YamlFile(file.text, "x").value((*cluster.head, "rayStartParams"))
    assert system_config(written) == system_config(given_) | PLAN.system_config()
    shell = shlex.split(f"ray start --head --system-config={written['system-config']}")
    assert json.loads(shell[-1].removeprefix("--system-config=")) == system_config(written)
    spec["headGroupSpec"]["rayStartParams"] = {**given_, "system-config": written["system-config"]}
    spec["autoscalerOptions"] = {"idleTimeoutSeconds": 60}
    assert list(yaml.safe_load_all(file.text)) == wanted
    assert touched(text, file.text) <= 1
    assert file.text.count("\n") - file.text.count("\r\n") == (0 if newline == "\r\n" else file.text.count("\n"))
    assert patched(file.text).text == file.text


VALUES = """\
image: {tag: 2.60.0}
head:
  enableInTreeAutoscaling: true
  rayStartParams: {}
  containerEnv: []
worker:
  groupName: w
  rayStartParams: {}
"""


def test_helm_values_of_the_chart_and_of_a_chart_around_it():
    for text in (VALUES, "ray-cluster:\n" + "".join(f"  {line}" for line in VALUES.splitlines(keepends=True))):
        file = patched(text)
        values = yaml.safe_load(file.text)
        values = values.get("ray-cluster", values)
        assert values["head"]["autoscalerOptions"] == {"idleTimeoutSeconds": 60}
        assert system_config(values["head"]["rayStartParams"]) == PLAN.system_config()
        assert values["worker"] == {"groupName": "w", "rayStartParams": {}}
        assert touched(text, file.text) == 1


EMPTY = kuberay_file("RayCluster", "empty")
OVERWRITTEN = EMPTY.replace("{name: a}", "\n  name: a\n  annotations: {ray.io/overwrite-container-cmd: 'true'}")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (HEAD("RayJob") + "  clusterSelector: {a: b}\n", "line 2: the RayJob runs on a cluster that its"),
        (kuberay_file("RayCluster", "settings"), "line 9: system-config of the head is no JSON object"),
        (EMPTY.replace("RayCluster", "RayClutser"), "line 2: KubeRay has no kind RayClutser"),
        (EMPTY.replace("{}  # none", "{{ toYaml .x }}"), "no mapping"),
        (EMPTY.replace("rayStartParams: {}  # none", "{{- toYaml .x | nindent 4 }}"), "line 8: a template"),
        (OTHER, "no Ray cluster in it: ConfigMap"),
        (OVERWRITTEN.replace("image:", "command: [ray, start]\n          image:"), "line 8: its container has"),
    ],
)  # fmt: skip
def test_kuberay_files_that_are_refused(text, why):
    file = YamlFile(text, "x.yaml")
    with pytest.raises(BadClusterFile, match=why):
        planning.patch_kuberay(file, PLAN)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("services: {ray: {command: ray start --head}}", "no cluster YAML"),
        ("cluster_name: x\nmax_workers: 1\n---\ncluster_name: y\n", "2 documents"),
        ("cluster_name: x\nprovider: {type: external}\n", "no defaults for provider external"),
        ("cluster_name: x\nhead_start_ray_commands:\n- ray start --head --system-config=$X\n", "line 3: --system"),
        ("cluster_name: x\nhead_start_ray_commands: [ray stop]\n", "line 2: no `ray start --head`"),
        ("cluster_name: x\nhead_start_ray_commands:\n- echo 'ray start --head'\n", "line 2: no `ray start --head`"),
        ("cluster_name: {{ x }}\n{% if y %}\nmax_workers: 1\n{% endif %}\n", "line 2: a template"),
    ],
)  # fmt: skip
def test_cluster_files_that_are_refused(text, why):
    with pytest.raises(BadClusterFile, match=why):
        planning.patch_cluster(YamlFile(text, "x.yaml"), PLAN)


def test_what_ray_starts_by_itself_is_kept():
    file = patched("cluster_name: x\nprovider: {type: aws, region: a}\n")
    stop, start = yaml.safe_load(file.text)["head_start_ray_commands"]
    assert stop == "ray stop"
    for part in ("ulimit -n 65536;", "--dashboard-host=0.0.0.0", "--object-manager-port=8076", "--system-config="):
        assert part in start


def test_a_chosen_upscaling_speed_stays_unless_asked(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text((FILES / "cluster.yaml").read_text() + "upscaling_speed: 32  # bursts\n")
    run = CliRunner().invoke
    shown = run(app, ["workers", "plan", "--goal", "memory", "--cluster", str(path)])
    assert "upscaling_speed: 1.0" not in shown.stdout
    assert "upscaling_speed stays 32, as the file says" in shown.stderr
    shown = run(app, ["workers", "plan", "--goal", "memory", "--cluster", str(path), "--upscaling-speed", "4", "-i"])
    assert shown.exit_code == 0
    assert "upscaling_speed: 4.0  # bursts\n" in path.read_text()


def test_without_an_autoscaler_no_idle_timeout_is_written():
    text = kuberay_file("RayCluster", "empty").replace("enableInTreeAutoscaling: true", "rayVersion: '2.60.0'")
    file = patched(text)
    assert "idleTimeoutSeconds" not in file.text
    assert file.notes == ["RayCluster a: no autoscaler (enableInTreeAutoscaling): no idle timeout is set"]
    text = kuberay_file("RayCluster", "empty").replace("minReplicas: 0", "idleTimeoutSeconds: 10")
    file = patched(text)
    assert "idleTimeoutSeconds: 10\n" in file.text
    assert "line 19: the group's own idleTimeoutSeconds of 10 stays, and counts for its nodes" in file.notes
