/* SPDX-License-Identifier: MIT
 *
 * Calls that the contract forbids: each is told to the handler with the call, the pointer and the type named, and
 * does nothing if the handler returns.
 */
#include "grace_support.h"

#include "base/atomic.h"
#include "base/check.h"

enum { SIZE = 48 };

/* The block is live and the heap as it was. */
static void assert_untouched(struct bed *bed, const struct fl_stats *before)
{
    struct fl_stats after = stats_of(bed->heap);
    assert_int_equal(after.live_blocks, before->live_blocks);
    assert_int_equal(after.live_bytes, before->live_bytes);
    assert_int_equal(after.cached_bytes, before->cached_bytes);
    assert_sound(bed->heap);
}

/* ---- Seen in every build. */

static void a_foreign_pointer_is_refused(void **state)
{
    struct bed *bed = *state;
    struct fl_stats before = stats_of(bed->heap);
    int on_stack;
    char *allocated = malloc(SIZE);
    void *const pointers[] = {
        &on_stack, allocated, (void *)"constant", bed->heap, bed->thread, (void *)(uintptr_t)16, (void *)UINTPTR_MAX};
    for (size_t i = 0; i < COUNT_OF(pointers); i++) {
        fl_free(bed->thread, pointers[i]);
        assert_misuse("fl_free", pointers[i], "is not a block of heap");
        fl_heap_free(bed->heap, pointers[i]);
        assert_misuse("fl_heap_free", pointers[i], "is not a block of heap");
        /* A size past the largest class is looked up too. */
        fl_free_sized(bed->thread, pointers[i], 100000);
        assert_misuse("fl_free_sized", pointers[i], "is not a block of heap");
        if (FLI_CHECKED) {
            fl_free_sized(bed->thread, pointers[i], SIZE);
            assert_misuse("fl_free_sized", pointers[i], "is not a block of heap");
            fl_free_many(bed->thread, SIZE, 1, &pointers[i]);
            assert_misuse("fl_free_many", pointers[i], "is not a block of heap");
        }
    }
    free(allocated);
    assert_untouched(bed, &before);
}

static void null_is_named_where_it_cannot_be_freed(void **state)
{
    struct bed *bed = *state;
    struct fl_type types[] = {{.name = "plain", .size = SIZE, .kind = FL_DEALLOC_PLAIN},
                              {.name = "large", .size = 100000, .kind = FL_DEALLOC_PLAIN}};
    void *null = NULL;
    static const size_t sizes[] = {SIZE, 100000};
    fl_free(bed->thread, NULL);
    fl_heap_free(bed->heap, NULL);
    assert_int_equal(misuse.count, 0);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        assert_int_equal(fl_type_ready(&types[i], NULL, NULL, 0), 0);
        if (!FLI_CHECKED && sizes[i] <= FL_BLOCK_MAX)
            continue; /* the inline half looks at nothing */
        fl_free_sized(bed->thread, NULL, sizes[i]);
        assert_misuse("fl_free_sized", NULL, "was given NULL");
        fl_free_many(bed->thread, sizes[i], 1, &null);
        assert_misuse("fl_free_many", NULL, "was given NULL");
        fl_type_free(bed->thread, NULL, &types[i]);
        assert_misuse("fl_type_free", NULL, "was given NULL");
        fl_dealloc(bed->thread, NULL, &types[i]);
        assert_misuse("fl_dealloc", NULL, "was given NULL");
        assert_contains(misuse.message, types[i].name);
    }
}

static void an_address_of_the_heap_where_no_slab_is_yet_is_refused(void **state)
{
    struct bed *bed = *state;
    char *block = fl_alloc(bed->thread, SIZE);
    fl_free(bed->thread, block + ((size_t)1 << 20));
    assert_misuse("fl_free", block + ((size_t)1 << 20), "is not a block of heap");
    fl_free(bed->thread, block);
}

static void a_block_of_a_slab_that_has_gone_back_is_refused(void **state)
{
    struct bed *bed = *state;
    void *block = fl_alloc(bed->thread, SIZE);
    fl_free(bed->thread, block);
    fl_thread_flush(bed->thread);
    fl_heap_trim(bed->heap, 0);
    fl_free(bed->thread, block);
    assert_misuse("fl_free", block, "is not a block of heap");
}

static void a_block_of_another_heap_is_refused(void **state)
{
    struct bed *bed = *state;
    struct bed other = bed_with(NULL);
    struct fl_stats before = stats_of(bed->heap);
    static const size_t sizes[] = {SIZE, 100000};
    char name[32];
    snprintf(name, sizeof name, "%p", (void *)bed->heap);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        void *block = fl_alloc(other.thread, sizes[i]);
        fl_free(bed->thread, block);
        assert_misuse("fl_free", block, name);
        fl_heap_free(bed->heap, block);
        assert_misuse("fl_heap_free", block, name);
        if (FLI_CHECKED || sizes[i] > FL_BLOCK_MAX) {
            fl_free_sized(bed->thread, block, sizes[i]);
            assert_misuse("fl_free_sized", block, name);
        }
        memset(block, 1, sizes[i]);
        fl_free(other.thread, block);
    }
    assert_untouched(bed, &before);
    end_bed(&other);
}

