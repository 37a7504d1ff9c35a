/* SPDX-License-Identifier: MIT
 *
 * The weather: one thread, which has no handle, stops the world and walks it, flushes it and forks it, switches traces
 * and profiles on and off, trims, and opens and closes heaps. Each of these comes once in a round, in an order drawn at
 * random; a run has at least one round.
 */
#include "storm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void nap(struct stress_rng *rng, long milliseconds)
{
    nanosleep(&(struct timespec){.tv_nsec = (long)stress_below(rng, (uint64_t)milliseconds * 1000000)}, NULL);
}

/* ---- A walk of a stopped world. */

struct walked {
    struct site *site;
    size_t count;
};

static const struct cargo *cargo_of(const struct site *site, void *start)
{
    return site->counted ? storm_object_cargo(start) : start;
}

static bool verify_block(void *context, const struct fl_block *block)
{
    struct walked *walked = context;
    const struct cargo *cargo = cargo_of(walked->site, block->start);
    struct fl_block found;
    walked->count++;
    STRESS_REQUIRE(block->state == FL_BLOCK_LIVE && block->size >= storm_size(cargo));
    storm_verify(cargo, walked->site->counted ? sizeof *cargo : storm_skip(cargo));
    const char *inside = (const char *)block->start + block->size / 2;
    STRESS_REQUIRE(fl_block_at(walked->site->heap, inside, &found));
    STRESS_REQUIRE(found.start == block->start && found.state == FL_BLOCK_LIVE);
    return true;
}

static const char *name_of(void *context, const struct fl_block *block)
{
    const struct site *site = context;
    return site->counted ? "object" : storm_kind_name(cargo_of(site, block->start));
}

static void require_census(struct site *site, size_t live)
{
    struct fl_census *census;
    const struct fl_census_row *rows;
    size_t count = 0;
    int result = fl_census_take(site->heap, name_of, site, &census);
    if (result)
        stress_fail("fl_census_take: %s", strerror(-result));
    for (size_t i = fl_census_rows(census, &rows); i > 0; i--)
        count += rows[i - 1].count;
    if (count != live)
        stress_fail("site %s: a walk finds %zu blocks, a census %zu", site->name, live, count);
    fl_census_free(census);
}

/* Statistics count what is kept constructed as live; it is dead to a walk. */
static size_t live_blocks(struct site *site)
{
    struct fl_stats stats;
    struct fl_object_stats counts;
    fl_heap_stats(site->heap, &stats);
    fl_heap_object_stats(site->heap, &counts);
    return stats.live_blocks - counts.kept;
}

void storm_site_walk(struct site *site, bool census)
{
    struct walked walked = {.site = site};
    int result = fl_heap_walk_begin(site->heap);
    if (result)
        stress_fail("fl_heap_walk_begin: %s", strerror(-result));
    STRESS_REQUIRE(fl_heap_walk(site->heap, verify_block, &walked) == 0);
    if (census)
        require_census(site, walked.count);
    STRESS_REQUIRE(fl_heap_walk_end(site->heap) == 0);
    size_t live = live_blocks(site);
    if (walked.count != live)
        stress_fail("site %s: a walk finds %zu live blocks, statistics say %zu", site->name, walked.count, live);
    tally(TALLY_WALKED, walked.count);
}

/* ---- Events. */

static struct site *any_site(struct stress_rng *rng)
{
    return &storm_sites[stress_below(rng, SITES)];
}

static void check_and_walk(struct site *site, void *context)
{
    stress_heap_check(site->heap);
    storm_site_walk(site, stress_one_in(context, 2));
}

static void walk_world(struct stress_rng *rng)
{
    gate_close(GATE_WORLD);
    storm_sites_each(check_and_walk, rng);
    gate_open();
}

static void flush(struct site *site, void *context)
{
    (void)context;
    fl_heap_flush_stopped(site->heap);
}

/* Then no magazine has blocks, and memory without live blocks is gone. */
static void flush_and_trim(struct site *site, void *context)
{
    struct fl_stats stats;
    flush(site, context);
    stress_heap_check(site->heap);
    fl_heap_trim(site->heap, 0);
    stress_heap_check(site->heap);
    fl_heap_stats(site->heap, &stats);
    if (stats.cached_bytes + stats.pooled_bytes + stats.idle_bytes)
        stress_fail("site %s: %zu bytes cached, %zu pooled, %zu idle in a flushed and trimmed world", site->name,
                    stats.cached_bytes, stats.pooled_bytes, stats.idle_bytes);
}

