/* SPDX-License-Identifier: MIT
 *
 * Sampled profiles: every allocation counts, what is freed is live no more, estimates are unbiased, and the text is such
 * as pprof reads.
 */
#include "grace_support.h"
#include "profile_support.h"

#include <inttypes.h>
#include <math.h>

#include "heap/profile.h"
#include "heap/thread.h"
#include "heap/trace.h"

enum { SIZE = 48, LARGE = 40000, SOME = 1000, SEED = 7 };

/* ---- Profiles in which every block above some bytes is a sample, so that they count exactly. */

static void every_way_to_allocate_counts_its_bytes(void **state)
{
    struct bed *bed = *state;
    void *blocks[3 * SOME];
    fl_free(bed->thread, fl_alloc(bed->thread, SIZE)); /* the cache has blocks */
    start_with(bed->heap, &exact);
    void *block = fl_alloc(bed->thread, SIZE);
    assert_counts(bed->heap, 1, 48, 1, 48);
    fl_free(bed->thread, block);
    assert_counts(bed->heap, 0, 0, 1, 48);
    block = fl_alloc_zeroed(bed->thread, 50);
    assert_counts(bed->heap, 1, 50, 2, 98);
    fl_free_sized(bed->thread, block, 50);
    block = fl_alloc_aligned(bed->thread, 64, 50);
    assert_counts(bed->heap, 1, 64, 3, 162);
    fl_free_aligned(bed->thread, block, 64, 50);
    assert_int_equal(fl_alloc_many(bed->thread, 100, COUNT_OF(blocks), blocks), 0);
    assert_counts(bed->heap, COUNT_OF(blocks), 100 * COUNT_OF(blocks), 3 + COUNT_OF(blocks), 300162);
    fl_free_many(bed->thread, 100, COUNT_OF(blocks), blocks);
    assert_counts(bed->heap, 0, 0, 3 + COUNT_OF(blocks), 300162);
    block = fl_alloc(bed->thread, LARGE);
    assert_counts(bed->heap, 1, LARGE, 3004, 340162);
    fl_heap_free(bed->heap, block);
    assert_counts(bed->heap, 0, 0, 3004, 340162);
    assert_int_equal(fl_profile_stop(bed->heap), 0);
}

static void a_block_that_is_resized_counts_where_it_moves(void **state)
{
    struct bed *bed = *state;
    start_with(bed->heap, &exact);
    void *block = fl_realloc(bed->thread, NULL, 0, SIZE);
    block = fl_realloc(bed->thread, block, SIZE, SIZE - 1); /* within a class */
    assert_counts(bed->heap, 1, 48, 1, 48);
    block = fl_realloc(bed->thread, block, SIZE - 1, 1000);
    assert_counts(bed->heap, 1, 1000, 2, 1048);
    block = fl_realloc(bed->thread, block, 1000, LARGE);
    block = fl_realloc(bed->thread, block, LARGE, 3 * LARGE);
    assert_counts(bed->heap, 1, 3 * LARGE, 4, 1048 + 4 * LARGE);
    fl_free(bed->thread, block);
    assert_counts(bed->heap, 0, 0, 4, 1048 + 4 * LARGE);
    assert_int_equal(fl_profile_stop(bed->heap), 0);
}

static void a_deferred_block_is_live_no_more(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, NULL);
    start_with(bed.heap, &exact);
    void *block = fl_alloc(bed.thread, SIZE);
    fl_free_deferred(bed.thread, block, SIZE);
    assert_counts(bed.heap, 0, 0, 1, 48);
    let_all_go(&host, bed.thread);
    assert_counts(bed.heap, 0, 0, 1, 48);
    assert_int_equal(fl_profile_stop(bed.heap), 0);
    end_bed(&bed);
}

static void *free_unattached(void *block)
{
    fl_free(fl_thread_self(), block);
    return NULL;
}

static void a_block_may_be_freed_by_another_thread(void **state)
{
    (void)state;
    struct fl_heap *heap = fl_heap_default();
    void *block = fl_alloc(fl_thread_self(), SIZE);
    start_with(heap, &exact);
    fl_free(fl_thread_self(), block); /* was allocated before the start */
    block = fl_alloc(fl_thread_self(), SIZE);
    assert_counts(heap, 1, 48, 1, 48);
    run_on_thread(free_unattached, block);
    assert_counts(heap, 0, 0, 1, 48);
    assert_int_equal(fl_profile_stop(heap), 0);
}

