/* SPDX-License-Identifier: MIT */
#include "program.h"
#include "heaps.h"

#include <errno.h>
#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

enum { STEP_BYTES = 4, VERIFY_STEPS = 16, MANY = 255 };

/* One operation, on the OS thread of its handle. */
struct step {
    struct heap *heap;
    struct handle *handle;
    struct fl_thread *thread;
    unsigned operation;
    unsigned char who, b, c; /* the second to fourth byte */
};

/* A size from two bytes. Small ones are common, and those about the bounds of classes and kinds of memory, too. */
static size_t size_from(unsigned char b, unsigned char c)
{
    switch (c & 7) {
    case 4:
        return (size_t)b * 16;
    case 5:
        return (size_t)b * 128 + (c >> 7);
    case 6:
        return FL_BLOCK_MAX - 8 + b;
    case 7:
        return (size_t)b * 8192 + (c >> 3);
    default:
        return b;
    }
}

static bool takes_untyped(const struct step *step)
{
    return step->heap->options.header == NULL;
}

static bool may_fail(const struct step *step)
{
    return world.refuses || step->heap->options.limit_bytes != 0 || step->heap->options.reserve_bytes != 0;
}

/* An allocation has failed as it should, or not failed. */
static bool succeeded(const struct step *step, const void *block)
{
    FUZZ_REQUIRE(block != NULL || (errno == ENOMEM && may_fail(step)), "an allocation fails with errno %d", errno);
    return block != NULL;
}

/* ---- Untyped blocks. */

static bool is_untyped(const struct block *block)
{
    return block->type == NULL;
}

static struct block *pick_untyped(const struct step *step)
{
    return model_pick(step->heap->number, step->b, is_untyped);
}

static void op_alloc(struct step *step)
{
    size_t size = size_from(step->b, step->c);
    void *block = takes_untyped(step) && model_has_room(1) ? fl_alloc(step->thread, size) : NULL;
    if (takes_untyped(step) && model_has_room(1) && succeeded(step, block))
        model_add(step->heap->number, block, size, NULL);
}

static void op_alloc_zeroed(struct step *step)
{
    size_t size = size_from(step->b, step->c);
    if (!takes_untyped(step) || !model_has_room(1))
        return;
    char *block = fl_alloc_zeroed(step->thread, size);
    if (!succeeded(step, block))
        return;
    for (size_t i = 0; i < size; i += 1 + i / 64)
        FUZZ_REQUIRE(block[i] == 0, "byte %zu is not zero", i);
    model_add(step->heap->number, block, size, NULL);
}

static void op_alloc_aligned(struct step *step)
{
    size_t alignment = (size_t)1 << step->c % 15, size = (size_t)step->b * (1 + (step->c >> 4));
    if (!takes_untyped(step) || !model_has_room(1))
        return;
    char *block = fl_alloc_aligned(step->thread, alignment, size);
    if (alignment > FL_ALIGNMENT_MAX) {
        FUZZ_REQUIRE(block == NULL && errno == EINVAL, "an alignment of %zu", alignment);
        return;
    }
    if (!succeeded(step, block))
        return;
    FUZZ_REQUIRE((uintptr_t)block % alignment == 0, "%p is not aligned to %zu", (void *)block, alignment);
    model_add(step->heap->number, block, fl_aligned_size(alignment, size), NULL);
}

static void op_alloc_many(struct step *step)
{
    void *blocks[MANY];
    size_t size = size_from(step->c, 4 * (step->c & 1)), count = step->b;
    if (!takes_untyped(step) || !model_has_room(count))
        return;
    int failed = fl_alloc_many(step->thread, size, count, blocks);
    FUZZ_REQUIRE(failed == 0 || (failed == -ENOMEM && may_fail(step)), "fl_alloc_many returns %d", failed);
    for (size_t i = 0; i < count && failed == 0; i++)
        model_add(step->heap->number, blocks[i], size, NULL);
}

