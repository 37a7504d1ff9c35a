/* SPDX-License-Identifier: MIT
 *
 * Where blocks lie, by the public interface: what a program allocates in a row lies in a row, whatever the order in
 * which it freed it; and slabs of which a few blocks are in use, or none, serve whoever needs blocks.
 *
 * What a thread has just freed comes back first, in the order in which it was freed: as many blocks as its statistics
 * call cached. What is said here holds for what comes after these.
 */
#include "support.h"

#include "heap/thread.h"

enum { SLAB = 64 << 10, SLABS = FLI_RARE_PATHS ? 24 : 96, MOST = SLABS * (SLAB / 16), LISTS = 64, SIZE = 48 };

static void *blocks[MOST];
static uint32_t numbers[MOST];

static const size_t sizes[] = {16, 48, 112, 496, 1024, 2048};

/* What a thread keeps is a share of its processor's cache, and leaves holes in slabs. Here each processor's is alike. */
static struct bed spread_bed(void)
{
    struct bed bed = bed_with(&(struct fl_options){.retain_bytes = SIZE_MAX});
    bed.heap->backing.small_bytes = fli_min(bed.heap->backing.small_bytes, 256 << 10);
    return bed;
}

static unsigned blocks_of_slab(size_t size)
{
    return (unsigned)(SLAB / size);
}

/* ---- Orders in which all blocks are freed. */

enum order { ASCENDING, DESCENDING, RANDOM, LIST_AFTER_LIST, ORDERS };

static void shuffle(uint32_t *array, unsigned count, uint64_t *seed)
{
    for (unsigned i = count; i > 1; i--) {
        unsigned j = (unsigned)(next_random(seed) % i);
        uint32_t swapped = array[i - 1];
        array[i - 1] = array[j];
        array[j] = swapped;
    }
}

/* Lists that grew in turns: block i is of list i % LISTS. */
static void number_by_lists(unsigned count)
{
    unsigned done = 0;
    for (unsigned list = 0; list < LISTS; list++)
        for (unsigned i = list; i < count; i += LISTS)
            numbers[done++] = i;
}

static void number(unsigned count, enum order order, uint64_t *seed)
{
    for (unsigned i = 0; i < count; i++)
        numbers[i] = order == DESCENDING ? count - 1 - i : i;
    if (order == RANDOM)
        shuffle(numbers, count, seed);
    if (order == LIST_AFTER_LIST)
        number_by_lists(count);
}

static void make(struct fl_thread *thread, size_t size, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        blocks[i] = fl_alloc(thread, size);
        assert_non_null(blocks[i]);
    }
}

static void drop(struct fl_thread *thread, size_t size, unsigned count, enum order order, uint64_t *seed)
{
    number(count, order, seed);
    for (unsigned i = 0; i < count; i++)
        fl_free_sized(thread, blocks[numbers[i]], size);
}

/* ---- What order there is in what was allocated in a row. */

struct row {
    unsigned within; /* steps within a slab */
    unsigned close;  /* of these, up by at most 1 KiB, or one block */
    unsigned runs;   /* stays in a slab */
    unsigned count;
};

static struct row look_at(void *const *at, unsigned count, size_t size)
{
    struct row row = {.count = count, .runs = 1};
    uintptr_t most = fli_max(size, 1024);
    for (unsigned i = 1; i < count; i++) {
        uintptr_t before = (uintptr_t)at[i - 1], after = (uintptr_t)at[i];
        if (before / SLAB != after / SLAB) {
            row.runs++;
            continue;
        }
        row.within++;
        row.close += after > before && after - before <= most;
    }
    return row;
}

static void assert_in_rows(struct row row, size_t size)
{
    assert_true(row.close >= row.within * 0.95);
    assert_true(row.count / row.runs >= fli_min(blocks_of_slab(size), 1000) * 9 / 10);
}

/* What a thread keeps leaves holes: where a hole makes a step too wide, there are to be few. */
static unsigned slabs_for(struct fl_heap *heap, size_t size)
{
    size_t slabs = 2 * size > 1024 ? 40 * heap->backing.small_bytes / SLAB : 0;
    return (unsigned)fli_max(slabs, SLABS);
}

