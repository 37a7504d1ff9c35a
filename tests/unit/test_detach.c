/* SPDX-License-Identifier: MIT
 *
 * Handles that another thread detaches, while the OS thread they are bound to waits or exits, and while others walk
 * over the handles of the heap.
 */
#include "grace_support.h"

enum { SIZE = 64, HANDLES = 8, ROUNDS = 200 };

/* An OS thread with handles that nothing uses, each of which has deferred a block. */
struct owner {
    struct fl_heap *heap;
    struct fl_thread *handles[HANDLES];
    pthread_t thread;
    sem_t ready, go;
};

static void attach_all(struct owner *owner)
{
    for (size_t i = 0; i < HANDLES; i++) {
        owner->handles[i] = fl_thread_attach(owner->heap);
        assert_non_null(owner->handles[i]);
        defer_some(owner->handles[i], SIZE, 1);
    }
    sem_post(&owner->ready);
}

static void start(struct owner *owner, struct fl_heap *heap, void *(*body)(void *))
{
    *owner = (struct owner){.heap = heap};
    assert_int_equal(sem_init(&owner->ready, 0, 0), 0);
    assert_int_equal(sem_init(&owner->go, 0, 0), 0);
    assert_int_equal(pthread_create(&owner->thread, NULL, body, owner), 0);
    wait_for_post(&owner->ready);
}

static void let_go(struct owner *owner)
{
    sem_post(&owner->go);
    assert_int_equal(pthread_join(owner->thread, NULL), 0);
    sem_destroy(&owner->ready);
    sem_destroy(&owner->go);
}

static void *attach_and_exit(void *argument)
{
    struct owner *owner = argument;
    attach_all(owner);
    wait_for_post(&owner->go);
    return NULL;
}

/* ---- Beside walks. */

/* Of the two barriers of a round the first runs while the handles are detached. */
static void *attach_and_wait(void *argument)
{
    struct owner *owner = argument;
    struct fl_thread *mine = fl_thread_attach(owner->heap);
    for (unsigned round = 0; round < ROUNDS; round++) {
        attach_all(owner);
        assert_int_equal(fl_heap_barrier(owner->heap), 0);
        wait_for_post(&owner->go);
        assert_int_equal(fl_heap_barrier(owner->heap), 0);
    }
    fl_thread_detach(mine);
    return NULL;
}

static void handles_can_be_detached_while_their_thread_waits(void **state)
{
    (void)state;
    struct bed bed = bed_of(FL_GRACE_BP);
    struct owner owner;
    start(&owner, bed.heap, attach_and_wait);
    for (unsigned round = 0; round < ROUNDS; round++) {
        if (round > 0)
            wait_for_post(&owner.ready);
        for (size_t i = 0; i < HANDLES; i++) {
            assert_int_equal(fl_thread_detach(owner.handles[i]), 0);
            assert_true(stats_of(bed.heap).threads <= HANDLES + 2);
        }
        if (round < ROUNDS - 1)
            sem_post(&owner.go);
    }
    let_go(&owner);
    assert_int_equal(fl_heap_barrier(bed.heap), 0);
    assert_int_equal(stats_of(bed.heap).deferred_bytes, 0);
    end_bed(&bed);
}

static void *walk(void *argument)
{
    struct owner *owner = argument;
    sem_post(&owner->ready);
    while (sem_trywait(&owner->go) != 0) {
        assert_true(stats_of(owner->heap).threads <= 2 * HANDLES + 2);
        fl_heap_trim(owner->heap, 0);
    }
    return NULL;
}

static void threads_may_exit_while_others_walk_over_their_handles(void **state)
{
    (void)state;
    struct bed bed = bed_of(FL_GRACE_BP);
    struct owner walker;
    start(&walker, bed.heap, walk);
    for (unsigned round = 0; round < ROUNDS / 4; round++) {
        struct owner owners[2];
        for (size_t i = 0; i < COUNT_OF(owners); i++)
            start(&owners[i], bed.heap, attach_and_exit);
        for (size_t i = 0; i < COUNT_OF(owners); i++)
            let_go(&owners[i]);
    }
    let_go(&walker);
    assert_int_equal(stats_of(bed.heap).threads, 1);
    assert_int_equal(fl_heap_barrier(bed.heap), 0);
    end_bed(&bed);
}

