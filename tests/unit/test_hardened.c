/* SPDX-License-Identifier: MIT
 *
 * Hardened heaps: what they report, in which order they hand blocks out, what an overflow reaches, and what they cost in
 * memory. What comes of attacks is compared with the table of tests/README.md by tests/attacks.
 */
/* link: -Wl,--wrap=getentropy */
#include "support.h"

#include <setjmp.h>

#include "heap/heap.h"
#include "heap/thread.h"
#include "memory/state.h"

enum { SIZE = 64, MANY = 3000, LARGE = 100000 };

static bool has_entropy = true;

int __real_getentropy(void *buffer, size_t size);
int __wrap_getentropy(void *buffer, size_t size);
int __wrap_getentropy(void *buffer, size_t size)
{
    if (has_entropy)
        return __real_getentropy(buffer, size);
    errno = ENOSYS;
    return -1;
}

static const struct fl_options hardened = {.hardened = true};

static int hardened_up(void **state)
{
    struct bed *bed = malloc(sizeof *bed);
    assert_non_null(bed);
    misuse = (struct recorded_misuse){0};
    fl_set_misuse_handler(record_misuse);
    *bed = bed_with(&hardened);
    *state = bed;
    return 0;
}

#define HARDENED_TEST(test) cmocka_unit_test_setup_teardown(test, hardened_up, misuse_bed_down)

static void *allocate(struct bed *bed, size_t size)
{
    void *block = fl_alloc(bed->thread, size);
    assert_non_null(block);
    return block;
}

/* Allocates until the block comes again, and frees the others. */
static void await(struct bed *bed, void *block, size_t size)
{
    enum { MOST = 100000 };
    void **others = malloc(MOST * sizeof *others);
    unsigned count = 0;
    for (void *next; (next = allocate(bed, size)) != block; count++) {
        assert_true(count < MOST);
        others[count] = next;
    }
    while (count > 0)
        fl_free_sized(bed->thread, others[--count], size);
    free(others);
}

/* ---- Reports. */

static void a_second_free_names_the_block_and_its_size(void **state)
{
    struct bed *bed = *state;
    void *block = allocate(bed, SIZE);
    fl_free_sized(bed->thread, block, SIZE);
    fl_free_sized(bed->thread, block, SIZE);
    assert_contains(misuse.message, "64 bytes");
    assert_misuse("fl_free_sized", block, "is free already");
    fl_free(bed->thread, block);
    assert_misuse("fl_free", block, "is free already");
    fl_heap_free(bed->heap, block);
    assert_misuse("fl_heap_free", block, "is free already");
}

static void another_type_is_told_by_its_name(void **state)
{
    struct bed *bed = *state;
    struct fl_type type = {.name = "forty", .size = 40, .kind = FL_DEALLOC_PLAIN},
                   other = {.name = "thirty-six", .size = 36, .kind = FL_DEALLOC_PLAIN};
    assert_int_equal(fl_type_ready(&type, NULL, NULL, 0), 0);
    assert_int_equal(fl_type_ready(&other, NULL, NULL, 0), 0);
    void *object = fl_type_alloc(bed->thread, &type);
    fl_dealloc(bed->thread, object, &other);
    assert_contains(misuse.message, "thirty-six");
    assert_contains(misuse.message, "40 bytes, not one for 36");
    assert_misuse("fl_dealloc", object, "");
    fl_dealloc(bed->thread, object, &type);
    assert_int_equal(misuse.count, 0);
}

static void *free_on_a_thread(void *argument)
{
    struct bed *bed = argument;
    struct fl_thread *thread = fl_thread_attach(bed->heap);
    fl_free_sized(thread, fl_thread_context(bed->thread), SIZE);
    assert_int_equal(fl_thread_detach(thread), 0);
    return NULL;
}

