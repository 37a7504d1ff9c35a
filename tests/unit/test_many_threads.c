/* SPDX-License-Identifier: MIT
 *
 * Many threads that each use a few blocks and then sleep, online: what they keep from others.
 */
#include "support.h"

#include "heap/heap.h"
#include "pool/allowance.h"

#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 200, CLASSES = 10, BLOCKS = 10, STEP = 32, ROUNDS = 5 };

#define LIMIT (256 * FLI_MIB)

struct crowd {
    struct fl_heap *heap;
    size_t step;   /* from one size to the next; 0: mixed sizes of 48 to 1024 bytes */
    bool flushes;  /* each thread, and then uses a few again */
    bool in_turns; /* the threads use them one after the other */
    pthread_t threads[THREADS];
    pthread_barrier_t asleep, awake;
};

/* Allocates and frees so many blocks of some sizes at a time, in so many turns. */
static void use_mixed(struct fl_thread *thread, unsigned count, unsigned turns, size_t from, size_t to)
{
    void *blocks[CLASSES * BLOCKS];
    size_t sizes[CLASSES * BLOCKS];
    for (unsigned random = (unsigned)(uintptr_t)thread; turns > 0; turns--) {
        for (unsigned i = 0; i < count; i++) {
            random = random * 1664525 + 1013904223;
            sizes[i] = from + (random >> 8) % (to - from + 1);
            assert_non_null(blocks[i] = fl_alloc(thread, sizes[i]));
            memset(blocks[i], 1, sizes[i]);
        }
        for (unsigned i = 0; i < count; i++)
            fl_free_sized(thread, blocks[i], sizes[i]);
    }
}

/* Uses and frees ten blocks of each of ten classes, or as many of mixed sizes. */
static void use_a_few(struct fl_thread *thread, size_t step)
{
    void *blocks[BLOCKS];
    if (step == 0)
        use_mixed(thread, CLASSES * BLOCKS, 1, 48, 1024);
    for (unsigned c = 1; c <= CLASSES && step > 0; c++) {
        for (unsigned i = 0; i < BLOCKS; i++) {
            assert_non_null(blocks[i] = fl_alloc(thread, c * step));
            memset(blocks[i], 1, c * step);
        }
        for (unsigned i = 0; i < BLOCKS; i++)
            fl_free_sized(thread, blocks[i], c * step);
    }
}

static void *sleeper(void *arg)
{
    static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
    struct crowd *crowd = arg;
    struct fl_thread *thread = fl_thread_attach(crowd->heap);
    if (crowd->in_turns)
        pthread_mutex_lock(&turn);
    use_a_few(thread, crowd->step);
    if (crowd->flushes) {
        fl_thread_flush(thread);
        use_a_few(thread, crowd->step);
    }
    if (crowd->in_turns)
        pthread_mutex_unlock(&turn);
    pthread_barrier_wait(&crowd->asleep);
    pthread_barrier_wait(&crowd->awake);
    use_a_few(thread, crowd->step);
    fl_thread_detach(thread);
    return NULL;
}

static void gather(struct crowd *crowd, struct fl_heap *heap)
{
    crowd->heap = heap;
    pthread_barrier_init(&crowd->asleep, NULL, THREADS + 1);
    pthread_barrier_init(&crowd->awake, NULL, THREADS + 1);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&crowd->threads[i], NULL, sleeper, crowd), 0);
    pthread_barrier_wait(&crowd->asleep);
}

static void disperse(struct crowd *crowd)
{
    pthread_barrier_wait(&crowd->awake);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(crowd->threads[i], NULL);
    pthread_barrier_destroy(&crowd->asleep);
    pthread_barrier_destroy(&crowd->awake);
}

/* A thread that is stopped with the lock of the shared home makes others begin slabs of their own. So on a busy machine a
 * crowd takes more now and then, but one of a few rounds is undisturbed. */

static bool few_share_slabs(void)
{
    struct bed bed = bed_with(NULL);
    struct crowd crowd = {.step = STEP};
    gather(&crowd, bed.heap);
    size_t bytes = stats_of(bed.heap).slab_bytes;
    disperse(&crowd);
    end_bed(&bed);
    print_message("%zu KiB of slabs\n", bytes / FLI_KIB);
    return bytes < (FLI_RARE_PATHS ? 80 : 40) * FLI_MIB; /* one slab a thread and class would be 125 MiB */
}