static void op_alloc_run(struct step *step)
{
    size_t size = (size_t)step->c * 4;
    for (unsigned i = 0; i < step->b && takes_untyped(step) && model_has_room(1); i++) {
        void *block = fl_alloc(step->thread, size);
        if (!succeeded(step, block))
            return;
        model_add(step->heap->number, block, size, NULL);
    }
}

static void op_alloc_impossible(struct step *step)
{
    if (!takes_untyped(step))
        return;
    size_t size = SIZE_MAX / (1 + (step->b & 3)) - step->c;
    struct block *block = pick_untyped(step);
    void *blocks[2];
    errno = 0;
    FUZZ_REQUIRE(fl_alloc(step->thread, size) == NULL && errno == ENOMEM, "%zu bytes", size);
    FUZZ_REQUIRE(fl_alloc_zeroed(step->thread, size) == NULL && errno == ENOMEM, "%zu bytes", size);
    FUZZ_REQUIRE(fl_alloc_aligned(step->thread, 64, size) == NULL && errno == ENOMEM, "%zu bytes", size);
    FUZZ_REQUIRE(fl_alloc_many(step->thread, size, 2, blocks) == -ENOMEM, "%zu bytes", size);
    block = pick_untyped(step);
    if (block == NULL)
        return;
    block->is_busy = true;
    FUZZ_REQUIRE(fl_realloc(step->thread, block->start, block->size, size) == NULL && errno == ENOMEM, "%zu bytes",
                 size);
    block->is_busy = false;
}

static void free_block(const struct step *step, struct block *block, unsigned how)
{
    void *start = block->start;
    size_t size = block->size;
    model_verify(block);
    if (how == 3 && types_has_grace[step->heap->number]) {
        model_defer(block);
        fl_free_deferred(step->thread, start, size);
        return;
    }
    model_remove(block);
    if (how == 0)
        fl_free(step->thread, start);
    else if (how == 1)
        fl_heap_free(step->heap->heap, start);
    else if (how == 2)
        fl_free_aligned(step->thread, start, 1, size);
    else
        fl_free_sized(step->thread, start, size);
}

static void op_free(struct step *step)
{
    struct block *block = pick_untyped(step);
    if (block != NULL)
        free_block(step, block, step->c & 3);
}

/* Frees blocks in a row, or each other one. */
static void op_free_run(struct step *step)
{
    struct block *block;
    for (unsigned i = 0; i < step->b && (block = model_pick(step->heap->number, step->c >> 4, is_untyped)) != NULL;
         i++)
        free_block(step, block, step->c & 3);
}

static size_t many_size;

static bool has_many_size(const struct block *block)
{
    return block->type == NULL && block->size == many_size;
}

static void op_free_many(struct step *step)
{
    void *starts[MANY];
    struct block *block = pick_untyped(step);
    size_t count = 0;
    if (block == NULL)
        return;
    many_size = block->size;
    while (count < step->c && (block = model_pick(step->heap->number, 0, has_many_size)) != NULL) {
        starts[count++] = block->start;
        model_verify(block);
        model_remove(block);
    }
    fl_free_many(step->thread, many_size, count, starts);
}

static void op_realloc(struct step *step)
{
    struct block *block = pick_untyped(step);
    size_t size = size_from(step->c, step->b);
    if (!takes_untyped(step) || !model_has_room(1))
        return;
    if (block == NULL) {
        void *start = fl_realloc(step->thread, NULL, 0, size);
        if (succeeded(step, start))
            model_add(step->heap->number, start, size, NULL);
        return;
    }
    struct block old = *block;
    block->is_busy = true;
    char *start = fl_realloc(step->thread, block->start, block->size, size);
    block->is_busy = false;
    if (!succeeded(step, start))
        return;
    /* The contents of both sizes, which the pattern of the longer one has only at its front. */
    old.start = start;
    old.size = old.size < size ? old.size : size;
    old.size = old.size < 256 ? old.size : 256;
    model_verify(&old);
    model_remove(block);
    model_add(step->heap->number, start, size, NULL);
}