/* ---- Call stacks and types. */

static struct stacks {
    void *frames[2 * FL_PROFILE_FRAMES_MAX];
    size_t depth; /* what is returned */
    unsigned calls;
    void (*act)(void);
} stacks;

static size_t give(void *context, void **frames, size_t max)
{
    assert_ptr_equal(context, &stacks);
    assert_int_equal(max, FL_PROFILE_FRAMES_MAX);
    stacks.calls++;
    memcpy(frames, stacks.frames, (stacks.depth < max ? stacks.depth : max) * sizeof *frames);
    if (stacks.act != NULL)
        stacks.act();
    return stacks.depth;
}

static const struct fl_profile_options exact_with_stacks = {
    .mean_bytes = 1, .stack = give, .context = &stacks, .timeout_ms = 10000};

static void *alloc_at(struct fl_thread *thread, size_t size, size_t depth, uintptr_t inner, uintptr_t outer)
{
    stacks = (struct stacks){.frames = {(void *)inner, (void *)outer}, .depth = depth};
    void *block = fl_alloc(thread, size);
    assert_non_null(block);
    assert_int_equal(stacks.calls, 1);
    return block;
}

static void a_site_is_a_stack_a_type_and_a_size(void **state)
{
    struct bed *bed = *state;
    static struct fl_type type = {.name = "pa\"ir", .size = 64, .kind = FL_DEALLOC_PLAIN};
    if (!type.ready)
        assert_int_equal(fl_type_ready(&type, NULL, NULL, 0), 0);
    start_with(bed->heap, &exact_with_stacks);
    void *blocks[] = {alloc_at(bed->thread, 100, 2, 0x10, 0x20), alloc_at(bed->thread, 100, 2, 0x10, 0x20),
                      alloc_at(bed->thread, 200, 2, 0x10, 0x20), alloc_at(bed->thread, 100, 2, 0x10, 0x21),
                      alloc_at(bed->thread, 100, 1, 0x10, 0)};
    void *freed = alloc_at(bed->thread, 100, 2, 0x10, 0x20);
    fl_free(bed->thread, freed);
    void *object = fl_type_alloc(bed->thread, &type);
    char *text = printed(bed->heap, FL_PROFILE_JSON);
    assert_string_equal(
        text,
        "{\n  \"mean_bytes\": 1,\n  \"is_on\": true,\n  \"dropped\": 0,\n  \"live_samples\": 6, \"live_count\": 6, "
        "\"live_bytes\": 664, \"samples\": 7, \"count\": 7, \"bytes\": 764,\n  \"stacks\": [\n"
        "    {\"type\": null, \"frames\": [\"0x10\", \"0x20\"], \"live_samples\": 3, \"live_count\": 3, "
        "\"live_bytes\": 400, \"samples\": 4, \"count\": 4, \"bytes\": 500},\n"
        "    {\"type\": null, \"frames\": [\"0x10\"], \"live_samples\": 1, \"live_count\": 1, "
        "\"live_bytes\": 100, \"samples\": 1, \"count\": 1, \"bytes\": 100},\n"
        "    {\"type\": null, \"frames\": [\"0x10\", \"0x21\"], \"live_samples\": 1, \"live_count\": 1, "
        "\"live_bytes\": 100, \"samples\": 1, \"count\": 1, \"bytes\": 100},\n"
        "    {\"type\": \"pa\\\"ir\", \"frames\": [\"0x10\", \"0x20\"], \"live_samples\": 1, \"live_count\": 1, "
        "\"live_bytes\": 64, \"samples\": 1, \"count\": 1, \"bytes\": 64}\n  ],\n  \"types\": [\n"
        "    {\"type\": null, \"live_samples\": 5, \"live_count\": 5, \"live_bytes\": 600, \"samples\": 6, "
        "\"count\": 6, \"bytes\": 700},\n"
        "    {\"type\": \"pa\\\"ir\", \"live_samples\": 1, \"live_count\": 1, \"live_bytes\": 64, \"samples\": 1, "
        "\"count\": 1, \"bytes\": 64}\n  ]\n}\n");
    free(text);
    fl_dealloc(bed->thread, object, &type);
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        fl_free(bed->thread, blocks[i]);
    assert_counts(bed->heap, 0, 0, 7, 764);
    assert_int_equal(fl_profile_stop(bed->heap), 0);
}

