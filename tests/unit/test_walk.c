/* SPDX-License-Identifier: MIT
 *
 * The heap walk: every live block once and no free one, wherever in the library the free ones are.
 */
#include "walk_support.h"

#include "pool/home.h"

enum { SIZE = 48, SOME = 1000, LARGE = 40000 };

static struct fli_thread *whole(struct fl_thread *thread)
{
    return (struct fli_thread *)(void *)thread;
}

static size_t count_live(struct fl_heap *heap);

/* ---- Where blocks can be. */

static void an_empty_heap_has_no_live_block(void **state)
{
    struct bed *bed = *state;
    assert_int_equal(count_live(bed->heap), 0);
}

static void blocks_of_all_sizes_are_found(void **state)
{
    struct bed *bed = *state;
    struct herd *herd = herd_of(bed->heap);
    for (size_t size = 1; size <= FL_BLOCK_MAX; size += size / 5 + 1)
        herd_add_some(herd, bed->thread, size, 9);
    walk_herd(herd);
    herd_free_some(herd, bed->thread, 0, 2);
    walk_herd(herd);
    herd_end(herd, bed->thread);
    assert_int_equal(count_live(bed->heap), 0);
}

static void what_caches_hold_is_free(void **state)
{
    struct bed *bed = *state;
    struct herd *herd = herd_of(bed->heap);
    herd_add_some(herd, bed->thread, SIZE, SOME);
    herd_free_some(herd, bed->thread, SOME - 20, 1);
    walk_herd(herd);
    herd_free_some(herd, bed->thread, 0, SOME); /* a cache with a raised floor */
    herd_add_some(herd, bed->thread, SIZE, 1);
    walk_herd(herd);
    herd_end(herd, bed->thread);
}

static void what_is_parked_or_kept_at_home_is_free(void **state)
{
    (void)state;
    struct bed bed = bed_with(&(struct fl_options){.retain_bytes = SIZE_MAX, .magazine_blocks = 16});
    struct herd *herd = herd_of(bed.heap);
    herd_add_some(herd, bed.thread, SIZE, SOME);
    herd_add_some(herd, bed.thread, 4096, SOME); /* whose magazines stay whole */
    herd_free_some(herd, bed.thread, 0, 3);
    struct fli_home *home = whole(bed.thread)->owner.home;
    assert_true(fli_load_relaxed(&home->classes[fl_size_class(SIZE)].shelf.first) != 0);
    assert_true(class_stats_of(bed.heap, SIZE).parked > 0);
    walk_herd(herd);
    fl_thread_flush(bed.thread);
    walk_herd(herd);
    herd_end(herd, bed.thread);
    end_bed(&bed);
}

static void what_is_pooled_is_free(void **state)
{
    struct bed *bed = *state;
    struct herd *herd = herd_of(bed->heap);
    herd_add_some(herd, bed->thread, SIZE, SOME);
    struct fl_thread *other = fl_thread_attach(bed->heap);
    struct fli_home *home = whole(bed->thread)->owner.home;
    fli_home_wait(home); /* what another thread frees meanwhile goes to the pool */
    herd_free_some(herd, other, 0, 2);
    fl_thread_flush(other);
    fli_home_unlock(home);
    assert_true(class_stats_of(bed->heap, SIZE).pooled > 0);
    walk_herd(herd);
    fl_thread_detach(other);
    herd_end(herd, bed->thread);
}

static void what_threads_without_a_handle_freed_is_free(void **state)
{
    struct bed *bed = *state;
    struct herd *herd = herd_of(bed->heap);
    herd_add_some(herd, bed->thread, SIZE, SOME);
    for (size_t i = 0; i < SOME; i += 7)
        fl_heap_free(bed->heap, herd_free(herd, i)->start);
    walk_herd(herd);
    herd_end(herd, bed->thread);
}

static void what_a_handle_that_is_offline_holds_is_free(void **state)
{
    struct bed *bed = *state;
    struct herd *herd = herd_of(bed->heap);
    struct fl_thread *other = fl_thread_attach(bed->heap);
    herd_add_some(herd, other, SIZE, SOME);
    herd_free_some(herd, other, 1, 2);
    fl_thread_offline(other);
    walk_herd(herd);
    fl_thread_online(other);
    herd_end(herd, other);
    fl_thread_detach(other);
}

