"""Messages as people paste them (`cases/*.txt`): Ray's own lines, with invented ids, names and addresses.

Each begins with `#### source | variant | first cause | evidence`: the public issue where such a one stands, the answer
that must be among those that `explain` gives, a part of its first cause (`-`: no cause has evidence; `*`: any), and a
part of the evidence for that cause. The variant `-` stands for a text in which nothing is to be found, and
`?Name` for a name that has to be counted as unexplained.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_CASES = Path(__file__).with_name("cases")


@dataclass(frozen=True)
class Message:
    """A text, where such a one was seen, and what `explain` must say of it."""

    kind: str
    source: str
    text: str
    variant: str
    first_cause: str
    evidence: str


def _read() -> dict[str, Message]:
    found: dict[str, Message] = {}
    for file in sorted(_CASES.glob("*.txt")):
        for part in file.read_text().split("#### ")[1:]:
            header, text = part.split("\n", 1)
            source, variant, first_cause, evidence = (*map(str.strip, header.split(" | ")), "", "")[:4]
            name = f"{file.stem}: {source} {variant}"
            assert name not in found, f"twice: {name}"
            found[name] = Message(file.stem, source, text.removesuffix("\n"), variant, first_cause, evidence)
    return found


MESSAGES = _read()
