"""Run as a program, with an address and a path: lets all idle workers of the cluster go, until stdin is closed.

Writes there how often it did, and what became of the workers that it chose, as JSON.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from pathlib import Path

import ray

from outlive.workers import trim

EVERY = 0.15  # seconds


def main() -> None:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
    stopped = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stopped.set()), daemon=True).start()
    outcomes: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    rounds = 0
    while not stopped.wait(EVERY):
        rounds += 1
        try:
            outcomes.update(choice.outcome for choice in trim(max_idle=0).chosen)
        except Exception as error:
            errors[f"{type(error).__name__}: {error}"] += 1
    Path(sys.argv[2]).write_text(json.dumps({"rounds": rounds, "outcomes": outcomes, "errors": errors}))


if __name__ == "__main__":
    main()
