/* ztfast.h: decisions without a Python object. C11 and C++17.
 *
 * One table of functions, in the capsule "ztfast._core._C_API". With the GIL, once, in an extension module's init or in
 * a program that embeds Python (after Py_Initialize):
 *
 *     const ztfast_api *api = (const ztfast_api *)PyCapsule_Import(ZTFAST_CAPSULE, 0);
 *     if (api == NULL) return NULL;                                // Python's error says why
 *     int32_t status = ztfast_check(api);
 *     if (status != ZTFAST_OK) { ... ztfast_check_text(status) ... }
 *
 * Python prepares, everything else does without it:
 *
 *     gate = engine.prepare("order.new", "notional", "qty")        # gate.address
 *     session = engine.admit(...)                                  # session.id
 *     resource = engine.resource('Instrument::"AAPL"')             # resource.handle
 *
 *     ztfast_gate *own = NULL;                                     // with the GIL: the Python gate must be idle
 *     status = api->gate_clone((const ztfast_gate *)address, &own);
 *     ...                                                          // from here on any thread, without the GIL
 *     const int64_t values[2] = {250000, 100};
 *     if (api->allows(own, session, resource, values, 2) == ZTFAST_ALLOW) send(order);
 *     ...
 *     api->gate_free(own);
 *
 * examples/embed has this in C++, Cython and Rust.
 *
 * Sessions and handles are their engine's: by a gate of another engine they are ZTFAST_UNKNOWN_SESSION and
 * ZTFAST_UNKNOWN_HANDLE, as numbers are that no engine gave. A handle's top bit is 0.
 *
 * VALUES are 64-bit numbers in the order of the names given to prepare(), by the attribute's type in the schema:
 *     Bool      0 or 1
 *     Long      itself
 *     decimal   ten-thousandths
 *     datetime  milliseconds since 1970-01-01T00:00:00Z
 *     duration  milliseconds
 *     String    the number from text()      } both asked for after begin() and before the decision;
 *     entity    the number from entity()    } in a batch: batch_text(), and the handle itself
 * ipaddr, sets and records cannot be given as numbers: use Engine.decide() in Python. A value that is out of its type's
 * range has no number: ask refuse() for the denial. For requests that lack an optional attribute, see gate_without.
 *
 * OWNERSHIP. The table and all names and texts are static. Gates from gate_clone and batches from batch_begin are the
 * caller's until gate_free and batch_end, each once. `gate.address` stays the Python object's: it is good as long as that
 * lives, and not for gate_free. Gates and batches keep their engine alive. What a call is given (values, texts, columns) is
 * read during the call only, must be aligned as its type is, and stays the caller's.
 *
 * THREADS. A gate serves one thread at a time, whoever it is: clone it for each. A batch may run on several threads at
 * once, but not while batch_text is under way; columns and codes must not overlap, nor be changed by others meanwhile. The
 * address of a Python gate is for gate_clone, with the GIL (on a Python without one: while no other thread uses that gate):
 * Python may be in the middle of a call by it at any time. No function needs the GIL otherwise.
 * Sessions, swaps, revocations and the kill switch are Python's; what they change holds for decisions that begin later, on
 * all threads.
 * allows, decide, refuse, begin, text, entity, literal, kinds, policy, generation, refresh, code_name and status_text neither
 * allocate, lock nor block (a policy that is left to Cedar's own evaluator, see `ztfast check`, allocates when it is met). gate_clone and
 * gate_without allocate and lock; gate_free frees; the functions of batches allocate. Call these outside the order loop.
 *
 * FAILURE. allows and decide always give a code, and everything but ZTFAST_ALLOW denies: a NULL gate, missing values or a
 * wrong count of them is ZTFAST_CORRUPT. All other functions give a status: ZTFAST_OK, or a negative number, and then they
 * have changed nothing but, for batch_run and batch_evaluate, set all codes to ZTFAST_CORRUPT. NULL is refused, never followed; any other
 * pointer must be what it claims to be. A panic of the core never crosses into the caller: allows and decide deny with
 * ZTFAST_CORRUPT then, all others give ZTFAST_E_PANIC.
 */