static void of_threads_that_free_one_block_one_succeeds(void **state)
{
    enum { THREADS = 4 };
    struct bed *bed = *state;
    for (unsigned round = 0; round < 20; round++) {
        pthread_t threads[THREADS];
        fl_thread_set_context(bed->thread, allocate(bed, SIZE));
        for (unsigned i = 0; i < THREADS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, free_on_a_thread, bed), 0);
        for (unsigned i = 0; i < THREADS; i++)
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(class_stats_of(bed->heap, SIZE).live, 0);
        assert_sound(bed->heap);
    }
}

static void a_realloc_changes_the_size_that_a_free_has_to_say(void **state)
{
    struct bed *bed = *state;
    void *block = fl_realloc(bed->thread, allocate(bed, 40), 40, 45);
    assert_null(fl_realloc(bed->thread, block, 40, 44));
    assert_misuse("fl_realloc", block, "45 bytes, not one for 40");
    fl_free_sized(bed->thread, block, 40);
    assert_misuse("fl_free_sized", block, "45 bytes, not one for 40");
    fl_free_sized(bed->thread, block, 45);
    assert_int_equal(misuse.count, 0);
}

static unsigned cleared;

static void clear(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread, (void)object, (void)type;
    cleared++;
}

static void an_object_that_is_dropped_twice_is_cleared_once(void **state)
{
    struct bed *bed = *state;
    struct fl_type type = {.name = "node", .size = SIZE, .kind = FL_DEALLOC_CLEAR, .clear = clear};
    assert_int_equal(fl_type_ready(&type, NULL, NULL, 0), 0);
    cleared = 0;
    void *object = fl_type_alloc(bed->thread, &type);
    fl_dealloc(bed->thread, object, &type);
    fl_dealloc(bed->thread, object, &type);
    assert_int_equal(cleared, 1);
    assert_misuse("fl_dealloc", object, "is free already");
}

/* ---- Writes to what nobody has. */

static void each_byte_that_is_written_after_a_free_is_noticed(void **state)
{
    struct bed *bed = *state;
    if (FLI_SANITIZED)
        skip(); /* which see the write first */
    static const size_t sizes[] = {16, 48, 1024, 4096, FL_BLOCK_MAX, LARGE};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        size_t size = sizes[i], places[] = {0, size / 3, size - 1};
        for (unsigned p = 0; p < COUNT_OF(places); p++) {
            size_t place = size > FLI_STATE_WHOLE && p == 1 ? FLI_STATE_WHOLE / 2 - 1 : places[p];
            unsigned char *block = allocate(bed, size);
            memset(block, 7, size);
            fl_free_sized(bed->thread, block, size);
            block[place] ^= 1;
            await(bed, block, size);
            assert_misuse("fl_alloc", block, "was written after it was freed");
            fl_free_sized(bed->thread, block, size);
            assert_int_equal(misuse.count, 0);
        }
    }
}

static void a_block_that_is_left_alone_is_not_reported(void **state)
{
    struct bed *bed = *state;
    static void *blocks[MANY];
    uint64_t seed = 1;
    for (unsigned round = 0; round < 20; round++) {
        size_t size = 1 + next_random(&seed) % 5000;
        assert_int_equal(fl_alloc_many(bed->thread, size, MANY, blocks), 0);
        for (unsigned i = 0; i < MANY; i++)
            memset(blocks[i], (int)i, size);
        fl_free_many(bed->thread, size, MANY, blocks);
        if (round % 4 == 3)
            fl_heap_trim(bed->heap, 0);
    }
    assert_int_equal(misuse.count, 0);
}

static void what_is_written_behind_a_large_block_is_noticed_at_its_end(void **state)
{
    struct bed *bed = *state;
    char *block = allocate(bed, LARGE);
    if (FLI_SANITIZED) {
        fl_free(bed->thread, block);
        skip();
    }
    block[LARGE] = 1;
    fl_free(bed->thread, block);
    assert_misuse("fl_free", block, "was written behind its end");
    block = allocate(bed, LARGE);
    block[LARGE] = 1;
    char *moved = fl_realloc(bed->thread, block, LARGE, 2 * LARGE);
    assert_misuse("fl_realloc", block, "was written behind its end");
    assert_int_equal(moved[LARGE + 1], 0);
    fl_free(bed->thread, moved);
    assert_int_equal(misuse.count, 0);
}

