/* SPDX-License-Identifier: MIT */
#include "grace_support.h"

#include "memory/sizeclass.h"

enum { SIZE = 48, MANY = 1000 };

static void every_number_is_exact_while_the_threads_are_quiet(void **state)
{
    struct bed *bed = *state;
    void *blocks[MANY], *large[2];
    struct fl_thread *other = fl_thread_attach(bed->heap);
    assert_int_equal(fl_alloc_many(bed->thread, SIZE, MANY, blocks), 0);
    large[0] = fl_alloc(bed->thread, 40000);
    large[1] = fl_alloc(bed->thread, 100000);
    fl_free_many(other, SIZE, 300, blocks);
    fl_thread_flush(bed->thread);

    struct fl_stats stats = stats_of(bed->heap);
    struct fl_class_stats class = stats.classes[fl_size_class(SIZE)];
    assert_int_equal(class.block_bytes, SIZE);
    assert_int_equal(class.live, 700);
    assert_int_equal(class.slabs, (MANY * SIZE + 65535) / 65536);
    assert_int_equal(class.carved, class.slabs * (65536 / SIZE));
    assert_in_range(class.cached, 1, 300);
    assert_int_equal(class.lost, 0);
    assert_int_equal(class.pooled, 0);
    assert_int_equal(class.parked, class.carved - 700 - class.cached);

    assert_int_equal(stats.threads, 2);
    assert_int_equal(stats.live_blocks, 702);
    assert_int_equal(stats.live_bytes, 700 * SIZE + 140000);
    assert_int_equal(stats.large_blocks, 2);
    assert_int_equal(stats.large_bytes, 140000);
    assert_int_equal(stats.cached_bytes, class.cached * SIZE);
    assert_int_equal(stats.pooled_bytes, 0);
    assert_int_equal(stats.parked_bytes, class.parked * SIZE);
    assert_int_equal(stats.lost_bytes, 0);
    assert_int_equal(stats.slabs, class.slabs);
    assert_int_equal(stats.slab_bytes, class.slabs * 65536);
    assert_true(stats.mapped_bytes > stats.slab_bytes && stats.reserved_bytes >= stats.slab_bytes);
    assert_true(stats.empty_magazines <= stats.magazines);
    assert_true(stats.magazines * class.magazine_blocks >= class.cached);

    fl_free_many(bed->thread, SIZE, 700, blocks + 300);
    fl_free(bed->thread, large[0]);
    fl_free(bed->thread, large[1]);
    assert_int_equal(fl_thread_detach(other), 0);
    assert_int_equal(stats_of(bed->heap).live_bytes, 0);
}

static void classes_are_listed_with_their_sizes_before_any_is_used(void **state)
{
    struct bed *bed = *state;
    struct fl_stats stats = stats_of(bed->heap);
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++) {
        assert_int_equal(stats.classes[c].block_bytes, fli_class_bytes(c));
        assert_true(stats.classes[c].magazine_blocks >= 2);
        assert_int_equal(stats.classes[c].carved, 0);
    }
}

/* Blocks too large to go home, more than a thread keeps at first. */
static void exchange_with_the_pool(struct fl_thread *thread)
{
    void *blocks[MANY];
    assert_int_equal(fl_alloc_many(thread, FL_BLOCK_MAX, MANY, blocks), 0);
    fl_free_many(thread, FL_BLOCK_MAX, MANY, blocks);
    fl_thread_flush(thread);
}

static void counters_of_detached_threads_are_kept(void **state)
{
    struct bed *bed = *state;
    struct fl_thread *other = fl_thread_attach(bed->heap);
    exchange_with_the_pool(other);
    struct fl_stats before = stats_of(bed->heap);
    assert_true(before.exchanges > 0 && before.shared_updates >= before.exchanges);
    assert_int_equal(fl_thread_detach(other), 0);
    struct fl_stats after = stats_of(bed->heap);
    assert_int_equal(after.exchanges, before.exchanges);
    assert_int_equal(after.shared_updates, before.shared_updates);
}

/* ---- Printing. */

static char *printed(struct fl_heap *heap, enum fl_stats_format format)
{
    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    assert_non_null(stream);
    assert_int_equal(fl_heap_print_stats(heap, stream, format), 0);
    assert_int_equal(fclose(stream), 0);
    return text;
}

