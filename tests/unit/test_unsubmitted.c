/* SPDX-License-Identifier: MIT
 *
 * What threads have deferred and not submitted is bounded, although they sleep; and it comes back whole.
 */
#include "grace_support.h"

#include "pool/unsubmitted.h"

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

enum { IDLE_MOST = 200, SOME = 7, LOW_LIMIT = 64 << 20 };

static size_t unsubmitted_bytes(struct fl_heap *heap)
{
    return stats_of(heap).deferred_bytes - submitted_bytes(heap);
}

/* Defers so many blocks, or as many as the limit allows. */
static void defer_up_to(struct fl_thread *thread, size_t size, unsigned count)
{
    void *blocks[FLI_MAGAZINE_SLOTS];
    unsigned had = 0;
    while (had < count && (blocks[had] = fl_alloc(thread, size)) != NULL)
        had++;
    defer_many(thread, size, had, blocks);
}

/* What so many threads have not submitted, each after it has deferred a little less than a magazine of each class. */
static void check_idle(size_t limit, unsigned count)
{
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, &(struct fl_options){.limit_bytes = limit, .retain_bytes = 1});
    struct fli_quota *rooms = &bed.heap->deferred.rooms;
    struct fl_thread *idle[IDLE_MOST];
    for (unsigned i = 0; i < count; i++) {
        assert_non_null(idle[i] = fl_thread_attach(bed.heap));
        for (unsigned c = 1; c < FL_CLASS_COUNT; c += SOME) {
            unsigned blocks = bed.heap->backing.magazine_blocks[c] - 1;
            defer_up_to(idle[i], fli_class_bytes(c), blocks);
        }
        let_all_go(&host, bed.thread);
        assert_in_range(unsubmitted_bytes(bed.heap), 0, rooms->most);
        if (i % 20 == 0)
            assert_sound(bed.heap);
    }
    assert_in_range(unsubmitted_bytes(bed.heap), rooms->most / 8, rooms->most);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(fl_thread_detach(idle[i]), 0);
    let_all_go(&host, bed.thread);
    assert_int_equal(stats_of(bed.heap).deferred_bytes, 0);
    assert_int_equal(fli_load_relaxed(&rooms->beyond), 0);
    end_bed(&bed);
}

static void what_idle_threads_have_deferred_is_bounded_at_every_moment(void **state)
{
    (void)state;
    check_idle(0, IDLE_MOST);
}

static void so_it_is_below_a_limit(void **state)
{
    (void)state;
    check_idle(LOW_LIMIT, IDLE_MOST);
}

static void sleepers_that_have_deferred_leave_another_one_95_percent_of_the_limit(void **state)
{
    (void)state;
    enum { SIZE = 1024, CLASSES = 10, BLOCKS = 10 };
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, &(struct fl_options){.limit_bytes = LOW_LIMIT});
    struct fl_thread *idle[IDLE_MOST];
    for (unsigned i = 0; i < IDLE_MOST; i++) {
        assert_non_null(idle[i] = fl_thread_attach(bed.heap));
        for (unsigned c = 1; c <= CLASSES; c++)
            defer_some(idle[i], c * 32, BLOCKS);
    }
    let_all_go(&host, bed.thread);
    void *list = NULL;
    size_t had = 0;
    for (void *block; (block = fl_alloc(bed.thread, SIZE)) != NULL; list = block, had += SIZE)
        *(void **)block = list;
    assert_true(had >= LOW_LIMIT / 100 * (FLI_RARE_PATHS ? 50 : 95));
    for (void *next; list != NULL; list = next) {
        next = *(void **)list;
        fl_free_sized(bed.thread, list, SIZE);
    }
    for (unsigned i = 0; i < IDLE_MOST; i++)
        assert_int_equal(fl_thread_detach(idle[i]), 0);
    let_all_go(&host, bed.thread);
    end_bed(&bed);
}

static void an_allocation_at_the_limit_waits_for_what_is_deferred(void **state)
{
    (void)state;
    enum { SIZE = 1024, LIMIT = 4 << 20 };
    struct bed bed = bed_with(&(struct fl_options){.grace = FL_GRACE_BP, .limit_bytes = LIMIT});
    for (size_t i = 0; i < 20 * LIMIT / SIZE; i++) {
        void *block = fl_alloc(bed.thread, SIZE);
        assert_non_null(block);
        fl_free_deferred(bed.thread, block, SIZE);
    }
    /* Where the thread reads itself, it fails at once. */
    fl_read_lock(bed.thread);
    size_t had = 0;
    for (void *block; (block = fl_alloc(bed.thread, SIZE)) != NULL; had++)
        fl_free_deferred(bed.thread, block, SIZE);
    assert_in_range(had, 1, LIMIT / SIZE);
    fl_read_unlock(bed.thread);
    void *block = fl_alloc(bed.thread, SIZE);
    assert_non_null(block);
    fl_free_sized(bed.thread, block, SIZE);
    assert_int_equal(fl_heap_barrier(bed.heap), 0);
    end_bed(&bed);
}

