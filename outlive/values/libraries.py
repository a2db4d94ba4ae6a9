"""The codecs for other libraries' types that come with outlive. A module is loaded when a value is of its library."""

from __future__ import annotations

_HERE = "outlive.values.of_"

LIBRARIES: dict[str, str] = {
    library: f"{_HERE}{name}"
    for library, name in {
        "pandas": "pandas",
        "polars": "polars",
        "pyarrow": "arrow",
        "scipy": "scipy",
        "torch": "torch",
        "xarray": "xarray",
    }.items()
}
"""Top-level module of a value's type -> the module of outlive that registers codecs for it."""

CODECS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("arrow.array", "arrow.batch", "arrow.chunked", "arrow.table"), (f"{_HERE}arrow", "pyarrow")),
    **dict.fromkeys(("pandas.frame", "pandas.index", "pandas.series"), (f"{_HERE}pandas", "pandas")),
    **dict.fromkeys(("polars.frame", "polars.series"), (f"{_HERE}polars", "polars")),
    **{
        f"scipy.{form}_{ending}": (f"{_HERE}scipy", "scipy")
        for form in ("bsr", "coo", "csc", "csr", "dia")
        for ending in ("array", "matrix")
    },
    **dict.fromkeys(("torch.parameter", "torch.tensor"), (f"{_HERE}torch", "torch")),
    **dict.fromkeys(("xarray.data_array", "xarray.dataset"), (f"{_HERE}xarray", "xarray")),
}
"""Name of a codec -> the module of outlive that registers it, and the package that it needs."""