/* ---- What an overflow reaches. */

static sigjmp_buf back;

static void come_back(int signal)
{
    (void)signal;
    siglongjmp(back, 1);
}

/* Whether a byte can be read. */
static bool is_readable(const volatile char *at)
{
    if (sigsetjmp(back, 1) != 0)
        return false;
    (void)*at;
    return true;
}

/* The ends of readable memory around an address: what an overflow reaches in both directions. */
static char *end_of_reach(char *from, ptrdiff_t page)
{
    char *at = from;
    while (is_readable(at))
        at += page;
    return at;
}

struct scene {
    bool is_hardened;
    size_t size;
};

/* In the child: fills a heap with blocks of a class. From each, the memory upward is block memory of this heap until a
 * page that cannot be touched. */
static void run_off_the_end(void *argument)
{
    const struct scene *scene = argument;
    struct fl_options options = {.reserve_bytes = 4 << 20, .hardened = scene->is_hardened};
    struct fl_heap *heap = fl_heap_create(&options, NULL, 0);
    struct fl_thread *thread = fl_thread_attach(heap);
    const struct fli_range *range = &heap->backing.slabs.ranges.at[0];
    char *last = NULL;
    for (char *block; (block = fl_alloc(thread, scene->size)) != NULL;)
        last = block > last ? block : last;
    EXPECT(last + FLI_SLAB_BYTES >= range->base + range->span);
    signal(SIGSEGV, come_back);
    signal(SIGBUS, come_back);
    EXPECT(end_of_reach(range->base, getpagesize()) == range->base + range->span);
    EXPECT((char *)range->classes > range->base + range->span);
}

static void an_overflow_of_any_class_reaches_blocks_alone(void **state)
{
    (void)state;
    if (FLI_SANITIZED)
        skip(); /* which see the reads first */
    for (unsigned c = 1; c < FL_CLASS_COUNT; c += FLI_CHECKED ? 8 : 1) {
        struct scene scene = {.is_hardened = c % 2 == 0, .size = fli_class_bytes(c)};
        assert_child_succeeds(run_off_the_end, &scene);
    }
}

static void an_overflow_out_of_a_further_range_reaches_no_table(void **state)
{
    (void)state;
    struct bed bed = bed_with(&hardened);
    struct fli_ranges *ranges = &bed.heap->backing.slabs.ranges;
    void *blocks[MANY];
    unsigned count = 0;
    if (FLI_RARE_PATHS) /* whose first range is small */
        while (fli_load_own(&ranges->count) < 2 && count < MANY)
            blocks[count++] = allocate(&bed, FL_BLOCK_MAX);
    for (uint32_t i = 0; i < fli_load_own(&ranges->count); i++)
        assert_true((char *)ranges->at[i].classes >= ranges->at[i].base + ranges->at[i].span + getpagesize());
    fl_free_many(bed.thread, FL_BLOCK_MAX, count, blocks);
    end_bed(&bed);
}

static void look_around_a_large_block(void *argument)
{
    struct bed *bed = argument;
    char *block = fl_alloc(bed->thread, LARGE);
    for (unsigned step = 0; step < 3; step++) {
        size_t size = step == 0 ? LARGE : step == 1 ? 5 * LARGE : LARGE / 2;
        block = fl_realloc(bed->thread, block, step == 0 ? LARGE : step == 1 ? LARGE : 5 * LARGE, size);
        signal(SIGSEGV, come_back);
        EXPECT(!is_readable(block - 1));
        EXPECT(end_of_reach(block, getpagesize()) < block + size + size / 4);
        EXPECT(is_readable(block + size - 1));
    }
}