static void a_sized_free_of_a_large_block_with_the_wrong_size_is_refused(void **state)
{
    struct bed *bed = *state;
    void *block = fl_alloc(bed->thread, 100000);
    struct fl_stats before = stats_of(bed->heap);
    static const size_t wrong[] = {99999, 100001, FL_BLOCK_MAX + 1, SIZE_MAX, 0};
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        char size[32];
        snprintf(size, sizeof size, "%zu", wrong[i]);
        fl_free_sized(bed->thread, block, wrong[i]);
        assert_misuse("fl_free_sized", block, "100000");
        assert_contains(misuse.message, size);
        assert_untouched(bed, &before);
    }
    fl_free_sized(bed->thread, block, 100000);
    assert_int_equal(misuse.count, 0);
}

static void a_sized_free_with_a_size_that_no_class_serves_is_refused(void **state)
{
    struct bed *bed = *state;
    void *block = fl_alloc(bed->thread, SIZE);
    struct fl_stats before = stats_of(bed->heap);
    static const size_t wrong[] = {0, FL_BLOCK_MAX + 1, 100000, SIZE_MAX};
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        fl_free_sized(bed->thread, block, wrong[i]);
        assert_misuse("fl_free_sized", block, "48 bytes");
        assert_untouched(bed, &before);
    }
    fl_free(bed->thread, block);
}

static void a_large_block_freed_twice_is_refused(void **state)
{
    struct bed *bed = *state;
    void *block = fl_alloc(bed->thread, 100000), *other = fl_alloc(bed->thread, 100000);
    fl_free(bed->thread, block);
    struct fl_stats before = stats_of(bed->heap);
    fl_free(bed->thread, block);
    assert_misuse("fl_free", block, "is not a block of heap");
    fl_free_sized(bed->thread, block, 100000);
    assert_misuse("fl_free_sized", block, "is not a block of heap");
    assert_untouched(bed, &before);
    fl_free(bed->thread, other);
}

static void detaching_a_stand_in_is_refused(void **state)
{
    (void)state;
    struct fl_thread *stand_in = fl_thread_self();
    assert_int_equal(fl_thread_detach(stand_in), -EINVAL);
    assert_misuse("fl_thread_detach", stand_in, "not an attached thread");
    /* What else is asked of it does nothing. */
    fl_thread_offline(stand_in);
    fl_thread_online(stand_in);
    fl_thread_flush(stand_in);
    fl_thread_set_context(stand_in, &stand_in);
    assert_null(fl_thread_context(stand_in));
    assert_int_equal(misuse.count, 0);
}

static void *detach_anothers(void *handle)
{
    return (void *)(intptr_t)fl_thread_detach(handle);
}

static void detaching_what_another_thread_has_for_itself_is_refused(void **state)
{
    (void)state;
    void *block = fl_alloc(fl_thread_self(), SIZE), *result;
    struct fl_thread *self = fl_thread_self();
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, detach_anothers, self), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_int_equal((intptr_t)result, -EINVAL);
    assert_misuse("fl_thread_detach", self, "to another thread");
    fl_free(self, block);
    fl_thread_offline(self);
    assert_int_equal(pthread_create(&thread, NULL, detach_anothers, self), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_int_equal((intptr_t)result, 0);
}

static void errno_is_kept_while_misuse_is_told(void **state)
{
    struct bed *bed = *state;
    errno = EILSEQ;
    fl_free(bed->thread, &bed);
    assert_int_equal(errno, EILSEQ);
    assert_misuse("fl_free", &bed, "is not a block");
}

/* ---- Seen in checked builds. */

static void a_sized_free_with_the_size_of_another_class_is_refused(void **state)
{
    if (!FLI_CHECKED)
        skip();
    struct bed *bed = *state;
    void *block = fl_alloc(bed->thread, SIZE);
    struct fl_stats before = stats_of(bed->heap);
    static const size_t wrong[] = {1, 32, 49, 64, 4096, FL_BLOCK_MAX};
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        char size[32];
        snprintf(size, sizeof size, "not one for %zu", wrong[i]);
        fl_free_sized(bed->thread, block, wrong[i]);
        assert_misuse("fl_free_sized", block, size);
        fl_free_many(bed->thread, wrong[i], 1, &block);
        assert_misuse("fl_free_many", block, size);
    }
    assert_untouched(bed, &before);
    fl_free(bed->thread, block);
}

