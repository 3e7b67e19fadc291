/* ztfast.h: decisions without a Python object.
 *
 * One table of functions, in the capsule "ztfast._core._C_API":
 *
 *     const ztfast_api *api = PyCapsule_Import(ZTFAST_CAPSULE, 0);
 *     if (!api || api->abi_version != ZTFAST_ABI_VERSION || api->size < sizeof(ztfast_api)) ...
 *
 * A gate is prepared in Python (`engine.prepare("order.new", "notional", "qty")`); its address is `gate.address`, good
 * as long as the Python object lives. Sessions and resources are numbers: `session.id`, `resource.handle`.
 *
 * Threads: a gate serves one thread at a time; prepare one per thread. Batches may run on any thread, several at once.
 * No function needs the GIL; none but batch_begin, batch_text and batch_end allocates or locks. (A policy that is left
 * to Cedar's own evaluator, see `ztfast check`, allocates when it is met.)
 *
 * Arguments are 64-bit numbers in the order of the names given to prepare(), by the attribute's type in the schema:
 *     Bool 0 or 1; Long itself; decimal in ten-thousandths; datetime in milliseconds since 1970-01-01T00:00:00Z;
 *     duration in milliseconds; String the number from text(), entity the number from entity(), both asked for after
 *     begin() and before the decision. ipaddr, sets and records cannot be given as numbers: use Engine.decide().
 */
#ifndef ZTFAST_H
#define ZTFAST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ZTFAST_CAPSULE "ztfast._core._C_API"
#define ZTFAST_ABI_VERSION 1

/* Codes of a decision. Everything but ZTFAST_ALLOW denies. */
enum {
    ZTFAST_DEFAULT = 0,         /* no policy applies */
    ZTFAST_ALLOW = 1,           /* a permit applies, and no forbid does */
    ZTFAST_FORBID = 3,          /* a forbid applies */
    ZTFAST_NOT_APPLICABLE = 4,  /* the action does not apply to such a principal or resource */
    ZTFAST_EXPIRED = 5,         /* the session's validity is over */
    ZTFAST_NOT_YET_VALID = 6,   /* the session's validity has not begun */
    ZTFAST_REVOKED = 7,         /* the session was revoked */
    ZTFAST_QUARANTINED = 8,     /* the session is in quarantine */
    ZTFAST_UNKNOWN_SESSION = 9, /* there is no such session (any more) */
    ZTFAST_KILLED = 10,         /* the kill switch is on */
    ZTFAST_STALE_GATE = 11,     /* after a swap of bundles the gate no longer fits */
    ZTFAST_CORRUPT = 12         /* the bundle's tables, or a call's arguments, do not make sense */
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

typedef struct ztfast_gate ztfast_gate;
typedef struct ztfast_batch ztfast_batch;

#define ZTFAST_MAX_DETERMINING 64

/* The policies that determined a decision, in their order. A count above ZTFAST_MAX_DETERMINING is not cut off, but only
 * the first so many are kept. */
typedef struct {
    uint32_t count;
    uint32_t policies[ZTFAST_MAX_DETERMINING];
} ztfast_determining;

/* A column of a batch: `len` values, one per row; or, with each = 0, one value for all rows. */
typedef struct {
    const void *data;
    size_t len;
    uint32_t each;
} ztfast_column;

typedef struct {
    uint32_t abi_version; /* ZTFAST_ABI_VERSION */
    uint32_t size;        /* of this struct, in bytes, as the core knows it: it may only grow */

    /* Whether the session may do it: ZTFAST_ALLOW, or why not. A wrong count of values, or a gate with attributes that
     * cannot be given as numbers, is ZTFAST_CORRUPT. */
    uint32_t (*allows)(ztfast_gate *, uint64_t session, uint32_t resource, const int64_t *values, size_t count);
    /* The same, and which policies determined it. */
    uint32_t (*decide)(ztfast_gate *, uint64_t session, uint32_t resource, const int64_t *values, size_t count,
                       ztfast_determining *out);
    /* Before text() and entity(): they and the next decision go by one bundle. */
    void (*begin)(ztfast_gate *);
    /* The number of a text (UTF-8). 1, or 0 where it is no UTF-8 or the call brings more than 32 texts or 16 KiB that
     * the bundle lacks. */
    uint32_t (*text)(ztfast_gate *, const uint8_t *text, size_t len, int64_t *number);
    /* The number of a handle's entity. 1, or 0 where it is nothing in this bundle. */
    uint32_t (*entity)(ztfast_gate *, uint32_t handle, int64_t *number);
    /* The arguments' kinds, if there is room for them; returns how many there are (0: the gate is stale or has none). */
    size_t (*kinds)(ztfast_gate *, uint8_t *kinds, size_t room);
    /* The id of a policy (UTF-8, `len` bytes, not terminated) of the bundle that the gate last decided by; good until
     * the gate's next decision. */
    const uint8_t *(*policy)(ztfast_gate *, uint32_t policy, size_t *len);
    /* A number that changes when the gate decides by another bundle. */
    uint64_t (*epoch)(ztfast_gate *);

    /* Many decisions by one bundle. Give the batch back with batch_end. */
    ztfast_batch *(*batch_begin)(ztfast_gate *);
    /* The number of a text for this batch's columns: equal texts have equal numbers. Not while the batch runs. */
    uint32_t (*batch_text)(ztfast_batch *, const uint8_t *text, size_t len, int64_t *number);
    /* Decide on each row. Columns: sessions (uint64_t), resources (uint32_t handles), then one of int64_t per argument
     * (entities as handles). Codes go to `codes`, one byte a row. 0, or 1 for columns that do not fit. */
    uint32_t (*batch_run)(const ztfast_batch *, size_t rows, const ztfast_column *columns, uint8_t *codes);
    void (*batch_end)(ztfast_batch *);
} ztfast_api;

#ifdef __cplusplus
}
#endif
#endif
