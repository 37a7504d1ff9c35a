/* SPDX-License-Identifier: MIT */
#include "support.h"

#include <sys/resource.h>

#include "heap/options.h"

enum { SIZE = 48 };

/* ---- Creating and destroying. */

static void a_heap_without_options_has_the_defaults(void **state)
{
    (void)state;
    struct fl_heap *heap = heap_with(NULL);
    struct fl_stats stats = stats_of(heap);
    assert_int_equal(stats.reserved_bytes, FLI_RESERVE_FIRST);
    assert_int_equal(stats.threads, 0);
    assert_int_equal(stats.slabs, 0);
    assert_int_equal(stats.live_blocks, 0);
    assert_true(stats.mapped_bytes < 2 * FLI_MIB);
    end_heap(heap);
}

static void options_that_make_no_sense_are_refused_naming_them(void **state)
{
    (void)state;
    static const struct {
        struct fl_options options;
        const char *culprit;
    } cases[] = {
        {{.reserve_bytes = 1}, "reserve"},
        {{.reserve_bytes = 4 * FLI_MIB - 1}, "reserve"},
        {{.reserve_bytes = 1024 * FLI_GIB + 1}, "reserve"},
        {{.reserve_bytes = SIZE_MAX}, "reserve"},
        {{.magazine_blocks = 1}, "magazine"},
        {{.magazine_blocks = 255}, "magazine"},
        {{.magazine_blocks = UINT32_MAX}, "magazine"},
        {{.limit_bytes = 1}, "limit"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char error[256] = "";
        errno = 0;
        assert_null(fl_heap_create(&cases[i].options, error, sizeof error));
        assert_int_equal(errno, EINVAL);
        assert_contains(error, cases[i].culprit);
        assert_null(fl_heap_create(&cases[i].options, NULL, 0));
    }
}

static void a_reservation_is_taken_as_it_is_given(void **state)
{
    (void)state;
    static const size_t sizes[] = {4 * FLI_MIB, 5 * FLI_MIB, 64 * FLI_MIB, FLI_GIB};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct fl_heap *heap = heap_with(&(struct fl_options){.reserve_bytes = sizes[i]});
        assert_int_equal(stats_of(heap).reserved_bytes, sizes[i]);
        end_heap(heap);
    }
}

static void another_abi_is_refused(void **state)
{
    (void)state;
    char error[256] = "";
    errno = 0;
    assert_null(fl_heap_create_abi(FL_ABI + 1, NULL, error, sizeof error));
    assert_int_equal(errno, ENOTSUP);
    assert_contains(error, "FL_ABI");
}

static void live_blocks_go_with_their_heap(void **state)
{
    (void)state;
    struct bed bed = bed_with(NULL);
    for (size_t size = 0; size < 100000; size = size * 2 + 1) {
        void *block = fl_alloc(bed.thread, size);
        assert_non_null(block);
        memset(block, 1, size);
    }
    assert_true(stats_of(bed.heap).live_blocks > 10);
    end_bed(&bed);
}

static void all_its_address_space_goes_with_a_heap(void **state)
{
    (void)state;
    skip_under_emulator(NO_ACCOUNT_OF_MEMORY);
    size_t before = 0;
    for (unsigned i = 0; i < 100; i++) {
        struct bed bed = bed_with(NULL);
        fl_free(bed.thread, fl_alloc(bed.thread, SIZE));
        end_bed(&bed);
        if (i == 0)
            before = address_space();
    }
    assert_true(address_space() < before + 64 * FLI_MIB);
}

static void heaps_do_not_know_each_other(void **state)
{
    (void)state;
    struct bed beds[10];
    void *blocks[10];
    for (unsigned i = 0; i < 10; i++) {
        beds[i] = bed_with(&(struct fl_options){.magazine_blocks = 2 + i});
        blocks[i] = fl_alloc(beds[i].thread, SIZE);
    }
    for (unsigned i = 0; i < 10; i++)
        for (unsigned j = 0; j < 10; j++)
            assert_int_equal(fl_owns(beds[i].heap, blocks[j]), i == j);
    for (unsigned i = 0; i < 10; i++)
        end_bed(&beds[(i * 7) % 10]);
}

