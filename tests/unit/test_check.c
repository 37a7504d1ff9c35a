/* SPDX-License-Identifier: MIT
 *
 * Corruption planted by hand, one word at a time, is found by fl_heap_check and named; and taken back, all is well.
 */
#include "grace_support.h"
#include "memory/mark.h"
#include "pool/unsubmitted.h"

enum { SIZE = 48, MANY = 1000, RACKED_MAGAZINES = 3, OWN = MANY / 4 + 6 };

/* A heap of release-sized magazines with blocks in every place: a cache, a rack, the pool, a slab. */
struct ward {
    struct bed bed;
    void *blocks[MANY];
    unsigned class_index;
    struct fli_home *home;
    struct fl_cache *cache;
    struct fli_magazine *pooled;
    void **pooled_blocks;
};

static int ward_up(void **state)
{
    struct ward *ward = calloc(1, sizeof *ward);
    assert_non_null(ward);
    ward->bed = bed_with(&(struct fl_options){.magazine_blocks = 16, .retain_bytes = SIZE_MAX});
    struct fl_heap *heap = ward->bed.heap;
    assert_int_equal(fl_alloc_many(ward->bed.thread, SIZE, MANY, ward->blocks), 0);
    fli_store_relaxed(&heap->backing.rack_bytes, RACKED_MAGAZINES * (FLI_MAGAZINE_BYTES + 16 * SIZE));
    ward->class_index = (unsigned)fl_size_class(SIZE);
    ward->home = ((struct fli_thread *)(void *)ward->bed.thread)->owner.home;
    fl_free_many(ward->bed.thread, SIZE, OWN, ward->blocks);
    /* What another thread frees while the home is busy comes to the pool. */
    struct fl_thread *other = fl_thread_attach(heap);
    fli_home_wait(ward->home);
    fl_free_many(other, SIZE, MANY / 2 - OWN, ward->blocks + OWN);
    fl_thread_flush(other);
    fli_home_unlock(ward->home);
    assert_int_equal(fl_thread_detach(other), 0);
    ward->cache = fli_thread_cache((struct fli_thread *)(void *)ward->bed.thread, ward->class_index);
    uint32_t head = fli_tagged_index(fli_load_relaxed(&heap->backing.pool.filled[ward->class_index].head));
    ward->pooled = fli_magazine_at(&heap->backing.magazines, head);
    ward->pooled_blocks = fli_magazine_floor(ward->pooled, heap->backing.magazine_blocks[ward->class_index]);
    assert_true(head != 0);
    assert_true(ward->cache->top - ward->cache->floor > 2);
    assert_sound(heap);
    *state = ward;
    return 0;
}

static int ward_down(void **state)
{
    struct ward *ward = *state;
    fl_free_many(ward->bed.thread, SIZE, MANY / 2, ward->blocks + MANY / 2);
    end_bed(&ward->bed);
    free(ward);
    return 0;
}

/* The check finds something, and says what. */
static void assert_found(struct ward *ward, const char *what)
{
    char error[256] = "";
    assert_int_equal(fl_heap_check(ward->bed.heap, error, sizeof error), -EUCLEAN);
    assert_contains(error, what);
    /* The text can be left out. */
    assert_int_equal(fl_heap_check(ward->bed.heap, NULL, 0), -EUCLEAN);
}

static void assert_pointer_found(struct ward *ward, const void *pointer, const char *what)
{
    char error[256] = "", name[32];
    assert_int_equal(fl_heap_check(ward->bed.heap, error, sizeof error), -EUCLEAN);
    snprintf(name, sizeof name, "%p", pointer);
    assert_contains(error, name);
    assert_contains(error, what);
}

/* Plants a pointer into a slot and takes it back. */
static void plant(struct ward *ward, void **slot, void *pointer, const char *what)
{
    void *was = *slot;
    *slot = pointer;
    assert_pointer_found(ward, pointer, what);
    *slot = was;
    assert_sound(ward->bed.heap);
}

