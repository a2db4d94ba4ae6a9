"""The entry point of the command `outlive`."""

from __future__ import annotations

import io
import sys


def main() -> None:
    """Run the command line of this process, and exit."""
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
