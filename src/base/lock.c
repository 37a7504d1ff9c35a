/* SPDX-License-Identifier: MIT */
#include "base/lock.h"
#include "base/base.h"

#include <limits.h>
#include <sys/syscall.h>
#include <unistd.h>

FLI_ATOMIC(uintptr_t) fli_lock_holder;
FLI_ATOMIC(unsigned) fli_lock_gate;

/* Held by the thread that forks. Its rank does not matter: only its word is used. */
static struct fli_mutex fork_lock;

/* What fli_lock_hold_all was given, and its process. Only the thread that forks reads them. */
static pid_t holder_pid;
static void (*run_in_child)(void);

bool fli_lock_is_held(void)
{
    if (!fli_lock_is_forking())
        return false;
    if (getpid() != holder_pid)
        run_in_child();
    return fli_lock_is_forking();
}

/* ---- Words that threads wait for (U. Drepper, Futexes Are Tricky, 2011). */

/* A word is FREE, or the mark of the process that holds the lock (lock.h), or that and AWAITED: other threads may wait. */
enum { FREE = 0, AWAITED = 1 };

FLI_ATOMIC(uint32_t) fli_lock_forks;

/* Operations of futex(2). A C library may come without the kernel's headers. */
enum { OF_THIS_PROCESS = 128, WAIT_UNTIL = 9 | OF_THIS_PROCESS, WAKE = 1 | OF_THIS_PROCESS };

#define ANY_WAKER 0xffffffffu

/* Waits until the word is woken, but not if it has another value than `seen`. Returns early at signals, and at a time
 * of the monotonic clock if there is one. */
static void wait_for(FLI_ATOMIC(uint32_t) * word, uint32_t seen, const struct timespec *until)
{
    syscall(SYS_futex, word, WAIT_UNTIL, seen, until, NULL, ANY_WAKER);
}

static void wake(FLI_ATOMIC(uint32_t) * word, int most)
{
    syscall(SYS_futex, word, WAKE, most, NULL, NULL, 0);
}

/* Takes a lock if its word is `word`, which says that it is free. Returns what the word was. */
static uint32_t take_free_word(struct fli_mutex *mutex, uint32_t word)
{
    /* K1: seq_cst, pairs with K4 in fli_lock_await, and with K6 in release_word: what was done under the lock.
     * Failure: relaxed, nothing is read then. */
    (void)fli_cas_strong(&mutex->word, &word, fli_lock_mark(), memory_order_seq_cst, memory_order_relaxed);
    return word;
}

static bool try_word(struct fli_mutex *mutex)
{
    uint32_t word = take_free_word(mutex, FREE);
    return FLI_LIKELY(word == FREE) || (fli_lock_is_free(word) && take_free_word(mutex, word) == word);
}

FLI_COLD static void wait_for_word(struct fli_mutex *mutex)
{
    uint32_t awaited = fli_lock_mark() | AWAITED, word;
    /* K7: seq_cst, pairs with K4 and K6: what was done under the lock. */
    while (!fli_lock_is_free(word = fli_exchange(&mutex->word, awaited, memory_order_seq_cst)))
        wait_for(&mutex->word, awaited, NULL);
}

static void take_word(struct fli_mutex *mutex)
{
    if (FLI_UNLIKELY(!try_word(mutex)))
        wait_for_word(mutex);
}

static void release_word(struct fli_mutex *mutex)
{
    /* K6: release, pairs with K1, K4 and K7: what was done under the lock. */
    if (FLI_UNLIKELY((fli_exchange(&mutex->word, FREE, memory_order_release) & AWAITED) != 0))
        wake(&mutex->word, 1);
}

/* ---- Checked builds: owners and ranks. */

/* How many locks of each rank the calling thread holds. */
static __thread unsigned held[FLI_CHECKED ? FLI_RANKS : 1];

static void note_taken(struct fli_mutex *mutex)
{
    if (!FLI_CHECKED)
        return;
    fli_store_own(&mutex->owner, (uintptr_t)pthread_self());
    held[mutex->rank]++;
}

static void note_released(struct fli_mutex *mutex)
{
    if (!FLI_CHECKED)
        return;
    fli_assert_held(mutex);
    fli_store_own(&mutex->owner, 0);
    held[mutex->rank]--;
}

/* Asserts that the calling thread holds no lock of rank `rank` or later. */
static void assert_order(unsigned rank)
{
    for (; FLI_CHECKED && rank < FLI_RANKS; rank++)
        FLI_ASSERT(held[rank] == 0);
}

