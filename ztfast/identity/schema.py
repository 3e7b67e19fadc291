"""A place in a configuration: its value is read with its type checked, and each error names the place."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ztfast import plain
from ztfast.errors import ConfigError
from ztfast.identity.lines import Path
from ztfast.shown import brief, given

__all__ = ["At", "Document"]

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_LONGEST_S = 10 * 366 * 86_400
MOST_ELEMENTS = 10_000
MOST_TEXT = 4096


@dataclass(frozen=True, slots=True)
class Document:
    """A configuration as a whole.

    Attributes:
        name: The file's name for messages; ``None`` if it is a dict of Python.
        path: The file.
        lines: The line of each key.
    """

    name: str | None
    path: str | None
    lines: Mapping[Path, int]


@dataclass(frozen=True, slots=True)
class At:
    """A value in a configuration, and where it stands."""

    value: Any
    document: Document
    where: Path = ()

    def fail(self, why: str) -> ConfigError:
        """Return an error about this place.

        >>> At(5, Document(None, None, {}), ("authority", 0, "max_age")).fail('wanted a duration, as "12h"').args[0]
        'authority[0].max_age: wanted a duration, as "12h"'
        """
        line = self.line
        place = self.document.name if line is None else f"{self.document.name}:{line}"
        head = ": ".join(part for part in (place, self.shown) if part)
        return ConfigError(f"{head}: {why}" if head else why, self.document.path, line)

    def wrong(self, wanted: str) -> ConfigError:
        """Return an error about the type or the range of the value here."""
        return self.fail(f"wanted {wanted}; got {given(self.value)}")

    @property
    def line(self) -> int | None:
        """The line, or that of the nearest key around it."""
        lines = self.document.lines
        return next((line for end in range(len(self.where), -1, -1) if (line := lines.get(self.where[:end]))), None)

    @property
    def shown(self) -> str:
        """The names of the keys that lead here."""
        # A table of an array is known by the line, if there is one.
        parts = []
        for name in self.where:
            if isinstance(name, str):
                parts.append("." + (brief(name) if re.fullmatch(r"[\w-]+", name) else repr(brief(name))))
            elif not self.document.lines:
                parts.append(f"[{name}]")
        return "".join(parts).removeprefix(".")

    def table(self, *known: str) -> dict[str, At]:
        """Return the values of a table by key. With ``known``, other keys are errors."""
        if not plain.is_a(self.value, dict):
            raise self.wrong("a table")
        # A subclass may say that it holds something else.
        found = list(dict.items(self.value))
        if len(found) > MOST_ELEMENTS:
            raise self.fail(f"wanted a table of at most {MOST_ELEMENTS:,} keys")
        table = {}
        for key, value in found:
            name = plain.text(key)
            if name is None:
                raise self.fail(f"wanted keys that are texts; got {given(key)}")
            inner = At(value, self.document, (*self.where, name))
            if known and name not in known:
                raise inner.fail(self._unknown(name, known))
            table[name] = inner
        return table

    def _unknown(self, name: str, known: Iterable[str]) -> str:
        near = difflib.get_close_matches(name[:64], known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        return f"there is no such key: {hint}"

    def list(self, wanted: str, least: int = 0) -> list[At]:
        """Return the elements of a list."""
        value = self.value
        listed = plain.elements(value, MOST_ELEMENTS) if plain.is_a(value, list) or plain.is_a(value, tuple) else None
        if listed is None or len(listed) < least:
            raise self.wrong(wanted)
        return [At(each, self.document, (*self.where, place)) for place, each in enumerate(listed)]

    def text(self, wanted: str, most: int = MOST_TEXT) -> str:
        """Return a text that is not empty."""
        text = plain.text(self.value)
        if not text or not plain.is_utf8(text) or len(text.encode()) > most:
            raise self.wrong(f"{wanted}, of 1 to {most:,} bytes")
        return text

    def one_of(self, *names: str) -> str:
        """Return a text that is one of these."""
        text = plain.text(self.value)
        if text is None or text not in names:
            raise self.wrong(" or ".join(f'"{name}"' for name in names))
        return text

    def integer(self, wanted: str, least: int, most: int) -> int:
        """Return a whole number."""
        number = plain.integer(self.value)
        if number is None or not least <= number <= most:
            raise self.wrong(wanted)
        return number

    def duration(self) -> int:
        """Return the seconds of a duration: a number and its unit. A number alone could be of any unit.

        >>> At("12h", Document(None, None, {})).duration()
        43200
        """
        text = plain.text(self.value)
        found = _DURATION.fullmatch(text) if text is not None else None
        if found is None:
            raise self.wrong('a duration as "90s", "15m", "12h" or "7d"')
        seconds = int(found[1]) * _SECONDS[found[2]]
        if not 1 <= seconds <= _LONGEST_S:
            raise self.wrong("a duration from 1s to ten years")
        return seconds