static void a_heap_with_threads_attached_is_not_destroyed(void **state)
{
    (void)state;
    struct bed bed = bed_with(NULL);
    misuse = (struct recorded_misuse){0};
    fl_set_misuse_handler(record_misuse);
    assert_int_equal(fl_heap_destroy(bed.heap), -EBUSY);
    assert_misuse("fl_heap_destroy", bed.heap, "threads attached");
    fl_thread_offline(bed.thread);
    assert_int_equal(fl_heap_destroy(bed.heap), -EBUSY);
    assert_misuse("fl_heap_destroy", bed.heap, "threads attached");
    fl_thread_online(bed.thread);
    fl_free(bed.thread, fl_alloc(bed.thread, SIZE));
    fl_set_misuse_handler(NULL);
    end_bed(&bed);
}

static void a_small_reservation_is_used_to_its_end_and_recovers(void **state)
{
    (void)state;
    struct bed bed = bed_with(&(struct fl_options){.reserve_bytes = 4 * FLI_MIB});
    static void *blocks[4 * FLI_MIB / 1024];
    unsigned count = 0;
    for (unsigned round = 0; round < 3; round++) {
        errno = 0;
        for (count = 0; count < COUNT_OF(blocks); count++)
            if ((blocks[count] = fl_alloc(bed.thread, 1024)) == NULL)
                break;
        if (count < COUNT_OF(blocks))
            assert_int_equal(errno, ENOMEM);
        assert_true(count > COUNT_OF(blocks) * 9 / 10);
        fl_free_many(bed.thread, 1024, count, blocks);
        assert_sound(bed.heap);
    }
    /* The same memory serves another class. */
    fl_thread_flush(bed.thread);
    for (count = 0; count < COUNT_OF(blocks); count++)
        if ((blocks[count] = fl_alloc(bed.thread, 2048)) == NULL)
            break;
    assert_true(count > COUNT_OF(blocks) / 2 * 9 / 10);
    fl_free_many(bed.thread, 2048, count, blocks);
    end_bed(&bed);
}

static size_t parked_bytes_of_classes(struct fl_heap *heap)
{
    struct fl_stats stats = stats_of(heap);
    size_t bytes = 0;
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++)
        bytes += stats.classes[c].parked * stats.classes[c].block_bytes;
    return bytes;
}

static void when_magazines_are_used_up_blocks_are_parked_and_found_again(void **state)
{
    (void)state;
    enum { MANY = 50000 };
    static void *blocks[MANY];
    struct bed bed = bed_with(
        &(struct fl_options){.reserve_bytes = 4 * FLI_MIB, .magazine_blocks = 2, .retain_bytes = SIZE_MAX});
    size_t carved = 0;
    for (unsigned round = 0; round < 3; round++) {
        assert_int_equal(fl_alloc_many(bed.thread, 16, MANY, blocks), 0);
        for (unsigned i = 0; i < MANY; i++)
            *(unsigned *)blocks[i] = i;
        for (unsigned i = 0; i < MANY; i++)
            assert_int_equal(*(unsigned *)blocks[i], i);
        fl_free_many(bed.thread, 16, MANY, blocks);
        struct fl_class_stats class = class_stats_of(bed.heap, 16);
        assert_true(class.parked > MANY / 2);
        assert_int_equal(class.cached + class.pooled + class.parked, class.carved);
        assert_int_equal(stats_of(bed.heap).parked_bytes, parked_bytes_of_classes(bed.heap));
        carved = round == 0 ? class.carved : carved;
        assert_int_equal(class.carved, carved);
        assert_sound(bed.heap);
        /* Other classes can still be had. */
        fl_free(bed.thread, fl_alloc(bed.thread, 2000));
    }
    fl_thread_flush(bed.thread);
    fl_heap_trim(bed.heap, 0);
    assert_int_equal(stats_of(bed.heap).slabs, 0);
    end_bed(&bed);
}

static void a_smaller_magazine_is_kept_to(void **state)
{
    (void)state;
    for (unsigned blocks = 2; blocks <= 64; blocks *= 2) {
        struct bed bed = bed_with(&(struct fl_options){.magazine_blocks = blocks});
        assert_int_equal(class_stats_of(bed.heap, 16).magazine_blocks, blocks);
        size_t first = fli_min(blocks, 32), second = blocks >= 2 * 32 ? blocks - 32 : blocks;
        void *taken[32 + 1];
        assert_int_equal(fl_alloc_many(bed.thread, 16, first + 1, taken), 0);
        assert_int_equal(class_stats_of(bed.heap, 16).cached, second - 1);
        fl_free_many(bed.thread, 16, first + 1, taken);
        end_bed(&bed);
    }
}