static void few_blocks_of_many_threads_share_slabs(void **state)
{
    (void)state;
    for (unsigned round = 1; !few_share_slabs(); round++)
        assert_true(round < ROUNDS);
}

/* Whether another thread gets 95 % of the limit; where rare paths are common, `then`. More threads find the shared home
 * busy there. */
static bool much_is_left(struct bed *bed, size_t limit, unsigned then)
{
    enum { SIZE = 1024 };
    void *list = NULL;
    size_t had = 0;
    for (void *block; (block = fl_alloc(bed->thread, SIZE)) != NULL; list = block, had += SIZE)
        *(void **)block = list;
    while (list != NULL) {
        void *next = *(void **)list;
        fl_free_sized(bed->thread, list, SIZE);
        list = next;
    }
    fl_thread_flush(bed->thread);
    return had >= limit / 100 * (FLI_RARE_PATHS ? then : 95);
}

/* Whether sleepers leave much of the limit, after as many others were there before them as `crowds` says. */
static bool leave_much(struct crowd crowd, size_t limit, unsigned crowds, unsigned then)
{
    struct bed bed = bed_with(&(struct fl_options){.limit_bytes = limit});
    for (; crowds > 0; crowds--) {
        gather(&crowd, bed.heap);
        disperse(&crowd);
    }
    gather(&crowd, bed.heap);
    bool much = much_is_left(&bed, limit, then);
    disperse(&crowd);
    end_bed(&bed);
    return much;
}

static void check_sleepers(struct crowd crowd, size_t limit, unsigned crowds, unsigned then)
{
    for (unsigned round = 1; !leave_much(crowd, limit, crowds, then); round++)
        assert_true(round < ROUNDS);
}

static void sleepers_leave_the_others_95_percent_of_the_limit(void **state)
{
    (void)state;
    check_sleepers((struct crowd){.step = STEP}, LIMIT, 0, 70);
}

static void so_do_those_that_have_flushed_before(void **state)
{
    (void)state;
    check_sleepers((struct crowd){.step = STEP, .flushes = true}, LIMIT, 0, 70);
}

static void and_those_that_come_after_others(void **state)
{
    (void)state;
    check_sleepers((struct crowd){.step = STEP}, LIMIT, 1, 50);
}

static void as_much_is_left_of_a_low_limit(void **state)
{
    (void)state;
    if (FLI_SANITIZED)
        skip(); /* the others take a minute there */
    check_sleepers((struct crowd){.step = STEP}, 64 * FLI_MIB, 0, 50);
}

static void as_much_is_left_by_those_with_larger_blocks(void **state)
{
    (void)state;
    if (FLI_SANITIZED)
        skip();
    check_sleepers((struct crowd){.step = 200, .flushes = true}, LIMIT, 0, 70);
}

static void as_much_is_left_by_those_with_larger_blocks_of_a_low_limit(void **state)
{
    (void)state;
    if (FLI_SANITIZED)
        skip();
    check_sleepers((struct crowd){.step = 200}, 64 * FLI_MIB, 0, 40);
}

static void as_much_is_left_by_those_with_mixed_sizes(void **state)
{
    (void)state;
    if (FLI_SANITIZED)
        skip();
    check_sleepers((struct crowd){.flushes = true}, LIMIT, 0, 70);
    check_sleepers((struct crowd){.in_turns = true}, 64 * FLI_MIB, 0, 40);
}

static void caches_of_a_crowd_have_room_for_little(void **state)
{
    (void)state;
    if (FLI_SANITIZED)
        skip();
    struct bed bed = bed_with(&(struct fl_options){.limit_bytes = 64 * FLI_MIB});
    struct crowd crowd = {.step = 200};
    gather(&crowd, bed.heap);
    /* A 40th of the limit, and a block of each class for some. */
    assert_true(stats_of(bed.heap).cached_bytes <= 64 * FLI_MIB / 40 * 5 / 4);
    disperse(&crowd);
    end_bed(&bed);
}

