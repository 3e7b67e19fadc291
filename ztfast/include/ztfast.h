/* ztfast.h: decisions without a Python object. C11 and C++17.
 *
 * The capsule "ztfast._core._C_API" holds one table of functions. Import it once, with the GIL, in an extension module's
 * init or in a program that embeds Python (after Py_Initialize):
 *
 *     const ztfast_api *api = (const ztfast_api *)PyCapsule_Import(ZTFAST_CAPSULE, 0);
 *     if (api == NULL) return NULL;                                // Python's error says why
 *     int32_t status = ztfast_check(api);
 *     if (status != ZTFAST_OK) { ... ztfast_check_text(status) ... }
 *
 * Python prepares gates, admits sessions and gives handles. Decisions need no Python:
 *
 *     gate = engine.prepare("order.new", "notional", "qty")        # gate.address
 *     session = engine.admit(...)                                  # session.id
 *     resource = engine.resource('Instrument::"AAPL"')             # resource.handle
 *
 *     ztfast_gate *own = NULL;                                     // hold the GIL here: the Python gate must be idle
 *     status = api->gate_clone((const ztfast_gate *)address, &own);
 *     ...                                                          // from here on any thread, without the GIL
 *     const int64_t values[2] = {250000, 100};
 *     if (api->allows(own, session, resource, values, 2) == ZTFAST_ALLOW) send(order);
 *     ...
 *     api->gate_free(own);
 *
 * examples/embed shows this in C++, Cython and Rust.
 *
 * Sessions and handles belong to one engine. A gate of another engine answers ZTFAST_UNKNOWN_SESSION or
 * ZTFAST_UNKNOWN_HANDLE for them, as it does for invalid numbers. A handle's top bit is 0.
 *
 * VALUES are 64-bit numbers, in the order of the names passed to prepare(). The attribute's type in the schema gives
 * their meaning:
 *     Bool      0 or 1
 *     Long      itself
 *     decimal   ten-thousandths
 *     datetime  milliseconds since 1970-01-01T00:00:00Z
 *     duration  milliseconds
 *     String    the number from text()      } call both after begin() and before the decision;
 *     entity    the number from entity()    } in a batch use batch_text() and the handle itself
 *     ipaddr    the number from address()   } in a call that was begun, not in a batch
 *     Set       the number from set()       }
 * parse() reads decimals and times from texts. Records and sets of sets, records or addresses cannot be passed: use
 * Engine.decide() in Python. decide_values() takes all values as they are, and needs no call that was begun. A value out of its type's range has no number: call refuse() to get the denial. For requests without an optional
 * attribute, see gate_without.
 *
 * OWNERSHIP. The table and the names and texts that it returns are static. The caller owns gates from gate_clone and
 * gate_without, and batches from batch_begin and batch_without, and must free each once with gate_free or batch_end. The
 * Python object owns `gate.address`: the address is valid as long as the object lives, and must not be passed to
 * gate_free. Gates and batches keep their engine alive. A call reads its arguments (values, texts, columns) only until it
 * returns. They must be aligned for their types, and the caller keeps them.
 *
 * THREADS. A gate serves one thread at a time: clone it for each thread. A batch may run on several threads at once, but
 * not during batch_text; columns and codes must not overlap, and other threads must not change them meanwhile. Use the
 * address of a Python gate only for gate_clone, with the GIL (without a GIL: while no other thread uses that gate),
 * because Python may use the gate at any time. Nothing else needs the GIL.
 * Sessions, swaps, revocations and the kill switch are controlled from Python. They take effect on all threads, for
 * decisions that begin later.
 * allows, decide, decide_values, refuse, begin, text, entity, set, address, literal, kinds, element_kind, policy,
 * step_up, generation, refresh, set_time, parse, parse_address, code_name and status_text do not allocate, lock or block, with one
 * exception: a decision that meets a policy left to Cedar's own evaluator (see `ztfast check`) allocates. gate_clone and gate_without
 * allocate and lock; gate_free frees; the functions of batches allocate. Call these outside of the order loop.
 *
 * FAILURE. allows, decide and refuse always return a code, decide_values a code or ZTFAST_UNDECIDED, and everything except
 * ZTFAST_ALLOW denies. A NULL gate, missing values or a wrong count of values is ZTFAST_CORRUPT; decide_values decides
 * nothing for the first two, and for too many values. Apart from code_name and status_text, the other functions return a
 * status: ZTFAST_OK, or a negative number. After a negative status nothing has changed, except that batch_run and
 * batch_evaluate have set all codes to ZTFAST_CORRUPT, and that refresh has taken the bundle that does not fit. Functions
 * refuse NULL; any other pointer must be valid. A panic in the core never reaches the caller: functions that decide then
 * return ZTFAST_CORRUPT, and the other functions ZTFAST_E_PANIC.
 */
