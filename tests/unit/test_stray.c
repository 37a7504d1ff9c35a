/* SPDX-License-Identifier: MIT
 *
 * Frees whose inline half looks at nothing: a pointer that is no block of the class, or one that is free already, lies
 * in a cache until it is to go home. Then the call under way tells of it, it is left alone, and everything else goes
 * on.
 *
 * Checked builds refuse such frees at once (test_misuse.c).
 */
#include "grace_support.h"

enum { SIZE = 48, OTHER_SIZE = 480, MANY = 1000 };

static const struct fl_options keep_all = {.retain_bytes = SIZE_MAX, .magazine_blocks = FLI_MAGAZINE_SLOTS};

static struct recorded_misuse all[32];
static unsigned told;

static void record_each(const struct fl_misuse *now)
{
    record_misuse(now);
    assert_in_range(told, 0, COUNT_OF(all) - 1);
    all[told++] = misuse;
    misuse.count = 0;
}

static int begin_record(void **state)
{
    (void)state;
    misuse = (struct recorded_misuse){0};
    told = 0;
    fl_set_misuse_handler(record_each);
    return 0;
}

static int end_record(void **state)
{
    (void)state;
    fl_set_misuse_handler(NULL);
    return 0;
}

/* One misuse has been told, of this pointer. */
static void assert_told(const char *call, const void *pointer, const char *what)
{
    assert_int_equal(told, 1);
    misuse = all[0];
    assert_misuse(call, pointer, what);
    told = 0;
}

/* Blocks in all places where free ones can be. */
static void use(struct fl_thread *thread)
{
    void *blocks[MANY], *others[MANY];
    assert_int_equal(fl_alloc_many(thread, SIZE, MANY, blocks), 0);
    assert_int_equal(fl_alloc_many(thread, OTHER_SIZE, MANY, others), 0);
    for (unsigned i = 0; i < MANY; i++) {
        memset(blocks[i], 1, SIZE);
        memset(others[i], 2, OTHER_SIZE);
    }
    fl_free_many(thread, SIZE, MANY, blocks);
    fl_free_many(thread, OTHER_SIZE, MANY, others);
}

/* The heap has lost nothing but `lost` live blocks, which nobody can free any more. */
static void assert_goes_on(struct bed *bed, size_t lost)
{
    use(bed->thread);
    fl_thread_flush(bed->thread);
    fl_heap_trim(bed->heap, 0);
    struct fl_stats stats = stats_of(bed->heap);
    assert_int_equal(stats.live_blocks, lost);
    assert_int_equal(stats.parked_bytes == 0, lost == 0);
    assert_int_equal(stats.slabs, lost > 0);
    assert_sound(bed->heap);
    assert_int_equal(told, 0);
}

/* ---- Ways to free unseen. */

static struct fl_type plain = {.name = "plain", .size = SIZE, .kind = FL_DEALLOC_PLAIN};

static void by_size(struct fl_thread *thread, void *block)
{
    fl_free_sized(thread, block, SIZE);
}

static void among_many(struct fl_thread *thread, void *block)
{
    fl_free_many(thread, SIZE, 1, &block);
}

static void by_type(struct fl_thread *thread, void *block)
{
    fl_type_free(thread, block, &plain);
}

static void as_object(struct fl_thread *thread, void *block)
{
    fl_dealloc(thread, block, &plain);
}

static void deferred(struct fl_thread *thread, void *block)
{
    fl_free_deferred(thread, block, SIZE);
}

static void deferred_as_object(struct fl_thread *thread, void *block)
{
    fl_dealloc_deferred(thread, block, &plain);
}

static void (*const ways[])(struct fl_thread *, void *) = {by_size,   among_many, by_type,
                                                           as_object, deferred,   deferred_as_object};

static bool defers(void (*way)(struct fl_thread *, void *))
{
    return way == deferred || way == deferred_as_object;
}

/* Frees a pointer that is no block of SIZE bytes in every way, each in a heap of its own. It is told of by the flush, or,
 * if it was deferred, by the trim after its grace period. */
static void assert_told_however_freed(void *pointer)
{
    for (unsigned i = 0; i < COUNT_OF(ways); i++) {
        struct played_host host = {0};
        struct bed bed = bed_of_host(&host, &keep_all);
        use(bed.thread);
        /* So that the fast path has room. */
        void *own[2] = {fl_alloc(bed.thread, SIZE), fl_alloc(bed.thread, SIZE)};
        ways[i](bed.thread, own[0]);
        ways[i](bed.thread, pointer);
        ways[i](bed.thread, own[1]);
        assert_int_equal(told, 0);
        fl_thread_flush(bed.thread);
        assert_int_equal(told, defers(ways[i]) ? 0 : 1);
        let_all_go(&host, bed.thread);
        fl_heap_trim(bed.heap, 0);
        assert_told(defers(ways[i]) ? "fl_heap_trim" : "fl_thread_flush", pointer, "48 bytes");
        assert_goes_on(&bed, 0);
        end_bed(&bed);
    }
}

