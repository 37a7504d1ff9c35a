/* SPDX-License-Identifier: MIT */
#include "support.h"

enum { SIZE = 48, MANY = 1000 };

static size_t threads_of(struct fl_heap *heap)
{
    return stats_of(heap).threads;
}

/* ---- Handles. */

static void every_attach_is_a_new_handle_on_its_own(void **state)
{
    struct bed *bed = *state;
    struct fl_thread *handles[20];
    for (size_t i = 0; i < COUNT_OF(handles); i++) {
        handles[i] = fl_thread_attach(bed->heap);
        assert_non_null(handles[i]);
        assert_ptr_equal(fl_thread_heap(handles[i]), bed->heap);
        assert_null(fl_thread_context(handles[i]));
        fl_thread_set_context(handles[i], &handles[i]);
    }
    assert_int_equal(threads_of(bed->heap), 1 + COUNT_OF(handles));
    for (size_t i = 0; i < COUNT_OF(handles); i++) {
        assert_ptr_equal(fl_thread_context(handles[i]), &handles[i]);
        fl_free(handles[(i + 1) % COUNT_OF(handles)], fl_alloc(handles[i], SIZE));
    }
    for (size_t i = 0; i < COUNT_OF(handles); i += 2)
        assert_int_equal(fl_thread_detach(handles[i]), 0);
    assert_sound(bed->heap);
    for (size_t i = 1; i < COUNT_OF(handles); i += 2)
        assert_int_equal(fl_thread_detach(handles[i]), 0);
    assert_int_equal(threads_of(bed->heap), 1);
}

static void another_abi_is_refused(void **state)
{
    struct bed *bed = *state;
    errno = 0;
    assert_null(fl_thread_attach_abi(FL_ABI + 1, bed->heap));
    assert_int_equal(errno, ENOTSUP);
    assert_int_equal(threads_of(bed->heap), 1);
}

static void detaching_gives_the_blocks_to_the_pool(void **state)
{
    struct bed *bed = *state;
    struct fl_thread *other = fl_thread_attach(bed->heap);
    void *blocks[MANY];
    assert_int_equal(fl_alloc_many(other, SIZE, MANY, blocks), 0);
    fl_free_many(other, SIZE, MANY, blocks);
    assert_int_equal(fl_thread_detach(other), 0);
    struct fl_class_stats class = class_stats_of(bed->heap, SIZE);
    assert_int_equal(class.cached, 0);
    assert_int_equal(class.pooled + class.parked, class.carved);
}

static void an_os_thread_may_use_several_heaps_at_once(void **state)
{
    struct bed *bed = *state;
    struct bed other = bed_with(NULL);
    void *mine = fl_alloc(bed->thread, SIZE), *theirs = fl_alloc(other.thread, SIZE);
    assert_true(fl_owns(bed->heap, mine) && !fl_owns(bed->heap, theirs));
    assert_true(fl_owns(other.heap, theirs) && !fl_owns(other.heap, mine));
    fl_free(bed->thread, mine);
    fl_free(other.thread, theirs);
    end_bed(&other);
}

/* ---- Passing blocks between OS threads. */

struct parcel {
    struct fl_heap *heap;
    struct fl_thread *thread;
    void *blocks[MANY];
    bool as_it_should_be;
};

static void *free_all(void *argument)
{
    struct parcel *parcel = argument;
    struct fl_thread *thread = fl_thread_attach(parcel->heap);
    for (unsigned i = 0; i < MANY; i++)
        fl_free_sized(thread, parcel->blocks[i], SIZE);
    parcel->as_it_should_be = fl_thread_detach(thread) == 0;
    return NULL;
}

static void a_block_freed_by_another_thread_is_reused_here(void **state)
{
    struct bed *bed = *state;
    struct parcel parcel = {.heap = bed->heap};
    assert_int_equal(fl_alloc_many(bed->thread, SIZE, MANY, parcel.blocks), 0);
    size_t carved = class_stats_of(bed->heap, SIZE).carved;
    run_on_thread(free_all, &parcel);
    assert_true(parcel.as_it_should_be);
    assert_int_equal(fl_alloc_many(bed->thread, SIZE, MANY, parcel.blocks), 0);
    assert_int_equal(class_stats_of(bed->heap, SIZE).carved, carved);
    fl_free_many(bed->thread, SIZE, MANY, parcel.blocks);
}

