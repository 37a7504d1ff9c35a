/* SPDX-License-Identifier: MIT
 *
 * A herd: blocks that a test has had from one heap, and which of them are live. A walk has to find just these.
 */
#ifndef TESTS_WALK_SUPPORT_H
#define TESTS_WALK_SUPPORT_H

#include "grace_support.h"

enum { HERD_MOST = 20000 };

struct member {
    char *start;
    size_t size; /* as asked for */
    bool is_live;
    unsigned seen; /* times that the walk under way has told of it */
};

struct herd {
    struct fl_heap *heap;
    size_t count, live;
    bool has_strangers; /* others have live blocks, too */
    struct member members[HERD_MOST];
};

static inline struct herd *herd_of(struct fl_heap *heap)
{
    struct herd *herd = calloc(1, sizeof *herd);
    assert_non_null(herd);
    herd->heap = heap;
    return herd;
}

static inline void *herd_add(struct herd *herd, void *block, size_t size)
{
    assert_non_null(block);
    assert_true(herd->count < HERD_MOST);
    herd->members[herd->count++] = (struct member){.start = block, .size = size, .is_live = true};
    herd->live++;
    return block;
}

static inline void herd_add_some(struct herd *herd, struct fl_thread *thread, size_t size, size_t count)
{
    for (size_t i = 0; i < count; i++)
        herd_add(herd, fl_alloc(thread, size), size);
}

static inline struct member *herd_free(struct herd *herd, size_t i)
{
    assert_true(herd->members[i].is_live);
    herd->members[i].is_live = false;
    herd->live--;
    return &herd->members[i];
}

/* Frees the members from number `from` on, each `step`-th one, if it is live. */
static inline void herd_free_some(struct herd *herd, struct fl_thread *thread, size_t from, size_t step)
{
    for (size_t i = from; i < herd->count; i += step) {
        if (!herd->members[i].is_live)
            continue;
        struct member *member = herd_free(herd, i);
        fl_free_sized(thread, member->start, member->size);
    }
}

static inline void herd_defer_some(struct herd *herd, struct fl_thread *thread, size_t from, size_t step)
{
    for (size_t i = from; i < herd->count; i += step) {
        if (!herd->members[i].is_live)
            continue;
        struct member *member = herd_free(herd, i);
        fl_free_deferred(thread, member->start, member->size);
    }
}

/* Frees all members that are live. */
static inline void herd_end(struct herd *herd, struct fl_thread *thread)
{
    for (size_t i = 0; i < herd->count; i++)
        if (herd->members[i].is_live)
            fl_free_sized(thread, herd->members[i].start, herd->members[i].size);
    free(herd);
}

/* ---- What a walk tells. */

static inline int compare_members(const void *a, const void *b)
{
    const struct member *first = a, *second = b;
    if (first->start != second->start)
        return first->start < second->start ? -1 : 1;
    return second->is_live - first->is_live; /* a live one first */
}

static inline bool herd_see(void *context, const struct fl_block *block)
{
    struct herd *herd = context;
    size_t low = 0, high = herd->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (herd->members[middle].start < (char *)block->start)
            low = middle + 1;
        else
            high = middle;
    }
    struct member *member = &herd->members[low];
    bool is_ours = low < herd->count && member->start == block->start && member->is_live;
    if (!is_ours && !herd->has_strangers)
        fail_msg("the walk tells of %p, which is not live", block->start);
    if (is_ours) {
        member->seen++;
        assert_true(block->size >= member->size);
        assert_int_equal(block->state, FL_BLOCK_LIVE);
    }
    return true;
}

/* The block around the address is this one, in this state. */
static inline void assert_block_at(struct fl_heap *heap, const void *address, const void *start,
                                   enum fl_block_state state)
{
    struct fl_block block = {0};
    if (!fl_block_at(heap, address, &block))
        fail_msg("there is no block at %p", address);
    assert_ptr_equal(block.start, start);
    assert_int_equal(block.state, state);
    assert_true((size_t)((const char *)address - (const char *)block.start) < block.size);
}

static inline void assert_no_block_at(struct fl_heap *heap, const void *address)
{
    struct fl_block block;
    assert_false(fl_block_at(heap, address, &block));
}

/* A block that was freed is free, unless its memory serves another block by now. */
static inline void assert_freed(struct herd *herd, const struct member *member)
{
    struct fl_block block;
    if (fl_block_at(herd->heap, member->start, &block) && block.state != FL_BLOCK_FREE)
        assert_ptr_not_equal(block.start, member->start);
}

static inline void assert_live(struct herd *herd, const struct member *member)
{
    assert_int_equal(member->seen, 1);
    assert_block_at(herd->heap, member->start, member->start, FL_BLOCK_LIVE);
    assert_block_at(herd->heap, member->start + member->size / 2, member->start, FL_BLOCK_LIVE);
    assert_block_at(herd->heap, member->start + member->size - 1, member->start, FL_BLOCK_LIVE);
}

/* During a walk: it finds the live members, each once, and no others. */
static inline void assert_herd_is_found(struct herd *herd)
{
    qsort(herd->members, herd->count, sizeof *herd->members, compare_members);
    for (size_t i = 0; i < herd->count; i++)
        herd->members[i].seen = 0;
    assert_int_equal(fl_heap_walk(herd->heap, herd_see, herd), 0);
    const char *live = NULL; /* the last live one */
    for (size_t i = 0; i < herd->count; i++) {
        const struct member *member = &herd->members[i];
        live = member->is_live ? member->start : live;
        if (member->is_live)
            assert_live(herd, member);
        else if (member->start != live)
            assert_freed(herd, member);
    }
}

/* A whole walk. */
static inline void walk_herd(struct herd *herd)
{
    assert_sound(herd->heap);
    assert_int_equal(fl_heap_walk_begin(herd->heap), 0);
    assert_herd_is_found(herd);
    assert_int_equal(fl_heap_walk_end(herd->heap), 0);
    assert_sound(herd->heap);
}

#endif
