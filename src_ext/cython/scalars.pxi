# Reading values in place: ints, bools, decimals, datetimes, timedeltas and numpy's times, all of exactly these types,
# so that no Python code runs. Every other value, and every one out of its type's range, takes the way through the core.
#
# No header declares how decimal.Decimal lies in memory, nor does this module build on numpy's. They are read in place
# only if a check at import finds that values of them lie as this file says.

cdef extern from *:
    """
    #include <datetime.h>
    #include "ztfast.h"

    typedef struct {
        PyObject_HEAD
        Py_hash_t hash;
        uint8_t flags;
        int64_t exponent;
        int64_t digits;
        int64_t used;
        int64_t allocated;
        /* Groups of nineteen digits, the last ones first; `own` unless there are many. */
        const uint64_t *groups;
        uint64_t own[4];
    } ztfast_decimal_object;

    typedef struct {
        PyObject_HEAD
        int64_t value;
        int32_t unit;
        int32_t count;
    } ztfast_numpy_time_object;

    #define ZTFAST_DAY INT64_C(86400000)

    /* Types that are not read in place are NULL. */
    static PyTypeObject *ztfast_decimal_type, *ztfast_datetime64_type, *ztfast_timedelta64_type;
    static PyTypeObject *ztfast_datetime_type, *ztfast_timedelta_type;
    static PyObject *ztfast_utc;

    static inline int ztfast_know_times(void) {
        PyDateTime_IMPORT;
        if (PyDateTimeAPI == NULL) return -1;
        ztfast_datetime_type = PyDateTimeAPI->DateTimeType;
        ztfast_timedelta_type = PyDateTimeAPI->DeltaType;
        ztfast_utc = PyDateTimeAPI->TimeZone_UTC;
        return 0;
    }

    static inline int ztfast_units(int64_t units, int64_t *number) {
        return __builtin_mul_overflow(units, INT64_C(10000), number) ? -1 : 0;
    }

    /* Powers of ten from the power 0, and the most that each can be multiplied by. */
    static const int64_t ztfast_powers[19] = {
        INT64_C(1), INT64_C(10), INT64_C(100), INT64_C(1000), INT64_C(10000), INT64_C(100000), INT64_C(1000000),
        INT64_C(10000000), INT64_C(100000000), INT64_C(1000000000), INT64_C(10000000000), INT64_C(100000000000),
        INT64_C(1000000000000), INT64_C(10000000000000), INT64_C(100000000000000), INT64_C(1000000000000000),
        INT64_C(10000000000000000), INT64_C(100000000000000000), INT64_C(1000000000000000000)
    };
    static const uint64_t ztfast_multipliers[19] = {
        UINT64_C(9223372036854775807), UINT64_C(922337203685477580), UINT64_C(92233720368547758),
        UINT64_C(9223372036854775), UINT64_C(922337203685477), UINT64_C(92233720368547), UINT64_C(9223372036854),
        UINT64_C(922337203685), UINT64_C(92233720368), UINT64_C(9223372036), UINT64_C(922337203), UINT64_C(92233720),
        UINT64_C(9223372), UINT64_C(922337), UINT64_C(92233), UINT64_C(9223), UINT64_C(922), UINT64_C(92), UINT64_C(9)
    };

    /* Read an exact decimal.Decimal whose number is not the least of all. */
    static inline int ztfast_decimal(PyObject *value, int64_t *number) {
        const ztfast_decimal_object *decimal = (const ztfast_decimal_object *)value;
        const uint64_t power = (uint64_t)(decimal->exponent + 4);
        /* Infinities and NaNs have the flags 2, 4 and 8. Numbers of more than one group exceed 64 bits. */
        if ((decimal->flags & 14) || decimal->used != 1) return -1;
        const uint64_t digits = decimal->groups[0];
        if (ZTFAST_RARE(power > 18)) {
            *number = 0;
            return digits == 0 && decimal->exponent > 0 ? 0 : -1;
        }
        if (digits > ztfast_multipliers[power]) return -1;
        *number = (int64_t)digits * ztfast_powers[power];
        if (ZTFAST_RARE(decimal->flags & 1)) *number = -*number;
        return 0;
    }

    /* Return the days since 1970 of a datetime's date. */
    static inline int32_t ztfast_count_days(PyObject *value) {
        /* Years that begin in March have the leap day at their end. */
        static const int16_t BEFORE_MONTH[13] = {0, 306, 337, 0, 31, 61, 92, 122, 153, 184, 214, 245, 275};
        const uint32_t month = PyDateTime_GET_MONTH(value);
        const uint32_t year = PyDateTime_GET_YEAR(value) - (month <= 2), century = year / 100;
        const int32_t leap_days = (int32_t)(year / 4 - century + century / 4);
        const int32_t of_year = BEFORE_MONTH[month] + PyDateTime_GET_DAY(value) - 1;
        return (int32_t)(365 * year) + leap_days + of_year - 719468;
    }

    /* The last dates, each by its day of the month: the four bytes of year, month and day, and above them the days
     * since 1970. No date has the bytes 0. Most datetimes of a program are of few dates. */
    static uint64_t ztfast_dates[32];

    static inline uint32_t ztfast_date(PyObject *value) {
        uint32_t date;
        memcpy(&date, ((PyDateTime_Date *)value)->data, sizeof date);
        return date;
    }

    static inline uint64_t *ztfast_date_place(PyObject *value) {
        return &ztfast_dates[PyDateTime_GET_DAY(value) % 32];
    }

    /* Return the second of a datetime, and in the low 24 bits its microseconds. */
    static inline uint32_t ztfast_second_and_micros(PyObject *value) {
        const unsigned char *bytes = &((PyDateTime_DateTime *)value)->data[6];
        return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
    }

    /* Return the minutes since 1970 of a datetime's date and time of day, whatever its zone. */
    static inline int64_t ztfast_local_minutes(PyObject *value, int64_t days) {
        return days * 1440 + PyDateTime_DATE_GET_HOUR(value) * 60 + PyDateTime_DATE_GET_MINUTE(value);
    }

    /* Return the microseconds since 1970 of a datetime's date and time of day, whatever its zone. */
    static inline int64_t ztfast_local_micros(PyObject *value) {
        const uint32_t rest = ztfast_second_and_micros(value);
        const int64_t minutes = ztfast_local_minutes(value, ztfast_count_days(value));
        return (minutes * 60 + (rest >> 24)) * 1000000 + (rest & 0xFFFFFF);
    }

    /* Read an exact datetime in UTC, given the days since 1970. */
    static inline int64_t ztfast_datetime(PyObject *value, int64_t days) {
        const uint32_t rest = ztfast_second_and_micros(value);
        return ztfast_local_minutes(value, days) * 60000 + (rest >> 24) * 1000 + (rest & 0xFFFFFF) / 1000;
    }

    /* Read an exact datetime in UTC, and keep its date. */
    static __attribute__((noinline)) int64_t ztfast_new_datetime(PyObject *value) {
        const int32_t days = ztfast_count_days(value);
        const uint64_t known = (uint64_t)(uint32_t)days << 32 | ztfast_date(value);
        __atomic_store_n(ztfast_date_place(value), known, __ATOMIC_RELAXED);
        return ztfast_datetime(value, days);
    }

    static inline int64_t ztfast_floor(int64_t number, int64_t by) {
        return number / by - (number % by < 0);
    }

    static inline int64_t ztfast_delta_micros(PyObject *value) {
        return (PyDateTime_DELTA_GET_DAYS(value) * INT64_C(86400) + PyDateTime_DELTA_GET_SECONDS(value)) * 1000000
            + PyDateTime_DELTA_GET_MICROSECONDS(value);
    }

    /* Read an exact timedelta, whose microseconds may exceed 64 bits. */
    static inline int64_t ztfast_timedelta(PyObject *value) {
        return PyDateTime_DELTA_GET_DAYS(value) * ZTFAST_DAY + PyDateTime_DELTA_GET_SECONDS(value) * INT64_C(1000)
            + PyDateTime_DELTA_GET_MICROSECONDS(value) / 1000u;
    }

    /* Read an exact datetime64 or timedelta64 of weeks to attoseconds. */
    static int ztfast_numpy_time(PyObject *value, int64_t *number) {
        static const int64_t UNITS[] = {7 * ZTFAST_DAY, 0, ZTFAST_DAY, 3600000, 60000, 1000, 1};
        static const int64_t PARTS[] = {
            1000, 1000000, 1000000000, INT64_C(1000000000000), INT64_C(1000000000000000)
        };
        const ztfast_numpy_time_object *time = (const ztfast_numpy_time_object *)value;
        if (time->value == INT64_MIN || time->count < 1) return -1;
        if (time->unit >= 9 && time->unit <= 13 && time->count == 1) {
            *number = ztfast_floor(time->value, PARTS[time->unit - 9]);
            return 0;
        }
        if (time->unit < 2 || time->unit > 8 || UNITS[time->unit - 2] == 0) return -1;
        return __builtin_mul_overflow(time->value, UNITS[time->unit - 2] * time->count, number) ? -1 : 0;
    }

    /* The readers of the usual values for each kind of attribute. They return -1 for other values, and call nothing. */

    static inline int ztfast_usual_long(PyObject *value, int64_t *number) {
        return PyLong_CheckExact(value) ? ztfast_short_number(value, number) : -1;
    }

    static inline int ztfast_usual_bool(PyObject *value, int64_t *number) {
        *number = value == Py_True;
        return value == Py_True || value == Py_False ? 0 : -1;
    }

    static inline int ztfast_usual_decimal(PyObject *value, int64_t *number) {
        if (Py_TYPE(value) == ztfast_decimal_type) return ztfast_decimal(value, number);
        return ztfast_usual_long(value, number) == 0 ? ztfast_units(*number, number) : -1;
    }

    static inline int ztfast_is_in_utc(PyObject *value) {
        const PyDateTime_DateTime *time = (const PyDateTime_DateTime *)value;
        return time->hastzinfo && time->tzinfo == ztfast_utc;
    }

    /* Return 1 for a datetime in UTC of a new date, which ztfast_new_datetime reads. */
    static inline int ztfast_usual_datetime(PyObject *value, int64_t *number) {
        if (ZTFAST_RARE(Py_TYPE(value) != ztfast_datetime_type)) return ztfast_usual_long(value, number);
        if (ZTFAST_RARE(!ztfast_is_in_utc(value))) return -1;
        const uint64_t known = __atomic_load_n(ztfast_date_place(value), __ATOMIC_RELAXED);
        if (ZTFAST_RARE((uint32_t)known != ztfast_date(value))) return 1;
        *number = ztfast_datetime(value, (int64_t)known >> 32);
        return 0;
    }

    static inline int ztfast_usual_duration(PyObject *value, int64_t *number) {
        if (ZTFAST_RARE(Py_TYPE(value) != ztfast_timedelta_type)) return ztfast_usual_long(value, number);
        *number = ztfast_timedelta(value);
        return 0;
    }

    static inline int ztfast_usual(int kind, PyObject *value, int64_t *number) {
        switch (kind) {
        case ZTFAST_LONG: return ztfast_usual_long(value, number);
        case ZTFAST_BOOL: return ztfast_usual_bool(value, number);
        case ZTFAST_DECIMAL: return ztfast_usual_decimal(value, number);
        case ZTFAST_DATETIME: return ztfast_usual_datetime(value, number);
        case ZTFAST_DURATION: return ztfast_usual_duration(value, number);
        default: return -1;
        }
    }

    /* A gate has a reader for each of its attributes, or for two that follow each other, and one more that ends them.
     * Each reads the usual values of its kind and then goes on to the next one: a compiler makes a jump of that call,
     * and no register has to be saved. They return 0, or -1 if some value is not usual. */
    typedef int (*ztfast_reader)(void *const *, PyObject *const *, int64_t *);
    #define ZTFAST_READER(name) static int name(void *const *readers, PyObject *const *given, int64_t *numbers)
    #define ZTFAST_READ_ON(count) ((ztfast_reader)readers[count])(readers + count, given + count, numbers + count)

    ZTFAST_READER(ztfast_read_no_more) {
        return 0;
    }

    ZTFAST_READER(ztfast_read_bool) {
        return ztfast_usual_bool(given[0], numbers) == 0 ? ZTFAST_READ_ON(1) : -1;
    }

    ZTFAST_READER(ztfast_read_long) {
        return ztfast_usual_long(given[0], numbers) == 0 ? ZTFAST_READ_ON(1) : -1;
    }

    ZTFAST_READER(ztfast_read_longs) {
        if (ztfast_usual_long(given[0], numbers) != 0 || ztfast_usual_long(given[1], numbers + 1) != 0) return -1;
        return ZTFAST_READ_ON(2);
    }

    ZTFAST_READER(ztfast_read_decimal) {
        return ztfast_usual_decimal(given[0], numbers) == 0 ? ZTFAST_READ_ON(1) : -1;
    }

    ZTFAST_READER(ztfast_read_decimals) {
        if (ztfast_usual_decimal(given[0], numbers) != 0 || ztfast_usual_decimal(given[1], numbers + 1) != 0) return -1;
        return ZTFAST_READ_ON(2);
    }

    __attribute__((noinline)) ZTFAST_READER(ztfast_read_new_date) {
        *numbers = ztfast_new_datetime(given[0]);
        return ZTFAST_READ_ON(1);
    }

    ZTFAST_READER(ztfast_read_datetime) {
        const int status = ztfast_usual_datetime(given[0], numbers);
        if (status == 1) return ztfast_read_new_date(readers, given, numbers);
        return status == 0 ? ZTFAST_READ_ON(1) : -1;
    }

    ZTFAST_READER(ztfast_read_duration) {
        return ztfast_usual_duration(given[0], numbers) == 0 ? ZTFAST_READ_ON(1) : -1;
    }

    /* Return the reader of a value of a kind, and of the next one, if that has the other kind and one reader can read
     * both; NULL if its values are no numbers. */
    static void *ztfast_reader_of(int kind, int next) {
        switch (kind) {
        case ZTFAST_LONG: return (void *)(next == kind ? ztfast_read_longs : ztfast_read_long);
        case ZTFAST_BOOL: return (void *)ztfast_read_bool;
        case ZTFAST_DECIMAL: return (void *)(next == kind ? ztfast_read_decimals : ztfast_read_decimal);
        case ZTFAST_DATETIME: return (void *)ztfast_read_datetime;
        case ZTFAST_DURATION: return (void *)ztfast_read_duration;
        default: return NULL;
        }
    }

    static inline int ztfast_usual_numbers(void *const *readers, PyObject *const *given, int64_t *numbers) {
        return ((ztfast_reader)readers[0])(readers, given, numbers);
    }

    /* Read a value for an attribute of this kind; return -1 if it cannot be read in place. */
    static int ztfast_in_place(int kind, PyObject *value, int64_t *number) {
        const PyTypeObject *type = Py_TYPE(value);
        if (ztfast_usual(kind, value, number) == 0) return 0;
        switch (kind) {
        case ZTFAST_DATETIME:
            if (type == ztfast_datetime64_type) return ztfast_numpy_time(value, number);
            if (type == ztfast_datetime_type && ztfast_is_in_utc(value)) {
                *number = ztfast_new_datetime(value);
                return 0;
            }
            break;
        case ZTFAST_DURATION:
            if (type == ztfast_timedelta64_type) return ztfast_numpy_time(value, number);
            break;
        case ZTFAST_LONG:
        case ZTFAST_DECIMAL:
            break;
        default:
            return -1;
        }
        if (type != &PyLong_Type || ztfast_number(value, number) != 0) return -1;
        return kind == ZTFAST_DECIMAL ? ztfast_units(*number, number) : 0;
    }

    static inline PyObject *ztfast_zone(PyObject *value) {
        return PyDateTime_DATE_GET_TZINFO(value);
    }

    /* Return the bytes of a text, if it is ASCII; otherwise NULL. */
    static inline const char *ztfast_ascii(PyObject *text, Py_ssize_t *length) {
        *length = PyUnicode_GET_LENGTH(text);
        return PyUnicode_IS_COMPACT_ASCII(text) ? (const char *)PyUnicode_1BYTE_DATA(text) : NULL;
    }

    /* Read the first and the last bytes of a text of at most 16, which with the length tell it from any other. */
    static inline void ztfast_ends(const char *text, Py_ssize_t length, uint64_t *ends) {
        ends[0] = ends[1] = 0;
        if (length >= 8) {
            memcpy(&ends[0], text, 8);
            memcpy(&ends[1], text + length - 8, 8);
        } else if (length >= 4) {
            memcpy(&ends[0], text, 4);
            memcpy(&ends[1], text + length - 4, 4);
        } else if (length > 0) {
            const unsigned char *bytes = (const unsigned char *)text;
            ends[0] = bytes[0] | (uint64_t)bytes[length / 2] << 8 | (uint64_t)bytes[length - 1] << 16;
        }
    }

    /* Return the bytes of a text; NULL if it is not UTF-8, and then the length is -2, or if there is no memory: -1. */
    static const char *ztfast_utf8(PyObject *text, Py_ssize_t *length) {
        const char *bytes = PyUnicode_AsUTF8AndSize(text, length);
        if (bytes == NULL) {
            *length = PyErr_ExceptionMatches(PyExc_UnicodeEncodeError) ? -2 : -1;
            PyErr_Clear();
        }
        return bytes;
    }
    """
    ctypedef struct ztfast_decimal_object:
        pass
    ctypedef struct ztfast_numpy_time_object:
        pass
    void *ztfast_decimal_type
    void *ztfast_datetime64_type
    void *ztfast_timedelta64_type
    void *ztfast_datetime_type
    void *ztfast_timedelta_type
    int ztfast_know_times() except -1
    int ztfast_in_place(int kind, PyObject *value, int64_t *number) noexcept
    int ztfast_usual_long(PyObject *value, int64_t *number) noexcept
    int ztfast_usual_bool(PyObject *value, int64_t *number) noexcept
    int ztfast_usual_decimal(PyObject *value, int64_t *number) noexcept
    int ztfast_usual_datetime(PyObject *value, int64_t *number) noexcept
    int ztfast_usual_duration(PyObject *value, int64_t *number) noexcept
    int ztfast_usual(int kind, PyObject *value, int64_t *number) noexcept
    int ztfast_usual_numbers(void *const *readers, PyObject *const *given, int64_t *numbers) noexcept
    void *ztfast_reader_of(int kind, int next) noexcept
    int ztfast_read_no_more(void *const *, PyObject *const *, int64_t *) noexcept
    int64_t ztfast_local_micros(PyObject *value) noexcept
    int64_t ztfast_delta_micros(PyObject *value) noexcept
    int64_t ztfast_floor(int64_t number, int64_t by) noexcept
    PyObject *ztfast_zone(PyObject *value) noexcept
    void ztfast_ends(const char *text, Py_ssize_t length, uint64_t *ends) noexcept
    const char *ztfast_ascii(PyObject *text, Py_ssize_t *length) noexcept
    const char *ztfast_utf8(PyObject *text, Py_ssize_t *length) noexcept


