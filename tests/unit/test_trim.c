/* SPDX-License-Identifier: MIT */
#include "support.h"

#include "heap/heap.h"

#include <sys/mman.h>

enum { SIZE = 64 };

#define LOAD_BYTES ((FLI_CHECKED || FLI_SANITIZED ? 8 : 64) * FLI_MIB)

/* Allocates and touches `bytes` bytes of blocks of one size. The caller frees the array. */
static void **load(struct fl_thread *thread, size_t size, size_t bytes, size_t *count)
{
    *count = bytes / size;
    void **blocks = malloc(*count * sizeof *blocks);
    assert_non_null(blocks);
    assert_int_equal(fl_alloc_many(thread, size, *count, blocks), 0);
    for (size_t i = 0; i < *count; i++)
        memset(blocks[i], (int)i, size);
    return blocks;
}

static void unload(struct fl_thread *thread, size_t size, void **blocks, size_t count)
{
    fl_free_many(thread, size, count, blocks);
    free(blocks);
}

/* Of slabs, in use or not. */
static size_t memory_of(struct fl_heap *heap)
{
    struct fl_stats stats = stats_of(heap);
    return stats.slab_bytes + stats.idle_bytes;
}

static void a_trim_gives_back_what_is_free_and_keeps_what_is_not(void **state)
{
    struct bed *bed = *state;
    size_t count;
    void **blocks = load(bed->thread, SIZE, 4 * FLI_MIB, &count);
    void *kept = fl_alloc(bed->thread, SIZE);
    memset(kept, 0x5a, SIZE);
    unload(bed->thread, SIZE, blocks, count);
    fl_thread_flush(bed->thread);
    fl_heap_trim(bed->heap, 0);
    struct fl_stats stats = stats_of(bed->heap);
    assert_int_equal(stats.slabs, 1);
    assert_int_equal(stats.live_blocks, 1);
    assert_int_equal(stats.live_bytes, SIZE);
    for (unsigned i = 0; i < SIZE; i++)
        assert_int_equal(((unsigned char *)kept)[i], 0x5a);
    fl_free(bed->thread, kept);
    fl_thread_flush(bed->thread);
    fl_heap_trim(bed->heap, 0);
    assert_int_equal(stats_of(bed->heap).slabs, 0);
}

static void what_lies_in_a_cache_is_not_touched(void **state)
{
    struct bed *bed = *state;
    void *block = fl_alloc(bed->thread, SIZE);
    fl_free(bed->thread, block);
    size_t cached = class_stats_of(bed->heap, SIZE).cached;
    fl_heap_trim(bed->heap, 0);
    assert_int_equal(class_stats_of(bed->heap, SIZE).cached, cached);
    assert_ptr_equal(fl_alloc(bed->thread, SIZE), block);
    fl_free(bed->thread, block);
}

/* ---- Threads that are idle. */

/* A thread that has used much, and does nothing. */
struct idler {
    struct fl_heap *heap;
    bool offline, flushes;
    pthread_t thread;
    pthread_barrier_t *idle, *leave;
};

static void *use_and_idle(void *argument)
{
    struct idler *idler = argument;
    struct fl_thread *thread = fl_thread_attach(idler->heap);
    size_t count;
    for (unsigned round = 0; round < 8; round++) /* it keeps the more, the more often it takes it again */
        for (size_t size = 64; size <= FL_BLOCK_MAX; size *= 8) {
            void **blocks = load(thread, size, LOAD_BYTES / 8, &count);
            unload(thread, size, blocks, count);
        }
    if (idler->flushes)
        fl_thread_flush(thread);
    if (idler->offline)
        fl_thread_offline(thread);
    pthread_barrier_wait(idler->idle);
    pthread_barrier_wait(idler->leave);
    assert_int_equal(fl_thread_detach(thread), 0);
    return NULL;
}

struct idlers {
    struct idler all[4];
    pthread_barrier_t idle, leave;
};

static void let_idle(struct idlers *idlers, struct fl_heap *heap, bool offline, bool flush)
{
    assert_int_equal(pthread_barrier_init(&idlers->idle, NULL, COUNT_OF(idlers->all) + 1), 0);
    assert_int_equal(pthread_barrier_init(&idlers->leave, NULL, COUNT_OF(idlers->all) + 1), 0);
    for (size_t i = 0; i < COUNT_OF(idlers->all); i++) {
        idlers->all[i] = (struct idler){
            .heap = heap, .offline = offline, .flushes = flush, .idle = &idlers->idle, .leave = &idlers->leave};
        assert_int_equal(pthread_create(&idlers->all[i].thread, NULL, use_and_idle, &idlers->all[i]), 0);
    }
    pthread_barrier_wait(&idlers->idle);
}

