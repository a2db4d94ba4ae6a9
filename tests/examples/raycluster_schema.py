"""Makes raycluster_schema.json from KubeRay's CRD: `python -m tests.examples.raycluster_schema CRD VERSION`.

CRD is ray-operator/config/crd/bases/ray.io_rayclusters.yaml of KubeRay's release. It has 0.9 MB, of which descriptions
are most, and pods are in it twice. Without descriptions, and with each part once, a twentieth is left. As the API
server does, the schema refuses fields that it does not know.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".json")
_KEPT = {
    "anyOf", "enum", "format", "maxItems", "maxLength", "maximum", "minItems", "minLength", "minimum", "pattern",
    "required", "type",
}  # fmt: skip
_SHARED = 120  # characters of a part from which on it is worth a name
_ABOUT = (
    "The schema of RayCluster, made by raycluster_schema.py from ray.io_rayclusters.yaml of KubeRay {} (Apache-2.0)"
)


def strict(crd: dict[str, Any]) -> dict[str, Any]:
    """The newest version's schema, as a JSON schema that knows no other fields."""
    newest = next(one for one in crd["spec"]["versions"] if one["storage"])
    schema = _strict(newest["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}  # the API server's own
    schema["properties"]["apiVersion"] = {"const": f"{crd['spec']['group']}/{newest['name']}"}
    schema["properties"]["kind"] = {"const": crd["spec"]["names"]["kind"]}
    return {**schema, "required": ["apiVersion", "kind", "metadata", "spec"]}


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    made = {key: schema[key] for key in sorted(_KEPT & schema.keys())}
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            made[key] = _strict(schema[key])
    if "properties" in schema:
        made["properties"] = {name: _strict(below) for name, below in sorted(schema["properties"].items())}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            made["additionalProperties"] = False
    return made


def small(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema, with each part that occurs more than once under `$defs`."""
    counts = Counter(_texts(schema))
    names = {text: str(number) for number, text in enumerate(text for text, count in counts.items() if count > 1)}
    parts = {name: _named(json.loads(text), names, text) for text, name in names.items()}
    return {**_named(schema, names, ""), "$defs": parts}


def _texts(part: Any) -> list[str]:
    """The text of each object in a schema that is large enough to be named."""
    if not isinstance(part, dict):
        return []
    text = json.dumps(part, sort_keys=True)
    own = [text] if isinstance(part.get("type"), str) and len(text) >= _SHARED else []
    return own + [text for below in part.values() for text in _texts(below)]


def _named(part: Any, names: dict[str, str], own: str) -> Any:
    if not isinstance(part, dict):
        return part
    text = json.dumps(part, sort_keys=True)
    if text in names and text != own:
        return {"$ref": f"#/$defs/{names[text]}"}
    return {key: _named(below, names, "") for key, below in part.items()}


if __name__ == "__main__":
    import yaml

    made = small(strict(yaml.safe_load(Path(sys.argv[1]).read_text())))
    lines = ",\n".join(
        f" {json.dumps(key)}: {json.dumps(value, sort_keys=True)}" for key, value in made["$defs"].items()
    )
    head = {"$comment": _ABOUT.format(sys.argv[2]), **{key: value for key, value in made.items() if key != "$defs"}}
    FILE.write_text(json.dumps(head)[:-1] + f',\n"$defs": {{\n{lines}\n}}}}\n')
