/* SPDX-License-Identifier: MIT
 *
 * What the stress programs share: the command line, random numbers, payload patterns, failure reports, workers and
 * the checks that every program ends with.
 *
 * Every program takes
 *
 *     --threads N    worker threads
 *     --seconds S    how long to run
 *     --minutes M    the same in minutes
 *     --seed X       repeats a run's random choices; printed at the start of each run
 *     --smoke        a run of about a second, for ctest
 *     --grace G      bp, qsbr or host: the grace periods, in programs that have the choice
 *
 * and exits 0, or reports the first thing wrong together with the seed and the command that repeats it, and aborts.
 */
#ifndef FREELANE_STRESS_H
#define FREELANE_STRESS_H

#include <freelane/freelane.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#if defined(__has_feature)
#define STRESS_HAS_FEATURE(x) __has_feature(x)
#else
#define STRESS_HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || STRESS_HAS_FEATURE(address_sanitizer)
#define STRESS_ADDRESS_SANITIZED 1
#else
#define STRESS_ADDRESS_SANITIZED 0
#endif
#if defined(__SANITIZE_THREAD__) || STRESS_HAS_FEATURE(thread_sanitizer)
#define STRESS_THREAD_SANITIZED 1
#else
#define STRESS_THREAD_SANITIZED 0
#endif
#define STRESS_SANITIZED (STRESS_ADDRESS_SANITIZED || STRESS_THREAD_SANITIZED)

/* ---- Command line and reports --------------------------------------------------------------------------- */

struct stress_args {
    const char *program;
    unsigned threads;
    double seconds;
    uint64_t seed;
    bool smoke;
    enum fl_grace grace;
};

/* An option of one program alone: a number of at least 1. */
struct stress_option {
    const char *name; /* "--born" */
    unsigned *value;
};

/* stress_parse for a program with `count` options of its own. */
struct stress_args stress_parse_with(int argc, char **argv, const char *program, const struct stress_option *options,
                                     unsigned count);

/* Reads the command line over the defaults (4 threads, 30 seconds, a seed from the system, bp) and prints the run's
 * parameters. Exits with status 2 if it makes no sense. */
struct stress_args stress_parse(int argc, char **argv, const char *program);

/* Reports a failure with the program's name and seed, and aborts. */
__attribute__((noreturn, format(printf, 1, 2))) void stress_fail(const char *format, ...);

/* Fails with the text of the condition unless it holds. */
#define STRESS_REQUIRE(condition)                                                                                    \
    do {                                                                                                             \
        if (!(condition))                                                                                            \
            stress_fail("%s:%d: not so: %s", __FILE__, __LINE__, #condition);                                        \
    } while (0)

double stress_now(void); /* seconds on the monotonic clock */

/* ---- Random numbers --------------------------------------------------------------------------------------- */

struct stress_rng {
    uint64_t state;
};

/* Stream `stream` of the run's seed. */
struct stress_rng stress_rng_make(uint64_t seed, uint64_t stream);
uint64_t stress_random(struct stress_rng *rng);
uint64_t stress_below(struct stress_rng *rng, uint64_t bound); /* uniform in [0, bound) */

static inline bool stress_one_in(struct stress_rng *rng, uint64_t n)
{
    return stress_below(rng, n) == 0;
}

/* A block size: mostly small, every power of two equally likely, now and then 0, FL_BLOCK_MAX or above it. */
size_t stress_size(struct stress_rng *rng);

/* ---- Payloads --------------------------------------------------------------------------------------------- */

/* Fills all `size` bytes with a pattern that `key` determines; each word depends on its position too. */
void stress_fill(void *block, size_t size, uint64_t key);

/* Fails unless all `size` bytes still are as stress_fill left them. */
void stress_verify(const void *block, size_t size, uint64_t key);

/* A key no other call returns: the worker's number and its sequence. */
static inline uint64_t stress_key(unsigned owner, uint64_t sequence)
{
    return ((uint64_t)owner + 1) << 48 ^ sequence;
}

/* ---- Blocks that carry their pattern with them -------------------------------------------------------------- */

/* A filled block: what is needed to verify and free it. */
struct stress_block {
    void *block;
    size_t size;  /* as allocated */
    size_t bytes; /* filled: `size`, or all that is usable */
    uint64_t key;
};

/* Allocates and fills; fails the run if memory is refused. */
struct stress_block stress_block_make(struct fl_thread *thread, size_t size, uint64_t key);
void stress_block_verify(const struct stress_block *block);
/* Verifies, then frees by fl_free_sized, fl_free or fl_heap_free as `rng` chooses. */
void stress_block_drop(struct fl_thread *thread, struct stress_block *block, struct stress_rng *rng);

/* ---- Workers ---------------------------------------------------------------------------------------------- */

struct stress_worker {
    unsigned index;
    struct stress_rng rng;
    void *shared;
    pthread_t id;
};

/* Runs `body` on args->threads workers; stress_stopped turns true after args->seconds, for good. Returns when all are
 * done. */
void stress_run(const struct stress_args *args, void (*body)(struct stress_worker *), void *shared);
bool stress_stopped(void);

void stress_thread_start(pthread_t *id, void *(*body)(void *), void *argument);
void stress_thread_join(pthread_t id);

/* ---- Heaps ------------------------------------------------------------------------------------------------ */

struct fl_heap *stress_heap_create(const struct fl_options *options);
struct fl_thread *stress_attach(struct fl_heap *heap);
void stress_detach(struct fl_thread *thread);

/* Fails unless the equations of struct fl_class_stats and struct fl_stats hold, as they do at any time. */
void stress_stats_check(const struct fl_stats *stats);

/* Fails unless fl_heap_check passes and the equations of struct fl_class_stats and struct fl_stats hold. The heap
 * is quiet. */
void stress_heap_check(struct fl_heap *heap);

/* Fails unless a barrier succeeds and leaves nothing deferred. No thread defers meanwhile. */
void stress_barrier(struct fl_heap *heap);

/* The end of a heap whose blocks were all freed, with none deferred, and whose threads are all detached: checks it,
 * requires that nothing is live, cached or lost, trims it to nothing, checks it again and destroys it. */
void stress_heap_finish(struct fl_heap *heap);

/* ---- Children --------------------------------------------------------------------------------------------- */

enum { STRESS_CHILD_SECONDS = 60 };

/* Waits for a forked child. Fails if it does not exit with 0 within STRESS_CHILD_SECONDS. */
void stress_child_await(pid_t pid);

#endif