static void a_block_twice_in_a_cache_is_found(void **state)
{
    struct ward *ward = *state;
    plant(ward, &ward->cache->floor[0], ward->cache->floor[1], "free twice");
}

static void a_block_twice_in_the_pool_is_found(void **state)
{
    struct ward *ward = *state;
    plant(ward, &ward->pooled_blocks[0], ward->pooled_blocks[3], "free twice");
}

static void a_block_in_a_cache_and_in_the_pool_is_found(void **state)
{
    struct ward *ward = *state;
    plant(ward, &ward->pooled_blocks[0], ward->cache->floor[0], "free twice");
}

static void a_block_in_a_previous_magazine_and_elsewhere_is_found(void **state)
{
    struct ward *ward = *state;
    struct fli_backing *backing = &ward->bed.heap->backing;
    struct fli_magazine *previous = fli_cache_previous(ward->cache, &backing->magazines);
    assert_non_null(previous);
    assert_true(fli_load_relaxed(&previous->count) > 0);
    plant(ward, fli_magazine_floor(previous, backing->magazine_blocks[ward->class_index]), ward->pooled_blocks[1],
          "free twice");
}

static void a_block_of_another_class_is_found(void **state)
{
    struct ward *ward = *state;
    void *other = fl_alloc(ward->bed.thread, 1024);
    plant(ward, &ward->pooled_blocks[0], other, "not a block of 48 bytes");
    fl_free(ward->bed.thread, other);
}

static void a_pointer_from_elsewhere_is_found(void **state)
{
    struct ward *ward = *state;
    plant(ward, &ward->cache->floor[0], &ward, "not a block of 48 bytes");
    plant(ward, &ward->cache->floor[0], (char *)ward->bed.heap->backing.slabs.ranges.at[0].base - 16, "not a block");
}

static void the_inside_of_a_block_is_found(void **state)
{
    struct ward *ward = *state;
    plant(ward, &ward->pooled_blocks[2], (char *)ward->pooled_blocks[2] + 16, "not the start of a block");
}

static void what_is_behind_the_last_block_of_a_slab_is_found(void **state)
{
    struct ward *ward = *state;
    struct fli_slabs *slabs = &ward->bed.heap->backing.slabs;
    uint32_t slab = fli_slab_number(slabs, ward->blocks[0]);
    char *beyond = fli_slab_start(slabs, slab) + slabs->by_class[ward->class_index].blocks * SIZE;
    plant(ward, &ward->pooled_blocks[0], beyond, "not the start of a block");
}

static void a_live_block_in_a_magazine_is_found_in_checked_builds(void **state)
{
    struct ward *ward = *state;
    void *was = ward->pooled_blocks[0];
    ward->pooled_blocks[0] = ward->blocks[MANY - 1];
    if (FLI_CHECKED)
        assert_pointer_found(ward, ward->blocks[MANY - 1], "live");
    ward->pooled_blocks[0] = was;
}

static void a_wrong_count_in_a_cache_is_found(void **state)
{
    struct ward *ward = *state;
    /* A magazine that claims a slot more has what used to be there, which by now is free elsewhere or live. */
    void *beyond = *ward->cache->top;
    *ward->cache->top = ward->pooled_blocks[0];
    ward->cache->top++;
    assert_found(ward, "free twice");
    ward->cache->top--;
    *ward->cache->top = beyond;
}

static void a_magazine_that_says_wrong_what_lies_below_it_is_found(void **state)
{
    struct ward *ward = *state;
    uint64_t below = fli_load_relaxed(&ward->pooled->below);
    fli_store_relaxed(&ward->pooled->below, below + 1);
    assert_found(ward, "below");
    fli_store_relaxed(&ward->pooled->below, below);
}

static void a_pooled_magazine_with_a_wrong_count_is_found(void **state)
{
    struct ward *ward = *state;
    uint32_t count = fli_load_relaxed(&ward->pooled->count);
    fli_store_relaxed(&ward->pooled->count, count - 1);
    assert_found(ward, "below");
    fli_store_relaxed(&ward->pooled->count, count);
}

