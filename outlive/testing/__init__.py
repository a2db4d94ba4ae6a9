"""Tests of store implementations, for others to use: `conformance` (it needs pytest, so nothing here imports it)."""