static void the_inside_of_a_block_is_refused(void **state)
{
    if (!FLI_CHECKED)
        skip();
    struct bed *bed = *state;
    char *block = fl_alloc(bed->thread, SIZE);
    struct fl_stats before = stats_of(bed->heap);
    static const size_t inside[] = {1, 8, 16, 47};
    for (size_t i = 0; i < COUNT_OF(inside); i++) {
        fl_free(bed->thread, block + inside[i]);
        assert_misuse("fl_free", block + inside[i], "is not the start of a block");
    }
    /* Never allocated; and behind the last block of the slab. */
    fl_free(bed->thread, block + 1000 * SIZE);
    assert_misuse("fl_free", block + 1000 * SIZE, "is free already");
    char *behind = block - (uintptr_t)block % FLI_SLAB_BYTES + FLI_SLAB_BYTES / SIZE * SIZE;
    fl_free(bed->thread, behind);
    assert_misuse("fl_free", behind, "is not the start of a block");
    assert_untouched(bed, &before);
    fl_free(bed->thread, block);
}

static void a_block_freed_twice_is_refused_wherever_it_lies(void **state)
{
    if (!FLI_CHECKED)
        skip();
    struct bed *bed = *state;
    struct fl_thread *other = fl_thread_attach(bed->heap);
    void *block = fl_alloc(bed->thread, SIZE), *kept = fl_alloc(bed->thread, SIZE);
    fl_free(bed->thread, block);
    for (unsigned place = 0; place < 3; place++) {
        struct fl_stats before = stats_of(bed->heap);
        fl_free(bed->thread, block);
        assert_misuse("fl_free", block, "is free already");
        fl_free_sized(other, block, SIZE);
        assert_misuse("fl_free_sized", block, "is free already");
        fl_free_many(other, SIZE, 1, &block);
        assert_misuse("fl_free_many", block, "is free already");
        fl_heap_free(bed->heap, block);
        assert_misuse("fl_heap_free", block, "is free already");
        assert_untouched(bed, &before);
        fl_thread_flush(bed->thread); /* to the pool */
        if (place == 1)
            fl_heap_trim(bed->heap, 0); /* to its slab, which `kept` keeps */
    }
    fl_free(bed->thread, kept);
    assert_int_equal(fl_thread_detach(other), 0);
}

static void among_many_only_the_wrong_ones_are_refused(void **state)
{
    if (!FLI_CHECKED)
        skip();
    struct bed *bed = *state;
    void *blocks[5], *foreign = &blocks;
    assert_int_equal(fl_alloc_many(bed->thread, SIZE, 5, blocks), 0);
    void *kept = blocks[2];
    blocks[2] = foreign;
    fl_free_many(bed->thread, SIZE, 5, blocks);
    assert_misuse("fl_free_many", foreign, "is not a block of heap");
    assert_int_equal(stats_of(bed->heap).live_blocks, 1);
    fl_free(bed->thread, kept);
}

static FLI_ATOMIC(unsigned) told_at_once;

static void count_misuse(const struct fl_misuse *told)
{
    (void)told;
    atomic_fetch_add_explicit(&told_at_once, 1, memory_order_relaxed);
}

enum { CONTESTED = 2000 };

struct contest {
    struct fl_heap *heap;
    void *blocks[CONTESTED];
};

static void *free_contested(void *argument)
{
    struct contest *contest = argument;
    struct fl_thread *thread = fl_thread_attach(contest->heap);
    for (unsigned i = 0; i < CONTESTED; i++)
        fl_free(thread, contest->blocks[i]);
    return NULL;
}

static void of_two_threads_that_free_the_same_block_one_is_told(void **state)
{
    if (!FLI_CHECKED)
        skip();
    struct bed *bed = *state;
    struct contest contest = {.heap = bed->heap};
    pthread_t threads[2];
    fl_set_misuse_handler(count_misuse);
    assert_int_equal(fl_alloc_many(bed->thread, SIZE, CONTESTED, contest.blocks), 0);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, free_contested, &contest), 0);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(fli_load_relaxed(&told_at_once), CONTESTED);
    assert_int_equal(stats_of(bed->heap).live_blocks, 0);
}

/* ---- Types. */

static unsigned calls;

static void count_clear(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread, (void)object, (void)type;
    calls++;
}

static bool count_finalize(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    count_clear(thread, object, type);
    return false;
}

static void typed_misuse_names_the_type(void **state)
{
    if (!FLI_CHECKED)
        skip();
    struct bed *bed = *state;
    struct fl_type types[] = {
        {.name = "quaternion", .size = SIZE, .kind = FL_DEALLOC_PLAIN},
        {.name = "socket", .size = SIZE, .clear = count_clear},
        {.name = "coroutine", .size = SIZE, .finalize = count_finalize},
    };
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        const struct fl_type *type = &types[i];
        assert_int_equal(fl_type_ready(&types[i], NULL, NULL, 0), 0);
        void *object = fl_type_alloc(bed->thread, type), *large = fl_alloc(bed->thread, 1000);
        calls = 0;
        fl_dealloc(bed->thread, &bed, type);
        assert_misuse("fl_dealloc", &bed, type->name);
        assert_string_equal(misuse.type, type->name);
        fl_dealloc(bed->thread, large, type);
        assert_misuse("fl_dealloc", large, type->name);
        fl_type_free(bed->thread, large, type);
        assert_misuse("fl_type_free", large, type->name);
        assert_int_equal(calls, 0);

        fl_type_free(bed->thread, object, type);
        fl_dealloc(bed->thread, object, type);
        assert_misuse("fl_dealloc", object, type->name);
        fl_type_free(bed->thread, object, type);
        assert_misuse("fl_type_free", object, type->name);
        assert_int_equal(calls, 0);
        fl_free(bed->thread, large);
    }
}

