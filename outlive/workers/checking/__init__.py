"""Checks of a cluster's settings: `check_target` reads a file, a command line or the running cluster."""

from __future__ import annotations

from outlive.workers.checking.misconfiguration import Misconfiguration
from outlive.workers.checking.target import Checked, check_target

__all__ = ["Checked", "Misconfiguration", "check_target"]
