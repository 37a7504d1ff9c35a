/* SPDX-License-Identifier: MIT
 *
 * What one thread makes and another one uses, where nothing but the library orders the two: what the programs share that
 * try it. The first thread tells the second one by a relaxed store that it is done.
 */
#ifndef PASSED_H
#define PASSED_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(truth) ((truth) ? (void)0 : fail(__FILE__, __LINE__, #truth))

static inline void fail(const char *file, int line, const char *truth)
{
    fprintf(stderr, "%s:%d: %s\n", file, line, truth);
    abort();
}

/* Steps of a scenario, which order nothing. */
static _Atomic(int) step;

static inline void reach(int number)
{
    atomic_store_explicit(&step, number, memory_order_relaxed);
}

static inline void await(int number)
{
    while (atomic_load_explicit(&step, memory_order_relaxed) < number)
        sched_yield();
}

static inline void nothing(void)
{
}

/* What is done before the threads begin, and what each of them does. */
struct scenario {
    const char *name;
    void (*begin)(void), (*make)(void), (*use)(void);
};

static inline void *run(void *work)
{
    (*(void (*const *)(void))work)();
    return NULL;
}

/* Runs the scenario that the command line names, one of a table of `count`. Returns what main returns. */
static inline int run_scenario(const struct scenario *scenarios, size_t count, int argc, char **argv)
{
    for (size_t i = 0; i < count; i++) {
        pthread_t threads[2];
        if (argc != 2 || strcmp(argv[1], scenarios[i].name) != 0)
            continue;
        scenarios[i].begin();
        MUST(pthread_create(&threads[0], NULL, run, (void *)&scenarios[i].use) == 0);
        MUST(pthread_create(&threads[1], NULL, run, (void *)&scenarios[i].make) == 0);
        for (int j = 0; j < 2; j++)
            MUST(pthread_join(threads[j], NULL) == 0);
        return 0;
    }
    return 2;
}

#endif
