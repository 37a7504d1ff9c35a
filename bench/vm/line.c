/* SPDX-License-Identifier: MIT
 *
 * What an atomic addition costs on a cache line that one thread keeps, and on one that moves each time.
 *
 *     vm_line
 *
 * Prints one line of JSON, in nanoseconds per addition:
 *
 *     kept     no other thread uses the line
 *     moved    two threads add in turns, so each finds the line in the cache of the other one. It waits for its turn by
 *              reading, so a turn moves the line twice: it is read, and then written
 *
 * Both are the lowest of many brief bursts, because other programs may run meanwhile. A tenth of a second.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

enum { BURSTS = 200, TURNS = 2000 };

static _Alignas(128) atomic_ulong line;

static double seconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* All orders are relaxed: nothing but the number itself is passed on. */
static void add(void)
{
    atomic_fetch_add_explicit(&line, 1, memory_order_relaxed);
}

/* Adds whenever the number is `first`, `first` + 2, ... */
static void take_turns(unsigned long first)
{
    for (unsigned long turn = first; turn < BURSTS * TURNS; turn += 2) {
        while (atomic_load_explicit(&line, memory_order_relaxed) != turn)
            continue;
        add();
    }
}

static void *take_odd_turns(void *unused)
{
    take_turns(1);
    return unused;
}

/* The same for the even ones. Returns the seconds of the fastest burst. */
static double take_even_turns(void)
{
    double best = 1, before = seconds();
    for (unsigned long turn = 0; turn < BURSTS * TURNS; turn += 2) {
        while (atomic_load_explicit(&line, memory_order_relaxed) != turn)
            continue;
        if (turn % TURNS == 0 && turn > 0) {
            double now = seconds();
            best = now - before < best ? now - before : best;
            before = now;
        }
        add();
    }
    return best;
}

static double keep_the_line(void)
{
    double best = 1;
    for (unsigned burst = 0; burst < BURSTS; burst++) {
        double before = seconds();
        for (unsigned i = 0; i < TURNS; i++)
            add();
        double took = seconds() - before;
        best = took < best ? took : best;
    }
    return best;
}

int main(void)
{
    pthread_t other;
    double kept = keep_the_line();
    atomic_store_explicit(&line, 0, memory_order_relaxed);
    if (pthread_create(&other, NULL, take_odd_turns, NULL) != 0)
        return 1;
    double moved = take_even_turns();
    pthread_join(other, NULL);
    printf("{\"kept\": %.2f, \"moved\": %.2f}\n", kept / TURNS * 1e9, moved / TURNS * 1e9);
    return 0;
}
