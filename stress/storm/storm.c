/* SPDX-License-Identifier: MIT
 *
 * The storm: all that the library does, at the same time, from one seed.
 *
 *     lives       short-lived threads at seven kinds of heaps: sizes of 16 bytes to a megabyte, all kinds of types with
 *                 callbacks that drop others, objects with reference counts, frees of what others have allocated,
 *                 deferred frees beside readers, objects that end later, exits in every way (life.c, work.c, objects.c)
 *     weather     the world is stopped, walked, flushed; forks, traces, profiles, trims; heaps are made and destroyed
 *                 (director.c, child.c)
 *     witness     reads statistics without pause, and requires what they promise (witness.c)
 *
 * Every block has a payload that depends on its address and a serial number. Whoever ends a block verifies it before,
 * and so do readers; walks of the stopped world verify every live block there is. At the end all is freed, statistics
 * balance to zero, and fl_heap_check passes for each heap.
 *
 * What each thread does follows from the seed; how threads interleave does not. Beside what stress.h names it takes
 *
 *     --threads N     lines of lives
 *     --crowd N       instead: N threads that are alive at the same time
 *     --born N        instead: N threads that are born and dead one after the other, --threads families at a time
 *
 * Smoke: 3 seconds. Pre-merge: 3 minutes (--minutes 3). Soak: one hour (--minutes 60 --threads 16). --born 1000000 takes
 * five minutes on two busy cores, of which 112 seconds are its own.
 */
#include "storm.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct stress_args storm_args;
atomic_ulong storm_tally[TALLIES];
static atomic_bool over;

bool storm_is_over(void)
{
    return atomic_load_explicit(&over, memory_order_relaxed);
}

static void on_misuse(const struct fl_misuse *misuse)
{
    stress_fail("misuse: %s", misuse->message);
}

/* ---- The end. */

static const char *const tally_names[TALLIES] = {
    "lives",   "steps",   "remote", "deferred",      "reads",  "later",  "resurrected", "moved",
    "refused", "counted", "late",   "handed",        "visits", "stops",  "walked",      "forks",
    "traced",  "samples", "trims",  "heaps visited", "hooks",  "stalls", "looks"};

static void print_tallies(void)
{
    for (unsigned i = 0; i < TALLIES; i++)
        printf("%s%s %lu", i == 0 ? "" : ", ", tally_names[i], atomic_load(&storm_tally[i]));
    printf("\n");
}

/* What a storm has in any case. */
static void require_weather(void)
{
    static const enum tally always[] = {TALLY_LIVES,  TALLY_REMOTE, TALLY_DEFERRED, TALLY_READS,
                                        TALLY_LATER,  TALLY_MOVED,  TALLY_STOPS,    TALLY_FORKS,
                                        TALLY_WALKED, TALLY_HEAPS,  TALLY_LOOKS};
    for (unsigned i = 0; i < sizeof always / sizeof *always; i++) {
        if (atomic_load(&storm_tally[always[i]]) == 0)
            stress_fail("nothing of this kind has happened: %s", tally_names[always[i]]);
    }
}

/* ---- The run. */

static void storm(void)
{
    struct stress_worker *lines = calloc(storm_args.threads, sizeof *lines);
    STRESS_REQUIRE(lines);
    for (unsigned i = 0; i < storm_args.threads; i++) {
        lines[i].rng = stress_rng_make(storm_args.seed, i);
        stress_thread_start(&lines[i].id, storm_line, &lines[i]);
    }
    storm_direct();
    atomic_store_explicit(&over, true, memory_order_relaxed);
    for (unsigned i = 0; i < storm_args.threads; i++)
        stress_thread_join(lines[i].id);
    free(lines);
    require_weather();
}

int main(int argc, char **argv)
{
    unsigned crowd = 0, born = 0;
    struct stress_option options[] = {{"--crowd", &crowd}, {"--born", &born}};
    storm_args = stress_parse_with(argc, argv, "storm", options, 2);
    if (storm_args.smoke)
        storm_args.seconds = 3;
    fl_set_misuse_handler(on_misuse);
    storm_types_ready();
    storm_object_types_ready();
    storm_sites_open();
    pthread_t witness, broom;
    stress_thread_start(&witness, storm_witness, NULL);
    stress_thread_start(&broom, storm_broom, NULL);
    if (crowd)
        storm_crowd(crowd);
    else if (born)
        storm_born(born);
    else
        storm();
    atomic_store_explicit(&over, true, memory_order_relaxed);
    stress_thread_join(witness);
    stress_thread_join(broom);
    print_tallies();
    storm_sites_finish();
    return 0;
}