/* ---- Blocks of a type. */

static bool is_of_type(const struct block *block)
{
    return block->type != NULL && !block->is_object;
}

static bool is_object(const struct block *block)
{
    return block->is_object;
}

static bool may_have_children(const struct block *block)
{
    return block->type != NULL && types_has_children(block->type) && block->children[MODEL_CHILDREN - 1] == NULL;
}

static bool is_typed(const struct block *block)
{
    return block->type != NULL;
}

static struct block *alloc_instance(const struct step *step, unsigned n, unsigned extra)
{
    const struct fl_type *type = types_pick(n, &step->heap->options, false);
    size_t size = types_size(type, extra);
    if (!model_has_room(1))
        return NULL;
    void *object = (type->flags & FL_TYPE_VARIABLE) != 0 ? fl_type_alloc_sized(step->thread, type, size)
                                                         : fl_type_alloc(step->thread, type);
    return succeeded(step, object) ? types_add(step->heap->number, object, size, type, false) : NULL;
}

static void op_type_alloc(struct step *step)
{
    struct block *block = alloc_instance(step, step->b, step->c);
    if (block == NULL)
        return;
    block->resurrects = (step->c & 1) != 0;
    block->leaves = (step->c & 2) != 0;
}

static bool add_child(struct block *parent, struct block *child)
{
    for (unsigned i = 0; i < MODEL_CHILDREN; i++)
        if (parent->children[i] == NULL) {
            parent->children[i] = child;
            child->held--;
            return true;
        }
    return false;
}

/* Gives a block, or a reference to an object, to another one. */
static void op_give(struct step *step)
{
    struct block *parent = model_pick(step->heap->number, step->b, may_have_children);
    struct block *child = model_pick(step->heap->number, step->c, is_typed);
    if (parent != NULL && child != NULL && parent != child)
        add_child(parent, child);
}

/* Makes a chain, or a broad tree, of instances. */
static void op_chain(struct step *step)
{
    struct block *child = NULL;
    for (unsigned i = 0; i < step->b; i++) {
        struct block *block = alloc_instance(step, step->c, i);
        if (block == NULL)
            return;
        if (child != NULL && types_has_children(block->type))
            add_child(block, child);
        child = block;
    }
}

static void op_dealloc(struct step *step)
{
    struct block *block = model_pick(step->heap->number, step->b, is_of_type);
    if (block != NULL)
        types_end(step->thread, block, (enum how)(step->c % HOWS));
}

/* The same, and a callback is left. */
static void op_leave(struct step *step)
{
    jmp_buf here;
    struct block *block = model_pick(step->heap->number, step->b, is_of_type);
    if (block == NULL)
        return;
    types_leave = &here;
    if (setjmp(here) == 0)
        types_end(step->thread, block, (enum how)(step->c % HOWS));
    else if ((step->c & 128) == 0)
        fl_thread_unwound(step->thread);
    types_leave = NULL;
}

/* Frees the memory of an instance that has nothing. */
static void op_type_free(struct step *step)
{
    struct block *block = model_pick(step->heap->number, step->b, is_of_type);
    if (block == NULL || block->children[0] != NULL)
        return;
    void *start = block->start;
    const struct fl_type *type = block->type;
    model_verify(block);
    if ((step->c & 1) != 0 && types_has_grace[step->heap->number]) {
        model_defer(block);
        fl_type_free_deferred(step->thread, start, type);
        return;
    }
    model_remove(block);
    fl_type_free(step->thread, start, type);
}

static void op_dealloc_run(struct step *step)
{
    struct block *block;
    for (unsigned i = 0; i < step->b && (block = model_pick(step->heap->number, step->c >> 4, is_of_type)) != NULL;
         i++)
        types_end(step->thread, block, (enum how)(step->c % HOWS));
}

static void op_make_type(struct step *step)
{
    types_make(step->who, step->b, step->c);
}

