/* SPDX-License-Identifier: MIT
 *
 * What a thread has set aside: so many allocations succeed whatever happens, and nobody else takes it.
 */
/* link: -Wl,--wrap=mmap -Wl,--wrap=mprotect */
#include "grace_support.h"

#include "refusal.h"

#include "heap/registry.h"
#include "heap/thread.h"
#include "pool/reserve.h"

enum { COUNT = FLI_RARE_PATHS ? 3000 : 30000, OTHER = 200 };

static struct fl_type point = {.name = "point", .size = 48, .kind = FL_DEALLOC_PLAIN};
static struct fl_type pair = {.name = "pair", .size = 128, .kind = FL_DEALLOC_PLAIN};
static struct fl_type large = {.name = "large", .size = FL_BLOCK_MAX + 1, .kind = FL_DEALLOC_PLAIN};
static struct fl_type unready = {.name = "unready", .size = 48, .kind = FL_DEALLOC_PLAIN};

static void *objects[COUNT];

static int types_up(void **state)
{
    (void)state;
    return fl_type_ready(&point, NULL, NULL, 0) + fl_type_ready(&pair, NULL, NULL, 0) +
           fl_type_ready(&large, NULL, NULL, 0);
}

static void reserve(struct fl_thread *thread, const struct fl_type *type, size_t count)
{
    assert_int_equal(fl_thread_reserve(thread, type, count), 0);
}

static void allocate(struct fl_thread *thread, const struct fl_type *type, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        objects[i] = fl_type_alloc(thread, type);
        assert_non_null(objects[i]);
    }
}

static void give_back(struct fl_thread *thread, const struct fl_type *type, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        fl_type_free(thread, objects[i], type);
}

/* Allocates until memory is refused. Returns the list of what it got, linked through its blocks. */
static void *exhaust(struct fl_thread *thread, size_t size)
{
    void *list = NULL, **block;
    while ((block = fl_alloc(thread, size)) != NULL) {
        *block = list;
        list = block;
    }
    return list;
}

static void free_list(struct fl_thread *thread, void *list, size_t size)
{
    for (void *next; list != NULL; list = next) {
        next = *(void **)list;
        fl_free_sized(thread, list, size);
    }
}

static void allocations_succeed_where_the_os_refuses_everything(void **state)
{
    struct bed *bed = *state;
    reserve(bed->thread, &point, COUNT);
    assert_true(class_stats_of(bed->heap, point.size).cached >= COUNT);
    refuses = true;
    allocate(bed->thread, &point, COUNT);
    give_back(bed->thread, &point, COUNT);
    allocate(bed->thread, &point, COUNT); /* what was freed stays with the thread */
    refuses = false;
    give_back(bed->thread, &point, COUNT);
}

static void they_succeed_at_the_heap_s_limit(void **state)
{
    (void)state;
    struct bed bed = bed_with(&(struct fl_options){.limit_bytes = (size_t)16 << 20});
    reserve(bed.thread, &point, COUNT);
    void *list = exhaust(bed.thread, 1024);
    assert_non_null(list);
    allocate(bed.thread, &point, OTHER);
    give_back(bed.thread, &point, OTHER);
    void *more = exhaust(bed.thread, 2048); /* makes room, but not out of this */
    allocate(bed.thread, &point, COUNT);
    give_back(bed.thread, &point, COUNT);
    free_list(bed.thread, list, 1024);
    free_list(bed.thread, more, 2048);
    end_bed(&bed);
}

static void *trim_heap(void *heap)
{
    fl_heap_trim(heap, 0);
    return NULL;
}

static void no_trim_takes_it_from_a_thread_that_is_offline(void **state)
{
    struct bed *bed = *state;
    reserve(bed->thread, &point, COUNT);
    allocate(bed->thread, &point, OTHER);
    fl_thread_offline(bed->thread);
    run_on_thread(trim_heap, bed->heap);
    assert_sound(bed->heap);
    fl_thread_online(bed->thread);
    assert_true(class_stats_of(bed->heap, point.size).cached >= COUNT - OTHER);
    give_back(bed->thread, &point, OTHER);
    refuses = true;
    allocate(bed->thread, &point, COUNT);
    refuses = false;
    give_back(bed->thread, &point, COUNT);
}