static void a_stack_that_bites_its_tail_is_found(void **state)
{
    struct ward *ward = *state;
    const struct fli_magazines *magazines = &ward->bed.heap->backing.magazines;
    uint32_t next = fli_load_relaxed(&ward->pooled->next);
    fli_store_relaxed(&ward->pooled->next, fli_magazine_index(magazines, ward->pooled));
    assert_int_equal(fl_heap_check(ward->bed.heap, NULL, 0), -EUCLEAN);
    fli_store_relaxed(&ward->pooled->next, next);
}

static void a_stack_cut_short_is_found(void **state)
{
    struct ward *ward = *state;
    uint32_t next = fli_load_relaxed(&ward->pooled->next);
    assert_true(next != 0);
    fli_store_relaxed(&ward->pooled->next, 0);
    assert_int_equal(fl_heap_check(ward->bed.heap, NULL, 0), -EUCLEAN);
    fli_store_relaxed(&ward->pooled->next, next);
}

/* The word that names the uppermost magazine that is kept. */
static FLI_ATOMIC(uint32_t) * shelf_of(struct ward *ward)
{
    return &ward->home->classes[ward->class_index].shelf.first;
}

static struct fli_magazine *racked_of(struct ward *ward)
{
    return fli_magazine_at(&ward->bed.heap->backing.magazines, fli_load_relaxed(shelf_of(ward)));
}

static void a_racked_magazine_with_a_wrong_count_is_found(void **state)
{
    struct ward *ward = *state;
    struct fli_magazine *racked = racked_of(ward);
    uint32_t count = fli_load_relaxed(&racked->count);
    fli_store_relaxed(&racked->count, count - 1);
    assert_found(ward, "below");
    fli_store_relaxed(&racked->count, count);
}

static void a_block_in_a_rack_and_in_the_pool_is_found(void **state)
{
    struct ward *ward = *state;
    const struct fli_backing *backing = &ward->bed.heap->backing;
    plant(ward, fli_magazine_floor(racked_of(ward), backing->magazine_blocks[ward->class_index]),
          ward->pooled_blocks[1], "free twice");
}

static void a_rack_that_has_lost_a_magazine_is_found(void **state)
{
    struct ward *ward = *state;
    uint32_t top = fli_load_relaxed(shelf_of(ward));
    assert_true(top != 0);
    fli_store_relaxed(shelf_of(ward), 0);
    assert_int_equal(fl_heap_check(ward->bed.heap, NULL, 0), -EUCLEAN);
    fli_store_relaxed(shelf_of(ward), top);
}

static void a_slab_that_is_nowhere_is_found(void **state)
{
    struct ward *ward = *state;
    struct fli_slabs *slabs = &ward->bed.heap->backing.slabs;
    slabs->committed++;
    assert_found(ward, "slabs exist");
    slabs->committed--;
}

static void a_wrong_number_of_idle_slabs_is_found(void **state)
{
    struct ward *ward = *state;
    struct fli_slabs *slabs = &ward->bed.heap->backing.slabs;
    slabs->warm_count++;
    assert_found(ward, "slabs are warm");
    slabs->warm_count--;
    slabs->cold[FLI_DENSE].count++;
    assert_found(ward, "slabs are warm");
    slabs->cold[FLI_DENSE].count--;
    slabs->lone_count++;
    assert_found(ward, "slabs are lone");
    slabs->lone_count--;
}

static void a_magazine_that_is_nowhere_is_found(void **state)
{
    struct ward *ward = *state;
    struct fli_magazines *magazines = &ward->bed.heap->backing.magazines;
    struct fli_magazine *astray = fli_magazine_carve(magazines);
    assert_non_null(astray);
    assert_found(ward, "magazines exist");
    struct fli_pool_counters counters = {0};
    fli_stack_push_mpmc(&ward->bed.heap->backing.pool.empty, magazines, astray, &counters);
}

/* The word with the bit of a block, and the bit. */
static FLI_ATOMIC(uint64_t) * word_of(struct ward *ward, const void *block, uint64_t *bit)
{
    struct fli_slabs *slabs = &ward->bed.heap->backing.slabs;
    uint32_t index = fli_slab_block_index(slabs, ward->class_index, block);
    *bit = (uint64_t)1 << index % 64;
    return &fli_slab_free_bits(slabs, fli_slab_number(slabs, block))[index / 64];
}