static void aligned_blocks_are_found(void **state)
{
    struct bed *bed = *state;
    struct herd *herd = herd_of(bed->heap);
    for (size_t alignment = 16; alignment <= FL_ALIGNMENT_MAX; alignment *= 2)
        for (size_t size = 1; size < 3 * alignment; size += alignment)
            herd_add(herd, fl_alloc_aligned(bed->thread, alignment, size), fl_aligned_size(alignment, size));
    walk_herd(herd);
    herd_free_some(herd, bed->thread, 0, 2);
    walk_herd(herd);
    herd_end(herd, bed->thread);
}

static void slabs_that_were_trimmed_have_no_live_block(void **state)
{
    struct bed *bed = *state;
    struct herd *herd = herd_of(bed->heap);
    herd_add_some(herd, bed->thread, SIZE, HERD_MOST / 2);
    herd_free_some(herd, bed->thread, SOME, 1);
    fl_thread_flush(bed->thread);
    fl_heap_trim(bed->heap, 0);
    walk_herd(herd);
    herd_end(herd, bed->thread);
}

/* ---- Large blocks. */

static void large_blocks_are_found_by_any_address(void **state)
{
    struct bed *bed = *state;
    struct herd *herd = herd_of(bed->heap);
    for (size_t size = FL_BLOCK_MAX + 1; size < 64 * FLI_MIB; size += size / 7)
        herd_add_some(herd, bed->thread, size, 3);
    assert_int_equal(fl_heap_walk_begin(bed->heap), 0);
    assert_herd_is_found(herd);
    for (size_t i = 0; i < herd->count; i++) {
        const struct member *member = &herd->members[i];
        for (size_t offset = 0; offset < member->size; offset += member->size / 97 + 1)
            assert_block_at(bed->heap, member->start + offset, member->start, FL_BLOCK_LIVE);
    }
    fl_heap_walk_end(bed->heap);
    herd_free_some(herd, bed->thread, 0, 2); /* spare now, in trays and on lists */
    walk_herd(herd);
    herd_end(herd, bed->thread);
}

static void beside_a_large_block_there_is_none(void **state)
{
    struct bed *bed = *state;
    char *block = fl_alloc(bed->thread, LARGE), *freed = fl_alloc(bed->thread, LARGE);
    fl_free_sized(bed->thread, freed, LARGE);
    assert_int_equal(fl_heap_walk_begin(bed->heap), 0);
    assert_block_at(bed->heap, block + LARGE - 1, block, FL_BLOCK_LIVE);
    assert_no_block_at(bed->heap, block + LARGE);
    assert_no_block_at(bed->heap, freed);
    assert_no_block_at(bed->heap, freed + LARGE / 2);
    fl_heap_walk_end(bed->heap);
    fl_free_sized(bed->thread, block, LARGE);
}

/* ---- What waits. */

static void what_is_deferred_is_free(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, &(struct fl_options){.magazine_blocks = 16, .retain_bytes = SIZE_MAX});
    struct herd *herd = herd_of(bed.heap);
    herd_add_some(herd, bed.thread, SIZE, 300);
    herd_defer_some(herd, bed.thread, 200, 1);
    fl_thread_flush(bed.thread); /* these wait */
    herd_free_some(herd, bed.thread, 0, 200);
    walk_herd(herd);
    herd_add_some(herd, bed.thread, SIZE, 50);
    herd_defer_some(herd, bed.thread, herd->count - 50, 1); /* these collect, and some are not submitted */
    assert_true(fli_load_relaxed(&bed.heap->deferred.waiting.first) != 0);
    assert_true(fli_stack_top(&bed.heap->deferred.collecting) != 0);
    walk_herd(herd);
    let_all_go(&host, bed.thread);
    walk_herd(herd);
    herd_end(herd, bed.thread);
    end_bed(&bed);
}

static void a_large_block_that_is_deferred_is_none(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, NULL);
    struct herd *herd = herd_of(bed.heap);
    herd_add_some(herd, bed.thread, LARGE, 4);
    herd_defer_some(herd, bed.thread, 0, 2);
    assert_int_equal(fl_heap_walk_begin(bed.heap), 0);
    assert_herd_is_found(herd);
    for (size_t i = 0; i < 4; i++)
        if (!herd->members[i].is_live)
            assert_no_block_at(bed.heap, herd->members[i].start + LARGE / 2);
    fl_heap_walk_end(bed.heap);
    let_all_go(&host, bed.thread);
    herd_end(herd, bed.thread);
    end_bed(&bed);
}