static void where_nothing_is_left_a_block_is_submitted_at_once(void **state)
{
    (void)state;
    enum { SIZE = 32768 };
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, &(struct fl_options){.limit_bytes = 1 << 20});
    assert_true(bed.heap->deferred.rooms.most < SIZE);
    for (size_t i = 1; i <= 3; i++) {
        defer_some(bed.thread, SIZE, 1);
        assert_int_equal(submitted_bytes(bed.heap), i * SIZE);
        assert_int_equal(unsubmitted_bytes(bed.heap), 0);
        assert_sound(bed.heap);
    }
    let_all_go(&host, bed.thread);
    end_bed(&bed);
}

static void classes_that_a_thread_no_longer_defers_give_up_their_room(void **state)
{
    (void)state;
    enum { SIZE = 16, FIRST = 2, LAST = 12, TIGHT = 256 };
    struct played_host host = {.refusal = -EAGAIN};
    struct bed bed = bed_of_host(
        &host, &(struct fl_options){.limit_bytes = LOW_LIMIT, .magazine_blocks = FLI_MAGAZINE_SLOTS});
    const struct fli_owner *owner = &fli_thread_of(bed.thread)->owner;
    fli_quota_share(&bed.heap->deferred.rooms, 64);
    for (unsigned c = FIRST; c <= LAST; c++)
        defer_some(bed.thread, fli_class_bytes(c), 1);
    size_t others = unsubmitted_bytes(bed.heap), room = owner->unsubmitted, deferred = 0;
    assert_true(others > 0);
    while (unsubmitted_bytes(bed.heap) >= others && deferred++ < TIGHT * FLI_MAGAZINE_SLOTS)
        defer_some(bed.thread, SIZE, 1);
    assert_int_equal(class_stats_of(bed.heap, SIZE).deferred, deferred);
    assert_in_range(owner->unsubmitted, SIZE, room / 2);
    assert_sound(bed.heap);
    host.refusal = 0;
    let_all_go(&host, bed.thread);
    end_bed(&bed);
}

static void blocks_of_magazines_with_little_room_come_back_whole(void **state)
{
    (void)state;
    enum { SIZE = 16, MANY = 3000 };
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, &(struct fl_options){.limit_bytes = LOW_LIMIT});
    fli_quota_share(&bed.heap->deferred.rooms, 2000);
    void **blocks = calloc(MANY, sizeof *blocks), **again = calloc(MANY, sizeof *again);
    assert_true(blocks != NULL && again != NULL);
    assert_int_equal(fl_alloc_many(bed.thread, SIZE, MANY, blocks), 0);
    defer_many(bed.thread, SIZE, MANY, blocks);
    assert_in_range(unsubmitted_bytes(bed.heap), 0, bed.heap->deferred.rooms.most / 2000);
    let_all_go(&host, bed.thread);
    assert_int_equal(class_stats_of(bed.heap, SIZE).deferred, 0);
    assert_int_equal(class_stats_of(bed.heap, SIZE).live, 0);
    assert_sound(bed.heap);
    size_t slabs = class_stats_of(bed.heap, SIZE).slabs;
    assert_int_equal(fl_alloc_many(bed.thread, SIZE, MANY, again), 0);
    assert_int_equal(class_stats_of(bed.heap, SIZE).slabs, slabs);
    fl_free_many(bed.thread, SIZE, MANY, again);
    free(blocks);
    free(again);
    end_bed(&bed);
}

static void few_magazines_wait_though_each_was_submitted_with_few_blocks(void **state)
{
    (void)state;
    enum { SIZE = 16, MANY = 20000, SOME_MAGAZINES = 600 };
    struct played_host host = {0};
    struct bed bed = bed_of_host(
        &host, &(struct fl_options){.limit_bytes = LOW_LIMIT, .magazine_blocks = FLI_MAGAZINE_SLOTS});
    unsigned capacity = class_stats_of(bed.heap, SIZE).magazine_blocks;
    void **blocks = calloc(MANY, sizeof *blocks), *again;
    assert_non_null(blocks);
    assert_int_equal(fl_alloc_many(bed.thread, SIZE, MANY, blocks), 0);
    fli_quota_share(&bed.heap->deferred.rooms, 2000);
    defer_many(bed.thread, SIZE, MANY, blocks);
    assert_in_range(stats_of(bed.heap).magazines, MANY / capacity, 4 * (MANY / capacity) + SOME_MAGAZINES);
    assert_int_equal(class_stats_of(bed.heap, SIZE).deferred, MANY);
    assert_sound(bed.heap);
    assert_non_null(again = fl_alloc(bed.thread, SIZE));
    assert_false(is_among(again, blocks, MANY));
    let_all_go(&host, bed.thread);
    assert_int_equal(class_stats_of(bed.heap, SIZE).deferred, 0);
    fl_free_sized(bed.thread, again, SIZE);
    free(blocks);
    end_bed(&bed);
}

static void count_anew_in_child(void *argument)
{
    struct bed *bed = argument;
    EXPECT(fli_load_relaxed(&bed->heap->deferred.rooms.beyond) == 0);
    EXPECT(fli_load_relaxed(&bed->heap->backing.allowance.quota.beyond) == 0);
    EXPECT_SOUND(bed->heap);
}

