"""Makes outlive/explain/knowledge/ray_classes.json: in which versions of Ray each class of ray.exceptions exists.

    python -m tests.explain.make_ray_classes 2.9.3=path/of/exceptions.py 2.60.0=...

Each file is `ray/exceptions.py` out of a wheel (`pip download --no-deps ray==2.9.3`, then `unzip`).
"""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

TABLE = Path(__file__).parents[2] / "outlive/explain/knowledge/ray_classes.json"


def classes(source: str) -> dict[str, str]:
    """The public exception classes of a module, each with the first sentence of its docstring."""
    return {
        node.name: " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.bases
    }


def table(sources: dict[str, str]) -> dict[str, dict[str, str]]:
    """For each class: the first and the last of the versions (oldest first) that have it, and what Ray says of it."""
    found: dict[str, dict[str, str]] = {}
    for version, source in sources.items():
        for name, text in classes(source).items():
            found.setdefault(name, {"since": version})
            found[name] |= {"until": version, "says": text}
    return dict(sorted(found.items()))


def main(arguments: list[str]) -> None:
    pairs = sorted((part.split("=", 1) for part in arguments), key=lambda pair: [int(n) for n in pair[0].split(".")])
    made = table({version: Path(path).read_text() for version, path in pairs})
    TABLE.write_text(json.dumps({"versions": [version for version, _ in pairs], "classes": made}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