static void a_type_that_is_not_ready_is_refused(void **state)
{
    struct bed *bed = *state;
    const struct fl_type unready[] = {
        {.name = "half-made", .size = SIZE, .kind = FL_DEALLOC_PLAIN},
        {.name = "half-made", .size = SIZE, .kind = FL_DEALLOC_CLEAR, .clear = count_clear},
        {.name = "half-made", .size = SIZE, .kind = FL_DEALLOC_FINALIZE, .finalize = count_finalize},
        {.name = "half-made", .size = SIZE},
    };
    void *block = fl_alloc(bed->thread, SIZE);
    struct fl_stats before = stats_of(bed->heap);
    calls = 0;
    for (size_t i = 0; i < COUNT_OF(unready); i++) {
        errno = 0;
        assert_null(fl_type_alloc(bed->thread, &unready[i]));
        assert_int_equal(errno, EINVAL);
        assert_misuse("fl_type_alloc", NULL, "'half-made'");
        errno = 0;
        assert_null(fl_type_alloc_sized(bed->thread, &unready[i], SIZE));
        assert_int_equal(errno, EINVAL);
        assert_misuse("fl_type_alloc_sized", NULL, "'half-made'");
        fl_dealloc(bed->thread, block, &unready[i]);
        assert_misuse("fl_dealloc", block, "'half-made'");
        fl_type_free(bed->thread, block, &unready[i]);
        assert_misuse("fl_type_free", block, "'half-made'");
        assert_string_equal(misuse.type, "half-made");
        assert_int_equal(calls, 0);
        assert_untouched(bed, &before);
    }
    fl_free(bed->thread, block);
}

static void flags_of_the_host_that_contradict_the_type_are_refused(void **state)
{
    struct bed *bed = *state;
    struct fl_type type = {.name = "socket", .size = SIZE, .clear = count_clear};
    assert_int_equal(fl_type_ready(&type, NULL, NULL, 0), 0);
    void *object = fl_type_alloc(bed->thread, &type);
    struct fl_stats before = stats_of(bed->heap);
    calls = 0;
    for (unsigned kind = 0; kind < 4; kind++) {
        if (kind == FL_DEALLOC_CLEAR || (kind == FL_DEALLOC_PLAIN && !FLI_CHECKED))
            continue;
        fl_dealloc_as(bed->thread, object, &type, (enum fl_dealloc_kind)kind);
        assert_misuse("fl_dealloc_as", object, "'socket'");
        assert_int_equal(calls, 0);
        assert_untouched(bed, &before);
    }
    fl_dealloc_tagged(bed->thread, object, &type, FL_TAG_FINALIZE);
    assert_misuse("fl_dealloc_tagged", object, "'socket'");
    assert_untouched(bed, &before);
    fl_dealloc_as(bed->thread, object, &type, FL_DEALLOC_CLEAR);
    assert_int_equal(calls, 1);
    assert_int_equal(misuse.count, 0);
}

/* ---- The handler. */

static void ignore(const struct fl_misuse *told)
{
    (void)told;
}

static void setting_a_handler_returns_the_one_before(void **state)
{
    (void)state;
    assert_ptr_equal(fl_set_misuse_handler(ignore), record_misuse);
    assert_ptr_equal(fl_set_misuse_handler(NULL), ignore);
    fl_misuse_handler standard = fl_set_misuse_handler(ignore);
    assert_true(standard != NULL && standard != ignore);
    assert_ptr_equal(fl_set_misuse_handler(standard), ignore);
    assert_ptr_equal(fl_set_misuse_handler(NULL), standard);
}

static struct bed *handlers_bed;
static unsigned handled;

static void use_the_library(const struct fl_misuse *told)
{
    (void)told;
    struct fl_stats stats;
    char error[64];
    void *block = fl_alloc(handlers_bed->thread, SIZE), *large = fl_alloc(handlers_bed->thread, 100000);
    fl_heap_stats(handlers_bed->heap, &stats);
    fl_heap_free(handlers_bed->heap, large);
    fl_free(handlers_bed->thread, block);
    fl_thread_flush(handlers_bed->thread);
    fl_heap_trim(handlers_bed->heap, 0);
    handled += block != NULL && large != NULL && fl_heap_check(handlers_bed->heap, error, sizeof error) == 0;
}

