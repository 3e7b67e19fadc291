"""How messages show texts and values from outside."""

from __future__ import annotations

from ztfast.errors import ArgumentError

__all__ = ["brief", "given", "name_of", "one_line", "refused"]

SHOWN = 60
"""The number of characters of a value or a text that a message shows."""


def one_line(text: str) -> str:
    r"""Escape line breaks, control characters and everything else that a terminal would not print literally.

    >>> print(one_line("deny\n\x1b[2J.cedar"))
    deny\n\x1b[2J.cedar
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def brief(text: str) -> str:
    r"""Return the beginning of a text, escaped like :func:`one_line`.

    >>> brief("deny\n"), len(brief("x" * 65_536))
    ('deny\\n', 60)
    """
    # What is cut off need not be escaped.
    shown = one_line(text[: SHOWN + 1])
    return shown if len(shown) <= SHOWN else shown[: SHOWN - 3] + "..."


def name_of(path: str) -> str:
    """Return the name of a path for messages. Bytes that are not UTF-8 are escaped."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def given(value: object) -> str:
    """Describe a value by its type and its beginning.

    >>> given(5), given("x.ztb"), given(None)
    ('int 5', "str 'x.ztb'", 'None')
    """
    try:
        shown = brief(repr(value))
    except Exception:
        shown = "that cannot be shown"
    return shown if value is None else f"{type(value).__name__} {shown}"


def refused(what: str, wanted: str, value: object) -> ArgumentError:
    """Return the error for an argument with a wrong type or value."""
    return ArgumentError(f"{what}: wanted {wanted}; got {given(value)}")