static void a_block_that_is_free_in_its_slab_and_in_a_magazine_is_found(void **state)
{
    struct ward *ward = *state;
    uint64_t bit;
    FLI_ATOMIC(uint64_t) *word = word_of(ward, ward->pooled_blocks[0], &bit);
    fli_store_relaxed(word, fli_load_relaxed(word) | bit);
    assert_pointer_found(ward, ward->pooled_blocks[0], "free twice");
    fli_store_relaxed(word, fli_load_relaxed(word) & ~bit);
}

static void a_wrong_number_of_slabs_of_a_class_is_found(void **state)
{
    struct ward *ward = *state;
    struct fli_slab_class *class = &ward->bed.heap->backing.slabs.by_class[ward->class_index];
    uint32_t slabs = fli_load_relaxed(&class->slabs);
    fli_store_relaxed(&class->slabs, 0);
    assert_found(ward, "48 bytes");
    fli_store_relaxed(&class->slabs, slabs);
}

static void a_home_that_miscounts_its_free_blocks_is_found(void **state)
{
    struct ward *ward = *state;
    FLI_ATOMIC(uint32_t) *counted = &ward->home->classes[ward->class_index].free;
    fli_store_relaxed(counted, fli_load_relaxed(counted) + 1);
    assert_found(ward, "a home has");
    fli_store_relaxed(counted, fli_load_relaxed(counted) - 1);
}

static struct fli_slab *record_of(struct ward *ward)
{
    struct fli_slabs *slabs = &ward->bed.heap->backing.slabs;
    return fli_slab_at(slabs, fli_slab_number(slabs, ward->blocks[0]));
}

static void a_slab_that_miscounts_its_free_blocks_is_found(void **state)
{
    struct ward *ward = *state;
    record_of(ward)->free++;
    assert_int_equal(fl_heap_check(ward->bed.heap, NULL, 0), -EUCLEAN);
    record_of(ward)->free--;
}

static void a_slab_that_miscounts_its_marks_is_found(void **state)
{
    struct ward *ward = *state;
    record_of(ward)->marks++;
    assert_found(ward, "deferred ones");
    record_of(ward)->marks--;
}

static void a_slab_in_the_wrong_place_of_its_home_is_found(void **state)
{
    struct ward *ward = *state;
    uint16_t list = record_of(ward)->list;
    record_of(ward)->list = (uint16_t)(list == FLI_HOME_FREE ? FLI_HOME_FULL : FLI_HOME_FREE);
    assert_found(ward, "place");
    record_of(ward)->list = list;
}

/* The class at home that has a slab on a list, and the word that begins the list. */
static uint32_t *listed_of(struct ward *ward)
{
    uint32_t *lists = ward->home->classes[ward->class_index].lists;
    for (unsigned list = 0; list < FLI_HOME_LISTS; list++)
        if (lists[list] != 0)
            return &lists[list];
    fail_msg("no slab is on a list");
    return NULL;
}

static uint32_t free_on_list(struct ward *ward, uint32_t slab)
{
    uint32_t blocks = 0;
    for (const struct fli_slab *record; slab != 0; slab = record->next) {
        record = fli_slab_at(&ward->bed.heap->backing.slabs, slab);
        blocks += record->free;
    }
    return blocks;
}

/* Frees the rest, so that slabs come onto lists; the blocks are allocated again by the caller. */
static void fill_lists(struct ward *ward)
{
    fl_free_many(ward->bed.thread, SIZE, MANY / 2, ward->blocks + MANY / 2);
    fl_thread_flush(ward->bed.thread);
    assert_sound(ward->bed.heap);
}

static void refill(struct ward *ward)
{
    assert_sound(ward->bed.heap);
    assert_int_equal(fl_alloc_many(ward->bed.thread, SIZE, MANY / 2, ward->blocks + MANY / 2), 0);
}