static void what_was_all_freed_comes_back_in_rows(void **state)
{
    (void)state;
    uint64_t seed = 7;
    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        struct bed bed = spread_bed();
        unsigned slabs = slabs_for(bed.heap, sizes[s]), count = slabs * blocks_of_slab(sizes[s]);
        assert_true(count <= MOST);
        make(bed.thread, sizes[s], count);
        for (unsigned round = 0; round < 2 * ORDERS; round++) {
            drop(bed.thread, sizes[s], count, round % ORDERS, &seed);
            unsigned kept = (unsigned)class_stats_of(bed.heap, sizes[s]).cached;
            assert_true(kept < count / 2);
            make(bed.thread, sizes[s], count);
            assert_in_rows(look_at(blocks + kept, count - kept, sizes[s]), sizes[s]);
        }
        assert_in_range(class_stats_of(bed.heap, sizes[s]).slabs, slabs, slabs + 1);
        drop(bed.thread, sizes[s], count, ASCENDING, &seed);
        end_bed(&bed);
    }
}

/* Blocks of several classes that are freed in between do not scatter those of the others. */
static void rows_of_classes_that_are_used_in_turns_are_rows_too(void **state)
{
    (void)state;
    enum { CLASSES = 4, EACH = MOST / CLASSES };
    static const size_t of[CLASSES] = {32, 48, 64, 112};
    struct bed bed = spread_bed();
    uint64_t seed = 3;
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < CLASSES * EACH; i++)
            blocks[i % CLASSES * EACH + i / CLASSES] = fl_alloc(bed.thread, of[i % CLASSES]);
        for (unsigned c = 0; c < CLASSES && round > 0; c++) /* the first half: more than the thread keeps */
            assert_in_rows(look_at(blocks + c * EACH + EACH / 2, EACH / 2, of[c]), of[c]);
        number(CLASSES * EACH, RANDOM, &seed);
        for (unsigned i = 0; i < CLASSES * EACH; i++)
            fl_free_sized(bed.thread, blocks[numbers[i]], of[numbers[i] / EACH]);
    }
    end_bed(&bed);
}

/* ---- Heaps of which a part is replaced. */

enum { AGED = SLABS * (SLAB / SIZE), AGE = 10, LARGE_BATCH = AGED / 3, SMALL_BATCH = 1000 };

/* Frees `count` random blocks and has those of a batch in their places. Stores the freed ones. */
static void replace(struct fl_thread *thread, void *const *batch, void **freed, unsigned count, uint64_t *seed)
{
    for (unsigned i = 0; i < count; i++) {
        unsigned at = (unsigned)(next_random(seed) % AGED);
        freed[i] = blocks[at];
        fl_free_sized(thread, blocks[at], SIZE);
        blocks[at] = batch[i];
    }
}

/* How many steps go up within a slab. */
static unsigned steps_up(void *const *at, unsigned count)
{
    unsigned up = 0;
    for (unsigned i = 1; i < count; i++)
        up += (uintptr_t)at[i - 1] / SLAB == (uintptr_t)at[i] / SLAB && at[i] > at[i - 1];
    return up;
}

/* Batches that are larger than what a thread keeps, new blocks before old ones go, until ten times the heap has been
 * replaced: a batch takes the free blocks of one slab after the other, upwards, and no slab is added. */
static void large_batches_take_one_slab_after_the_other(void **state)
{
    (void)state;
    static void *batch[LARGE_BATCH], *freed[LARGE_BATCH];
    struct bed bed = spread_bed();
    uint64_t seed = 5;
    size_t kept = 0, slabs = 0;
    make(bed.thread, SIZE, AGED);
    for (unsigned done = 0; done < AGE * AGED; done += LARGE_BATCH) {
        kept = class_stats_of(bed.heap, SIZE).cached;
        assert_int_equal(fl_alloc_many(bed.thread, SIZE, LARGE_BATCH, batch), 0);
        if (slabs == 0)
            slabs = class_stats_of(bed.heap, SIZE).slabs;
        replace(bed.thread, batch, freed, LARGE_BATCH, &seed);
    }
    assert_in_range(class_stats_of(bed.heap, SIZE).slabs, slabs, slabs + 1);
    if (kept < LARGE_BATCH / 2) {
        struct row row = look_at(batch + kept, (unsigned)(LARGE_BATCH - kept), SIZE);
        assert_true(steps_up(batch + kept, row.count) >= row.within * 0.99);
        assert_true(row.runs <= slabs + slabs / 20 + 2);
    }
    drop(bed.thread, SIZE, AGED, ASCENDING, &seed);
    end_bed(&bed);
}