static void flush_world(struct stress_rng *rng)
{
    bool others_go_on = stress_one_in(rng, 2);
    gate_close(others_go_on ? GATE_THREADS : GATE_WORLD);
    storm_sites_each(others_go_on ? flush : flush_and_trim, NULL);
    gate_open();
}

static void fork_stopped(struct stress_rng *rng)
{
    (void)rng;
    gate_close(GATE_WORLD);
    storm_fork_stopped();
    gate_open();
}

static void fork_quiet(struct stress_rng *rng)
{
    (void)rng;
    gate_close(GATE_WORLD);
    storm_fork_quiet();
    gate_open();
}

static void fork_beside(struct stress_rng *rng)
{
    if (STRESS_ADDRESS_SANITIZED)
        fork_quiet(rng);
    else
        storm_fork_ask();
}

static void on_event(struct fl_heap *heap, const struct fl_trace_event *event, void *context)
{
    (void)context;
    STRESS_REQUIRE(event->kind == FL_TRACE_ALLOC || event->kind == FL_TRACE_FREE);
    STRESS_REQUIRE(fl_usable_size(heap, event->block) >= event->size);
    tally(TALLY_TRACED, 1);
}

static const struct fl_trace trace = {.callback = on_event};

static void trace_site(struct stress_rng *rng)
{
    struct site *site = any_site(rng);
    int result = fl_trace_start(site->heap, &trace, 100);
    STRESS_REQUIRE(result == 0 || result == -ETIMEDOUT);
    nap(rng, 20);
    fl_trace_stop(site->heap);
}

static size_t stack_of(void *context, void **frames, size_t max)
{
    size_t count = atomic_load_explicit(&storm_tally[TALLY_SAMPLES], memory_order_relaxed) % 8;
    for (size_t i = 0; i < count && i < max; i++)
        frames[i] = (char *)context + i;
    tally(TALLY_SAMPLES, 1);
    return count;
}

static void profile_site(struct stress_rng *rng)
{
    struct site *site = any_site(rng);
    struct fl_profile_options options = {
        .mean_bytes = 1 + stress_below(rng, 100000), .stack = stack_of, .context = site, .timeout_ms = 100};
    int result = fl_profile_start(site->heap, &options);
    STRESS_REQUIRE(result == 0 || result == -ETIMEDOUT);
    nap(rng, 20);
    if (result)
        return;
    FILE *stream = fopen("/dev/null", "w");
    STRESS_REQUIRE(stream);
    STRESS_REQUIRE(fl_profile_print(site->heap, stream, FL_PROFILE_JSON) == 0);
    STRESS_REQUIRE(fl_profile_stop(site->heap) == 0);
    STRESS_REQUIRE(fl_profile_print(site->heap, stream, FL_PROFILE_PPROF) == 0);
    fclose(stream);
}

static void open_visited(struct stress_rng *rng)
{
    storm_visited_open(rng);
}

static void close_visited(struct stress_rng *rng)
{
    storm_visited_close(stress_random(rng));
}

static void trim(struct stress_rng *rng)
{
    fl_heap_trim(any_site(rng)->heap, stress_below(rng, 4 << 20));
    tally(TALLY_TRIMS, 1);
}

/* ---- Rounds. */

static void (*const events[])(struct stress_rng *rng) = {
    walk_world,   flush_world,  fork_stopped, fork_quiet,   fork_beside,   fork_beside,   trace_site,    profile_site,
    open_visited, open_visited, open_visited, open_visited, close_visited, close_visited, close_visited, trim};

enum { EVENTS = sizeof events / sizeof *events };

static void shuffle(unsigned *order, struct stress_rng *rng)
{
    for (unsigned i = 0; i < EVENTS; i++) {
        unsigned j = (unsigned)stress_below(rng, i + 1);
        order[i] = order[j];
        order[j] = i;
    }
}

void storm_direct(void)
{
    struct stress_rng rng = stress_rng_make(storm_args.seed, UINT64_MAX - 1);
    double end = stress_now() + storm_args.seconds;
    unsigned order[EVENTS];
    for (unsigned round = 0; round == 0 || stress_now() < end; round++) {
        shuffle(order, &rng);
        for (unsigned i = 0; i < EVENTS && (round == 0 || stress_now() < end); i++) {
            nap(&rng, 30);
            events[order[i]](&rng);
        }
    }
}
