/* SPDX-License-Identifier: MIT
 *
 * A census: how many live blocks of each type there are, and their bytes. It is taken during a walk, while threads are
 * stopped that may be inside malloc or qsort. So its memory comes from the OS, and it has a sort of its own.
 *
 *     while it is taken    a hash table by name; a row with count 0 is unused
 *     then                 the first `used` rows, sorted
 */
#include "heap/walk.h"
#include "api/stats.h"
#include "base/check.h"
#include "base/json.h"
#include "base/watch.h"

#include <errno.h>
#include <string.h>

enum { FIRST_ROWS = 64 };

struct fl_census {
    size_t capacity; /* a power of two */
    size_t used;
    size_t count, bytes; /* of all rows */
    struct fl_census_row rows[];
};

static size_t mapped_bytes(size_t capacity)
{
    return sizeof(struct fl_census) + capacity * sizeof(struct fl_census_row);
}

static struct fl_census *make(size_t capacity)
{
    struct fl_census *census = fli_os_map(mapped_bytes(capacity));
    if (census != NULL)
        census->capacity = capacity;
    return census;
}

void fl_census_free(struct fl_census *census)
{
    if (census != NULL)
        fli_os_unmap(census, mapped_bytes(census->capacity));
}

/* ---- The table. */

/* FNV-1a. */
static uint64_t hash(const char *name)
{
    uint64_t number = 0xcbf29ce484222325u;
    for (; name != NULL && *name != '\0'; name++)
        number = (number ^ (unsigned char)*name) * 0x100000001b3u;
    return number;
}

static bool is_same(const char *name, const char *other)
{
    return name == other || (name != NULL && other != NULL && strcmp(name, other) == 0);
}

/* The row of a type, perhaps an unused one. */
static struct fl_census_row *row_of(struct fl_census *census, const char *type)
{
    size_t mask = census->capacity - 1, at = (size_t)hash(type) & mask;
    while (census->rows[at].count != 0 && !is_same(census->rows[at].type, type))
        at = (at + 1) & mask;
    return &census->rows[at];
}

static void add(struct fl_census *census, const struct fl_census_row *row)
{
    struct fl_census_row *sum = row_of(census, row->type);
    census->used += sum->count == 0;
    sum->type = row->type;
    sum->count += row->count;
    sum->bytes += row->bytes;
    census->count += row->count;
    census->bytes += row->bytes;
}

/* Doubles the table. Returns false, and changes nothing, if memory is refused. */
static bool grow(struct fl_census **census)
{
    struct fl_census *old = *census, *larger = make(2 * old->capacity);
    if (larger == NULL)
        return false;
    for (size_t i = 0; i < old->capacity; i++)
        if (old->rows[i].count != 0)
            add(larger, &old->rows[i]);
    fl_census_free(old);
    *census = larger;
    return true;
}

/* ---- Sorting: by bytes, the most first, then by name. A heap sort, which needs no memory. */

static bool comes_before(const struct fl_census_row *row, const struct fl_census_row *other)
{
    if (row->bytes != other->bytes)
        return row->bytes > other->bytes;
    if (row->type == NULL || other->type == NULL)
        return other->type == NULL && row->type != NULL;
    return strcmp(row->type, other->type) < 0;
}

static void swap(struct fl_census_row *row, struct fl_census_row *other)
{
    struct fl_census_row kept = *row;
    *row = *other;
    *other = kept;
}

/* Moves a row down a heap, whose top comes last of all. */
static void sift(struct fl_census_row *rows, size_t at, size_t count)
{
    for (size_t below; (below = 2 * at + 1) < count; at = below) {
        if (below + 1 < count && comes_before(&rows[below], &rows[below + 1]))
            below++;
        if (!comes_before(&rows[at], &rows[below]))
            return;
        swap(&rows[at], &rows[below]);
    }
}

static void sort(struct fl_census_row *rows, size_t count)
{
    for (size_t i = count / 2; i-- > 0;)
        sift(rows, i, count);
    for (size_t i = count; i-- > 1;) {
        swap(&rows[0], &rows[i]);
        sift(rows, 0, i);
    }
}

/* Makes sorted rows of the table. */
static void finish(struct fl_census *census)
{
    size_t used = 0;
    for (size_t i = 0; i < census->capacity; i++)
        if (census->rows[i].count != 0)
            census->rows[used++] = census->rows[i];
    sort(census->rows, used);
}

/* ---- Taking it. */

struct taking {
    struct fl_census *census;
    fl_census_callback type_of;
    void *context;
};

static bool count_block(void *context, const struct fl_block *block)
{
    struct taking *taking = context;
    fli_watch_pass(NULL, 0);
    struct fl_census_row row = {.type = taking->type_of(taking->context, block), .count = 1, .bytes = block->size};
    if (4 * (taking->census->used + 1) > 3 * taking->census->capacity && !grow(&taking->census))
        return false;
    add(taking->census, &row);
    return true;
}

int fl_census_take(struct fl_heap *heap, fl_census_callback type_of, void *context, struct fl_census **census)
{
    if (fli_walk_of(heap) == NULL) {
        fli_misuse("fl_census_take", heap, NULL, "is not being walked: fl_heap_walk_begin comes before");
        return -EINVAL;
    }
    struct taking taking = {.census = make(FIRST_ROWS), .type_of = type_of, .context = context};
    if (taking.census == NULL)
        return -ENOMEM;
    if (fl_heap_walk(heap, count_block, &taking) != 0) {
        fl_census_free(taking.census);
        return -ENOMEM;
    }
    finish(taking.census);
    *census = taking.census;
    fli_watch_wrote(census, sizeof *census);
    return 0;
}

size_t fl_census_rows(const struct fl_census *census, const struct fl_census_row **rows)
{
    *rows = census->rows;
    fli_watch_wrote(rows, sizeof *rows);
    fli_watch_wrote(census->rows, census->used * sizeof *census->rows);
    return census->used;
}

/* ---- Printing. */

static void print_text(const struct fl_census *census, FILE *stream)
{
    fprintf(stream, "%12s %16s  %s\n", "count", "bytes", "type");
    for (size_t i = 0; i < census->used; i++) {
        const struct fl_census_row *row = &census->rows[i];
        fprintf(stream, "%12zu %16zu  %s\n", row->count, row->bytes, row->type != NULL ? row->type : "(unknown)");
    }
    fprintf(stream, "%12zu %16zu  in all\n", census->count, census->bytes);
}

static void print_row(const struct fl_census_row *row, FILE *stream)
{
    fprintf(stream, "    {\"type\": ");
    fli_json_print(row->type, stream);
    fprintf(stream, ", \"count\": %zu, \"bytes\": %zu}", row->count, row->bytes);
}

static void print_json(const struct fl_census *census, FILE *stream)
{
    fprintf(stream, "{\n  \"count\": %zu,\n  \"bytes\": %zu,\n  \"types\": [", census->count, census->bytes);
    for (size_t i = 0; i < census->used; i++) {
        fprintf(stream, i == 0 ? "\n" : ",\n");
        print_row(&census->rows[i], stream);
    }
    fprintf(stream, "%s]\n}\n", census->used > 0 ? "\n  " : "");
}

int fl_census_print(const struct fl_census *census, FILE *stream, enum fl_stats_format format)
{
    (format == FL_STATS_JSON ? print_json : print_text)(census, stream);
    return fli_stats_printed(stream);
}