static void pages_around_a_large_block_cannot_be_touched(void **state)
{
    if (FLI_SANITIZED)
        skip();
    assert_child_succeeds(look_around_a_large_block, *state);
}

/* ---- Order. */

/* How many of the blocks lie right behind the one before. */
static unsigned steps(void *const *blocks, unsigned count, size_t size)
{
    unsigned found = 0;
    for (unsigned i = 1; i < count; i++)
        found += (char *)blocks[i] - (char *)blocks[i - 1] == (ptrdiff_t)size;
    return found;
}

static void blocks_come_in_no_order(void **state)
{
    struct bed *bed = *state;
    static void *blocks[MANY];
    for (unsigned round = 0; round < 2; round++) {
        assert_int_equal(fl_alloc_many(bed->thread, SIZE, MANY, blocks), 0);
        /* With magazines of two blocks, one follows the other now and then. */
        assert_true(steps(blocks, MANY, SIZE) < MANY / (FLI_RARE_PATHS ? 4 : 20));
        fl_free_many(bed->thread, SIZE, MANY, blocks);
    }
}

static void what_is_freed_is_one_of_many_that_come_next(void **state)
{
    struct bed *bed = *state;
    unsigned again = 0;
    if (FLI_RARE_PATHS)
        skip(); /* magazines of two blocks */
    for (unsigned i = 0; i < MANY; i++) {
        /* Drained caches are where few blocks would be left to choose from. */
        void *kept = allocate(bed, SIZE), *block = allocate(bed, SIZE);
        fl_free_sized(bed->thread, block, SIZE);
        void *next = allocate(bed, SIZE);
        again += next == block;
        (void)kept;
    }
    /* One of 127 at most: 24 are expected, and 60 are more than seven standard deviations away. */
    assert_true(again < 60);
}

static void first_addresses(void *argument)
{
    struct bed *bed = argument;
    for (unsigned i = 0; i < 8; i++)
        fprintf(stderr, "%p ", fl_alloc(bed->thread, SIZE));
}

static void parent_and_child_get_other_numbers(void **state)
{
    struct bed *bed = *state;
    if (FLI_RARE_PATHS)
        skip();
    fl_free(bed->thread, allocate(bed, SIZE)); /* both find the same magazine */
    struct child_end one = run_child(first_addresses, bed), other = run_child(first_addresses, bed);
    assert_true(strlen(one.output) > 0);
    assert_string_not_equal(one.output, other.output);
}

/* ---- The system's random numbers. */

static void without_random_numbers_there_is_no_hardened_heap(void **state)
{
    (void)state;
    char error[256] = "";
    has_entropy = false;
    assert_null(fl_heap_create(&hardened, error, sizeof error));
    assert_int_equal(errno, ENOMEM);
    assert_contains(error, "random numbers for option hardened");
    has_entropy = true;
}

static void *allocate_on_a_thread(void *argument)
{
    struct bed *bed = argument;
    struct fl_thread *thread = fl_thread_attach(bed->heap);
    static void *blocks[500];
    assert_int_equal(fl_alloc_many(thread, SIZE, COUNT_OF(blocks), blocks), 0);
    assert_true(steps(blocks, COUNT_OF(blocks), SIZE) < COUNT_OF(blocks) / (FLI_RARE_PATHS ? 4 : 20));
    fl_free_many(thread, SIZE, COUNT_OF(blocks), blocks);
    assert_int_equal(fl_thread_detach(thread), 0);
    return NULL;
}

static void a_thread_without_a_seed_of_the_system_gets_one_of_the_heap(void **state)
{
    has_entropy = false;
    run_on_thread(allocate_on_a_thread, *state);
    has_entropy = true;
}

/* ---- The option. */

