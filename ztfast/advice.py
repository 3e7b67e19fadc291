"""What a decision with code STEP_UP asks the principal to prove."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Advice"]


@dataclass(frozen=True, slots=True)
class Advice:
    """What the principal has to prove, so that the decision would be ALLOW.

    RFC 9470 calls the factors ``acr_values`` and the age ``max_age``.

    Attributes:
        factors: The names of the factors that the determining forbids ask for, each once; none stand for any factor.
        max_age: How many seconds ago the proof may have been given, or ``None`` for any time ago.
    """

    factors: tuple[str, ...] = ()
    max_age: int | None = None

    @classmethod
    def of(cls, asked: Iterable[tuple[str, int | None]]) -> Advice:
        """Join what several forbids ask for, each factors with spaces between and an age: all factors, the least age.

        >>> Advice.of([("fido2 pin", 300), ("pin", None), ("", 60)])
        Advice(factors=('fido2', 'pin'), max_age=60)
        """
        asked = list(asked)
        factors = dict.fromkeys(name for names, _ in asked for name in names.split())
        return cls(tuple(factors), min((age for _, age in asked if age is not None), default=None))