/* ---- The limit and the pressure callback. */

struct pressure {
    struct bed *bed;
    void **blocks;
    size_t count, bytes;
    unsigned calls, depth, deepest;
    bool answer;
};

static bool under_pressure(struct fl_heap *heap, size_t bytes, void *context)
{
    struct pressure *pressure = context;
    pressure->calls++;
    pressure->bytes = bytes;
    if (heap != pressure->bed->heap)
        return false;
    while (pressure->count > 0)
        fl_free(pressure->bed->thread, pressure->blocks[--pressure->count]);
    fl_thread_flush(pressure->bed->thread);
    return pressure->answer;
}

static void allocation_stops_at_the_limit_and_goes_on_below_it(void **state)
{
    (void)state;
    struct bed bed = bed_with(&(struct fl_options){.limit_bytes = FLI_MIB});
    static void *blocks[FLI_MIB / 1024 + 1];
    for (unsigned round = 0; round < 3; round++) {
        unsigned count = 0;
        while (count < COUNT_OF(blocks) && (blocks[count] = fl_alloc(bed.thread, 1024)) != NULL)
            count++;
        assert_int_equal(count, FLI_MIB / 1024);
        assert_int_equal(errno, ENOMEM);
        assert_int_equal(stats_of(bed.heap).slab_bytes, FLI_MIB);
        errno = 0;
        assert_null(fl_alloc(bed.thread, 50000));
        assert_int_equal(errno, ENOMEM);
        assert_null(fl_alloc(bed.thread, 16));
        fl_free_many(bed.thread, 1024, count, blocks);
        fl_thread_flush(bed.thread);
    }
    /* Free slabs of one class are given up for another, and for large blocks. */
    void *large = fl_alloc(bed.thread, FLI_MIB - 65536);
    assert_non_null(large);
    void *small = fl_alloc(bed.thread, 16);
    assert_non_null(small);
    assert_null(fl_alloc(bed.thread, 65536));
    fl_free(bed.thread, large);
    fl_free(bed.thread, small);
    end_bed(&bed);
}

static void pressure_is_told_at_the_limit_and_what_it_frees_serves_the_allocation(void **state)
{
    (void)state;
    struct bed bed;
    static void *blocks[2000];
    struct pressure pressure = {.bed = &bed, .blocks = blocks, .answer = true};
    bed = bed_with(&(struct fl_options){.limit_bytes = FLI_MIB, .on_pressure = under_pressure, .context = &pressure});
    for (unsigned i = 0; i < 5000; i++) {
        void *block = fl_alloc(bed.thread, 1000);
        assert_non_null(block);
        blocks[pressure.count++] = block;
    }
    assert_in_range(pressure.calls, 4, 6);
    assert_int_equal(pressure.bytes, 1000);
    errno = EILSEQ;
    void *large = fl_alloc(bed.thread, 900000);
    assert_non_null(large);
    assert_int_equal(errno, EILSEQ);
    assert_int_equal(pressure.bytes, 900000);
    fl_free(bed.thread, large);
    under_pressure(bed.heap, 0, &pressure);
    end_bed(&bed);
}

static void pressure_that_gives_up_lets_the_allocation_fail(void **state)
{
    (void)state;
    struct bed bed;
    struct pressure pressure = {.bed = &bed};
    bed = bed_with(&(struct fl_options){.limit_bytes = 65536, .on_pressure = under_pressure, .context = &pressure});
    void *most = fl_alloc(bed.thread, 40000);
    for (unsigned tries = 1; tries <= 3; tries++) {
        errno = 0;
        assert_null(fl_alloc(bed.thread, 40000));
        assert_int_equal(errno, ENOMEM);
        assert_int_equal(pressure.calls, tries);
    }
    /* One that frees nothing and answers yes has it tried once more, not for ever. */
    pressure.answer = true;
    assert_null(fl_alloc(bed.thread, 40000));
    assert_int_equal(pressure.calls, 4);
    fl_free(bed.thread, most);
    end_bed(&bed);
}

static void a_block_beyond_the_whole_limit_is_refused_without_asking(void **state)
{
    (void)state;
    struct bed bed;
    struct pressure pressure = {.bed = &bed, .answer = true};
    bed = bed_with(&(struct fl_options){.limit_bytes = 65536, .on_pressure = under_pressure, .context = &pressure});
    assert_null(fl_alloc(bed.thread, 65537));
    assert_null(fl_alloc(bed.thread, SIZE_MAX));
    assert_int_equal(pressure.calls, 0);
    end_bed(&bed);
}

