/* SPDX-License-Identifier: MIT
 *
 * Printing a profile: for pprof, which makes estimates of samples itself; or as JSON, with estimates.
 *
 * A block of n bytes is a sample with the probability p(n) = 1 - exp(-n / mean), so a sample stands for 1 / p(n) blocks.
 * The sum over all samples is then unbiased (D. G. Horvitz, D. J. Thompson, A Generalization of Sampling Without
 * Replacement From a Finite Universe, 1952).
 */
#include "heap/profile.h"
#include "api/stats.h"
#include "base/check.h"
#include "base/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Estimates. */

/* exp(x) - 1 for x <= 0, as precise as a double: its power series near 0, else by exp(2x) - 1 = e (e + 2), where e is
 * exp(x) - 1. The library does without libm. */
static double exp_minus_one(double x)
{
    if (x < -40)
        return -1;
    if (x < -0.125) {
        double half = exp_minus_one(x / 2);
        return half * (half + 2);
    }
    double sum = 0, term = x;
    for (int i = 2; i < 16; i++) {
        sum += term;
        term *= x / i;
    }
    return sum;
}

/* How many blocks a sample of the site stands for. */
static double weight_of(const struct fli_site *site, size_t mean)
{
    return -1 / exp_minus_one(-(double)fli_max(site->key.size, 1) / (double)mean);
}

struct sums {
    size_t live_samples, samples;
    double live_count, live_bytes, count, bytes;
};

static void add(struct sums *sums, const struct sums *more)
{
    sums->live_samples += more->live_samples;
    sums->samples += more->samples;
    sums->live_count += more->live_count;
    sums->live_bytes += more->live_bytes;
    sums->count += more->count;
    sums->bytes += more->bytes;
}

static struct sums sums_of(const struct fli_site *site, size_t mean)
{
    double weight = weight_of(site, mean), size = (double)site->key.size;
    double live = (double)site->live * weight, all = (double)site->allocated * weight;
    return (struct sums){site->live, site->allocated, live, live * size, all, all * size};
}

/* ---- Rows of JSON: sites of the same key are added up. */

struct row {
    const struct fli_site_key *key;
    struct sums sums;
};

typedef int (*comparison)(const void *, const void *);

static int compare_sizes(size_t size, size_t other)
{
    return (size > other) - (size < other);
}

static int compare_types(const void *row, const void *other)
{
    const char *type = ((const struct row *)row)->key->type, *other_type = ((const struct row *)other)->key->type;
    if (type == NULL || other_type == NULL)
        return (type == NULL) - (other_type == NULL);
    return strcmp(type, other_type);
}

static int compare_stacks(const void *row, const void *other)
{
    const struct fli_site_key *key = ((const struct row *)row)->key, *other_key = ((const struct row *)other)->key;
    int order = compare_sizes(key->depth, other_key->depth);
    if (order == 0 && key->depth > 0)
        order = memcmp(key->frames, other_key->frames, key->depth * sizeof *key->frames);
    return order != 0 ? order : compare_types(row, other);
}

/* Those with the most live bytes come first, then those with the most bytes. */
static int compare_bytes(const void *row, const void *other)
{
    const struct sums *sums = &((const struct row *)row)->sums, *others = &((const struct row *)other)->sums;
    if (sums->live_bytes != others->live_bytes)
        return sums->live_bytes < others->live_bytes ? 1 : -1;
    if (sums->bytes != others->bytes)
        return sums->bytes < others->bytes ? 1 : -1;
    return compare_stacks(row, other);
}

/* Adds up the rows that compare as equal. Returns how many are left, sorted. */
static size_t group(struct row *rows, size_t count, comparison compare)
{
    size_t used = 0;
    if (count == 0)
        return 0;
    qsort(rows, count, sizeof *rows, compare);
    for (size_t i = 0; i < count; i++) {
        if (used > 0 && compare(&rows[used - 1], &rows[i]) == 0)
            add(&rows[used - 1].sums, &rows[i].sums);
        else
            rows[used++] = rows[i];
    }
    qsort(rows, used, sizeof *rows, compare_bytes);
    return used;
}

/* Makes a row of each site. Returns how many there are. */
static size_t fill(struct row *rows, const struct fli_profile_state *copy)
{
    const struct fli_site *site = fli_profile_sites(copy), *end = fli_profile_sites_end(copy);
    size_t count = 0;
    for (; site != end; site = fli_profile_next_site(site))
        rows[count++] = (struct row){.key = &site->key, .sums = sums_of(site, copy->mean)};
    return count;
}

/* ---- JSON. */

static void print_sums(const struct sums *sums, FILE *stream)
{
    fprintf(stream,
            "\"live_samples\": %zu, \"live_count\": %.0f, \"live_bytes\": %.0f, \"samples\": %zu, \"count\": %.0f, "
            "\"bytes\": %.0f",
            sums->live_samples, sums->live_count, sums->live_bytes, sums->samples, sums->count, sums->bytes);
}

