/* SPDX-License-Identifier: MIT
 *
 * Calls each function of caller.c as often as the command line says, in rounds that fit the thread's cache, so that
 * no call takes the slow half; but constructed objects are kept and used again there.
 */
#include "caller.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROUND = 16 };

static void untyped_round(struct fl_thread *thread)
{
    void *blocks[ROUND];
    for (int i = 0; i < ROUND; i++)
        blocks[i] = caller_alloc(thread);
    for (int i = 0; i < ROUND; i++)
        caller_free_sized(thread, blocks[i]);
}

static void typed_round(struct fl_thread *thread, const struct fl_type *type)
{
    void *objects[ROUND];
    for (int i = 0; i < ROUND; i++)
        objects[i] = caller_type_alloc(thread, type);
    for (int i = 0; i < ROUND; i++)
        caller_dealloc(thread, objects[i], type);
    for (int i = 0; i < ROUND; i++)
        objects[i] = fl_type_alloc(thread, type);
    for (int i = 0; i < ROUND; i++)
        caller_dealloc_tagged(thread, objects[i], type, fl_type_tag(type));
}

static void object_round(struct fl_thread *thread, const struct fl_type *type)
{
    struct fl_object *objects[ROUND];
    for (int i = 0; i < ROUND; i++)
        objects[i] = caller_object_alloc(thread, type);
    for (int i = 0; i < ROUND; i++)
        caller_incref(thread, objects[i]);
    for (int i = 0; i < ROUND; i++)
        caller_decref(thread, objects[i]);
    for (int i = 0; i < ROUND; i++)
        caller_decref_last(thread, objects[i]);
}

/* ---- Constructed objects. */

static bool construct(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread, (void)object, (void)type;
    return true;
}

static size_t reset(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread, (void)object, (void)type;
    return 0;
}

static void nothing(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread, (void)object, (void)type;
}

static struct fl_constructed_type kept_type = {.type = {.name = "kept", .size = CALLER_BLOCK_BYTES, .clear = nothing},
                                               .construct = construct,
                                               .reset = reset,
                                               .renew = nothing};

static void kept_round(struct fl_thread *thread)
{
    struct fl_object *objects[ROUND];
    for (int i = 0; i < ROUND; i++)
        objects[i] = caller_renew(thread, &kept_type.type);
    for (int i = 0; i < ROUND; i++)
        caller_keep(thread, objects[i]);
}

/* The thread keeps as many objects as a round takes. */
static void warm_kept(struct fl_thread *thread)
{
    struct fl_object *objects[ROUND];
    for (int i = 0; i < ROUND; i++)
        objects[i] = fl_object_alloc(thread, &kept_type.type);
    for (int i = 0; i < ROUND; i++)
        fl_decref(thread, objects[i]);
}

/* Fills the cache of the class with two rounds of blocks, past which it has room for more. */
static void warm(struct fl_thread *thread)
{
    void *blocks[2 * ROUND];
    if (fl_alloc_many(thread, CALLER_BLOCK_BYTES, 2 * ROUND, blocks) != 0)
        exit(1);
    fl_free_many(thread, CALLER_BLOCK_BYTES, 2 * ROUND, blocks);
}

int main(int argc, char **argv)
{
    int calls = argc == 2 ? atoi(argv[1]) : 0;
    if (calls <= 0 || calls % ROUND != 0) {
        fprintf(stderr, "usage: %s <calls, a multiple of %d>\n", argv[0], ROUND);
        return 2;
    }
    struct fl_type type = {.name = "counted", .size = CALLER_BLOCK_BYTES, .kind = FL_DEALLOC_PLAIN};
    struct fl_type object_type = {.name = "object", .size = CALLER_BLOCK_BYTES, .kind = FL_DEALLOC_PLAIN};
    struct fl_heap *heap = fl_heap_create(NULL, NULL, 0);
    struct fl_thread *thread = heap != NULL ? fl_thread_attach(heap) : NULL;
    if (thread == NULL || fl_type_ready(&type, NULL, NULL, 0) != 0 ||
        fl_object_type_ready(&object_type, NULL, NULL, 0) != 0 ||
        fl_constructed_type_ready(&kept_type, NULL, NULL, 0) != 0)
        return 1;
    warm(thread);
    fl_decref(thread, fl_object_alloc(thread, &object_type)); /* the first one gives the thread a slot */
    warm_kept(thread);
    for (int i = 0; i < calls / ROUND; i++) {
        untyped_round(thread);
        typed_round(thread, &type);
        object_round(thread, &object_type);
        kept_round(thread);
    }
    return fl_thread_detach(thread) != 0 || fl_heap_destroy(heap) != 0;
}
