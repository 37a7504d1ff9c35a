/* SPDX-License-Identifier: MIT
 *
 * The sites: heaps of every kind of options, those that stay and those that come and go, and what is left at them.
 */
#include "storm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct site storm_sites[SITES];

/* ---- The host's callbacks. */

/* A small block, which is freed at once: by every 16th refill. */
static void on_refill(struct fl_thread *thread, size_t bytes)
{
    static _Thread_local unsigned refills;
    STRESS_REQUIRE(bytes > 0);
    if (++refills % 16)
        return;
    void *block = fl_alloc(thread, 24);
    if (block)
        fl_free_sized(thread, block, 24);
    tally(TALLY_HOOKS, 1);
}

/* Ends what lies in two mailboxes, where the calling life has a seat. */
static bool on_pressure(struct fl_heap *heap, size_t bytes, void *context)
{
    struct site *site = context;
    struct seat *seat = storm_seat_here(site);
    unsigned ended = 0;
    STRESS_REQUIRE(site->heap == heap && bytes > 0);
    for (unsigned i = 0; seat && i < 2; i++) {
        storm_ref ref = atomic_exchange_explicit(&site->mailboxes[bytes / 16 * (i + 1) % MAILBOXES], 0,
                                                 memory_order_acquire);
        if (ref)
            storm_drop(site, seat->thread, ref, false);
        ended += ref != 0;
    }
    tally(TALLY_HOOKS, 1);
    return ended > 0;
}

static void on_deferred(struct fl_heap *heap, size_t bytes, void *context)
{
    STRESS_REQUIRE(((struct site *)context)->heap == heap);
    (void)bytes; /* others may have freed some of them since */
    tally(TALLY_HOOKS, 1);
}

static void on_stall(struct fl_heap *heap, const struct fl_stall *stall, void *context)
{
    (void)heap, (void)context;
    STRESS_REQUIRE(stall->seconds >= 0);
    tally(TALLY_STALLS, 1);
}

/* ---- Opening. */

static void open_site(struct site *site)
{
    site->options.context = site;
    site->options.on_stall = on_stall;
    if (site->options.defer_bytes)
        site->options.on_deferred = on_deferred;
    if (site->options.limit_bytes)
        site->options.on_pressure = on_pressure;
    site->heap = stress_heap_create(&site->options);
}

void storm_sites_open(void)
{
    struct stress_rng rng = stress_rng_make(storm_args.seed, UINT64_MAX);
    storm_sites[SITE_PLAIN] = (struct site){.name = "plain"};
    storm_sites[SITE_PLAIN].options = (struct fl_options){
        .grace = FL_GRACE_BP, .decay_ms = 20, .defer_bytes = 1 << 20, .on_refill = on_refill};
    storm_sites[SITE_LATER] = (struct site){.name = "later"};
    storm_sites[SITE_LATER].options = (struct fl_options){.grace = FL_GRACE_QSBR,
                                                          .later = stress_one_in(&rng, 2) ? FL_LATER_CODE
                                                                                          : FL_LATER_ALL,
                                                          .retain_bytes = 1 << 20,
                                                          .magazine_blocks = 2 + (unsigned)stress_below(&rng, 253)};
    storm_sites[SITE_LIMITED] = (struct site){.name = "limited"};
    storm_sites[SITE_LIMITED].options = (struct fl_options){
        .grace = FL_GRACE_BP, .limit_bytes = (size_t)3 << 20, .defer_bytes = 1 << 18, .decay_ms = FL_DECAY_NEVER};
    storm_sites[SITE_KEPT] = (struct site){.name = "kept"};
    storm_sites[SITE_KEPT].options = (struct fl_options){
        .huge = FL_HUGE_ALWAYS, .retain_bytes = 1, .decay_ms = 5, .decay_thread = true, .on_refill = on_refill};
    storm_sites[SITE_COUNTED] = (struct site){.name = "counted", .counted = true};
    storm_sites[SITE_COUNTED].options = (struct fl_options){.grace = FL_GRACE_BP, .header = &fl_object_header};
    for (unsigned i = 0; i < SITES; i++) {
        if (i != SITE_DEFAULT)
            open_site(&storm_sites[i]);
    }
    struct site *site = &storm_sites[SITE_DEFAULT];
    *site = (struct site){.name = "default", .is_default = true, .options = {.grace = FL_GRACE_BP}};
    STRESS_REQUIRE(setenv("FREELANE_OPTIONS", "grace=bp,retain=4M", 1) == 0);
    site->heap = fl_heap_default();
    STRESS_REQUIRE(site->heap);
}

/* ---- Emptying. */

static bool empty_places(struct site *site, struct fl_thread *thread)
{
    bool found = false;
    for (unsigned i = 0; i < MAILBOXES; i++) {
        storm_ref ref = atomic_exchange_explicit(&site->mailboxes[i], 0, memory_order_acquire);
        struct fl_object *object = atomic_exchange_explicit(&site->posted[i], NULL, memory_order_acquire);
        if (ref)
            storm_drop(site, thread, ref, false);
        if (object)
            fl_decref(thread, object);
        found = found || ref || object;
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        storm_ref ref = atomic_exchange_explicit(&site->slots[i], 0, memory_order_acquire);
        struct fl_object *object = atomic_exchange_explicit(&site->published[i], NULL, memory_order_acquire);
        if (ref)
            storm_drop(site, thread, ref, true);
        if (object)
            fl_decref(thread, object);
        found = found || ref || object;
    }
    return found;
}

/* Objects that are resurrected go to mailboxes, but once. */
void storm_site_empty(struct site *site, struct fl_thread *thread)
{
    do
        storm_settle(site, thread);
    while (empty_places(site, thread));
    for (unsigned i = 0; i < HANDLES; i++) {
        struct fl_thread *left = atomic_exchange_explicit(&site->handles[i], NULL, memory_order_acquire);
        if (left)
            stress_detach(left);
    }
    do
        storm_settle(site, thread);
    while (empty_places(site, thread));
}

