"""The page shows what a `Source` says: a real cluster's is `in_ray.RaySource`, tests play one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

Document = dict[str, Any]
"""A JSON object."""
Progress = Callable[[int, int], None]
"""Told the bytes moved so far, and the bytes in all."""

METHODS = (
    "about", "workers", "arrays", "details", "picture", "nodes", "doctor", "preview_trim", "trim", "preview_drain",
    "drain",
)  # fmt: skip
"""The methods of a source that the server may ask for by name."""


class SourceError(Exception):
    """The source did not answer, or refused. The message is shown on the page."""


class Source(Protocol):
    """A cluster, as the page needs it. Sizes are in bytes, times in seconds. Several threads may call each method.

    Raises an exception of any type if the cluster does not answer: its message is shown.
    """

    def about(self) -> Document:
        """Address, and the versions of Ray and outlive: `address`, `ray`, `outlive`."""

    def workers(self) -> Document:
        """`workers`: a row of each; `nodes`: settings of each node's reaper; `unseen`: those that did not answer."""

    def arrays(self, store: str) -> Document:
        """`stores`: by name the number of arrays and their bytes; `rows`: those of this store by key, see `array_rows`;
        `left_out`: how many were too many.
        """

    def details(self, arrays: Sequence[tuple[str, str]]) -> dict[str, Document]:
        """By id, of arrays given as id and a node that has it: `read_at`, `ends_at` (Unix times or None), `on_disk`."""

    def picture(self, store: str, key: str, array_id: str, at: int | None) -> Document:
        """`png` (base64; None: it is no image), `said`, `slices` (how many there are) and `at` (which is shown)."""

    def nodes(self) -> Document:
        """`nodes`: a row of each; `stores`: as those of `arrays`; `autoscaler`: whether there is one."""

    def doctor(self) -> Document:
        """`outlive doctor --json`."""

    def preview_trim(self, limits: Document) -> Document:
        """`chosen` and `spared` workers, and the bytes `freed`, if `trim` were called now."""

    def trim(self, limits: Document, only: Sequence[str]) -> Document:
        """Let workers go by these limits, of those named by `only` alone. The same as `preview_trim`, with outcomes."""

    def preview_drain(self, node: str) -> Document:
        """The row of the `node`, and the `room` of `others`, of which some `answered`."""

    def drain(self, node: str, progress: Progress) -> Document:
        """Have other nodes keep the arrays of this one: `arrays`, `nbytes`, and `stayed`: why some could not leave."""


class Asker(Protocol):
    """The server's way to a source."""

    def ask(self, method: str, *args: Any, progress: Progress | None = None) -> Awaitable[Any]:
        """The answer of one of `METHODS`. Raises SourceError."""

    async def close(self) -> None:
        """End what was started for it, in a moment."""