/* ---- What a callback drops. */

static unsigned cleared;

static void count_clear(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread;
    (void)object;
    (void)type;
    cleared++;
}

static struct fl_type child = {.name = "child", .size = SIZE, .kind = FL_DEALLOC_CLEAR, .clear = count_clear};
static void *dropped;

static void drop_child(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)object;
    (void)type;
    fl_dealloc(thread, dropped, &child);
}

static struct fl_type parent = {.name = "parent", .size = OTHER_SIZE, .kind = FL_DEALLOC_CLEAR, .clear = drop_child};

static void drop_in_callback(struct fl_thread *thread, void *pointer)
{
    dropped = pointer;
    cleared = 0;
    fl_dealloc(thread, fl_type_alloc(thread, &parent), &parent);
}

static int begin_unchecked(void **state)
{
    struct fl_type *const types[] = {&plain, &child, &parent};
    for (size_t i = 0; i < COUNT_OF(types); i++)
        if (!types[i]->ready)
            assert_int_equal(fl_type_ready(types[i], NULL, NULL, 0), 0);
    return begin_record(state);
}

#define UNCHECKED_TEST(test) cmocka_unit_test_setup_teardown(test, begin_unchecked, end_record)

#define SKIP_IF_CHECKED                                                                                              \
    if (FLI_CHECKED)                                                                                                 \
    skip()

/* Frees `count` pointers by size where the fast path has room for them. */
static void free_unseen(struct fl_thread *thread, size_t count, void *const *pointers)
{
    void *own[MANY];
    size_t taken = 32 + count + 1; /* a first refill brings 32, the next one a whole magazine */
    assert_int_equal(fl_alloc_many(thread, SIZE, taken, own), 0);
    fl_free_many(thread, SIZE, count, pointers);
    fl_free_many(thread, SIZE, taken, own);
    assert_int_equal(told, 0);
}

/* ---- What is told. */

static void a_block_of_another_heap_is_told_and_stays_live_there(void **state)
{
    (void)state;
    SKIP_IF_CHECKED;
    static const size_t sizes[] = {SIZE, OTHER_SIZE, 100000};
    struct bed owner = bed_with(NULL);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        unsigned char *block = fl_alloc(owner.thread, sizes[i]);
        memset(block, 0x5a, sizes[i]);
        assert_told_however_freed(block);
        for (size_t at = 0; at < sizes[i]; at++)
            assert_int_equal(block[at], 0x5a);
        assert_int_equal(stats_of(owner.heap).live_blocks, 1);
        fl_free(owner.thread, block);
    }
    end_bed(&owner);
}

static void what_is_no_block_of_any_heap_is_told(void **state)
{
    (void)state;
    SKIP_IF_CHECKED;
    int on_stack;
    void *allocated = malloc(SIZE);
    void *const pointers[] = {&on_stack, allocated, (void *)"constant", (void *)(uintptr_t)16, (void *)UINTPTR_MAX};
    for (size_t i = 0; i < COUNT_OF(pointers); i++)
        assert_told_however_freed(pointers[i]);
    free(allocated);
}

static void null_is_told_by_its_name(void **state)
{
    (void)state;
    SKIP_IF_CHECKED;
    struct bed bed = bed_with(&keep_all);
    free_unseen(bed.thread, 1, (void *[]){NULL});
    fl_thread_flush(bed.thread);
    assert_told("fl_thread_flush", NULL, "NULL");
    assert_goes_on(&bed, 0);
    end_bed(&bed);
}

static void a_block_of_another_class_or_an_address_inside_one_is_told(void **state)
{
    (void)state;
    SKIP_IF_CHECKED;
    static const struct {
        size_t size, offset;
    } cases[] = {{OTHER_SIZE, 0}, {SIZE, 16}, {SIZE, 1}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct bed bed = bed_with(&keep_all);
        char *block = fl_alloc(bed.thread, cases[i].size);
        free_unseen(bed.thread, 1, (void *[]){block + cases[i].offset});
        fl_thread_flush(bed.thread);
        assert_told("fl_thread_flush", block + cases[i].offset, "48 bytes");
        assert_goes_on(&bed, 1);
        fl_free(bed.thread, block);
        assert_goes_on(&bed, 0);
        end_bed(&bed);
    }
}