#ifndef ZTFAST_H
#define ZTFAST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ZTFAST_CAPSULE "ztfast._core._C_API"

/* The version changes when an entry of the table changes its meaning. New entries go to the end, and `size` grows. */
#define ZTFAST_ABI_VERSION 3

/* Codes of a decision. Everything but ZTFAST_ALLOW denies, also numbers that are not listed here. */
enum {
    /* codes: begin (from src_ext/codes: `make codes` writes these lines) */
    /* No policy applies. */
    ZTFAST_DEFAULT = 0,
    /* A permit applies, and no forbid does. */
    ZTFAST_ALLOW = 1,
    /* All forbids that apply ask for a step-up, and a permit applies. */
    ZTFAST_STEP_UP = 2,
    /* A forbid applies. */
    ZTFAST_FORBID = 3,
    /* The schema does not apply the action to such a principal or resource, or has no such type. */
    ZTFAST_NOT_APPLICABLE = 4,
    /* The session's validity is over. */
    ZTFAST_EXPIRED = 5,
    /* The session's validity has not begun. */
    ZTFAST_NOT_YET_VALID = 6,
    /* The session was revoked. */
    ZTFAST_REVOKED = 7,
    /* The session is in quarantine. */
    ZTFAST_QUARANTINED = 8,
    /* There is no such session (any more). */
    ZTFAST_UNKNOWN_SESSION = 9,
    /* A kill stops the action. */
    ZTFAST_KILLED = 10,
    /* After a swap of bundles, the gate's action or attributes are no longer what it was prepared for. */
    ZTFAST_STALE_GATE = 11,
    /* The bundle's tables or the call's arguments make no sense, a comparison is too long, or the core failed. */
    ZTFAST_CORRUPT = 12,
    /* A value is of its attribute's type, but out of its range. */
    ZTFAST_BAD_VALUE = 13,
    /* The engine was opened before the process was forked: this process has to open it anew. */
    ZTFAST_FORKED = 14,
    /* The request is larger than the engine takes: `max_context`, or a call's room for texts. */
    ZTFAST_TOO_LARGE = 15,
    /* The handle is not one of this engine's. */
    ZTFAST_UNKNOWN_HANDLE = 16,
    /* The file of the shared state was removed or replaced: this process has to open the engine anew. */
    ZTFAST_STATE_GONE = 17
    /* codes: end */
};

/* Statuses of all other calls, with the texts that status_text returns. */
enum {
    /* the call succeeded */
    ZTFAST_OK = 0,
    /* a pointer is NULL */
    ZTFAST_E_NULL = -1,
    /* the text is not UTF-8 */
    ZTFAST_E_UTF8 = -2,
    /* the memory for it is full */
    ZTFAST_E_CAPACITY = -3,
    /* the bundle knows no entity of this handle */
    ZTFAST_E_HANDLE = -4,
    /* the columns do not fit the gate or each other */
    ZTFAST_E_COLUMNS = -5,
    /* the gate no longer fits the bundle: prepare it again */
    ZTFAST_E_STALE = -6,
    /* the bundle has no policy with this number */
    ZTFAST_E_POLICY = -7,
    /* the core failed internally, and the call had no effect */
    ZTFAST_E_PANIC = -8,
    /* the core's table has another version: build against the ztfast that is installed */
    ZTFAST_E_VERSION = -9,
    /* the core's table is shorter: install the ztfast that this was built against */
    ZTFAST_E_SIZE = -10,
    /* the bundle holds no such text */
    ZTFAST_E_TEXT = -11,
    /* the handle is not one of this engine's: take it from this engine */
    ZTFAST_E_FOREIGN = -12,
    /* the entity does not have the attribute's type */
    ZTFAST_E_TYPE = -13,
    /* a required attribute is absent */
    ZTFAST_E_REQUIRED = -14,
    /* the text is no value of its kind, or is out of its range */
    ZTFAST_E_VALUE = -15,
    /* the engine's clock is not the caller's: open it with clock='caller' */
    ZTFAST_E_CLOCK = -16
};

