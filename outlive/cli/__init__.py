"""The command line: `outlive put`, `get`, `ls`, ... Each group has a module. `outlive --help` lists them."""

from __future__ import annotations

from outlive.cli.start import main

__all__ = ["main"]