static void what_a_thread_caches_does_not_use_up_its_limit(void **state)
{
    (void)state;
    struct bed bed = bed_with(&(struct fl_options){.limit_bytes = FLI_MIB});
    for (size_t size = 16; size <= FL_BLOCK_MAX; size += size < 128 ? 16 : size / 8) {
        void *block = fl_alloc(bed.thread, size);
        assert_non_null(block);
        fl_free(bed.thread, block);
    }
    end_bed(&bed);
}

struct worker {
    struct fl_heap *heap;
    pthread_t thread;
    unsigned refused;
};

static void *stay_within(void *argument)
{
    struct worker *worker = argument;
    struct fl_thread *thread = fl_thread_attach(worker->heap);
    void *blocks[200];
    for (unsigned round = 0; round < (FLI_SANITIZED ? 100 : 500); round++) {
        if (fl_alloc_many(thread, 1024, COUNT_OF(blocks), blocks) != 0)
            worker->refused++;
        else
            fl_free_many(thread, 1024, COUNT_OF(blocks), blocks);
        if (round % 8 == 0)
            fl_heap_trim(worker->heap, 0);
    }
    return NULL;
}

static void threads_that_stay_within_the_limit_together_are_never_refused(void **state)
{
    (void)state;
    struct fl_heap *heap = heap_with(&(struct fl_options){.limit_bytes = FLI_MIB});
    struct worker workers[3];
    for (size_t i = 0; i < COUNT_OF(workers); i++) {
        workers[i] = (struct worker){.heap = heap};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, stay_within, &workers[i]), 0);
    }
    for (size_t i = 0; i < COUNT_OF(workers); i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        assert_int_equal(workers[i].refused, 0);
    }
    end_heap(heap);
}

static bool allocate_under_pressure(struct fl_heap *heap, size_t bytes, void *context)
{
    struct pressure *pressure = context;
    (void)heap;
    if (++pressure->depth > pressure->deepest)
        pressure->deepest = pressure->depth;
    if (pressure->depth < 50)
        fl_free(pressure->bed->thread, fl_alloc(pressure->bed->thread, bytes));
    pressure->depth--;
    return false;
}

static void an_allocation_inside_the_pressure_callback_does_not_call_it_again(void **state)
{
    (void)state;
    struct bed bed;
    struct pressure pressure = {.bed = &bed};
    bed = bed_with(
        &(struct fl_options){.limit_bytes = 65536, .on_pressure = allocate_under_pressure, .context = &pressure});
    void *most = fl_alloc(bed.thread, 40000);
    assert_null(fl_alloc(bed.thread, 40000));
    assert_int_equal(pressure.deepest, 1);
    fl_free(bed.thread, most);
    end_bed(&bed);
}

/* ---- The default heap, of which each process has one: in children. */

static void use_default(void *argument)
{
    const char *text = argument;
    if (text != NULL)
        setenv("FREELANE_OPTIONS", text, 1);
    else
        unsetenv("FREELANE_OPTIONS");
    struct fl_heap *heap = fl_heap_default();
    EXPECT(heap != NULL);
    EXPECT(fl_heap_default() == heap);
    EXPECT(fl_thread_heap(fl_thread_self()) == heap);
    void *block = fl_alloc(fl_thread_self(), SIZE);
    EXPECT(fl_owns(heap, block));
    fl_free(fl_thread_self(), block);
    EXPECT_SOUND(heap);
}

static void the_default_heap_is_made_at_first_use(void **state)
{
    (void)state;
    assert_child_succeeds(use_default, NULL);
    assert_child_succeeds(use_default, "");
}

static void see_the_environment(void *argument)
{
    (void)argument;
    use_default("reserve=128M,magazine=5,limit=1M");
    struct fl_stats stats;
    fl_heap_stats(fl_heap_default(), &stats);
    EXPECT(stats.reserved_bytes == 128 * FLI_MIB);
    EXPECT(stats.classes[1].magazine_blocks == 5);
    EXPECT(fl_alloc(fl_thread_self(), FLI_MIB + 1) == NULL);
}

static void the_environment_gives_the_default_heaps_options(void **state)
{
    (void)state;
    assert_child_succeeds(see_the_environment, NULL);
}