cdef bint reads_well(int kind, str name, list values) except -1:
    """Return whether values of a type are read in place if they have a number, and as that number."""
    cdef int64_t number = 0
    for value in values:
        try:
            wanted = convert(name, value)
        except OutOfRange:
            wanted = None
        if wanted is not None and not -2**63 < wanted < 2**63:
            wanted = None
        is_read = ztfast_in_place(kind, <PyObject *><void *>value, &number) == 0
        if is_read != (wanted is not None) or (is_read and number != wanted):
            return False
    return True


cdef list decimals_to_try():
    """Return decimals whose memory shows how all lie: signs, exponents, lengths, limits, NaNs and infinities."""
    numbers = (0, 1, 15025, 2**63 - 1, 2**63, 2**63 + 1, 10**19 - 1, 10**19 + 1, 10**38 + 3, 10**80 + 9)
    exponents = (-10**6, -5, -4, -3, 0, 14, 15, 10**6)
    made = [
        decimal.Decimal((sign, tuple(map(int, str(number))), exponent))
        for number in numbers
        for exponent in exponents
        for sign in (0, 1)
    ]
    return made + [decimal.Decimal(text) for text in ("NaN", "-NaN", "sNaN", "NaN123", "Infinity", "-Infinity")]


cdef list times_to_try(cls):
    """Return values of one of numpy's types of times, with units of each kind that this file reads."""
    return [
        cls(number, (unit, count))
        for number in (-1, 1_700_000_000_123_456_789, 2**63 - 1)
        for unit, count in (
            ("W", 1), ("W", 2), ("D", 1), ("h", 1), ("h", 7), ("m", 1), ("s", 1), ("s", 2**31 - 1), ("ms", 1),
            ("ms", 3), ("us", 1), ("ns", 1), ("ps", 1), ("fs", 1), ("as", 1),
        )
    ]