static void the_handler_may_call_the_library(void **state)
{
    handlers_bed = *state;
    handled = 0;
    fl_set_misuse_handler(use_the_library);
    void *block = fl_alloc(handlers_bed->thread, SIZE), *large = fl_alloc(handlers_bed->thread, 100000);
    fl_free(handlers_bed->thread, &state);
    fl_heap_free(handlers_bed->heap, &state);
    fl_free_sized(handlers_bed->thread, large, 100001);
    fl_free_sized(handlers_bed->thread, block, 100000);
    fl_thread_detach(fl_thread_self());
    fl_heap_destroy(handlers_bed->heap);
    assert_int_equal(handled, 6);
    fl_free(handlers_bed->thread, block);
    fl_free(handlers_bed->thread, large);
}

static void *misuse_unattached(void *argument)
{
    fl_heap_free(argument, &argument);
    return NULL;
}

static void misuse_is_told_on_threads_that_never_attached_too(void **state)
{
    struct bed *bed = *state;
    run_on_thread(misuse_unattached, bed->heap);
    assert_int_equal(misuse.count, 1);
    assert_string_equal(misuse.call, "fl_heap_free");
}

static void free_foreign(void *argument)
{
    struct bed *bed = argument;
    fl_set_misuse_handler(NULL);
    fl_free(bed->thread, argument);
}

static void by_default_misuse_prints_its_message_and_aborts(void **state)
{
    struct bed *bed = *state;
    struct child_end end = run_child(free_foreign, bed);
    assert_true(WIFSIGNALED(end.status));
    assert_int_equal(WTERMSIG(end.status), SIGABRT);
    char expected[64];
    snprintf(expected, sizeof expected, "freelane: fl_free: %p is not a block of heap %p\n", (void *)bed,
             (void *)bed->heap);
    assert_contains(end.output, expected);
}

static void a_very_long_type_name_is_cut_not_overrun(void **state)
{
    struct bed *bed = *state;
    static char name[5000];
    memset(name, 'n', sizeof name - 1);
    struct fl_type type = {.name = name, .size = FL_BLOCK_MAX + 1, .kind = FL_DEALLOC_PLAIN};
    assert_int_equal(fl_type_ready(&type, NULL, NULL, 0), 0);
    fl_dealloc(bed->thread, &bed, &type);
    assert_misuse("fl_dealloc", &bed, "nnn");
    assert_contains(misuse.message, "is not a block");
}

static void fail_an_assertion(void *argument)
{
    fli_assert_failed(argument, "concept.c", 12);
}

static void a_failed_assertion_names_itself_and_aborts(void **state)
{
    (void)state;
    struct child_end end = run_child(fail_an_assertion, (void *)"count == 0");
    assert_true(WIFSIGNALED(end.status) && WTERMSIG(end.status) == SIGABRT);
    assert_contains(end.output, "concept.c:12: assertion failed: count == 0");
}

/* ---- Grace periods. */

/* A heap with grace periods beside the fixture's, which has none. */
struct scene {
    struct bed bed;
    void *block, *large;
    struct fl_stats before;
};

static struct scene scene_of(enum fl_grace grace)
{
    struct scene scene = {.bed = bed_of(grace)};
    scene.block = fl_alloc(scene.bed.thread, SIZE);
    scene.large = fl_alloc(scene.bed.thread, 100000);
    memset(scene.block, 0x5a, SIZE);
    scene.before = stats_of(scene.bed.heap);
    return scene;
}

static void assert_nothing_done(struct scene *scene)
{
    struct fl_stats after = stats_of(scene->bed.heap);
    assert_int_equal(after.live_blocks, scene->before.live_blocks);
    assert_int_equal(after.deferred_bytes, scene->before.deferred_bytes);
    assert_int_equal(after.cached_bytes, scene->before.cached_bytes);
    assert_int_equal(after.threads, scene->before.threads);
    assert_int_equal(after.trims, scene->before.trims);
    assert_int_equal(after.grace_periods, scene->before.grace_periods);
    assert_sound(scene->bed.heap);
}

static void scene_down(struct scene *scene)
{
    for (unsigned i = 0; i < SIZE; i++)
        assert_int_equal(((unsigned char *)scene->block)[i], 0x5a);
    fl_free(scene->bed.thread, scene->block);
    fl_free(scene->bed.thread, scene->large);
    end_bed(&scene->bed);
}

