/* SPDX-License-Identifier: MIT
 *
 * The header of a value, after jansson_counted.py has changed jansson's source. Included by jansson.h in place of the
 * struct with a type and a count; both are 16 bytes.
 */
#ifndef FREELANE_CLIENTS_JANSSON_COUNTED_H
#define FREELANE_CLIENTS_JANSSON_COUNTED_H

typedef struct fl_object json_t;

/* What the type of a value's header begins: the descriptor, and what jansson calls the type. */
struct json_kind {
    struct fl_constructed_type constructed; /* of an array or object; of other values the type in it alone */
    json_type type;
};

/* By enum json_type. They are ready before main begins. Hidden, as the changed library is a static one: then their addresses
 * are known. */
extern struct json_kind json_kinds[] __attribute__((visibility("hidden")));

static inline json_type json_kind_of(const json_t *json)
{
    return ((const struct json_kind *)(const void *)json->type)->type;
}

/* Whether a value is of this kind: a comparison of addresses. */
static inline int json_is_kind(const json_t *json, json_type type)
{
    return json->type == &json_kinds[type].constructed.type;
}

/* What jansson's own count would be, while no other thread changes it: all ones for a value that is never deleted. */
static inline size_t json_refcount(const json_t *json)
{
    uint32_t shared = __atomic_load_n(&json->counts.shared, __ATOMIC_RELAXED);
    uint32_t local = __atomic_load_n(&json->counts.local, __ATOMIC_RELAXED) & FL_LOCAL_MOST;
    int32_t others = (int32_t)(shared & ~(uint32_t)(FL_SHARED_ONE - 1)) / FL_SHARED_ONE;
    return (shared & FL_SHARED_IMMORTAL) != 0 ? (size_t)-1 : (size_t)((int64_t)local + others);
}

#endif
