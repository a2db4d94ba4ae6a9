"""The reference of Python's names: one page for each public module, filled from the docstrings when the site is built.

`pages` says which names stand where. mkdocstrings reads the docstrings from the source, and imports nothing.
"""

from __future__ import annotations

import ast
from pathlib import Path

import outlive.errors

_SOURCE = Path(outlive.errors.__file__).parent
MODULES = (
    "outlive", "outlive.codecs", "outlive.dask", "outlive.data", "outlive.gpu", "outlive.xarray", "outlive.zarr",
    "outlive.workers", "outlive.explain", "outlive.doctor", "outlive.lint",
)  # fmt: skip
_ABOUT = {"outlive": "Stores and arrays"}
_ERRORS = "outlive errors"
TESTING = ("outlive.testing.conformance", "outlive.testing.history")  # without __all__: all that is not private


def names(module: str) -> list[str]:
    """What the module promises. It is not imported: the packages of its extra may be missing."""
    for node in ast.parse(_file(module).read_text()).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]:
            return list(ast.literal_eval(node.value))
    raise ValueError(f"{module} has no __all__")


def _file(module: str) -> Path:
    path = _SOURCE.parent.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def pages() -> dict[str, str]:
    """The text of each page, by its path in docs/."""
    result = {}
    for module in MODULES:
        promised = [f"{module}.{name}" for name in names(module)]
        errors = [name for name in promised if _is_error(name)] if module == "outlive" else []
        result[f"reference/{module}.md"] = _page(module, [name for name in promised if name not in errors])
        if errors:
            result["reference/errors.md"] = _page(_ERRORS, errors)
    result["reference/outlive.testing.md"] = _testing()
    return result


def _is_error(name: str) -> bool:
    return hasattr(outlive.errors, name.rpartition(".")[2])


def _page(module: str, promised: list[str]) -> str:
    lines = [f"# {_title(module)}", "", _summary(module), ""]
    for name in sorted(promised, key=_place):
        lines += [f"::: {name}", ""]
    return "\n".join(lines)


def _place(name: str) -> tuple[bool, bool, str]:
    """Functions come first, then classes, and modules last."""
    return _file(name).exists(), name.rpartition(".")[2][0].isupper(), name


def _title(module: str) -> str:
    if module == _ERRORS:
        return "Errors"
    return f"{_ABOUT[module]}: `{module}`" if module in _ABOUT else f"`{module}`"


def _summary(module: str) -> str:
    if module == _ERRORS:
        return (
            "Every error of outlive is an `OutliveError`, and also the builtin error that a caller would expect: "
            "`ArrayNotFound` is a `KeyError`, for example."
        )
    text = _file(module).read_text()
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def _testing() -> str:
    lines = [
        "# `outlive.testing`",
        "",
        "Tests for others to use: of classes that want to be stores, and of what clients of a store read and wrote.",
        "",
    ]
    for module in TESTING:
        lines += [f"::: {module}", ""]
    return "\n".join(lines)