static void slabs_that_wait_for_stale_readers_are_free(void **state)
{
    (void)state;
    static const struct fl_header header = {.bytes = 16};
    static struct fl_type type = {.name = "seen", .size = SIZE, .kind = FL_DEALLOC_PLAIN, .header = &header};
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, &(struct fl_options){.header = &header});
    struct herd *herd = herd_of(bed.heap);
    assert_int_equal(fl_type_ready(&type, NULL, NULL, 0), 0);
    for (unsigned i = 0; i < 10 * SOME; i++)
        herd_add(herd, fl_type_alloc(bed.thread, &type), SIZE);
    for (unsigned i = SOME; i < 10 * SOME; i++)
        fl_type_free(bed.thread, herd_free(herd, i)->start, &type);
    fl_thread_flush(bed.thread);
    fl_heap_trim(bed.heap, 0);
    assert_true(stats_of(bed.heap).retired_bytes > 0);
    walk_herd(herd);
    for (size_t i = 0; i < herd->count; i++)
        if (herd->members[i].is_live)
            fl_type_free(bed.thread, herd->members[i].start, &type);
    free(herd);
    end_periods(&host);
    end_bed(&bed);
}

/* An object that drops others when it is cleared. */
struct parent {
    struct parent *children[16];
};

static struct herd *dying;

static void clear_parent(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct parent *parent = object;
    for (unsigned i = 0; i < COUNT_OF(parent->children); i++)
        if (parent->children[i] != NULL)
            fl_dealloc(thread, parent->children[i], type);
    if (dying != NULL)
        walk_herd(dying);
    dying = NULL;
}

static void dead_objects_that_wait_are_live(void **state)
{
    struct bed *bed = *state;
    static struct fl_type type = {.name = "parent", .size = sizeof(struct parent), .clear = clear_parent};
    assert_int_equal(fl_type_ready(&type, NULL, NULL, 0), 0);
    struct herd *herd = dying = herd_of(bed->heap);
    struct parent *parent = herd_add(herd, fl_type_alloc(bed->thread, &type), sizeof *parent);
    for (unsigned i = 0; i < COUNT_OF(parent->children); i++) {
        parent->children[i] = herd_add(herd, fl_type_alloc(bed->thread, &type), sizeof *parent);
        memset(parent->children[i], 0, sizeof *parent);
    }
    fl_dealloc(bed->thread, parent, &type);
    assert_null(dying);
    free(herd);
    assert_int_equal(count_live(bed->heap), 0);
}

/* ---- Threads. */

enum { THREADS = 4 };

struct world {
    struct herd *herd;
    pthread_mutex_t lock; /* guards the herd */
    pthread_barrier_t stopped, goes_on;
};

static void *live(void *argument)
{
    struct world *world = argument;
    struct fl_thread *thread = fl_thread_attach(world->herd->heap);
    uint64_t seed = (uintptr_t)thread;
    for (unsigned i = 0; i < SOME; i++) {
        size_t size = 1 + next_random(&seed) % (i % 100 == 0 ? 100000 : 3000);
        void *block = fl_alloc(thread, size);
        if (next_random(&seed) % 2 == 0) {
            fl_free_sized(thread, block, size);
            continue;
        }
        pthread_mutex_lock(&world->lock);
        herd_add(world->herd, block, size);
        pthread_mutex_unlock(&world->lock);
    }
    pthread_barrier_wait(&world->stopped);
    pthread_barrier_wait(&world->goes_on);
    fl_thread_detach(thread);
    return NULL;
}

static void what_stopped_threads_hold_is_told_apart(void **state)
{
    struct bed *bed = *state;
    struct world world = {.herd = herd_of(bed->heap), .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t threads[THREADS];
    pthread_barrier_init(&world.stopped, NULL, THREADS + 1);
    pthread_barrier_init(&world.goes_on, NULL, THREADS + 1);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, live, &world), 0);
    pthread_barrier_wait(&world.stopped);
    walk_herd(world.herd);
    pthread_barrier_wait(&world.goes_on);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    walk_herd(world.herd);
    herd_end(world.herd, bed->thread);
    pthread_barrier_destroy(&world.stopped);
    pthread_barrier_destroy(&world.goes_on);
}