static void a_profile_without_samples_can_be_printed(void **state)
{
    struct bed *bed = *state;
    start_with(bed->heap, NULL);
    char *text = printed(bed->heap, FL_PROFILE_JSON);
    assert_string_equal(text, "{\n  \"mean_bytes\": 524288,\n  \"is_on\": true,\n  \"dropped\": 0,\n"
                              "  \"live_samples\": 0, \"live_count\": 0, \"live_bytes\": 0, \"samples\": 0, "
                              "\"count\": 0, \"bytes\": 0,\n  \"stacks\": [],\n  \"types\": []\n}\n");
    free(text);
    assert_counts(bed->heap, 0, 0, 0, 0);
    assert_int_equal(fl_profile_stop(bed->heap), 0);
}

static void a_stack_has_at_most_so_many_frames(void **state)
{
    struct bed *bed = *state;
    start_with(bed->heap, &exact_with_stacks);
    stacks = (struct stacks){.depth = 2 * FL_PROFILE_FRAMES_MAX};
    for (size_t i = 0; i < COUNT_OF(stacks.frames); i++)
        stacks.frames[i] = (void *)(uintptr_t)(0x1000 + i);
    void *block = fl_alloc(bed->thread, SIZE);
    char *text = printed(bed->heap, FL_PROFILE_PPROF);
    assert_contains(text, " 0x107f\n");
    assert_null(strstr(text, " 0x1080"));
    free(text);
    fl_free(bed->thread, block);
    assert_int_equal(fl_profile_stop(bed->heap), 0);
}

static struct bed *acting;
static void *at_hand;

/* Frees a sampled block, and allocates another one. */
static void exchange(void)
{
    fl_free(acting->thread, at_hand);
    at_hand = fl_alloc(acting->thread, SIZE);
}

static void the_callback_may_allocate_and_free(void **state)
{
    acting = *state;
    start_with(acting->heap, &exact_with_stacks);
    at_hand = alloc_at(acting->thread, SIZE, 0, 0, 0);
    stacks = (struct stacks){.act = exchange};
    void *block = fl_alloc(acting->thread, 100);
    assert_int_equal(stacks.calls, 1);
    assert_counts(acting->heap, 1, 100, 2, 148);
    stacks.act = NULL;
    fl_free(acting->thread, at_hand);
    fl_free(acting->thread, block);
    assert_counts(acting->heap, 0, 0, 2, 148);
    assert_int_equal(fl_profile_stop(acting->heap), 0);
}

static jmp_buf out;

static void leave(void)
{
    longjmp(out, 1);
}

static void the_callback_can_be_left(void **state)
{
    if (!stacks_can_be_read())
        skip();
    struct bed *bed = *state;
    start_with(bed->heap, &exact_with_stacks);
    stacks = (struct stacks){.act = leave};
    if (setjmp(out) == 0)
        fl_alloc(bed->thread, SIZE);
    assert_counts(bed->heap, 0, 0, 0, 0);
    assert_int_equal(stats_of(bed->heap).live_blocks, 1);
    void *block = alloc_at(bed->thread, SIZE, 0, 0, 0);
    assert_counts(bed->heap, 1, 48, 1, 48);
    fl_free(bed->thread, block);
    assert_int_equal(fl_profile_stop(bed->heap), 0);
}

static void stop_it(void)
{
    assert_int_equal(fl_profile_stop(acting->heap), 0);
}

static void start_again(void)
{
    stop_it();
    start_with(acting->heap, &exact_with_stacks);
}

static void a_sample_of_an_earlier_profile_is_none_of_a_later(void **state)
{
    acting = *state;
    start_with(acting->heap, &exact_with_stacks);
    stacks = (struct stacks){.act = start_again};
    void *block = fl_alloc(acting->thread, SIZE);
    assert_counts(acting->heap, 0, 0, 0, 0);
    stacks.act = stop_it;
    void *other = fl_alloc(acting->thread, SIZE);
    assert_int_equal(stacks.calls, 2);
    assert_counts(acting->heap, 0, 0, 0, 0);
    fl_free(acting->thread, block);
    fl_free(acting->thread, other);
}