static int by_address(const void *a, const void *b)
{
    uintptr_t left = *(const uintptr_t *)a, right = *(const uintptr_t *)b;
    return (left > right) - (left < right);
}

/* Batches that a thread can keep consist of what it freed last, which is still in its processor's caches. */
static void small_batches_take_what_was_freed_last(void **state)
{
    (void)state;
    if (FLI_RARE_PATHS) /* which keep next to nothing */
        skip();
    struct bed bed = spread_bed();
    void *batch[SMALL_BATCH], *freed[2][SMALL_BATCH], *last[2 * SMALL_BATCH];
    uint64_t seed = 5;
    unsigned batches = AGE * AGED / SMALL_BATCH, found = 0;
    make(bed.thread, SIZE, AGED + AGED / 2);
    fl_free_many(bed.thread, SIZE, AGED / 2, blocks + AGED); /* there is more to choose from */
    for (unsigned b = 0; b < batches; b++) {
        assert_int_equal(fl_alloc_many(bed.thread, SIZE, SMALL_BATCH, batch), 0);
        memcpy(last, freed, sizeof last);
        qsort(last, COUNT_OF(last), sizeof *last, by_address);
        for (unsigned i = 0; i < SMALL_BATCH && b >= 2; i++)
            found += bsearch(&batch[i], last, COUNT_OF(last), sizeof *last, by_address) != NULL;
        replace(bed.thread, batch, freed[b % 2], SMALL_BATCH, &seed);
    }
    assert_true(found >= (batches - 2) * SMALL_BATCH * 0.95);
    assert_in_range(class_stats_of(bed.heap, SIZE).slabs, SLABS, SLABS + SLABS / 2 + 2);
    drop(bed.thread, SIZE, AGED, ASCENDING, &seed);
    end_bed(&bed);
}

/* ---- Slabs that others need. */

enum { DEAD = 1000, AT_ONCE = 50, EACH = 5 };

/* Of each thread that dies some blocks stay in use. */
static void leave_some(struct fl_heap *heap, void **left)
{
    struct fl_thread *threads[AT_ONCE];
    for (unsigned i = 0; i < AT_ONCE; i++) {
        threads[i] = fl_thread_attach(heap);
        assert_non_null(threads[i]);
    }
    for (unsigned i = 0; i < AT_ONCE; i++)
        assert_int_equal(fl_alloc_many(threads[i], SIZE, EACH, left + (size_t)i * EACH), 0);
    for (unsigned i = 0; i < AT_ONCE; i++)
        assert_int_equal(fl_thread_detach(threads[i]), 0);
}

static void threads_that_die_with_a_few_blocks_leave_their_slabs_to_others(void **state)
{
    (void)state;
    static void *left[DEAD * EACH];
    struct bed bed = spread_bed();
    for (unsigned i = 0; i < DEAD; i += AT_ONCE)
        leave_some(bed.heap, left + (size_t)i * EACH);
    size_t slabs = class_stats_of(bed.heap, SIZE).slabs;
    assert_in_range(slabs, 1, AT_ONCE + 2);
    /* The survivor gets what is free in them before there is a fresh one, but for a slab that threads share. */
    unsigned count = (unsigned)slabs * blocks_of_slab(SIZE) - DEAD * EACH;
    make(bed.thread, SIZE, count);
    assert_in_range(class_stats_of(bed.heap, SIZE).slabs, slabs, slabs + 1);
    fl_free_many(bed.thread, SIZE, DEAD * EACH, left);
    fl_free_many(bed.thread, SIZE, count, blocks);
    end_bed(&bed);
}

static void an_idle_threads_free_slabs_serve_others(void **state)
{
    (void)state;
    struct bed bed = spread_bed();
    struct fl_thread *other = fl_thread_attach(bed.heap);
    uint64_t seed = 1;
    unsigned count = SLABS * blocks_of_slab(SIZE);
    make(bed.thread, SIZE, count);
    drop(bed.thread, SIZE, count, ASCENDING, &seed);
    size_t kept = class_stats_of(bed.heap, SIZE).cached;
    /* The first thread has neither flushed nor gone offline. */
    make(other, SIZE, count);
    assert_in_range(class_stats_of(bed.heap, SIZE).slabs, SLABS, SLABS + kept / blocks_of_slab(SIZE) + 3);
    drop(other, SIZE, count, DESCENDING, &seed);
    assert_int_equal(fl_thread_detach(other), 0);
    end_bed(&bed);
}

