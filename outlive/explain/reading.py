"""Reading one text. The reader is imported when first needed, because that takes 0.2 s."""

from __future__ import annotations

from collections.abc import Iterable

from outlive.explain.model import Reading


def read(text: str | Iterable[str]) -> Reading:
    """Find and explain every error of Ray in a text.

    Parameters
    ----------
    text
        A traceback or a log: as one string, or as an iterable of lines (an open file, say), of any length.

    Returns
    -------
    Reading
        Its `explanations` are empty if there is no error of Ray.
    """
    from outlive.explain.lines import of_text
    from outlive.explain.reader import Reader

    reader = Reader()
    reader.read(of_text(text) if isinstance(text, str) else text)
    return reader.reading()