/* How often the bed's thread, which uses blocks of some sizes for a while, has to come to what is shared for each block.
 * All the while a crowd sleeps. */
static double visits(struct bed *bed, size_t from, size_t to)
{
    enum { AT_A_TIME = 4, WARM = 5000, TURNS = 5000 };
    use_mixed(bed->thread, AT_A_TIME, WARM, from, to);
    struct fl_stats before = stats_of(bed->heap);
    use_mixed(bed->thread, AT_A_TIME, TURNS, from, to);
    struct fl_stats after = stats_of(bed->heap);
    uint64_t count = after.home_visits - before.home_visits + after.shared_updates - before.shared_updates;
    return (double)count / (AT_A_TIME * TURNS);
}

static void a_thread_in_a_crowd_has_caches_for_what_it_uses_now(void **state)
{
    (void)state;
    if (FLI_SANITIZED || FLI_RARE_PATHS)
        skip();
    struct bed bed = bed_with(&(struct fl_options){.limit_bytes = 64 * FLI_MIB});
    struct crowd crowd = {.step = STEP};
    gather(&crowd, bed.heap);
    /* 38 classes want more than the thread's share. Without a cache each block would take four visits. */
    assert_true(visits(&bed, 48, 1024) < 3);
    /* Later it needs one of them. */
    assert_true(visits(&bed, 600, 640) < 0.5);
    disperse(&crowd);
    end_bed(&bed);
}

/* ---- A crowd in a heap without a limit. */

enum { IDLE_MOST = 64, FILLING = 64 };

/* Allocates more of each larger class than the two magazines of a cache hold, and then frees all. One class after the
 * other would not fill all caches: a thread sends home what it has of classes that it has not used of late (quiet.h). */
static void fill_caches(struct fl_thread *thread)
{
    static void *blocks[FL_CLASS_COUNT][FILLING];
    unsigned first = fli_class_of_size(2048) + 1;
    for (unsigned c = first; c < FL_CLASS_COUNT; c++)
        for (size_t i = 0; i < FILLING; i++)
            assert_non_null(blocks[c][i] = fl_alloc(thread, fli_class_bytes(c)));
    for (unsigned c = first; c < FL_CLASS_COUNT; c++)
        fl_free_many(thread, fli_class_bytes(c), FILLING, blocks[c]);
}

static void full_caches_of_idle_threads_are_bounded_at_every_moment(void **state)
{
    (void)state;
    struct bed bed = bed_with(&(struct fl_options){.retain_bytes = 1});
    struct fli_allowance *allowance = &bed.heap->backing.allowance;
    struct fl_thread *idle[IDLE_MOST];
    unsigned few = (unsigned)(allowance->quota.most / allowance->full), count = 3 * few + 6;
    assert_in_range(count, 1, IDLE_MOST);
    size_t one = 0;
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(fli_allowance_is_scarce(&bed.heap->backing), i >= few);
        assert_non_null(idle[i] = fl_thread_attach(bed.heap));
        fill_caches(idle[i]);
        one = i == 0 ? stats_of(bed.heap).cached_bytes : one;
        assert_in_range(stats_of(bed.heap).cached_bytes, 1, 2 * allowance->quota.most);
    }
    assert_true(one > allowance->full / 2); /* with few threads, each fills its caches */
    assert_true(count * one > 2 * allowance->quota.most);
    for (unsigned i = 0; i < count; i++) {
        fill_caches(idle[i]); /* where memory has become scarce since */
        assert_int_equal(fl_thread_detach(idle[i]), 0);
        assert_sound(bed.heap);
    }
    end_bed(&bed);
}

static void what_is_counted_beyond_the_base_is_given_back(void **state)
{
    (void)state;
    struct bed bed = bed_with(NULL);
    struct fli_allowance *allowance = &bed.heap->backing.allowance;
    struct fl_thread *others[IDLE_MOST];
    unsigned count = (unsigned)(allowance->quota.most / allowance->full);
    for (unsigned i = 0; i < count; i++)
        assert_non_null(others[i] = fl_thread_attach(bed.heap));
    for (unsigned i = 0; i < count; i++) {
        fill_caches(others[i]);
        assert_in_range(fli_load_relaxed(&allowance->quota.beyond), 1, allowance->quota.most / 2 + allowance->full);
    }
    for (unsigned i = 0; i < count; i++) {
        size_t before = fli_load_relaxed(&allowance->quota.beyond);
        assert_int_equal(fl_thread_detach(others[i]), 0);
        assert_true(fli_load_relaxed(&allowance->quota.beyond) < before);
    }
    assert_int_equal(fli_load_relaxed(&allowance->quota.beyond), 0);
    end_bed(&bed);
}