/* ---- Exit without detach. */

static void *leave_without_a_word(void *argument)
{
    struct parcel *parcel = argument;
    for (unsigned i = 0; i < 3; i++) {
        struct fl_thread *thread = fl_thread_attach(parcel->heap);
        parcel->as_it_should_be = thread != NULL && fl_alloc_many(thread, SIZE, MANY, parcel->blocks) == 0;
        fl_free_many(thread, SIZE, MANY, parcel->blocks);
    }
    return NULL;
}

static void what_an_exiting_thread_left_attached_is_detached(void **state)
{
    struct bed *bed = *state;
    struct parcel parcel = {.heap = bed->heap};
    run_on_thread(leave_without_a_word, &parcel);
    assert_true(parcel.as_it_should_be);
    assert_int_equal(threads_of(bed->heap), 1);
    struct fl_class_stats class = class_stats_of(bed->heap, SIZE);
    assert_int_equal(class.live, 0);
    assert_int_equal(class.cached, 0);
}

static void *exit_early(void *argument)
{
    struct parcel *parcel = argument;
    parcel->blocks[0] = fl_alloc(fl_thread_attach(parcel->heap), SIZE);
    pthread_exit(NULL);
}

static void pthread_exit_detaches_and_live_blocks_outlive_the_thread(void **state)
{
    struct bed *bed = *state;
    struct parcel parcel = {.heap = bed->heap};
    run_on_thread(exit_early, &parcel);
    assert_int_equal(threads_of(bed->heap), 1);
    assert_int_equal(class_stats_of(bed->heap, SIZE).live, 1);
    memset(parcel.blocks[0], 1, SIZE);
    fl_free(bed->thread, parcel.blocks[0]);
}

static void many_threads_come_and_go_and_leave_nothing_behind(void **state)
{
    struct bed *bed = *state;
    struct parcel parcel = {.heap = bed->heap};
    for (unsigned i = 0; i < 3; i++) /* how full the magazines are that are left settles */
        run_on_thread(leave_without_a_word, &parcel);
    struct fl_stats before = stats_of(bed->heap);
    for (unsigned i = 0; i < 500; i++)
        run_on_thread(leave_without_a_word, &parcel);
    struct fl_stats after = stats_of(bed->heap);
    assert_int_equal(after.slabs, before.slabs);
    assert_int_equal(after.magazines, before.magazines);
    assert_int_equal(after.live_blocks, 0);
}

/* ---- Offline, online, and moving to another OS thread. */

static void *use_online(void *argument)
{
    struct parcel *parcel = argument;
    fl_thread_online(parcel->thread);
    parcel->as_it_should_be = fl_alloc_many(parcel->thread, SIZE, MANY, parcel->blocks) == 0;
    fl_thread_offline(parcel->thread);
    return NULL;
}

static void an_offline_handle_outlives_the_thread_that_used_it(void **state)
{
    struct bed *bed = *state;
    struct parcel parcel = {.heap = bed->heap, .thread = fl_thread_attach(bed->heap)};
    fl_free(parcel.thread, fl_alloc(parcel.thread, SIZE));
    fl_thread_offline(parcel.thread);
    for (unsigned i = 0; i < 5; i++) {
        run_on_thread(use_online, &parcel);
        assert_true(parcel.as_it_should_be);
        assert_int_equal(threads_of(bed->heap), 2);
        fl_thread_online(parcel.thread);
        fl_free_many(parcel.thread, SIZE, MANY, parcel.blocks);
        fl_thread_offline(parcel.thread);
    }
    assert_int_equal(fl_thread_detach(parcel.thread), 0);
}

static void *take_over_and_exit(void *argument)
{
    struct parcel *parcel = argument;
    fl_thread_online(parcel->thread);
    fl_free(parcel->thread, fl_alloc(parcel->thread, SIZE));
    return NULL;
}

static void a_handle_that_moved_is_detached_when_its_new_thread_exits(void **state)
{
    struct bed *bed = *state;
    struct parcel parcel = {.heap = bed->heap, .thread = fl_thread_attach(bed->heap)};
    fl_thread_offline(parcel.thread);
    run_on_thread(take_over_and_exit, &parcel);
    assert_int_equal(threads_of(bed->heap), 1);
}