#ifndef ZTFAST_H
#define ZTFAST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ZTFAST_CAPSULE "ztfast._core._C_API"

/* Changes when an entry of the table changes its meaning. New entries are added at the end, and `size` grows. */
#define ZTFAST_ABI_VERSION 3

/* Codes of a decision. Everything but ZTFAST_ALLOW denies, also numbers that are not listed here. */
enum {
    /* codes: begin (from src_ext/codes: `make codes` writes these lines) */
    /* No policy applies. */
    ZTFAST_DEFAULT = 0,
    /* A permit applies, and no forbid does. */
    ZTFAST_ALLOW = 1,
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
    /* The kill switch stops the action. */
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
    ZTFAST_UNKNOWN_HANDLE = 16
    /* codes: end */
};

/* Statuses of all other calls. */
enum {
    ZTFAST_OK = 0,
    ZTFAST_E_NULL = -1,    /* a pointer is NULL */
    ZTFAST_E_UTF8 = -2,    /* a text is not UTF-8 */
    ZTFAST_E_ROOM = -3,    /* there is no room: see the function */
    ZTFAST_E_HANDLE = -4,  /* a handle is nothing in this bundle */
    ZTFAST_E_COLUMNS = -5, /* columns do not fit the gate or each other */
    ZTFAST_E_STALE = -6,   /* after a swap of bundles the gate no longer fits */
    ZTFAST_E_POLICY = -7,  /* there is no policy of this number */
    ZTFAST_E_PANIC = -8,   /* the core failed inside; what was asked for was not done */
    ZTFAST_E_VERSION = -9, /* ztfast_check: the table has another version than this header */
    ZTFAST_E_SIZE = -10,   /* ztfast_check: the table is shorter than this header's */
    ZTFAST_E_TEXT = -11,   /* the bundle holds no such text */
    ZTFAST_E_FOREIGN = -12, /* a handle is not one of this engine's */
    ZTFAST_E_TYPE = -13,   /* an entity is not of the attribute's type */
    ZTFAST_E_REQUIRED = -14 /* an attribute that every request must have would be absent */
};

/* Kinds of arguments. */
enum {
    ZTFAST_OTHER = 0, /* ipaddr, set, record */
    ZTFAST_BOOL = 1,
    ZTFAST_LONG = 2,
    ZTFAST_STRING = 3,
    ZTFAST_ENTITY = 4,
    ZTFAST_DECIMAL = 5,
    ZTFAST_DATETIME = 6,
    ZTFAST_DURATION = 7
};

/* Arguments that a gate can have, at most. */
#define ZTFAST_MAX_ARGUMENTS 64
/* Policies that ztfast_determining has room for. */
#define ZTFAST_MAX_DETERMINING 64

typedef struct ztfast_gate ztfast_gate;
typedef struct ztfast_batch ztfast_batch;

/* The policies that determined a decision, by number, in their order. A count above ZTFAST_MAX_DETERMINING is not cut
 * off, but only the first so many are kept. */
typedef struct {
    uint32_t count;
    uint32_t policies[ZTFAST_MAX_DETERMINING];
} ztfast_determining;

/* A column of a batch: a value per row (each = 1, len = rows), or one value for all rows (each = 0, len = 1). */
typedef struct {
    const void *data;
    size_t len;
    uint32_t each;
} ztfast_column;