static void let_leave(struct idlers *idlers)
{
    pthread_barrier_wait(&idlers->leave);
    for (size_t i = 0; i < COUNT_OF(idlers->all); i++)
        assert_int_equal(pthread_join(idlers->all[i].thread, NULL), 0);
    pthread_barrier_destroy(&idlers->idle);
    pthread_barrier_destroy(&idlers->leave);
}

static void of_idle_threads_a_trim_leaves_two_magazines_per_class(void **state)
{
    (void)state;
    struct fl_heap *heap = heap_with(NULL);
    struct idlers idlers;
    let_idle(&idlers, heap, false, false);
    fl_heap_trim(heap, 0);
    struct fl_stats stats = stats_of(heap);
    size_t slabs = 0;
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++) {
        const struct fl_class_stats *class = &stats.classes[c];
        size_t most = 2 * COUNT_OF(idlers.all) * class->magazine_blocks;
        assert_in_range(class->cached, 0, class->slabs > 0 ? most : 0);
        slabs += fli_min(class->slabs, class->cached);
    }
    assert_int_equal(stats.pooled_bytes, 0);
    assert_int_equal(stats.slabs, slabs); /* each has a block in a cache */
    assert_sound(heap);
    let_leave(&idlers);
    end_heap(heap);
}

static void of_idle_threads_that_are_offline_or_have_flushed_a_trim_leaves_nothing(void **state)
{
    (void)state;
    for (int offline = 0; offline <= 1; offline++) {
        struct fl_heap *heap = heap_with(NULL);
        struct idlers idlers;
        let_idle(&idlers, heap, offline != 0, offline == 0);
        fl_heap_trim(heap, 0);
        assert_int_equal(memory_of(heap), 0);
        assert_int_equal(stats_of(heap).cached_bytes, 0);
        let_leave(&idlers);
        end_heap(heap);
    }
}

static void what_idle_threads_keep_beyond_their_caches_serves_others_at_the_limit(void **state)
{
    (void)state;
    struct bed bed = bed_with(&(struct fl_options){.limit_bytes = LOAD_BYTES});
    struct fl_thread *idle = fl_thread_attach(bed.heap);
    size_t count;
    for (unsigned round = 0; round < 50; round++) {
        void **blocks = load(idle, 4096, LOAD_BYTES / 2, &count);
        unload(idle, 4096, blocks, count);
    }
    size_t kept = stats_of(bed.heap).cached_bytes;
    void **blocks = load(bed.thread, 1024, LOAD_BYTES - kept / 2 - FLI_MIB / 2, &count);
    unload(bed.thread, 1024, blocks, count);
    assert_int_equal(fl_thread_detach(idle), 0);
    end_bed(&bed);
}

static void a_trim_of_an_empty_heap_gives_nothing_back(void **state)
{
    struct bed *bed = *state;
    assert_int_equal(fl_heap_trim(bed->heap, 0), 0);
    assert_int_equal(stats_of(bed->heap).slabs, 0);
}

static void a_trim_tells_the_bytes_it_gave_back(void **state)
{
    struct bed *bed = *state;
    size_t count;
    void **blocks = load(bed->thread, SIZE, FLI_MIB, &count);
    size_t slab_bytes = stats_of(bed->heap).slab_bytes;
    unload(bed->thread, SIZE, blocks, count);
    fl_thread_flush(bed->thread);
    /* Part of it may have gone back by itself. */
    struct fl_stats before = stats_of(bed->heap);
    size_t returned = fl_heap_trim(bed->heap, 0);
    struct fl_stats after = stats_of(bed->heap);
    assert_true(returned >= before.slab_bytes);
    assert_true(returned <= before.mapped_bytes);
    assert_int_equal(after.trims, before.trims + 1);
    assert_true(after.trimmed_bytes >= slab_bytes);
}

