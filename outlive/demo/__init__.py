"""The demo: a pipeline of leaky Ray tasks over real images, run with plain `ray.put` and with outlive, and compared."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from outlive.demo.inputs import Inputs
    from outlive.demo.results import Result

TASKS = 8
_LOST, _UNABLE, _INTERRUPTED = 1, 2, 130


def run(input_folder: Path | None, output: Path, as_json: bool = False, *, tasks: int = TASKS) -> int:
    """Run the demo: prints a table (or one JSON document), writes a chart and the raw samples to the folder `output`.

    Parameters
    ----------
    input_folder
        With .npy, .dcm, .nii or .nii.gz files; None for the images that nibabel and pydicom ship.
    tasks
        Least number of arrays to make on each side.

    Returns
    -------
    int
        The exit code: 0 if outlive lost nothing, 1 if it did or the demo failed, 2 if there is nothing to work on,
        130 if it was interrupted.

    Raises
    ------
    ImportError
        A package of the `demo` extra is not installed.
    """
    from outlive.demo import chart, inputs  # these need packages that outlive itself does not

    try:
        found = inputs.find(input_folder)
        output.mkdir(parents=True, exist_ok=True)
        if not os.access(output, os.W_OK):
            raise PermissionError(f"{output} cannot be written to")
    except (inputs.NoInput, OSError) as error:
        _say(f"error: {error}")
        return _UNABLE
    except KeyboardInterrupt:
        return _INTERRUPTED
    _tell_inputs(found)
    began = time.monotonic()
    try:
        plain, kept = _run_both(found, tasks)
        png, samples = output / "outlive-demo.png", output / "outlive-demo.json"
        document = _document(found, plain, kept, time.monotonic() - began)
        document |= {"chart": str(png), "samples": str(samples)}
        chart.draw([plain, kept], png)
        _write_samples(samples, document, [plain, kept])
        _show(document, plain, kept, as_json)
    except KeyboardInterrupt:
        _say("interrupted; nothing was left running")
        return _INTERRUPTED
    except Exception as error:  # noqa: BLE001  of a task, say: the user needs its message, and an exit code
        _say(f"error: the demo failed: {type(error).__name__}: {error}")
        return _LOST
    return _LOST if kept.lost else 0


def _run_both(found: Inputs, tasks: int) -> tuple[Result, Result]:
    from outlive.demo import pipeline, recipes
    from outlive.demo.sides import OutliveSide, RaySide
    from outlive.demo.steps import Steps

    jobs = recipes.plan(found.sources, tasks)
    with Steps(2 * (len(jobs) + pipeline.STEPS)) as tell:
        plain, kept = (pipeline.run(side, jobs, found.nbytes, tell) for side in (RaySide(), OutliveSide()))
    return plain, kept


def _document(found: Inputs, plain: Result, kept: Result, seconds: float) -> dict[str, Any]:
    import ray

    import outlive
    from outlive.demo import pipeline, report

    return {
        "conclusion": report.conclusion(plain, kept),
        "outlive_lost_nothing": not kept.lost,
        "sides": {side.side: side.summary() for side in (plain, kept)},
        "inputs": [source.name for source in found.sources],
        "skipped": [skipped._asdict() for skipped in found.skipped],
        "left_out": found.left_out,
        "leak_bytes_a_call": pipeline.LEAK,
        "max_calls": pipeline.CALLS,
        "seconds": seconds,
        "versions": {"outlive": outlive.__version__, "ray": ray.__version__, "python": platform.python_version()},
        "machine": {"platform": platform.platform(), "cpus": os.cpu_count()},
    }


def _write_samples(path: Path, document: dict[str, Any], sides: list[Result]) -> None:
    samples = {
        side.side: [
            {
                "seconds": round(sample.seconds, 3),
                "shared": sample.shared,
                "processes": [process._asdict() for process in sample.processes],
            }
            for sample in side.samples
        ]
        for side in sides
    }
    path.write_text(json.dumps({**document, "samples": samples}) + "\n")


def _show(document: dict[str, Any], plain: Result, kept: Result, as_json: bool) -> None:
    from rich.console import Console

    from outlive.demo import report

    if as_json:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(report.table(plain, kept))
    for note in report.notes(plain, kept):
        console.print(note)
    console.print(f"\n[bold]{report.conclusion(plain, kept)}[/bold]\n")
    console.print(f"Chart:   {document['chart']}\nSamples: {document['samples']}\n({document['seconds']:.0f} s)")


def _tell_inputs(found: Inputs) -> None:
    _say("volumes: " + "; ".join(source.name for source in found.sources))
    for path, reason in found.skipped:
        _say(f"skipped: {path}: {reason}")
    if found.left_out:
        _say(f"left out: {found.left_out} more volumes, to keep the demo short")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
