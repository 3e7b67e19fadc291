"""A strategy in Cython: reads ticks, and asks ztfast about each order before it leaves. The loop runs without the GIL."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from ztfast.gate cimport (
    ZTFAST_ALLOW,
    ZTFAST_OK,
    Gate,
    Resource,
    Session,
    allows,
    api,
    core,
    ztfast_gate,
)


cdef class Momentum:
    """Buys when the price has risen by ``rise`` since the tick before.

    It decides by a gate of its own, so Python and other strategies may use the one that was given meanwhile.

    Args:
        gate: Prepared with notional (whole US dollars) and quantity (pieces).
        session: The algorithm's.
        instrument: What it trades.
        rise: In ten-thousandths of a dollar.
        quantity: Pieces for each ten-thousandth that the price has risen.
    """

    cdef ztfast_gate *gate
    cdef uint64_t session
    cdef uint32_t instrument
    cdef int64_t rise, quantity

    def __cinit__(self, Gate gate, Session session, Resource instrument, *, int64_t rise, int64_t quantity):
        # With the GIL: nobody decides by the given gate meanwhile.
        status = api.gate_clone(core(gate), &self.gate)
        if status != ZTFAST_OK:
            raise RuntimeError(f"cloning {gate}: {api.status_text(status).decode()}")
        self.session = session.id
        self.instrument = instrument.handle
        self.rise = rise
        self.quantity = quantity

    def __dealloc__(self):
        if self.gate != NULL:
            api.gate_free(self.gate)

    def run(self, const int64_t[::1] prices, int64_t[::1] notional, int64_t[::1] quantity, uint8_t[::1] codes):
        """Go through the ticks, without the GIL.

        Args:
            prices: In ten-thousandths of a dollar, a tick each.
            notional: Room for the orders' notional, in whole US dollars; as many places as there are ticks.
            quantity: Room for their quantities.
            codes: Room for the decisions on them, see :class:`ztfast.Code`.

        Returns:
            How many orders there were, and the pieces of those that were sent.
        """
        cdef Py_ssize_t at, orders = 0
        cdef int64_t sent = 0
        cdef uint32_t code
        cdef int64_t values[2]
        if not len(prices) <= min(len(notional), len(quantity), len(codes)):
            raise ValueError("wanted room for an order each tick")
        with nogil:
            for at in range(1, prices.shape[0]):
                if prices[at] - prices[at - 1] < self.rise:
                    continue
                values[1] = (prices[at] - prices[at - 1]) * self.quantity
                values[0] = prices[at] * values[1] // 10_000
                code = api.allows(self.gate, self.session, self.instrument, values, 2)
                if code == ZTFAST_ALLOW:
                    # To the market; here it is counted.
                    sent += values[1]
                notional[orders] = values[0]
                quantity[orders] = values[1]
                codes[orders] = <uint8_t>code
                orders += 1
        return orders, sent


def may(Gate gate, Session session, Resource instrument, int64_t notional, int64_t quantity):
    """One question by Python's own gate: with the GIL held it needs no clone."""
    cdef int64_t values[2]
    values[0] = notional
    values[1] = quantity
    return allows(gate, session.id, instrument.handle, values, 2) == ZTFAST_ALLOW