static void what_is_to_be_retained_is_retained(void **state)
{
    (void)state;
    struct bed bed = bed_with(&(struct fl_options){.retain_bytes = SIZE_MAX});
    size_t count;
    void **blocks = load(bed.thread, SIZE, 4 * FLI_MIB, &count);
    unload(bed.thread, SIZE, blocks, count);
    fl_thread_flush(bed.thread);
    struct fl_stats stats = stats_of(bed.heap);
    assert_int_equal(stats.pooled_bytes + stats.parked_bytes, 4 * FLI_MIB);
    fl_heap_trim(bed.heap, 3 * FLI_MIB);
    stats = stats_of(bed.heap);
    assert_in_range(stats.pooled_bytes + stats.parked_bytes, 3 * FLI_MIB - 65536, 3 * FLI_MIB);
    fl_heap_trim(bed.heap, SIZE_MAX);
    assert_in_range(stats_of(bed.heap).slab_bytes, 3 * FLI_MIB - 65536, 3 * FLI_MIB);
    fl_heap_trim(bed.heap, 0);
    assert_int_equal(stats_of(bed.heap).slabs, 0);
    end_bed(&bed);
}

static void a_heap_that_retains_all_never_trims_by_itself(void **state)
{
    (void)state;
    struct bed bed = bed_with(&(struct fl_options){.retain_bytes = SIZE_MAX, .magazine_blocks = 64});
    size_t count;
    for (unsigned round = 0; round < 3; round++) {
        void **blocks = load(bed.thread, SIZE, LOAD_BYTES / 2, &count);
        unload(bed.thread, SIZE, blocks, count);
    }
    assert_int_equal(stats_of(bed.heap).trims, 0);
    assert_true(stats_of(bed.heap).slab_bytes >= LOAD_BYTES / 2);
    end_bed(&bed);
}

static void a_heap_trims_itself_past_what_it_retains(void **state)
{
    (void)state;
    static const size_t sizes[] = {16, 48, 1024, FL_BLOCK_MAX};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct bed bed = bed_with(&(struct fl_options){.retain_bytes = 2 * FLI_MIB, .magazine_blocks = 64});
        size_t count;
        void **blocks = load(bed.thread, sizes[i], 16 * FLI_MIB, &count);
        unload(bed.thread, sizes[i], blocks, count);
        struct fl_stats stats = stats_of(bed.heap);
        assert_true(stats.trims > 0);
        assert_true(stats.pooled_bytes + stats.parked_bytes <= 3 * FLI_MIB);
        assert_true(stats.slab_bytes <= 5 * FLI_MIB);
        assert_true(stats.idle_bytes <= FLI_MIB);
        end_bed(&bed);
    }
}

static void what_a_thread_at_work_frees_is_trimmed_from_32_MiB_on_or_when_it_flushes(void **state)
{
    (void)state;
    if (FLI_RARE_PATHS)
        skip(); /* the bound is as low there as for a flush */
    for (size_t mib = 16; mib <= 96; mib *= 6) {
        struct bed bed = bed_with(&(struct fl_options){.magazine_blocks = 64});
        size_t count;
        void **blocks = load(bed.thread, 1024, mib * FLI_MIB, &count);
        uint64_t full = stats_of(bed.heap).slab_bytes;
        unload(bed.thread, 1024, blocks, count);
        uint64_t left = stats_of(bed.heap).slab_bytes;
        assert_in_range(left, mib < 32 ? full : 31 * FLI_MIB, mib < 32 ? full : 40 * FLI_MIB);
        fl_thread_flush(bed.thread);
        assert_true(stats_of(bed.heap).slab_bytes <= FLI_MIB / 2);
        end_bed(&bed);
    }
}

/* Blocks that keep their slabs in use while the others go must not make the heap forget its bound. */
static void fragmentation_that_ends_does_not_raise_the_bound_for_good(void **state)
{
    (void)state;
    struct bed bed = bed_with(&(struct fl_options){.retain_bytes = 2 * FLI_MIB, .magazine_blocks = 64});
    size_t count;
    void **blocks = load(bed.thread, SIZE, 32 * FLI_MIB, &count);
    for (size_t i = 0; i < count; i += 2)
        fl_free_sized(bed.thread, blocks[i], SIZE);
    for (size_t i = 1; i < count; i += 2)
        fl_free_sized(bed.thread, blocks[i], SIZE);
    free(blocks);
    fl_thread_flush(bed.thread);
    struct fl_stats stats = stats_of(bed.heap);
    assert_true(stats.pooled_bytes + stats.parked_bytes <= 4 * FLI_MIB);
    end_bed(&bed);
}

