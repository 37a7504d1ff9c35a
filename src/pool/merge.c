/* SPDX-License-Identifier: MIT */
#include "pool/merge.h"

#include <string.h>

void fli_merge_begin(struct fli_merge *merge, struct fli_backing *backing, struct fli_stack *stack,
                     struct fli_pool_counters *counters)
{
    merge->backing = backing;
    merge->stack = stack;
    merge->counters = counters;
    merge->passed = 0;
    merge->has_partial = (struct fli_class_set){0};
}

static void push(struct fli_merge *merge, struct fli_stack *stack, struct fli_magazine *magazine)
{
    fli_stack_push_mpmc(stack, &merge->backing->magazines, magazine, merge->counters);
}

static void pass_on(struct fli_merge *merge, struct fli_magazine *magazine)
{
    merge->passed++;
    if (merge->stack != NULL) {
        push(merge, merge->stack, magazine);
        return;
    }
    push(merge, &merge->backing->pool.filled[magazine->class_index], magazine);
    fli_count(&merge->counters->exchanges, 1);
}

/* Gives a magazine full room. */
static void widen(struct fli_magazine *magazine, unsigned capacity)
{
    if (FLI_LIKELY(fli_magazine_pad(magazine) == 0))
        return;
    void **blocks = fli_magazine_floor(magazine, capacity);
    fli_magazine_set_pad(magazine, 0);
    memmove(fli_magazine_floor(magazine, capacity), blocks, fli_load_own(&magazine->count) * sizeof *blocks);
}

/* Moves blocks from one magazine to another of the class, until that is full or this one is empty. */
static void pour(struct fli_magazine *from, struct fli_magazine *to, unsigned capacity)
{
    uint16_t have = fli_load_own(&from->count), there = fli_load_own(&to->count);
    void **source = fli_magazine_floor(from, capacity), **target = fli_magazine_floor(to, capacity);
    while (have > 0 && there < capacity)
        target[there++] = source[--have];
    fli_store_own(&from->count, have);
    fli_store_own(&to->count, there);
}

/* Keeps a small magazine; its blocks and those of the one that was kept before come into one, or two of which one is
 * full. */
static void keep(struct fli_merge *merge, struct fli_magazine *magazine, unsigned capacity)
{
    unsigned class_index = magazine->class_index;
    struct fli_magazine **partial = &merge->partial[class_index];
    if (!fli_class_set_has(&merge->has_partial, class_index)) {
        fli_class_set_add(&merge->has_partial, class_index);
        *partial = magazine;
        return;
    }
    pour(*partial, magazine, capacity);
    if (fli_load_own(&magazine->count) == capacity) {
        pass_on(merge, magazine);
    } else {
        push(merge, &merge->backing->pool.empty, *partial);
        *partial = magazine;
    }
}

void fli_merge_put(struct fli_merge *merge, struct fli_magazine *magazine)
{
    unsigned capacity = merge->backing->magazine_blocks[magazine->class_index];
    widen(magazine, capacity);
    if (FLI_LIKELY(!fli_merge_is_small(fli_load_own(&magazine->count), capacity)))
        pass_on(merge, magazine);
    else
        keep(merge, magazine, capacity);
}

static void put_partial(struct fli_merge *merge, struct fli_magazine *partial)
{
    if (fli_load_own(&partial->count) > 0)
        pass_on(merge, partial);
    else
        push(merge, &merge->backing->pool.empty, partial);
}

void fli_merge_end(struct fli_merge *merge)
{
    struct fli_class_set *left = &merge->has_partial;
    for (unsigned c = fli_class_set_take(left); c != 0; c = fli_class_set_take(left))
        put_partial(merge, merge->partial[c]);
}
