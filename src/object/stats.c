/* SPDX-License-Identifier: MIT
 *
 * What object.h reports of a heap.
 */
#include "api/stats.h"
#include "heap/registry.h"
#include "object/keep.h"
#include "object/slots.h"

#include <stddef.h>

void fl_heap_object_stats(struct fl_heap *heap, struct fl_object_stats *stats)
{
    struct fli_slots *slots = fli_slots_of(heap);
    if (slots == NULL) {
        *stats = (struct fl_object_stats){0};
        return;
    }
    fli_registry_lock();
    *stats = slots->gone;
    fli_keep_count_locked(heap, stats);
    fli_registry_unlock();
    stats->overflows = fli_load_hint(&slots->overflows);
    stats->refused = fli_load_hint(&slots->refused);
}

/* ---- Printing. */

static const struct fli_stats_field fields[] = {
    {"overflows", offsetof(struct fl_object_stats, overflows)},
    {"refused", offsetof(struct fl_object_stats, refused)},
    {"kept", offsetof(struct fl_object_stats, kept)},
    {"kept_bytes", offsetof(struct fl_object_stats, kept_bytes)},
    {"renewed", offsetof(struct fl_object_stats, renewed)},
    {"evicted", offsetof(struct fl_object_stats, evicted)},
};

enum { FIELDS = sizeof fields / sizeof *fields };

_Static_assert(sizeof(struct fl_object_stats) == FIELDS * sizeof(uint64_t), "all fields are printed, and alike");

int fl_heap_print_object_stats(struct fl_heap *heap, FILE *stream, enum fl_stats_format format)
{
    struct fl_object_stats stats;
    fl_heap_object_stats(heap, &stats);
    if (format == FL_STATS_JSON) {
        fli_stats_print_json(&stats, fields, FIELDS, stream);
        fprintf(stream, "\n}\n");
    } else {
        fli_stats_print_text(&stats, fields, FIELDS, stream);
    }
    return fli_stats_printed(stream);
}
