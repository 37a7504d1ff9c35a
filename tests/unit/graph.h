/* SPDX-License-Identifier: MIT
 *
 * Graphs of objects that hold others, for tests of their death.
 */
#ifndef TESTS_GRAPH_H
#define TESTS_GRAPH_H

#include "support.h"

/* This file is not compiled for ThreadSanitizer, but may be linked with it. */
extern void __tsan_init(void) __attribute__((weak));

struct node {
    uintptr_t count; /* the two words */
    const struct fl_type *type;
    struct node *next, *other;
    uint64_t number;
};

static inline void drop(struct fl_thread *thread, struct node *node)
{
    if (node != NULL)
        fl_dealloc(thread, node, node->type);
}

static inline struct node *new_node(struct fl_thread *thread, const struct fl_type *type, uint64_t number,
                                    struct node *next)
{
    struct node *node = fl_type_alloc(thread, type);
    assert_non_null(node);
    *node = (struct node){.type = type, .number = number, .next = next};
    return node;
}

/* A node of a type that holds `length` items, by their `other`. */
static inline struct node *new_holder(struct fl_thread *thread, const struct fl_type *type,
                                      const struct fl_type *items, size_t length)
{
    struct node *holder = new_node(thread, type, length, NULL);
    for (size_t i = length; i-- > 0;) {
        struct node *node = new_node(thread, items, i, NULL);
        node->other = holder->other;
        holder->other = node;
    }
    return holder;
}

#endif
