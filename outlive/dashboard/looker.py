"""The looker: a process that asks the cluster. It reads questions from stdin, a line each, and answers on stdout.

A question is `[number, method, arguments]`. Its answers are `[number, "progress", [done, total]]`, as many as there
are, and then `[number, "answer", value]` or `[number, "error", message]`. It ends with its stdin.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

from outlive.dashboard.sources import METHODS, Source

_AT_ONCE = 12  # questions; a slow one, as the doctor, must not hold up others


def run(source: Source, questions: IO[str] | None = None, answers: IO[str] | None = None) -> None:
    """Answer questions until there are none. Then the process ends at once, whatever is under way."""
    if answers is None:
        answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # what a library prints is no answer
    lock = threading.Lock()

    def line_of(*answer: Any) -> str:
        return json.dumps(answer, allow_nan=False) + "\n"  # browsers read no NaN

    def say(line: str) -> None:
        with lock:
            answers.write(line)
            answers.flush()

    def answer(number: int, method: str, args: list[Any]) -> None:
        try:
            if method not in METHODS:
                raise ValueError(f"no method {method!r}")
            if method == "drain":
                args = [*args, lambda done, total: say(line_of(number, "progress", [done, total]))]
            said = line_of(number, "answer", getattr(source, method)(*args))
        except Exception as error:  # noqa: BLE001 - of any type: it is shown on the page
            said = line_of(number, "error", str(error) or type(error).__name__)
        say(said)

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="outlive-look") as pool:
        for line in questions or sys.stdin:
            pool.submit(answer, *json.loads(line))
        os._exit(0)  # Ray's threads may wait for a cluster that is lost
