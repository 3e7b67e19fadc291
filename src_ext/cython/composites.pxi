# Reading sets and IP addresses in place, so that no Python code runs.
#
# The modules of the standard library say nowhere how an address lies in memory. Addresses are read in place only if a
# check at import finds that they lie as this file says.

cdef extern from *:
    """
    #include <structmember.h>

    /* Types that are not read in place are NULL. */
    static PyTypeObject *ztfast_ip4_type, *ztfast_ip6_type;
    static Py_ssize_t ztfast_ip4_bits, ztfast_ip6_bits, ztfast_ip6_scope;

    /* Return where objects of a class have what a slot holds, by the slot's descriptor; -1 for another descriptor. */
    static Py_ssize_t ztfast_slot(PyObject *cls, PyObject *descriptor) {
        if (!Py_IS_TYPE(descriptor, &PyMemberDescr_Type) || PyDescr_TYPE(descriptor) != (PyTypeObject *)cls) return -1;
        const PyMemberDef *member = ((PyMemberDescrObject *)descriptor)->d_member;
        return member->type == T_OBJECT_EX ? member->offset : -1;
    }

    #define ZTFAST_SLOT(value, offset) (*(PyObject **)((char *)(value) + (offset)))

    /* Read an exact int of 0 to 128 bits. */
    static inline int ztfast_wide_number(PyObject *value, unsigned __int128 *number) {
    #if PY_VERSION_HEX >= 0x030C0000
        const uintptr_t tag = ((PyLongObject *)value)->long_value.lv_tag;
        const Py_ssize_t size = (tag & 3) == 2 ? -1 : (Py_ssize_t)(tag >> 3);
        const digit *digits = ((PyLongObject *)value)->long_value.ob_digit;
    #else
        const Py_ssize_t size = Py_SIZE(value);
        const digit *digits = ((PyLongObject *)value)->ob_digit;
    #endif
        if (size < 0 || size > (127 + PyLong_SHIFT) / PyLong_SHIFT) return -1;
        *number = 0;
        for (Py_ssize_t at = size - 1; at >= 0; at--) {
            if (*number >> (128 - PyLong_SHIFT)) return -1;
            *number = *number << PyLong_SHIFT | digits[at];
        }
        return 0;
    }

    /* Compilers do not make one instruction of a loop over bytes. */
    #if PY_LITTLE_ENDIAN
    #define ZTFAST_HIGH_FIRST(bits, number) __builtin_bswap##bits(number)
    #else
    #define ZTFAST_HIGH_FIRST(bits, number) (number)
    #endif

    /* Read an exact IPv4Address or IPv6Address into its bytes; return how many there are, or 0 if it cannot be read.
     * Without a GIL, another thread may change the object meanwhile. */
    static inline size_t ztfast_address(PyObject *value, uint8_t *bytes) {
    #ifndef Py_GIL_DISABLED
        const PyTypeObject *type = Py_TYPE(value);
        if (type == ztfast_ip4_type) {
            PyObject *bits = ZTFAST_SLOT(value, ztfast_ip4_bits);
            int64_t number;
            if (bits == NULL || !PyLong_CheckExact(bits) || ztfast_number(bits, &number) != 0) return 0;
            if (number < 0 || number > UINT32_MAX) return 0;
            const uint32_t word = ZTFAST_HIGH_FIRST(32, (uint32_t)number);
            memcpy(bytes, &word, 4);
            return 4;
        }
        if (type == ztfast_ip6_type) {
            PyObject *bits = ZTFAST_SLOT(value, ztfast_ip6_bits);
            unsigned __int128 number;
            /* Without its scope, a link-local address would mean another address. */
            if (ZTFAST_SLOT(value, ztfast_ip6_scope) != Py_None) return 0;
            if (bits == NULL || !PyLong_CheckExact(bits) || ztfast_wide_number(bits, &number) != 0) return 0;
            const uint64_t words[2] = {
                ZTFAST_HIGH_FIRST(64, (uint64_t)(number >> 64)), ZTFAST_HIGH_FIRST(64, (uint64_t)number)
            };
            memcpy(bytes, words, 16);
            return 16;
        }
    #endif
        return 0;
    }

    /* Return whether a value is a frozenset or a tuple. */
    static inline int ztfast_is_frozen(PyObject *value) {
        return PyFrozenSet_CheckExact(value) || PyTuple_CheckExact(value);
    }

    /* Return whether a value is of a type whose elements ztfast_find_elements finds. Without a GIL, another thread may
     * change a list or a set meanwhile. */
    static inline int ztfast_is_plain_set(PyObject *value) {
    #ifdef Py_GIL_DISABLED
        return PyTuple_CheckExact(value);
    #else
        return PyTuple_CheckExact(value) || PyList_CheckExact(value) || PyAnySet_CheckExact(value);
    #endif
    }

    /* The elements of a tuple, list, set or frozenset, which must not change until they are read. */
    typedef struct {
        const char *next, *end;
        size_t step;
        Py_ssize_t count;
    } ztfast_elements;

    /* Find the elements of a value; return whether it is of a type that has them. */
    static inline int ztfast_find_elements(PyObject *value, ztfast_elements *elements) {
        const PyTypeObject *type = Py_TYPE(value);
    #ifndef Py_GIL_DISABLED
        if (type == &PyFrozenSet_Type || type == &PySet_Type) {
            const PySetObject *set = (const PySetObject *)value;
            elements->next = (const char *)set->table;
            elements->end = (const char *)(set->table + set->mask + 1);
            elements->step = sizeof(setentry);
            elements->count = set->used;
            return 1;
        }
        if (type != &PyTuple_Type && type != &PyList_Type) return 0;
    #else
        if (type != &PyTuple_Type) return 0;
    #endif
        PyObject *const *items = PySequence_Fast_ITEMS(value);
        elements->next = (const char *)items;
        elements->end = (const char *)(items + Py_SIZE(value));
        elements->step = sizeof(PyObject *);
        elements->count = Py_SIZE(value);
        return 1;
    }

    /* Return the next element; NULL if there is none. */
    static inline PyObject *ztfast_next_element(ztfast_elements *elements) {
        if (elements->step == sizeof(PyObject *)) {
            if (elements->next == elements->end) return NULL;
            PyObject *element = *(PyObject *const *)elements->next;
            elements->next += sizeof(PyObject *);
            return element;
        }
        for (const setentry *entry = (const setentry *)elements->next; (const char *)entry < elements->end; entry++) {
            /* Entries of removed elements have the hash -1, which no element has. */
            if (entry->key != NULL && entry->hash != -1) {
                elements->next = (const char *)(entry + 1);
                return entry->key;
            }
        }
        return NULL;
    }

    /* Return whether giving up a reference to a frozenset or a tuple runs no Python code, as the callback of a weak
     * reference would: to it or, unless its elements are texts, to one of them. */
    static inline int ztfast_is_freed_quietly(PyObject *value, int has_texts) {
    #ifdef Py_GIL_DISABLED
        return PyTuple_CheckExact(value) && has_texts;
    #else
        ztfast_elements elements;
        if (Py_REFCNT(value) > 1) return 1;
        if (!PyTuple_CheckExact(value) && ((PySetObject *)value)->weakreflist != NULL) return 0;
        if (has_texts || !ztfast_find_elements(value, &elements)) return has_texts;
        /* A tuple may have an element as often as it has elements. */
        const Py_ssize_t own = elements.count;
        while (elements.count-- > 0) {
            PyObject *element = ztfast_next_element(&elements);
            if (element == NULL || Py_REFCNT(element) <= own) return 0;
        }
        return 1;
    #endif
    }
    """
    void *ztfast_ip4_type
    void *ztfast_ip6_type
    Py_ssize_t ztfast_ip4_bits
    Py_ssize_t ztfast_ip6_bits
    Py_ssize_t ztfast_ip6_scope
    Py_ssize_t ztfast_slot(cls, descriptor) noexcept
    size_t ztfast_address(PyObject *value, uint8_t *bytes) noexcept
    bint ztfast_is_plain_set(PyObject *value) noexcept
    bint ztfast_is_frozen(PyObject *value) noexcept
    bint ztfast_is_freed_quietly(PyObject *value, bint has_texts) noexcept
    ctypedef struct ztfast_elements:
        Py_ssize_t count
    bint ztfast_find_elements(PyObject *value, ztfast_elements *elements) noexcept
    PyObject *ztfast_next_element(ztfast_elements *elements) noexcept


