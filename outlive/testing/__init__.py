"""What proves an implementation, for others to use: `conformance` (needs pytest, so it is imported by nothing here)."""
