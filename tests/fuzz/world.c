/* SPDX-License-Identifier: MIT */
#include "world.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { LOOK_NS = 10000, BEGIN_NS = 1000000000 };

struct world world;

/* ---- The OS. */

static bool is_in_program;

void *__real_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset);
int __real_mprotect(void *address, size_t length, int protection);
int __real_munmap(void *address, size_t length);
int __real_madvise(void *address, size_t length, int advice);
int __real_clock_gettime(clockid_t clock, struct timespec *time);
void *__wrap_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset);
int __wrap_mprotect(void *address, size_t length, int protection);
int __wrap_munmap(void *address, size_t length);
int __wrap_madvise(void *address, size_t length, int advice);
int __wrap_clock_gettime(clockid_t clock, struct timespec *time);

void *__wrap_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset)
{
    if (!world.refuses)
        return __real_mmap(address, length, protection, flags, file, offset);
    errno = ENOMEM;
    return MAP_FAILED;
}

int __wrap_mprotect(void *address, size_t length, int protection)
{
    if (!world.refuses)
        return __real_mprotect(address, length, protection);
    errno = ENOMEM;
    return -1;
}

int __wrap_munmap(void *address, size_t length)
{
    if (!world.keeps)
        return __real_munmap(address, length);
    errno = ENOMEM;
    return -1;
}

int __wrap_madvise(void *address, size_t length, int advice)
{
    if (!world.keeps)
        return __real_madvise(address, length, advice);
    errno = ENOMEM;
    return -1;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *time)
{
    if (!is_in_program || (clock != CLOCK_MONOTONIC && clock != CLOCK_MONOTONIC_COARSE))
        return __real_clock_gettime(clock, time);
    world.now_ns += LOOK_NS;
    time->tv_sec = (time_t)(world.now_ns / 1000000000);
    time->tv_nsec = (long)(world.now_ns % 1000000000);
    return 0;
}

/* ---- Grace periods. */

static int64_t begin_grace(void *context)
{
    (void)context;
    return world.begin_refusal != 0 ? world.begin_refusal : ++world.begun;
}

static bool elapsed_grace(void *context, int64_t token)
{
    (void)context;
    return token <= world.ended;
}

static void wait_grace(void *context, int64_t token)
{
    (void)context;
    world.ended = token > world.ended ? token : world.ended;
}

const struct fl_grace_host world_grace[2] = {
    {.begin = begin_grace, .elapsed = elapsed_grace, .wait = wait_grace},
    {.begin = begin_grace, .elapsed = elapsed_grace},
};

/* ---- Misuse. */

static void see_misuse(const struct fl_misuse *misuse)
{
    FUZZ_REQUIRE(world.expects, "%s", misuse->message);
    world.misuses++;
}

void world_expect(void)
{
    world.misuses = 0;
    world.expects = true;
}

void world_expected(const char *call)
{
    world.expects = false;
    FUZZ_REQUIRE(world.misuses == 1, "misuse of %s was told %u times", call, world.misuses);
}

/* ---- The worker. */

static struct {
    pthread_t thread;
    sem_t go, done;
    void (*body)(void *); /* NULL: the worker exits */
    void *argument;
} worker;

static __thread bool is_worker;

static void wait_for(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0)
        ;
}

static void *work(void *argument)
{
    (void)argument;
    is_worker = true;
    for (wait_for(&worker.go); worker.body != NULL; wait_for(&worker.go)) {
        worker.body(worker.argument);
        sem_post(&worker.done);
    }
    return NULL;
}

static void start_worker(void)
{
    bool refuses = world.refuses;
    world.refuses = false;
    sem_init(&worker.go, 0, 0);
    sem_init(&worker.done, 0, 0);
    FUZZ_REQUIRE(pthread_create(&worker.thread, NULL, work, NULL) == 0, "no thread");
    world.refuses = refuses;
    world.has_worker = true;
}

void world_run(unsigned os_thread, void (*body)(void *), void *argument)
{
    if ((os_thread == WORKER) == is_worker) {
        body(argument);
        return;
    }
    if (!world.has_worker)
        start_worker();
    worker.body = body;
    worker.argument = argument;
    sem_post(&worker.go);
    wait_for(&worker.done);
}

void world_end_worker(void)
{
    if (!world.has_worker)
        return;
    worker.body = NULL;
    sem_post(&worker.go);
    pthread_join(worker.thread, NULL);
    sem_destroy(&worker.go);
    sem_destroy(&worker.done);
    world.has_worker = false;
}

/* ---- Begin and end. */

void world_begin(void)
{
    world = (struct world){.now_ns = BEGIN_NS};
    is_in_program = true;
    fl_set_misuse_handler(see_misuse);
}

void world_end(void)
{
    world_end_worker();
    fl_set_misuse_handler(NULL);
    is_in_program = false;
}
