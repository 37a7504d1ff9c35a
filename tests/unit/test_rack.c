/* SPDX-License-Identifier: MIT */
#include "support.h"

#include "heap/thread.h"

/* Small blocks, which go home beyond what is kept, and large ones, of which a thread keeps more. */
enum { SIZE = 48, LARGE = 4096, MANY = 30000, LARGE_MANY = 4000, MAGAZINE = 16, LARGE_MAGAZINE = 8 };

_Static_assert(FLI_RACK_BYTES_MOST / 1024 <= UINT16_MAX && FLI_RACK_BYTES_MOST >> 18 < UINT8_MAX,
               "see struct fli_rack_part");

/* Blocks of two magazines in a cache and of two on the rack. */
enum { FOUR_MAGAZINES = 4 * MAGAZINE };

static size_t bound_of(struct fl_heap *heap)
{
    return fli_load_relaxed(&heap->backing.rack_bytes);
}

static struct fli_rack *rack_of(struct fl_thread *thread)
{
    return &((struct fli_thread *)(void *)thread)->owner.home->rack;
}

/* How many magazines a thread has given away since the heap last looked at its bound. */
static unsigned given_by(struct fl_thread *thread)
{
    return ((struct fli_thread *)(void *)thread)->owner.given_magazines;
}

static int up(void **state)
{
    static struct bed bed;
    bed = bed_with(&(struct fl_options){.magazine_blocks = MAGAZINE, .retain_bytes = SIZE_MAX});
    *state = &bed;
    return 0;
}

static int down(void **state)
{
    end_bed(*state);
    return 0;
}

static void what_a_thread_frees_and_allocates_again_touches_nothing_shared(void **state)
{
    struct bed *bed = *state;
    void *blocks[FOUR_MAGAZINES];
    struct fl_stats before = {0}, after;
    unsigned given = 0;
    for (unsigned round = 0; round < 99; round++) {
        assert_int_equal(fl_alloc_many(bed->thread, SIZE, FOUR_MAGAZINES, blocks), 0);
        fl_free_many(bed->thread, SIZE, FOUR_MAGAZINES, blocks);
        assert_sound(bed->heap);
        if (round == 1) {
            before = stats_of(bed->heap);
            given = given_by(bed->thread);
        }
    }
    after = stats_of(bed->heap);
    assert_int_equal(given_by(bed->thread), given);
    assert_int_equal(after.shared_updates, before.shared_updates);
    assert_int_equal(after.cached_bytes, before.cached_bytes);
    assert_int_equal(after.pooled_bytes, 0);
    assert_int_equal(after.magazines, before.magazines);
}

static void blocks_come_back_with_what_was_written_by_one_owner_only(void **state)
{
    struct bed *bed = *state;
    static unsigned char *blocks[MANY];
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < MANY; i++)
            memset(blocks[i] = fl_alloc(bed->thread, SIZE), (int)(i % 251), SIZE);
        for (unsigned i = 0; i < MANY; i++) {
            assert_int_equal(blocks[i][0], i % 251);
            assert_int_equal(blocks[i][SIZE - 1], i % 251);
            fl_free_sized(bed->thread, blocks[i], SIZE);
        }
    }
}

static size_t small_bound_of(struct fl_heap *heap)
{
    return fli_min(heap->backing.small_bytes, bound_of(heap) - bound_of(heap) / 4);
}

static void a_rack_keeps_no_more_than_its_bound_and_the_rest_goes_home(void **state)
{
    struct bed *bed = *state;
    static void *blocks[MANY];
    assert_int_equal(fl_alloc_many(bed->thread, SIZE, MANY, blocks), 0);
    for (unsigned i = 0; i < MANY; i++) {
        fl_free_sized(bed->thread, blocks[i], SIZE);
        assert_true(rack_of(bed->thread)->small.kib * (size_t)1024 <= small_bound_of(bed->heap));
    }
    struct fl_class_stats class = class_stats_of(bed->heap, SIZE);
    assert_in_range(class.cached, 3 * MAGAZINE, 2 * MAGAZINE + small_bound_of(bed->heap) / SIZE);
    assert_int_equal(class.cached + class.parked, class.carved);
    assert_int_equal(class.pooled, 0);
}

