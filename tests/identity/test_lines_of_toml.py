"""Lines of TOML: each key is found on the line on which it was written."""

from __future__ import annotations

import json
import string
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ztfast.identity.lines import Path, lines_of

KEYS = st.text(string.ascii_lowercase + "_-", min_size=1, max_size=4) | st.text(max_size=5)
TEXTS = st.text(string.printable.replace("\x0b", "").replace("\x0c", "").replace("\r", ""), max_size=12)


def written_key(key: str) -> str:
    bare = key and all(char in string.ascii_letters + string.digits + "_-" for char in key)
    return key if bare else json.dumps(key, ensure_ascii=False).replace("\x7f", "\\u007f")


class Writer:
    """Writes a document, and knows on which line it wrote what."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.text = ""
        self.lines: dict[Path, int] = {}

    def here(self, path: Path) -> None:
        self.lines.setdefault(path, self.text.count("\n") + 1)

    def filler(self) -> None:
        self.text += self.draw(st.sampled_from(["", " ", "\t", "\n", "# [x]\n", " # a = 1\n", "\r\n", "\n\n"]))

    def text_value(self) -> None:
        value = self.draw(TEXTS)
        form = self.draw(st.sampled_from(["basic", "literal", "lines", "literal lines"]))
        plain = value.replace("'", "").replace("\t", " ")
        if form == "basic":
            self.text += json.dumps(value).replace("\x7f", "\\u007f")
        elif form == "literal":
            self.text += "'" + plain.replace("\n", "") + "'"
        elif form == "lines":
            body = value.replace("\\", "\\\\").replace('"""', '""\\"').replace("\t", "\\t")
            self.text += '"""' + body.removesuffix('"') + '"""' if body.endswith('"') else '"""' + body + '"""'
        else:
            self.text += "'''" + plain + "'" * self.draw(st.integers(0, 2)) + "'''"

    def value(self, path: Path, depth: int) -> None:
        kind = self.draw(st.sampled_from(["text", "plain", "list", "table"] if depth < 3 else ["text", "plain"]))
        if kind == "text":
            self.text_value()
        elif kind == "plain":
            self.text += self.draw(
                st.sampled_from(["1", "-2.5e3", "true", "1979-05-27 07:32:00", "1979-05-27T07:32:00Z", "0x1f"])
            )
        elif kind == "list":
            self.text += "["
            for place in range(self.draw(st.integers(0, 3))):
                self.filler()
                self.here((*path, place))
                self.value((*path, place), depth + 1)
                self.filler()
                self.text += ","
            self.filler()
            self.text += "]"
        else:
            self.text += "{"
            keys = self.draw(st.lists(KEYS, max_size=3, unique=True))
            for number, key in enumerate(keys):
                self.text += ", " if number else " "
                self.pair(path, [key], depth + 1)
            self.text += " }"

    def pair(self, table: Path, keys: list[str], depth: int) -> None:
        for end in range(1, len(keys) + 1):
            self.here((*table, *keys[:end]))
        self.text += " . ".join(map(written_key, keys)) + self.draw(st.sampled_from(["=", " = ", "\t=  "]))
        self.value((*table, *keys), depth)

    def body(self, table: Path) -> None:
        for key in self.draw(st.lists(KEYS, max_size=3, unique=True)):
            self.filler()
            if self.draw(st.booleans()):
                self.pair(table, [key], 0)
            else:
                self.pair(table, [key, self.draw(KEYS)], 0)
            self.text += self.draw(st.sampled_from(["\n", " # x\n", "\r\n"]))

    def document(self) -> None:
        self.body(())
        for number in range(self.draw(st.integers(0, 3))):
            name = f"T{number}"
            for place in range(self.draw(st.integers(0, 2))):
                self.filler()
                self.here((name,))
                self.here((name, place))
                self.text += f"[[ {name} ]]\n"
                self.body((name, place))
                self.filler()
                self.here((name, place, "In"))
                self.here((name, place, "In", "ner"))
                self.text += f"[{name}.In . 'ner']\n"
                self.body((name, place, "In", "ner"))


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[Path, int]]:
    writer = Writer(draw)
    writer.document()
    return writer.text, writer.lines


@given(documents())
def test_each_key_is_found_on_its_line(document: tuple[str, dict[Path, int]]) -> None:
    text, lines = document
    # tomllib turns these line ends into one character, and so does who asks for lines.
    text = text.replace("\r\n", "\n")
    tomllib.loads(text)
    assert lines_of(text) == lines


def paths(value: Any, here: Path = ()) -> set[Path]:
    found = {here} if here else set()
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        found |= paths(each, (*here, key))
    return found


@given(documents())
def test_what_has_a_line_is_what_tomllib_reads(document: tuple[str, dict[Path, int]]) -> None:
    text = document[0].replace("\r\n", "\n")
    assert set(lines_of(text)) == paths(tomllib.loads(text))


@pytest.mark.parametrize("text", [
    "a.b = 1\na.c = 2\n", "[a]\nb=1\n[a.c]\n[[a.d]]\n[[a.d.e]]\n[[a.d]]\n[[a.d.e]]\n[[a.d.e]]\nx = {}\n", 'a = """"""', "a = ''''a'''",
    "a = '''\n'''", 'a = """\\\n   b"""', '"" = 1\n', "'a.b'.c = 1", "a=[[[[]]],[],]", "\n\n# x",
    'a = "#"\nb = "\\\\"\nc = "\\""', "a = {b.c = 1, b.d = [2]}",
])  # fmt: skip
def test_odd_documents_are_read_as_tomllib_reads_them(text: str) -> None:
    assert set(lines_of(text)) == paths(tomllib.loads(text))


@given(st.text(max_size=60) | st.text("[]{}=\"'#\n .,a\\", max_size=40))
def test_texts_that_are_no_toml_end_soon(text: str) -> None:
    try:
        tomllib.loads(text)
        known = True
    except tomllib.TOMLDecodeError:
        known = False
    try:
        lines_of(text)
        read = True
    except ValueError:
        read = False
    # Not all mistakes are found, but all that is right is read.
    assert read or not known


def test_long_documents_are_read_in_bounded_time() -> None:
    for text in (
        "a = 1\n" * 100_000,
        "a=[" + "1,\n" * 200_000 + "]",
        'a="""' + "\n" * 500_000 + '"""',
        "#" * 1_000_000,
        "[[a]]\n" * 100_000,
    ):
        assert max(lines_of(text).values(), default=0) <= text.count("\n") + 1
