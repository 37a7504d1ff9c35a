/* SPDX-License-Identifier: MIT
 *
 * What the tests of grace periods share: a host whose grace periods end when the test says so, readers that linger on
 * threads of their own, and what has been submitted.
 */
#ifndef TESTS_GRACE_SUPPORT_H
#define TESTS_GRACE_SUPPORT_H

#include "support.h"

#include <dirent.h>
#include <semaphore.h>
#include <sys/prctl.h>
#include <time.h>

#include "heap/thread.h"

/* ---- A host's own grace periods. */

struct played_host {
    int64_t begun, ended; /* numbers of grace periods */
    int refusal;          /* what begin returns instead, a negative errno value */
    unsigned waits;       /* calls of wait, which ends what it waits for */
};

static inline int64_t played_begin(void *context)
{
    struct played_host *host = context;
    return host->refusal != 0 ? host->refusal : __atomic_add_fetch(&host->begun, 1, __ATOMIC_RELAXED);
}

static inline bool played_elapsed(void *context, int64_t token)
{
    return __atomic_load_n(&((struct played_host *)context)->ended, __ATOMIC_ACQUIRE) >= token;
}

static inline void played_wait(void *context, int64_t token)
{
    struct played_host *host = context;
    host->waits++;
    if (host->ended < token)
        host->ended = token;
}

/* All grace periods that have begun end. */
static inline void end_periods(struct played_host *host)
{
    __atomic_store_n(&host->ended, host->begun, __ATOMIC_RELEASE);
}

/* Ends grace periods, and lets the heap see it, until nothing waits. */
static inline void let_all_go(struct played_host *host, struct fl_thread *thread)
{
    for (unsigned i = 0; i < 4; i++) {
        end_periods(host);
        fl_quiescent(thread);
    }
}

static inline struct bed bed_of_host(struct played_host *host, const struct fl_options *options)
{
    struct fl_grace_host calls = {.begin = played_begin, .elapsed = played_elapsed, .context = host};
    struct fl_options all = options != NULL ? *options : (struct fl_options){0};
    all.grace = FL_GRACE_HOST;
    all.grace_host = &calls;
    return bed_with(&all);
}

static inline struct bed bed_of(enum fl_grace grace)
{
    return bed_with(&(struct fl_options){.grace = grace});
}

/* ---- Deferring. */

static inline size_t submitted_bytes(struct fl_heap *heap)
{
    return fli_load_relaxed(&heap->deferred.bytes);
}

static inline void defer_many(struct fl_thread *thread, size_t size, size_t count, void *const *blocks)
{
    for (size_t i = 0; i < count; i++)
        fl_free_deferred(thread, blocks[i], size);
}

/* Allocates blocks and defers them. */
static inline void defer_some(struct fl_thread *thread, size_t size, size_t count)
{
    void **blocks = calloc(count, sizeof *blocks);
    assert_non_null(blocks);
    assert_int_equal(fl_alloc_many(thread, size, count, blocks), 0);
    defer_many(thread, size, count, blocks);
    free(blocks);
}

static inline bool is_among(const void *block, void *const *blocks, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (blocks[i] == block)
            return true;
    return false;
}

/* ---- Readers that linger. */

static inline void wait_for_post(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0)
        ;
}

static inline void sleep_ms(unsigned milliseconds)
{
    struct timespec time = {.tv_sec = milliseconds / 1000, .tv_nsec = (long)(milliseconds % 1000) * 1000000};
    while (nanosleep(&time, &time) != 0)
        ;
}

/* A thread that reads: it has a pointer that it read without a lock, until it is told to let go. */
struct lingerer {
    struct fl_heap *heap;
    enum fl_grace grace;
    const char *name;
    struct fl_thread *handle;
    pthread_t thread;
    sem_t inside, leave;
};

static inline void *linger(void *argument)
{
    struct lingerer *lingerer = argument;
    if (lingerer->name != NULL)
        prctl(PR_SET_NAME, lingerer->name);
    lingerer->handle = fl_thread_attach(lingerer->heap);
    if (lingerer->grace == FL_GRACE_BP)
        fl_read_lock(lingerer->handle);
    sem_post(&lingerer->inside);
    wait_for_post(&lingerer->leave);
    if (lingerer->grace == FL_GRACE_BP)
        fl_read_unlock(lingerer->handle);
    fl_thread_detach(lingerer->handle);
    return NULL;
}

static inline void begin_lingering(struct lingerer *lingerer, struct fl_heap *heap, enum fl_grace grace)
{
    lingerer->heap = heap;
    lingerer->grace = grace;
    assert_int_equal(sem_init(&lingerer->inside, 0, 0), 0);
    assert_int_equal(sem_init(&lingerer->leave, 0, 0), 0);
    assert_int_equal(pthread_create(&lingerer->thread, NULL, linger, lingerer), 0);
    wait_for_post(&lingerer->inside);
}

static inline void end_lingering(struct lingerer *lingerer)
{
    assert_int_equal(sem_post(&lingerer->leave), 0);
    assert_int_equal(pthread_join(lingerer->thread, NULL), 0);
    sem_destroy(&lingerer->inside);
    sem_destroy(&lingerer->leave);
}

/* ---- Threads of the process. */

static inline unsigned count_tasks(void)
{
    unsigned count = 0;
    DIR *directory = opendir("/proc/self/task");
    assert_non_null(directory);
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(directory);
    return count;
}

#endif