static size_t shelved(struct fl_thread *thread, struct fl_heap *heap)
{
    size_t c = fl_size_class(SIZE);
    struct fli_home *home = ((struct fli_thread *)(void *)thread)->owner.home;
    return (size_t)fli_chain_blocks(&home->classes[c].shelf, &heap->backing.magazines);
}

/* Allocates on one thread's handle and frees on another's. */
static void pass(struct fl_thread *producer, struct fl_thread *consumer)
{
    void *blocks[2 * FOUR_MAGAZINES];
    assert_int_equal(fl_alloc_many(producer, SIZE, 2 * FOUR_MAGAZINES, blocks), 0);
    fl_free_many(consumer, SIZE, 2 * FOUR_MAGAZINES, blocks);
}

static void what_a_thread_frees_of_another_comes_back_to_that_in_whole_magazines(void **state)
{
    struct bed *bed = *state;
    struct fl_thread *consumer = fl_thread_attach(bed->heap);
    for (unsigned round = 0; round < 2 * FLI_RACK_BYTES_FIRST / (MAGAZINE * SIZE); round++)
        pass(bed->thread, consumer);
    assert_true(shelved(bed->thread, bed->heap) > 0);
    assert_sound(bed->heap);
    fl_thread_flush(bed->thread);
    pass(consumer, consumer);
    assert_int_equal(shelved(bed->thread, bed->heap), 0);
    assert_int_equal(fl_thread_detach(consumer), 0);
}

/* More would come out in the order in which they were freed. */
static void of_many_blocks_that_a_thread_frees_of_another_two_magazines_come_back_whole(void **state)
{
    struct bed *bed = *state;
    static void *blocks[MANY];
    struct fl_thread *consumer = fl_thread_attach(bed->heap);
    for (unsigned round = 0; round < 4; round++) {
        assert_int_equal(fl_alloc_many(bed->thread, SIZE, MANY, blocks), 0);
        fl_free_many(consumer, SIZE, MANY, blocks);
        assert_int_equal(shelved(bed->thread, bed->heap), 2 * MAGAZINE);
    }
    assert_sound(bed->heap);
    assert_int_equal(fl_thread_detach(consumer), 0);
}

static void a_thread_that_is_away_gets_its_blocks_into_their_bits(void **state)
{
    struct bed *bed = *state;
    void *blocks[MANY];
    struct fl_thread *consumer = fl_thread_attach(bed->heap);
    assert_int_equal(fl_alloc_many(bed->thread, SIZE, MANY, blocks), 0);
    fl_thread_flush(bed->thread);
    fl_free_many(consumer, SIZE, MANY, blocks);
    assert_int_equal(shelved(bed->thread, bed->heap), 0);
    assert_int_equal(fl_thread_detach(consumer), 0);
}

static void of_small_blocks_a_rack_keeps_half_a_cache_at_most(void **state)
{
    struct bed *bed = *state;
    static void *blocks[MANY];
    for (size_t wave = 0; wave < 8; wave++) {
        assert_int_equal(fl_alloc_many(bed->thread, SIZE, MANY, blocks), 0);
        fl_free_many(bed->thread, SIZE, MANY, blocks);
        assert_true(rack_of(bed->thread)->small.kib * (size_t)1024 <= bed->heap->backing.small_bytes);
    }
    assert_int_equal(rack_of(bed->thread)->large.kib, 0);
}

/* What the rack may hold comes to be what the thread frees and allocates again, up to what there is for it. */
static void of_large_blocks_a_rack_grows_when_what_it_gave_away_is_missed(void **state)
{
    struct bed *bed = *state;
    static void *blocks[LARGE_MANY];
    uint64_t updates[6];
    size_t racked[COUNT_OF(updates)];
    for (size_t wave = 0; wave < COUNT_OF(updates); wave++) {
        assert_int_equal(fl_alloc_many(bed->thread, LARGE, LARGE_MANY, blocks), 0);
        fl_free_many(bed->thread, LARGE, LARGE_MANY, blocks);
        updates[wave] = stats_of(bed->heap).shared_updates;
        racked[wave] = rack_of(bed->thread)->large.kib;
    }
    assert_true(racked[0] * 1024 <= FLI_RACK_BYTES_FIRST);
    if (bound_of(bed->heap) > (size_t)2 * LARGE_MANY * LARGE * 3 / 4) {
        assert_true(racked[5] * 1024 > (size_t)LARGE_MANY * LARGE * 9 / 10);
        assert_int_equal(updates[5], updates[4]);
    }
}