/* ---- The text for pprof. */

static size_t native(void *context, void **frames, size_t max)
{
    (void)context;
    return stack_frames(frames, max);
}

/* Whether code is mapped at the address, by the lines of MAPPED_LIBRARIES. */
static bool is_mapped(const char *mappings, uint64_t address)
{
    uint64_t from, to;
    char mode[5];
    for (const char *line = mappings; line != NULL && *line != '\0';) {
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s", &from, &to, mode) == 3 && from <= address && address < to)
            return mode[2] == 'x';
        line = strchr(line, '\n');
        line += line != NULL;
    }
    return false;
}

/* Reads the line of a site. Returns how many frames it has, all of which are mapped. */
static size_t read_frames(const char *text, const char *mappings)
{
    size_t depth = 0;
    uint64_t address;
    for (int read; sscanf(text, " 0x%" SCNx64 "%n", &address, &read) == 1 && *text != '\n'; text += read, depth++)
        assert_true(is_mapped(mappings, address));
    assert_int_equal(*text, '\n');
    return depth;
}

static void pprof_can_read_the_text(void **state)
{
    struct bed *bed = *state;
    struct fl_profile_options options = {.mean_bytes = 1, .stack = native};
    start_with(bed->heap, &options);
    void *block = fl_alloc(bed->thread, SIZE), *others[2];
    for (size_t i = 0; i < COUNT_OF(others); i++)
        others[i] = fl_alloc(bed->thread, 2 * SIZE);
    fl_free(bed->thread, others[1]);
    char *text = printed(bed->heap, FL_PROFILE_PPROF), *mappings = strstr(text, "\nMAPPED_LIBRARIES:\n");
    assert_non_null(mappings);
    mappings += strlen("\nMAPPED_LIBRARIES:\n");
    struct numbers all, sums = {0};
    const char *line = read_numbers(text + strlen("heap profile: "), &all);
    size_t sites = 0;
    assert_memory_equal(line, " heap_v2/1\n", strlen(" heap_v2/1\n"));
    for (line = strchr(line, '\n') + 1; *line != '\n'; line = strchr(line, '\n') + 1, sites++) {
        struct numbers site;
        size_t depth = read_frames(read_numbers(line, &site), mappings);
        assert_true(depth > 2);
        sums = (struct numbers){sums.live + site.live, sums.live_bytes + site.live_bytes, sums.count + site.count,
                                sums.bytes + site.bytes};
    }
    assert_true(sites >= 2); /* the compiler may unroll the loop */
    assert_memory_equal(&all, &sums, sizeof all);
    assert_memory_equal(&all, (&(struct numbers){2, 3 * SIZE, 3, 5 * SIZE}), sizeof all);
    free(text);
    fl_free(bed->thread, block);
    fl_free(bed->thread, others[0]);
    assert_int_equal(fl_profile_stop(bed->heap), 0);
}

static void a_stream_that_fails_is_told(void **state)
{
    struct bed *bed = *state;
    FILE *full = fopen("/dev/full", "w");
    assert_non_null(full);
    start_with(bed->heap, NULL);
    assert_int_equal(fl_profile_print(bed->heap, full, FL_PROFILE_JSON), -EIO);
    assert_int_equal(fl_profile_print(bed->heap, full, FL_PROFILE_PPROF), -EIO);
    fclose(full);
    assert_int_equal(fl_profile_stop(bed->heap), 0);
}

/* ---- Estimates. */

static const size_t sizes[] = {16, 48, 200, 1000, 4000, 40000};

enum { MEAN = 2000, ROUNDS = 400, SEEDS = 40 };

/* The number after a name in JSON: of all sites, as these come first. */
static double number_of(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    assert_non_null(at);
    return strtod(at + strlen(name), NULL);
}

/* The mean and the variance of what is expected of `rounds` blocks of each size: a sample of n bytes, of probability p,
 * stands for n / p bytes. */
static void expect(size_t rounds, double *bytes, double *variance)
{
    *bytes = *variance = 0;
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        double size = (double)sizes[i], p = -expm1(-size / MEAN);
        *bytes += (double)rounds * size;
        *variance += (double)rounds * size * size * (1 - p) / p;
    }
}

/* Allocates blocks of all sizes, and frees all but a quarter. Returns how many standard deviations the estimates of all
 * bytes and of the live ones are away from what they should be. */