/* ---- Objects. */

static void op_object_alloc(struct step *step)
{
    const struct fl_type *type = types_pick(step->b, &step->heap->options, true);
    if (!model_has_room(2))
        return;
    bool is_variable = (type->flags & FL_TYPE_VARIABLE) != 0;
    size_t size = types_size(type, step->c);
    struct fl_object *object = is_variable ? fl_type_alloc_sized(step->thread, type, size)
                                           : fl_object_alloc(step->thread, type);
    if (!succeeded(step, object))
        return;
    if (is_variable)
        fl_object_init(step->thread, object, type);
    struct block *block = types_add(step->heap->number, object, size, type, true);
    block->resurrects = (step->c & 1) != 0;
    if ((step->c & 2) != 0)
        fl_publish(object);
}

static struct block *pick_object(const struct step *step, struct fl_object **object)
{
    struct block *block = model_pick(step->heap->number, step->b, is_object);
    if (block != NULL)
        *object = (struct fl_object *)(void *)block->start;
    return block;
}

static void op_incref(struct step *step)
{
    struct fl_object *object;
    struct block *block = pick_object(step, &object);
    if (block == NULL)
        return;
    unsigned count = step->c % 8;
    block->references += count;
    block->held += count;
    for (unsigned i = 0; i < count; i++)
        fl_incref(step->thread, object);
}

static void op_decref(struct step *step)
{
    struct fl_object *object;
    for (unsigned i = 0; i <= step->c % 8; i++) {
        struct block *block = pick_object(step, &object);
        if (block == NULL)
            return;
        block->held--;
        types_end(step->thread, block, BY_DEALLOC);
    }
}

static void op_drop(struct step *step)
{
    struct fl_object *object;
    struct block *block = pick_object(step, &object);
    if (block == NULL || types_is_constructed(block->type))
        return;
    block->held--;
    if (--block->references == 0)
        block->state = types_dead_state(block, block->type->kind);
    bool has_ended = block->references == 0;
    bool is_last = fl_drop(step->thread, object);
    FUZZ_REQUIRE(!is_last || has_ended, "%p has %u references", (void *)object, block->references);
    if (!is_last)
        return;
    bool defers = (step->c & 1) != 0 && types_has_grace[step->heap->number] && block->type->kind != FL_DEALLOC_LEGACY;
    const struct fl_type *type = block->type;
    block->defers = defers;
    if (type->kind == FL_DEALLOC_PLAIN && defers)
        model_defer(block);
    else if (type->kind == FL_DEALLOC_PLAIN)
        model_remove(block);
    if (defers)
        fl_dealloc_deferred(step->thread, object, type);
    else
        fl_dealloc(step->thread, object, type);
}

static void op_object(struct step *step)
{
    struct fl_object *object;
    struct block *block = pick_object(step, &object);
    if (block == NULL)
        return;
    if ((step->c & 7) == 0) {
        fl_make_immortal(object);
        block->held--;
    } else if ((step->c & 1) != 0) {
        fl_publish(object);
    }
    if ((step->c & 2) != 0 && step->heap->options.header != NULL && (step->c & 1) != 0) {
        struct fl_object *place = (step->c & 4) != 0 ? object : NULL;
        block->references++, block->held++;
        bool has = fl_try_incref(step->thread, object, &place);
        FUZZ_REQUIRE(has == (place == object), "a reference to %p", (void *)object);
        block->references -= !has, block->held -= !has;
    }
    fl_is_uncounted(step->thread, object);
}

static void op_merge(struct step *step)
{
    const unsigned char *handed = fl_thread_handed(step->thread);
    fl_merge(step->thread);
    FUZZ_REQUIRE(*handed == 0 || may_fail(step), "something is handed over after a merge");
}

/* ---- Grace periods. */

static void op_read(struct step *step)
{
    if (!types_has_grace[step->heap->number])
        return;
    if ((step->c & 1) == 0) {
        fl_read_lock(step->thread);
        step->handle->sections++;
    } else if (step->handle->sections > 0) {
        fl_read_unlock(step->thread);
        step->handle->sections--;
    }
}

