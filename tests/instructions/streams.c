/* SPDX-License-Identifier: MIT
 *
 * Allocates and frees many blocks in a row through functions of caller.h, so that every magazine that is empty or full
 * takes the slow half: some rounds of the frees, and then of the allocations.
 *
 * The grace periods are those of a host where each has ended when the next magazine is full, so that the calls do
 * all the work there is: each submits one magazine and gives the one before it to the pool. With grace periods that
 * last longer, allocations and quiescent states do part of that. Nothing goes back to the system.
 */
#include "caller.h"
#include "grace.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 4 };

static void allocate(struct fl_thread *thread, size_t count, void **blocks)
{
    if (fl_alloc_many(thread, CALLER_BLOCK_BYTES, count, blocks) != 0)
        exit(1);
}

/* What is allocated was freed in the same way each time: what an allocation takes depends on it. */
static void allocate_all(struct fl_thread *thread, const struct fl_type *type, size_t count, void **blocks)
{
    allocate(thread, count, blocks);
    fl_free_many(thread, CALLER_BLOCK_BYTES, count, blocks);
    for (size_t i = 0; i < count; i++)
        blocks[i] = caller_alloc(thread);
    fl_free_many(thread, CALLER_BLOCK_BYTES, count, blocks);
    for (size_t i = 0; i < count; i++)
        blocks[i] = caller_type_alloc(thread, type);
    fl_free_many(thread, CALLER_BLOCK_BYTES, count, blocks);
}

static void free_all(struct fl_thread *thread, const struct fl_type *type, size_t count, void **blocks)
{
    allocate(thread, count, blocks);
    for (size_t i = 0; i < count; i++)
        caller_free_sized(thread, blocks[i]);
    allocate(thread, count, blocks);
    for (size_t i = 0; i < count; i++)
        caller_free_deferred(thread, blocks[i]);
    allocate(thread, count, blocks);
    for (size_t i = 0; i < count; i++)
        caller_dealloc_deferred(thread, blocks[i], type);
}

/* ---- Objects with callbacks, which end at once or later. */

static bool finalize(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread, (void)object, (void)type;
    return false;
}

static struct fl_type at_once = {.name = "at once", .size = CALLER_BLOCK_BYTES, .finalize = finalize};
static struct fl_type later = {
    .name = "later", .size = CALLER_BLOCK_BYTES, .finalize = finalize, .flags = FL_TYPE_HAS_WORDS | FL_TYPE_LATER};

static void destroy_all(struct fl_thread *thread, size_t count, void **blocks)
{
    allocate(thread, count, blocks);
    for (size_t i = 0; i < count; i++)
        caller_destroy(thread, blocks[i], &at_once);
    allocate(thread, count, blocks);
    for (size_t i = 0; i < count; i++)
        caller_queue(thread, blocks[i], &later);
    while (*fl_thread_pending(thread) != 0)
        caller_run_pending(thread);
}

int main(int argc, char **argv)
{
    size_t count = argc == 2 ? (size_t)atol(argv[1]) : 0;
    void **blocks = malloc((count + 1) * sizeof *blocks);
    if (count == 0 || count % ROUNDS != 0 || blocks == NULL) {
        fprintf(stderr, "usage: %s <calls, a multiple of %d>\n", argv[0], ROUNDS);
        return 2;
    }
    int64_t begun = 0;
    struct fl_type type = {.name = "counted", .size = CALLER_BLOCK_BYTES, .kind = FL_DEALLOC_PLAIN};
    struct fl_grace_host host = {.begin = begin, .elapsed = elapsed, .context = &begun};
    struct fl_heap *heap = fl_heap_create(
        &(struct fl_options){.grace = FL_GRACE_HOST, .grace_host = &host, .retain_bytes = SIZE_MAX}, NULL, 0);
    struct fl_thread *thread = heap != NULL ? fl_thread_attach(heap) : NULL;
    if (thread == NULL || fl_type_ready(&type, NULL, NULL, 0) != 0)
        return 1;
    for (int round = 0; round < ROUNDS; round++)
        free_all(thread, &type, count / ROUNDS, blocks);
    for (int round = 0; round < ROUNDS; round++)
        allocate_all(thread, &type, count / ROUNDS, blocks);
    if (fl_type_ready(&at_once, NULL, NULL, 0) != 0 || fl_type_ready(&later, NULL, NULL, 0) != 0)
        return 1;
    for (int round = 0; round < ROUNDS; round++)
        destroy_all(thread, count / ROUNDS, blocks);
    free(blocks);
    return begun == 0 || fl_thread_detach(thread) != 0 || fl_heap_destroy(heap) != 0;
}
