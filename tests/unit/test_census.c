/* SPDX-License-Identifier: MIT
 *
 * The census: each live block is counted under the name that the host gives.
 */
/* link: -Wl,--wrap=mmap */
#include "support.h"

#include "grant.h"

enum { SIZE = 48, LARGE = 40000, TYPES = 1000 };

/* An object, whose first word names its type. */
static void *object_of(struct fl_thread *thread, const char *type, size_t size)
{
    const char **object = fl_alloc(thread, size);
    assert_non_null(object);
    *object = type;
    return object;
}

static const char *type_of(void *context, const struct fl_block *block)
{
    (void)context;
    return *(const char **)block->start;
}

static int try_census(struct fl_heap *heap, struct fl_census **census)
{
    assert_int_equal(fl_heap_walk_begin(heap), 0);
    int failed = fl_census_take(heap, type_of, NULL, census);
    assert_int_equal(fl_heap_walk_end(heap), 0);
    return failed;
}

static struct fl_census *census_of(struct fl_heap *heap)
{
    struct fl_census *census = NULL;
    assert_int_equal(try_census(heap, &census), 0);
    return census;
}

static void assert_printed(const struct fl_census *census, enum fl_stats_format format, const char *expected)
{
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    assert_int_equal(fl_census_print(census, stream, format), 0);
    fclose(stream);
    assert_string_equal(text, expected);
    free(text);
}

static void assert_row(const struct fl_census_row *row, const char *type, size_t count, size_t bytes)
{
    assert_string_equal(row->type, type);
    assert_int_equal(row->count, count);
    assert_int_equal(row->bytes, bytes);
}

static void an_empty_heap_has_no_types(void **state)
{
    struct bed *bed = *state;
    struct fl_census *census = census_of(bed->heap);
    const struct fl_census_row *rows;
    assert_int_equal(fl_census_rows(census, &rows), 0);
    assert_printed(census, FL_STATS_JSON, "{\n  \"count\": 0,\n  \"bytes\": 0,\n  \"types\": []\n}\n");
    assert_printed(census, FL_STATS_TEXT,
                   "       count            bytes  type\n"
                   "           0                0  in all\n");
    fl_census_free(census);
    fl_census_free(NULL);
}

static void live_blocks_are_counted_by_type(void **state)
{
    struct bed *bed = *state;
    char other_list[] = "list"; /* the same type as "list", elsewhere */
    void *objects[] = {
        object_of(bed->thread, "list", SIZE),     object_of(bed->thread, "float", SIZE),
        object_of(bed->thread, other_list, SIZE), object_of(bed->thread, "array", LARGE),
        object_of(bed->thread, NULL, SIZE),
    };
    void *dead = object_of(bed->thread, "list", SIZE);
    fl_free(bed->thread, dead);
    struct fl_census *census = census_of(bed->heap);
    const struct fl_census_row *rows;
    assert_int_equal(fl_census_rows(census, &rows), 4);
    assert_row(&rows[0], "array", 1, LARGE);
    assert_row(&rows[1], "list", 2, 2 * SIZE);
    assert_row(&rows[2], "float", 1, SIZE);
    assert_null(rows[3].type);
    assert_printed(census, FL_STATS_TEXT,
                   "       count            bytes  type\n"
                   "           1            40000  array\n"
                   "           2               96  list\n"
                   "           1               48  float\n"
                   "           1               48  (unknown)\n"
                   "           5            40192  in all\n");
    assert_printed(census, FL_STATS_JSON,
                   "{\n  \"count\": 5,\n  \"bytes\": 40192,\n  \"types\": [\n"
                   "    {\"type\": \"array\", \"count\": 1, \"bytes\": 40000},\n"
                   "    {\"type\": \"list\", \"count\": 2, \"bytes\": 96},\n"
                   "    {\"type\": \"float\", \"count\": 1, \"bytes\": 48},\n"
                   "    {\"type\": null, \"count\": 1, \"bytes\": 48}\n"
                   "  ]\n}\n");
    fl_census_free(census);
    for (size_t i = 0; i < COUNT_OF(objects); i++)
        fl_free(bed->thread, objects[i]);
}