static void op_quiescent(struct step *step)
{
    if (types_has_grace[step->heap->number] && !heaps_are_read(step->handle->os_thread))
        fl_quiescent(step->thread);
}

static void op_barrier(struct step *step)
{
    if (!types_has_grace[step->heap->number] || heaps_are_read(step->handle->os_thread))
        return;
    int failed = fl_heap_barrier(step->heap->heap);
    FUZZ_REQUIRE(failed == 0 || failed == -EAGAIN || failed == world.begin_refusal, "a barrier returns %d", failed);
    FUZZ_REQUIRE(failed == 0 || world.begin_refusal != 0 || step->heap->options.grace_host->wait == NULL,
                 "a barrier fails");
}

static void op_grace(struct step *step)
{
    if ((step->c & 3) == 0)
        world.begin_refusal = world.begin_refusal == 0 ? -EAGAIN : 0;
    else if (*fl_heap_pressure(step->heap->heap) != 0 && (step->c & 3) == 2)
        fl_heap_flush_stopped(step->heap->heap);
    else if ((step->c & 3) == 1 && world.ended < world.begun)
        world.ended++;
    else
        world.ended = world.begun;
}

/* ---- Heaps and handles. */

static void op_trim(struct step *step)
{
    if (!heaps_are_read(step->handle->os_thread))
        fl_heap_trim(step->heap->heap, (size_t)step->c << 14);
}

static void op_flush(struct step *step)
{
    if ((step->c & 1) == 0)
        fl_thread_flush(step->thread);
    else
        fl_heap_flush_stopped(step->heap->heap);
}

static void op_offline(struct step *step)
{
    heaps_leave_sections(step->handle->os_thread);
    if ((step->c & 1) != 0)
        fl_thread_flush(step->thread);
    fl_thread_offline(step->thread);
    step->handle->is_offline = true;
}

static void op_run_pending(struct step *step)
{
    struct fl_budget budget = (step->c & 1) != 0 ? fl_budget_objects(1 + step->b)
                                                 : fl_budget_microseconds(1 + step->b);
    int left = fl_run_pending(step->thread, budget);
    FUZZ_REQUIRE(left == 0 || left == 1, "fl_run_pending returns %d", left);
    FUZZ_REQUIRE(left == 0 || *fl_thread_pending(step->thread) != 0, "what is left is not told");
}

static void op_stack(struct step *step)
{
    static const char stacks[4];
    if ((step->c & 4) == 0)
        fl_thread_unwound(step->thread);
    fl_thread_set_stack(step->thread, (step->c & 3) != 0 ? &stacks[step->c & 3] : NULL);
    fl_thread_set_context(step->thread, step->handle);
    FUZZ_REQUIRE(fl_thread_context(step->thread) == step->handle, "another context");
}

static void op_fork(struct step *step)
{
    fl_heap_fork_stopped(step->heap->heap);
    fl_heap_fork_resumed(step->heap->heap);
}

/* ---- Questions. */

static void op_verify(struct step *step)
{
    heaps_verify(step->heap, (step->c & 1) != 0 && !world.refuses);
    model_verify_all();
}

static void op_walk(struct step *step)
{
    heaps_verify(step->heap, true);
}

static void op_print(struct step *step)
{
    char text[65536];
    FILE *stream = fmemopen(text, sizeof text, "w");
    struct fl_object_stats stats;
    FUZZ_REQUIRE(stream != NULL, "no stream");
    enum fl_stats_format format = (step->c & 1) != 0 ? FL_STATS_JSON : FL_STATS_TEXT;
    FUZZ_REQUIRE(fl_heap_print_stats(step->heap->heap, stream, format) == 0, "the statistics are not printed");
    FUZZ_REQUIRE(fl_heap_print_object_stats(step->heap->heap, stream, format) == 0, "nor those of objects");
    fclose(stream);
    fl_heap_object_stats(step->heap->heap, &stats);
    FUZZ_REQUIRE(model_count(step->heap->number, KEPT) >= stats.kept, "%zu are kept, not %zu", stats.kept,
                 model_count(step->heap->number, KEPT));
}