static void going_offline_or_online_twice_is_as_good_as_once(void **state)
{
    struct bed *bed = *state;
    fl_thread_offline(bed->thread);
    fl_thread_offline(bed->thread);
    fl_thread_online(bed->thread);
    fl_thread_online(bed->thread);
    fl_free(bed->thread, fl_alloc(bed->thread, SIZE));
    assert_int_equal(threads_of(bed->heap), 1);
}

static void an_offline_handle_can_be_detached_by_any_thread(void **state)
{
    struct bed *bed = *state;
    struct fl_thread *handle = fl_thread_attach(bed->heap);
    fl_thread_offline(handle);
    assert_int_equal(fl_thread_detach(handle), 0);
    assert_int_equal(threads_of(bed->heap), 1);
}

/* ---- fl_thread_self and the default heap. */

static void *use_self(void *argument)
{
    bool *attached = argument;
    struct fl_heap *heap = fl_heap_default();
    size_t before = threads_of(heap);
    struct fl_thread *stand_in = fl_thread_self();
    bool unattached = threads_of(heap) == before && fl_thread_context(stand_in) == NULL;
    void *block = fl_alloc(fl_thread_self(), SIZE);
    struct fl_thread *self = fl_thread_self();
    fl_thread_set_context(self, attached);
    *attached = unattached && block != NULL && threads_of(heap) == before + 1 && self != stand_in &&
                fl_thread_heap(self) == heap && fl_thread_context(fl_thread_self()) == attached;
    fl_free(fl_thread_self(), block);
    *attached = *attached && fl_thread_self() == self;
    return NULL;
}

static void self_attaches_at_the_first_use_and_detaches_at_exit(void **state)
{
    (void)state;
    size_t before = threads_of(fl_heap_default());
    bool attached = false;
    for (unsigned i = 0; i < 3; i++) {
        run_on_thread(use_self, &attached);
        assert_true(attached);
        assert_int_equal(threads_of(fl_heap_default()), before);
    }
    assert_sound(fl_heap_default());
}

static void *keep_the_stand_in(void *argument)
{
    bool *good = argument;
    struct fl_thread *stand_in = fl_thread_self();
    size_t before = threads_of(fl_heap_default());
    void *blocks[MANY];
    /* A handle kept from before the first use goes on working, on the thread that the first use attached. */
    *good = fl_alloc_many(stand_in, SIZE, MANY, blocks) == 0;
    fl_free_many(stand_in, SIZE, MANY, blocks);
    void *zeroed = fl_alloc_zeroed(stand_in, 100);
    fl_free_sized(stand_in, zeroed, 100);
    fl_free(stand_in, fl_alloc(stand_in, 100000));
    fl_thread_flush(stand_in);
    *good = *good && zeroed != NULL && threads_of(fl_heap_default()) == before + 1;
    return NULL;
}

static void a_handle_kept_from_before_the_first_use_goes_on_working(void **state)
{
    (void)state;
    bool good = false;
    run_on_thread(keep_the_stand_in, &good);
    assert_true(good);
    assert_sound(fl_heap_default());
}

static void *detach_self_and_go_on(void *argument)
{
    bool *good = argument;
    *good = true;
    for (unsigned i = 0; i < 3; i++) {
        fl_free(fl_thread_self(), fl_alloc(fl_thread_self(), SIZE));
        *good = *good && fl_thread_detach(fl_thread_self()) == 0;
    }
    return NULL;
}

static void self_attaches_again_after_a_detach(void **state)
{
    (void)state;
    bool good = false;
    size_t before = threads_of(fl_heap_default());
    run_on_thread(detach_self_and_go_on, &good);
    assert_true(good);
    assert_int_equal(threads_of(fl_heap_default()), before);
}

static void *put_self_offline(void *argument)
{
    struct parcel *parcel = argument;
    fl_free(fl_thread_self(), fl_alloc(fl_thread_self(), SIZE));
    parcel->thread = fl_thread_self();
    fl_thread_offline(parcel->thread);
    parcel->as_it_should_be = fl_thread_self() != parcel->thread;
    return NULL;
}

static void *take_self_over(void *argument)
{
    struct parcel *parcel = argument;
    fl_thread_online(parcel->thread);
    parcel->as_it_should_be = parcel->as_it_should_be && fl_thread_self() == parcel->thread;
    return NULL;
}