static void a_heap_that_retains_as_little_as_possible_works(void **state)
{
    (void)state;
    struct bed bed = bed_with(&(struct fl_options){.retain_bytes = 1});
    for (unsigned round = 0; round < 3; round++) {
        size_t count;
        void **blocks = load(bed.thread, SIZE, 2 * FLI_MIB, &count);
        for (size_t i = 0; i < count; i++)
            assert_int_equal(*(unsigned char *)blocks[i], i & 255);
        unload(bed.thread, SIZE, blocks, count);
        assert_sound(bed.heap);
        assert_true(stats_of(bed.heap).slab_bytes <= FLI_MIB);
    }
    end_bed(&bed);
}

static void the_address_of_a_slab_given_back_serves_another_class(void **state)
{
    struct bed *bed = *state;
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++) {
        size_t bytes = fli_class_bytes(c);
        void *blocks[4];
        assert_int_equal(fl_alloc_many(bed->thread, bytes, 4, blocks), 0);
        for (unsigned i = 0; i < 4; i++) {
            memset(blocks[i], (int)c, bytes);
            assert_int_equal(fl_usable_size(bed->heap, blocks[i]), bytes);
        }
        fl_free_many(bed->thread, bytes, 4, blocks);
        fl_thread_flush(bed->thread);
        fl_heap_trim(bed->heap, 0);
        assert_int_equal(stats_of(bed->heap).slabs, 0);
        assert_false(fl_owns(bed->heap, blocks[0]));
    }
    /* At most two slabs were ever in use at once. */
    assert_true(stats_of(bed->heap).mapped_bytes < 32 * FLI_MIB);
    void *blocks[1000];
    assert_int_equal(fl_alloc_many(bed->thread, 16, 1000, blocks), 0);
    char *lowest = blocks[0];
    for (unsigned i = 1; i < 1000; i++)
        lowest = (char *)blocks[i] < lowest ? blocks[i] : lowest;
    assert_int_equal((uintptr_t)lowest % (2 * FLI_MIB), 0);
    fl_free_many(bed->thread, 16, 1000, blocks);
}

static void what_unattached_threads_freed_is_given_back_too(void **state)
{
    struct bed *bed = *state;
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++)
        fl_heap_free(bed->heap, fl_alloc(bed->thread, fli_class_bytes(c)));
    fl_thread_flush(bed->thread);
    fl_heap_trim(bed->heap, 0);
    struct fl_stats stats = stats_of(bed->heap);
    assert_int_equal(stats.slabs, 0);
    assert_int_equal(stats.cached_bytes, 0);
}

static void pages_of_empty_magazines_are_given_back(void **state)
{
    (void)state;
    struct bed bed = bed_with(&(struct fl_options){.magazine_blocks = 2, .retain_bytes = SIZE_MAX});
    size_t count;
    void **blocks = load(bed.thread, 4096, 16 * FLI_MIB, &count); /* large ones stay in magazines */
    unload(bed.thread, 4096, blocks, count);
    assert_true(stats_of(bed.heap).magazines >= count / 2);
    fl_thread_flush(bed.thread);
    fl_heap_trim(bed.heap, 0);
    struct fl_stats stats = stats_of(bed.heap);
    assert_in_range(stats.magazines, 0, fli_max(2, fli_os_page() / FLI_MAGAZINE_BYTES)); /* the first page stays */
    assert_int_equal(stats.magazines, stats.empty_magazines);
    blocks = load(bed.thread, 4096, FLI_MIB, &count);
    unload(bed.thread, 4096, blocks, count);
    end_bed(&bed);
}

static void a_trim_under_the_feet_of_a_pool_leaves_part_full_magazines_sound(void **state)
{
    struct bed *bed = *state;
    uint64_t seed = 3;
    static void *blocks[5000];
    for (unsigned round = 0; round < 10; round++) {
        assert_int_equal(fl_alloc_many(bed->thread, SIZE, COUNT_OF(blocks), blocks), 0);
        for (size_t i = COUNT_OF(blocks) - 1; i > 0; i--) {
            size_t j = next_random(&seed) % (i + 1);
            void *swapped = blocks[i];
            blocks[i] = blocks[j];
            blocks[j] = swapped;
        }
        size_t half = next_random(&seed) % COUNT_OF(blocks);
        fl_free_many(bed->thread, SIZE, half, blocks);
        if (round % 2 == 0)
            fl_thread_flush(bed->thread);
        fl_heap_trim(bed->heap, next_random(&seed) % 300000);
        assert_sound(bed->heap);
        assert_int_equal(stats_of(bed->heap).live_blocks, COUNT_OF(blocks) - half);
        fl_free_many(bed->thread, SIZE, COUNT_OF(blocks) - half, blocks + half);
    }
}