cdef bint addresses_read_well(cls, object bits) except -1:
    """Return whether addresses of a class are read in place, as their bytes."""
    cdef uint8_t read[16]
    most = (1 << bits) - 1
    # Numbers of each length, all of whose bytes differ.
    for number in [0, most, *[0x0102030405060708090a0b0c0d0e0f10 & most >> at for at in range(bits)]]:
        address = cls(number)
        if read[:ztfast_address(<PyObject *>address, read)] != address.packed:
            return False
    return True


cdef int know_addresses() except -1:
    """Find out which addresses are read in place."""
    cdef uint8_t read[16]
    global ztfast_ip4_type, ztfast_ip6_type, ztfast_ip4_bits, ztfast_ip6_bits, ztfast_ip6_scope
    ip4, ip6 = ipaddress.IPv4Address, ipaddress.IPv6Address
    ztfast_ip4_bits = ztfast_slot(ip4, ip4.__dict__.get("_ip"))
    ztfast_ip6_bits = ztfast_slot(ip6, ip6.__dict__.get("_ip"))
    ztfast_ip6_scope = ztfast_slot(ip6, ip6.__dict__.get("_scope_id"))
    if ztfast_ip4_bits > 0:
        ztfast_ip4_type = <void *>ip4
        if not addresses_read_well(ip4, 32):
            ztfast_ip4_type = NULL
    if ztfast_ip6_bits > 0 and ztfast_ip6_scope > 0:
        ztfast_ip6_type = <void *>ip6
        scoped = ip6("fe80::1%1")
        if not addresses_read_well(ip6, 128) or ztfast_address(<PyObject *>scoped, read) != 0:
            ztfast_ip6_type = NULL
    return 0


know_addresses()
# The types are compared by pointer, and must live as long as the module.
cdef tuple addresses_in_place = (ipaddress.IPv4Address, ipaddress.IPv6Address)