static void what_needs_grace_periods_is_refused_on_a_heap_without(void **state)
{
    struct bed *bed = *state;
    struct fl_type type = {.name = "number", .size = SIZE, .kind = FL_DEALLOC_PLAIN};
    assert_int_equal(fl_type_ready(&type, NULL, NULL, 0), 0);
    void *block = fl_alloc(bed->thread, SIZE), *large = fl_alloc(bed->thread, 100000);
    struct fl_stats before = stats_of(bed->heap);
    fl_free_deferred(bed->thread, block, SIZE);
    assert_misuse("fl_free_deferred", block, "has no grace periods");
    fl_free_deferred(bed->thread, large, 100000);
    assert_misuse("fl_free_deferred", large, "has no grace periods");
    fl_dealloc_deferred(bed->thread, block, &type);
    assert_misuse("fl_dealloc_deferred", block, "has no grace periods");
    assert_contains(misuse.message, "'number'");
    fl_type_free_deferred(bed->thread, block, &type);
    assert_misuse("fl_type_free_deferred", block, "has no grace periods");
    fl_quiescent(bed->thread);
    assert_misuse("fl_quiescent", bed->thread, "without grace periods");
    fl_read_lock(bed->thread);
    assert_misuse("fl_read_lock", bed->thread, "without grace periods");
    fl_read_unlock(bed->thread);
    assert_misuse("fl_read_unlock", bed->thread, "without grace periods");
    assert_int_equal(fl_heap_barrier(bed->heap), -EINVAL);
    assert_misuse("fl_heap_barrier", bed->heap, "has no grace periods");
    assert_untouched(bed, &before);
    fl_free(bed->thread, block);
    fl_free(bed->thread, large);
}

static void a_thread_that_is_offline_can_neither_defer_nor_read(void **state)
{
    (void)state;
    struct scene scene = scene_of(FL_GRACE_BP);
    struct fl_thread *thread = scene.bed.thread;
    /* A magazine that had room for more. */
    fl_free_deferred(thread, fl_alloc(thread, SIZE), SIZE);
    fl_thread_offline(thread);
    assert_int_equal(fl_heap_barrier(scene.bed.heap), 0);
    scene.before = stats_of(scene.bed.heap);
    fl_free_deferred(thread, scene.block, SIZE);
    assert_misuse("fl_free_deferred", scene.block, "offline");
    fl_free_deferred(thread, scene.large, 100000);
    assert_misuse("fl_free_deferred", scene.large, "offline");
    fl_quiescent(thread);
    assert_misuse("fl_quiescent", thread, "is offline");
    fl_read_lock(thread);
    assert_misuse("fl_read_lock", thread, "is offline");
    fl_read_unlock(thread);
    assert_misuse("fl_read_unlock", thread, "is offline");
    assert_nothing_done(&scene);
    fl_thread_online(thread);
    scene_down(&scene);
}

static void stand_ins_do_not_read(void **state)
{
    (void)state;
    struct fl_thread *stand_in = fl_thread_self();
    fl_quiescent(stand_in);
    assert_misuse("fl_quiescent", stand_in, "is not an attached thread");
    fl_read_lock(stand_in);
    assert_misuse("fl_read_lock", stand_in, "is not an attached thread");
    fl_read_unlock(stand_in);
    assert_misuse("fl_read_unlock", stand_in, "is not an attached thread");
}

/* In a child, because there is one default heap per process. */
static void defer_unattached(void *argument)
{
    (void)argument;
    struct fl_type type = {.name = "socket", .size = SIZE, .clear = count_clear};
    EXPECT(fl_type_ready(&type, NULL, NULL, 0) == 0);
    void *object = fl_heap_default() != NULL ? fl_type_alloc(fl_thread_self(), &type) : NULL;
    EXPECT(object != NULL && fl_thread_detach(fl_thread_self()) == 0);
    fl_dealloc_deferred(fl_thread_self(), object, &type);
    EXPECT(misuse.count == 1 && strstr(misuse.message, "has no grace periods") != NULL);
    EXPECT(calls == 0);
    EXPECT_SOUND(fl_heap_default());
}

static void a_deferral_through_a_stand_in_is_refused_before_callbacks_run(void **state)
{
    (void)state;
    calls = 0;
    assert_child_succeeds(defer_unattached, NULL);
}

static void what_waits_or_lets_go_is_refused_inside_a_section(void **state)
{
    (void)state;
    for (unsigned kind = FL_GRACE_QSBR; kind <= FL_GRACE_BP; kind++) {
        struct scene scene = scene_of((enum fl_grace)kind);
        struct fl_thread *thread = scene.bed.thread, *second = fl_thread_attach(scene.bed.heap);
        fl_free_deferred(thread, fl_alloc(thread, SIZE), SIZE);
        scene.before = stats_of(scene.bed.heap);
        fl_read_lock(thread);
        fl_read_lock(thread);
        for (unsigned depth = 2; depth > 0; depth--) {
            fl_quiescent(thread);
            assert_misuse("fl_quiescent", thread, "inside a read-side section");
            /* The section is the OS thread's, whichever handle began it. */
            fl_quiescent(second);
            assert_misuse("fl_quiescent", second, "inside a read-side section");
            fl_thread_offline(thread);
            assert_misuse("fl_thread_offline", thread, "inside a read-side section");
            assert_int_equal(fl_thread_detach(thread), -EINVAL);
            assert_misuse("fl_thread_detach", thread, "inside a read-side section");
            assert_int_equal(fl_heap_barrier(scene.bed.heap), -EINVAL);
            assert_misuse("fl_heap_barrier", scene.bed.heap, "inside a read-side section");
            assert_nothing_done(&scene);
            fl_read_unlock(thread);
        }
        fl_read_unlock(thread);
        assert_misuse("fl_read_unlock", thread, "in no read-side section");
        fl_quiescent(thread);
        assert_int_equal(misuse.count, 0);
        assert_int_equal(fl_heap_barrier(scene.bed.heap), 0);
        assert_int_equal(fl_thread_detach(second), 0);
        scene_down(&scene);
    }
}