cdef int know_types() except -1:
    """Find out which types are read in place."""
    global ztfast_decimal_type, ztfast_datetime64_type, ztfast_timedelta64_type
    ztfast_know_times()
    if decimal.Decimal.__basicsize__ == sizeof(ztfast_decimal_object):
        ztfast_decimal_type = <void *>decimal.Decimal
        if not reads_well(ZTFAST_DECIMAL, "decimal", decimals_to_try()):
            ztfast_decimal_type = NULL
    if numpy.datetime64.__basicsize__ == sizeof(ztfast_numpy_time_object) == numpy.timedelta64.__basicsize__:
        ztfast_datetime64_type, ztfast_timedelta64_type = <void *>numpy.datetime64, <void *>numpy.timedelta64
        if not (
            reads_well(ZTFAST_DATETIME, "datetime", times_to_try(numpy.datetime64))
            and reads_well(ZTFAST_DURATION, "duration", times_to_try(numpy.timedelta64))
        ):
            ztfast_datetime64_type = ztfast_timedelta64_type = NULL
    return 0


know_types()
# The types are compared by pointer, and must live as long as the module.
cdef tuple types_in_place = (decimal.Decimal, numpy.datetime64, numpy.timedelta64)
cdef object utc_offset = (<object>ztfast_datetime_type).utcoffset
cdef object fixed_zone = datetime.timezone, fixed_offset = datetime.timezone.utcoffset
cdef tuple integers_of_numpy = tuple({numpy.dtype(name).type for name in "bBhHiIlLqQ"})


cdef bint is_integer_of_numpy(PyObject *value) noexcept:
    # A look-up in a set would run the code of the type's own type.
    for cls in integers_of_numpy:
        if <void *>cls == <void *>value.ob_type:
            return True
    return False


cdef int read_zoned(PyObject *value, int64_t *number) except -1:
    """Read an exact datetime with a zone of the standard library; return 1 if it is none. This may run Python code."""
    if <void *>value.ob_type != ztfast_datetime_type:
        return 1
    zone = <object>ztfast_zone(value)
    try:
        if type(zone) is fixed_zone:
            offset = fixed_offset(zone, <object>value)
        # Most programs do not import zoneinfo.
        elif type(zone) is getattr(sys.modules.get("zoneinfo"), "ZoneInfo", None):
            offset = utc_offset(<object>value)
        else:
            return 1
    except Exception:
        # The core asks again, and has the words for what is raised.
        return 1
    if <void *>(<PyObject *>offset).ob_type != ztfast_timedelta_type:
        return 1
    number[0] = ztfast_floor(ztfast_local_micros(value) - ztfast_delta_micros(<PyObject *>offset), 1000)
    return 0