/* Resident memory, where sanitizers do not blur it. */
static void resident_memory_falls_back_to_where_it_started(void **state)
{
    (void)state;
    skip_under_emulator(NO_ACCOUNT_OF_MEMORY);
    if (FLI_SANITIZED)
        skip();
    struct bed bed = bed_with(&(struct fl_options){.retain_bytes = SIZE_MAX, .magazine_blocks = 64});
    enum { ROUNDS = 12 };
    const size_t bytes = (FLI_CHECKED ? 5 : 20) * FLI_MIB;
    static void **blocks[ROUNDS];
    static size_t counts[ROUNDS];
    size_t start = resident_bytes();
    for (unsigned i = 0; i < ROUNDS; i++)
        blocks[i] = load(bed.thread, (size_t)16 << (i % 8), bytes, &counts[i]);
    size_t loaded = resident_bytes();
    assert_true(loaded - start >= ROUNDS * bytes);
    for (unsigned i = 0; i < ROUNDS; i++)
        unload(bed.thread, (size_t)16 << (i % 8), blocks[i], counts[i]);
    assert_int_equal(fl_thread_detach(bed.thread), 0);
    fl_heap_trim(bed.heap, 0);
    size_t after = resident_bytes();
    if (after > start + FLI_MIB)
        fail_msg("%zu KiB resident at the start, %zu loaded, %zu after the trim", start >> 10, loaded >> 10,
                 after >> 10);
    end_heap(bed.heap);
}

#if !defined(MADV_COLLAPSE)
#define MADV_COLLAPSE 25
#endif

/* Has the system make huge pages of small ones, as it does by itself where they are always on. */
static bool collapse(void *base, size_t bytes)
{
    return madvise(base, bytes, MADV_COLLAPSE) == 0;
}

static bool can_collapse(void)
{
    size_t bytes = 2 * FLI_CHUNK_BYTES;
    char *area = fli_os_map(bytes), *chunk = (char *)fli_round_up((uintptr_t)area, FLI_CHUNK_BYTES);
    assert_non_null(area);
    *chunk = 1;
    bool done = collapse(chunk, FLI_CHUNK_BYTES);
    fli_os_unmap(area, bytes);
    return done;
}

/* Of each huge page one block lives on. */
static void what_a_trim_returned_stays_returned_where_pages_become_huge(void **state)
{
    (void)state;
    skip_under_emulator(NO_ACCOUNT_OF_MEMORY);
    if (FLI_SANITIZED || !can_collapse())
        skip();
    struct bed bed = bed_with(&(struct fl_options){.reserve_bytes = 256 * FLI_MIB});
    enum { BLOCK = 1024, MANY = 64 * 1024, IN_A_CHUNK = FLI_CHUNK_BYTES / BLOCK };
    static void *blocks[MANY];
    char *base = bed.heap->backing.slabs.ranges.at[0].base;
    assert_int_equal(madvise(base, (size_t)MANY * BLOCK, MADV_HUGEPAGE), 0);
    for (unsigned i = 0; i < MANY; i++)
        memset(blocks[i] = fl_alloc(bed.thread, BLOCK), 1, BLOCK);
    size_t loaded = resident_bytes();
    for (unsigned i = 0; i < MANY; i++)
        if (i % IN_A_CHUNK != 0)
            fl_free_sized(bed.thread, blocks[i], BLOCK);
    fl_thread_flush(bed.thread);
    fl_heap_trim(bed.heap, 0);
    size_t trimmed = resident_bytes();
    assert_true(trimmed < loaded - MANY / 2 * BLOCK);
    for (size_t at = 0; at < (size_t)MANY * BLOCK; at += FLI_CHUNK_BYTES)
        collapse(base + at, FLI_CHUNK_BYTES);
    assert_true(resident_bytes() < trimmed + 4 * FLI_MIB);
    for (unsigned i = 0; i < MANY; i += IN_A_CHUNK)
        fl_free_sized(bed.thread, blocks[i], BLOCK);
    end_bed(&bed);
}