typedef struct {
    uint32_t abi_version; /* ZTFAST_ABI_VERSION of the core */
    uint32_t size;        /* of this struct, in bytes, as the core knows it */

    /* Whether the session may do it: ZTFAST_ALLOW, or why not. `count` values; NULL is good for none. A wrong count, or a
     * gate with attributes that cannot be given as numbers, is ZTFAST_CORRUPT. */
    uint32_t (*allows)(ztfast_gate *gate, uint64_t session, uint64_t resource, const int64_t *values, size_t count);
    /* The same, and which policies determined it. They are meant for ZTFAST_ALLOW and ZTFAST_FORBID only. */
    uint32_t (*decide)(ztfast_gate *gate, uint64_t session, uint64_t resource, const int64_t *values, size_t count,
                       ztfast_determining *determining);

    /* Before text() and entity(): they and the next decision go by one bundle. One call is one begin() and one decision: of a
     * gate with Strings or entities among its arguments, a decision without a begin() of its own, or with a number of an
     * earlier call (but for those of literal()), is ZTFAST_CORRUPT. Where a text or an entity was refused, the decision is
     * a denial, whatever values it is given: ZTFAST_TOO_LARGE for want of room, ZTFAST_BAD_VALUE for a text that is no UTF-8
     * and for an entity that its enumerated type lacks, ZTFAST_CORRUPT for an entity of another type. A call that is given up
     * needs no end. */
    int32_t (*begin)(ztfast_gate *gate);
    /* The number of a text: UTF-8, `len` bytes, need not end with NUL. ZTFAST_E_UTF8; ZTFAST_E_ROOM where begin() was not
     * called, or the call brings more than 32 texts or 16 KiB that the bundle lacks. */
    int32_t (*text)(ztfast_gate *gate, const uint8_t *text, size_t len, int64_t *number);
    /* The number of a handle's entity, for the attribute at this place (counted from 0) of those named to prepare().
     * ZTFAST_E_HANDLE where begin() was not called, or its type is enumerated and has no such entity; ZTFAST_E_TYPE where
     * the attribute's entities are of another type, or it is none of entities; ZTFAST_E_FOREIGN for another engine's handle:
     * the decision begun is then ZTFAST_UNKNOWN_HANDLE, whatever its values; ZTFAST_E_STALE. */
    int32_t (*entity)(ztfast_gate *gate, uint64_t handle, size_t place, int64_t *number);

    /* The number of a text that the bundle holds, UTF-8 as above, at any time: it stays as long as generation(). So an order loop
     * asks once for its venues and sides, calls begin() before each decision, and asks anew where generation() has changed.
     * ZTFAST_E_TEXT where the bundle holds no such text: then each call brings it along by text(). */
    int32_t (*literal)(const ztfast_gate *gate, const uint8_t *text, size_t len, int64_t *number);

    /* How many arguments there are, and their kinds, one byte each; with kinds = NULL the count alone. ZTFAST_E_ROOM where
     * there are more than `room` (the count is set); ZTFAST_E_STALE. */
    int32_t (*kinds)(const ztfast_gate *gate, uint8_t *kinds, size_t room, size_t *count);
    /* The id of a policy of the bundle that the gate last decided by: UTF-8, `len` bytes, does not end with NUL; good until
     * begin() or the gate's next decision. ZTFAST_E_POLICY. */
    int32_t (*policy)(const ztfast_gate *gate, uint32_t policy, const uint8_t **id, size_t *len);
    /* A number that changes when the gate decides by another bundle: what was kept of policy() and literal() is old then. */
    int32_t (*generation)(const ztfast_gate *gate, uint64_t *generation);

    /* A gate of the same action and attributes, for another thread; give it back with gate_free. ZTFAST_E_STALE. */
    int32_t (*gate_clone)(const ztfast_gate *gate, ztfast_gate **clone);
    /* Give a gate from gate_clone back. */
    int32_t (*gate_free)(ztfast_gate *gate);

    /* Many decisions by the newest bundle, whether or not a call was begun; give the batch back with batch_end. */
    int32_t (*batch_begin)(ztfast_gate *gate, ztfast_batch **batch);
    /* The number of a text for this batch's columns: equal texts have equal numbers, and those that the bundle lacks are
     * kept. ZTFAST_E_UTF8; ZTFAST_E_ROOM where they outgrow 4 GiB. */
    int32_t (*batch_text)(ztfast_batch *batch, const uint8_t *text, size_t len, int64_t *number);
    /* Decide on each row; codes go to `codes`, one byte a row. `count` columns: sessions (uint64_t), resources (uint64_t
     * handles), then one of int64_t per argument (entities as handles). ZTFAST_E_COLUMNS for another count, length or
     * alignment; ZTFAST_E_TYPE where a row's entity is not of the attribute's type. Of a gate that no longer fits all rows
     * are ZTFAST_STALE_GATE, whatever the columns. */
    int32_t (*batch_run)(const ztfast_batch *batch, size_t rows, const ztfast_column *columns, size_t count,
                         uint8_t *codes);
    /* The same by policy alone: no session, no kill switch. The first column is of principals (uint64_t handles). */
    int32_t (*batch_evaluate)(const ztfast_batch *batch, size_t rows, const ztfast_column *columns, size_t count,
                              uint8_t *codes);
    int32_t (*batch_end)(ztfast_batch *batch);

    /* The name of a code, without "ZTFAST_"; "UNKNOWN_CODE" for other numbers. Static, ends with NUL, never NULL. */
    const char *(*code_name)(uint32_t code);
    /* What a status says, for people. Static, ends with NUL, never NULL. */
    const char *(*status_text)(int32_t status);

    /* The denial of a request of which a value is out of its attribute's range, and so has no number: ZTFAST_BAD_VALUE, or
     * what denies whatever the values are. A call that was begun is over. */
    uint32_t (*refuse)(ztfast_gate *gate, uint64_t session, uint64_t resource);
    /* A gate of the same action without the attributes whose bits are set (bit 0 is the first of those named to prepare()):
     * for requests in which they are absent, as the limit price is from market orders. Its values are those that are left,
     * in their order. Make it once, beside the gate itself; give it back with gate_free. ZTFAST_E_REQUIRED where the schema
     * requires one of them, or one of an optional record of which another stays; ZTFAST_E_STALE. */
    int32_t (*gate_without)(const ztfast_gate *gate, uint64_t absent, ztfast_gate **clone);
    /* The same for a batch: of the same moment, and texts that batch_text has numbered have the same numbers in it. */
    int32_t (*batch_without)(const ztfast_batch *batch, uint64_t absent, ztfast_batch **clone);
    /* The codes of rows that cannot be decided because a value is out of its attribute's range: ZTFAST_BAD_VALUE, or what
     * denies whatever the values are. `count` is 2: sessions (sessions = 1) or principals (0), and resources, as above. */
    int32_t (*batch_refuse)(const ztfast_batch *batch, size_t rows, const ztfast_column *columns, size_t count,
                            uint32_t sessions, uint8_t *codes);

    /* Take the newest bundle now, as the next decision would, and say its generation(). ZTFAST_E_STALE where the gate does
     * not fit that bundle: the generation is set then, too. A call that was begun is over. */
    int32_t (*refresh)(ztfast_gate *gate, uint64_t *generation);
} ztfast_api;

/* Whether this table can be used by code that was compiled with this header: ZTFAST_OK, ZTFAST_E_NULL, ZTFAST_E_VERSION or
 * ZTFAST_E_SIZE. Nothing else of the table may be looked at before. */
static inline int32_t ztfast_check(const ztfast_api *api) {
    if (api == NULL) return ZTFAST_E_NULL;
    if (api->abi_version != ZTFAST_ABI_VERSION) return ZTFAST_E_VERSION;
    if (api->size < sizeof(ztfast_api)) return ZTFAST_E_SIZE;
    return ZTFAST_OK;
}

/* What a status of ztfast_check says, for people: a table that was refused cannot be asked for its status_text. */
static inline const char *ztfast_check_text(int32_t status) {
    switch (status) {
    case ZTFAST_OK: return "ztfast: the table of functions can be used";
    case ZTFAST_E_NULL: return "ztfast: no table of functions: import the capsule " ZTFAST_CAPSULE " first";
    case ZTFAST_E_VERSION: return "ztfast: the core has another version of the table: build against the installed ztfast";
    default: return "ztfast: the core's table is too short: install the ztfast that this was built against";
    }
}

#ifdef __cplusplus
}
#endif
#endif