static void estimate(struct bed *bed, uint64_t seed, double *error, double *live_error)
{
    static void *blocks[ROUNDS][COUNT_OF(sizes)];
    double bytes, variance;
    start_with(bed->heap, &(struct fl_profile_options){.mean_bytes = MEAN, .seed = seed});
    for (size_t i = 0; i < ROUNDS; i++)
        for (size_t j = 0; j < COUNT_OF(sizes); j++) {
            blocks[i][j] = fl_alloc(bed->thread, sizes[j]);
            if (i % 4 != 0)
                fl_free_sized(bed->thread, blocks[i][j], sizes[j]);
        }
    char *text = printed(bed->heap, FL_PROFILE_JSON);
    expect(ROUNDS, &bytes, &variance);
    *error = (number_of(text, "\"bytes\": ") - bytes) / sqrt(variance);
    expect(ROUNDS / 4, &bytes, &variance);
    *live_error = (number_of(text, "\"live_bytes\": ") - bytes) / sqrt(variance);
    free(text);
    for (size_t i = 0; i < ROUNDS; i += 4)
        for (size_t j = 0; j < COUNT_OF(sizes); j++)
            fl_free_sized(bed->thread, blocks[i][j], sizes[j]);
    assert_int_equal(totals_of(bed->heap).live, 0);
    assert_int_equal(fl_profile_stop(bed->heap), 0);
}

/* The errors of SEEDS profiles are, in standard deviations, of mean 0 and variance 1. Their mean is within 3.5 standard
 * deviations of it, and their variance within 3.5 of its own: for other seeds, each holds 999 times of 1000. */
static void assert_unbiased(const double *errors)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < SEEDS; i++) {
        sum += errors[i];
        squares += errors[i] * errors[i];
    }
    assert_true(fabs(sum / SEEDS) < 3.5 / sqrt(SEEDS));
    assert_true(fabs(squares / SEEDS - 1) < 3.5 * sqrt(2.0 / SEEDS));
}

static void estimates_are_unbiased(void **state)
{
    struct bed *bed = *state;
    double errors[SEEDS], live_errors[SEEDS];
    for (size_t i = 0; i < SEEDS; i++)
        estimate(bed, SEED + i, &errors[i], &live_errors[i]);
    assert_unbiased(errors);
    assert_unbiased(live_errors);
}

static void the_same_seed_takes_the_same_samples(void **state)
{
    struct bed *bed = *state;
    double errors[3], live_errors[3];
    for (size_t i = 0; i < 3; i++)
        estimate(bed, i < 2 ? SEED : SEED + 1, &errors[i], &live_errors[i]);
    assert_true(errors[0] == errors[1] && live_errors[0] == live_errors[1]);
    assert_true(errors[0] != errors[2]);
}

/* The number of samples of many bytes is that of a Poisson process: its mean and its variance are the bytes by the
 * mean. */
static void samples_are_a_poisson_process(void **state)
{
    struct bed *bed = *state;
    double expected = (double)(SOME * SIZE) / MEAN, sum = 0, squares = 0;
    for (uint64_t i = 0; i < 200; i++) {
        start_with(bed->heap, &(struct fl_profile_options){.mean_bytes = MEAN, .seed = SEED + i});
        for (unsigned j = 0; j < SOME; j++)
            fl_free_sized(bed->thread, fl_alloc(bed->thread, SIZE), SIZE);
        double off = (double)totals_of(bed->heap).count - expected;
        sum += off;
        squares += off * off;
        assert_int_equal(fl_profile_stop(bed->heap), 0);
    }
    assert_true(fabs(sum / 200) < 4 * sqrt(expected / 200));
    assert_true(fabs(squares / 200 / expected - 1) < 4 * sqrt(2.0 / 200));
}

/* ---- Start and stop. */

static void after_the_stop_the_profile_stays_as_it_was(void **state)
{
    struct bed *bed = *state;
    start_with(bed->heap, &exact);
    void *block = fl_alloc(bed->thread, SIZE);
    assert_int_equal(fl_profile_stop(bed->heap), 0);
    fl_free(bed->thread, block);
    fl_free(bed->thread, fl_alloc(bed->thread, SIZE));
    assert_counts(bed->heap, 1, 48, 1, 48);
    char *text = printed(bed->heap, FL_PROFILE_JSON);
    assert_contains(text, "\"is_on\": false");
    free(text);
    start_with(bed->heap, &exact);
    assert_counts(bed->heap, 0, 0, 0, 0);
    assert_int_equal(fl_profile_stop(bed->heap), 0);
}