/* What another thread holds meanwhile. */
struct holder {
    struct fl_heap *heap;
    pthread_barrier_t barrier;
};

static void *hold_locks(void *argument)
{
    struct holder *holder = argument;
    struct fl_heap *heap = holder->heap;
    fli_registry_lock();
    fli_lock(&heap->backing.slabs.lock);
    pthread_barrier_wait(&holder->barrier);
    pthread_barrier_wait(&holder->barrier);
    fli_unlock(&heap->backing.slabs.lock);
    fli_registry_unlock();
    return NULL;
}

static void allocations_wait_for_no_lock(void **state)
{
    struct bed *bed = *state;
    struct holder holder = {.heap = bed->heap};
    pthread_t thread;
    reserve(bed->thread, &point, COUNT);
    pthread_barrier_init(&holder.barrier, NULL, 2);
    assert_int_equal(pthread_create(&thread, NULL, hold_locks, &holder), 0);
    pthread_barrier_wait(&holder.barrier);
    alarm(300); /* ends the test where one waits */
    allocate(bed->thread, &point, COUNT);
    alarm(0);
    pthread_barrier_wait(&holder.barrier);
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&holder.barrier);
    give_back(bed->thread, &point, COUNT);
}

static void a_second_call_adds_what_is_missing(void **state)
{
    struct bed *bed = *state;
    reserve(bed->thread, &point, COUNT);
    size_t cached = class_stats_of(bed->heap, point.size).cached;
    reserve(bed->thread, &point, COUNT);
    reserve(bed->thread, &point, 0);
    assert_int_equal(class_stats_of(bed->heap, point.size).cached, cached);
    allocate(bed->thread, &point, OTHER);
    reserve(bed->thread, &point, COUNT);
    assert_true(class_stats_of(bed->heap, point.size).cached >= COUNT);
    give_back(bed->thread, &point, OTHER);
}

static void it_ends_with_a_flush(void **state)
{
    struct bed *bed = *state;
    reserve(bed->thread, &point, COUNT);
    reserve(bed->thread, &pair, COUNT);
    fl_thread_flush(bed->thread);
    assert_int_equal(class_stats_of(bed->heap, point.size).cached, 0);
    assert_int_equal(class_stats_of(bed->heap, pair.size).cached, 0);
    reserve(bed->thread, &point, COUNT);
    fl_heap_flush_stopped(bed->heap);
    assert_int_equal(class_stats_of(bed->heap, point.size).cached, 0);
}