/* ---- Locks. */

static void lock_in_order(struct fli_mutex *mutex, unsigned rank)
{
    if (fli_lock_is_held())
        return;
    assert_order(rank);
    take_word(mutex);
    while (FLI_UNLIKELY(fli_lock_is_closed(mutex->rank))) {
        release_word(mutex);
        fli_lock_wait_for_fork(mutex->rank);
        take_word(mutex);
    }
    note_taken(mutex);
}

void fli_lock(struct fli_mutex *mutex)
{
    lock_in_order(mutex, mutex->rank);
}

void fli_lock_next(struct fli_mutex *mutex)
{
    lock_in_order(mutex, mutex->rank + 1);
}

bool fli_trylock(struct fli_mutex *mutex)
{
    if (fli_lock_is_held())
        return true;
    if (!try_word(mutex))
        return false;
    if (FLI_UNLIKELY(fli_lock_is_closed(mutex->rank))) {
        release_word(mutex);
        return false;
    }
    note_taken(mutex);
    return true;
}

void fli_unlock(struct fli_mutex *mutex)
{
    if (fli_lock_is_forking())
        return;
    note_released(mutex);
    release_word(mutex);
}

/* ---- Conditions. */

static void wait_for_change(struct fli_condition *condition, struct fli_mutex *mutex, const struct timespec *until)
{
    uint32_t seen = fli_load_own(&condition->changes); /* it changes only under the lock */
    fli_unlock(mutex);
    wait_for(&condition->changes, seen, until);
    fli_lock(mutex);
}

void fli_condition_wait(struct fli_condition *condition, struct fli_mutex *mutex)
{
    wait_for_change(condition, mutex, NULL);
}

bool fli_condition_wait_until(struct fli_condition *condition, struct fli_mutex *mutex, const struct timespec *until)
{
    struct timespec now;
    wait_for_change(condition, mutex, until);
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec != until->tv_sec ? now.tv_sec < until->tv_sec : now.tv_nsec < until->tv_nsec;
}

void fli_condition_signal(struct fli_condition *condition)
{
    fli_count(&condition->changes, 1);
    wake(&condition->changes, INT_MAX);
}

/* ---- The thread that forks. */

bool fli_lock_wait_for_fork(enum fli_rank rank)
{
    if (!fli_lock_is_closed(rank) || fli_lock_is_forking())
        return false;
    take_word(&fork_lock);
    release_word(&fork_lock);
    return true;
}

void fli_lock_begin_fork(void)
{
    take_word(&fork_lock);
}

void fli_lock_close(enum fli_rank rank)
{
    /* K3: seq_cst, pairs with K2 in fli_lock_is_closed. */
    fli_store_order(&fli_lock_gate, (unsigned)rank, memory_order_seq_cst);
}

void fli_lock_await(struct fli_mutex *mutex)
{
    /* K4: seq_cst, pairs with K1, K6 and K7: what was done under the lock. */
    while (fli_load_order(&mutex->word, memory_order_seq_cst) != FREE) {
        take_word(mutex);
        release_word(mutex);
    }
}

void fli_lock_hold_all(void (*in_child)(void))
{
    holder_pid = getpid();
    run_in_child = in_child;
    fli_store_own(&fli_lock_holder, (uintptr_t)pthread_self());
}

void fli_lock_note_child(void)
{
    holder_pid = getpid();
    fli_count(&fli_lock_forks, 2u);
    if (fli_lock_mark() == FREE) /* after 2^31 - 1 forks, each in the child of the one before */
        fli_count(&fli_lock_forks, 2u);
    fli_lock_keep_stw(&fork_lock);
}

void fli_lock_keep_stw(struct fli_mutex *mutex)
{
    fli_store_own(&mutex->word, fli_lock_mark());
}

void fli_lock_free_stw(struct fli_mutex *mutex)
{
    if (fli_load_own(&mutex->word) != FREE)
        fli_store_own(&mutex->word, FREE);
}

void fli_lock_release_all(void)
{
    fli_store_own(&fli_lock_holder, 0);
}

void fli_lock_end_fork(void)
{
    /* K5: release, pairs with K2 in fli_lock_is_closed: what the fork has changed. A later K3 comes after it. */
    fli_store_release(&fli_lock_gate, 0);
    release_word(&fork_lock);
}
