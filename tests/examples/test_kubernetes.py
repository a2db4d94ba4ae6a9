"""The manifests of examples/kubernetes, against KubeRay's own schema, its operator's rules and their own sums."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from outlive.cli.app import app
from outlive.units import parse_duration, parse_size
from outlive.workers.checking import target
from tests.examples import raycluster_schema

FOLDER = Path(__file__).parents[2] / "examples" / "kubernetes"
CLUSTERS = sorted(FOLDER.glob("raycluster*.yaml"))
PLAIN = FOLDER / "raycluster.yaml"
CRD = os.environ.get("OUTLIVE_KUBERAY_CRD")  # a file ray.io_rayclusters.yaml of KubeRay


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def cluster(path: Path) -> dict[str, Any]:
    return documents(path)[0]


def groups(path: Path) -> dict[str, dict[str, Any]]:
    """The head's group and those of workers, by name."""
    spec = cluster(path)["spec"]
    return {"head": spec["headGroupSpec"], **{one["groupName"]: one for one in spec["workerGroupSpecs"]}}


def pods() -> list[Any]:
    """The group and the specification of each kind of pod."""
    return [
        pytest.param(group, group["template"]["spec"], id=f"{path.stem}-{name}")
        for path in CLUSTERS
        for name, group in groups(path).items()
    ]


def size(text: str, what: str) -> int:
    """Bytes, as Kubernetes writes them, in powers of 1024."""
    assert text.endswith("i"), text
    return parse_size(f"{text}B", what)


def environment(pod: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in pod["containers"][0]["env"]}


def faults(schema: dict[str, Any], document: dict[str, Any]) -> list[str]:
    return [f"{one.json_path}: {one.message}" for one in jsonschema.Draft202012Validator(schema).iter_errors(document)]


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(raycluster_schema.FILE.read_text())
    return loaded


def test_there_are_clusters() -> None:
    assert [path.stem for path in CLUSTERS] == ["raycluster-fault-tolerant", "raycluster"]


@pytest.mark.parametrize("path", CLUSTERS, ids=lambda path: path.stem)
def test_a_budget_for_disruptions_is_a_number_of_pods_that_stay(path: Path) -> None:
    """A RayCluster has no `scale` subresource. Kubernetes would evict no pod for any other budget."""
    budgets = [one["spec"] for one in documents(path) if one["kind"] == "PodDisruptionBudget"]
    assert all(set(one) == {"minAvailable", "selector"} and type(one["minAvailable"]) is int for one in budgets)


@pytest.mark.parametrize("path", CLUSTERS, ids=lambda path: path.stem)
class TestCluster:
    def test_the_api_server_takes_it(self, path: Path, schema: dict[str, Any]) -> None:
        assert faults(schema, cluster(path)) == []

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("spec.headGroupSpec.template.spec.terminationGracePeriodSecond", 1),
            ("spec.headGroupSpec.template.spec.containers.0.lifecycle.prestop", {}),
            ("spec.headGroupSpec.template.spec.containers.0.securityContext.priviledged", True),
            ("spec.workerGroupSpecs.0.template.spec.volumes.0.emptyDir.sizeLimit", [1]),
            ("spec.gcsFaultToleranceOptions", {"redisAdress": "redis:6379"}),
            ("spec.autoscalerOptions.version", "v3"),
            ("apiVersion", "ray.io/v2"),
        ],
    )
    def test_what_it_refuses_is_found(self, path: Path, schema: dict[str, Any], field: str, value: Any) -> None:
        made = cluster(path)
        *above, last = field.split(".")
        inner: Any = made
        for name in above:
            inner = inner[int(name) if name.isdecimal() else name]
        inner[last] = value
        (fault,) = faults(schema, made)
        assert last in fault or above[-1] in fault

    def test_the_operator_and_outlive_find_nothing(self, path: Path) -> None:
        assert target.check_file(path).findings == ()


