/* SPDX-License-Identifier: MIT
 *
 * What stress_count asks of a header, answered by one of the host's own: the type comes first, and the counts lie between
 * two words of the host's, which nobody else may write.
 */
#ifndef STRESS_COUNT_OWN_H
#define STRESS_COUNT_OWN_H

#include "stress.h"

#include <freelane/object.h>

#include <stddef.h>

struct head {
    const struct fl_type *type;
    uint32_t before;
    struct fl_counts counts;
    uint32_t after;
};

enum { HEAD_WORD = 0x5eed };

static const struct fl_object_layout head_layout = {
    .bytes = sizeof(struct head), .counts = offsetof(struct head, counts), .type = offsetof(struct head, type)};

/* The header that stale readers look at. */
static const struct fl_header head_header = {.bytes = sizeof(struct head)};

static inline void head_prepare(struct fl_heap *heap)
{
    STRESS_REQUIRE(fl_heap_set_object_layout(heap, &head_layout, NULL, 0) == 0);
}

static inline int head_type_ready(struct fl_type *type)
{
    return fl_object_layout_type_ready(type, NULL, &head_layout, NULL, 0);
}

static inline const struct fl_type *head_type(const struct head *head)
{
    return head->type;
}

static inline void *head_new(struct fl_thread *thread, const struct fl_type *type)
{
    struct head *head = fl_type_alloc(thread, type);
    if (head == NULL)
        return NULL;
    head->type = type;
    head->before = head->after = HEAD_WORD;
    fl_counts_init(thread, &head->counts);
    return head;
}

static inline void head_incref(struct fl_thread *thread, struct head *head)
{
    fl_counts_incref(thread, &head->counts);
}

static inline void head_decref(struct fl_thread *thread, struct head *head)
{
    STRESS_REQUIRE(head->before == HEAD_WORD && head->after == HEAD_WORD);
    if (fl_counts_drop(thread, &head->counts))
        fl_dealloc(thread, head, head->type);
}

static inline void head_publish(struct head *head)
{
    fl_counts_publish(&head->counts);
}

static inline bool head_try_incref(struct fl_thread *thread, struct head *head, const void *place)
{
    return fl_counts_try_incref(thread, &head->counts, head, place);
}

#endif