/* Kinds of arguments. */
enum {
    ZTFAST_OTHER = 0, /* a set of sets, records or addresses */
    ZTFAST_BOOL = 1,
    ZTFAST_LONG = 2,
    ZTFAST_STRING = 3,
    ZTFAST_ENTITY = 4,
    ZTFAST_DECIMAL = 5,
    ZTFAST_DATETIME = 6,
    ZTFAST_DURATION = 7,
    ZTFAST_ADDRESS = 8, /* not in columns of batches */
    ZTFAST_SET = 9      /* a set of any other kind; not in columns of batches */
};

/* The largest number of arguments that a gate can have. */
#define ZTFAST_MAX_ARGUMENTS 64
/* The number of policies that ztfast_determining has room for. */
#define ZTFAST_MAX_DETERMINING 64

typedef struct ztfast_gate ztfast_gate;
typedef struct ztfast_batch ztfast_batch;

/* The policies that determined a decision, by number, in their order. `count` may exceed ZTFAST_MAX_DETERMINING; then
 * `policies` holds the first ZTFAST_MAX_DETERMINING of them. */
typedef struct {
    uint32_t count;
    uint32_t policies[ZTFAST_MAX_DETERMINING];
} ztfast_determining;

/* A column of a batch: a value for each row (each = 1, len = rows), or one value for all rows (each = 0, len = 1). */
typedef struct {
    const void *data;
    size_t len;
    uint32_t each;
} ztfast_column;

/* A value as decide_values takes it, by its `kind`:
 * 0: `number` is the value: a number, the handle of an entity, or the number of a text from literal().
 * ZTFAST_STRING: `data` points to `length` bytes of UTF-8. `number` is 0, or ZTFAST_UNKNOWN_TEXT if literal() said in this
 * generation that the bundle lacks the text, which then is not looked up again.
 * ZTFAST_ADDRESS: `data` points to 4 or 16 bytes in network order, and `number` is the length of the prefix (32 or 128 for
 * an address).
 * ZTFAST_SET: `data` points to `length` values that are no sets and no addresses.
 * ZTFAST_REMEMBERED may be added to the kind of a set or a String, so that the gate may remember what is asked of it. The
 * `number` of a set, or of a text that the bundle lacks, is then the caller's own, above 0: no other set or text has it that
 * is passed to this gate. */
typedef struct {
    int64_t number;
    const void *data;
    uint32_t length;
    uint32_t kind;
} ztfast_value;

#define ZTFAST_UNKNOWN_TEXT (-1)
#define ZTFAST_REMEMBERED 256
/* What step_up gives as the age if the proof may have been given any time ago. */
#define ZTFAST_ANY_AGE UINT64_MAX
/* What decide_values returns if it decides nothing. Like every code but ZTFAST_ALLOW it denies. */
#define ZTFAST_UNDECIDED 256
/* The most values that decide_values takes. */
#define ZTFAST_MAX_VALUES 16