/* Whether a message holds what stands before the "=" of an option. */
static bool names_option(const char *message, const char *option)
{
    char name[32] = "";
    strncat(name, option, strcspn(option, "="));
    return strstr(message, name) != NULL;
}

static void try_malformed_environment(void *argument)
{
    setenv("FREELANE_OPTIONS", argument, 1);
    fl_set_misuse_handler(record_misuse);
    for (unsigned i = 1; i <= 3; i++) {
        errno = 0;
        EXPECT(fl_heap_default() == NULL);
        EXPECT(errno == EINVAL);
        EXPECT(misuse.count == i);
        EXPECT(strstr(misuse.message, "FREELANE_OPTIONS") != NULL);
        EXPECT(names_option(misuse.message, argument));
    }
    EXPECT(fl_alloc(fl_thread_self(), SIZE) == NULL);
    EXPECT(fl_alloc_zeroed(fl_thread_self(), 100000) == NULL);
    fl_free(fl_thread_self(), NULL);
    char foreign;
    fl_free(fl_thread_self(), &foreign);
    EXPECT(fl_thread_heap(fl_thread_self()) == NULL);
    /* Mended, it is read again. */
    use_default("retain=1M");
}

static void a_malformed_environment_is_told_at_each_call_and_never_ignored(void **state)
{
    (void)state;
    assert_child_succeeds(try_malformed_environment, "bogus=1");
    assert_child_succeeds(try_malformed_environment, "retain=x");
    assert_child_succeeds(try_malformed_environment, "magazine=1");
}

static void abort_on_malformed_environment(void *argument)
{
    (void)argument;
    setenv("FREELANE_OPTIONS", "retain=64M,bogus=1", 1);
    fl_alloc(fl_thread_self(), SIZE);
}

static void by_default_a_malformed_environment_ends_the_process_with_a_message(void **state)
{
    (void)state;
    struct child_end end = run_child(abort_on_malformed_environment, NULL);
    assert_true(WIFSIGNALED(end.status) && WTERMSIG(end.status) == SIGABRT);
    assert_contains(end.output, "FREELANE_OPTIONS");
    assert_contains(end.output, "'bogus'");
}

static void destroy_default(void *argument)
{
    (void)argument;
    fl_set_misuse_handler(record_misuse);
    use_default(NULL);
    EXPECT(fl_heap_destroy(fl_heap_default()) == -EPERM);
    EXPECT(fl_thread_detach(fl_thread_self()) == 0);
    EXPECT(fl_heap_destroy(fl_heap_default()) == -EPERM);
    use_default(NULL);
}

static void the_default_heap_cannot_be_destroyed(void **state)
{
    (void)state;
    assert_child_succeeds(destroy_default, NULL);
}

static void *make_default(void *argument)
{
    struct fl_heap **heap = argument;
    *heap = fl_heap_default();
    fl_free(fl_thread_self(), fl_alloc(fl_thread_self(), SIZE));
    return NULL;
}

static void race_for_default(void *argument)
{
    (void)argument;
    pthread_t threads[4];
    struct fl_heap *heaps[4];
    for (unsigned i = 0; i < 4; i++)
        EXPECT(pthread_create(&threads[i], NULL, make_default, &heaps[i]) == 0);
    for (unsigned i = 0; i < 4; i++)
        EXPECT(pthread_join(threads[i], NULL) == 0);
    for (unsigned i = 0; i < 4; i++)
        EXPECT(heaps[i] == fl_heap_default());
    EXPECT_SOUND(fl_heap_default());
}

static void threads_that_race_for_the_default_heap_get_one(void **state)
{
    (void)state;
    assert_child_succeeds(race_for_default, NULL);
}

/* ---- Address space that is refused. */

static void limit_address_space(size_t more)
{
    struct rlimit limit = {.rlim_cur = address_space() + more, .rlim_max = RLIM_INFINITY};
    EXPECT(setrlimit(RLIMIT_AS, &limit) == 0);
}