static void a_rack_whose_thread_only_frees_does_not_grow(void **state)
{
    struct bed *bed = *state;
    struct fl_thread *other = fl_thread_attach(bed->heap);
    static void *blocks[MANY];
    for (unsigned wave = 0; wave < 3; wave++) {
        assert_int_equal(fl_alloc_many(other, SIZE, MANY, blocks), 0);
        fl_free_many(bed->thread, SIZE, MANY, blocks);
        assert_true(rack_of(bed->thread)->small.kib * 1024 <= FLI_RACK_BYTES_FIRST);
        assert_true(rack_of(other)->empty.kib * 1024 <= FLI_RACK_BYTES_FIRST);
    }
    assert_int_equal(fl_thread_detach(other), 0);
}

/* Nor is what it frees in one class missed in another. */
/* The other blocks would lie around the kept ones, and these would come out in the order in which they were freed. */
static void of_waves_that_do_not_fit_a_rack_keeps_what_it_kept_at_first(void **state)
{
    struct bed *bed = *state;
    static void *blocks[MANY];
    bed->heap->backing.small_bytes = 8 * FLI_RACK_BYTES_FIRST;
    for (size_t wave = 0; wave < 8; wave++) {
        assert_int_equal(fl_alloc_many(bed->thread, SIZE, MANY, blocks), 0);
        fl_free_many(bed->thread, SIZE, MANY, blocks);
        assert_true(rack_of(bed->thread)->small.kib * (size_t)1024 <= FLI_RACK_BYTES_FIRST);
        assert_sound(bed->heap);
    }
}

static void what_a_thread_frees_of_one_class_and_asks_of_another_does_not_grow_a_rack(void **state)
{
    struct bed *bed = *state;
    struct fl_thread *other = fl_thread_attach(bed->heap);
    static void *blocks[MANY], *larger[MANY];
    for (unsigned wave = 0; wave < 6; wave++) {
        assert_int_equal(fl_alloc_many(other, SIZE, MANY, blocks), 0);
        fl_free_many(bed->thread, SIZE, MANY, blocks);
        assert_int_equal(fl_alloc_many(bed->thread, 2 * SIZE, MANY, larger), 0);
        fl_free_many(other, 2 * SIZE, MANY, larger);
    }
    assert_true(rack_of(bed->thread)->small.kib * 1024 <= FLI_RACK_BYTES_FIRST);
    assert_true(rack_of(other)->small.kib * 1024 <= FLI_RACK_BYTES_FIRST);
    assert_int_equal(fl_thread_detach(other), 0);
}

/* One wave that is taken back, and many that are not: the rack is as large as the one. */
static void a_rack_grows_by_no_more_than_it_gave_away(void **state)
{
    struct bed *bed = *state;
    static void *blocks[LARGE_MANY];
    enum {
        WAVE = LARGE_MANY / 8,
        WAVE_BYTES = WAVE / LARGE_MAGAZINE * (FLI_MAGAZINE_BYTES + LARGE_MAGAZINE * LARGE + 1024)
    };
    assert_int_equal(fl_alloc_many(bed->thread, LARGE, WAVE, blocks), 0);
    fl_free_many(bed->thread, LARGE, WAVE, blocks);
    assert_int_equal(fl_alloc_many(bed->thread, LARGE, LARGE_MANY, blocks), 0);
    fl_free_many(bed->thread, LARGE, LARGE_MANY, blocks);
    assert_true(rack_of(bed->thread)->large.kib * 1024 <= FLI_RACK_BYTES_FIRST + WAVE_BYTES + (1 << 18));
    fl_thread_flush(bed->thread);
    assert_int_equal(fl_alloc_many(bed->thread, LARGE, WAVE, blocks), 0);
    fl_free_many(bed->thread, LARGE, WAVE, blocks);
    assert_true(rack_of(bed->thread)->large.kib * 1024 <= FLI_RACK_BYTES_FIRST);
}