static void self_can_move_to_another_os_thread(void **state)
{
    (void)state;
    struct parcel parcel = {0};
    size_t before = threads_of(fl_heap_default());
    run_on_thread(put_self_offline, &parcel);
    assert_true(parcel.as_it_should_be);
    assert_int_equal(threads_of(fl_heap_default()), before + 1);
    run_on_thread(take_self_over, &parcel);
    assert_true(parcel.as_it_should_be);
    assert_int_equal(threads_of(fl_heap_default()), before);
}

/* ---- Threads that are never attached, and late ones. */

static void *free_unattached(void *argument)
{
    struct parcel *parcel = argument;
    for (unsigned i = 0; i < MANY; i++)
        fl_heap_free(parcel->heap, parcel->blocks[i]);
    return NULL;
}

static void a_thread_that_never_attached_can_free(void **state)
{
    struct bed *bed = *state;
    struct parcel parcel = {.heap = bed->heap};
    assert_int_equal(fl_alloc_many(bed->thread, SIZE, MANY, parcel.blocks), 0);
    run_on_thread(free_unattached, &parcel);
    struct fl_stats stats = stats_of(bed->heap);
    assert_int_equal(stats.live_blocks, 0);
    assert_int_equal(stats.threads, 1);
}

static void many_threads_may_free_unattached_at_once(void **state)
{
    struct bed *bed = *state;
    static struct parcel parcels[3];
    pthread_t threads[COUNT_OF(parcels)];
    for (size_t i = 0; i < COUNT_OF(parcels); i++) {
        parcels[i].heap = bed->heap;
        assert_int_equal(fl_alloc_many(bed->thread, SIZE, MANY, parcels[i].blocks), 0);
    }
    for (size_t i = 0; i < COUNT_OF(parcels); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, free_unattached, &parcels[i]), 0);
    for (size_t i = 0; i < COUNT_OF(parcels); i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(stats_of(bed->heap).live_blocks, 0);
}

/* A key whose destructor frees and allocates at each of the rounds that the system grants. ThreadSanitizer is gone in
 * the last of them. */
enum { ROUNDS = FLI_THREAD_SANITIZER ? 3 : 4 };

static pthread_key_t late_key;
static unsigned late_rounds;

struct late {
    void *blocks[ROUNDS];
    bool good;
};

static void use_late(void *argument)
{
    struct late *late = argument;
    fl_free(fl_thread_self(), late->blocks[late_rounds]);
    void *block = fl_alloc(fl_thread_self(), SIZE), *large = fl_alloc_zeroed(fl_thread_self(), 50000);
    late->good = late->good && block != NULL && large != NULL;
    fl_free_sized(fl_thread_self(), block, SIZE);
    fl_free(fl_thread_self(), large);
    fl_thread_flush(fl_thread_self());
    if (++late_rounds < COUNT_OF(late->blocks))
        pthread_setspecific(late_key, late);
}

static void *free_late(void *argument)
{
    struct late *late = argument;
    late->good = pthread_setspecific(late_key, late) == 0 &&
                 fl_alloc_many(fl_thread_self(), SIZE, COUNT_OF(late->blocks), late->blocks) == 0;
    return NULL;
}

static void destructors_may_use_self_in_every_round_of_a_threads_exit(void **state)
{
    (void)state;
    struct fl_heap *heap = fl_heap_default();
    struct fl_stats before = stats_of(heap);
    struct late late = {.good = false};
    assert_int_equal(pthread_key_create(&late_key, use_late), 0);
    late_rounds = 0;
    run_on_thread(free_late, &late);
    assert_true(late.good);
    assert_int_equal(late_rounds, COUNT_OF(late.blocks));
    struct fl_stats after = stats_of(heap);
    assert_int_equal(after.live_blocks, before.live_blocks);
    assert_int_equal(after.threads, before.threads);
    assert_int_equal(pthread_key_delete(late_key), 0);
    assert_sound(heap);
}

/* What a host still holds while its thread exits. Its destructor runs before the library's in each round if its key is
 * the earlier one. */
static pthread_key_t early_key;

struct estate {
    pthread_key_t key;
    struct fl_heap *heap; /* NULL: the default heap's handle is in hand */
    struct fl_thread *thread;
    unsigned rounds;
    void *blocks[ROUNDS], *sized[ROUNDS], *large[ROUNDS], *objects[ROUNDS];
};

/* Clears nothing. */
static void clear_object(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread, (void)object, (void)type;
}

static struct fl_type object_type = {.name = "object", .size = SIZE, .kind = FL_DEALLOC_CLEAR, .clear = clear_object};

