"""Shell text as simple commands: their words with quotes undone, and the offset of each letter.

It reads the part of POSIX and bash that start scripts use: quotes, continuation lines, comments, here-documents,
`$(...)`. Nothing is run or expanded: a word with `$` in it is marked as not known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_RESERVED = {"if", "then", "else", "elif", "do", "while", "until", "!", "{", "}", "time", "coproc"}
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")
_REDIRECTION = re.compile(r"\d*(?:&>>?|>&|<&|<<<|>>|>\||<>|>|<)|\{\w+\}[<>]")
_HERE = re.compile(r"\d*<<-?(?!<)[ \t]*")
_DEEPEST = 30
"""The depth to which nested `$(...)` are read."""
_NOTHING = re.compile(r"(?:[ \t\r]|\\\r?\n)+|#[^\n]*")
_CONTINUED = re.compile(r"\\\r?\n")


@dataclass
class Word:
    """One word of a command."""

    start: int
    end: int
    letters: list[str] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
    """The offset of each letter."""
    quotes: list[str] = field(default_factory=list)
    """The quote around each letter: "", "'" or '"'."""
    known: bool = True
    """Whether all of it is known before the command runs."""

    @property
    def text(self) -> str:
        """The word without quotes. `$x` stays as it is written."""
        return "".join(self.letters)

    @property
    def quoted(self) -> bool:
        """Whether some of it is in quotes."""
        return any(self.quotes)

    def add(self, letter: str, start: int, end: int, quote: str) -> None:
        """Append a letter."""
        self.letters.append(letter)
        self.spans.append((start, end))
        self.quotes.append(quote)


@dataclass
class Command:
    """A simple command: assignments, then words. Redirections are left out."""

    assignments: list[Word] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    here: list[tuple[int, int]] = field(default_factory=list)
    """The spans of its here-documents."""

    @property
    def name(self) -> str:
        """The program, without its folder."""
        return self.words[0].text.rpartition("/")[2] if self.words else ""


def commands(text: str, start: int = 0, end: int | None = None) -> list[Command]:
    """The simple commands of a shell text in their order, including those in `$(...)` and backquotes."""
    reader = _Reader(text, len(text) if end is None else end)
    reader.read(start)
    return sorted(
        reader.found, key=lambda one: min([word.start for word in one.assignments + one.words] or [end_of(one)])
    )


def end_of(command: Command) -> int:
    """The start of its here-documents, for a command that has nothing else."""
    return command.here[0][0] if command.here else 0


def quoted_for(text: str, quote: str) -> str:
    """A text as it has to be written inside this quote of a shell."""
    if quote == "'":
        return text.replace("'", "'\\''")
    if quote == '"':
        return re.sub(r'([\\"$`])', r"\\\1", text)
    return text


class _Reader:
    def __init__(self, text: str, end: int) -> None:
        self.text = text
        self.end = end
        self.found: list[Command] = []
        self.waiting: list[tuple[str, bool, Command]] = []
        self.depth = 0

    def read(self, at: int, closing: str = "") -> int:
        """Read commands until `closing` or the end; returns that offset."""
        command = Command()
        opened = 0
        while at < self.end:
            letter = self.text[at]
            here, redirection = self._match(_HERE, at), self._match(_REDIRECTION, at)
            if (letter in closing and not opened) or (letter in "\n;&|()" and not redirection):
                self._finish(command)
                command = Command()
                if letter in closing and not opened:
                    return at
                opened += {"(": 1, ")": -1}.get(letter, 0)
                opened = max(opened, 0)
                at = self._here_documents(at + 1) if letter == "\n" else at + 1
            elif nothing := self._match(_NOTHING, at):
                at = nothing.end()
            elif here:
                word, at = self._word(here.end(), closing)
                self.waiting.append((word.text, "-" in here.group(), command))
            elif redirection:
                at = redirection.end()
                while at < self.end and self.text[at] in " \t":
                    at += 1
                at = self._word(at, closing)[1]
            else:
                word, at = self._word(at, closing)
                if word.start == word.end:
                    at += 1
                self._take(command, word)
        self._finish(command)
        return at

    def _match(self, pattern: re.Pattern[str], at: int) -> re.Match[str] | None:
        return pattern.match(self.text, at, self.end)

    def _take(self, command: Command, word: Word) -> None:
        if not command.words and not word.quoted and word.text in _RESERVED:
            return
        raw = self.text[word.start : word.end]
        if not command.words and _ASSIGNMENT.match(raw):
            command.assignments.append(word)
        else:
            command.words.append(word)

    def _finish(self, command: Command) -> None:
        if command.words or command.assignments or any(owner is command for *_, owner in self.waiting):
            self.found.append(command)

    def _here_documents(self, at: int) -> int:
        """Skip the here-documents that begin on this line. Their text belongs to their command."""
        for delimiter, tabs, command in self.waiting:
            start = at
            while at < self.end:
                line_end = self.text.find("\n", at, self.end)
                stop = self.end if line_end < 0 else line_end
                line = self.text[at:stop].rstrip("\r")
                last, at = at, stop + 1
                if (line.lstrip("\t") if tabs else line) == delimiter:
                    command.here.append((start, last))
                    break
            else:
                command.here.append((start, self.end))
        self.waiting = []
        return min(at, self.end)

    def _word(self, at: int, closing: str) -> tuple[Word, int]:
        word = Word(at, at)
        while at < self.end:
            letter = self.text[at]
            if letter in " \t\r\n;&|()<>" or (closing and letter in closing):
                break
            if letter == "'":
                at = self._single(word, at)
            elif letter == '"':
                at = self._double(word, at)
            elif letter == "$" and self.text.startswith("$'", at):
                at = self._single(word, at + 1)
            elif letter in "$`":
                at = self._expansion(word, at, "")
            elif continued := self._match(_CONTINUED, at):
                at = continued.end()
            elif letter == "\\" and at + 1 < self.end:
                word.add(self.text[at + 1], at, at + 2, "")
                at += 2
            else:
                word.add(letter, at, at + 1, "")
                at += 1
        word.end = at
        return word, at

    def _single(self, word: Word, at: int) -> int:
        close = self.text.find("'", at + 1, self.end)
        close = self.end if close < 0 else close
        for i in range(at + 1, close):
            word.add(self.text[i], i, i + 1, "'")
        return close + 1 if close < self.end else self.end

    def _double(self, word: Word, at: int) -> int:
        at += 1
        while at < self.end and self.text[at] != '"':
            letter = self.text[at]
            if continued := self._match(_CONTINUED, at):
                at = continued.end()
            elif letter == "\\" and self.text[at + 1 : at + 2] in set('"\\$`'):
                word.add(self.text[at + 1], at, at + 2, '"')
                at += 2
            elif letter in "$`":
                at = self._expansion(word, at, '"')
            else:
                word.add(letter, at, at + 1, '"')
                at += 1
        return min(at + 1, self.end)

    def _expansion(self, word: Word, at: int, quote: str) -> int:
        """`$x` and `${x}` stay as they are written. `$(x)` becomes a `$`, and its commands are found."""
        start = at
        runs = False
        if self.depth >= _DEEPEST:
            at += 1
        elif self.text.startswith("$((", at):
            close = self.text.find("))", at, self.end)
            at = self.end if close < 0 else close + 2
        elif self.text.startswith("$(", at):
            at, runs = min(self._inside(at + 2, ")") + 1, self.end), True
        elif self.text.startswith("${", at):
            close = self.text.find("}", at, self.end)
            at = self.end if close < 0 else close + 1
        elif self.text[at] == "`":
            at, runs = min(self._inside(at + 1, "`") + 1, self.end), True
        else:
            name = re.compile(r"\$(?:\w+|[@*#?$!-])?").match(self.text, at, self.end)
            at = name.end() if name else at + 1
            if at == start + 1:  # only a dollar sign
                word.add("$", start, at, quote)
                return at
        word.known = False
        if runs:
            word.add("$", start, at, quote)
            return at
        for i in range(start, at):
            word.add(self.text[i], i, i + 1, quote)
        return at

    def _inside(self, at: int, closing: str) -> int:
        waiting, self.waiting = self.waiting, []
        self.depth += 1
        at = self.read(at, closing)
        self.depth -= 1
        self.waiting = waiting
        return at
