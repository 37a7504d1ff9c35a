/* SPDX-License-Identifier: MIT
 *
 * What a heap holds and does not use goes back to the OS. The clock is the test's.
 */
/* link: -Wl,--wrap=clock_gettime */
#include "support.h"

#include "heap/heap.h"
#include "heap/trim.h"

#include <sys/mman.h>
#include <time.h>

enum { SIZE = 1024, MANY = 64 * 1024, LARGE = 1 << 20, PERIOD_MS = 1000, LOOKS = 8 };

static uint64_t now_ms;
static uint64_t now_us, us_per_look; /* besides, and how many each look at the clock takes */

int __wrap_clock_gettime(clockid_t clock, struct timespec *now);

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    (void)clock;
    uint64_t us = __atomic_load_n(&now_ms, __ATOMIC_RELAXED) * 1000 +
                  __atomic_add_fetch(&now_us, us_per_look, __ATOMIC_RELAXED) + 1000000;
    *now = (struct timespec){.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000};
    return 0;
}

static void pass_time(uint64_t ms)
{
    __atomic_fetch_add(&now_ms, ms, __ATOMIC_RELAXED);
}

static struct bed bed_that_retains(unsigned decay_ms)
{
    struct fl_options options = {.retain_bytes = 512 * FLI_MIB, .decay_ms = decay_ms};
    struct bed bed = {.heap = fl_heap_create(&options, NULL, 0)};
    assert_non_null(bed.heap);
    bed.thread = fl_thread_attach(bed.heap);
    assert_non_null(bed.thread);
    return bed;
}

/* Uses 64 MiB, twice so that the heap comes to retain them, and frees them. */
static void burst(struct fl_thread *thread)
{
    static void *blocks[MANY];
    for (unsigned wave = 0; wave < 4; wave++) {
        for (unsigned i = 0; i < MANY; i++)
            memset(blocks[i] = fl_alloc(thread, SIZE), 1, SIZE);
        for (unsigned i = 0; i < MANY; i++)
            fl_free_sized(thread, blocks[i], SIZE);
    }
    fl_thread_flush(thread);
}

/* A few allocations and frees that need a magazine. */
static void trickle(struct fl_thread *thread)
{
    fl_free_sized(thread, fl_alloc(thread, 16), 16);
    fl_thread_flush(thread);
    fl_free_sized(thread, fl_alloc(thread, 16), 16);
}

static void trickle_for(struct fl_thread *thread, unsigned ms)
{
    for (unsigned passed = 0; passed < ms; passed += PERIOD_MS / LOOKS) {
        pass_time(PERIOD_MS / LOOKS);
        trickle(thread);
    }
}

/* The same without flushes, which would empty the rack: exchanges of the magazines of another class. */
static void trickle_without_flush_for(struct fl_thread *thread, unsigned ms)
{
    void *blocks[3 * 254];
    for (unsigned passed = 0; passed < ms; passed += PERIOD_MS / LOOKS) {
        pass_time(PERIOD_MS / LOOKS);
        for (unsigned i = 0; i < COUNT_OF(blocks); i++)
            blocks[i] = fl_alloc(thread, 16);
        for (unsigned i = 0; i < COUNT_OF(blocks); i++)
            fl_free_sized(thread, blocks[i], 16);
    }
}

/* Bytes with memory behind them that nothing lives in. */
static size_t held(struct fl_heap *heap)
{
    struct fl_stats stats = stats_of(heap);
    return stats.parked_bytes + stats.pooled_bytes + stats.idle_bytes + stats.spare_bytes;
}

static void what_was_not_used_for_two_periods_goes_back(void **state)
{
    (void)state;
    struct bed bed = bed_that_retains(0);
    burst(bed.thread);
    assert_true(held(bed.heap) > MANY * SIZE / 4);
    trickle_for(bed.thread, 3 * PERIOD_MS);
    assert_true(held(bed.heap) < 2 * FLI_MIB);
    end_bed(&bed);
}

static void after_a_silence_the_first_looks_return_all(void **state)
{
    (void)state;
    struct bed bed = bed_that_retains(0);
    burst(bed.thread);
    pass_time(10 * PERIOD_MS);
    for (unsigned i = 0; i < LOOKS; i++) {
        trickle(bed.thread);
        pass_time(PERIOD_MS / LOOKS);
    }
    assert_true(held(bed.heap) < 2 * FLI_MIB);
    end_bed(&bed);
}

