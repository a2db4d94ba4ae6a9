"""The small form of KubeRay's schema: what it keeps, and that the one that comes with outlive is whole."""

from __future__ import annotations

import json
from pathlib import Path

from jsonschema import Draft202012Validator

from outlive.workers import kuberay
from outlive.workers.checking import kuberay_schema

OPEN_API = {
    "type": "object",
    "description": "long",
    "required": ["a", "b"],
    "properties": {
        "a": {"type": "integer", "format": "int32", "default": 0, "description": "long"},
        "b": {"type": "string", "enum": ["x"]},
        "c": {"type": "array", "items": {"type": "object", "properties": {"d": {"type": "string"}}}},
        "e": {"type": "object", "additionalProperties": {"type": "string"}},
        "template": {"type": "object", "properties": {"spec": {"type": "object"}}},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {}},
    },
}


def test_what_is_kept():
    made = kuberay_schema.small(OPEN_API)
    assert "long" not in json.dumps(made)
    for value, valid in (
        ({"b": "x"}, True),  # Kubernetes fills in a default before it looks
        ({"a": 1}, False),
        ({"b": "y"}, False),
        ({"b": "x", "f": 1}, False),
        ({"b": "x", "c": [{"d": "e"}]}, True),
        ({"b": "x", "c": [{"f": "e"}]}, False),
        ({"b": "x", "e": {"any": "text"}}, True),
        ({"b": "x", "e": {"any": 1}}, False),
        ({"b": "x", "template": {"spec": {"anything": 1}}, "open": {"f": 1}}, True),
    ):
        assert Draft202012Validator(made).is_valid(value) is valid, value


def test_the_one_that_comes_with_outlive():
    loaded = json.loads(Path(kuberay_schema.__file__).with_suffix(".json").read_text())
    assert set(loaded["$defs"]) == {f"{kind}Spec" for kind in kuberay.KINDS}
    assert "Apache-2.0" in loaded["$comment"] and loaded["version"] in loaded["$comment"]
    for kind, path in kuberay.KINDS.items():
        rules = {"$ref": f"#/$defs/{kind}Spec", "$defs": loaded["$defs"]}
        Draft202012Validator.check_schema(rules)
        spec = {"headGroupSpec": {"template": {}}, "workerGroupSpecs": [{"groupName": "a", "template": {}}]}
        for key in reversed(path[1:]):
            spec = {key: spec}
        extra = {"schedule": "* * * * *"} if kind == "RayCronJob" else {}
        assert Draft202012Validator(rules).is_valid(spec | extra)
        assert not Draft202012Validator(rules).is_valid(spec | extra | {"no": 1})
