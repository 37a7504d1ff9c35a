/* SPDX-License-Identifier: MIT
 *
 * Bystanders, which have no handle. The witness reads statistics without pause and requires what they promise at any
 * time. The broom trims, frees what it finds in mailboxes, and waits for barriers.
 */
#include "storm.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static void pass_gate(void)
{
    if (!gate_is_closed(PART_BYSTANDER))
        return;
    gate_leave(PART_BYSTANDER);
    gate_enter(PART_BYSTANDER);
}

/* ---- The witness. */

#define REQUIRE_GROWN(field)                                                                                         \
    do {                                                                                                             \
        if (now.field < last->field)                                                                                 \
            stress_fail("site %s: " #field " was %llu, and is %llu", site->name, (unsigned long long)last->field,    \
                        (unsigned long long)now.field);                                                              \
    } while (0)

/* Counters of what has happened do not go back. */
static void require_grown(struct site *site, const struct fl_stats *stats)
{
    const struct fl_stats *last = &site->last, now = *stats;
    REQUIRE_GROWN(exchanges);
    REQUIRE_GROWN(shared_updates);
    REQUIRE_GROWN(cas_failures);
    REQUIRE_GROWN(home_visits);
    REQUIRE_GROWN(trims);
    REQUIRE_GROWN(trimmed_bytes);
    REQUIRE_GROWN(grace_periods);
    REQUIRE_GROWN(grace_refusals);
    REQUIRE_GROWN(pressures);
    REQUIRE_GROWN(over_bytes);
}

static void look_at(struct site *site, void *stream)
{
    struct fl_stats stats;
    struct fl_object_stats counts;
    fl_heap_stats(site->heap, &stats);
    stress_stats_check(&stats);
    require_grown(site, &stats);
    size_t slab_bytes = stats.slab_bytes + stats.idle_bytes + stats.retired_bytes;
    size_t limit = site->options.limit_bytes ? site->options.limit_bytes : SIZE_MAX;
    if (slab_bytes > stats.reserved_bytes || slab_bytes > stats.mapped_bytes || stats.slab_bytes > limit ||
        stats.large_bytes > limit)
        stress_fail("site %s: %zu + %zu + %zu bytes of slabs, %zu large, of %zu reserved, %zu mapped, %zu allowed",
                    site->name, stats.slab_bytes, stats.idle_bytes, stats.retired_bytes, stats.large_bytes,
                    stats.reserved_bytes, stats.mapped_bytes, limit);
    site->last = stats;
    fl_heap_object_stats(site->heap, &counts);
    STRESS_REQUIRE(counts.overflows == 0 && counts.refused == 0);
    if (atomic_load_explicit(&storm_tally[TALLY_LOOKS], memory_order_relaxed) % 64 == 0)
        STRESS_REQUIRE(fl_heap_print_stats(site->heap, stream, FL_STATS_JSON) == 0);
    tally(TALLY_LOOKS, 1);
}

void *storm_witness(void *unused)
{
    (void)unused;
    gate_enter(PART_BYSTANDER);
    FILE *stream = fopen("/dev/null", "w");
    STRESS_REQUIRE(stream);
    while (!storm_is_over()) {
        storm_sites_each(look_at, stream);
        pass_gate();
    }
    fclose(stream);
    gate_leave(PART_BYSTANDER);
    return NULL;
}

/* ---- The broom. */

/* Frees a block without a handle. An object goes back to the mailbox: it waits for a thread that has one. */
static void sweep(struct site *site, struct stress_rng *rng)
{
    storm_place *mailbox = &site->mailboxes[stress_below(rng, MAILBOXES)];
    storm_ref ref = atomic_exchange_explicit(mailbox, 0, memory_order_acq_rel);
    while (ref && storm_kind(storm_open(ref)) != KIND_BLOCK)
        ref = atomic_exchange_explicit(mailbox, ref, memory_order_acq_rel);
    if (!ref)
        return;
    struct cargo *block = storm_open(ref);
    storm_verify(block, sizeof *block);
    storm_break(block);
    fl_heap_free(site->heap, block);
}

static void act(struct site *site, struct stress_rng *rng)
{
    uint64_t choice = stress_below(rng, 16);
    if (choice == 0) {
        fl_heap_trim(site->heap, stress_below(rng, 2) << 20);
        tally(TALLY_TRIMS, 1);
    } else if (choice == 1 && site_has_grace(site)) {
        int result = fl_heap_barrier(site->heap);
        if (result)
            stress_fail("fl_heap_barrier at site %s: %s", site->name, strerror(-result));
    } else if (!site->counted) {
        sweep(site, rng);
    }
}

void *storm_broom(void *unused)
{
    struct stress_rng rng = stress_rng_make(storm_args.seed, UINT64_MAX - 2);
    (void)unused;
    gate_enter(PART_BYSTANDER);
    while (!storm_is_over()) {
        act(&storm_sites[stress_below(&rng, SITES)], &rng);
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
        pass_gate();
    }
    gate_leave(PART_BYSTANDER);
    return NULL;
}