/* ---- A crowd that works. */

enum { WORKERS = 24, PLACES = 1024, TURNS_EACH = FLI_RARE_PATHS ? 4000 : 20000 };

struct works {
    struct fl_heap *heap;
    pthread_barrier_t done;
    _Atomic(size_t *) places[PLACES]; /* blocks of all threads, each with its size in front */
};

static void end_block(struct fl_thread *thread, size_t *block)
{
    size_t size = block[0];
    assert_int_equal(block[1], ~size);
    fl_free_sized(thread, block, size);
}

static void *worker(void *arg)
{
    struct works *works = arg;
    struct fl_thread *thread = fl_thread_attach(works->heap);
    unsigned random = (unsigned)(uintptr_t)thread;
    for (unsigned turn = 1; turn <= TURNS_EACH; turn++) {
        random = random * 1664525 + 1013904223;
        size_t size = turn % 64 == 0 ? 4096 + (random >> 8) % 16384 : 16 + (random >> 8) % 1500;
        size_t *block = turn % 4 != 0 ? fl_alloc(thread, size) : NULL;
        if (block != NULL) {
            block[0] = size;
            block[1] = ~size;
        }
        block = atomic_exchange(&works->places[(random >> 6) % PLACES], block);
        if (block != NULL)
            end_block(thread, block);
        if (turn % 5000 == 0)
            fl_thread_flush(thread);
    }
    pthread_barrier_wait(&works->done);
    fl_thread_detach(thread);
    return NULL;
}

static void work_in(const struct fl_options *options)
{
    static struct works works;
    struct bed bed = bed_with(options);
    pthread_t threads[WORKERS];
    size_t *block;
    works.heap = bed.heap;
    pthread_barrier_init(&works.done, NULL, WORKERS);
    for (unsigned i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, worker, &works), 0);
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&works.done);
    for (unsigned i = 0; i < PLACES; i++)
        if ((block = atomic_exchange(&works.places[i], NULL)) != NULL)
            end_block(bed.thread, block);
    assert_true(fli_allowance_is_scarce(&bed.heap->backing));
    assert_int_equal(stats_of(bed.heap).live_blocks, 0);
    end_bed(&bed);
}

static void no_block_is_lost_where_caches_have_little_room(void **state)
{
    (void)state;
    work_in(&(struct fl_options){.limit_bytes = 16 * FLI_MIB});
}

/* As threads start while others work. */
static void nor_where_they_come_to_have_little_room(void **state)
{
    (void)state;
    work_in(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_blocks_of_many_threads_share_slabs),
        cmocka_unit_test(sleepers_leave_the_others_95_percent_of_the_limit),
        cmocka_unit_test(so_do_those_that_have_flushed_before),
        cmocka_unit_test(and_those_that_come_after_others),
        cmocka_unit_test(as_much_is_left_of_a_low_limit),
        cmocka_unit_test(as_much_is_left_by_those_with_larger_blocks),
        cmocka_unit_test(as_much_is_left_by_those_with_larger_blocks_of_a_low_limit),
        cmocka_unit_test(as_much_is_left_by_those_with_mixed_sizes),
        cmocka_unit_test(caches_of_a_crowd_have_room_for_little),
        cmocka_unit_test(a_thread_in_a_crowd_has_caches_for_what_it_uses_now),
        cmocka_unit_test(full_caches_of_idle_threads_are_bounded_at_every_moment),
        cmocka_unit_test(what_is_counted_beyond_the_base_is_given_back),
        cmocka_unit_test(no_block_is_lost_where_caches_have_little_room),
        cmocka_unit_test(nor_where_they_come_to_have_little_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