/* The same with more than one slab: the current one is used up, and comes to a list when blocks of it come home. */
static void fill_more_lists(struct ward *ward)
{
    void *more[3000];
    assert_int_equal(fl_alloc_many(ward->bed.thread, SIZE, COUNT_OF(more), more), 0);
    fl_free_many(ward->bed.thread, SIZE, COUNT_OF(more), more);
    fill_lists(ward);
}

static void a_slab_that_is_not_on_its_list_is_found(void **state)
{
    struct ward *ward = *state;
    fill_more_lists(ward);
    uint32_t *list = listed_of(ward), first = *list, free_blocks = free_on_list(ward, first);
    *list = 0;
    assert_found(ward, "a home has");
    FLI_ATOMIC(uint32_t) *counted = &ward->home->classes[ward->class_index].free;
    fli_store_relaxed(counted, fli_load_relaxed(counted) - free_blocks);
    assert_found(ward, "on the lists of homes");
    fli_store_relaxed(counted, fli_load_relaxed(counted) + free_blocks);
    *list = first;
    refill(ward);
}

static void a_current_slab_that_is_elsewhere_is_found(void **state)
{
    struct ward *ward = *state;
    fill_more_lists(ward);
    uint32_t *current = &ward->home->classes[ward->class_index].current, was = *current;
    *current = *listed_of(ward);
    assert_found(ward, "place");
    *current = 0;
    assert_found(ward, "place");
    *current = was;
    refill(ward);
}

static void a_list_that_names_a_slab_of_another_place_is_found(void **state)
{
    struct ward *ward = *state;
    uint32_t *list = &ward->home->classes[ward->class_index].lists[0], was = *list;
    *list = ward->home->classes[ward->class_index].current;
    assert_true(*list != 0);
    assert_found(ward, "which is not there");
    *list = was;
}

static void a_wrong_number_of_free_slabs_is_found(void **state)
{
    struct ward *ward = *state;
    FLI_ATOMIC(size_t) *counted = &ward->bed.heap->backing.homes.free_slabs;
    fli_store_relaxed(counted, fli_load_relaxed(counted) + 1);
    assert_found(ward, "slabs are all free");
    fli_store_relaxed(counted, fli_load_relaxed(counted) - 1);
}

static void a_sound_heap_passes_with_blocks_in_every_place(void **state)
{
    struct ward *ward = *state;
    char error[64] = "untouched";
    assert_int_equal(fl_heap_check(ward->bed.heap, error, sizeof error), 0);
    assert_string_equal(error, "untouched");
    void *large = fl_alloc(ward->bed.thread, 100000);
    fl_heap_free(ward->bed.heap, fl_alloc(ward->bed.thread, 500));
    fl_thread_offline(ward->bed.thread);
    assert_sound(ward->bed.heap);
    fl_thread_online(ward->bed.thread);
    fl_free(ward->bed.thread, large);
}

/* ---- Deferred blocks. */

/* A heap with deferred blocks in every place: a thread's magazine, those that collect, those that wait, a slab's
 * marks. */
struct isolation {
    struct played_host host;
    struct bed bed;
    unsigned class_index;
    void **own;                      /* the slots of the thread's magazine */
    struct fli_magazine *collecting; /* the first of those */
    struct fli_magazine *waiting;
    void *marked, *pooled;
};