@pytest.mark.skipif(CRD is None, reason="OUTLIVE_KUBERAY_CRD names no file ray.io_rayclusters.yaml of KubeRay")
def test_the_schema_is_what_is_made_of_the_definition(schema: dict[str, Any]) -> None:
    made = raycluster_schema.small(raycluster_schema.strict(yaml.safe_load(Path(CRD or "").read_text())))
    assert {"$comment": schema["$comment"], **made} == schema


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(one, id=f"{path.stem}-{one['kind']}")
        for path in sorted(FOLDER.glob("*.yaml"))
        for one in documents(path)
        if one["kind"] != "RayCluster"
    ],
)
def test_what_is_kubernetes_own(document: dict[str, Any]) -> None:
    validate = pytest.importorskip("kubernetes_validate").validate
    validate(document, "1.31", strict=True)


@pytest.mark.parametrize(("group", "pod"), pods())
class TestPod:
    def test_memory_is_enough_for_what_counts_in_it(self, group: dict[str, Any], pod: dict[str, Any]) -> None:
        (shm,) = [size(one["emptyDir"]["sizeLimit"], "shm") for one in pod["volumes"] if one["name"] == "shm"]
        ray = int(group["rayStartParams"]["object-store-memory"])
        assert ray + parse_size(environment(pod)["OUTLIVE_MEMORY"], "memory") <= shm
        limit = size(pod["containers"][0]["resources"]["limits"]["memory"], "limit")
        assert shm <= limit / 2  # the other half is for processes

    def test_what_is_spilled_has_room(self, group: dict[str, Any], pod: dict[str, Any]) -> None:
        (spill,) = [size(one["emptyDir"]["sizeLimit"], "spill") for one in pod["volumes"] if one["name"] == "spill"]
        assert parse_size(environment(pod)["OUTLIVE_DISK"], "disk") < spill
        mounts = {one["name"]: one["mountPath"] for one in pod["containers"][0]["volumeMounts"]}
        assert mounts["shm"] == "/dev/shm"
        assert environment(pod)["OUTLIVE_SPILL_TO"].startswith(f"{mounts['spill']}/")  # a folder of outlive's own

    def test_the_drain_ends_before_the_pod(self, group: dict[str, Any], pod: dict[str, Any]) -> None:
        command = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        (time,) = [later for option, later in itertools.pairwise(command) if option == "--ending-in"]
        assert parse_duration(time, "it") + 15 <= pod["terminationGracePeriodSeconds"]
        known = CliRunner().invoke(app, [*command[1:], "--help"])
        assert known.exit_code == 0

    def test_ports_are_said_and_named(self, group: dict[str, Any], pod: dict[str, Any]) -> None:
        ports = {str(one["containerPort"]) for one in pod["containers"][0]["ports"]}
        assert {value for name, value in environment(pod).items() if name.endswith("_PORT")} <= ports

    def test_kuberays_probes_and_no_privilege(self, group: dict[str, Any], pod: dict[str, Any]) -> None:
        container = pod["containers"][0]
        assert not {"livenessProbe", "readinessProbe", "startupProbe", "command", "args"} & container.keys()
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert pod["securityContext"]["runAsNonRoot"]
        assert "initContainers" not in pod

    def test_only_settings_that_there_are(self, group: dict[str, Any], pod: dict[str, Any]) -> None:
        page = (FOLDER.parents[1] / "docs" / "settings.md").read_text()
        assert {name for name in environment(pod) if f"`{name}`" not in page} == set()


def test_the_command_for_huge_pages_is_the_one_that_tune_prints() -> None:
    from outlive.tune.mount import remount_command

    text = "\n".join(line.partition("# ")[2] for line in PLAIN.read_text().splitlines())
    (found,) = re.findall(r'command: \[sh, -c, "(.*)"\]', text)
    assert shlex.split(found) == remount_command("/dev/shm", "huge=within_size")
    (container,) = yaml.safe_load(text[text.index("initContainers") :].partition("\n\n")[0])["initContainers"]
    cluster_schema: dict[str, Any] = json.loads(raycluster_schema.FILE.read_text())
    made = cluster(PLAIN)
    made["spec"]["workerGroupSpecs"][0]["template"]["spec"]["initContainers"] = [container]
    assert faults(cluster_schema, made) == []
