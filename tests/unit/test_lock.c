/* SPDX-License-Identifier: MIT */
#include "base/lock.h"
#include "support.h"

#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct fli_mutex early = FLI_MUTEX_INITIALIZER(FLI_RANK_TRIM), late = FLI_MUTEX_INITIALIZER(FLI_RANK_MEMORY);
static struct fli_mutex same = FLI_MUTEX_INITIALIZER(FLI_RANK_MEMORY);

static void in_order(void)
{
    fli_lock(&early);
    fli_assert_held(&early);
    fli_lock(&late);
    fli_unlock(&late);
    fli_unlock(&early);
    fli_lock(&early);
    fli_unlock(&early);
}

static void out_of_order(void)
{
    fli_lock(&late);
    fli_lock(&early);
}

static void two_of_a_rank(void)
{
    fli_lock(&late);
    fli_lock(&same);
}

static void two_of_a_rank_in_the_registrys_order(void)
{
    fli_lock(&late);
    fli_lock_next(&same);
    fli_unlock(&same);
    fli_unlock(&late);
}

static void tried_out_of_order(void)
{
    fli_lock(&late);
    if (!fli_trylock(&early))
        abort();
    fli_unlock(&early);
    fli_unlock(&late);
}

static void held_by_nobody(void)
{
    fli_assert_held(&early);
}

static void unlocked_by_another(void)
{
    fli_unlock(&early);
}

/* Whether the function ends a child. */
static bool aborts(void (*function)(void))
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(2);
        function();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) ? WTERMSIG(status) == SIGABRT : WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status);
}

static void locks_are_taken_in_the_order_of_ranks(void **state)
{
    (void)state;
    assert_false(aborts(in_order));
    assert_false(aborts(two_of_a_rank_in_the_registrys_order));
    assert_false(aborts(tried_out_of_order));
    if (!FLI_CHECKED)
        return; /* nobody looks */
    assert_true(aborts(out_of_order));
    assert_true(aborts(two_of_a_rank));
    assert_true(aborts(held_by_nobody));
    assert_true(aborts(unlocked_by_another));
}

/* ---- The thread that forks. */

/* A thread that takes a lock in the middle of a fork. */
struct taker {
    struct fli_mutex *mutex;
    unsigned char has_it;
};

static void *take(void *argument)
{
    struct taker *taker = argument;
    fli_lock(taker->mutex);
    __atomic_store_n(&taker->has_it, 1, __ATOMIC_RELAXED);
    fli_unlock(taker->mutex);
    return NULL;
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
}

static void a_lock_of_a_closed_rank_is_had_when_the_fork_is_over(void **state)
{
    (void)state;
    struct taker taker = {.mutex = &early};
    pthread_t thread;
    fli_lock_begin_fork();
    fli_lock_close(early.rank);
    fli_lock_await(&early);
    assert_int_equal(pthread_create(&thread, NULL, take, &taker), 0);
    nap();
    assert_false(fli_trylock(&early));
    assert_true(fli_trylock(&late)); /* a later rank, which is still open */
    fli_unlock(&late);
    assert_int_equal(__atomic_load_n(&taker.has_it, __ATOMIC_RELAXED), 0);
    fli_lock_end_fork();
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(taker.has_it, 1);
}

/* A thread that has a lock when a fork closes its rank. */
struct holder {
    struct fli_mutex *mutex;
    pthread_barrier_t has_it;
    unsigned char is_done;
};

static void *hold_a_while(void *argument)
{
    struct holder *holder = argument;
    fli_lock(holder->mutex);
    pthread_barrier_wait(&holder->has_it);
    nap();
    __atomic_store_n(&holder->is_done, 1, __ATOMIC_RELAXED);
    fli_unlock(holder->mutex);
    return NULL;
}

static void a_fork_waits_for_the_holder_of_a_lock(void **state)
{
    (void)state;
    struct holder holder = {.mutex = &late};
    pthread_t thread;
    pthread_barrier_init(&holder.has_it, NULL, 2);
    assert_int_equal(pthread_create(&thread, NULL, hold_a_while, &holder), 0);
    pthread_barrier_wait(&holder.has_it);
    fli_lock_begin_fork();
    fli_lock_close(late.rank);
    fli_lock_await(&late);
    assert_int_equal(__atomic_load_n(&holder.is_done, __ATOMIC_RELAXED), 1);
    fli_lock_end_fork();
    assert_int_equal(pthread_join(thread, NULL), 0);
    pthread_barrier_destroy(&holder.has_it);
}

/* A thread that has two locks, and one that waits for one of them, as long as the test wants. */
struct keeper {
    pthread_barrier_t has_them, lets_go;
};

static void *keep(void *argument)
{
    struct keeper *keeper = argument;
    fli_lock(&early);
    fli_lock(&late);
    pthread_barrier_wait(&keeper->has_them);
    pthread_barrier_wait(&keeper->lets_go);
    fli_unlock(&late);
    fli_unlock(&early);
    return NULL;
}

static void take_what_is_left(void *argument)
{
    (void)argument;
    EXPECT(!fli_trylock(&early) && !fli_trylock(&late));
    fli_lock_begin_fork();
    fli_lock_note_child();
    fli_lock_end_fork();
    fli_lock_await(&late);
    for (unsigned round = 0; round < 2; round++) {
        EXPECT(fli_trylock(&early));
        EXPECT(!fli_trylock(&early));
        fli_lock(&late);
        fli_unlock(&late);
        fli_unlock(&early);
    }
    fli_lock(&same);
    fli_lock_note_child();
    EXPECT(fli_trylock(&early)); /* nobody has had it since */
    fli_lock_keep_stw(&same);
    EXPECT(!fli_trylock(&same));
}

static void locks_that_another_process_holds_are_free(void **state)
{
    (void)state;
    struct keeper keeper;
    struct taker taker = {.mutex = &early};
    pthread_t threads[2];
    pthread_barrier_init(&keeper.has_them, NULL, 2);
    pthread_barrier_init(&keeper.lets_go, NULL, 2);
    assert_int_equal(pthread_create(&threads[0], NULL, keep, &keeper), 0);
    pthread_barrier_wait(&keeper.has_them);
    assert_int_equal(pthread_create(&threads[1], NULL, take, &taker), 0);
    nap();
    assert_child_succeeds(take_what_is_left, NULL);
    assert_false(fli_trylock(&late));
    pthread_barrier_wait(&keeper.lets_go);
    for (unsigned i = 0; i < COUNT_OF(threads); i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(taker.has_it, 1);
    pthread_barrier_destroy(&keeper.has_them);
    pthread_barrier_destroy(&keeper.lets_go);
}

/* ---- Conditions. */

static void a_wait_ends_at_its_time(void **state)
{
    (void)state;
    struct fli_condition condition = {0};
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec++;
    fli_lock(&early);
    while (fli_condition_wait_until(&condition, &early, &until))
        ;
    fli_unlock(&early);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    assert_true(now.tv_sec > until.tv_sec || (now.tv_sec == until.tv_sec && now.tv_nsec >= until.tv_nsec));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(locks_are_taken_in_the_order_of_ranks),
        cmocka_unit_test(a_lock_of_a_closed_rank_is_had_when_the_fork_is_over),
        cmocka_unit_test(a_fork_waits_for_the_holder_of_a_lock),
        cmocka_unit_test(locks_that_another_process_holds_are_free),
        cmocka_unit_test(a_wait_ends_at_its_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