static void the_option_can_be_given_as_text(void **state)
{
    (void)state;
    struct fl_options options = {0};
    assert_int_equal(fl_options_parse("hardened=1", &options, NULL, 0), 0);
    assert_true(options.hardened);
    assert_int_equal(fl_options_parse("hardened=0", &options, NULL, 0), 0);
    assert_false(options.hardened);
    char error[256];
    assert_int_equal(fl_options_parse("hardened=yes", &options, error, sizeof error), -EINVAL);
    assert_contains(error, "hardened");
}

static void only_hardened_heaps_have_states(void **state)
{
    (void)state;
    struct bed ordinary = bed_with(&(struct fl_options){0}), bed = bed_with(&hardened);
    if (!is_hardened())
        assert_null(ordinary.heap->backing.slabs.ranges.at[0].states);
    fl_free(ordinary.thread, allocate(&ordinary, SIZE));
    fl_free(bed.thread, allocate(&bed, SIZE));
    const struct fli_region *parts = ordinary.heap->backing.slabs.ranges.parts[0];
    if (!is_hardened())
        assert_int_equal(parts[FLI_RANGE_STATES].reserved, 0);
    parts = bed.heap->backing.slabs.ranges.parts[0];
    size_t slabs = parts[FLI_RANGE_SLABS].reserved / FLI_SLAB_BYTES;
    assert_int_equal(parts[FLI_RANGE_STATES].reserved, slabs * FLI_SLAB_BLOCKS_MAX * sizeof(uint32_t));
    end_bed(&ordinary);
    end_bed(&bed);
}

static void states_of_cold_slabs_take_no_memory(void **state)
{
    struct bed *bed = *state;
    enum { COUNT = FLI_RARE_PATHS ? 60000 : 400000 };
    void **blocks = malloc(COUNT * sizeof *blocks);
    assert_int_equal(fl_alloc_many(bed->thread, 16, COUNT, blocks), 0);
    for (unsigned i = 0; i < COUNT; i++)
        memset(blocks[i], 1, 16);
    size_t full = resident_bytes();
    fl_free_many(bed->thread, 16, COUNT, blocks);
    fl_thread_flush(bed->thread);
    fl_heap_trim(bed->heap, 0);
    /* Of 16 bytes per block, and 4 for its state. */
    if (!FLI_SANITIZED)
        assert_true(full - resident_bytes() > (size_t)COUNT * 18);
    free(blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HARDENED_TEST(a_second_free_names_the_block_and_its_size),
        HARDENED_TEST(another_type_is_told_by_its_name),
        HARDENED_TEST(of_threads_that_free_one_block_one_succeeds),
        HARDENED_TEST(a_realloc_changes_the_size_that_a_free_has_to_say),
        HARDENED_TEST(an_object_that_is_dropped_twice_is_cleared_once),
        HARDENED_TEST(each_byte_that_is_written_after_a_free_is_noticed),
        HARDENED_TEST(a_block_that_is_left_alone_is_not_reported),
        HARDENED_TEST(what_is_written_behind_a_large_block_is_noticed_at_its_end),
        cmocka_unit_test(an_overflow_of_any_class_reaches_blocks_alone),
        cmocka_unit_test(an_overflow_out_of_a_further_range_reaches_no_table),
        HARDENED_TEST(pages_around_a_large_block_cannot_be_touched),
        HARDENED_TEST(blocks_come_in_no_order),
        HARDENED_TEST(what_is_freed_is_one_of_many_that_come_next),
        HARDENED_TEST(parent_and_child_get_other_numbers),
        cmocka_unit_test(without_random_numbers_there_is_no_hardened_heap),
        HARDENED_TEST(a_thread_without_a_seed_of_the_system_gets_one_of_the_heap),
        cmocka_unit_test(the_option_can_be_given_as_text),
        cmocka_unit_test(only_hardened_heaps_have_states),
        HARDENED_TEST(states_of_cold_slabs_take_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