static void *walk_without_a_handle(void *argument)
{
    walk_herd(argument);
    return NULL;
}

static void a_thread_without_a_handle_can_walk(void **state)
{
    struct bed *bed = *state;
    struct herd *herd = herd_of(bed->heap);
    herd_add_some(herd, bed->thread, SIZE, SOME);
    run_on_thread(walk_without_a_handle, herd);
    herd_end(herd, bed->thread);
}

static void *help(void *argument)
{
    assert_herd_is_found(argument);
    return NULL;
}

static void other_threads_can_help(void **state)
{
    struct bed *bed = *state;
    struct herd *herd = herd_of(bed->heap);
    herd_add_some(herd, bed->thread, SIZE, SOME);
    assert_int_equal(fl_heap_walk_begin(bed->heap), 0);
    run_on_thread(help, herd);
    assert_int_equal(fl_heap_walk_end(bed->heap), 0);
    herd_end(herd, bed->thread);
}

static void the_thread_of_the_library_leaves_the_heap_alone(void **state)
{
    (void)state;
    enum { DECAY_MS = 20 };
    struct bed bed = bed_with(
        &(struct fl_options){.retain_bytes = 512 * FLI_MIB, .decay_ms = DECAY_MS, .decay_thread = true});
    struct herd *herd = herd_of(bed.heap);
    herd_add_some(herd, bed.thread, 2048, HERD_MOST / 2);
    herd_free_some(herd, bed.thread, SOME, 1);
    assert_int_equal(fl_heap_walk_begin(bed.heap), 0);
    uint64_t trims = stats_of(bed.heap).trims;
    usleep(10 * DECAY_MS * 1000);
    assert_int_equal(stats_of(bed.heap).trims, trims);
    assert_herd_is_found(herd);
    assert_int_equal(fl_heap_walk_end(bed.heap), 0);
    herd_free_some(herd, bed.thread, 0, 1); /* on a busy machine what was free has gone before the walk */
    for (unsigned i = 0; i < 2000 && stats_of(bed.heap).trims == trims; i++)
        usleep(10000);
    assert_true(stats_of(bed.heap).trims > trims);
    herd_end(herd, bed.thread);
    end_bed(&bed);
}

/* ---- Any history. */

static void whatever_has_happened_all_live_blocks_are_found(void **state)
{
    struct bed *bed = *state;
    struct herd *herd = herd_of(bed->heap);
    struct fl_thread *threads[] = {bed->thread, fl_thread_attach(bed->heap), fl_thread_attach(bed->heap)};
    uint64_t seed = 20261128;
    for (unsigned i = 0; i < 15000; i++) {
        struct fl_thread *thread = threads[next_random(&seed) % COUNT_OF(threads)];
        uint64_t choice = next_random(&seed) % 1000;
        size_t victim = herd->count > 0 ? next_random(&seed) % herd->count : 0;
        if (choice < 550)
            herd_add_some(herd, thread, 1 + next_random(&seed) % (choice < 5 ? 200000 : 600), 1);
        else if (choice < 990 && herd->count > 0 && herd->members[victim].is_live)
            fl_free(thread, herd_free(herd, victim)->start);
        else if (choice == 995)
            fl_thread_flush(thread);
        else if (choice == 996)
            fl_heap_trim(bed->heap, 0);
        else if (choice == 997)
            walk_herd(herd);
    }
    walk_herd(herd);
    herd_end(herd, bed->thread);
    fl_thread_detach(threads[1]);
    fl_thread_detach(threads[2]);
}

/* ---- One address. */

static void an_address_inside_a_block_finds_it(void **state)
{
    struct bed *bed = *state;
    const size_t sizes[] = {1, 16, 48, 80, 496, 1000, 3000, 20000, FL_BLOCK_MAX};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        char *block = fl_alloc(bed->thread, sizes[i]);
        size_t usable = fl_usable_size(bed->heap, block);
        for (size_t offset = 0; offset < usable; offset++)
            assert_block_at(bed->heap, block + offset, block, FL_BLOCK_UNKNOWN);
        assert_int_equal(fl_heap_walk_begin(bed->heap), 0);
        for (size_t offset = 0; offset < usable; offset++)
            assert_block_at(bed->heap, block + offset, block, FL_BLOCK_LIVE);
        fl_heap_walk_end(bed->heap);
        fl_free_sized(bed->thread, block, sizes[i]);
    }
}