static void create_in_little_space(void *argument)
{
    (void)argument;
    limit_address_space(FLI_GIB);
    char error[256] = "";
    struct fl_heap *heap = fl_heap_create(NULL, error, sizeof error);
    EXPECT(heap != NULL);
    struct fl_stats stats;
    fl_heap_stats(heap, &stats);
    EXPECT(stats.reserved_bytes >= FLI_RESERVE_MIN && stats.reserved_bytes <= FLI_GIB / 32);
    struct fl_thread *thread = fl_thread_attach(heap);
    for (unsigned i = 0; i < 10000; i++)
        EXPECT(fl_alloc(thread, 1024) != NULL);
    EXPECT_SOUND(heap);

    errno = 0;
    EXPECT(fl_heap_create(&(struct fl_options){.reserve_bytes = 2 * FLI_GIB}, error, sizeof error) == NULL);
    EXPECT(errno == ENOMEM);
    EXPECT(strstr(error, "reserve") != NULL && strstr(error, "2147483648") != NULL);
    EXPECT_SOUND(heap);
}

static void a_default_reservation_is_a_modest_share_of_the_limit(void **state)
{
    (void)state;
    skip_under_emulator(NO_ACCOUNT_OF_MEMORY);
    if (FLI_SANITIZED)
        skip();
    assert_child_succeeds(create_in_little_space, NULL);
}

static void create_in_no_space(void *argument)
{
    (void)argument;
    limit_address_space(4 * FLI_MIB);
    char error[256] = "";
    errno = 0;
    EXPECT(fl_heap_create(NULL, error, sizeof error) == NULL);
    EXPECT(errno == ENOMEM);
    EXPECT(strstr(error, "reserve") != NULL);
    errno = 0;
    EXPECT(fl_heap_default() == NULL);
    EXPECT(errno == ENOMEM);
    errno = 0;
    EXPECT(fl_alloc(fl_thread_self(), SIZE) == NULL);
    EXPECT(errno == ENOMEM);
    /* With more room, they are granted. */
    limit_address_space(32 * FLI_MIB);
    struct fl_heap *small = fl_heap_create(&(struct fl_options){.reserve_bytes = 8 * FLI_MIB}, error, sizeof error);
    EXPECT(small != NULL);
    EXPECT(fl_heap_destroy(small) == 0);
    limit_address_space(FLI_GIB);
    use_default(NULL);
}

static void a_reservation_that_is_refused_is_an_error_and_can_be_tried_again(void **state)
{
    (void)state;
    skip_under_emulator(NO_ACCOUNT_OF_MEMORY);
    if (FLI_SANITIZED)
        skip();
    assert_child_succeeds(create_in_no_space, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_heap_without_options_has_the_defaults),
        cmocka_unit_test(options_that_make_no_sense_are_refused_naming_them),
        cmocka_unit_test(a_reservation_is_taken_as_it_is_given),
        cmocka_unit_test(another_abi_is_refused),
        cmocka_unit_test(live_blocks_go_with_their_heap),
        cmocka_unit_test(all_its_address_space_goes_with_a_heap),
        cmocka_unit_test(heaps_do_not_know_each_other),
        cmocka_unit_test(a_heap_with_threads_attached_is_not_destroyed),
        cmocka_unit_test(a_small_reservation_is_used_to_its_end_and_recovers),
        cmocka_unit_test(when_magazines_are_used_up_blocks_are_parked_and_found_again),
        cmocka_unit_test(a_smaller_magazine_is_kept_to),
        cmocka_unit_test(allocation_stops_at_the_limit_and_goes_on_below_it),
        cmocka_unit_test(pressure_is_told_at_the_limit_and_what_it_frees_serves_the_allocation),
        cmocka_unit_test(pressure_that_gives_up_lets_the_allocation_fail),
        cmocka_unit_test(a_block_beyond_the_whole_limit_is_refused_without_asking),
        cmocka_unit_test(what_a_thread_caches_does_not_use_up_its_limit),
        cmocka_unit_test(threads_that_stay_within_the_limit_together_are_never_refused),
        cmocka_unit_test(an_allocation_inside_the_pressure_callback_does_not_call_it_again),
        cmocka_unit_test(the_default_heap_is_made_at_first_use),
        cmocka_unit_test(the_environment_gives_the_default_heaps_options),
        cmocka_unit_test(a_malformed_environment_is_told_at_each_call_and_never_ignored),
        cmocka_unit_test(by_default_a_malformed_environment_ends_the_process_with_a_message),
        cmocka_unit_test(the_default_heap_cannot_be_destroyed),
        cmocka_unit_test(threads_that_race_for_the_default_heap_get_one),
        cmocka_unit_test(a_default_reservation_is_a_modest_share_of_the_limit),
        cmocka_unit_test(a_reservation_that_is_refused_is_an_error_and_can_be_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