static void op_ask(struct step *step)
{
    struct block *block = model_pick(step->heap->number, step->b, NULL);
    struct fl_block found;
    char local;
    FUZZ_REQUIRE(!fl_owns(step->heap->heap, &local) && fl_usable_size(step->heap->heap, &local) == 0 &&
                     !fl_block_at(step->heap->heap, &local, &found),
                 "the heap owns a local variable");
    if (block == NULL)
        return;
    bool is = fl_block_at(step->heap->heap, block->start + step->c % block->usable, &found);
    FUZZ_REQUIRE(is ? found.start == block->start && found.size == block->usable : block->usable > FL_BLOCK_MAX,
                 "another block is found at %p", (void *)block->start);
    FUZZ_REQUIRE(fl_usable_size(step->heap->heap, block->start) == block->usable, "%p has another size",
                 (void *)block->start);
}

static void op_parse(struct step *step)
{
    static const char *const texts[] = {"retain=1M",
                                        "limit=2G,",
                                        "magazine=3,grace=bp",
                                        "huge=never",
                                        "later=",
                                        "decay=1,decay_thread=1",
                                        "x=1",
                                        "reserve=99999999999999999999",
                                        "=",
                                        "defer=5Q"};
    char text[64], error[128] = "";
    struct fl_options options = {.context = step}, before = options;
    snprintf(text, sizeof text, "%s", texts[step->b % COUNT_OF(texts)]);
    if (step->c != 0)
        text[step->c % (strlen(text) + 1)] = (char)step->c;
    int failed = fl_options_parse(text, &options, error, sizeof error);
    FUZZ_REQUIRE(failed == 0 || (failed == -EINVAL && error[0] != 0), "options are refused with %d", failed);
    FUZZ_REQUIRE(failed == 0 || memcmp(&options, &before, sizeof before) == 0, "options that are refused change");
}

/* ---- Misuse that every build tells. */

static void misuse_of_heap(const struct step *step, struct fl_heap *heap)
{
    char local[64];
    world_expect();
    switch (step->c % 12) {
    case 0:
        FUZZ_REQUIRE(fl_heap_walk_end(heap) == -EINVAL, "a walk ends");
        break;
    case 1:
        FUZZ_REQUIRE(fl_heap_destroy(heap) == -EBUSY, "a heap is destroyed");
        break;
    case 2:
        FUZZ_REQUIRE(fl_trace_start(heap, NULL, 0) == -EINVAL, "no trace starts");
        break;
    case 3:
        fl_heap_free(heap, local + 16);
        break;
    case 4:
        FUZZ_REQUIRE(fl_run_pending(step->thread, fl_budget_objects(0)) == -EINVAL, "a budget of nothing");
        break;
    case 5:
        FUZZ_REQUIRE(fl_heap_walk(heap, NULL, NULL) == -EINVAL, "a walk goes on");
        break;
    case 6:
        fl_free(step->thread, local + 16);
        break;
    case 7:
        FUZZ_REQUIRE(fl_profile_start(heap, &(struct fl_profile_options){.mean_bytes = 0}) == -EINVAL,
                     "a profile without a mean");
        break;
    case 8:
        FUZZ_REQUIRE(fl_thread_reserve(step->thread, types_stranger(&step->heap->options), 1) == -EINVAL,
                     "blocks with another header are set aside");
        break;
    case 9:
        FUZZ_REQUIRE(fl_type_alloc(step->thread, types_stranger(&step->heap->options)) == NULL && errno == EINVAL,
                     "a block with another header");
        break;
    default:
        fl_dealloc_as(step->thread, local + 16, types_pick(0, &step->heap->options, false), FL_DEALLOC_FINALIZE);
    }
    world_expected("a heap");
}