static void an_address_of_no_block_finds_none(void **state)
{
    struct bed *bed = *state;
    char *block = fl_alloc(bed->thread, SIZE);
    struct fli_slabs *slabs = &bed->heap->backing.slabs;
    char *slab = fli_slab_start(slabs, fli_slab_number(slabs, block));
    for (unsigned walked = 0; walked < 2; walked++) {
        assert_no_block_at(bed->heap, NULL);
        assert_no_block_at(bed->heap, &block);
        assert_no_block_at(bed->heap, (void *)UINTPTR_MAX);
        assert_no_block_at(bed->heap, slab + FLI_SLAB_BYTES / SIZE * SIZE); /* behind the last block */
        assert_no_block_at(bed->heap, slab + FLI_SLAB_BYTES - 1);
        assert_no_block_at(bed->heap, slabs->ranges.at[0].base + slabs->ranges.at[0].span - 1); /* never in use */
        if (walked == 0)
            assert_int_equal(fl_heap_walk_begin(bed->heap), 0);
    }
    fl_heap_walk_end(bed->heap);
    fl_free_sized(bed->thread, block, SIZE);
}

static void outside_of_a_walk_the_start_of_a_large_block_is_found(void **state)
{
    struct bed *bed = *state;
    char *block = fl_alloc(bed->thread, LARGE);
    assert_block_at(bed->heap, block, block, FL_BLOCK_UNKNOWN);
    struct fl_block found;
    assert_true(fl_block_at(bed->heap, block, &found));
    assert_int_equal(found.size, LARGE);
    fl_free_sized(bed->thread, block, LARGE);
    assert_no_block_at(bed->heap, block);
}

/* ---- The calls. */

static bool count(void *context, const struct fl_block *block)
{
    (void)block;
    ++*(size_t *)context;
    return true;
}

static size_t count_live(struct fl_heap *heap)
{
    size_t blocks = 0;
    assert_int_equal(fl_heap_walk_begin(heap), 0);
    assert_int_equal(fl_heap_walk(heap, count, &blocks), 0);
    assert_int_equal(fl_heap_walk_end(heap), 0);
    return blocks;
}

static bool count_to_three(void *context, const struct fl_block *block)
{
    return count(context, block) && *(size_t *)context < 3;
}

static void the_callback_can_end_a_walk(void **state)
{
    struct bed *bed = *state;
    struct herd *herd = herd_of(bed->heap);
    size_t blocks = 0;
    herd_add_some(herd, bed->thread, SIZE, SOME);
    assert_int_equal(fl_heap_walk_begin(bed->heap), 0);
    assert_int_equal(fl_heap_walk(bed->heap, count_to_three, &blocks), -ECANCELED);
    assert_int_equal(blocks, 3);
    assert_herd_is_found(herd);
    fl_heap_walk_end(bed->heap);
    herd_end(herd, bed->thread);
}

static jmp_buf out;

static bool leave(void *context, const struct fl_block *block)
{
    (void)context;
    (void)block;
    longjmp(out, 1);
}

static void the_callback_can_be_left(void **state)
{
    struct bed *bed = *state;
    void *block = fl_alloc(bed->thread, LARGE);
    assert_int_equal(fl_heap_walk_begin(bed->heap), 0);
    if (setjmp(out) == 0)
        fl_heap_walk(bed->heap, leave, NULL);
    assert_int_equal(fl_heap_walk_end(bed->heap), 0);
    fl_free_sized(bed->thread, block, LARGE);
}

static void a_heap_is_walked_once_at_a_time(void **state)
{
    struct bed *bed = *state;
    assert_int_equal(fl_heap_walk_begin(bed->heap), 0);
    assert_int_equal(fl_heap_walk_begin(bed->heap), -EBUSY);
    assert_int_equal(fl_heap_walk_end(bed->heap), 0);
    assert_int_equal(count_live(bed->heap), 0);
}

static void *end_the_walk_of_another(void *heap)
{
    assert_int_equal(fl_heap_walk_end(heap), -EINVAL);
    return NULL;
}