static void what_is_used_in_each_period_stays(void **state)
{
    (void)state;
    struct bed bed = bed_that_retains(0);
    burst(bed.thread);
    uint64_t trimmed = stats_of(bed.heap).trimmed_bytes;
    void *blocks[MANY / 8];
    for (unsigned look = 0; look < 4 * LOOKS; look++) {
        for (unsigned i = 0; i < COUNT_OF(blocks); i++)
            blocks[i] = fl_alloc(bed.thread, SIZE);
        pass_time(PERIOD_MS / LOOKS);
        trickle(bed.thread); /* the look finds them in use */
        for (unsigned i = 0; i < COUNT_OF(blocks); i++)
            fl_free_sized(bed.thread, blocks[i], SIZE);
    }
    size_t gone = (size_t)(stats_of(bed.heap).trimmed_bytes - trimmed);
    assert_true(held(bed.heap) >= COUNT_OF(blocks) * SIZE / 2);
    assert_true(gone <= MANY * SIZE);
    end_bed(&bed);
}

struct pending {
    uint64_t words[2];
};

static void clear_pending(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread, (void)object, (void)type;
}

static struct fl_type pending_type = {.name = "pending",
                                      .size = sizeof(struct pending),
                                      .clear = clear_pending,
                                      .flags = FL_TYPE_HAS_WORDS | FL_TYPE_LATER};

/* A budget of a few looks at the clock: what goes back meanwhile are as many steps. */
static void a_run_in_time_returns_memory_in_steps(void **state)
{
    (void)state;
    enum { OBJECTS = 4 * 254, BUDGET_US = 100, LOOKS_AT_CLOCK = 5 };
    struct bed bed = bed_that_retains(0);
    uint64_t calls = 0, most = 0;
    assert_int_equal(fl_type_ready(&pending_type, NULL, NULL, 0), 0);
    burst(bed.thread);
    size_t before = held(bed.heap);
    pass_time(10 * PERIOD_MS);
    us_per_look = BUDGET_US / LOOKS_AT_CLOCK;
    for (unsigned i = 0; i < OBJECTS; i++)
        fl_dealloc(bed.thread, fl_type_alloc(bed.thread, &pending_type), &pending_type);
    /* The allocations have taken one look. */
    pass_time(PERIOD_MS);
    for (; *fl_thread_pending(bed.thread) != 0; calls++) {
        uint64_t trimmed = stats_of(bed.heap).trimmed_bytes;
        fl_run_pending(bed.thread, fl_budget_microseconds(BUDGET_US));
        trimmed = stats_of(bed.heap).trimmed_bytes - trimmed;
        most = trimmed > most ? trimmed : most;
    }
    us_per_look = 0;
    print_message("%lu calls, at most %lu bytes each, %zu of %zu left\n", calls, most, held(bed.heap), before);
    assert_in_range(most, 1, LOOKS_AT_CLOCK * FLI_TRIM_STEP);
    assert_true(held(bed.heap) < before / 2);
    end_bed(&bed);
}

/* Racks keep blocks of this size whole, up to 32 MiB a thread. */
static void magazines_of_large_blocks_go_back_too(void **state)
{
    (void)state;
    enum { BLOCK = 16 * 1024, BLOCKS = 1024 };
    struct bed bed = bed_that_retains(0);
    static void *blocks[BLOCKS];
    for (unsigned wave = 0; wave < 64; wave++) {
        for (unsigned i = 0; i < BLOCKS; i++)
            memset(blocks[i] = fl_alloc(bed.thread, BLOCK), 1, BLOCK);
        for (unsigned i = 0; i < BLOCKS; i++)
            fl_free_sized(bed.thread, blocks[i], BLOCK);
    }
    assert_true(held(bed.heap) + stats_of(bed.heap).cached_bytes >= BLOCKS * BLOCK / 2);
    trickle_without_flush_for(bed.thread, 4 * PERIOD_MS);
    assert_true(held(bed.heap) + stats_of(bed.heap).cached_bytes < 2 * FLI_MIB);
    end_bed(&bed);
}

static void spare_large_blocks_go_back_too(void **state)
{
    (void)state;
    struct bed bed = bed_that_retains(0);
    void *blocks[16];
    for (unsigned wave = 0; wave < 8; wave++) {
        for (unsigned i = 0; i < COUNT_OF(blocks); i++)
            memset(blocks[i] = fl_alloc(bed.thread, LARGE), 1, LARGE);
        for (unsigned i = 0; i < COUNT_OF(blocks); i++)
            fl_free_sized(bed.thread, blocks[i], LARGE);
    }
    assert_true(stats_of(bed.heap).spare_bytes >= LARGE);
    trickle_for(bed.thread, 3 * PERIOD_MS);
    assert_true(stats_of(bed.heap).spare_bytes < LARGE);
    end_bed(&bed);
}

