"""Makes kuberay_schema.json from a checkout: `python -m outlive.workers.checking.kuberay_schema FOLDER VERSION`.

The custom resource definitions are 4 MB, most of it Kubernetes' own pods, four times. KubeRay's fields are kept: names,
types, bounds and required ones.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_KINDS = ("raycluster", "rayjob", "rayservice", "raycronjob")
_KUBERNETES = {
    "env", "envFrom", "headService", "ingressOptions", "networkPolicy", "redisPassword", "redisUsername", "resources",
    "securityContext", "serveService", "submitterPodTemplate", "template", "volumeMounts",
}  # fmt: skip
"""Fields whose contents Kubernetes defines, or that have nothing to do with workers: only their type is kept."""
_KEPT = {"anyOf", "enum", "maxItems", "maxLength", "maximum", "minItems", "minLength", "minimum", "pattern", "type"}
_ABOUT = (
    "The fields of KubeRay's custom resources, made by kuberay_schema.py from ray-operator/config/crd/bases/*.yaml of "
    "https://github.com/ray-project/kuberay {} (Apache-2.0), without descriptions and without what Kubernetes defines."
)


def small(schema: dict[str, Any], name: str = "") -> dict[str, Any]:
    """The part of an OpenAPI schema that is kept, as a JSON schema."""
    if name in _KUBERNETES:
        return {"type": schema["type"]} if "type" in schema else {}
    made = {key: value for key, value in schema.items() if key in _KEPT}
    properties = schema.get("properties")
    if properties is not None:
        made["properties"] = {key: small(below, key) for key, below in sorted(properties.items())}
        required = [key for key in schema.get("required", ()) if "default" not in properties.get(key, {})]
        made |= {"required": required} if required else {}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            made["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            made[key] = small(schema[key])
    return made


def build(folder: Path, version: str) -> dict[str, Any]:
    """The schemas of all kinds. Common parts are in it once."""
    import yaml

    specs: dict[str, Any] = {}
    for kind in _KINDS:
        document = yaml.safe_load((folder / f"ray-operator/config/crd/bases/ray.io_{kind}s.yaml").read_text())
        newest = next(one for one in document["spec"]["versions"] if one["storage"])
        fields = newest["schema"]["openAPIV3Schema"]["properties"]
        specs[document["spec"]["names"]["kind"] + "Spec"] = small(fields["spec"])
    for name in ("RayJobSpec", "RayClusterSpec"):
        specs = {key: value if key == name else _shared(value, specs[name], name) for key, value in specs.items()}
    return {"$comment": _ABOUT.format("v" + version), "version": version, "$defs": specs}


def _shared(schema: Any, common: Any, name: str) -> Any:
    if schema == common:
        return {"$ref": f"#/$defs/{name}"}
    if isinstance(schema, dict):
        return {key: _shared(value, common, name) for key, value in schema.items()}
    return schema


if __name__ == "__main__":
    written = json.dumps(build(Path(sys.argv[1]), sys.argv[2]), indent=1) + "\n"
    Path(__file__).with_suffix(".json").write_text(written)