static void while_none_is_on_calls_are_inline(void **state)
{
    struct bed *bed = *state;
    start_with(bed->heap, &exact);
    fl_free(bed->thread, fl_alloc(bed->thread, SIZE));
    assert_int_equal(fl_profile_stop(bed->heap), 0);
    for (unsigned i = 0; i < 3; i++)
        fl_free(bed->thread, fl_alloc(bed->thread, SIZE));
    struct fl_cache *cache = &bed->thread->cache[fl_size_class(SIZE)];
    assert_true(FLI_CHECKED || cache->top != cache->floor);
    assert_false(fli_trace_calls(fli_thread_of(bed->thread)));
    assert_counts(bed->heap, 0, 0, 1, 48);
}

static unsigned told;

static void note(struct fl_heap *heap, const struct fl_trace_event *event, void *context)
{
    (void)heap;
    (void)event;
    (void)context;
    told++;
}

static const struct fl_trace trace = {.callback = note};

static void a_heap_has_one_trace_or_profile_at_a_time(void **state)
{
    struct bed *bed = *state;
    start_with(bed->heap, &exact);
    assert_int_equal(fl_profile_start(bed->heap, &exact), -EBUSY);
    assert_int_equal(fl_trace_start(bed->heap, &trace, 0), -EBUSY);
    fl_trace_stop(bed->heap);
    fl_free(bed->thread, fl_alloc(bed->thread, SIZE));
    assert_counts(bed->heap, 0, 0, 1, 48); /* it goes on */
    assert_int_equal(fl_profile_stop(bed->heap), 0);
    told = 0;
    assert_int_equal(fl_trace_start(bed->heap, &trace, 0), 0);
    assert_int_equal(fl_profile_start(bed->heap, &exact), -EBUSY);
    fl_free(bed->thread, fl_alloc(bed->thread, SIZE));
    assert_int_equal(told, 2);
    assert_counts(bed->heap, 0, 0, 1, 48); /* the earlier one is not forgotten */
    fl_trace_stop(bed->heap);
}

static void wrong_calls_are_misuse(void **state)
{
    struct bed *bed = *state;
    assert_int_equal(fl_profile_print(bed->heap, stderr, FL_PROFILE_JSON), -EINVAL);
    assert_misuse("fl_profile_print", bed->heap, "was never profiled");
    assert_int_equal(fl_profile_stop(bed->heap), -EINVAL);
    assert_misuse("fl_profile_stop", bed->heap, "is not being profiled");
    assert_int_equal(fl_profile_start(bed->heap, &(struct fl_profile_options){0}), -EINVAL);
    assert_misuse("fl_profile_start", bed->heap, "mean_bytes 0");
    assert_int_equal(fl_profile_start(bed->heap, &(struct fl_profile_options){.mean_bytes = SIZE_MAX}), -EINVAL);
    assert_misuse("fl_profile_start", bed->heap, "mean_bytes 18446744073709551615");
    start_with(bed->heap, &exact);
    assert_int_equal(fl_profile_stop(bed->heap), 0);
    assert_int_equal(fl_profile_stop(bed->heap), -EINVAL);
    assert_misuse("fl_profile_stop", bed->heap, "is not being profiled");
}

static void a_heap_can_be_destroyed_while_its_profile_is_on(void **state)
{
    (void)state;
    struct bed bed = bed_with(NULL);
    start_with(bed.heap, &exact);
    for (unsigned i = 0; i < SOME; i++)
        assert_non_null(fl_alloc(bed.thread, SIZE));
    end_bed(&bed);
}

static pthread_barrier_t held;

static void *hold_a_handle(void *heap)
{
    struct fl_thread *thread = fl_thread_attach(heap);
    pthread_barrier_wait(&held);
    pthread_barrier_wait(&held);
    fl_thread_detach(thread);
    return NULL;
}

