"""The rows of the table: one module for each thing that is measured, with `NAME`, `ABOUT` and `run`.

`run(store, quick)` measures on the cluster that such rows share and leaves it as it found it; `run(quick)` needs new
stores and starts its own.
"""