/* ---- Trims while others work. */

struct worker {
    struct fl_heap *heap;
    pthread_t thread;
    unsigned seed;
    bool good;
};

static void *churn(void *argument)
{
    struct worker *worker = argument;
    struct fl_thread *thread = fl_thread_attach(worker->heap);
    uint64_t seed = worker->seed;
    void *blocks[300];
    worker->good = thread != NULL;
    for (unsigned round = 0; round < (FLI_THREAD_SANITIZER ? 60 : 200); round++) {
        size_t size = (size_t)16 << (next_random(&seed) % 8);
        worker->good = worker->good && fl_alloc_many(thread, size, COUNT_OF(blocks), blocks) == 0;
        for (size_t i = 0; i < COUNT_OF(blocks); i++)
            *(size_t *)blocks[i] = i + worker->seed;
        for (size_t i = 0; i < COUNT_OF(blocks); i++)
            worker->good = worker->good && *(size_t *)blocks[i] == i + worker->seed;
        fl_free_many(thread, size, COUNT_OF(blocks), blocks);
        if (round % 3 == 0)
            fl_thread_flush(thread);
        if (round % 16 == 0)
            fl_heap_trim(worker->heap, round % 32 == 0 ? 0 : 100000);
    }
    return NULL;
}

static void trims_and_working_threads_do_not_disturb_each_other(void **state)
{
    (void)state;
    struct fl_heap *heap = heap_with(&(struct fl_options){.retain_bytes = 200000, .magazine_blocks = 8});
    struct worker workers[3];
    for (unsigned i = 0; i < COUNT_OF(workers); i++) {
        workers[i] = (struct worker){.heap = heap, .seed = i + 1};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, churn, &workers[i]), 0);
    }
    for (unsigned i = 0; i < COUNT_OF(workers); i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        assert_true(workers[i].good);
    }
    assert_int_equal(stats_of(heap).live_blocks, 0);
    assert_sound(heap);
    fl_heap_trim(heap, 0);
    assert_int_equal(stats_of(heap).slabs, 0);
    end_heap(heap);
}

/* More than what a heap may hold while its threads work. */
#define WAVE_BYTES ((size_t)(FLI_RARE_PATHS ? 16 : 64) * FLI_MIB)

/* A program that frees and allocates in waves is left alone as soon as the second one comes. */
static void a_wave_that_comes_back_raises_the_bound_to_its_height(void **state)
{
    struct bed *bed = *state;
    size_t count;
    uint64_t trims[4];
    for (size_t wave = 0; wave < COUNT_OF(trims); wave++) {
        void **blocks = load(bed->thread, SIZE, WAVE_BYTES, &count);
        unload(bed->thread, SIZE, blocks, count);
        trims[wave] = stats_of(bed->heap).trims;
    }
    assert_true(trims[0] > 0);
    assert_in_range(trims[3] - trims[1], 0, 1);
}

/* Of one whose objects change their size, and are more than the heap retains, each wave gets the memory of earlier
 * ones, and next to nothing goes by way of the system. */
static void waves_of_other_sizes_use_the_memory_of_those_before(void **state)
{
    (void)state;
    enum { ROUNDS = 6 };
    static const size_t sizes[] = {48, 1024, 256, 400, 64, 2048};
    struct bed bed = bed_with(&(struct fl_options){.retain_bytes = LOAD_BYTES});
    size_t count;
    uint64_t trimmed[ROUNDS];
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            void **blocks = load(bed.thread, sizes[i], LOAD_BYTES / 2, &count);
            unload(bed.thread, sizes[i], blocks, count);
        }
        trimmed[round] = stats_of(bed.heap).trimmed_bytes;
    }
    assert_int_equal(trimmed[ROUNDS - 1], trimmed[ROUNDS - 2]);
    /* What one wave needs, and what caches keep of the sizes before. */
    assert_in_range(memory_of(bed.heap), LOAD_BYTES / 2, LOAD_BYTES / 4 * 3);
    fl_thread_flush(bed.thread);
    fl_heap_trim(bed.heap, 0);
    assert_int_equal(memory_of(bed.heap), 0);
    end_bed(&bed);
}

