/* SPDX-License-Identifier: MIT */
#include "api/stats.h"
#include "base/lock.h"
#include "base/watch.h"
#include "heap/registry.h"
#include "heap/trim.h"
#include "memory/idle.h"
#include "pool/reserve.h"
#include "pool/unsubmitted.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* ---- Counting. */

static void count_class_slabs_locked(const struct fli_slabs *slabs, unsigned class_index,
                                     struct fl_class_stats *stats)
{
    const struct fli_slab_class *class = &slabs->by_class[class_index];
    stats->slabs = fli_load_own(&class->slabs);
    stats->carved = stats->slabs * class->blocks;
}

/* Counts all slabs at one moment: between two moments, slabs go from one class to another. */
static void count_slabs(struct fli_slabs *slabs, struct fl_stats *stats)
{
    fli_lock(&slabs->lock);
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++)
        count_class_slabs_locked(slabs, c, &stats->classes[c]);
    stats->idle_bytes = ((size_t)slabs->warm_count + fli_idle_kept_count(slabs)) << FLI_SLAB_SHIFT;
    stats->retired_bytes = (size_t)fli_load_own(&slabs->retired) << FLI_SLAB_SHIFT;
    stats->mapped_bytes += fli_ranges_committed(&slabs->ranges);
    fli_unlock(&slabs->lock);
}

static size_t cached_blocks(struct fli_thread *thread, unsigned class_index)
{
    const struct fli_backing *backing = &thread->heap->backing;
    return fli_cache_blocks(fli_thread_cache(thread, class_index), backing->magazine_blocks[class_index],
                            &backing->magazines) +
           fli_reserve_blocks(&thread->owner, class_index, &backing->magazines);
}

static size_t unsubmitted_blocks(struct fli_thread *thread, unsigned class_index)
{
    return fli_unsubmitted_blocks(fli_thread_deferred(thread, class_index), class_index, &thread->heap->backing);
}

/* Counts the blocks of a class that the library holds. */
static void count_held_locked(struct fl_heap *heap, unsigned class_index, struct fl_class_stats *stats)
{
    struct fli_backing *backing = &heap->backing;
    stats->block_bytes = fli_class_bytes(class_index);
    stats->magazine_blocks = backing->magazine_blocks[class_index];
    stats->cached = fli_owner_kept_blocks(backing, class_index) + cached_blocks(heap->service, class_index);
    for (struct fli_thread *thread = heap->threads; thread != NULL; thread = thread->in_heap.next)
        stats->cached += cached_blocks(thread, class_index);
    stats->pooled = fli_stack_blocks(&backing->pool.filled[class_index], &backing->magazines);
    stats->deferred = fli_load_hint(&heap->deferred.blocks[class_index]);
    stats->deferred += unsubmitted_blocks(heap->service, class_index);
    for (struct fli_thread *thread = heap->threads; thread != NULL; thread = thread->in_heap.next)
        stats->deferred += unsubmitted_blocks(thread, class_index);
    stats->lost = heap->lost[class_index];
    stats->parked = fli_homes_free(&backing->homes, class_index);
}

void fli_stats_count_class_locked(struct fl_heap *heap, unsigned class_index, struct fl_class_stats *stats)
{
    struct fli_slabs *slabs = &heap->backing.slabs;
    count_held_locked(heap, class_index, stats);
    fli_lock(&slabs->lock);
    count_class_slabs_locked(slabs, class_index, stats);
    fli_unlock(&slabs->lock);
    size_t held = stats->cached + stats->pooled + stats->parked + stats->deferred + stats->lost;
    stats->live = stats->carved > held ? stats->carved - held : 0;
}

/* Limits a number of blocks to those that are left, and subtracts it from these. */
static void take(size_t *blocks, size_t *left)
{
    *blocks = fli_min(*blocks, *left);
    *left -= *blocks;
}

/* Makes the equation of the class hold. While threads work, the blocks that they hold were counted before the slabs.
 * A slab may have left the class since, and its blocks with it. */
static void balance(struct fl_class_stats *stats)
{
    size_t left = stats->carved;
    take(&stats->parked, &left);
    take(&stats->lost, &left);
    take(&stats->deferred, &left);
    take(&stats->pooled, &left);
    take(&stats->cached, &left);
    stats->live = left;
}

