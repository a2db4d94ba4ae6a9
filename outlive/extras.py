"""The packages that come with outlive, those that its extras add, and the error if one is missing.

`pyproject.toml` has the versions. Ray is an extra: see docs/design.md, "Chosen, and why".
"""

from __future__ import annotations

from importlib.util import find_spec

from outlive.errors import MissingPackage

INSTALLED = {
    "grpc": "grpcio", "jsonschema": "jsonschema", "libcst": "libcst", "msgpack": "msgpack", "numpy": "numpy",
    "rich": "rich", "tomli": "tomli", "yaml": "pyyaml",
}  # fmt: skip
"""The packages of `pip install outlive`, by the name that programs import, and each one's name in PyPI."""
EXTRAS = {
    "ray": ("ray",),
    "traces": ("matplotlib", "pyarrow"),
    "demo": ("ray", "matplotlib", "nibabel", "psutil", "pydicom"),
    "zarr": ("ray", "zarr"),
    "save": ("ray", "obstore"),
    "dask": ("ray", "dask"),
    "data": ("ray", "fsspec", "pandas", "pyarrow"),
    "xarray": ("ray", "xarray"),
    "dashboard": ("ray", "aiohttp"),
}
"""The packages that each extra adds: their names are alike in both places."""


def install(extra: str | None = None) -> str:
    """The command that installs outlive with this extra."""
    return "pip install outlive" if extra is None else f"pip install 'outlive[{extra}]'"


def lacking(extra: str) -> list[str]:
    """The packages of this extra that are not installed. None is imported."""
    return [package for package in EXTRAS[extra] if not _is_installed(package)]


def need(package: str) -> None:
    """Find out whether a package is installed, without importing it.

    Raises
    ------
    MissingPackage
        It is not.
    """
    if not _is_installed(package):
        raise named(ModuleNotFoundError(name=package))


def named(error: ModuleNotFoundError, wanted: str | None = None) -> ModuleNotFoundError:
    """The error to raise in place of this one: a `MissingPackage` if it is about a package that is named here.

    Of the extras that have it, the error names the wanted one.
    """
    package = (error.name or "").split(".")[0]
    if isinstance(error, MissingPackage):
        return error
    if package in INSTALLED:
        return _missing(package, INSTALLED[package], None)
    for extra, packages in sorted(EXTRAS.items(), key=lambda one: one[0] != wanted or package == "ray"):
        if package in packages:
            return _missing(package, "Ray" if package == "ray" else package, extra)
    return error


def _is_installed(package: str) -> bool:
    """Whether there is such a package. A folder of this name without code, as `python -m` finds it here, is none."""
    try:
        spec = find_spec(package)
    except ValueError:  # a program has put a module of its own in this place
        return True
    return spec is not None and spec.origin is not None


def _missing(package: str, called: str, extra: str | None) -> MissingPackage:
    error = MissingPackage(f"this needs {called}, which is not installed: {install(extra)}")
    error.name = package
    return error
