"""Is this cluster set up as it was meant to be? `check_target` reads a file, a command line or the running cluster."""

from __future__ import annotations

from outlive.workers.checking.finding import Finding
from outlive.workers.checking.target import Checked, check_target

__all__ = ["Checked", "Finding", "check_target"]