static int isolation_up(void **state)
{
    struct isolation *ward = calloc(1, sizeof *ward);
    assert_non_null(ward);
    ward->bed = bed_of_host(&ward->host, &(struct fl_options){.magazine_blocks = 16, .retain_bytes = SIZE_MAX});
    struct fl_heap *heap = ward->bed.heap;
    struct fl_thread *thread = ward->bed.thread;
    struct fli_deferred *deferred = &heap->deferred;
    ward->class_index = (unsigned)fl_size_class(SIZE);
    defer_some(thread, SIZE, 20);
    fl_thread_flush(thread); /* these wait */
    defer_some(thread, SIZE, 40);
    ward->marked = fl_alloc(thread, SIZE);
    ward->pooled = fl_alloc(thread, SIZE);
    if (!FLI_CHECKED) { /* there the live bits would have to be told */
        fli_mark_set(&heap->backing.slabs, ward->class_index, ward->marked);
        fli_add_relaxed(&deferred->blocks[ward->class_index], 1);
        fli_add_relaxed(&deferred->bytes, SIZE);
        fli_store_relaxed(&deferred->has_marks, true);
    }
    fl_free(thread, ward->pooled);
    void ***place = fli_thread_deferred((struct fli_thread *)(void *)thread, ward->class_index);
    ward->own = fli_magazine_floor(fli_unsubmitted_magazine(place), 16);
    ward->waiting = fli_chain_first(&deferred->waiting, &heap->backing.magazines);
    ward->collecting = fli_magazine_at(&heap->backing.magazines,
                                       fli_tagged_index(fli_load_relaxed(&deferred->collecting.head)));
    assert_true(ward->waiting != NULL && fli_tagged_index(fli_load_relaxed(&deferred->collecting.head)) != 0);
    assert_sound(heap);
    *state = ward;
    return 0;
}

static int isolation_down(void **state)
{
    struct isolation *ward = *state;
    if (FLI_CHECKED)
        fl_free(ward->bed.thread, ward->marked);
    let_all_go(&ward->host, ward->bed.thread);
    assert_int_equal(stats_of(ward->bed.heap).deferred_bytes, 0);
    assert_int_equal(stats_of(ward->bed.heap).live_blocks, 0);
    end_bed(&ward->bed);
    free(ward);
    return 0;
}

static void plant_deferred(struct isolation *ward, void **slot, void *pointer, const char *what)
{
    char error[256] = "", name[32];
    void *was = *slot;
    *slot = pointer;
    assert_int_equal(fl_heap_check(ward->bed.heap, error, sizeof error), -EUCLEAN);
    snprintf(name, sizeof name, "%p", pointer);
    assert_contains(error, name);
    assert_contains(error, what);
    *slot = was;
    assert_sound(ward->bed.heap);
}

static void a_deferred_block_that_is_elsewhere_too_is_found(void **state)
{
    struct isolation *ward = *state;
    void **const places[] = {ward->own, fli_magazine_floor(ward->collecting, 16),
                             fli_magazine_floor(ward->waiting, 16)};
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        plant_deferred(ward, &places[i][0], ward->pooled, "free twice");
        plant_deferred(ward, &places[i][0], places[(i + 1) % COUNT_OF(places)][1], "free twice");
        if (!FLI_CHECKED)
            plant_deferred(ward, &places[i][0], ward->marked, "free twice");
        plant_deferred(ward, &places[i][0], (char *)places[i][0] + 16, "not the start of a block");
        plant_deferred(ward, &places[i][0], &ward, "not a block of 48 bytes");
    }
}

static void a_deferred_block_that_is_live_is_found_in_checked_builds(void **state)
{
    struct isolation *ward = *state;
    if (FLI_CHECKED)
        plant_deferred(ward, &ward->own[0], ward->marked, "live");
}

static void assert_deferred_found(struct isolation *ward, const char *what)
{
    char error[256] = "";
    assert_int_equal(fl_heap_check(ward->bed.heap, error, sizeof error), -EUCLEAN);
    assert_contains(error, what);
}

static void a_submitted_magazine_with_a_wrong_count_or_class_is_found(void **state)
{
    struct isolation *ward = *state;
    struct fli_magazine *const magazines[] = {ward->collecting, ward->waiting};
    for (size_t i = 0; i < COUNT_OF(magazines); i++) {
        uint16_t count = fli_load_relaxed(&magazines[i]->count);
        fli_store_relaxed(&magazines[i]->count, (uint16_t)(count - 1));
        assert_deferred_found(ward, "deferred");
        fli_store_relaxed(&magazines[i]->count, count);
        magazines[i]->class_index = (uint16_t)(ward->class_index + 1);
        assert_deferred_found(ward, "in a submitted magazine is not a block of 64 bytes");
        magazines[i]->class_index = (uint16_t)ward->class_index;
        assert_sound(ward->bed.heap);
    }
}