static void a_section_is_ended_through_the_handle_that_began_it(void **state)
{
    (void)state;
    struct scene scene = scene_of(FL_GRACE_BP);
    struct fl_thread *second = fl_thread_attach(scene.bed.heap);
    fl_read_lock(scene.bed.thread);
    fl_read_unlock(second);
    assert_misuse("fl_read_unlock", second, "in no read-side section");
    fl_quiescent(scene.bed.thread);
    assert_misuse("fl_quiescent", scene.bed.thread, "inside a read-side section");
    fl_read_unlock(scene.bed.thread);
    assert_int_equal(fl_thread_detach(second), 0);
    scene_down(&scene);
}

static const struct fl_header header = {.bytes = 16, .words = 1, .clear = {{8, 8}}};

static void a_trim_or_a_destruction_that_would_wait_is_refused_inside_a_section(void **state)
{
    (void)state;
    struct fl_type type = {.name = "object", .size = SIZE, .kind = FL_DEALLOC_PLAIN, .header = &header};
    assert_int_equal(fl_type_ready(&type, NULL, NULL, 0), 0);
    struct bed bed = bed_with(
        &(struct fl_options){.grace = FL_GRACE_BP, .header = &header, .retain_bytes = SIZE_MAX});
    struct bed reader = bed_of(FL_GRACE_BP);
    fl_dealloc(bed.thread, fl_type_alloc(bed.thread, &type), &type);
    fl_thread_flush(bed.thread);
    fl_read_lock(bed.thread);
    assert_int_equal(fl_heap_trim(bed.heap, 0), 0);
    assert_misuse("fl_heap_trim", bed.heap, "inside a read-side section");
    assert_int_equal(stats_of(bed.heap).trims, 0);
    assert_int_equal(fl_heap_destroy(bed.heap), -EBUSY);
    assert_misuse("fl_heap_destroy", bed.heap, "has 1 threads attached, 1 of them inside a read-side section");
    fl_read_unlock(bed.thread);
    /* Through a handle of another heap of the kind. */
    fl_read_lock(reader.thread);
    assert_int_equal(fl_heap_trim(bed.heap, 0), 0);
    assert_misuse("fl_heap_trim", bed.heap, "inside a read-side section");
    assert_int_equal(fl_thread_detach(bed.thread), 0);
    assert_int_equal(fl_heap_destroy(bed.heap), -EINVAL);
    assert_misuse("fl_heap_destroy", bed.heap, "inside a read-side section");
    assert_sound(bed.heap);
    /* A heap without stale readers has nothing to wait for. */
    fl_heap_trim(reader.heap, 0);
    assert_int_equal(misuse.count, 0);
    fl_read_unlock(reader.thread);
    assert_true(fl_heap_trim(bed.heap, 0) > 0);
    end_heap(bed.heap);
    end_bed(&reader);
}

static void destroying_a_heap_with_deferred_blocks_is_refused_inside_a_section(void **state)
{
    (void)state;
    struct bed bed = bed_of(FL_GRACE_BP), reader = bed_of(FL_GRACE_BP);
    fl_free_deferred(bed.thread, fl_alloc(bed.thread, SIZE), SIZE);
    fl_read_lock(reader.thread);
    assert_int_equal(fl_thread_detach(bed.thread), 0);
    assert_int_equal(fl_heap_destroy(bed.heap), -EINVAL);
    assert_misuse("fl_heap_destroy", bed.heap, "inside a read-side section");
    assert_int_equal(stats_of(bed.heap).deferred_bytes, SIZE);
    fl_read_unlock(reader.thread);
    end_heap(bed.heap);
    end_bed(&reader);
}

