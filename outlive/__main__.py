"""`python -m outlive` is the command `outlive`."""

from __future__ import annotations

from outlive.cli import main

main()