static void a_thread_that_does_not_come_is_not_waited_for_longer(void **state)
{
    struct bed *bed = *state;
    pthread_t thread;
    pthread_barrier_init(&held, NULL, 2);
    assert_int_equal(pthread_create(&thread, NULL, hold_a_handle, bed->heap), 0);
    pthread_barrier_wait(&held);
    struct fl_profile_options options = {.mean_bytes = 1, .timeout_ms = 20};
    assert_int_equal(fl_profile_start(bed->heap, &options), -ETIMEDOUT);
    assert_int_equal(fl_profile_print(bed->heap, stderr, FL_PROFILE_JSON), -EINVAL);
    assert_misuse("fl_profile_print", bed->heap, "was never profiled");
    pthread_barrier_wait(&held);
    assert_int_equal(pthread_join(thread, NULL), 0);
    pthread_barrier_destroy(&held);
    start_with(bed->heap, &exact);
    assert_int_equal(fl_profile_stop(bed->heap), 0);
}

/* ---- The check of the heap. */

static void the_check_finds_a_sample_that_is_not_live(void **state)
{
    struct bed *bed = *state;
    char error[256] = "";
    start_with(bed->heap, &exact);
    void *block = fl_alloc(bed->thread, SIZE), *freed = fl_alloc(bed->thread, SIZE);
    fl_free(bed->thread, freed);
    struct fli_profile *profile = bed->heap->profile;
    struct fli_site *site = profile->sites.newest;
    assert_true(fli_sampled_enter(&profile->sampled, freed, site));
    assert_int_equal(fl_heap_check(bed->heap, error, sizeof error), -EUCLEAN);
    assert_contains(error, "is not live");
    assert_ptr_equal(fli_sampled_remove(&profile->sampled, freed), site);
    site->live++;
    assert_int_equal(fl_heap_check(bed->heap, error, sizeof error), -EUCLEAN);
    assert_contains(error, "has 1 samples, but counts 2 of 2");
    site->live--;
    fl_free(bed->thread, block);
    assert_int_equal(fl_profile_stop(bed->heap), 0);
}

/* ---- Forks. */

static void go_on_in_the_child(void *argument)
{
    struct bed *bed = argument;
    char text[4096];
    fl_free(bed->thread, at_hand);
    at_hand = fl_alloc(bed->thread, 100);
    FILE *stream = fmemopen(text, sizeof text, "w");
    EXPECT(stream != NULL && fl_profile_print(bed->heap, stream, FL_PROFILE_JSON) == 0 && fclose(stream) == 0);
    EXPECT(strstr(text, "\"live_samples\": 1, \"live_count\": 1, \"live_bytes\": 100, \"samples\": 2") != NULL);
    EXPECT_SOUND(bed->heap);
    EXPECT(fl_profile_stop(bed->heap) == 0);
}

static void a_profile_goes_on_in_the_child_of_a_fork(void **state)
{
    struct bed *bed = *state;
    start_with(bed->heap, &exact);
    at_hand = fl_alloc(bed->thread, SIZE);
    assert_child_succeeds(go_on_in_the_child, bed);
    assert_counts(bed->heap, 1, 48, 1, 48);
    fl_free(bed->thread, at_hand);
    assert_int_equal(fl_profile_stop(bed->heap), 0);
}

static void start_in_the_child(void *argument)
{
    struct bed *bed = argument;
    EXPECT(!fli_trace_is_on(bed->heap));
    EXPECT(fl_profile_start(bed->heap, &exact) == 0 && fl_profile_stop(bed->heap) == 0);
    EXPECT_SOUND(bed->heap);
}

static void a_start_under_way_in_another_thread_is_over_in_the_child(void **state)
{
    struct bed *bed = *state;
    start_with(bed->heap, &exact);
    assert_int_equal(fl_profile_stop(bed->heap), 0);
    /* As a start leaves it, until it has diverted all threads. */
    assert_int_equal(fli_trace_begin(bed->heap, &bed->heap->profile->trace, 0), 0);
    assert_child_succeeds(start_in_the_child, bed);
    assert_true(fli_trace_is_on(bed->heap));
    fli_trace_end(bed->heap, true);
}

/* ---- Threads: each frees what others have allocated, while profiles start and stop. */

enum { THREADS = 4, PLACES = 64, STARTS = 30 };

struct storm {
    struct fl_heap *heap;
    void *places[PLACES];
    bool stop;
    uint64_t seeds;
};

static size_t size_of(const void *block)
{
    return *(const size_t *)block;
}

