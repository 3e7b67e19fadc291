# The result of a decision, as an object.

cdef dict CODE_NAMES = dict(_core.CODES)
cdef tuple NO_REASONS = ()


cdef class Decision:
    """The result of a decision. It is true only for ALLOW.

    Attributes:
        effect: ``"ALLOW"``, ``"DENY"``, or ``"STEP_UP"``: a denial, which the principal can lift by proving more.
        code: The name of a :class:`ztfast.Code`. ``"ALLOW"``, ``"FORBID"``, ``"STEP_UP"`` and ``"DEFAULT"`` come from
            the policies; every other code denies, whatever the policies say.
        number: The number of the code, as ``decide_many`` returns it.
        reasons: The ids of the determining policies, in their order (as in Cedar: the satisfied forbids, or if there
            are none, the satisfied permits).
        advice: What the principal has to prove, as a :class:`ztfast.Advice`, if the code is ``"STEP_UP"``; else None.

    >>> import ztfast
    >>> engine = ztfast.Engine(ztfast.examples.tiny())
    >>> engine.evaluate('User::"ann"', "view", 'Photo::"p1"')
    Decision(ALLOW, reasons=('owners-view',))
    """

    def __cinit__(self, number=0, tuple reasons=NO_REASONS, advice=None, /):
        # These are set in __cinit__, so that calling __init__ again changes nothing: a gate returns its cached
        # decisions to all callers.
        if isinstance(number, bool) or not isinstance(number, int) or number not in CODE_NAMES:
            raise ArgumentError(f"Decision: wanted a ztfast.Code; got {given(number)}")
        if advice is not None and type(advice) is not Advice:
            raise ArgumentError(f"Decision: wanted a ztfast.Advice or None; got {given(advice)}")
        self.number = number
        self.effect = "ALLOW" if number == ZTFAST_ALLOW else "STEP_UP" if number == ZTFAST_STEP_UP else "DENY"
        self.code = CODE_NAMES[number]
        self.reasons = reasons
        self.advice = advice

    def to_authzen(self):
        """Convert the decision to AuthZEN's response, a dict that becomes JSON.

        The context has the code and the reasons; for a step-up RFC 9470's ``acr_values`` and ``max_age``, too.

        >>> from ztfast import Advice, Code, Decision
        >>> Decision(Code.STEP_UP, ("fresh",), Advice(("fido2",), 60)).to_authzen()
        {'decision': False, 'context': {'code': 'STEP_UP', 'reasons': ['fresh'], 'acr_values': 'fido2', 'max_age': 60}}
        """
        context = {"code": self.code, "reasons": list(self.reasons)}
        if self.advice is not None and self.advice.factors:
            context["acr_values"] = " ".join(self.advice.factors)
        if self.advice is not None and self.advice.max_age is not None:
            context["max_age"] = self.advice.max_age
        return {"decision": bool(self), "context": context}

    def __reduce__(self):
        return Decision, (self.number, self.reasons, self.advice)

    def __bool__(self):
        return self.number == ZTFAST_ALLOW

    def __eq__(self, other):
        if not isinstance(other, Decision):
            return NotImplemented
        return self.__reduce__() == other.__reduce__()

    def __hash__(self):
        return hash((self.number, self.reasons, self.advice))

    def __repr__(self):
        reasons = f", reasons={self.reasons!r}" if self.reasons else ""
        code = "" if self.code == self.effect else f", {self.code}"
        return f"Decision({self.effect}{code}{reasons})"