/* ---- In the middle of a detach, which tells of pressure. */

struct interrupted {
    struct bed bed;
    struct owner owner;
    void (*then)(struct interrupted *self);
    unsigned calls;
};

static void interrupt(struct fl_heap *heap, size_t bytes, void *context)
{
    (void)heap, (void)bytes;
    struct interrupted *self = context;
    if (self->calls++ == 0)
        self->then(self);
}

/* Detaches a handle of another thread, and does `then` in the middle. */
static void interrupt_detach(void (*then)(struct interrupted *self))
{
    struct played_host host = {0};
    struct interrupted self = {.then = then};
    self.bed = bed_of_host(
        &host, &(struct fl_options){.defer_bytes = HANDLES * SIZE, .on_deferred = interrupt, .context = &self});
    start(&self.owner, self.bed.heap, attach_and_exit);
    defer_some(self.owner.handles[0], SIZE, HANDLES);
    assert_int_equal(fl_thread_detach(self.owner.handles[0]), 0);
    assert_int_equal(self.calls, 1);
    if (self.owner.thread != 0)
        let_go(&self.owner);
    assert_int_equal(stats_of(self.bed.heap).threads, 1);
    let_all_go(&host, self.bed.thread);
    assert_int_equal(stats_of(self.bed.heap).live_blocks, 0);
    end_bed(&self.bed);
}

static void let_the_thread_exit(struct interrupted *self)
{
    let_go(&self->owner);
    self->owner.thread = 0;
    assert_int_equal(stats_of(self->bed.heap).threads, 2);
}

static void a_thread_may_exit_while_another_detaches_its_handle(void **state)
{
    (void)state;
    interrupt_detach(let_the_thread_exit);
}

static pid_t forked;

static void fork_and_go_on(struct interrupted *self)
{
    (void)self;
    forked = fork();
    assert_true(forked >= 0);
}

static void the_detaching_thread_may_fork(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct interrupted self = {.then = fork_and_go_on};
    self.bed = bed_of_host(
        &host, &(struct fl_options){.defer_bytes = HANDLES * SIZE, .on_deferred = interrupt, .context = &self});
    start(&self.owner, self.bed.heap, attach_and_exit);
    defer_some(self.owner.handles[0], SIZE, HANDLES);
    int result = fl_thread_detach(self.owner.handles[0]);
    if (forked == 0) {
        /* The other handles of the other thread are gone. */
        EXPECT(result == 0 && stats_of(self.bed.heap).threads == 1);
        EXPECT_SOUND(self.bed.heap);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(forked, &status, 0), forked);
    assert_int_equal(status, 0);
    assert_int_equal(result, 0);
    let_go(&self.owner);
    let_all_go(&host, self.bed.thread);
    end_bed(&self.bed);
}

static void detach_again(struct interrupted *self)
{
    fl_set_misuse_handler(record_misuse);
    misuse.count = 0;
    assert_int_equal(fl_thread_detach(self->owner.handles[0]), -EINVAL);
    assert_misuse("fl_thread_detach", self->owner.handles[0], "is being detached already");
    fl_set_misuse_handler(NULL);
}

static void a_handle_that_is_being_detached_cannot_be_detached(void **state)
{
    (void)state;
    interrupt_detach(detach_again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handles_can_be_detached_while_their_thread_waits),
        cmocka_unit_test(threads_may_exit_while_others_walk_over_their_handles),
        cmocka_unit_test(a_thread_may_exit_while_another_detaches_its_handle),
        cmocka_unit_test(the_detaching_thread_may_fork),
        cmocka_unit_test(a_handle_that_is_being_detached_cannot_be_detached),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
