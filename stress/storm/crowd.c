/* SPDX-License-Identifier: MIT
 *
 * Two crowds. Of the first, all threads are alive at the same time, and each uses a heap before, while and after. Of the
 * second, each thread is born, allocates, frees what others have left, and exits: the heap does not grow by them.
 */
#include "storm.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Frames of sanitized programs are larger. */
enum {
    STACK_BYTES = STRESS_SANITIZED ? 512 << 10 : 64 << 10,
    STEPS = 20,
    BROOD = 8,
    BORN_STEPS = 6,
    CROWDED = 3,
    SKIPPED = 77
};

static pthread_attr_t attributes;

static void prepare(void)
{
    STRESS_REQUIRE(pthread_attr_init(&attributes) == 0);
    STRESS_REQUIRE(pthread_attr_setstacksize(&attributes, STACK_BYTES) == 0);
}

/* A thread of a crowd waits for others while it has a handle: so no site with quiescent states. And none with a limit,
 * where each of thousands would look for memory at all others'. */
static struct site *site_of(unsigned index)
{
    static const unsigned sites[] = {SITE_PLAIN, SITE_KEPT, SITE_COUNTED};
    return &storm_sites[sites[index % CROWDED]];
}

static void work(struct seat *seat, uint64_t seed, unsigned steps)
{
    for (unsigned step = 0; step < steps; step++) {
        struct stress_rng rng = stress_rng_make(seed, step);
        if (seat->site->counted)
            storm_object_work(seat, &rng);
        else
            storm_work(seat, &rng);
    }
}

/* ---- All alive at once. */

struct member {
    pthread_t id;
    unsigned index;
};

static pthread_barrier_t all_alive, all_seen;

static void *be_alive(void *argument)
{
    struct member *member = argument;
    struct seat seat;
    struct stress_rng rng = stress_rng_make(storm_args.seed, member->index);
    storm_seat_begin(&seat, site_of(member->index), stress_attach(site_of(member->index)->heap));
    work(&seat, stress_random(&rng), STEPS);
    pthread_barrier_wait(&all_alive);
    work(&seat, stress_random(&rng), STEPS);
    pthread_barrier_wait(&all_seen);
    storm_seat_empty(&seat, &rng);
    if (stress_one_in(&rng, 2))
        stress_detach(seat.thread);
    return NULL;
}

static void require_threads(unsigned alive)
{
    size_t threads = 0;
    struct fl_stats stats;
    for (unsigned i = 0; i < CROWDED; i++) {
        fl_heap_stats(site_of(i)->heap, &stats);
        threads += stats.threads;
    }
    if (threads < alive)
        stress_fail("%u threads are alive, of which the heaps know %zu", alive, threads);
}

void storm_crowd(unsigned alive)
{
    struct member *members = calloc(alive, sizeof *members);
    STRESS_REQUIRE(members);
    prepare();
    STRESS_REQUIRE(pthread_barrier_init(&all_alive, NULL, alive + 1) == 0);
    STRESS_REQUIRE(pthread_barrier_init(&all_seen, NULL, alive + 1) == 0);
    for (unsigned i = 0; i < alive; i++) {
        members[i].index = i;
        int error = pthread_create(&members[i].id, &attributes, be_alive, &members[i]);
        if (error == EAGAIN) {
            printf("this machine allows no more than %u threads\n", i);
            exit(SKIPPED);
        }
        STRESS_REQUIRE(error == 0);
    }
    pthread_barrier_wait(&all_alive);
    require_threads(alive);
    pthread_barrier_wait(&all_seen);
    for (unsigned i = 0; i < alive; i++)
        stress_thread_join(members[i].id);
    tally(TALLY_LIVES, alive);
    free(members);
}

/* ---- Born and dead. */

struct parent {
    pthread_t id;
    unsigned index, children;
};

static void *be_born(void *argument)
{
    uint64_t seed = (uint64_t)(uintptr_t)argument;
    struct seat seat;
    struct stress_rng rng = stress_rng_make(storm_args.seed, seed);
    struct site *site = site_of((unsigned)stress_below(&rng, CROWDED));
    storm_seat_begin(&seat, site, stress_attach(site->heap));
    work(&seat, stress_random(&rng), BORN_STEPS);
    storm_seat_empty(&seat, &rng);
    if (stress_one_in(&rng, 4))
        stress_detach(seat.thread);
    tally(TALLY_LIVES, 1);
    return NULL;
}

static void *raise_children(void *argument)
{
    struct parent *parent = argument;
    pthread_t brood[BROOD];
    for (unsigned born = 0; born < parent->children;) {
        unsigned count = parent->children - born < BROOD ? parent->children - born : BROOD;
        for (unsigned i = 0; i < count; i++, born++) {
            uint64_t seed = (uint64_t)parent->index << 32 | born;
            int error = pthread_create(&brood[i], &attributes, be_born, (void *)(uintptr_t)seed);
            if (error)
                stress_fail("pthread_create: %s", strerror(error));
        }
        for (unsigned i = 0; i < count; i++)
            stress_thread_join(brood[i]);
    }
    return NULL;
}

static void raise_some(unsigned count, unsigned stream)
{
    struct parent *parents = calloc(storm_args.threads, sizeof *parents);
    STRESS_REQUIRE(parents);
    for (unsigned i = 0; i < storm_args.threads; i++) {
        parents[i] = (struct parent){.index = stream + i, .children = count / storm_args.threads};
        parents[i].children += i < count % storm_args.threads;
        stress_thread_start(&parents[i].id, raise_children, &parents[i]);
    }
    for (unsigned i = 0; i < storm_args.threads; i++)
        stress_thread_join(parents[i].id);
    free(parents);
}

static size_t mapped_bytes(void)
{
    size_t bytes = 0;
    struct fl_stats stats;
    for (unsigned i = 0; i < CROWDED; i++) {
        fl_heap_stats(site_of(i)->heap, &stats);
        STRESS_REQUIRE(stats.threads == 0);
        bytes += stats.mapped_bytes;
    }
    return bytes;
}

/* What a tenth of them has needed is enough for all. */
void storm_born(unsigned born)
{
    double begin = stress_now();
    prepare();
    raise_some(born / 10, 0);
    size_t early = mapped_bytes();
    raise_some(born - born / 10, storm_args.threads);
    size_t late = mapped_bytes();
    double seconds = stress_now() - begin;
    printf("%u threads in %.1f seconds, %.1f us each; %zu KiB mapped after a tenth, %zu KiB after all\n", born,
           seconds, 1e6 * seconds / born, early >> 10, late >> 10);
    if (late > 2 * early + (8 << 20))
        stress_fail("the heaps have grown from %zu to %zu bytes", early, late);
}