static void a_trim_leaves_idle_what_it_is_asked_to_leave(void **state)
{
    struct bed *bed = *state;
    size_t count;
    for (size_t size = 64; size <= 2048; size *= 2) {
        void **blocks = load(bed->thread, size, WAVE_BYTES, &count);
        unload(bed->thread, size, blocks, count);
    }
    fl_thread_flush(bed->thread);
    size_t before = memory_of(bed->heap);
    fl_heap_trim(bed->heap, FLI_MIB);
    assert_true(memory_of(bed->heap) <= FLI_MIB);
    assert_true(memory_of(bed->heap) < before);
    fl_heap_trim(bed->heap, 0);
    assert_int_equal(memory_of(bed->heap), 0);
}

/* A pool of next to nothing whose trims only look after what lies parked has not outgrown its bound. */
static void small_change_beside_fragments_does_not_raise_the_bound(void **state)
{
    struct bed *bed = *state;
    size_t count;
    void **blocks = load(bed->thread, SIZE, LOAD_BYTES / 2, &count), *few[100];
    for (size_t i = 0; i < count; i++)
        if (i % 64 != 0)
            fl_free_sized(bed->thread, blocks[i], SIZE);
    for (unsigned i = 0; i < 100; i++) {
        fl_thread_flush(bed->thread);
        assert_int_equal(fl_alloc_many(bed->thread, SIZE, COUNT_OF(few), few), 0);
        fl_free_many(bed->thread, SIZE, COUNT_OF(few), few);
    }
    for (size_t i = 0; i < count; i += 64)
        fl_free_sized(bed->thread, blocks[i], SIZE);
    free(blocks);
    for (unsigned i = 0; i < 600; i++)
        fl_thread_flush(bed->thread);
    assert_true(memory_of(bed->heap) <= FLI_MIB);
}

/* What the host has given back and takes again is its own decision. */
static void trims_that_the_host_asks_for_do_not_raise_the_bound(void **state)
{
    struct bed *bed = *state;
    size_t count;
    void **blocks = load(bed->thread, SIZE, FLI_MIB, &count);
    unload(bed->thread, SIZE, blocks, count);
    for (unsigned i = 0; i < 100; i++) {
        fl_thread_flush(bed->thread);
        fl_heap_trim(bed->heap, 0);
        blocks = load(bed->thread, SIZE, FLI_MIB / 16, &count);
        unload(bed->thread, SIZE, blocks, count);
    }
    blocks = load(bed->thread, SIZE, 4 * FLI_MIB, &count);
    unload(bed->thread, SIZE, blocks, count);
    fl_thread_flush(bed->thread);
    assert_true(memory_of(bed->heap) <= FLI_MIB);
}

static void live_and_leave(struct fl_heap *heap, size_t bytes)
{
    struct fl_thread *thread = fl_thread_attach(heap);
    size_t count;
    void **blocks = load(thread, SIZE, bytes, &count);
    unload(thread, SIZE, blocks, count);
    assert_int_equal(fl_thread_detach(thread), 0);
}

/* One that serves each request on a thread of its own would fault all its memory in again for each of them. */
static void threads_that_come_and_go_raise_the_bound_to_what_they_take(void **state)
{
    (void)state;
    for (size_t bytes = 3 * FLI_MIB / 16; bytes <= 2 * FLI_MIB; bytes *= 2) {
        struct fl_heap *heap = heap_with(NULL);
        for (unsigned i = 0; i < 20; i++)
            live_and_leave(heap, bytes);
        uint64_t trims = stats_of(heap).trims;
        for (unsigned i = 0; i < 20; i++)
            live_and_leave(heap, bytes);
        assert_int_equal(stats_of(heap).trims, trims);
        assert_true(memory_of(heap) <= 4 * bytes);
        end_heap(heap);
    }
}

struct leaver {
    struct fl_heap *heap;
    pthread_barrier_t *together;
    pthread_t thread;
};

static void *free_all_and_leave(void *argument)
{
    struct leaver *leaver = argument;
    struct fl_thread *thread = fl_thread_attach(leaver->heap);
    size_t count;
    void **blocks = load(thread, SIZE, LOAD_BYTES / 8, &count);
    pthread_barrier_wait(leaver->together);
    unload(thread, SIZE, blocks, count);
    assert_int_equal(fl_thread_detach(thread), 0);
    return NULL;
}