/* The pool has blocks of this size in magazines. When their slabs go back, the magazines are empty. */
static void magazines_without_blocks_go_back_too(void **state)
{
    (void)state;
    enum { BLOCK = 4096, BLOCKS = 16 * 1024 };
    struct bed bed = bed_that_retains(0);
    static void *blocks[BLOCKS];
    for (unsigned wave = 0; wave < 4; wave++) {
        for (unsigned i = 0; i < BLOCKS; i++)
            blocks[i] = fl_alloc(bed.thread, BLOCK);
        for (unsigned i = 0; i < BLOCKS; i++)
            fl_free_sized(bed.thread, blocks[i], BLOCK);
    }
    assert_true(stats_of(bed.heap).magazines > 500);
    trickle_without_flush_for(bed.thread, 5 * PERIOD_MS);
    assert_true(held(bed.heap) < 2 * FLI_MIB);
    assert_true(stats_of(bed.heap).magazines < 100);
    end_bed(&bed);
}

/* Bytes of a table that have memory. */
static size_t resident(const void *table, size_t bytes)
{
    size_t page = fli_os_page(), pages = 0;
    static unsigned char present[1 << 16];
    char *from = (char *)fli_round_up((uintptr_t)table, page);
    size_t count = fli_min((bytes - page) / page, sizeof present);
    assert_int_equal(mincore(from, count * page, present), 0);
    for (size_t i = 0; i < count; i++)
        pages += present[i] & 1;
    return pages * page;
}

static void what_is_known_of_slabs_goes_back_after_them(void **state)
{
    (void)state;
    struct bed bed = {.heap = heap_with(&(struct fl_options){.hardened = true, .decay_ms = PERIOD_MS})};
    bed.thread = fl_thread_attach(bed.heap);
    const struct fli_range *range = &bed.heap->backing.slabs.ranges.at[0];
    burst(bed.thread);
    size_t slabs = fli_min(MANY * SIZE >> FLI_SLAB_SHIFT, range->slabs);
    size_t of_states = FLI_SLAB_BLOCKS_MAX * sizeof *range->states;
    trickle_for(bed.thread, 5 * PERIOD_MS);
    assert_true(resident(range->rows, slabs * sizeof *range->rows) <= slabs / 4 * sizeof *range->rows);
    assert_true(resident(range->states, slabs * of_states) <= slabs / 4 * of_states);
    end_bed(&bed);
}

static void it_can_be_switched_off(void **state)
{
    (void)state;
    struct bed bed = bed_that_retains(FL_DECAY_NEVER);
    burst(bed.thread);
    size_t before = held(bed.heap);
    trickle_for(bed.thread, 3 * PERIOD_MS);
    assert_true(held(bed.heap) >= before - FLI_MIB);
    end_bed(&bed);
}

static void the_text_of_the_option_counts_milliseconds(void **state)
{
    (void)state;
    struct fl_options options = {0};
    assert_int_equal(fl_options_parse("decay=250", &options, NULL, 0), 0);
    assert_int_equal(options.decay_ms, 250);
    assert_int_equal(fl_options_parse("decay=0", &options, NULL, 0), 0);
    assert_int_equal(options.decay_ms, FL_DECAY_NEVER);
    char error[256];
    assert_int_equal(fl_options_parse("decay=4G", &options, error, sizeof error), -EINVAL);
    assert_non_null(strstr(error, "decay"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_not_used_for_two_periods_goes_back),
        cmocka_unit_test(after_a_silence_the_first_looks_return_all),
        cmocka_unit_test(what_is_used_in_each_period_stays),
        cmocka_unit_test(a_run_in_time_returns_memory_in_steps),
        cmocka_unit_test(magazines_of_large_blocks_go_back_too),
        cmocka_unit_test(spare_large_blocks_go_back_too),
        cmocka_unit_test(magazines_without_blocks_go_back_too),
        cmocka_unit_test(what_is_known_of_slabs_goes_back_after_them),
        cmocka_unit_test(it_can_be_switched_off),
        cmocka_unit_test(the_text_of_the_option_counts_milliseconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
