"""A strategy in Cython: it reads ticks and decides about each order before it sends it, in a loop without the GIL."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from ztfast.gate cimport (
    ZTFAST_ALLOW,
    ZTFAST_OK,
    Gate,
    EntityHandle,
    Session,
    api,
    core,
    ztfast_gate,
)


cdef extern from *:
    """
    #define take(flag) __atomic_exchange_n((flag), 1, __ATOMIC_ACQUIRE)
    #define give(flag) __atomic_store_n((flag), 0, __ATOMIC_RELEASE)
    #define multiply(a, b, product) __builtin_mul_overflow((int64_t)(a), (int64_t)(b), (product))
    """
    bint take(char *) noexcept nogil
    void give(char *) noexcept nogil
    # Return whether the product overflows 64 bits.
    bint multiply(int64_t, int64_t, int64_t *) noexcept nogil


cdef class Momentum:
    """A strategy that buys when the price has risen by ``rise`` since the previous tick.

    It clones the gate, so Python and other strategies may use the original meanwhile.

    Args:
        gate: A gate prepared with notional (whole US dollars) and quantity (pieces).
        session: The algorithm's session.
        instrument: The instrument to trade.
        rise: The rise that triggers an order, in ten-thousandths of a dollar.
        quantity: The pieces to buy for each ten-thousandth that the price has risen.
    """

    cdef ztfast_gate *gate
    cdef uint64_t session
    cdef uint64_t instrument
    cdef int64_t rise, quantity
    cdef char running

    def __cinit__(self, Gate gate, Session session, EntityHandle instrument, *, int64_t rise, int64_t quantity):
        # The GIL is held, so no other thread uses the given gate.
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
            prices: The price at each tick, in ten-thousandths of a dollar.
            notional: An array for the orders' notional, in whole US dollars, at least as long as ``prices``.
            quantity: An array for their quantities.
            codes: An array for the decisions, see :class:`ztfast.Code`.

        Returns:
            The number of orders, and the pieces of those that were sent.

        Raises:
            RuntimeError: if another thread is running the strategy: its gate serves one thread at a time.
        """
        cdef Py_ssize_t at, orders = 0
        cdef int64_t sent = 0
        cdef uint32_t code
        cdef int64_t values[2]
        if not len(prices) <= min(len(notional), len(quantity), len(codes)):
            raise ValueError("notional, quantity and codes: wanted arrays at least as long as prices")
        if take(&self.running):
            raise RuntimeError("another thread runs this strategy: make one for each thread")
        with nogil:
            for at in range(1, prices.shape[0]):
                if prices[at] - prices[at - 1] < self.rise:
                    continue
                # An order whose size overflows must not look like a small one, so it is skipped.
                if multiply(prices[at] - prices[at - 1], self.quantity, &values[1]):
                    continue
                if multiply(prices[at], values[1], &values[0]):
                    continue
                values[0] = values[0] // 10_000
                code = api.allows(self.gate, self.session, self.instrument, values, 2)
                if code == ZTFAST_ALLOW:
                    # A real strategy would send the order here.
                    sent += values[1]
                notional[orders] = values[0]
                quantity[orders] = values[1]
                codes[orders] = <uint8_t>code
                orders += 1
        give(&self.running)
        return orders, sent

    def may(self, int64_t notional, int64_t quantity):
        """Decide about one order, with the GIL. Raises RuntimeError as :meth:`run` does."""
        cdef int64_t values[2]
        values[0] = notional
        values[1] = quantity
        if take(&self.running):
            raise RuntimeError("another thread runs this strategy: make one for each thread")
        code = api.allows(self.gate, self.session, self.instrument, values, 2)
        give(&self.running)
        return code == ZTFAST_ALLOW