typedef struct {
    uint32_t abi_version; /* the core's ZTFAST_ABI_VERSION */
    uint32_t size;        /* the core's size of this struct, in bytes */

    /* Decide whether the session may perform the gate's action on the resource: ZTFAST_ALLOW, or the code of the denial.
     * There are `count` values; NULL is allowed if there are none. A wrong count, or a gate with attributes that cannot be
     * passed as numbers, is ZTFAST_CORRUPT. */
    uint32_t (*allows)(ztfast_gate *gate, uint64_t session, uint64_t resource, const int64_t *values, size_t count);
    /* Decide, and return the policies that determine the decision. They are set for ZTFAST_ALLOW, ZTFAST_FORBID
     * and ZTFAST_STEP_UP only. */
    uint32_t (*decide)(ztfast_gate *gate, uint64_t session, uint64_t resource, const int64_t *values, size_t count,
                       ztfast_determining *determining);

    /* Begin a call: text(), entity(), set(), address() and the next decision use one bundle. A call is one begin() and one
     * decision. If a gate has Strings, entities, sets or addresses among its arguments, a decision without its own begin(),
     * or with a number from an earlier call, is ZTFAST_CORRUPT; numbers from literal() stay valid. After a value was
     * refused the decision is a denial, whatever its values: ZTFAST_TOO_LARGE if there was no room, ZTFAST_BAD_VALUE for a
     * text that is not UTF-8, an entity that its enumerated type lacks and an address that there is not, ZTFAST_CORRUPT for
     * an entity of another type. A call may be abandoned without a decision. */
    int32_t (*begin)(ztfast_gate *gate);
    /* Get the number of a text: UTF-8, `len` bytes, need not end with NUL. ZTFAST_E_UTF8; ZTFAST_E_CAPACITY if begin() was not
     * called, or if the call has more than 32 texts or 16 KiB of text that the bundle lacks. */
    int32_t (*text)(ztfast_gate *gate, const uint8_t *text, size_t len, int64_t *number);
    /* Get the number of a handle's entity, for the attribute with this index (from 0) among the names passed to prepare().
     * ZTFAST_E_HANDLE if begin() was not called, or if the entity's type is enumerated and has no such entity;
     * ZTFAST_E_TYPE if the attribute has another type; ZTFAST_E_FOREIGN for another engine's handle: the decision of this
     * call is then ZTFAST_UNKNOWN_HANDLE, whatever its values; ZTFAST_E_STALE. */
    int32_t (*entity)(ztfast_gate *gate, uint64_t handle, size_t place, int64_t *number);

    /* Get the number of a text that the bundle holds, UTF-8 as above, at any time. It is valid while generation() stays the
     * same. An order loop can get the numbers of its venues and sides once, call begin() before each decision, and get them
     * again when generation() has changed. ZTFAST_E_TEXT if the bundle holds no such text: then use text() in each call. */
    int32_t (*literal)(const ztfast_gate *gate, const uint8_t *text, size_t len, int64_t *number);

    /* Get the number of arguments, and their kinds, one byte each; with kinds = NULL only the number. ZTFAST_E_CAPACITY if
     * there are more than `room` (the number is set); ZTFAST_E_STALE. */
    int32_t (*kinds)(const ztfast_gate *gate, uint8_t *kinds, size_t room, size_t *count);
    /* Get the id of a policy of the bundle that the gate last used: UTF-8, `len` bytes, without NUL at the end. It is valid
     * until begin() or the gate's next decision. ZTFAST_E_POLICY. */
    int32_t (*policy)(const ztfast_gate *gate, uint32_t policy, const uint8_t **id, size_t *len);
    /* Get the bundle generation: a number that changes when the gate uses another bundle. Results of policy() and literal()
     * from before the change are then invalid. */
    int32_t (*generation)(const ztfast_gate *gate, uint64_t *generation);

    /* Make a gate with the same action and attributes, for another thread. Free it with gate_free. ZTFAST_E_STALE. */
    int32_t (*gate_clone)(const ztfast_gate *gate, ztfast_gate **clone);
    /* Free a gate from gate_clone or gate_without. */
    int32_t (*gate_free)(ztfast_gate *gate);

    /* Begin a batch over the newest bundle, whether or not a call was begun. End it with batch_end. */
    int32_t (*batch_begin)(ztfast_gate *gate, ztfast_batch **batch);
    /* Get the number of a text for this batch's columns: equal texts have equal numbers. The batch keeps texts that the
     * bundle lacks. ZTFAST_E_UTF8; ZTFAST_E_CAPACITY if they exceed 4 GiB. */
    int32_t (*batch_text)(ztfast_batch *batch, const uint8_t *text, size_t len, int64_t *number);
    /* Decide about each row, and write its code to `codes`, one byte for each row. There are `count` columns: sessions
     * (uint64_t), resources (uint64_t handles), then one of int64_t for each argument (entities as handles).
     * ZTFAST_E_COLUMNS for a wrong count, length or alignment; ZTFAST_E_TYPE if an entity in a row does not have the
     * attribute's type. If the gate no longer fits the bundle, all rows are ZTFAST_STALE_GATE, whatever the columns. */
    int32_t (*batch_run)(const ztfast_batch *batch, size_t rows, const ztfast_column *columns, size_t count,
                         uint8_t *codes);
    /* The same by policy alone: no session, no kill switch. The first column has principals (uint64_t handles). */
    int32_t (*batch_evaluate)(const ztfast_batch *batch, size_t rows, const ztfast_column *columns, size_t count,
                              uint8_t *codes);
    int32_t (*batch_end)(ztfast_batch *batch);

    /* Return the name of a code, without "ZTFAST_"; "UNKNOWN_CODE" for other numbers. Static, ends with NUL, never NULL. */
    const char *(*code_name)(uint32_t code);
    /* Return the description of a status, for messages. Static, ends with NUL, never NULL. */
    const char *(*status_text)(int32_t status);

    /* Return the code of the denial of a request with a value out of its attribute's range, which has no number:
     * ZTFAST_BAD_VALUE, or the code of a denial that does not depend on the values. This ends a call that was begun. */
    uint32_t (*refuse)(ztfast_gate *gate, uint64_t session, uint64_t resource);
    /* Make a gate with the same action, but without the attributes whose bits are set (bit 0 is the first name passed to
     * prepare()), for requests in which they are absent, for example market orders without a limit price. Its values are
     * the remaining ones, in their order. Make it once, beside the gate itself, and free it with gate_free.
     * ZTFAST_E_REQUIRED if the schema requires one of these attributes, or if an optional record that keeps another
     * attribute requires it; ZTFAST_E_STALE. */
    int32_t (*gate_without)(const ztfast_gate *gate, uint64_t absent, ztfast_gate **clone);
    /* The same for a batch. The new batch sees the same moment, and numbers from batch_text are valid in both. */
    int32_t (*batch_without)(const ztfast_batch *batch, uint64_t absent, ztfast_batch **clone);
    /* Write the codes of rows with a value out of its attribute's range: ZTFAST_BAD_VALUE, or the code of a denial that
     * does not depend on the values. `count` is 2: sessions (sessions = 1) or principals (sessions = 0), and resources, as
     * above. */
    int32_t (*batch_refuse)(const ztfast_batch *batch, size_t rows, const ztfast_column *columns, size_t count,
                            uint32_t sessions, uint8_t *codes);

    /* Take the newest bundle now, as the next decision would, and write its generation(). ZTFAST_E_STALE if the gate does
     * not fit that bundle; the generation is written in that case too. This ends a call that was begun. */
    int32_t (*refresh)(ztfast_gate *gate, uint64_t *generation);

    /* Get the number of a decimal, datetime or duration (`kind`) that is given as a text of `len` bytes, as Python's calls
     * read it: "12.34", "2024-10-15T09:30:00Z", "1h30m". This needs no gate. ZTFAST_E_VALUE if the text is no such value or
     * is out of its range: call refuse() to get the denial. ZTFAST_E_TYPE for other kinds. */
    int32_t (*parse)(uint32_t kind, const uint8_t *text, size_t len, int64_t *number);
    /* Get the number of a set, for the attribute with this index, in a call that was begun. There are `count` elements,
     * in any order, given as arguments of their kind are: numbers, numbers from text() or literal(), or, for entities,
     * handles. NULL is allowed if there are none. ZTFAST_E_TYPE if the attribute is no such set, or for an element of
     * another type; ZTFAST_E_CAPACITY if the call brings more than 1023 elements, sets and addresses, or more than 64 sets
     * and addresses; for elements that are entities also the statuses of entity(). The decision of this call is then a
     * denial, whatever its values. */
    int32_t (*set)(ztfast_gate *gate, const int64_t *elements, size_t count, size_t place, int64_t *number);
    /* Get the number of an IP address or range in a call that was begun: 4 or 16 bytes in network order, and the length of
     * the prefix (32 or 128 for an address). ZTFAST_E_HANDLE for another length or a longer prefix; ZTFAST_E_CAPACITY as
     * above. The decision of this call is then a denial, whatever its values. */
    int32_t (*address)(ztfast_gate *gate, const uint8_t *bytes, size_t len, uint32_t prefix, int64_t *number);
    /* Get the kind of the elements of an argument of kind ZTFAST_SET. ZTFAST_E_TYPE for other arguments; ZTFAST_E_STALE. */
    int32_t (*element_kind)(const ztfast_gate *gate, size_t place, uint8_t *kind);
    /* Read a text of an IP address or range, as "10.0.0.0/8", for address(): `bytes` has room for 16. This needs no gate.
     * ZTFAST_E_VALUE if the text is no address. */
    int32_t (*parse_address)(const uint8_t *text, size_t len, uint8_t *bytes, size_t *bytes_len, uint32_t *prefix);

    /* Pass values and decide in one step, which is the quickest way if there are Strings, entities, sets or addresses:
     * a code, and if `determining` is not NULL the policies as decide() returns them. Numbers from literal() are of the
     * bundle generation `generation`. This ends a call that was begun.
     * ZTFAST_UNDECIDED if nothing was decided: a value is not of its argument's kind, cannot be passed, or exceeds the room
     * that a call has; the newest bundle has another generation; there are more values than arguments, or than
     * ZTFAST_MAX_VALUES; a pointer is NULL; a bundle or a change came while values were kept; or a kill stops the action.
     * Then begin() a call: its functions say what is wrong, and its decision has the code. After that, or if generation()
     * has changed, get the numbers from literal() again. */
    uint32_t (*decide_values)(ztfast_gate *gate, uint64_t session, uint64_t resource, const ztfast_value *values, size_t count,
                              uint64_t generation, ztfast_determining *determining);

    /* Give the time by which the gate's engine decides, in nanoseconds since 1970-01-01T00:00:00Z, if it was opened with
     * clock="caller"; ZTFAST_E_CLOCK if it has another clock, or in a forked child. The time never goes back: `shown` is
     * the one that the engine has now. All gates and batches of the engine see it at once. */
    int32_t (*set_time)(ztfast_gate *gate, int64_t ns, int64_t *shown);
    /* Get what a policy of the bundle that the gate last used asks the principal to prove (RFC 9470's acr_values and
     * max_age), after ZTFAST_STEP_UP: the names of the factors with spaces between, UTF-8, `len` bytes, without NUL at the
     * end; and how many seconds ago the proof may have been given, or ZTFAST_ANY_AGE. The principal needs the factors of
     * all determining policies, and the least age. `factors` is set to NULL if the policy asks for nothing. Valid as
     * long as the text of policy(). ZTFAST_E_POLICY. */
    int32_t (*step_up)(const ztfast_gate *gate, uint32_t policy, const uint8_t **factors, size_t *len, uint64_t *max_age);
} ztfast_api;

/* Check whether code that was compiled with this header can use this table: ZTFAST_OK, ZTFAST_E_NULL, ZTFAST_E_VERSION or
 * ZTFAST_E_SIZE. Call this before using anything else of the table. */
static inline int32_t ztfast_check(const ztfast_api *api) {
    if (api == NULL) return ZTFAST_E_NULL;
    if (api->abi_version != ZTFAST_ABI_VERSION) return ZTFAST_E_VERSION;
    if (api->size < sizeof(ztfast_api)) return ZTFAST_E_SIZE;
    return ZTFAST_OK;
}

/* Return the description of a status from ztfast_check. A table that was refused must not be asked for its status_text. */
static inline const char *ztfast_check_text(int32_t status) {
    switch (status) {
    case ZTFAST_OK: return "ztfast: the table of functions can be used";
    case ZTFAST_E_NULL: return "ztfast: no table of functions: import the capsule " ZTFAST_CAPSULE " first";
    case ZTFAST_E_VERSION:
        return "ztfast: the core's table has another version: build against the ztfast that is installed";
    default: return "ztfast: the core's table is shorter: install the ztfast that this was built against";
    }
}

#ifdef __cplusplus
}
#endif
#endif
