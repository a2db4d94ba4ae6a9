"""Lines that other lines hold: JSON records, printed strings, escaped line ends, colours in any spelling."""

from __future__ import annotations

import ast
import html
import json
import re
from collections.abc import Iterator
from typing import Any

_MESSAGE_KEYS = ("message", "msg", "log", "text", "textPayload", "line", "MESSAGE", "body", "content", "event", "error")
_MORE_KEYS = ("jsonPayload", "exc_info", "exc_text", "exception", "traceback", "stack_trace", "stack", "detail")
_DEEPEST = 4
_ESCAPE = r"(?:\x1b|\u241b|\^\[|\\x1[bB]|\\u001[bB]|\\0?33|\\e|#033|#x1[bB])"
_COLOUR = re.compile(
    rf"{_ESCAPE}\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]{{0,500}}(?:\x07|\x1b\\)?|\x1b_bk;t=\d*\x07|_bk;t=\d*\x07|"
    r"\[\d{1,3}(?:;\d{1,3}){0,4}m(?![\w\]])|\[\d{1,3}(?:;\d{1,3}){0,4}m(?=[A-Za-z(])|[\u200b\ufeff]"
)
_MAY_BE_COLOURED = re.compile(r"[\x1b\u241b\u200b\ufeff]|\^\[|\\x1|\\u001|\\0?33|\\e|#033|#x1|\[\d[\d;]*m|_bk;t=")
_SPACES = str.maketrans(dict.fromkeys("\xa0\u2007\u202f", " "))
_JSON_PAIR = re.compile(rf'\s*"(?:{"|".join((*_MESSAGE_KEYS, *_MORE_KEYS, "status_message"))})":\s*(".*")[,}}\s]*$')
_REPR = re.compile(
    r"[\s\[({]*(?:[\"']\w+[\"']: ?)?(?P<value>[bur]{0,2}(?P<quote>\"|').*(?P=quote))[\s\])},]*$", re.DOTALL
)
# each begins at the first of its backslashes: of a long run, every other one would be looked at from there to the end
_ESCAPED_LINE = re.compile(r"(?<!\\)\\+(?:r\\+)?n")
_ESCAPED_TAB = re.compile(r"(?<!\\)\\+t")
_ESCAPED_QUOTE = re.compile(r"(?<!\\)\\+([\"'])")
_ENTITY = re.compile(r"&(?:gt|lt|amp|quot|apos|nbsp|#\d{1,5}|#x[0-9a-fA-F]{1,5});")


def without_colours(text: str) -> str:
    """`text` without colours and other terminal sequences, whether the escape character survived or not."""
    if _MAY_BE_COLOURED.search(text):
        text = _COLOUR.sub("", text)
    return text if text.isascii() else text.translate(_SPACES)


def unpack(text: str) -> list[str] | None:
    """The lines that a line holds in a JSON record, a printed string or with escaped ends; None if it holds none."""
    if "\r" in text:
        return [part for part in text.split("\r") if part] or [""]
    stripped = text.strip()
    if stripped.startswith(("{", "[{")) and (found := _of_json(stripped)):
        return found
    if '": "' in stripped[:60] and (pair := _JSON_PAIR.match(text)):
        return _lines(_loaded(pair[1])) or None
    if "\\n" in text and (found := _of_escapes(text)):
        return found
    return [html.unescape(text)] if "&" in text and _ENTITY.search(text) else None  # last: it changes quotes


def _of_json(text: str) -> list[str]:
    return [line for string in _strings(_loaded(text), 0) for line in _lines(string)]


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _strings(value: Any, depth: int) -> Iterator[str]:
    """The messages of a record, then what belongs to them (an exception's traceback)."""
    if depth > _DEEPEST:
        return
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value[:1000]:
            yield from _strings(one, depth + 1)
    elif isinstance(value, dict):
        first = next((value[key] for key in _MESSAGE_KEYS if isinstance(value.get(key), (str, dict))), None)
        for one in (first, *(value.get(key) for key in _MORE_KEYS)):
            yield from _strings(one, depth + 1)


def _of_escapes(text: str) -> list[str]:
    if (match := _REPR.match(text)) and (value := _literal(match["value"])) is not None and "\n" in value:
        return _lines(value)
    parts = _ESCAPED_LINE.split(text)
    if len(parts) < 2 or not any(
        part.startswith(("ray.exceptions.", "  File ", "\\tclass_name", "Traceback", "The ")) or "ray" in part
        for part in parts[1:]
    ):
        return []
    return [_ESCAPED_TAB.sub("\t", _ESCAPED_QUOTE.sub(r"\1", part)) for part in parts]


def _literal(text: str) -> str | None:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None


def _lines(value: Any) -> list[str]:
    if not isinstance(value, str) or not value:
        return []
    return value.replace("\r\n", "\n").removesuffix("\n").split("\n")