/* A reader of JSON that keeps nothing: it moves past one value, or to NULL if there is none. */
static const char *past_value(const char *at);

static const char *past_space(const char *at)
{
    return at + strspn(at, " \t\r\n");
}

static const char *past_string(const char *at)
{
    if (*at++ != '"')
        return NULL;
    at += strcspn(at, "\"\\\n");
    return *at == '"' ? at + 1 : NULL;
}

static const char *past_number(const char *at)
{
    size_t digits = strspn(at, "0123456789");
    return digits > 0 && (digits == 1 || *at != '0') ? at + digits : NULL;
}

static const char *past_members(const char *at, char end, bool named)
{
    at = past_space(at + 1);
    if (*at == end)
        return at + 1;
    for (;;) {
        if (named) {
            at = past_string(past_space(at));
            if (at == NULL || *(at = past_space(at)) != ':')
                return NULL;
            at++;
        }
        at = past_value(past_space(at));
        if (at == NULL)
            return NULL;
        at = past_space(at);
        if (*at == end)
            return at + 1;
        if (*at++ != ',')
            return NULL;
    }
}

static const char *past_value(const char *at)
{
    if (*at == '{')
        return past_members(at, '}', true);
    if (*at == '[')
        return past_members(at, ']', false);
    return *at == '"' ? past_string(at) : past_number(at);
}

static void assert_json(const char *text)
{
    const char *end = past_value(past_space(text));
    if (end == NULL || *past_space(end) != '\0')
        fail_msg("not JSON:\n%s", text);
}

static uint64_t number_in(const char *text, const char *name)
{
    char key[64];
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *at = strstr(text, key);
    if (at == NULL)
        fail_msg("no %s in\n%s", key, text);
    return strtoull(at + strlen(key), NULL, 10);
}

static void json_of_an_empty_heap_is_json(void **state)
{
    struct bed *bed = *state;
    char *text = printed(bed->heap, FL_STATS_JSON);
    assert_json(text);
    assert_contains(text, "\"classes\"");
    free(text);
}

static void json_says_what_the_statistics_say(void **state)
{
    struct bed *bed = *state;
    void *blocks[MANY], *other = fl_alloc(bed->thread, 5000), *large = fl_alloc(bed->thread, 99999);
    assert_int_equal(fl_alloc_many(bed->thread, SIZE, MANY, blocks), 0);
    fl_thread_flush(bed->thread);
    struct fl_stats stats = stats_of(bed->heap);
    char *text = printed(bed->heap, FL_STATS_JSON);
    assert_json(text);
    const struct {
        const char *name;
        uint64_t value;
    } expected[] = {
        {"threads", stats.threads},
        {"live_blocks", stats.live_blocks},
        {"live_bytes", stats.live_bytes},
        {"cached_bytes", stats.cached_bytes},
        {"pooled_bytes", stats.pooled_bytes},
        {"parked_bytes", stats.parked_bytes},
        {"lost_bytes", stats.lost_bytes},
        {"large_blocks", stats.large_blocks},
        {"large_bytes", stats.large_bytes},
        {"slabs", stats.slabs},
        {"slab_bytes", stats.slab_bytes},
        {"reserved_bytes", stats.reserved_bytes},
        {"mapped_bytes", stats.mapped_bytes},
        {"magazines", stats.magazines},
        {"empty_magazines", stats.empty_magazines},
        {"exchanges", stats.exchanges},
        {"shared_updates", stats.shared_updates},
        {"cas_failures", stats.cas_failures},
        {"home_visits", stats.home_visits},
        {"trims", stats.trims},
        {"trimmed_bytes", stats.trimmed_bytes},
        {"deferred_bytes", stats.deferred_bytes},
        {"retired_bytes", stats.retired_bytes},
        {"grace_periods", stats.grace_periods},
        {"grace_refusals", stats.grace_refusals},
        {"pressures", stats.pressures},
        {"over_bytes", stats.over_bytes},
    };
    for (size_t i = 0; i < COUNT_OF(expected); i++)
        assert_int_equal(number_in(text, expected[i].name), expected[i].value);
    const char *class = strstr(text, "\"block_bytes\": 48");
    assert_non_null(class);
    assert_int_equal(number_in(class, "live"), MANY);
    assert_int_equal(number_in(class, "carved"), class_stats_of(bed->heap, SIZE).carved);
    assert_int_equal(number_in(class, "pooled"), class_stats_of(bed->heap, SIZE).pooled);
    assert_int_equal(number_in(class, "magazine_blocks"), class_stats_of(bed->heap, SIZE).magazine_blocks);
    assert_contains(text, "\"block_bytes\": 5120");
    free(text);
    fl_free_many(bed->thread, SIZE, MANY, blocks);
    fl_free(bed->thread, other);
    fl_free(bed->thread, large);
}