static void what_can_be_no_object_is_refused_inside_a_callback_too(void **state)
{
    (void)state;
    struct bed bed = bed_with(&keep_all);
    char *block = fl_alloc(bed.thread, SIZE);
    void *const pointers[] = {NULL, block + 1, block + 2, block + 4, (void *)UINTPTR_MAX};
    for (size_t i = 0; i < COUNT_OF(pointers); i++) {
        drop_in_callback(bed.thread, pointers[i]);
        assert_told("fl_dealloc", pointers[i], pointers[i] == NULL ? "NULL" : "child");
        assert_int_equal(cleared, 0);
    }
    fl_free(bed.thread, block);
    assert_goes_on(&bed, 0);
    end_bed(&bed);
}

static void so_is_an_odd_address_that_ends_otherwise(void **state)
{
    (void)state;
    static struct fl_type at_once = {
        .name = "at once", .size = SIZE, .kind = FL_DEALLOC_CLEAR, .flags = FL_TYPE_AT_ONCE, .clear = count_clear};
    static struct fl_type later = {.name = "later",
                                   .size = SIZE,
                                   .kind = FL_DEALLOC_CLEAR,
                                   .flags = FL_TYPE_HAS_WORDS | FL_TYPE_LATER,
                                   .words_offset = 16,
                                   .clear = count_clear};
    struct fl_type *const types[] = {&child, &at_once, &later};
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, &keep_all);
    char *block = fl_alloc(bed.thread, SIZE);
    cleared = 0;
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        if (!types[i]->ready)
            assert_int_equal(fl_type_ready(types[i], NULL, NULL, 0), 0);
        for (unsigned offset = 1; offset < 8; offset++) {
            fl_dealloc(bed.thread, block + offset, types[i]);
            assert_told("fl_dealloc", block + offset, types[i]->name);
            fl_dealloc_deferred(bed.thread, block + offset, types[i]);
            assert_told("fl_dealloc_deferred", block + offset, types[i]->name);
        }
    }
    assert_int_equal(cleared, 0);
    fl_free(bed.thread, block);
    let_all_go(&host, bed.thread);
    assert_goes_on(&bed, 0);
    end_bed(&bed);
}

static void a_block_of_another_class_that_a_callback_drops_is_told(void **state)
{
    (void)state;
    SKIP_IF_CHECKED;
    struct bed bed = bed_with(&keep_all);
    use(bed.thread);
    char *block = fl_alloc(bed.thread, OTHER_SIZE);
    void *own[2] = {fl_alloc(bed.thread, SIZE), fl_alloc(bed.thread, SIZE)};
    fl_free_sized(bed.thread, own[0], SIZE);
    drop_in_callback(bed.thread, block);
    fl_free_sized(bed.thread, own[1], SIZE);
    assert_int_equal(cleared, 1);
    assert_int_equal(told, 0);
    fl_thread_flush(bed.thread);
    assert_told("fl_thread_flush", block, "48 bytes");
    fl_free(bed.thread, block);
    assert_goes_on(&bed, 0);
    end_bed(&bed);
}

static void the_rest_of_a_slab_behind_its_last_block_is_told(void **state)
{
    (void)state;
    SKIP_IF_CHECKED;
    struct bed bed = bed_with(&keep_all);
    char *block = fl_alloc(bed.thread, SIZE), *end = block + FLI_SLAB_BYTES / SIZE * SIZE;
    free_unseen(bed.thread, 1, (void *[]){end});
    fl_thread_flush(bed.thread);
    assert_told("fl_thread_flush", end, "48 bytes");
    assert_goes_on(&bed, 1);
    fl_free(bed.thread, block);
    end_bed(&bed);
}

static void a_block_that_was_never_handed_out_is_told_as_free(void **state)
{
    (void)state;
    SKIP_IF_CHECKED;
    struct bed bed = bed_with(&(struct fl_options){.retain_bytes = SIZE_MAX, .magazine_blocks = 16});
    char *block = fl_alloc(bed.thread, SIZE);
    free_unseen(bed.thread, 1, (void *[]){block + 500 * SIZE});
    fl_thread_flush(bed.thread);
    assert_told("fl_thread_flush", block + 500 * SIZE, "freed twice");
    assert_goes_on(&bed, 1);
    fl_free(bed.thread, block);
    end_bed(&bed);
}