static void a_submitted_magazine_that_is_nowhere_is_found(void **state)
{
    struct isolation *ward = *state;
    struct fli_deferred *deferred = &ward->bed.heap->deferred;
    struct fli_chain waiting = deferred->waiting;
    fli_chain_begin(&deferred->waiting, fli_load_relaxed(&ward->waiting->next));
    assert_deferred_found(ward, "deferred");
    deferred->waiting = waiting;
}

static void a_wrong_number_of_deferred_blocks_is_found(void **state)
{
    struct isolation *ward = *state;
    fli_add_relaxed(&ward->bed.heap->deferred.blocks[ward->class_index], 1);
    assert_deferred_found(ward, "deferred");
    fli_sub_relaxed(&ward->bed.heap->deferred.blocks[ward->class_index], 1);
}

#define ISOLATION_TEST(test) cmocka_unit_test_setup_teardown(test, isolation_up, isolation_down)

#define WARD_TEST(test)      cmocka_unit_test_setup_teardown(test, ward_up, ward_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WARD_TEST(a_block_twice_in_a_cache_is_found),
        WARD_TEST(a_block_twice_in_the_pool_is_found),
        WARD_TEST(a_block_in_a_cache_and_in_the_pool_is_found),
        WARD_TEST(a_block_in_a_previous_magazine_and_elsewhere_is_found),
        WARD_TEST(a_block_of_another_class_is_found),
        WARD_TEST(a_pointer_from_elsewhere_is_found),
        WARD_TEST(the_inside_of_a_block_is_found),
        WARD_TEST(what_is_behind_the_last_block_of_a_slab_is_found),
        WARD_TEST(a_live_block_in_a_magazine_is_found_in_checked_builds),
        WARD_TEST(a_wrong_count_in_a_cache_is_found),
        WARD_TEST(a_magazine_that_says_wrong_what_lies_below_it_is_found),
        WARD_TEST(a_pooled_magazine_with_a_wrong_count_is_found),
        WARD_TEST(a_stack_that_bites_its_tail_is_found),
        WARD_TEST(a_stack_cut_short_is_found),
        WARD_TEST(a_racked_magazine_with_a_wrong_count_is_found),
        WARD_TEST(a_block_in_a_rack_and_in_the_pool_is_found),
        WARD_TEST(a_rack_that_has_lost_a_magazine_is_found),
        WARD_TEST(a_magazine_that_is_nowhere_is_found),
        WARD_TEST(a_block_that_is_free_in_its_slab_and_in_a_magazine_is_found),
        WARD_TEST(a_wrong_number_of_slabs_of_a_class_is_found),
        WARD_TEST(a_home_that_miscounts_its_free_blocks_is_found),
        WARD_TEST(a_slab_that_miscounts_its_free_blocks_is_found),
        WARD_TEST(a_slab_that_miscounts_its_marks_is_found),
        WARD_TEST(a_slab_in_the_wrong_place_of_its_home_is_found),
        WARD_TEST(a_slab_that_is_not_on_its_list_is_found),
        WARD_TEST(a_current_slab_that_is_elsewhere_is_found),
        WARD_TEST(a_list_that_names_a_slab_of_another_place_is_found),
        WARD_TEST(a_wrong_number_of_free_slabs_is_found),
        WARD_TEST(a_slab_that_is_nowhere_is_found),
        WARD_TEST(a_wrong_number_of_idle_slabs_is_found),
        WARD_TEST(a_sound_heap_passes_with_blocks_in_every_place),
        ISOLATION_TEST(a_deferred_block_that_is_elsewhere_too_is_found),
        ISOLATION_TEST(a_deferred_block_that_is_live_is_found_in_checked_builds),
        ISOLATION_TEST(a_submitted_magazine_with_a_wrong_count_or_class_is_found),
        ISOLATION_TEST(a_submitted_magazine_that_is_nowhere_is_found),
        ISOLATION_TEST(a_wrong_number_of_deferred_blocks_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