static void add_class(struct fl_stats *stats, const struct fl_class_stats *class)
{
    stats->live_blocks += class->live;
    stats->live_bytes += class->live * class->block_bytes;
    stats->cached_bytes += class->cached * class->block_bytes;
    stats->pooled_bytes += class->pooled * class->block_bytes;
    stats->parked_bytes += class->parked * class->block_bytes;
    stats->deferred_bytes += class->deferred * class->block_bytes;
    stats->lost_bytes += class->lost * class->block_bytes;
    stats->slabs += class->slabs;
}

static void count_large(struct fli_large *large, struct fl_stats *stats)
{
    struct fli_large_counts counts = fli_large_count(large);
    stats->large_blocks = counts.blocks;
    stats->large_bytes = counts.bytes;
    stats->spare_bytes = counts.kept_bytes;
    stats->deferred_bytes += counts.deferred_bytes;
    stats->live_blocks += stats->large_blocks;
    stats->live_bytes += stats->large_bytes;
}

static void count_magazines(struct fli_backing *backing, struct fl_stats *stats)
{
    struct fli_magazines *magazines = &backing->magazines;
    stats->mapped_bytes += fli_magazines_committed(magazines);
    stats->magazines = fli_magazines_count(magazines);
    stats->empty_magazines = fli_stack_blocks(&backing->pool.empty, magazines);
}

static void count_exchanges_locked(struct fl_heap *heap, struct fl_stats *stats)
{
    fli_registry_assert_held();
    struct fli_pool_counters sum = {0};
    fli_pool_add_counters(&sum, &heap->detached);
    fli_pool_add_counters(&sum, &heap->service->owner.counters);
    fli_pool_add_counters(&sum, &heap->trim_counters);
    fli_pool_add_counters(&sum, &heap->deferred.counters);
    for (struct fli_thread *thread = heap->threads; thread != NULL; thread = thread->in_heap.next)
        fli_pool_add_counters(&sum, &thread->owner.counters);
    stats->exchanges = fli_load_own(&sum.exchanges);
    stats->shared_updates = fli_load_own(&sum.updates);
    stats->cas_failures = fli_load_own(&sum.cas_failures);
    stats->home_visits = fli_load_own(&sum.home_visits);
}

static void count_grace(struct fl_heap *heap, struct fl_stats *stats)
{
    const struct fli_deferred *deferred = &heap->deferred;
    stats->grace_periods = fli_load_hint(&deferred->batch.grace_periods) +
                           fli_load_hint(&heap->retired.batch.grace_periods);
    stats->grace_refusals = fli_load_hint(&deferred->batch.grace_refusals) +
                            fli_load_hint(&heap->retired.batch.grace_refusals);
    stats->pressures = fli_load_hint(&deferred->pressures);
    stats->over_bytes = fli_load_hint(&deferred->over_bytes);
}

void fl_heap_stats(struct fl_heap *heap, struct fl_stats *stats)
{
    struct fli_backing *backing = &heap->backing;
    memset(stats, 0, sizeof *stats);
    fli_os_thread_reap(true);
    fli_registry_lock();
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++)
        count_held_locked(heap, c, &stats->classes[c]);
    stats->threads = heap->thread_count;
    count_exchanges_locked(heap, stats);
    fli_registry_unlock();
    count_slabs(&backing->slabs, stats);
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++) {
        balance(&stats->classes[c]);
        add_class(stats, &stats->classes[c]);
    }
    count_large(&backing->large, stats);
    count_magazines(backing, stats);
    stats->slab_bytes = stats->slabs << FLI_SLAB_SHIFT;
    stats->reserved_bytes = fli_slabs_reserved(&backing->slabs);
    stats->trims = fli_load_hint(&heap->trims);
    stats->trimmed_bytes = fli_load_hint(&heap->trimmed_bytes);
    count_grace(heap, stats);
    fli_watch_wrote(stats, sizeof *stats);
}

/* ---- Printing. */

#define SIZE_FIELD(member)                                                                                           \
    {                                                                                                                \
#member, offsetof(struct fl_stats, member)                                                                   \
    }