static void in_a_child_it_is_the_thread_s_that_has_forked(void **state)
{
    struct bed *bed = *state;
    reserve(bed->thread, &point, COUNT);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        refuses = true;
        for (unsigned i = 0; i < COUNT; i++)
            EXPECT(fl_type_alloc(bed->thread, &point) != NULL);
        refuses = false;
        EXPECT_SOUND(bed->heap);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void *fork_beside(void *argument)
{
    struct bed *bed = argument;
    pid_t child = fork();
    if (child == 0) {
        EXPECT_SOUND(bed->heap);
        EXPECT(class_stats_of(bed->heap, point.size).lost >= COUNT);
        _exit(0);
    }
    int status = -1;
    waitpid(child, &status, 0);
    return (void *)(intptr_t)status;
}

static void in_a_child_that_another_has_forked_it_is_lost(void **state)
{
    struct bed *bed = *state;
    pthread_t thread;
    void *status;
    reserve(bed->thread, &point, COUNT);
    assert_int_equal(pthread_create(&thread, NULL, fork_beside, bed), 0);
    assert_int_equal(pthread_join(thread, &status), 0);
    assert_null(status);
}

/* As if its thread was setting more of the class aside at that moment. */
static void in_a_child_it_is_lost_though_it_was_growing(void **state)
{
    struct bed *bed = *state;
    struct fli_owner *owner = &fli_thread_of(bed->thread)->owner;
    pthread_t thread;
    void *status;
    reserve(bed->thread, &point, COUNT);
    assert_true(fli_reserve_begin_owner(owner, point.class_index));
    assert_int_equal(pthread_create(&thread, NULL, fork_beside, bed), 0);
    assert_int_equal(pthread_join(thread, &status), 0);
    fli_reserve_begun_owner(owner, true);
    assert_null(status);
}

static void what_cannot_be_had_leaves_nothing_aside(void **state)
{
    (void)state;
    struct bed bed = bed_with(&(struct fl_options){.limit_bytes = (size_t)16 << 20});
    assert_int_equal(fl_thread_reserve(bed.thread, &point, (size_t)1 << 20), -ENOMEM);
    fl_thread_flush(bed.thread);
    void *list = exhaust(bed.thread, 1024);
    size_t bytes = 0;
    for (void *block = list; block != NULL; block = *(void **)block)
        bytes += 1024;
    assert_true(bytes > (size_t)8 << 20);
    free_list(bed.thread, list, 1024);
    end_bed(&bed);
}

/* It lies in the thread's cache when the second call fails. */
static void a_call_that_fails_leaves_what_was_aside_before(void **state)
{
    (void)state;
    struct bed bed = bed_with(&(struct fl_options){.limit_bytes = (size_t)16 << 20});
    reserve(bed.thread, &point, OTHER);
    allocate(bed.thread, &point, 1);
    assert_int_equal(fl_thread_reserve(bed.thread, &point, (size_t)1 << 20), -ENOMEM);
    assert_true(class_stats_of(bed.heap, point.size).cached >= OTHER - 1);
    give_back(bed.thread, &point, 1);
    end_bed(&bed);
}

/* A hardened heap sends home what is freed, so that it is one of many. */
static void what_is_freed_stays_whatever_other_threads_do(void **state)
{
    (void)state;
    struct bed bed = bed_with(&(struct fl_options){.limit_bytes = (size_t)16 << 20});
    for (unsigned realtime = 0; realtime < 2 && !is_hardened(); realtime++) {
        assert_int_equal(fl_thread_set_realtime(bed.thread, realtime == 1), 0);
        reserve(bed.thread, &point, COUNT);
        allocate(bed.thread, &point, COUNT);
        refuses = true;
        give_back(bed.thread, &point, COUNT);
        refuses = false;
        run_on_thread(trim_heap, bed.heap);
        struct fl_thread *other = fl_thread_attach(bed.heap);
        void *list = exhaust(other, point.size), *more = exhaust(other, 4096);
        assert_non_null(list);
        refuses = true;
        allocate(bed.thread, &point, COUNT);
        refuses = false;
        assert_sound(bed.heap);
        give_back(bed.thread, &point, COUNT);
        free_list(other, list, point.size);
        free_list(other, more, 4096);
        assert_int_equal(fl_thread_detach(other), 0);
    }
    end_bed(&bed);
}

/* ---- on_deferred inside the call. */

static struct {
    struct fl_thread *thread;
    unsigned calls;
    enum { RESERVES, FLUSHES, LEAVES } does;
    jmp_buf out;
} host;

static void act(struct fl_heap *heap, size_t bytes, void *context)
{
    (void)heap;
    (void)bytes;
    (void)context;
    if (host.calls++ > 0)
        return;
    if (host.does == RESERVES)
        reserve(host.thread, &pair, OTHER);
    else if (host.does == FLUSHES)
        fl_thread_flush(host.thread);
    else
        longjmp(host.out, 1);
}

/* More than there is room for, where the thread has deferred a block. */
static void reserve_too_much(struct bed *bed)
{
    host.thread = bed->thread;
    host.calls = 0;
    fl_free_deferred(bed->thread, fl_alloc(bed->thread, 1024), 1024);
    assert_int_equal(host.calls, 0);
    if (setjmp(host.out) == 0)
        assert_int_equal(fl_thread_reserve(bed->thread, &point, (size_t)1 << 20), -ENOMEM);
    assert_true(host.calls > 0);
}

static void a_callback_may_flush_reserve_or_leave_the_call(void **state)
{
    (void)state;
    struct played_host readers = {0};
    struct bed bed = bed_of_host(
        &readers, &(struct fl_options){.limit_bytes = (size_t)16 << 20, .defer_bytes = 1, .on_deferred = act});
    for (unsigned does = RESERVES; does <= LEAVES; does++) {
        reserve(bed.thread, &point, OTHER);
        host.does = does;
        reserve_too_much(&bed);
        struct fl_thread *other = fl_thread_attach(bed.heap);
        void *list = exhaust(other, point.size);
        if (does != FLUSHES) {
            allocate(bed.thread, &point, OTHER);
            give_back(bed.thread, &point, OTHER);
        }
        if (does == RESERVES) {
            allocate(bed.thread, &pair, OTHER);
            give_back(bed.thread, &pair, OTHER);
        }
        free_list(other, list, point.size);
        assert_int_equal(fl_thread_detach(other), 0);
        fl_thread_flush(bed.thread);
        assert_int_equal(class_stats_of(bed.heap, point.size).cached, 0);
        let_all_go(&readers, bed.thread);
    }
    end_bed(&bed);
}

/* One class cannot be had in this number: what the thread has of another stays aside, its caches included. */
static void it_is_not_taken_to_set_another_class_aside(void **state)
{
    (void)state;
    struct bed bed = bed_with(&(struct fl_options){.limit_bytes = (size_t)16 << 20});
    reserve(bed.thread, &point, COUNT);
    allocate(bed.thread, &point, 1);
    assert_int_equal(fl_thread_reserve(bed.thread, &pair, (size_t)1 << 20), -ENOMEM);
    give_back(bed.thread, &point, 1);
    struct fl_thread *other = fl_thread_attach(bed.heap);
    void *list = exhaust(other, point.size);
    assert_non_null(list);
    allocate(bed.thread, &point,
             COUNT - 1); /* in a hardened heap the other thread may have the block that was freed */
    give_back(bed.thread, &point, COUNT - 1);
    free_list(other, list, point.size);
    assert_int_equal(fl_thread_detach(other), 0);
    end_bed(&bed);
}

struct reader {
    struct fl_heap *heap;
    FLI_ATOMIC(bool) stop;
};

static void *read_statistics(void *argument)
{
    struct reader *reader = argument;
    while (!fli_load_hint(&reader->stop))
        (void)stats_of(reader->heap);
    return NULL;
}

/* The sanitizers' builds see to it. */
static void statistics_count_it_while_it_begins_and_ends(void **state)
{
    struct bed *bed = *state;
    struct reader reader = {.heap = bed->heap};
    pthread_t id;
    assert_int_equal(pthread_create(&id, NULL, read_statistics, &reader), 0);
    for (unsigned i = 0; i < OTHER; i++) {
        struct fl_thread *thread = fl_thread_attach(bed->heap);
        assert_non_null(thread);
        reserve(thread, &point, OTHER);
        fl_thread_flush(thread);
        reserve(thread, &pair, 1);
        assert_int_equal(fl_thread_detach(thread), 0);
    }
    fli_store_hint(&reader.stop, true);
    assert_int_equal(pthread_join(id, NULL), 0);
    assert_int_equal(class_stats_of(bed->heap, point.size).cached, 0);
}

static void others_are_refused(void **state)
{
    struct bed *bed = *state;
    assert_int_equal(fl_thread_reserve(bed->thread, &large, 1), -ENOTSUP);
    assert_int_equal(fl_thread_reserve(bed->thread, &unready, 1), -ENOTSUP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BED_TEST(allocations_succeed_where_the_os_refuses_everything),
        cmocka_unit_test(they_succeed_at_the_heap_s_limit),
        BED_TEST(no_trim_takes_it_from_a_thread_that_is_offline),
        BED_TEST(allocations_wait_for_no_lock),
        BED_TEST(a_second_call_adds_what_is_missing),
        BED_TEST(it_ends_with_a_flush),
        BED_TEST(in_a_child_it_is_the_thread_s_that_has_forked),
        BED_TEST(in_a_child_that_another_has_forked_it_is_lost),
        BED_TEST(in_a_child_it_is_lost_though_it_was_growing),
        cmocka_unit_test(what_cannot_be_had_leaves_nothing_aside),
        cmocka_unit_test(a_call_that_fails_leaves_what_was_aside_before),
        cmocka_unit_test(what_is_freed_stays_whatever_other_threads_do),
        cmocka_unit_test(a_callback_may_flush_reserve_or_leave_the_call),
        cmocka_unit_test(it_is_not_taken_to_set_another_class_aside),
        BED_TEST(statistics_count_it_while_it_begins_and_ends),
        BED_TEST(others_are_refused),
    };
    return cmocka_run_group_tests(tests, types_up, NULL);
}
