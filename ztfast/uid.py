"""Uids: the names of entities."""

from __future__ import annotations

from typing import NamedTuple

from ztfast import _core

__all__ = ["Uid"]


class Uid(NamedTuple):
    """The uid of an entity: its fully qualified type and its id, unescaped.

    Wherever ztfast takes a uid it takes Cedar's text too, as ``'Instrument::"AAPL"'``. This form needs no escaping and
    no parsing. (Cedar's grammar: https://docs.cedarpolicy.com/policies/syntax-entity.html)

    >>> Uid.parse('Instrument::"AAPL"')
    Uid(type='Instrument', id='AAPL')
    >>> str(Uid("Desk::Book", 'say "hi"'))
    'Desk::Book::"say \\\\"hi\\\\""'
    """

    type: str
    id: str

    @classmethod
    def parse(cls, text: str) -> Uid:
        """Read Cedar's text. Raises :class:`ztfast.UidError` with Cedar's own message."""
        return cls(*_core.parse_uid(text))

    @classmethod
    def of(cls, value: object) -> Uid:
        """Take a uid, its text, or its Cedar JSON (``{"type": ..., "id": ...}``, also under ``"__entity"``)."""
        return value if isinstance(value, cls) else cls(*_core.extract_uid(value))

    def __str__(self) -> str:
        return _core.uid_text(self.type, self.id)