static void names_are_quoted_in_json(void **state)
{
    struct bed *bed = *state;
    void *object = object_of(bed->thread, "a\"b\\c\nd\x01", SIZE);
    struct fl_census *census = census_of(bed->heap);
    assert_printed(census, FL_STATS_JSON,
                   "{\n  \"count\": 1,\n  \"bytes\": 48,\n  \"types\": [\n"
                   "    {\"type\": \"a\\\"b\\\\c\\u000ad\\u0001\", \"count\": 1, \"bytes\": 48}\n"
                   "  ]\n}\n");
    fl_census_free(census);
    fl_free(bed->thread, object);
}

/* Many types, whose objects take more bytes the higher their number. */
static void make_many(struct fl_thread *thread, void **objects, char (*names)[16])
{
    for (unsigned i = 0; i < TYPES; i++) {
        unsigned number = i * 7 % TYPES;
        snprintf(names[number], sizeof names[number], "type %u", number);
        objects[number] = object_of(thread, names[number], 16 * (number % 32 + 1));
    }
}

static void there_may_be_many_types(void **state)
{
    struct bed *bed = *state;
    static void *objects[TYPES];
    static char names[TYPES][16];
    make_many(bed->thread, objects, names);
    struct fl_census *census = census_of(bed->heap);
    const struct fl_census_row *rows;
    assert_int_equal(fl_census_rows(census, &rows), TYPES);
    for (unsigned i = 0; i < TYPES; i++) {
        assert_int_equal(rows[i].count, 1);
        if (i > 0 && rows[i].bytes == rows[i - 1].bytes)
            assert_true(strcmp(rows[i - 1].type, rows[i].type) < 0);
        else if (i > 0)
            assert_true(rows[i].bytes < rows[i - 1].bytes);
    }
    fl_census_free(census);
    for (unsigned i = 0; i < TYPES; i++)
        fl_free(bed->thread, objects[i]);
}

static void without_memory_there_is_no_census(void **state)
{
    struct bed *bed = *state;
    static void *objects[TYPES];
    static char names[TYPES][16];
    make_many(bed->thread, objects, names);
    int failed = -ENOMEM;
    unsigned refused = 0;
    for (; failed == -ENOMEM; refused++) {
        struct fl_census *census = NULL;
        granted = 1 + refused; /* of which the walk takes one */
        failed = try_census(bed->heap, &census);
        granted = UINT_MAX;
        assert_int_equal(census != NULL, failed == 0);
        fl_census_free(census);
    }
    assert_int_equal(failed, 0);
    assert_true(refused > 3);
    for (unsigned i = 0; i < TYPES; i++)
        fl_free(bed->thread, objects[i]);
}

static void outside_of_a_walk_a_census_is_misuse(void **state)
{
    struct bed *bed = *state;
    struct fl_census *census = NULL;
    assert_int_equal(fl_census_take(bed->heap, type_of, NULL, &census), -EINVAL);
    assert_misuse("fl_census_take", bed->heap, "is not being walked");
    assert_null(census);
}

static void a_stream_that_fails_is_told(void **state)
{
    struct bed *bed = *state;
    struct fl_census *census = census_of(bed->heap);
    FILE *full = fopen("/dev/full", "w");
    assert_non_null(full);
    assert_int_equal(fl_census_print(census, full, FL_STATS_JSON), -EIO);
    fclose(full);
    fl_census_free(census);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BED_TEST(an_empty_heap_has_no_types),        BED_TEST(live_blocks_are_counted_by_type),
        BED_TEST(names_are_quoted_in_json),          BED_TEST(there_may_be_many_types),
        BED_TEST(without_memory_there_is_no_census), MISUSE_TEST(outside_of_a_walk_a_census_is_misuse),
        BED_TEST(a_stream_that_fails_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