static void misuse_of_grace(const struct step *step)
{
    world_expect();
    if ((step->c & 1) != 0)
        fl_quiescent(step->thread);
    else
        FUZZ_REQUIRE(fl_heap_barrier(step->heap->heap) == -EINVAL, "a barrier without grace periods");
    world_expected("grace periods");
}

/* A dead object that cannot wait, on a heap where all do. */
static void misuse_of_later(const struct step *step)
{
    const struct fl_type *type = types_wordless();
    world_expect();
    void *object = fl_type_alloc(step->thread, type);
    if (object == NULL && errno == ENOMEM) {
        world.expects = false;
        return;
    }
    if (object != NULL) /* which the inline half has not looked at */
        fl_dealloc(step->thread, object, type);
    world_expected("a type without words");
    if (object != NULL)
        fl_type_free(step->thread, object, type);
}

static void op_misuse(struct step *step)
{
    struct block *block = pick_untyped(step);
    if ((step->c & 32) != 0 && takes_untyped(step) && step->heap->options.later == FL_LATER_ALL) {
        misuse_of_later(step);
        return;
    }
    if ((step->c & 128) == 0 || block == NULL) {
        misuse_of_heap(step, step->heap->heap);
    } else if ((step->c & 64) != 0 && !types_has_grace[step->heap->number]) {
        misuse_of_grace(step);
    } else {
        world_expect();
        void *start = fl_realloc(step->thread, block->start, block->size + FL_BLOCK_MAX + 1, 1);
        FUZZ_REQUIRE(start == NULL && errno == EINVAL, "a wrong size is taken");
        world_expected("fl_realloc");
    }
}

/* ---- Threads of a kind, and profiles. */

/* Sets blocks aside, and allocates them while memory is refused. */
static void op_reserve(struct step *step)
{
    const struct fl_type *type = types_pick(step->c, &step->heap->options, false);
    int failed = fl_thread_reserve(step->thread, type, step->b);
    FUZZ_REQUIRE(failed == 0 || (failed == -ENOMEM && may_fail(step)) ||
                     (failed == -ENOTSUP && type->size > FL_BLOCK_MAX),
                 "fl_thread_reserve returns %d", failed);
    if (failed != 0 || (step->c & 128) == 0 || (type->flags & FL_TYPE_VARIABLE) != 0)
        return;
    bool refused = world.refuses;
    world.refuses = true;
    for (unsigned i = 0; i < step->b && model_has_room(1); i++) {
        void *object = fl_type_alloc(step->thread, type);
        FUZZ_REQUIRE(object != NULL, "%u of %u reserved blocks can be had", i, (unsigned)step->b);
        types_add(step->heap->number, object, type->size, type, false);
    }
    world.refuses = refused;
}

static void op_realtime(struct step *step)
{
    int failed = fl_thread_set_realtime(step->thread, (step->c & 1) != 0);
    FUZZ_REQUIRE(failed == 0, "fl_thread_set_realtime returns %d", failed);
}

static void op_profile(struct step *step)
{
    heaps_profile(step->heap, step->c);
}

/* Makes a tree of instances in which each has as many children as it can. */
static void op_tree(struct step *step)
{
    struct block *blocks[MANY];
    for (unsigned i = 0; i < step->b; i++) {
        blocks[i] = alloc_instance(step, step->c, i);
        if (blocks[i] == NULL)
            return;
        if (i > 0 && types_has_children(blocks[i]->type))
            add_child(blocks[(i - 1) / MODEL_CHILDREN], blocks[i]);
    }
}

/* ---- Programs. */