static void a_flush_empties_the_rack(void **state)
{
    struct bed *bed = *state;
    void *blocks[FOUR_MAGAZINES];
    assert_int_equal(fl_alloc_many(bed->thread, SIZE, FOUR_MAGAZINES, blocks), 0);
    fl_free_many(bed->thread, SIZE, FOUR_MAGAZINES, blocks);
    assert_true(rack_of(bed->thread)->small.kib > 0);
    fl_thread_flush(bed->thread);
    struct fl_stats stats = stats_of(bed->heap);
    assert_int_equal(stats.cached_bytes, 0);
    assert_int_equal(rack_of(bed->thread)->small.kib + rack_of(bed->thread)->empty.kib, 0);
    struct fl_class_stats class = stats.classes[fl_size_class(SIZE)];
    assert_int_equal(class.parked, class.carved);
    assert_int_equal(stats.magazines, stats.empty_magazines);
}

/* Half a rack of full magazines becomes half a rack of empty ones, and these serve another class. */
static void empty_magazines_on_the_rack_serve_every_class(void **state)
{
    struct bed *bed = *state;
    void *blocks[FOUR_MAGAZINES], *others[FOUR_MAGAZINES];
    for (unsigned round = 0; round < 2; round++) {
        assert_int_equal(fl_alloc_many(bed->thread, SIZE, FOUR_MAGAZINES, blocks), 0);
        fl_free_many(bed->thread, SIZE, FOUR_MAGAZINES, blocks);
    }
    assert_int_equal(fl_alloc_many(bed->thread, SIZE, FOUR_MAGAZINES, blocks), 0);
    assert_int_equal(fl_alloc_many(bed->thread, 2 * SIZE, FOUR_MAGAZINES, others), 0);
    size_t magazines = stats_of(bed->heap).magazines;
    fl_free_many(bed->thread, 2 * SIZE, FOUR_MAGAZINES, others);
    assert_in_range(stats_of(bed->heap).magazines, magazines, magazines + 2);
    fl_free_many(bed->thread, SIZE, FOUR_MAGAZINES, blocks);
}

static void threads_share_what_the_heap_retains(void **state)
{
    (void)state;
    struct bed bed = bed_with(&(struct fl_options){.retain_bytes = 40000});
    struct fl_thread *others[4];
    for (size_t i = 0; i < COUNT_OF(others); i++)
        others[i] = fl_thread_attach(bed.heap);
    assert_int_equal(bound_of(bed.heap), fli_min(40000 / 5, FLI_RACK_BYTES_MOST));
    for (size_t i = 0; i < COUNT_OF(others); i++)
        assert_int_equal(fl_thread_detach(others[i]), 0);
    assert_int_equal(bound_of(bed.heap), fli_min(40000, FLI_RACK_BYTES_MOST));
    end_bed(&bed);
}

static void a_heap_that_retains_nothing_has_no_racks(void **state)
{
    (void)state;
    struct bed bed = bed_with(&(struct fl_options){.retain_bytes = 1});
    void *blocks[1000];
    assert_int_equal(fl_alloc_many(bed.thread, SIZE, COUNT_OF(blocks), blocks), 0);
    fl_free_many(bed.thread, SIZE, COUNT_OF(blocks), blocks);
    assert_int_equal(rack_of(bed.thread)->small.kib + rack_of(bed.thread)->empty.kib, 0);
    end_bed(&bed);
}

static void without_a_thread_nothing_is_kept_back(void **state)
{
    (void)state;
    struct fl_heap *heap = heap_with(&(struct fl_options){.retain_bytes = SIZE_MAX});
    assert_int_equal(bound_of(heap), 0);
    struct fl_thread *thread = fl_thread_attach(heap);
    assert_true(bound_of(heap) > 0);
    assert_int_equal(fl_thread_detach(thread), 0);
    assert_int_equal(bound_of(heap), 0);
    end_heap(heap);
}

/* One thread's rack must not keep another from the blocks that the limit leaves. */
static void with_a_limit_racks_keep_an_eighth_of_it_at_most(void **state)
{
    (void)state;
    enum { LIMIT = 1 << 20, BLOCKS = LIMIT / SIZE * 7 / 10 };
    struct bed bed = bed_with(&(struct fl_options){.limit_bytes = LIMIT});
    struct fl_thread *other = fl_thread_attach(bed.heap);
    static void *blocks[BLOCKS];
    assert_true(bound_of(bed.heap) <= LIMIT / 16);
    for (unsigned round = 0; round < 4; round++) {
        struct fl_thread *thread = round % 2 ? other : bed.thread;
        assert_int_equal(fl_alloc_many(thread, SIZE, BLOCKS, blocks), 0);
        fl_free_many(thread, SIZE, BLOCKS, blocks);
    }
    assert_int_equal(fl_thread_detach(other), 0);
    end_bed(&bed);
}

