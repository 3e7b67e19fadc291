"""Explanations: the engine's decision and Cedar's own answer."""

from __future__ import annotations

from dataclasses import dataclass

from ztfast.bundle import Policy
from ztfast.gate import Decision

__all__ = ["Explanation", "PolicyText"]


@dataclass(frozen=True, slots=True)
class PolicyText:
    """A policy in an explanation, with its source.

    Attributes:
        policy: The policy.
        source: The policy's text.
        error: The error of its evaluation, if there was one.
    """

    policy: Policy
    source: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The engine's decision on a request, and Cedar's own answer.

    Attributes:
        decision: The engine's decision.
        allow: Cedar's decision by policy alone; with strict errors, what it becomes where a forbid errs.
        reasons: The policies that determined this decision.
        errors: The policies whose evaluation erred. Cedar skips them. With strict errors, a forbid among them denies.
        problem: Why Cedar's request validation would refuse the request, or ``None``.
    """

    decision: Decision
    allow: bool
    reasons: tuple[PolicyText, ...]
    errors: tuple[PolicyText, ...]
    problem: str | None

    @property
    def agrees(self) -> bool:
        """Whether the engine made Cedar's decision by the same policies, or denied before it evaluated any."""
        if self.decision.code not in ("ALLOW", "FORBID", "STEP_UP", "DEFAULT"):
            return True
        ids = tuple(reason.policy.id for reason in self.reasons)
        return bool(self.decision) == self.allow and self.decision.reasons == ids