/* Each may find the other at trimming, and neither the other gone. */
static void of_threads_that_leave_together_the_last_one_trims(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 40; round++) {
        struct fl_heap *heap = heap_with(NULL);
        pthread_barrier_t together;
        struct leaver leavers[4];
        assert_int_equal(pthread_barrier_init(&together, NULL, COUNT_OF(leavers)), 0);
        for (size_t i = 0; i < COUNT_OF(leavers); i++) {
            leavers[i] = (struct leaver){.heap = heap, .together = &together};
            assert_int_equal(pthread_create(&leavers[i].thread, NULL, free_all_and_leave, &leavers[i]), 0);
        }
        for (size_t i = 0; i < COUNT_OF(leavers); i++)
            assert_int_equal(pthread_join(leavers[i].thread, NULL), 0);
        assert_true(memory_of(heap) <= FLI_MIB);
        pthread_barrier_destroy(&together);
        end_heap(heap);
    }
}

static void *free_on_a_small_stack(void *argument)
{
    struct bed *bed = argument;
    struct fl_thread *thread = fl_thread_attach(bed->heap);
    static void *blocks[100];
    for (unsigned i = 0; i < 100; i++) {
        fl_alloc_many(thread, 1024, COUNT_OF(blocks), blocks);
        fl_free_many(thread, 1024, COUNT_OF(blocks), blocks);
        fl_heap_trim(bed->heap, 0);
    }
    return NULL;
}

static void a_thread_with_little_stack_can_free_and_trim(void **state)
{
    if (FLI_SANITIZED)
        skip();
    struct bed *bed = *state;
    pthread_attr_t attributes;
    pthread_t thread;
    small_stack_init(&attributes, 32768);
    assert_int_equal(pthread_create(&thread, &attributes, free_on_a_small_stack, bed), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    pthread_attr_destroy(&attributes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BED_TEST(a_trim_gives_back_what_is_free_and_keeps_what_is_not),
        BED_TEST(what_lies_in_a_cache_is_not_touched),
        cmocka_unit_test(of_idle_threads_a_trim_leaves_two_magazines_per_class),
        cmocka_unit_test(of_idle_threads_that_are_offline_or_have_flushed_a_trim_leaves_nothing),
        cmocka_unit_test(what_idle_threads_keep_beyond_their_caches_serves_others_at_the_limit),
        BED_TEST(a_trim_of_an_empty_heap_gives_nothing_back),
        BED_TEST(a_trim_tells_the_bytes_it_gave_back),
        cmocka_unit_test(what_is_to_be_retained_is_retained),
        cmocka_unit_test(a_heap_that_retains_all_never_trims_by_itself),
        cmocka_unit_test(a_heap_trims_itself_past_what_it_retains),
        cmocka_unit_test(what_a_thread_at_work_frees_is_trimmed_from_32_MiB_on_or_when_it_flushes),
        cmocka_unit_test(fragmentation_that_ends_does_not_raise_the_bound_for_good),
        cmocka_unit_test(a_heap_that_retains_as_little_as_possible_works),
        BED_TEST(the_address_of_a_slab_given_back_serves_another_class),
        BED_TEST(what_unattached_threads_freed_is_given_back_too),
        cmocka_unit_test(pages_of_empty_magazines_are_given_back),
        BED_TEST(a_trim_under_the_feet_of_a_pool_leaves_part_full_magazines_sound),
        cmocka_unit_test(resident_memory_falls_back_to_where_it_started),
        cmocka_unit_test(what_a_trim_returned_stays_returned_where_pages_become_huge),
        cmocka_unit_test(trims_and_working_threads_do_not_disturb_each_other),
        BED_TEST(a_wave_that_comes_back_raises_the_bound_to_its_height),
        cmocka_unit_test(waves_of_other_sizes_use_the_memory_of_those_before),
        BED_TEST(a_trim_leaves_idle_what_it_is_asked_to_leave),
        BED_TEST(small_change_beside_fragments_does_not_raise_the_bound),
        BED_TEST(trims_that_the_host_asks_for_do_not_raise_the_bound),
        cmocka_unit_test(threads_that_come_and_go_raise_the_bound_to_what_they_take),
        cmocka_unit_test(of_threads_that_leave_together_the_last_one_trims),
        BED_TEST(a_thread_with_little_stack_can_free_and_trim),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
