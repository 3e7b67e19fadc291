"""The files of an installed package besides its code."""

from __future__ import annotations

import re
from pathlib import Path

import ztfast
from ztfast import _core

PACKAGE = Path(ztfast.__file__).parent


def test_type_checkers_find_the_types_of_the_compiled_modules() -> None:
    for name in ("py.typed", "_core.pyi", "gate.pyi"):
        assert (PACKAGE / name).is_file()
    stub = (PACKAGE / "_core.pyi").read_text()
    for name in vars(_core):
        assert name.startswith("__") or re.search(rf"\b{name}\b", stub), f"_core.{name} has no type"


def test_embedders_find_the_header_and_its_codes_are_ours() -> None:
    header = (Path(ztfast.get_include()) / "ztfast.h").read_text()
    codes = header.partition("codes: begin")[2].partition("codes: end")[0]
    assert {name: int(number) for name, number in re.findall(r"ZTFAST_(\w+) = (\d+)", codes)} == {
        code.name: int(code) for code in ztfast.Code
    }


def test_codes_are_the_cores() -> None:
    names = {code.value: code.name for code in ztfast.Code}
    assert set(names) == {number for number, _ in _core.CODES}
    for number, name in _core.CODES:
        assert name == names[number]


def test_versions_agree() -> None:
    from importlib.metadata import version

    assert ztfast.__version__ == version("ztfast")
