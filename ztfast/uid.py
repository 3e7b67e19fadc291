"""Uids: the names of entities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Self

from ztfast import _core
from ztfast.errors import UidError
from ztfast.shown import given

__all__ = ["Uid", "UidLike"]


class _Parts(NamedTuple):
    type: str
    id: str


class Uid(_Parts):
    """The uid of an entity: its fully qualified type and its id, unescaped.

    Wherever ztfast takes a uid it takes Cedar's text too, as ``'Instrument::"AAPL"'``. This form needs no escaping and
    no parsing. (Cedar's grammar: https://docs.cedarpolicy.com/policies/syntax-entity.html) A text is exactly one uid:
    comments and white space around or inside it, which Cedar allows in policies, are refused.

    Args:
        type: The type's name with its namespaces, as ``"Settlement::Instruction"``.
        id: The id, any text.

    Raises:
        UidError: where the type is no name, or the id no valid text.

    >>> Uid.parse('Instrument::"AAPL"')
    Uid(type='Instrument', id='AAPL')
    >>> str(Uid("Desk::Book", 'say "hi"'))
    'Desk::Book::"say \\\\"hi\\\\""'
    """

    __slots__ = ()

    def __new__(cls, type: str, id: str) -> Self:
        """Check the parts."""
        _core.check_uid(type, id)
        # Texts of their own: subclasses may compare as they like, and handles are looked up by comparing.
        return tuple.__new__(cls, (str.__str__(type), str.__str__(id)))

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> Self:  # type: ignore[override]
        return cls(*iterable)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read Cedar's text. Raises :class:`ztfast.UidError` with Cedar's own message."""
        try:
            return tuple.__new__(cls, _core.parse_uid(text))
        except (TypeError, UnicodeEncodeError):
            raise UidError(f"wanted a uid as text, as 'Instrument::\"AAPL\"'; got {given(text)}") from None

    @classmethod
    def of(cls, value: object) -> Self:
        """Take a uid, its text, or its Cedar JSON (``{"type": ..., "id": ...}``, also under ``"__entity"``).

        Raises:
            UidError: where it is none of these.
        """
        # A subclass may compare as it likes, too.
        return value if type(value) is cls else tuple.__new__(cls, _core.extract_uid(value))

    def __str__(self) -> str:
        return _core.uid_text(self.type, self.id)


UidLike = Uid | str | Mapping[str, Any]

_core.register_uid(Uid)