static void settle_some(void *argument)
{
    struct estate *estate = argument;
    unsigned round = estate->rounds++;
    fl_free(estate->thread, estate->blocks[round]);
    fl_free_sized(estate->thread, estate->sized[round], SIZE);
    fl_free(estate->thread, estate->large[round]);
    fl_dealloc(estate->thread, estate->objects[round], &object_type);
    void *block = fl_alloc(estate->thread, SIZE);
    assert_non_null(block);
    block = fl_realloc(estate->thread, block, SIZE, 4 * SIZE);
    assert_non_null(block);
    fl_free_many(estate->thread, 4 * SIZE, 1, &block);
    fl_thread_flush(estate->thread);
    assert_ptr_equal(fl_thread_heap(estate->thread), estate->heap);
    if (estate->rounds < ROUNDS)
        pthread_setspecific(estate->key, estate);
    else if (estate->heap != fl_heap_default())
        assert_int_equal(fl_thread_detach(estate->thread), 0);
}

static void *leave_estate(void *argument)
{
    struct estate *estate = argument;
    bool is_default = estate->heap == fl_heap_default();
    if (is_default)
        fl_free(fl_thread_self(), fl_alloc(fl_thread_self(), SIZE)); /* attaches */
    estate->thread = is_default ? fl_thread_self() : fl_thread_attach(estate->heap);
    for (unsigned i = 0; i < ROUNDS; i++) {
        estate->large[i] = fl_alloc(estate->thread, 50000);
        estate->objects[i] = fl_type_alloc(estate->thread, &object_type);
    }
    fl_alloc_many(estate->thread, SIZE, ROUNDS, estate->blocks);
    fl_alloc_many(estate->thread, SIZE, ROUNDS, estate->sized);
    pthread_setspecific(estate->key, estate);
    return NULL;
}

static void settle_in_every_round(struct fl_heap *heap, pthread_key_t key)
{
    struct estate estate = {.key = key, .heap = heap};
    struct fl_stats before = stats_of(heap);
    run_on_thread(leave_estate, &estate);
    assert_int_equal(estate.rounds, ROUNDS);
    struct fl_stats after = stats_of(heap);
    assert_int_equal(after.live_blocks, before.live_blocks);
    assert_int_equal(after.large_blocks, before.large_blocks);
    assert_int_equal(after.threads, before.threads);
    assert_sound(heap);
}

static void destructors_may_free_through_their_handles_in_every_round(void **state)
{
    struct bed *bed = *state;
    assert_int_equal(pthread_key_create(&late_key, settle_some), 0);
    assert_int_equal(object_type.ready ? 0 : fl_type_ready(&object_type, NULL, NULL, 0), 0);
    settle_in_every_round(bed->heap, early_key);
    settle_in_every_round(bed->heap, late_key);
    settle_in_every_round(fl_heap_default(), early_key);
    settle_in_every_round(fl_heap_default(), late_key);
    assert_int_equal(pthread_key_delete(late_key), 0);
}

/* A thread that attaches first in a round of its destructors. */
struct latecomer {
    struct fl_heap *heap;
    unsigned round, waits;
};

static void attach_in_a_round(void *argument)
{
    struct latecomer *latecomer = argument;
    if (++latecomer->round < latecomer->waits) {
        pthread_setspecific(late_key, latecomer);
        return;
    }
    struct fl_thread *thread = fl_thread_attach(latecomer->heap);
    assert_non_null(thread);
    fl_free(thread, fl_alloc(thread, SIZE));
}

static void *come_late(void *argument)
{
    pthread_setspecific(late_key, argument);
    return NULL;
}

static void what_is_first_attached_in_any_round_of_destructors_ends_with_the_thread(void **state)
{
    skip_under_emulator(NO_ROBUST_MUTEXES);
    struct bed *bed = *state;
    assert_int_equal(pthread_key_create(&late_key, attach_in_a_round), 0);
    /* What is attached in the second round may be detached in the last. */
    unsigned last = FLI_THREAD_SANITIZER ? 1 : ROUNDS;
    for (unsigned round = 1; round <= last; round++) {
        struct latecomer latecomer = {.heap = bed->heap, .waits = round};
        run_on_thread(come_late, &latecomer);
        assert_int_equal(latecomer.round, round);
        assert_int_equal(threads_of(bed->heap), 1);
    }
    assert_int_equal(stats_of(bed->heap).live_blocks, 0);
    assert_int_equal(pthread_key_delete(late_key), 0);
}

