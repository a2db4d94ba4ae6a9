"""The entry point of the command `outlive`."""

from __future__ import annotations

import io
import os
import sys


def main() -> None:
    """Run the command line of this process, and exit."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):  # a key that the terminal's encoding lacks is shown escaped
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if sys.argv[1:2] == ["lint"]:
        from outlive.cli import quick

        code = quick.run(sys.argv[1:])
        if code is not None:
            sys.exit(code)
    from outlive.cli.app import app

    app(prog_name="outlive")


def _open_closed_streams() -> None:
    """Take the descriptors of streams that the caller closed, as `>&-` does.

    Else the next files that are opened get these numbers, and what is printed goes into them.
    Those of stdin and stdout are taken the wrong way round, so that to read or write them is an error.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            descriptor = os.open(os.devnull, os.O_RDONLY if number == 1 else os.O_WRONLY)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - to the end of the process
