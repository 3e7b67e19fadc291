"""The line of each key of a TOML text, which tomllib does not tell.

The text is one that tomllib has read: only what tells keys, values and lines apart is looked at here.
"""

from __future__ import annotations

import re
import tomllib

__all__ = ["Path", "lines_of"]

Path = tuple[str | int, ...]
"""A place in a document: names of keys, and indices in arrays."""

_BLANK = re.compile(r"[ \t]*")
_FILLER = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_PLAIN = re.compile(r"[^,\]}#\r\n]+")
_STRINGS = (
    # The longer quotes come first. A text ends with its last three quotes: two more may stand before them.
    re.compile(r'"""(?:[^\\"]|\\(?s:.)|"(?!""))*"""(?:""?(?!"))?', re.DOTALL),
    re.compile(r"'''(?:[^']|'(?!''))*'''(?:''?(?!'))?", re.DOTALL),
    re.compile(r'"(?:[^"\\]|\\.)*"'),
    re.compile(r"'[^']*'"),
)


def lines_of(text: str) -> dict[Path, int]:
    r"""Return the line, from 1, on which each key of a TOML text stands first, and each value of an array.

    Raises:
        ValueError: if the text is no TOML. Not all of its mistakes are found: tomllib finds them.
        RecursionError: if it is nested as deeply as no tomllib takes it.

    >>> lines_of('refresh = "10s"\n[[rule]]\nmatch = { dns = "a.example" }\n')
    {('refresh',): 1, ('rule',): 2, ('rule', 0): 2, ('rule', 0, 'match'): 3, ('rule', 0, 'match', 'dns'): 3}
    """
    return _Scanner(text).document()


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Path, int] = {}
        # How many tables an array of tables has so far.
        self.counts: dict[Path, int] = {}
        self.counted = (0, 1)

    def document(self) -> dict[Path, int]:
        here: Path = ()
        while True:
            self.skip(_FILLER)
            if self.at == len(self.text):
                return self.lines
            if self.text[self.at] == "[":
                here = self.header()
            else:
                self.pair(here)

    def line(self) -> int:
        """Return the present line. Each part of the text is counted once."""
        at, line = self.counted
        line += self.text.count("\n", at, self.at)
        self.counted = (self.at, line)
        return line

    def header(self) -> Path:
        line, many = self.line(), self.text.startswith("[[", self.at)
        self.at += 1 + many
        here: Path = ()
        names = self.key()
        for place, name in enumerate(names):
            here = (*here, name)
            self.lines.setdefault(here, line)
            last = place == len(names) - 1
            if last and many:
                here = self.next_of(here, line)
            elif here in self.counts:
                here = (*here, self.counts[here] - 1)
        self.expect("]" * (1 + many))
        return here

    def next_of(self, array: Path, line: int) -> Path:
        index = self.counts.get(array, 0)
        self.counts[array] = index + 1
        self.lines[(*array, index)] = line
        return (*array, index)

    def pair(self, table: Path) -> None:
        line, here = self.line(), table
        for name in self.key():
            here = (*here, name)
            self.lines.setdefault(here, line)
        self.expect("=")
        self.skip(_BLANK)
        self.value(here)

    def key(self) -> list[str]:
        names = []
        while True:
            self.skip(_BLANK)
            bare = _BARE_KEY.match(self.text, self.at)
            if bare:
                self.at = bare.end()
                names.append(bare[0])
            else:
                names.append(self.quoted_key())
            self.skip(_BLANK)
            if not self.text.startswith(".", self.at):
                return names
            self.at += 1

    def quoted_key(self) -> str:
        begin = self.at
        if self.text[begin : begin + 1] not in ('"', "'"):
            raise self.lost("a key")
        self.string(_STRINGS[2:])
        named: str = tomllib.loads(f"key = {self.text[begin : self.at]}")["key"]
        return named

    def value(self, here: Path) -> None:
        begin = self.text[self.at : self.at + 1]
        if begin in ('"', "'"):
            self.string(_STRINGS)
        elif begin == "[":
            self.list(here)
        elif begin == "{":
            self.table(here)
        else:
            plain = _PLAIN.match(self.text, self.at)
            if plain is None:
                raise self.lost("a value")
            self.at = plain.end()

    def list(self, here: Path) -> None:
        self.at += 1
        index = 0
        while True:
            self.skip(_FILLER)
            if self.text.startswith("]", self.at):
                self.at += 1
                return
            self.lines[(*here, index)] = self.line()
            self.value((*here, index))
            index += 1
            self.skip(_FILLER)
            if not self.text.startswith("]", self.at):
                self.expect(",")

    def table(self, here: Path) -> None:
        self.at += 1
        while True:
            self.skip(_FILLER)
            if self.text.startswith("}", self.at):
                self.at += 1
                return
            self.pair(here)
            self.skip(_FILLER)
            if not self.text.startswith("}", self.at):
                self.expect(",")

    def string(self, forms: tuple[re.Pattern[str], ...]) -> None:
        for form in forms:
            found = form.match(self.text, self.at)
            if found:
                self.at = found.end()
                return
        raise self.lost("the end of a text")

    def skip(self, what: re.Pattern[str]) -> None:
        found = what.match(self.text, self.at)
        assert found is not None  # these patterns match nothing, too
        self.at = found.end()

    def expect(self, what: str) -> None:
        if not self.text.startswith(what, self.at):
            raise self.lost(what)
        self.at += len(what)

    def lost(self, what: str) -> ValueError:
        return ValueError(f"line {self.line()}: wanted {what}")
