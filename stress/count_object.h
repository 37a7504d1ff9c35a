/* SPDX-License-Identifier: MIT
 *
 * What stress_count asks of a header, answered by that of object.h.
 */
#ifndef STRESS_COUNT_OBJECT_H
#define STRESS_COUNT_OBJECT_H

#include "stress.h"

#include <freelane/object.h>

struct head {
    struct fl_object object;
};

/* The header that stale readers look at. */
#define head_header fl_object_header

static inline void head_prepare(struct fl_heap *heap)
{
    (void)heap;
}

static inline int head_type_ready(struct fl_type *type)
{
    return fl_object_type_ready(type, NULL, NULL, 0);
}

static inline const struct fl_type *head_type(const struct head *head)
{
    return head->object.type;
}

static inline void *head_new(struct fl_thread *thread, const struct fl_type *type)
{
    return fl_object_alloc(thread, type);
}

static inline void head_incref(struct fl_thread *thread, struct head *head)
{
    fl_incref(thread, &head->object);
}

static inline void head_decref(struct fl_thread *thread, struct head *head)
{
    fl_decref(thread, &head->object);
}

static inline void head_publish(struct head *head)
{
    fl_publish(&head->object);
}

static inline bool head_try_incref(struct fl_thread *thread, struct head *head, const void *place)
{
    return fl_try_incref(thread, &head->object, place);
}

#endif
