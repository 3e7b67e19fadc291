# Reading Python ints in place, and taking a gate for one call. Both are C, because Cython cannot express them.

cdef extern from *:
    """
    /* What is rare lies aside, because a processor fetches instructions best that follow each other. */
    #define ZTFAST_RARE(condition) __builtin_expect(!!(condition), 0)
    #define ZTFAST_USUAL(condition) __builtin_expect(!!(condition), 1)

    /* Read an exact int, if it has one or two digits, as the usual ones have, and is not below -2**30; else return -1.
     * This calls nothing, so that its callers need not save their registers. */
    static inline int ztfast_short_number(PyObject *value, int64_t *number) {
    #if PY_VERSION_HEX >= 0x030C0000
        if (ZTFAST_USUAL(PyUnstable_Long_IsCompact((PyLongObject *)value))) {
            *number = (int64_t)PyUnstable_Long_CompactValue((PyLongObject *)value);
            return 0;
        }
        const uintptr_t tag = ((PyLongObject *)value)->long_value.lv_tag;
        const digit *digits = ((PyLongObject *)value)->long_value.ob_digit;
        if (tag >> 3 == 2 && (tag & 3) == 0) {
            *number = (int64_t)digits[0] | (int64_t)digits[1] << PyLong_SHIFT;
            return 0;
        }
    #else
        const Py_ssize_t size = Py_SIZE(value);
        const digit *digits = ((PyLongObject *)value)->ob_digit;
        if (ZTFAST_USUAL(size == 1)) {
            *number = (int64_t)digits[0];
            return 0;
        }
        if (size == 2) {
            *number = (int64_t)digits[0] | (int64_t)digits[1] << PyLong_SHIFT;
            return 0;
        }
        if (size == 0 || size == -1) {
            *number = size == 0 ? 0 : -(int64_t)digits[0];
            return 0;
        }
    #endif
        return -1;
    }

    /* Read an exact int; return -1 if it exceeds 64 bits. */
    static inline int ztfast_number(PyObject *value, int64_t *number) {
        if (ztfast_short_number(value, number) == 0) return 0;
        int overflow = 0;
        *number = PyLong_AsLongLongAndOverflow(value, &overflow);
        return overflow ? -1 : 0;
    }

    /* Take the gate until ztfast_give; return 0 if it is in use: by another thread, or by this one if a finalizer
     * decides during a decision. This never waits. */
    #ifdef Py_GIL_DISABLED
    #define ztfast_take(busy) (!__atomic_test_and_set((busy), __ATOMIC_ACQUIRE))
    #define ztfast_give(busy) __atomic_clear((busy), __ATOMIC_RELEASE)
    #define ztfast_take_at_once(busy) ztfast_take(busy)
    #define ztfast_give_at_once(busy) ztfast_give(busy)
    #define ztfast_keep(busy) ((void)0)
    #else
    static inline int ztfast_take(char *busy) {
        if (*busy) return 0;
        *busy = 1;
        return 1;
    }
    #define ztfast_give(busy) (*(busy) = 0)
    /* If no Python code runs until the gate is given back, the GIL keeps other threads from taking it. */
    #define ztfast_take_at_once(busy) (!*(busy))
    #define ztfast_give_at_once(busy) ((void)0)
    /* Keep a gate that was taken at once, until ztfast_give: Python code will run. */
    #define ztfast_keep(busy) (*(busy) = 1)
    #endif
    """
    int ztfast_short_number(PyObject *value, int64_t *number) noexcept
    int ztfast_number(PyObject *value, int64_t *number) noexcept
    bint ztfast_take(char *busy) noexcept
    void ztfast_give(char *busy) noexcept
    bint ztfast_take_at_once(char *busy) noexcept
    void ztfast_give_at_once(char *busy) noexcept
    void ztfast_keep(char *busy) noexcept
