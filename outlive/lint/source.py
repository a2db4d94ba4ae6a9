"""Parsed source, with positions and `# noqa` comments."""

from __future__ import annotations

import re
from bisect import bisect_right

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider

from outlive.lint.text import Unreadable

_NOQA = re.compile(
    r"#\s*noqa(?P<codes>:\s*(?P<list>[A-Z]+[0-9]+(?:[,\s]+[A-Z]+[0-9]+)*))?(?![A-Za-z0-9_])", re.IGNORECASE
)
_NEWLINE = re.compile(r"\r\n?|\n")
_STRING = re.compile(r"""\"(?:[^"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'""")
_BRACKETS = 150  # deeper than any source that CPython accepts (200 levels of parentheses)


class Source:
    """Parsed source.

    Raises
    ------
    Unreadable
        The source does not parse, or is nested too deeply.
    """

    def __init__(self, code: str) -> None:
        self.code = code
        _check_depth(code)
        try:
            self.module = cst.parse_module(code)
        except cst.ParserSyntaxError as error:
            raise Unreadable(f"does not parse: {_reason(error)}", error.raw_line, error.raw_column + 1) from None
        except RecursionError:
            raise Unreadable("nested too deeply to be parsed") from None
        except cst.CSTValidationError as error:  # LibCST's parser accepts it, and its nodes do not
            raise Unreadable(f"does not parse: {error}") from None
        self._starts = [0, *(match.end() for match in _NEWLINE.finditer(code))]
        self._positions: dict[cst.CSTNode, CodeRange] | None = None
        self._statements: list[tuple[int, int]] = []
        self._noqa: dict[int, frozenset[str] | None] = {}

    def position(self, node: cst.CSTNode) -> CodeRange:
        """The position of the node: lines from 1, columns from 0."""
        if self._positions is None:
            wrapper = MetadataWrapper(self.module, unsafe_skip_copy=True)
            self._positions = dict(wrapper.resolve(PositionProvider))
            self._read_comments(self._positions)
        return self._positions[node]

    def offset(self, line: int, column: int) -> int:
        """The index in `code` of a position."""
        return self._starts[line - 1] + column

    def _read_comments(self, positions: dict[cst.CSTNode, CodeRange]) -> None:
        for node, where in positions.items():
            if isinstance(node, cst.Comment) and (found := _NOQA.search(node.value)):
                codes = found["list"]
                self._noqa[where.start.line] = frozenset(re.split(r"[,\s]+", codes.upper())) if codes else None
            elif isinstance(node, cst.SimpleStatementLine):
                self._statements.append((where.start.line, where.end.line))
        self._statements.sort()

    def silenced(self, code: str, where: CodeRange) -> bool:
        """Whether a `# noqa` on the lines of the node, or at the end of its statement, silences the rule."""
        last = where.end.line
        index = bisect_right(self._statements, (where.start.line, float("inf"))) - 1
        if index >= 0 and self._statements[index][0] <= where.start.line <= self._statements[index][1]:
            last = max(last, self._statements[index][1])
        for line in {*range(where.start.line, where.end.line + 1), last}:
            if line in self._noqa and (self._noqa[line] is None or code in (self._noqa[line] or ())):
                return True
        return False


def _reason(error: cst.ParserSyntaxError) -> str:
    message = error.message.removeprefix("parser error: ").split("\n")[0]
    return message.replace("error at", "at")[:200]


def _check_depth(code: str) -> None:
    """Refuse nesting that CPython refuses too: LibCST's parser in Rust recurses, with no limit but its stack."""
    depth = line = 0
    for number, text in enumerate(_NEWLINE.split(code), 1):
        if not any(letter in text for letter in "([{)]}"):
            continue
        for letter in _STRING.sub("", text):
            if letter in "([{":
                depth += 1
                if depth > _BRACKETS:
                    raise Unreadable("nested too deeply: over 150 open brackets", line or number)
            elif letter in ")]}":
                depth = max(0, depth - 1)