static void what_is_out_of_turn_is_misuse(void **state)
{
    struct bed *bed = *state;
    size_t blocks = 0;
    assert_int_equal(fl_heap_walk_end(bed->heap), -EINVAL);
    assert_misuse("fl_heap_walk_end", bed->heap, "is not being walked");
    assert_int_equal(fl_heap_walk(bed->heap, count, &blocks), -EINVAL);
    assert_misuse("fl_heap_walk", bed->heap, "is not being walked");
    assert_int_equal(fl_heap_walk_begin(bed->heap), 0);
    run_on_thread(end_the_walk_of_another, bed->heap);
    assert_misuse("fl_heap_walk_end", bed->heap, "by another thread");
    assert_int_equal(fl_heap_walk_end(bed->heap), 0);
}

static void a_heap_that_is_walked_is_not_destroyed(void **state)
{
    (void)state;
    struct fl_heap *heap = heap_with(NULL);
    assert_int_equal(fl_heap_walk_begin(heap), 0);
    assert_int_equal(fl_heap_destroy(heap), -EBUSY);
    assert_misuse("fl_heap_destroy", heap, "is being walked");
    assert_int_equal(fl_heap_walk_end(heap), 0);
    end_heap(heap);
}

/* ---- A world that runs, in checked builds. */

static void who_allocates_during_a_walk_is_told(void **state)
{
    struct bed *bed = *state;
    if (!FLI_CHECKED)
        skip();
    void *blocks[3];
    assert_int_equal(fl_heap_walk_begin(bed->heap), 0);
    assert_null(fl_alloc(bed->thread, SIZE));
    assert_int_equal(errno, EINVAL);
    assert_misuse("fl_alloc", NULL, "while it is walked");
    assert_null(fl_alloc(bed->thread, LARGE));
    assert_misuse("fl_alloc", NULL, "while it is walked");
    assert_null(fl_alloc_aligned(bed->thread, 64, SIZE));
    assert_misuse("fl_alloc_aligned", NULL, "while it is walked");
    assert_int_equal(fl_alloc_many(bed->thread, SIZE, 3, blocks), -EINVAL);
    assert_misuse("fl_alloc_many", NULL, "while it is walked");
    assert_int_equal(fl_heap_walk_end(bed->heap), 0);
}

static void who_frees_during_a_walk_is_told(void **state)
{
    struct bed *bed = *state;
    if (!FLI_CHECKED)
        skip();
    void *blocks[] = {fl_alloc(bed->thread, SIZE), fl_alloc(bed->thread, LARGE)};
    const size_t sizes[] = {SIZE, LARGE};
    assert_int_equal(fl_heap_walk_begin(bed->heap), 0);
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        fl_free_sized(bed->thread, blocks[i], sizes[i]);
        assert_misuse("fl_free_sized", blocks[i], "is walked");
        fl_free(bed->thread, blocks[i]);
        assert_misuse("fl_free", blocks[i], "is walked");
        fl_heap_free(bed->heap, blocks[i]);
        assert_misuse("fl_heap_free", blocks[i], "is walked");
        assert_null(fl_realloc(bed->thread, blocks[i], sizes[i], 2 * sizes[i]));
        assert_misuse("fl_realloc", blocks[i], "is walked");
        assert_block_at(bed->heap, blocks[i], blocks[i], FL_BLOCK_LIVE);
    }
    assert_int_equal(fl_heap_walk_end(bed->heap), 0);
    fl_free_sized(bed->thread, blocks[0], SIZE);
    fl_free_sized(bed->thread, blocks[1], LARGE);
}

static void a_thread_with_a_block_in_hand_is_noticed(void **state)
{
    struct bed *bed = *state;
    if (!FLI_CHECKED)
        skip();
    fl_free_sized(bed->thread, fl_alloc(bed->thread, SIZE), SIZE);
    struct fl_cache *cache = fli_thread_cache(whole(bed->thread), (unsigned)fl_size_class(SIZE));
    cache->top--; /* as if a thread were between taking it and telling so */
    assert_int_equal(fl_heap_walk_begin(bed->heap), -EINVAL);
    assert_misuse("fl_heap_walk_begin", bed->heap, "has a thread inside the library");
    cache->top++;
    assert_int_equal(count_live(bed->heap), 0);
}

/* ---- fork */