static void what_is_deferred_is_counted_and_printed(void **state)
{
    (void)state;
    struct played_host host = {.refusal = -ENOMEM};
    struct bed bed = bed_of_host(&host, &(struct fl_options){.defer_bytes = 1000});
    defer_some(bed.thread, SIZE, MANY);
    defer_some(bed.thread, 100000, 1);
    fl_thread_flush(bed.thread);
    host.refusal = 0;
    fl_quiescent(bed.thread);
    struct fl_stats stats = stats_of(bed.heap);
    struct fl_class_stats class = stats.classes[fl_size_class(SIZE)];
    assert_int_equal(class.deferred, MANY);
    assert_int_equal(class.live, 0);
    assert_int_equal(class.carved, class.deferred + class.cached + class.pooled + class.parked);
    assert_int_equal(stats.deferred_bytes, MANY * SIZE + 100000);
    assert_int_equal(stats.live_bytes + stats.large_bytes, 0);
    assert_int_equal(stats.grace_periods, 1);
    assert_true(stats.grace_refusals > 0);
    assert_int_equal(stats.pressures, 1);
    assert_true(stats.over_bytes >= 100000 && stats.over_bytes <= stats.deferred_bytes);
    char *text = printed(bed.heap, FL_STATS_JSON);
    assert_json(text);
    assert_int_equal(number_in(text, "deferred_bytes"), stats.deferred_bytes);
    assert_int_equal(number_in(text, "grace_periods"), 1);
    assert_int_equal(number_in(text, "grace_refusals"), stats.grace_refusals);
    assert_int_equal(number_in(text, "pressures"), 1);
    assert_int_equal(number_in(text, "over_bytes"), stats.over_bytes);
    assert_int_equal(number_in(strstr(text, "\"block_bytes\": 48"), "deferred"), MANY);
    free(text);
    char line[64];
    snprintf(line, sizeof line, "%-16s %20zu\n", "deferred_bytes", stats.deferred_bytes);
    text = printed(bed.heap, FL_STATS_TEXT);
    assert_contains(text, line);
    free(text);
    let_all_go(&host, bed.thread);
    assert_int_equal(stats_of(bed.heap).deferred_bytes, 0);
    end_bed(&bed);
}

static void text_has_a_line_per_number_and_per_class_in_use(void **state)
{
    struct bed *bed = *state;
    void *first = fl_alloc(bed->thread, SIZE), *second = fl_alloc(bed->thread, 320);
    char *text = printed(bed->heap, FL_STATS_TEXT);
    char line[64];
    snprintf(line, sizeof line, "%-16s %20zu\n", "live_bytes", (size_t)SIZE + 320);
    assert_contains(text, line);
    assert_contains(text, "\n      48 ");
    assert_contains(text, "\n     320 ");
    assert_null(strstr(text, "\n      64 "));
    free(text);
    fl_free(bed->thread, first);
    fl_free(bed->thread, second);
}

static void a_stream_that_cannot_be_written_is_an_error(void **state)
{
    struct bed *bed = *state;
    for (int buffered = 0; buffered <= 1; buffered++) {
        for (int format = FL_STATS_TEXT; format <= FL_STATS_JSON; format++) {
            FILE *full = fopen("/dev/full", "w");
            assert_non_null(full);
            if (!buffered)
                setvbuf(full, NULL, _IONBF, 0);
            assert_int_equal(fl_heap_print_stats(bed->heap, full, (enum fl_stats_format)format), -EIO);
            fclose(full);
        }
    }
}

/* ---- While threads work. */

