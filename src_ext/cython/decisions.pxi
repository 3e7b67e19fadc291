# The result of a decision, as an object.

cdef dict CODE_NAMES = dict(_core.CODES)
cdef tuple NO_REASONS = ()


cdef class Decision:
    """The result of a decision. It is true only for ALLOW.

    Attributes:
        effect: ``"ALLOW"`` or ``"DENY"``.
        code: The name of a :class:`ztfast.Code`. ``"ALLOW"``, ``"FORBID"`` and ``"DEFAULT"`` come from the policies;
            every other code denies, whatever the policies say.
        number: The number of the code, as ``decide_many`` returns it.
        reasons: The ids of the determining policies, in their order (as in Cedar: the satisfied forbids, or if there
            are none, the satisfied permits).

    >>> import ztfast
    >>> engine = ztfast.Engine(ztfast.examples.tiny())
    >>> engine.evaluate('User::"ann"', "view", 'Photo::"p1"')
    Decision(ALLOW, reasons=('owners-view',))
    """

    def __cinit__(self, number=0, tuple reasons=NO_REASONS, /):
        # These are set in __cinit__, so that calling __init__ again changes nothing: a gate returns its cached
        # decisions to all callers.
        if isinstance(number, bool) or not isinstance(number, int) or number not in CODE_NAMES:
            raise ArgumentError(f"Decision: wanted a ztfast.Code; got {given(number)}")
        self.number = number
        self.effect = "ALLOW" if number == ZTFAST_ALLOW else "DENY"
        self.code = CODE_NAMES[number]
        self.reasons = reasons

    def __reduce__(self):
        return Decision, (self.number, self.reasons)

    def __bool__(self):
        return self.number == ZTFAST_ALLOW

    def __eq__(self, other):
        if not isinstance(other, Decision):
            return NotImplemented
        return self.number == (<Decision>other).number and self.reasons == (<Decision>other).reasons

    def __hash__(self):
        return hash((self.number, self.reasons))

    def __repr__(self):
        reasons = f", reasons={self.reasons!r}" if self.reasons else ""
        code = "" if self.code == self.effect else f", {self.code}"
        return f"Decision({self.effect}{code}{reasons})"
