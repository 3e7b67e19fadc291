# Python ints read where they lie, and who has a gate to itself: C, since Cython has no such thing.

cdef extern from *:
    """
    /* The number of an exact int. -1 where it has more than 64 bits. An int of a digit or two, which nearly all are, is
     * read where it lies. */
    static inline int ztfast_number(PyObject *value, int64_t *number) {
    #if PY_VERSION_HEX >= 0x030C0000
        if (PyUnstable_Long_IsCompact((PyLongObject *)value)) {
            *number = (int64_t)PyUnstable_Long_CompactValue((PyLongObject *)value);
            return 0;
        }
    #else
        const Py_ssize_t size = Py_SIZE(value);
        const digit *digits = ((PyLongObject *)value)->ob_digit;
        if ((size_t)(size + 1) <= 2) {
            *number = (int64_t)size * digits[0];
            return 0;
        }
        if (size == 2) {
            *number = (int64_t)digits[0] | (int64_t)digits[1] << PyLong_SHIFT;
            return 0;
        }
    #endif
        int overflow = 0;
        *number = PyLong_AsLongLongAndOverflow(value, &overflow);
        return overflow ? -1 : 0;
    }

    /* Whether the caller has the gate to itself until ztfast_give: another thread may be in the middle of a decision by
     * it, and so may this one, where the interpreter ran somebody's finalizer. Nobody waits. */
    #ifdef Py_GIL_DISABLED
    #define ztfast_take(busy) (!__atomic_test_and_set((busy), __ATOMIC_ACQUIRE))
    #define ztfast_give(busy) __atomic_clear((busy), __ATOMIC_RELEASE)
    #define ztfast_take_at_once(busy) ztfast_take(busy)
    #define ztfast_give_at_once(busy) ztfast_give(busy)
    #else
    static inline int ztfast_take(char *busy) {
        if (*busy) return 0;
        *busy = 1;
        return 1;
    }
    #define ztfast_give(busy) (*(busy) = 0)
    /* Where no Python code runs until the gate is given back, the GIL sees to it that nobody else takes it. */
    #define ztfast_take_at_once(busy) (!*(busy))
    #define ztfast_give_at_once(busy) ((void)0)
    #endif
    """
    int ztfast_number(PyObject *value, int64_t *number) noexcept
    bint ztfast_take(char *busy) noexcept
    void ztfast_give(char *busy) noexcept
    bint ztfast_take_at_once(char *busy) noexcept
    void ztfast_give_at_once(char *busy) noexcept