/* As if a thread had counted something that it gives back, and not noted it, when it was copied. */
static void what_a_thread_has_counted_and_not_noted_is_counted_anew_in_a_child(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, &(struct fl_options){.limit_bytes = LOW_LIMIT});
    fli_sub_relaxed(&bed.heap->deferred.rooms.beyond, 1);
    fli_sub_relaxed(&bed.heap->backing.allowance.quota.beyond, 1);
    assert_child_succeeds(count_anew_in_child, &bed);
    fli_add_relaxed(&bed.heap->deferred.rooms.beyond, 1);
    fli_add_relaxed(&bed.heap->backing.allowance.quota.beyond, 1);
    end_bed(&bed);
}

static void a_real_time_thread_submits_whole_magazines(void **state)
{
    (void)state;
    enum { SIZE = 4096 };
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, &(struct fl_options){.limit_bytes = LOW_LIMIT});
    unsigned capacity = class_stats_of(bed.heap, SIZE).magazine_blocks;
    assert_int_equal(fl_thread_set_realtime(bed.thread, true), 0);
    fli_quota_share(&bed.heap->deferred.rooms, 2000);
    defer_some(bed.thread, SIZE, capacity);
    assert_int_equal(submitted_bytes(bed.heap), 0);
    defer_some(bed.thread, SIZE, 1);
    assert_int_equal(submitted_bytes(bed.heap), capacity * SIZE);
    assert_sound(bed.heap);
    assert_int_equal(fl_thread_set_realtime(bed.thread, false), 0);
    let_all_go(&host, bed.thread);
    end_bed(&bed);
}

static void *defer_and_sleep(void *argument)
{
    struct lingerer *lingerer = argument;
    struct fl_thread *thread = fl_thread_attach(lingerer->heap);
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++)
        defer_some(thread, fli_class_bytes(c), 1);
    sem_post(&lingerer->inside);
    wait_for_post(&lingerer->leave);
    fl_thread_detach(thread);
    return NULL;
}

static void a_child_counts_the_room_of_its_own_threads(void **state)
{
    (void)state;
    if (FLI_SANITIZED)
        skip(); /* the tools do not follow forks of processes with several threads */
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, NULL);
    struct fli_quota *rooms = &bed.heap->deferred.rooms;
    struct lingerer other = {.heap = bed.heap};
    sem_init(&other.inside, 0, 0);
    sem_init(&other.leave, 0, 0);
    assert_int_equal(pthread_create(&other.thread, NULL, defer_and_sleep, &other), 0);
    wait_for_post(&other.inside);
    defer_some(bed.thread, 48, 1);
    assert_true(fli_load_relaxed(&rooms->beyond) > 0);
    pid_t child = fork();
    if (child == 0) {
        bool right = fli_load_relaxed(&rooms->beyond) == 0 && fl_heap_check(bed.heap, NULL, 0) == 0;
        _exit(right ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_sound(bed.heap);
    end_lingering(&other);
    let_all_go(&host, bed.thread);
    end_bed(&bed);
}

static void assert_found(struct fl_heap *heap, const char *what)
{
    char error[256] = "";
    assert_int_equal(fl_heap_check(heap, error, sizeof error), -EUCLEAN);
    assert_contains(error, what);
}

static void a_wrong_count_of_the_room_is_found(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, NULL);
    struct fli_owner *owner = &fli_thread_of(bed.thread)->owner;
    struct fli_quota *rooms = &bed.heap->deferred.rooms;
    defer_some(bed.thread, 48, 1);
    owner->unsubmitted++;
    assert_found(bed.heap, "a thread has room for");
    owner->unsubmitted--;
    fli_add_relaxed(&rooms->beyond, 1);
    assert_found(bed.heap, "threads have room for");
    fli_sub_relaxed(&rooms->beyond, 1);
    assert_sound(bed.heap);
    let_all_go(&host, bed.thread);
    end_bed(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_idle_threads_have_deferred_is_bounded_at_every_moment),
        cmocka_unit_test(so_it_is_below_a_limit),
        cmocka_unit_test(sleepers_that_have_deferred_leave_another_one_95_percent_of_the_limit),
        cmocka_unit_test(an_allocation_at_the_limit_waits_for_what_is_deferred),
        cmocka_unit_test(where_nothing_is_left_a_block_is_submitted_at_once),
        cmocka_unit_test(classes_that_a_thread_no_longer_defers_give_up_their_room),
        cmocka_unit_test(blocks_of_magazines_with_little_room_come_back_whole),
        cmocka_unit_test(few_magazines_wait_though_each_was_submitted_with_few_blocks),
        cmocka_unit_test(what_a_thread_has_counted_and_not_noted_is_counted_anew_in_a_child),
        cmocka_unit_test(a_real_time_thread_submits_whole_magazines),
        cmocka_unit_test(a_child_counts_the_room_of_its_own_threads),
        cmocka_unit_test(a_wrong_count_of_the_room_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
