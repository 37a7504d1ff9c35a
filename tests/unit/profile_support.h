/* SPDX-License-Identifier: MIT
 *
 * What the tests of profiles share: profiles that count exactly, and what they print.
 */
#ifndef TESTS_PROFILE_SUPPORT_H
#define TESTS_PROFILE_SUPPORT_H

#include "support.h"

/* Of a profile of this mean, every block above some bytes is a sample. */
static const struct fl_profile_options exact = {.mean_bytes = 1, .timeout_ms = 10000};

static inline void start_with(struct fl_heap *heap, const struct fl_profile_options *options)
{
    assert_int_equal(fl_profile_start(heap, options), 0);
}

/* What is printed, to be freed. Inline, it would look to gcc as if it were on the stack. */
static __attribute__((noinline, unused)) char *printed(struct fl_heap *heap, enum fl_profile_format format)
{
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    assert_non_null(stream);
    assert_int_equal(fl_profile_print(heap, stream, format), 0);
    fclose(stream);
    return text;
}

/* The numbers of a line of pprof's text. */
struct numbers {
    size_t live, live_bytes, count, bytes;
};

/* Reads the numbers at the start of `text`. Returns what follows them. */
static inline const char *read_numbers(const char *text, struct numbers *numbers)
{
    int read = 0;
    assert_int_equal(sscanf(text, "%zu: %zu [%zu: %zu] @%n", &numbers->live, &numbers->live_bytes, &numbers->count,
                            &numbers->bytes, &read),
                     4);
    assert_true(read > 0);
    return text + read;
}

static inline struct numbers totals_of(struct fl_heap *heap)
{
    struct numbers totals;
    char *text = printed(heap, FL_PROFILE_PPROF);
    assert_memory_equal(text, "heap profile: ", 14);
    read_numbers(text + 14, &totals);
    free(text);
    return totals;
}

static inline void assert_counts(struct fl_heap *heap, size_t live, size_t live_bytes, size_t count, size_t bytes)
{
    struct numbers totals = totals_of(heap);
    assert_int_equal(totals.live, live);
    assert_int_equal(totals.live_bytes, live_bytes);
    assert_int_equal(totals.count, count);
    assert_int_equal(totals.bytes, bytes);
    assert_sound(heap);
}

#endif