static void (*const operations[])(struct step *) = {
    op_alloc,        op_alloc_zeroed, op_alloc_aligned, op_alloc_many, op_alloc_run,   op_alloc_impossible,
    op_free,         op_free_run,     op_free_many,     op_realloc,    op_type_alloc,  op_give,
    op_chain,        op_dealloc,      op_leave,         op_type_free,  op_dealloc_run, op_make_type,
    op_object_alloc, op_incref,       op_decref,        op_drop,       op_object,      op_merge,
    op_read,         op_quiescent,    op_barrier,       op_grace,      op_trim,        op_flush,
    op_offline,      op_run_pending,  op_stack,         op_fork,       op_verify,      op_walk,
    op_print,        op_ask,          op_parse,         op_misuse,     op_reserve,     op_realtime,
    op_profile,      op_tree,
};

static void call_step(void *argument)
{
    struct step *step = argument;
    operations[step->operation](step);
}

/* What is done without a handle, on the first thread. */
static void op_heap(struct heap *heap, unsigned n, unsigned char b, unsigned char c)
{
    struct handle *offline = heaps_offline(heap, b), *online;
    switch (n) {
    case 0:
        heaps_attach(heap, b & 1);
        break;
    case 1:
        online = heaps_handle(heap, b);
        if (online != NULL)
            heaps_detach(online, (c & 1) != 0 ? online->os_thread : (unsigned)MAIN);
        break;
    case 2:
        if (offline != NULL && (c & 4) != 0)
            heaps_detach(offline, c & 1);
        break;
    case 3:
        heaps_end_worker();
        break;
    case 4:
        world.refuses = (c & 1) != 0;
        world.keeps = (c & 2) != 0;
        break;
    case 5:
        world.now_ns += (uint64_t)c * 20000000;
        break;
    case 6:
        heaps_trace_start(heap);
        break;
    case 7:
        heaps_trace_stop(heap);
        break;
    default:
        heaps_destroy(heap);
    }
}

static void call_online(void *argument)
{
    fl_thread_online(((struct handle *)argument)->thread);
}

static void bring_online(struct heap *heap, unsigned char b, unsigned char c)
{
    struct handle *handle = heaps_offline(heap, b);
    if (handle == NULL)
        return;
    handle->os_thread = c & 1;
    handle->is_offline = false;
    world_run(handle->os_thread, call_online, handle);
}

enum { HEAP_OPERATIONS = 9 };

static void run_step(const uint8_t *bytes)
{
    unsigned n = bytes[0] % (COUNT_OF(operations) + HEAP_OPERATIONS + 2);
    struct heap *heap = &heaps[bytes[1] % MODEL_HEAPS];
    if (n == COUNT_OF(operations) + HEAP_OPERATIONS + 1)
        heaps_create(bytes[1] % MODEL_HEAPS, bytes[1] / MODEL_HEAPS, bytes[2], bytes[3]);
    else if (heap->heap == NULL)
        return;
    else if (n == COUNT_OF(operations) + HEAP_OPERATIONS)
        bring_online(heap, bytes[2], bytes[3]);
    else if (n >= COUNT_OF(operations))
        op_heap(heap, n - COUNT_OF(operations), bytes[2], bytes[3]);
    else {
        struct handle *handle = heaps_handle(heap, bytes[1] / MODEL_HEAPS);
        if (handle == NULL)
            return;
        struct step step = {heap, handle, handle->thread, n, bytes[1], bytes[2], bytes[3]};
        world_run(handle->os_thread, call_step, &step);
    }
}

void program_run(const uint8_t *bytes, size_t count)
{
    world_begin();
    model_begin();
    types_begin();
    heaps_begin();
    if (count >= STEP_BYTES)
        heaps_create(0, bytes[1], bytes[2], bytes[3]);
    for (size_t i = STEP_BYTES, steps = 1; i + STEP_BYTES <= count && i < PROGRAM_BYTES_MAX;
         i += STEP_BYTES, steps++) {
        run_step(bytes + i);
        if (steps % VERIFY_STEPS == 0)
            model_verify_all();
    }
    model_verify_all();
    for (unsigned i = 0; i < MODEL_HEAPS; i++)
        heaps_destroy(&heaps[i]);
    world_end();
}