static const struct fli_stats_field size_fields[] = {
    SIZE_FIELD(threads),       SIZE_FIELD(live_blocks),     SIZE_FIELD(live_bytes),     SIZE_FIELD(cached_bytes),
    SIZE_FIELD(pooled_bytes),  SIZE_FIELD(parked_bytes),    SIZE_FIELD(deferred_bytes), SIZE_FIELD(lost_bytes),
    SIZE_FIELD(large_blocks),  SIZE_FIELD(large_bytes),     SIZE_FIELD(slabs),          SIZE_FIELD(slab_bytes),
    SIZE_FIELD(idle_bytes),    SIZE_FIELD(retired_bytes),   SIZE_FIELD(reserved_bytes), SIZE_FIELD(mapped_bytes),
    SIZE_FIELD(magazines),     SIZE_FIELD(empty_magazines), SIZE_FIELD(exchanges),      SIZE_FIELD(shared_updates),
    SIZE_FIELD(cas_failures),  SIZE_FIELD(home_visits),     SIZE_FIELD(trims),          SIZE_FIELD(trimmed_bytes),
    SIZE_FIELD(grace_periods), SIZE_FIELD(grace_refusals),  SIZE_FIELD(pressures),      SIZE_FIELD(over_bytes),
    SIZE_FIELD(spare_bytes),
};

_Static_assert(sizeof(size_t) == sizeof(uint64_t), "all fields are printed alike");

enum { SIZE_FIELDS = sizeof size_fields / sizeof *size_fields };

static uint64_t field_value(const void *stats, const struct fli_stats_field *field)
{
    uint64_t value;
    memcpy(&value, (const char *)stats + field->offset, sizeof value);
    return value;
}

void fli_stats_print_text(const void *stats, const struct fli_stats_field *fields, size_t count, FILE *stream)
{
    for (size_t i = 0; i < count; i++)
        fprintf(stream, "%-16s %20" PRIu64 "\n", fields[i].name, field_value(stats, &fields[i]));
}

void fli_stats_print_json(const void *stats, const struct fli_stats_field *fields, size_t count, FILE *stream)
{
    for (size_t i = 0; i < count; i++)
        fprintf(stream, "%s\n  \"%s\": %" PRIu64, i == 0 ? "{" : ",", fields[i].name, field_value(stats, &fields[i]));
}

int fli_stats_printed(FILE *stream)
{
    return fflush(stream) != 0 || ferror(stream) ? -EIO : 0;
}

static bool is_used(const struct fl_class_stats *class)
{
    return class->slabs > 0 || class->lost > 0;
}

static void print_text(const struct fl_stats *stats, FILE *stream)
{
    fli_stats_print_text(stats, size_fields, SIZE_FIELDS, stream);
    fprintf(stream, "\n%8s %10s %10s %10s %10s %10s %10s %10s %10s %10s\n", "bytes", "magazine", "slabs", "carved",
            "live", "cached", "pooled", "parked", "deferred", "lost");
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++) {
        const struct fl_class_stats *class = &stats->classes[c];
        if (is_used(class))
            fprintf(stream, "%8zu %10zu %10zu %10zu %10zu %10zu %10zu %10zu %10zu %10zu\n", class->block_bytes,
                    class->magazine_blocks, class->slabs, class->carved, class->live, class->cached, class->pooled,
                    class->parked, class->deferred, class->lost);
    }
}

static void print_json(const struct fl_stats *stats, FILE *stream)
{
    fli_stats_print_json(stats, size_fields, SIZE_FIELDS, stream);
    fprintf(stream, ",\n  \"classes\": [");
    const char *separator = "";
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++) {
        const struct fl_class_stats *class = &stats->classes[c];
        if (!is_used(class))
            continue;
        fprintf(stream,
                "%s\n    {\"block_bytes\": %zu, \"magazine_blocks\": %zu, \"slabs\": %zu, \"carved\": %zu, \"live\": "
                "%zu, "
                "\"cached\": %zu, \"pooled\": %zu, \"parked\": %zu, \"deferred\": %zu, \"lost\": %zu}",
                separator, class->block_bytes, class->magazine_blocks, class->slabs, class->carved, class->live,
                class->cached, class->pooled, class->parked, class->deferred, class->lost);
        separator = ",";
    }
    fprintf(stream, "%s  ]\n}\n", *separator != '\0' ? "\n" : "");
}

int fl_heap_print_stats(struct fl_heap *heap, FILE *stream, enum fl_stats_format format)
{
    struct fl_stats stats;
    fl_heap_stats(heap, &stats);
    (format == FL_STATS_JSON ? print_json : print_text)(&stats, stream);
    return fli_stats_printed(stream);
}