static void walk_on_in_the_child(void *argument)
{
    struct herd *herd = argument;
    size_t blocks = 0;
    EXPECT(fl_heap_walk(herd->heap, count, &blocks) == 0);
    EXPECT(blocks == herd->live);
    EXPECT(fl_heap_walk_end(herd->heap) == 0);
    EXPECT(fl_heap_walk_begin(herd->heap) == 0);
    EXPECT(fl_heap_walk_end(herd->heap) == 0);
    EXPECT_SOUND(herd->heap);
}

static void a_child_goes_on_with_the_walk(void **state)
{
    struct bed *bed = *state;
    struct herd *herd = herd_of(bed->heap);
    herd_add_some(herd, bed->thread, SIZE, SOME);
    herd_add_some(herd, bed->thread, LARGE, 3);
    assert_int_equal(fl_heap_walk_begin(bed->heap), 0);
    assert_child_succeeds(walk_on_in_the_child, herd);
    assert_herd_is_found(herd);
    assert_int_equal(fl_heap_walk_end(bed->heap), 0);
    herd_end(herd, bed->thread);
}

static void find_no_walk_in_the_child(void *argument)
{
    struct herd *herd = argument;
    size_t blocks = 0;
    EXPECT(fl_heap_walk_begin(herd->heap) == 0);
    EXPECT(fl_heap_walk(herd->heap, count, &blocks) == 0);
    EXPECT(blocks >= herd->live);
    EXPECT(fl_heap_walk_end(herd->heap) == 0);
}

static void *fork_aside(void *herd)
{
    assert_child_succeeds(find_no_walk_in_the_child, herd);
    return NULL;
}

static void a_walk_of_another_thread_is_over_in_the_child(void **state)
{
    struct bed *bed = *state;
    struct herd *herd = herd_of(bed->heap);
    herd_add_some(herd, bed->thread, SIZE, SOME);
    assert_int_equal(fl_heap_walk_begin(bed->heap), 0);
    run_on_thread(fork_aside, herd);
    assert_herd_is_found(herd);
    assert_int_equal(fl_heap_walk_end(bed->heap), 0);
    herd_end(herd, bed->thread);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BED_TEST(an_empty_heap_has_no_live_block),
        BED_TEST(blocks_of_all_sizes_are_found),
        BED_TEST(what_caches_hold_is_free),
        cmocka_unit_test(what_is_parked_or_kept_at_home_is_free),
        BED_TEST(what_is_pooled_is_free),
        BED_TEST(what_threads_without_a_handle_freed_is_free),
        BED_TEST(what_a_handle_that_is_offline_holds_is_free),
        BED_TEST(aligned_blocks_are_found),
        BED_TEST(slabs_that_were_trimmed_have_no_live_block),
        BED_TEST(large_blocks_are_found_by_any_address),
        BED_TEST(beside_a_large_block_there_is_none),
        cmocka_unit_test(what_is_deferred_is_free),
        cmocka_unit_test(a_large_block_that_is_deferred_is_none),
        cmocka_unit_test(slabs_that_wait_for_stale_readers_are_free),
        BED_TEST(dead_objects_that_wait_are_live),
        BED_TEST(what_stopped_threads_hold_is_told_apart),
        BED_TEST(a_thread_without_a_handle_can_walk),
        BED_TEST(other_threads_can_help),
        cmocka_unit_test(the_thread_of_the_library_leaves_the_heap_alone),
        BED_TEST(whatever_has_happened_all_live_blocks_are_found),
        BED_TEST(an_address_inside_a_block_finds_it),
        BED_TEST(an_address_of_no_block_finds_none),
        BED_TEST(outside_of_a_walk_the_start_of_a_large_block_is_found),
        BED_TEST(the_callback_can_end_a_walk),
        BED_TEST(the_callback_can_be_left),
        BED_TEST(a_heap_is_walked_once_at_a_time),
        MISUSE_TEST(what_is_out_of_turn_is_misuse),
        MISUSE_TEST(a_heap_that_is_walked_is_not_destroyed),
        MISUSE_TEST(who_allocates_during_a_walk_is_told),
        MISUSE_TEST(who_frees_during_a_walk_is_told),
        MISUSE_TEST(a_thread_with_a_block_in_hand_is_noticed),
        BED_TEST(a_child_goes_on_with_the_walk),
        BED_TEST(a_walk_of_another_thread_is_over_in_the_child),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