static void print_frames(const struct fli_site_key *key, FILE *stream)
{
    fprintf(stream, "\"frames\": [");
    for (size_t i = 0; i < key->depth; i++)
        fprintf(stream, "%s\"0x%zx\"", i > 0 ? ", " : "", (size_t)(uintptr_t)key->frames[i]);
    fprintf(stream, "], ");
}

static void print_rows(const char *name, const struct row *rows, size_t count, bool with_frames, FILE *stream)
{
    fprintf(stream, ",\n  \"%s\": [", name);
    for (size_t i = 0; i < count; i++) {
        fprintf(stream, "%s\n    {\"type\": ", i > 0 ? "," : "");
        fli_json_print(rows[i].key->type, stream);
        fprintf(stream, ", ");
        if (with_frames)
            print_frames(rows[i].key, stream);
        print_sums(&rows[i].sums, stream);
        fprintf(stream, "}");
    }
    fprintf(stream, "%s]", count > 0 ? "\n  " : "");
}

static void print_json(const struct fli_profile_state *copy, struct row *rows, FILE *stream)
{
    struct sums all = {0};
    size_t count = fill(rows, copy);
    for (size_t i = 0; i < count; i++)
        add(&all, &rows[i].sums);
    fprintf(stream, "{\n  \"mean_bytes\": %zu,\n  \"is_on\": %s,\n  \"dropped\": %zu,\n  ", copy->mean,
            copy->is_on ? "true" : "false", copy->dropped);
    print_sums(&all, stream);
    count = group(rows, count, compare_stacks);
    print_rows("stacks", rows, count, true, stream);
    print_rows("types", rows, group(rows, count, compare_types), false, stream);
    fprintf(stream, "\n}\n");
}

/* ---- The text that pprof reads: of gperftools, as its tcmalloc prints it. */

static void print_counts(size_t live, size_t live_bytes, size_t all, size_t bytes, FILE *stream)
{
    fprintf(stream, "%6zu: %8zu [%6zu: %8zu] @", live, live_bytes, all, bytes);
}

static void print_site(const struct fli_site *site, FILE *stream)
{
    size_t size = site->key.size;
    print_counts(site->live, site->live * size, site->allocated, site->allocated * size, stream);
    for (size_t i = 0; i < site->key.depth; i++)
        fprintf(stream, " 0x%zx", (size_t)(uintptr_t)site->key.frames[i]);
    fputc('\n', stream);
}

/* What is mapped into the process, so that pprof finds the functions of addresses. */
static void print_mappings(FILE *stream)
{
    char text[1024];
    ssize_t got;
    fprintf(stream, "\nMAPPED_LIBRARIES:\n");
    int file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    while ((got = read(file, text, sizeof text)) > 0)
        fwrite(text, 1, (size_t)got, stream);
    close(file);
}

static void print_pprof(const struct fli_profile_state *copy, FILE *stream)
{
    const struct fli_site *first = fli_profile_sites(copy), *end = fli_profile_sites_end(copy);
    size_t live = 0, live_bytes = 0, all = 0, bytes = 0;
    for (const struct fli_site *site = first; site != end; site = fli_profile_next_site(site)) {
        live += site->live;
        live_bytes += site->live * site->key.size;
        all += site->allocated;
        bytes += site->allocated * site->key.size;
    }
    fprintf(stream, "heap profile: ");
    print_counts(live, live_bytes, all, bytes, stream);
    fprintf(stream, " heap_v2/%zu\n", copy->mean);
    for (const struct fli_site *site = first; site != end; site = fli_profile_next_site(site))
        print_site(site, stream);
    print_mappings(stream);
}

/* ---- Both. */

/* What printing takes, and gives back also where writing is cancelled. */
struct printing {
    struct fli_profile_state *copy;
    struct row *rows;
    size_t row_bytes;
};

static void end(struct printing *printing)
{
    if (printing->rows != NULL)
        fli_os_unmap(printing->rows, printing->row_bytes);
    fli_profile_state_free(printing->copy);
}

int fl_profile_print(struct fl_heap *heap, FILE *stream, enum fl_profile_format format)
{
    __attribute__((cleanup(end))) struct printing printing = {0};
    int failed = fli_profile_copy(heap, &printing.copy);
    if (failed == -ENOENT) {
        fli_misuse("fl_profile_print", heap, NULL, "was never profiled: fl_profile_start comes before");
        return -EINVAL;
    }
    if (failed != 0)
        return failed;
    if (format == FL_PROFILE_PPROF) {
        print_pprof(printing.copy, stream);
        return fli_stats_printed(stream);
    }
    printing.row_bytes = (printing.copy->site_bytes / sizeof(struct fli_site) + 1) * sizeof(struct row);
    printing.rows = fli_os_map(printing.row_bytes);
    if (printing.rows == NULL)
        return -ENOMEM;
    print_json(printing.copy, printing.rows, stream);
    return fli_stats_printed(stream);
}