struct worker {
    struct fl_heap *heap;
    unsigned char stop;
};

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct fl_thread *thread = fl_thread_attach(worker->heap);
    void *blocks[64];
    while (!__atomic_load_n(&worker->stop, __ATOMIC_RELAXED)) {
        fl_alloc_many(thread, SIZE, COUNT_OF(blocks), blocks);
        for (size_t i = 0; i < COUNT_OF(blocks); i++)
            fl_free_sized(thread, blocks[i], SIZE);
        fl_free(thread, fl_alloc(thread, 50000));
    }
    return NULL;
}

static void statistics_can_be_taken_at_any_time_and_stay_within_reason(void **state)
{
    struct bed *bed = *state;
    struct worker worker = {.heap = bed->heap};
    pthread_t threads[2];
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, &worker), 0);
    uint64_t exchanges = 0;
    for (unsigned i = 0; i < 300; i++) {
        struct fl_stats stats = stats_of(bed->heap);
        struct fl_class_stats class = stats.classes[fl_size_class(SIZE)];
        assert_true(stats.threads >= 1 && stats.threads <= 3);
        assert_true(class.live <= class.carved);
        assert_true(class.cached <= class.carved);
        assert_true(class.parked <= class.carved);
        assert_true(stats.large_blocks <= 2);
        assert_true(stats.exchanges >= exchanges);
        exchanges = stats.exchanges;
    }
    __atomic_store_n(&worker.stop, 1, __ATOMIC_RELAXED);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(stats_of(bed->heap).live_blocks, 0);
}

/* ---- While slabs change classes. */

#define LIMIT_BYTES ((size_t)4 << 16)

/* Takes all that the limit allows for one size, and gives it back; then for the other. */
static void *swing(void *argument)
{
    static const size_t sizes[] = {4096, 32768};
    struct worker *worker = argument;
    struct fl_thread *thread = fl_thread_attach(worker->heap);
    void *blocks[LIMIT_BYTES / 4096];
    for (unsigned i = 0; !__atomic_load_n(&worker->stop, __ATOMIC_RELAXED); i++) {
        size_t size = sizes[i % 2], count = 0;
        while (count < LIMIT_BYTES / size && (blocks[count] = fl_alloc(thread, size)) != NULL)
            count++;
        fl_free_many(thread, size, count, blocks);
        fl_thread_flush(thread);
        fl_heap_trim(worker->heap, i % 4 < 2 ? 0 : LIMIT_BYTES / 2);
    }
    return NULL;
}

static void no_sum_exceeds_the_limit_while_slabs_change_classes(void **state)
{
    (void)state;
    struct worker worker = {
        .heap = heap_with(&(struct fl_options){.limit_bytes = LIMIT_BYTES, .retain_bytes = LIMIT_BYTES})};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, swing, &worker), 0);
    uint64_t trims = 0;
    for (unsigned i = 0; i < 20000 || trims < 100; i++) {
        struct fl_stats stats = stats_of(worker.heap);
        size_t held = stats.cached_bytes + stats.pooled_bytes + stats.parked_bytes + stats.lost_bytes;
        assert_in_range(stats.slab_bytes + stats.idle_bytes + stats.retired_bytes, 0, LIMIT_BYTES);
        assert_in_range(stats.live_bytes + held, 0, stats.slab_bytes);
        for (unsigned c = 1; c < FL_CLASS_COUNT; c++) {
            const struct fl_class_stats *class = &stats.classes[c];
            assert_int_equal(class->carved, class->live + class->cached + class->pooled + class->parked);
        }
        trims = stats.trims;
    }
    __atomic_store_n(&worker.stop, 1, __ATOMIC_RELAXED);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(stats_of(worker.heap).live_blocks, 0);
    end_heap(worker.heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BED_TEST(every_number_is_exact_while_the_threads_are_quiet),
        BED_TEST(classes_are_listed_with_their_sizes_before_any_is_used),
        BED_TEST(counters_of_detached_threads_are_kept),
        BED_TEST(json_of_an_empty_heap_is_json),
        BED_TEST(json_says_what_the_statistics_say),
        cmocka_unit_test(what_is_deferred_is_counted_and_printed),
        BED_TEST(text_has_a_line_per_number_and_per_class_in_use),
        BED_TEST(a_stream_that_cannot_be_written_is_an_error),
        BED_TEST(statistics_can_be_taken_at_any_time_and_stay_within_reason),
        cmocka_unit_test(no_sum_exceeds_the_limit_while_slabs_change_classes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