static struct fl_heap *late_heap;

static void attach_late(void *argument)
{
    unsigned *rounds = argument;
    struct fl_thread *thread = fl_thread_attach(late_heap);
    fl_free(thread, fl_alloc(thread, SIZE));
    if (++*rounds < 2)
        pthread_setspecific(late_key, rounds);
}

static void *attach_before_and_late(void *argument)
{
    fl_thread_attach(late_heap);
    pthread_setspecific(late_key, argument);
    return NULL;
}

static void an_attachment_made_by_a_destructor_ends_with_the_thread_too(void **state)
{
    struct bed *bed = *state;
    unsigned rounds = 0;
    late_heap = bed->heap;
    assert_int_equal(pthread_key_create(&late_key, attach_late), 0);
    run_on_thread(attach_before_and_late, &rounds);
    assert_int_equal(rounds, 2);
    assert_int_equal(threads_of(bed->heap), 1);
    assert_int_equal(pthread_key_delete(late_key), 0);
}

/* What a host keeps per thread, in a key of its own. */
struct host_state {
    struct fl_thread *thread;
    void *block;
};

static pthread_key_t host_key;
static struct host_state host_state;

static void end_host_state(void *arg)
{
    struct host_state *host = arg;
    fl_free_sized(host->thread, host->block, 48);
    assert_int_equal(fl_thread_detach(host->thread), 0);
}

static void *run_host_thread(void *heap)
{
    host_state.thread = fl_thread_attach(heap);
    host_state.block = fl_alloc(host_state.thread, 48);
    assert_int_equal(pthread_setspecific(host_key, &host_state), 0);
    return NULL;
}

/* The key is made after the heap's, so that its destructor is run after the library's. */
static void a_hosts_destructor_may_use_and_detach_its_handle_whenever_it_runs(void **state)
{
    struct bed *bed = *state;
    pthread_t thread;
    assert_int_equal(pthread_key_create(&host_key, end_host_state), 0);
    assert_int_equal(pthread_create(&thread, NULL, run_host_thread, bed->heap), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(stats_of(bed->heap).threads, 1);
    assert_int_equal(stats_of(bed->heap).live_blocks, 0);
    pthread_key_delete(host_key);
}

int main(void)
{
    if (pthread_key_create(&early_key, settle_some) != 0) /* before the first heap makes the library's key */
        return 1;
    const struct CMUnitTest tests[] = {
        BED_TEST(every_attach_is_a_new_handle_on_its_own),
        BED_TEST(another_abi_is_refused),
        BED_TEST(detaching_gives_the_blocks_to_the_pool),
        BED_TEST(an_os_thread_may_use_several_heaps_at_once),
        BED_TEST(a_block_freed_by_another_thread_is_reused_here),
        BED_TEST(what_an_exiting_thread_left_attached_is_detached),
        BED_TEST(pthread_exit_detaches_and_live_blocks_outlive_the_thread),
        BED_TEST(many_threads_come_and_go_and_leave_nothing_behind),
        BED_TEST(an_offline_handle_outlives_the_thread_that_used_it),
        BED_TEST(a_handle_that_moved_is_detached_when_its_new_thread_exits),
        BED_TEST(going_offline_or_online_twice_is_as_good_as_once),
        BED_TEST(an_offline_handle_can_be_detached_by_any_thread),
        cmocka_unit_test(self_attaches_at_the_first_use_and_detaches_at_exit),
        cmocka_unit_test(a_handle_kept_from_before_the_first_use_goes_on_working),
        cmocka_unit_test(self_attaches_again_after_a_detach),
        cmocka_unit_test(self_can_move_to_another_os_thread),
        BED_TEST(a_thread_that_never_attached_can_free),
        BED_TEST(many_threads_may_free_unattached_at_once),
        cmocka_unit_test(destructors_may_use_self_in_every_round_of_a_threads_exit),
        BED_TEST(a_hosts_destructor_may_use_and_detach_its_handle_whenever_it_runs),
        BED_TEST(destructors_may_free_through_their_handles_in_every_round),
        BED_TEST(what_is_first_attached_in_any_round_of_destructors_ends_with_the_thread),
        BED_TEST(an_attachment_made_by_a_destructor_ends_with_the_thread_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