static void a_block_freed_twice_is_told_once_it_comes_home_twice(void **state)
{
    (void)state;
    SKIP_IF_CHECKED;
    for (unsigned i = 0; i < COUNT_OF(ways); i++) {
        struct played_host host = {0};
        struct bed bed = bed_of_host(&host, &keep_all);
        void *live = fl_alloc(bed.thread, SIZE), *block = fl_alloc(bed.thread, SIZE);
        ways[i](bed.thread, block);
        ways[i](bed.thread, block);
        fl_thread_flush(bed.thread);
        let_all_go(&host, bed.thread);
        fl_heap_trim(bed.heap, 0);
        assert_told(defers(ways[i]) ? "fl_heap_trim" : "fl_thread_flush", block, "freed twice");
        assert_goes_on(&bed, 1);
        fl_free(bed.thread, live);
        assert_goes_on(&bed, 0);
        end_bed(&bed);
    }
}

static void a_block_freed_again_when_its_slab_has_gone_back_is_told(void **state)
{
    (void)state;
    SKIP_IF_CHECKED;
    struct bed bed = bed_with(&keep_all);
    void *block = fl_alloc(bed.thread, SIZE);
    fl_free(bed.thread, block);
    fl_thread_flush(bed.thread);
    fl_heap_trim(bed.heap, 0);
    fl_free(bed.thread, fl_alloc(bed.thread, OTHER_SIZE)); /* the slab serves another class */
    free_unseen(bed.thread, 1, &block);
    fl_thread_flush(bed.thread);
    assert_told("fl_thread_flush", block, "48 bytes");
    assert_goes_on(&bed, 0);
    end_bed(&bed);
}

/* ---- How it is told. */

static void of_many_some_are_named_and_the_others_are_counted(void **state)
{
    (void)state;
    SKIP_IF_CHECKED;
    struct bed bed = bed_with(&keep_all), owner = bed_with(NULL);
    void *blocks[100];
    assert_int_equal(fl_alloc_many(owner.thread, SIZE, COUNT_OF(blocks), blocks), 0);
    free_unseen(bed.thread, COUNT_OF(blocks), blocks);
    unsigned others = 0;
    fl_thread_flush(bed.thread);
    fl_heap_trim(bed.heap, 0);
    for (unsigned i = 0; i < told; i++) {
        const char *more = strstr(all[i].message, ", and ");
        others += more != NULL ? (unsigned)atoi(more + strlen(", and ")) : 0;
        assert_true(is_among(all[i].pointer, blocks, COUNT_OF(blocks)));
    }
    assert_in_range(told, FLI_STRAYS_MOST, 2 * FLI_STRAYS_MOST); /* by the two calls */
    assert_int_equal(told + others, COUNT_OF(blocks));
    told = 0;
    assert_goes_on(&bed, 0);
    fl_free_many(owner.thread, SIZE, COUNT_OF(blocks), blocks);
    end_bed(&owner);
    end_bed(&bed);
}

static void a_thread_whose_caches_overflow_tells_too(void **state)
{
    (void)state;
    SKIP_IF_CHECKED;
    struct bed bed = bed_with(&(struct fl_options){.retain_bytes = 1, .magazine_blocks = 16}), owner = bed_with(NULL);
    void *foreign = fl_alloc(owner.thread, SIZE), *blocks[MANY];
    assert_int_equal(fl_alloc_many(bed.thread, SIZE, MANY, blocks), 0);
    fl_free_sized(bed.thread, foreign, SIZE);
    for (unsigned i = 0; i < MANY; i++)
        fl_free_sized(bed.thread, blocks[i], SIZE);
    assert_told("fl_free_sized", foreign, "48 bytes");
    fl_free(owner.thread, foreign);
    end_bed(&owner);
    end_bed(&bed);
}

static jmp_buf out;

static void record_and_leave(const struct fl_misuse *now)
{
    record_each(now);
    longjmp(out, 1);
}

static void a_handler_that_does_not_return_is_told_of_the_rest_later(void **state)
{
    (void)state;
    SKIP_IF_CHECKED;
    struct bed bed = bed_with(&keep_all), owner = bed_with(NULL);
    void *blocks[3];
    assert_int_equal(fl_alloc_many(owner.thread, SIZE, COUNT_OF(blocks), blocks), 0);
    free_unseen(bed.thread, COUNT_OF(blocks), blocks);
    fl_set_misuse_handler(record_and_leave);
    for (volatile unsigned left = 0; left < COUNT_OF(blocks);) {
        if (setjmp(out) != 0)
            left++;
        else if (left == 0)
            fl_thread_flush(bed.thread);
        else
            fl_heap_trim(bed.heap, 0);
        assert_int_equal(told, left);
    }
    told = 0;
    assert_goes_on(&bed, 0);
    fl_free_many(owner.thread, SIZE, COUNT_OF(blocks), blocks);
    end_bed(&owner);
    end_bed(&bed);
}