/* ---- The end. */

static void require_counts(struct site *site)
{
    struct fl_object_stats stats;
    fl_heap_object_stats(site->heap, &stats);
    if (stats.refused || stats.overflows || stats.kept || stats.kept_bytes)
        stress_fail("site %s: %zu objects are kept, %llu were refused, %llu overflowed", site->name, stats.kept,
                    (unsigned long long)stats.refused, (unsigned long long)stats.overflows);
}

/* The default heap cannot be destroyed; all else holds for it too. */
static void finish_default(struct fl_heap *heap)
{
    struct fl_stats stats;
    for (unsigned pass = 0; pass < 2; pass++) {
        stress_heap_check(heap);
        fl_heap_stats(heap, &stats);
        STRESS_REQUIRE(stats.live_blocks == 0 && stats.live_bytes == 0 && stats.deferred_bytes == 0);
        STRESS_REQUIRE(stats.lost_bytes == 0 && stats.threads <= 1);
        fl_heap_trim(heap, 0);
    }
    STRESS_REQUIRE(stats.cached_bytes + stats.pooled_bytes + stats.parked_bytes == 0);
    STRESS_REQUIRE(stats.slab_bytes + stats.idle_bytes == 0);
}

static void finish(struct site *site)
{
    struct fl_thread *thread = site->is_default ? fl_thread_self() : stress_attach(site->heap);
    storm_site_empty(site, thread);
    if (site->is_default)
        fl_thread_flush(fl_thread_self());
    else
        stress_detach(thread);
    if (site_has_grace(site))
        stress_barrier(site->heap);
    if (site->counted)
        require_counts(site);
    if (site->is_default)
        finish_default(site->heap);
    else
        stress_heap_finish(site->heap);
}

/* ---- Sites that come and go. */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct site *visited[VISITED];

void storm_visited_lock(void)
{
    pthread_mutex_lock(&lock);
}

void storm_visited_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

static size_t one_of(struct stress_rng *rng, const size_t *choices, size_t count)
{
    return choices[stress_below(rng, count)];
}

#define ONE_OF(rng, ...)                                                                                             \
    one_of(rng, (const size_t[]){__VA_ARGS__}, sizeof((const size_t[]){__VA_ARGS__}) / sizeof(size_t))

static struct fl_options draw_options(struct stress_rng *rng)
{
    struct fl_options options = {0};
    options.grace = (enum fl_grace)ONE_OF(rng, FL_GRACE_NONE, FL_GRACE_QSBR, FL_GRACE_BP);
    options.limit_bytes = ONE_OF(rng, 0, 0, 2 << 20, 8 << 20);
    options.later = (enum fl_later)ONE_OF(rng, FL_LATER_NONE, FL_LATER_CODE, FL_LATER_ALL);
    options.magazine_blocks = (unsigned)ONE_OF(rng, 0, 2, 5, 31, 254);
    options.retain_bytes = ONE_OF(rng, 0, 1, 1 << 16, SIZE_MAX);
    options.decay_ms = (unsigned)ONE_OF(rng, 0, 5, FL_DECAY_NEVER);
    options.decay_thread = stress_one_in(rng, 4);
    options.huge = (enum fl_huge)ONE_OF(rng, FL_HUGE_DEFAULT, FL_HUGE_ALWAYS, FL_HUGE_NEVER);
    options.reserve_bytes = ONE_OF(rng, 0, 0, 8 << 20, 64 << 20);
    options.defer_bytes = ONE_OF(rng, 0, 1 << 16);
    options.on_refill = stress_one_in(rng, 2) ? on_refill : NULL;
    return options;
}

void storm_visited_open(struct stress_rng *rng)
{
    struct site *site = calloc(1, sizeof *site);
    STRESS_REQUIRE(site);
    site->name = "visited";
    site->options = draw_options(rng);
    open_site(site);
    tally(TALLY_HEAPS, 1);
    storm_visited_lock();
    for (unsigned i = 0; i < VISITED && site; i++) {
        if (!visited[i]) {
            visited[i] = site;
            site = NULL;
        }
    }
    storm_visited_unlock();
    if (!site)
        return;
    finish(site);
    free(site);
}

void storm_visited_close(uint64_t choice)
{
    storm_visited_lock();
    struct site *site = visited[choice % VISITED];
    visited[choice % VISITED] = NULL;
    bool last = site && site->visitors == 0;
    if (site)
        site->closed = true;
    storm_visited_unlock();
    if (!last)
        return;
    finish(site);
    free(site);
}

struct site *storm_visited_enter(uint64_t choice)
{
    storm_visited_lock();
    struct site *site = visited[choice % VISITED];
    if (site)
        site->visitors++;
    storm_visited_unlock();
    return site;
}

void storm_visited_leave(struct site *site)
{
    storm_visited_lock();
    bool last = --site->visitors == 0 && site->closed;
    storm_visited_unlock();
    if (!last)
        return;
    finish(site);
    free(site);
}

void storm_sites_each(void (*function)(struct site *site, void *context), void *context)
{
    for (unsigned i = 0; i < SITES; i++)
        function(&storm_sites[i], context);
    storm_visited_lock();
    for (unsigned i = 0; i < VISITED; i++) {
        if (visited[i])
            function(visited[i], context);
    }
    storm_visited_unlock();
}

void storm_sites_finish(void)
{
    for (unsigned i = 0; i < VISITED; i++)
        storm_visited_close(i);
    for (unsigned i = 0; i < SITES; i++)
        finish(&storm_sites[i]);
}