#define RACK_TEST(test) cmocka_unit_test_setup_teardown(test, up, down)

/* Frees and allocates blocks in waves of more than a rack holds, so that the bound on the rack rises. */
static void fill_rack(struct fl_thread *thread, size_t size)
{
    enum { WAVE_BYTES = FLI_RARE_PATHS ? 1 << 17 : 1 << 20, WAVES = 6 };
    static void *wave[WAVE_BYTES / SIZE];
    for (unsigned i = 0; i < WAVES; i++) {
        assert_int_equal(fl_alloc_many(thread, size, WAVE_BYTES / size, wave), 0);
        fl_free_many(thread, size, WAVE_BYTES / size, wave);
    }
}

/* What racks keep of blocks of these sizes is what their threads may keep together, however many attach. */
static void check_that_racks_shrink(size_t retain, unsigned count, const size_t *sizes, unsigned sizes_count)
{
    struct fl_heap *heap = heap_with(&(struct fl_options){.retain_bytes = retain});
    struct fl_thread *threads[64];
    size_t caches = 0, most = 0;
    for (unsigned i = 0; i < sizes_count; i++)
        caches += 2 * class_stats_of(heap, sizes[i]).magazine_blocks * sizes[i];
    for (unsigned i = 0; i < count; i++) {
        assert_non_null(threads[i] = fl_thread_attach(heap));
        for (unsigned s = 0; s < sizes_count; s++)
            fill_rack(threads[i], sizes[s]);
        size_t cached = stats_of(heap).cached_bytes;
        most = fli_max(most, cached);
        assert_true(cached <= retain + (i + 1) * caches);
    }
    assert_true(FLI_RARE_PATHS || most > retain / 4);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(fl_thread_detach(threads[i]), 0);
    end_heap(heap);
}

static void racks_of_idle_threads_shrink_as_others_attach(void **state)
{
    (void)state;
    check_that_racks_shrink(16 * FLI_MIB, 32, (size_t[]){LARGE}, 1);
}

static void so_do_those_with_small_blocks(void **state)
{
    (void)state;
    check_that_racks_shrink(2 * FLI_MIB, 64, (size_t[]){SIZE}, 1);
}

static void small_and_large_blocks_count_together(void **state)
{
    (void)state;
    check_that_racks_shrink(2 * FLI_MIB, 8, (size_t[]){SIZE, LARGE}, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(racks_of_idle_threads_shrink_as_others_attach),
        cmocka_unit_test(so_do_those_with_small_blocks),
        cmocka_unit_test(small_and_large_blocks_count_together),
        RACK_TEST(what_a_thread_frees_and_allocates_again_touches_nothing_shared),
        RACK_TEST(blocks_come_back_with_what_was_written_by_one_owner_only),
        RACK_TEST(a_rack_keeps_no_more_than_its_bound_and_the_rest_goes_home),
        RACK_TEST(of_small_blocks_a_rack_keeps_half_a_cache_at_most),
        RACK_TEST(of_large_blocks_a_rack_grows_when_what_it_gave_away_is_missed),
        RACK_TEST(a_rack_whose_thread_only_frees_does_not_grow),
        RACK_TEST(of_waves_that_do_not_fit_a_rack_keeps_what_it_kept_at_first),
        RACK_TEST(what_a_thread_frees_of_one_class_and_asks_of_another_does_not_grow_a_rack),
        RACK_TEST(a_rack_grows_by_no_more_than_it_gave_away),
        RACK_TEST(what_a_thread_frees_of_another_comes_back_to_that_in_whole_magazines),
        RACK_TEST(of_many_blocks_that_a_thread_frees_of_another_two_magazines_come_back_whole),
        RACK_TEST(a_thread_that_is_away_gets_its_blocks_into_their_bits),
        RACK_TEST(a_flush_empties_the_rack),
        RACK_TEST(empty_magazines_on_the_rack_serve_every_class),
        cmocka_unit_test(threads_share_what_the_heap_retains),
        cmocka_unit_test(a_heap_that_retains_nothing_has_no_racks),
        cmocka_unit_test(without_a_thread_nothing_is_kept_back),
        cmocka_unit_test(with_a_limit_racks_keep_an_eighth_of_it_at_most),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