static void detach(struct fl_thread *thread)
{
    if (setjmp(out) == 0)
        fl_thread_detach(thread);
}

static void a_detach_that_the_handler_left_can_be_made_again(void **state)
{
    (void)state;
    SKIP_IF_CHECKED;
    struct bed owner = bed_with(NULL);
    struct fl_heap *heap = heap_with(&(struct fl_options){.retain_bytes = 1, .magazine_blocks = FLI_MAGAZINE_SLOTS});
    struct fl_thread *thread = fl_thread_attach(heap);
    void *foreign = fl_alloc(owner.thread, SIZE);
    use(thread);
    fl_thread_flush(thread);
    free_unseen(thread, 1, &foreign);
    fl_set_misuse_handler(record_and_leave);
    detach(thread);
    assert_told("fl_thread_detach", foreign, "48 bytes");
    assert_int_equal(stats_of(heap).threads, 1);
    assert_int_equal(fl_thread_detach(thread), 0);
    assert_int_equal(heap->leaving, 0);
    end_heap(heap);
    fl_free(owner.thread, foreign);
    end_bed(&owner);
}

static struct {
    struct fl_thread *thread;
    void *blocks[MANY];
} used;

static struct fl_type pair = {.name = "pair", .size = 2 * SIZE, .kind = FL_DEALLOC_PLAIN};

/* A handler that cleans up, through the handle of the call that tells. */
static void use_again(const struct fl_misuse *now)
{
    record_each(now);
    for (unsigned i = 0; i < MANY; i++)
        if (i % 2 == 0)
            fl_free_sized(used.thread, used.blocks[i], OTHER_SIZE);
        else
            fl_free_deferred(used.thread, used.blocks[i], OTHER_SIZE);
    assert_int_equal(fl_thread_reserve(used.thread, &pair, MANY), 0);
}

static void a_handler_may_use_the_handle_that_is_being_detached(void **state)
{
    (void)state;
    SKIP_IF_CHECKED;
    struct bed bed = bed_of(FL_GRACE_BP);
    assert_int_equal(fl_type_ready(&pair, NULL, NULL, 0), 0);
    used.thread = fl_thread_attach(bed.heap);
    assert_int_equal(fl_alloc_many(used.thread, OTHER_SIZE, MANY, used.blocks), 0);
    void *block = fl_alloc(used.thread, SIZE);
    fl_free_sized(used.thread, block, SIZE);
    fl_free_sized(used.thread, block, SIZE);
    fl_set_misuse_handler(use_again);
    assert_int_equal(fl_thread_detach(used.thread), 0);
    assert_told("fl_thread_detach", block, "freed twice");
    assert_sound(bed.heap);
    assert_int_equal(fl_heap_barrier(bed.heap), 0);
    assert_int_equal(stats_of(bed.heap).live_blocks, 0);
    assert_int_equal(stats_of(bed.heap).cached_bytes, 0);
    end_bed(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNCHECKED_TEST(a_block_of_another_heap_is_told_and_stays_live_there),
        UNCHECKED_TEST(what_is_no_block_of_any_heap_is_told),
        UNCHECKED_TEST(null_is_told_by_its_name),
        UNCHECKED_TEST(a_block_of_another_class_or_an_address_inside_one_is_told),
        UNCHECKED_TEST(what_can_be_no_object_is_refused_inside_a_callback_too),
        UNCHECKED_TEST(so_is_an_odd_address_that_ends_otherwise),
        UNCHECKED_TEST(a_block_of_another_class_that_a_callback_drops_is_told),
        UNCHECKED_TEST(the_rest_of_a_slab_behind_its_last_block_is_told),
        UNCHECKED_TEST(a_block_that_was_never_handed_out_is_told_as_free),
        UNCHECKED_TEST(a_block_freed_twice_is_told_once_it_comes_home_twice),
        UNCHECKED_TEST(a_block_freed_again_when_its_slab_has_gone_back_is_told),
        UNCHECKED_TEST(of_many_some_are_named_and_the_others_are_counted),
        UNCHECKED_TEST(a_thread_whose_caches_overflow_tells_too),
        UNCHECKED_TEST(a_handler_that_does_not_return_is_told_of_the_rest_later),
        UNCHECKED_TEST(a_detach_that_the_handler_left_can_be_made_again),
        UNCHECKED_TEST(a_handler_may_use_the_handle_that_is_being_detached),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
