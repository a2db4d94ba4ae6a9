"""`python -m outlive.demo`: the same as `outlive demo`, with the number of arrays to choose."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from outlive.demo import TASKS, run


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m outlive.demo", description=__doc__)
    parser.add_argument("--input", type=Path, metavar="DIR", help="your own .npy, .dcm, .nii files")
    parser.add_argument("--output", type=Path, metavar="DIR", default=Path("outlive-demo"), help="for the results")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--tasks", type=int, metavar="N", default=TASKS, help="least number of arrays on each side")
    options = parser.parse_args()
    return run(options.input, options.output, options.json, tasks=options.tasks)


if __name__ == "__main__":
    sys.exit(main())