/* Such a thread leaves those too of which a part is in use. */
static void slabs_of_a_thread_that_has_flushed_serve_others(bool goes_offline)
{
    struct bed bed = spread_bed();
    struct fl_thread *other = fl_thread_attach(bed.heap);
    unsigned count = SLABS * blocks_of_slab(SIZE);
    make(bed.thread, SIZE, count);
    for (unsigned i = 0; i < count; i++)
        if (i % 10 != 0)
            fl_free_sized(bed.thread, blocks[i], SIZE);
    fl_thread_flush(bed.thread);
    if (goes_offline)
        fl_thread_offline(bed.thread);
    for (unsigned i = 0; i < count; i++)
        if (i % 10 != 0)
            blocks[i] = fl_alloc(other, SIZE);
    assert_in_range(class_stats_of(bed.heap, SIZE).slabs, SLABS, SLABS + 1);
    fl_free_many(other, SIZE, count, blocks);
    assert_int_equal(fl_thread_detach(other), 0);
    if (goes_offline)
        fl_thread_online(bed.thread);
    end_bed(&bed);
}

static void an_offline_threads_slabs_serve_others(void **state)
{
    (void)state;
    slabs_of_a_thread_that_has_flushed_serve_others(true);
}

static void the_slabs_of_a_thread_that_has_flushed_serve_others(void **state)
{
    (void)state;
    slabs_of_a_thread_that_has_flushed_serve_others(false);
}

/* The next thread has the same home as the dead one, and its slabs: a block belongs to one of the two all the same. */
static void blocks_of_a_dead_thread_and_of_the_next_one_are_different_blocks(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    struct bed bed = spread_bed();
    for (unsigned round = 0; round < 20; round++) {
        struct fl_thread *thread = fl_thread_attach(bed.heap);
        unsigned char **at = (unsigned char **)blocks + (round % 2 != 0 ? COUNT : 0);
        unsigned char **before = (unsigned char **)blocks + (round % 2 != 0 ? 0 : COUNT);
        for (unsigned i = 0; i < COUNT; i++)
            memset(at[i] = fl_alloc(thread, SIZE), (int)(round + 1), SIZE);
        /* Those of the thread before are freed here, while the new one goes on taking from the slabs. */
        for (unsigned i = 0; i < COUNT && round > 0; i++) {
            assert_int_equal(before[i][0], round);
            assert_int_equal(before[i][SIZE - 1], round);
            fl_free_sized(i % 2 != 0 ? bed.thread : thread, before[i], SIZE);
        }
        assert_int_equal(fl_thread_detach(thread), 0);
        assert_sound(bed.heap);
    }
    fl_free_many(bed.thread, SIZE, COUNT, blocks + COUNT);
    assert_in_range(class_stats_of(bed.heap, SIZE).slabs, 1, 4 * COUNT / blocks_of_slab(SIZE));
    end_bed(&bed);
}

/* A program in phases, each with blocks of one size, which it drops in random order. A few blocks of each size stay in
 * magazines, each in another slab. */
static void the_memory_of_one_phase_serves_the_next(void **state)
{
    (void)state;
    enum { FEW = SLABS / 6 };
    struct bed bed = spread_bed();
    uint64_t seed = 3;
    for (unsigned phase = 0; phase < 4 * sizeof sizes / sizeof *sizes; phase++) {
        size_t size = sizes[phase % (sizeof sizes / sizeof *sizes)];
        unsigned count = SLABS * blocks_of_slab(size);
        make(bed.thread, size, count);
        assert_in_range(stats_of(bed.heap).slabs, SLABS, SLABS + FEW);
        drop(bed.thread, size, count, RANDOM, &seed);
    }
    end_bed(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_all_freed_comes_back_in_rows),
        cmocka_unit_test(rows_of_classes_that_are_used_in_turns_are_rows_too),
        cmocka_unit_test(large_batches_take_one_slab_after_the_other),
        cmocka_unit_test(small_batches_take_what_was_freed_last),
        cmocka_unit_test(threads_that_die_with_a_few_blocks_leave_their_slabs_to_others),
        cmocka_unit_test(an_idle_threads_free_slabs_serve_others),
        cmocka_unit_test(an_offline_threads_slabs_serve_others),
        cmocka_unit_test(the_slabs_of_a_thread_that_has_flushed_serve_others),
        cmocka_unit_test(blocks_of_a_dead_thread_and_of_the_next_one_are_different_blocks),
        cmocka_unit_test(the_memory_of_one_phase_serves_the_next),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
