/* SPDX-License-Identifier: MIT
 *
 * What object.h reports of a heap.
 */
#include "base/base.h"
#include "heap/registry.h"
#include "object/keep.h"
#include "object/slots.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

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

static const struct field {
    const char *name;
    size_t offset;
} fields[] = {
    {"overflows", offsetof(struct fl_object_stats, overflows)},
    {"refused", offsetof(struct fl_object_stats, refused)},
    {"kept", offsetof(struct fl_object_stats, kept)},
    {"kept_bytes", offsetof(struct fl_object_stats, kept_bytes)},
    {"renewed", offsetof(struct fl_object_stats, renewed)},
    {"evicted", offsetof(struct fl_object_stats, evicted)},
};

enum { FIELDS = sizeof fields / sizeof *fields };

_Static_assert(sizeof(struct fl_object_stats) == FIELDS * sizeof(uint64_t), "all fields are printed, and alike");

static uint64_t value_of(const struct fl_object_stats *stats, const struct field *field)
{
    uint64_t value;
    memcpy(&value, (const char *)stats + field->offset, sizeof value);
    return value;
}

int fl_heap_print_object_stats(struct fl_heap *heap, FILE *stream, enum fl_stats_format format)
{
    struct fl_object_stats stats;
    fl_heap_object_stats(heap, &stats);
    bool json = format == FL_STATS_JSON;
    for (size_t i = 0; i < FIELDS; i++) {
        uint64_t value = value_of(&stats, &fields[i]);
        if (json)
            fprintf(stream, "%s\n  \"%s\": %" PRIu64, i == 0 ? "{" : ",", fields[i].name, value);
        else
            fprintf(stream, "%-16s %20" PRIu64 "\n", fields[i].name, value);
    }
    if (json)
        fprintf(stream, "\n}\n");
    return fflush(stream) != 0 || ferror(stream) ? -EIO : 0;
}
