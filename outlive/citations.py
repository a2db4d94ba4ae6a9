"""Citations: the addresses at which the sources that doctor and explain name can be read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

# Files of Ray, in the version whose source was read.
_RAY = "https://github.com/ray-project/ray/blob/ray-2.60.0/"
_CITED = re.compile(
    r"(?P<url>https?://[^\s,;()\"<>]+)|(?<![\w/.-])(?P<file>(?:src|python)/ray/[\w/-]+\.(?:cc|h|pyx?|proto)\b)"
)


def citations(text: str) -> Iterator[tuple[int, int, str]]:
    """The parts of a text that name a source: begin, end, and the address.

    >>> list(citations("Ray: src/ray/raylet/worker_pool.cc, KillIdle"))
    [(5, 34, 'https://github.com/ray-project/ray/blob/ray-2.60.0/src/ray/raylet/worker_pool.cc')]
    """
    for found in _CITED.finditer(text):
        said = found[0].rstrip(".:")
        yield found.start(), found.start() + len(said), said if found["url"] else _RAY + said


def link(text: Text) -> Text:
    """Make the sources that a text of rich names links, where the terminal takes them."""
    for begin, end, address in citations(text.plain):
        text.stylize(f"link {address}", begin, end)
    return text
