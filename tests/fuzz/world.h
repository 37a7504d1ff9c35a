/* SPDX-License-Identifier: MIT
 *
 * What a fuzzed program stands on: a clock that only the program moves, memory that the OS refuses when the program says
 * so, grace periods that end when the program says so, a second OS thread that takes turns with the first one, and
 * misuse that is fatal unless it was asked for. So a program does the same each time it runs.
 *
 * Links with -Wl,--wrap=mmap -Wl,--wrap=mprotect -Wl,--wrap=munmap -Wl,--wrap=madvise -Wl,--wrap=clock_gettime.
 */
#ifndef FUZZ_WORLD_H
#define FUZZ_WORLD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <freelane/object.h>

/* Ends the process with a line on stderr unless the condition holds. */
#define FUZZ_REQUIRE(condition, ...)                                                                                 \
    do {                                                                                                             \
        if (!(condition)) {                                                                                          \
            fprintf(stderr, "%s:%d: not so: %s: ", __FILE__, __LINE__, #condition);                                  \
            fprintf(stderr, __VA_ARGS__);                                                                            \
            fputc('\n', stderr);                                                                                     \
            abort();                                                                                                 \
        }                                                                                                            \
    } while (0)

enum { MAIN, WORKER, OS_THREADS };

struct world {
    uint64_t now_ns;   /* the clock: a look at it takes ten microseconds */
    bool refuses;      /* the OS refuses memory and address space */
    bool keeps;        /* the OS refuses to take memory back */
    int64_t begun;     /* the token of the grace period that began last */
    int64_t ended;     /* of the last one that has ended */
    int begin_refusal; /* what `begin` returns instead, a negative errno value */
    unsigned misuses;  /* how often the library has told of misuse */
    bool expects;      /* misuse is no error now */
    bool has_worker;
};

extern struct world world;

/* The grace periods of the world: with and without a `wait`. */
extern const struct fl_grace_host world_grace[2];

/* Makes the world new. */
void world_begin(void);
/* Ends what is left of it: the worker. */
void world_end(void);

/* Calls `body` on an OS thread of the world, and returns once it has returned. Starts the worker where there is none. */
void world_run(unsigned os_thread, void (*body)(void *), void *argument);

/* Lets the worker exit, if there is one. */
void world_end_worker(void);

/* From now on misuse is expected. */
void world_expect(void);
/* The misuse that was expected has been told, once. */
void world_expected(const char *call);

#endif