static void *make(struct fl_thread *thread, uint64_t *seed)
{
    size_t size = next_random(seed) % 50 == 0 ? LARGE : 16 + next_random(seed) % 500;
    size_t *block = fl_alloc(thread, size);
    EXPECT(block != NULL);
    *block = size;
    return block;
}

static void drop(struct fl_thread *thread, void *block)
{
    if (block != NULL)
        fl_free_sized(thread, block, size_of(block));
}

static void *rage(void *argument)
{
    struct storm *storm = argument;
    uint64_t seed = __atomic_add_fetch(&storm->seeds, 1, __ATOMIC_RELAXED);
    struct fl_thread *thread = fl_thread_attach(storm->heap);
    while (!__atomic_load_n(&storm->stop, __ATOMIC_ACQUIRE)) {
        void **place = &storm->places[next_random(&seed) % PLACES];
        drop(thread, __atomic_exchange_n(place, make(thread, &seed), __ATOMIC_ACQ_REL));
    }
    fl_thread_detach(thread);
    return NULL;
}

static size_t depth_by_chance(void *context, void **frames, size_t max)
{
    static uint64_t calls;
    (void)context;
    (void)max;
    size_t depth = __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED) % 3;
    for (size_t i = 0; i < depth; i++)
        frames[i] = (void *)(i + 1);
    return depth;
}

static void no_free_is_missed(void **state)
{
    struct bed *bed = *state;
    struct storm storm = {.heap = bed->heap};
    struct fl_profile_options options = {.mean_bytes = 200, .stack = depth_by_chance, .timeout_ms = 10000};
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, rage, &storm), 0);
    for (unsigned i = 0; i < STARTS; i++) {
        start_with(bed->heap, &options);
        usleep(2000);
        free(printed(bed->heap, i % 2 == 0 ? FL_PROFILE_JSON : FL_PROFILE_PPROF));
        if (i < STARTS - 1)
            assert_int_equal(fl_profile_stop(bed->heap), 0);
    }
    while (totals_of(bed->heap).count < 100 * PLACES) /* on a busy machine the threads may not have run yet */
        usleep(1000);
    __atomic_store_n(&storm.stop, true, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_sound(bed->heap);
    assert_true(totals_of(bed->heap).live > 0);
    for (unsigned i = 0; i < PLACES; i++)
        drop(bed->thread, storm.places[i]);
    assert_true(totals_of(bed->heap).count > 0);
    assert_int_equal(totals_of(bed->heap).live, 0);
    assert_int_equal(fl_profile_stop(bed->heap), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BED_TEST(every_way_to_allocate_counts_its_bytes),
        BED_TEST(a_block_that_is_resized_counts_where_it_moves),
        cmocka_unit_test(a_deferred_block_is_live_no_more),
        cmocka_unit_test(a_block_may_be_freed_by_another_thread),
        BED_TEST(a_site_is_a_stack_a_type_and_a_size),
        BED_TEST(a_profile_without_samples_can_be_printed),
        BED_TEST(a_stack_has_at_most_so_many_frames),
        BED_TEST(the_callback_may_allocate_and_free),
        BED_TEST(the_callback_can_be_left),
        BED_TEST(a_sample_of_an_earlier_profile_is_none_of_a_later),
        BED_TEST(pprof_can_read_the_text),
        BED_TEST(a_stream_that_fails_is_told),
        BED_TEST(estimates_are_unbiased),
        BED_TEST(the_same_seed_takes_the_same_samples),
        BED_TEST(samples_are_a_poisson_process),
        BED_TEST(after_the_stop_the_profile_stays_as_it_was),
        BED_TEST(while_none_is_on_calls_are_inline),
        BED_TEST(a_heap_has_one_trace_or_profile_at_a_time),
        MISUSE_TEST(wrong_calls_are_misuse),
        cmocka_unit_test(a_heap_can_be_destroyed_while_its_profile_is_on),
        MISUSE_TEST(a_thread_that_does_not_come_is_not_waited_for_longer),
        BED_TEST(the_check_finds_a_sample_that_is_not_live),
        BED_TEST(a_profile_goes_on_in_the_child_of_a_fork),
        BED_TEST(a_start_under_way_in_another_thread_is_over_in_the_child),
        BED_TEST(no_free_is_missed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
