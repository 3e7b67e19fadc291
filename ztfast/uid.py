"""Uids: the unique identifiers of entities."""

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

    All functions that take a uid also take Cedar's text, as ``'Instrument::"AAPL"'`` (Cedar's grammar:
    https://docs.cedarpolicy.com/policies/syntax-entity.html). A ``Uid`` needs no escaping and no parsing. A text must
    be exactly one uid: comments and white space around or inside it, which Cedar allows in policies, are refused.

    Args:
        type: The type's name with its namespaces, as ``"Settlement::Instruction"``.
        id: The id, any text.

    Raises:
        UidError: if the type is not a name, or the id is not valid Unicode text.

    >>> Uid.parse('Instrument::"AAPL"')
    Uid(type='Instrument', id='AAPL')
    >>> str(Uid("Desk::Book", 'say "hi"'))
    'Desk::Book::"say \\\\"hi\\\\""'
    """

    __slots__ = ()

    def __new__(cls, type: str, id: str) -> Self:
        """Check the parts and make the uid."""
        _core.check_uid(type, id)
        # Plain str objects, because subclasses may override comparison, and handles are looked up by comparing.
        return tuple.__new__(cls, (str.__str__(type), str.__str__(id)))

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> Self:  # type: ignore[override]
        return cls(*iterable)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse Cedar's text. Raises :class:`ztfast.UidError` with Cedar's own message."""
        try:
            return tuple.__new__(cls, _core.parse_uid(text))
        except (TypeError, UnicodeEncodeError):
            raise UidError(f"wanted a uid as text, as 'Instrument::\"AAPL\"'; got {given(text)}") from None

    @classmethod
    def of(cls, value: object) -> Self:
        """Convert a uid, its text, or its Cedar JSON (``{"type": ..., "id": ...}``, also under ``"__entity"``).

        Raises:
            UidError: if the value is none of these.
        """
        # A subclass may override comparison, so it is converted too.
        return value if type(value) is cls else tuple.__new__(cls, _core.extract_uid(value))

    def __str__(self) -> str:
        return _core.uid_text(self.type, self.id)


UidLike = Uid | str | Mapping[str, Any]

_core.register_uid(Uid)