static void a_deferral_is_checked_as_a_free_is(void **state)
{
    struct bed *bed = *state;
    struct scene scene = scene_of(FL_GRACE_BP);
    struct fl_thread *thread = scene.bed.thread;
    int on_stack;
    void *foreign = fl_alloc(bed->thread, 100000);
    /* What comes to the slow half: large blocks always, others in checked builds. */
    fl_free_deferred(thread, foreign, 100000);
    assert_misuse("fl_free_deferred", foreign, "is not a block of heap");
    fl_free_deferred(thread, &on_stack, 100000);
    assert_misuse("fl_free_deferred", &on_stack, "is not a block of heap");
    fl_free_deferred(thread, scene.large, 100001);
    assert_misuse("fl_free_deferred", scene.large, "100000");
    fl_free_deferred(thread, &on_stack, SIZE);
    assert_misuse("fl_free_deferred", &on_stack, "is not a block of heap");
    fl_free_deferred(thread, scene.block, 1000);
    assert_misuse("fl_free_deferred", scene.block, "48 bytes");
    if (FLI_CHECKED) {
        fl_free_deferred(thread, (char *)scene.block + 16, SIZE);
        assert_misuse("fl_free_deferred", (char *)scene.block + 16, "is not the start");
    }
    assert_nothing_done(&scene);
    fl_free(bed->thread, foreign);
    scene_down(&scene);
}

static void a_deferred_block_is_freed_already(void **state)
{
    (void)state;
    struct scene scene = scene_of(FL_GRACE_BP);
    struct fl_thread *thread = scene.bed.thread;
    void *block = fl_alloc(thread, SIZE), *large = fl_alloc(thread, 100000);
    fl_read_lock(thread); /* no grace period ends */
    fl_free_deferred(thread, block, SIZE);
    fl_free_deferred(thread, large, 100000);
    scene.before = stats_of(scene.bed.heap);
    fl_free_deferred(thread, large, 100000);
    assert_misuse("fl_free_deferred", large, "is free already");
    fl_free(thread, large);
    assert_misuse("fl_free", large, "is free already");
    fl_heap_free(scene.bed.heap, large);
    assert_misuse("fl_heap_free", large, "is free already");
    assert_int_equal(fl_usable_size(scene.bed.heap, large), 0);
    if (FLI_CHECKED) {
        fl_free_deferred(thread, block, SIZE);
        assert_misuse("fl_free_deferred", block, "is free already");
        fl_free(thread, block);
        assert_misuse("fl_free", block, "is free already");
    }
    assert_nothing_done(&scene);
    fl_read_unlock(thread);
    assert_int_equal(fl_heap_barrier(scene.bed.heap), 0);
    scene_down(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MISUSE_TEST(a_foreign_pointer_is_refused),
        MISUSE_TEST(null_is_named_where_it_cannot_be_freed),
        MISUSE_TEST(an_address_of_the_heap_where_no_slab_is_yet_is_refused),
        MISUSE_TEST(a_block_of_a_slab_that_has_gone_back_is_refused),
        MISUSE_TEST(a_block_of_another_heap_is_refused),
        MISUSE_TEST(a_sized_free_of_a_large_block_with_the_wrong_size_is_refused),
        MISUSE_TEST(a_sized_free_with_a_size_that_no_class_serves_is_refused),
        MISUSE_TEST(a_large_block_freed_twice_is_refused),
        MISUSE_TEST(detaching_a_stand_in_is_refused),
        MISUSE_TEST(detaching_what_another_thread_has_for_itself_is_refused),
        MISUSE_TEST(errno_is_kept_while_misuse_is_told),
        MISUSE_TEST(a_sized_free_with_the_size_of_another_class_is_refused),
        MISUSE_TEST(the_inside_of_a_block_is_refused),
        MISUSE_TEST(a_block_freed_twice_is_refused_wherever_it_lies),
        MISUSE_TEST(among_many_only_the_wrong_ones_are_refused),
        MISUSE_TEST(of_two_threads_that_free_the_same_block_one_is_told),
        MISUSE_TEST(typed_misuse_names_the_type),
        MISUSE_TEST(a_type_that_is_not_ready_is_refused),
        MISUSE_TEST(flags_of_the_host_that_contradict_the_type_are_refused),
        MISUSE_TEST(setting_a_handler_returns_the_one_before),
        MISUSE_TEST(the_handler_may_call_the_library),
        MISUSE_TEST(misuse_is_told_on_threads_that_never_attached_too),
        MISUSE_TEST(by_default_misuse_prints_its_message_and_aborts),
        MISUSE_TEST(a_very_long_type_name_is_cut_not_overrun),
        MISUSE_TEST(what_needs_grace_periods_is_refused_on_a_heap_without),
        MISUSE_TEST(a_thread_that_is_offline_can_neither_defer_nor_read),
        MISUSE_TEST(stand_ins_do_not_read),
        MISUSE_TEST(a_deferral_through_a_stand_in_is_refused_before_callbacks_run),
        MISUSE_TEST(what_waits_or_lets_go_is_refused_inside_a_section),
        MISUSE_TEST(a_section_is_ended_through_the_handle_that_began_it),
        MISUSE_TEST(a_trim_or_a_destruction_that_would_wait_is_refused_inside_a_section),
        MISUSE_TEST(destroying_a_heap_with_deferred_blocks_is_refused_inside_a_section),
        MISUSE_TEST(a_deferral_is_checked_as_a_free_is),
        MISUSE_TEST(a_deferred_block_is_freed_already),
        cmocka_unit_test(a_failed_assertion_names_itself_and_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
