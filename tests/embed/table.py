"""The C table of functions through ctypes, for tests."""

from __future__ import annotations

import ctypes
import re
from ctypes import POINTER, byref, c_char_p, c_int32, c_int64, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

import ztfast
from ztfast import _core

HEADER = Path(ztfast.get_include()) / "ztfast.h"
CAPSULE = b"ztfast._core._C_API"
MAX_DETERMINING = 64


class Determining(ctypes.Structure):
    _fields_ = (("count", c_uint32), ("policies", c_uint32 * MAX_DETERMINING))


class Column(ctypes.Structure):
    _fields_ = (("data", c_void_p), ("len", c_size_t), ("each", c_uint32))


class Value(ctypes.Structure):
    _fields_ = (("number", c_int64), ("data", c_void_p), ("length", c_uint32), ("kind", c_uint32))


SIGNATURES: dict[str, tuple[Any, ...]] = {
    "allows": (c_uint32, c_void_p, c_uint64, c_uint64, POINTER(c_int64), c_size_t),
    "decide": (c_uint32, c_void_p, c_uint64, c_uint64, POINTER(c_int64), c_size_t, POINTER(Determining)),
    "begin": (c_int32, c_void_p),
    "text": (c_int32, c_void_p, c_char_p, c_size_t, POINTER(c_int64)),
    "entity": (c_int32, c_void_p, c_uint64, c_size_t, POINTER(c_int64)),
    "literal": (c_int32, c_void_p, c_char_p, c_size_t, POINTER(c_int64)),
    "kinds": (c_int32, c_void_p, POINTER(c_uint8), c_size_t, POINTER(c_size_t)),
    "policy": (c_int32, c_void_p, c_uint32, POINTER(c_void_p), POINTER(c_size_t)),
    "generation": (c_int32, c_void_p, POINTER(c_uint64)),
    "gate_clone": (c_int32, c_void_p, POINTER(c_void_p)),
    "gate_free": (c_int32, c_void_p),
    "batch_begin": (c_int32, c_void_p, POINTER(c_void_p)),
    "batch_text": (c_int32, c_void_p, c_char_p, c_size_t, POINTER(c_int64)),
    "batch_run": (c_int32, c_void_p, c_size_t, POINTER(Column), c_size_t, POINTER(c_uint8)),
    "batch_evaluate": (c_int32, c_void_p, c_size_t, POINTER(Column), c_size_t, POINTER(c_uint8)),
    "batch_end": (c_int32, c_void_p),
    "code_name": (c_char_p, c_uint32),
    "status_text": (c_char_p, c_int32),
    "refuse": (c_uint32, c_void_p, c_uint64, c_uint64),
    "gate_without": (c_int32, c_void_p, c_uint64, POINTER(c_void_p)),
    "batch_without": (c_int32, c_void_p, c_uint64, POINTER(c_void_p)),
    "batch_refuse": (c_int32, c_void_p, c_size_t, POINTER(Column), c_size_t, c_uint32, POINTER(c_uint8)),
    "refresh": (c_int32, c_void_p, POINTER(c_uint64)),
    "parse": (c_int32, c_uint32, c_char_p, c_size_t, POINTER(c_int64)),
    "set": (c_int32, c_void_p, POINTER(c_int64), c_size_t, c_size_t, POINTER(c_int64)),
    "address": (c_int32, c_void_p, c_char_p, c_size_t, c_uint32, POINTER(c_int64)),
    "element_kind": (c_int32, c_void_p, c_size_t, POINTER(c_uint8)),
    "parse_address": (c_int32, c_char_p, c_size_t, POINTER(c_uint8), POINTER(c_size_t), POINTER(c_uint32)),
    "decide_values": (
        c_uint32,
        c_void_p,
        c_uint64,
        c_uint64,
        POINTER(Value),
        c_size_t,
        c_uint64,
        POINTER(Determining),
    ),
    "set_time": (c_int32, c_void_p, c_int64, POINTER(c_int64)),
    "step_up": (c_int32, c_void_p, c_uint32, POINTER(c_void_p), POINTER(c_size_t), POINTER(c_uint64)),
}


def pointer() -> int:
    """Return the table's address."""
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = c_void_p, (ctypes.py_object, c_char_p)
    return int(get(_core._C_API, CAPSULE))


def numbers() -> tuple[int, int]:
    """Return version and size."""
    version, size = (c_uint32 * 2).from_address(pointer())
    return version, size


def functions() -> dict[str, Any]:
    """Return the table's functions, in the order of the header."""
    table = HEADER.read_text().split("typedef struct {")[-1]
    names = re.findall(r"\(\*(\w+)\)\(", table)
    assert names == list(SIGNATURES)
    places = (c_void_p * len(names)).from_address(pointer() + 8)
    return {
        name: ctypes.CFUNCTYPE(*SIGNATURES[name])(place) for name, place in zip(names, places, strict=True) if place
    }


def statuses() -> dict[str, int]:
    """Return ``ZTFAST_OK`` and the errors, by name without ``ZTFAST_``."""
    found = re.findall(r"ZTFAST_(OK|E_\w+) = (-?\d+)", HEADER.read_text())
    return {name: int(number) for name, number in found}


def values(*given: int) -> Any:
    """Convert the values of a decision for C."""
    return (c_int64 * len(given))(*given)


def clone(api: dict[str, Any], address: int) -> c_void_p:
    """Clone a gate."""
    own = c_void_p()
    assert api["gate_clone"](address, byref(own)) == 0
    return own
