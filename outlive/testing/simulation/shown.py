"""How calls are shown in a trace: short enough to be read."""

from __future__ import annotations

import json
from typing import Any

_ID = 32  # digits of an id
_LONGEST = 110


def shown(method: str, args: tuple[Any, ...]) -> str:
    """A call as text."""
    return f"{method}({', '.join(map(_short, args))})"


def answer(value: Any, error: BaseException | None) -> str:
    """The answer of a call, or its error, as text."""
    if error is not None:
        return f"{type(error).__name__}: {str(error)[:_LONGEST]}"
    return _short(value)


def _short(value: Any) -> str:
    if isinstance(value, bytes):
        try:
            value = json.loads(value)
        except ValueError:
            return f"{len(value)} bytes"
    if isinstance(value, str):
        return value[:4] if len(value) == _ID and value.isalnum() else value
    if isinstance(value, list | tuple):
        if _is_info(value):
            return f"{value[2]}:{value[0][:4]}"
        text = f"[{', '.join(map(_short, value))}]"
        return text if len(text) < _LONGEST else f"{text[:_LONGEST]}..."
    if isinstance(value, dict | set):
        return str({_short(one) for one in value})
    return str(value) if value is None or isinstance(value, int | float | str) else type(value).__name__


def _is_info(value: Any) -> bool:
    return len(value) > 9 and isinstance(value[0], str) and len(value[0]) == _ID
