/* SPDX-License-Identifier: MIT */
#include "support.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>

#include "heap/heap.h"
#include "heap/options.h"
#include "heap/thread.h"

enum { SIZE = 64, HEAPS = 100 };

/* Heaps that begin small, and what the test's thread has of them. */
struct crowd {
    struct fl_heap *first[FLI_HEAPS_MANY]; /* as large as ever */
    struct fl_heap *heaps[HEAPS];
    struct fl_thread *threads[HEAPS];
    void *blocks[HEAPS];
};

static void use(struct crowd *crowd, unsigned i)
{
    crowd->threads[i] = fl_thread_attach(crowd->heaps[i]);
    assert_non_null(crowd->threads[i]);
    crowd->blocks[i] = fl_alloc(crowd->threads[i], SIZE);
    assert_non_null(crowd->blocks[i]);
    memset(crowd->blocks[i], (int)i, SIZE);
}

static void make(struct crowd *crowd)
{
    for (unsigned i = 0; i < FLI_HEAPS_MANY; i++)
        crowd->first[i] = heap_with(NULL);
    for (unsigned i = 0; i < HEAPS; i++)
        crowd->heaps[i] = heap_with(NULL);
}

/* Makes all heaps, and uses each. */
static void make_used(struct crowd *crowd)
{
    make(crowd);
    for (unsigned i = 0; i < HEAPS; i++)
        use(crowd, i);
}

static void end(struct crowd *crowd)
{
    for (unsigned i = 0; i < HEAPS; i++) {
        if (crowd->threads[i] != NULL) {
            fl_free(crowd->threads[i], crowd->blocks[i]);
            fl_thread_detach(crowd->threads[i]);
        }
        end_heap(crowd->heaps[i]);
    }
    for (unsigned i = 0; i < FLI_HEAPS_MANY; i++)
        end_heap(crowd->first[i]);
}

static void many_heaps_share_mappings(void **state)
{
    (void)state;
    static struct crowd crowd;
    crowd = (struct crowd){0};
    make(&crowd);
    for (unsigned i = 0; i < HEAPS; i++) {
        assert_int_equal(stats_of(crowd.heaps[i]).reserved_bytes, FLI_RESERVE_SMALL);
        use(&crowd, i);
    }
    /* Where the kernel cannot guard pages inside a mapping, the guard behind the slabs of each heap divides it. */
    unsigned with = count_mappings();
    end(&crowd);
    assert_in_range(with, 1, count_mappings() + 8 * FLI_HEAPS_MANY + 2 * HEAPS + HEAPS / 4);
}

static int64_t begin_none(void *context)
{
    (void)context;
    return 1;
}

static bool has_elapsed(void *context, int64_t token)
{
    (void)context;
    return token == 1;
}

static void a_heap_has_six_mappings_and_two_more_if_it_defers(void **state)
{
    (void)state;
    if (FLI_SANITIZED)
        skip(); /* sanitizers map memory at any time */
    const struct fl_grace_host host = {.begin = begin_none, .elapsed = has_elapsed};
    for (unsigned defers = 0; defers < 2; defers++) {
        struct fl_heap *warm = heap_with(NULL);
        unsigned before = count_mappings();
        struct fl_heap *heap = heap_with(&(struct fl_options){.grace = defers ? FL_GRACE_HOST : FL_GRACE_NONE,
                                                              .grace_host = defers ? &host : NULL});
        struct fl_thread *thread = fl_thread_attach(heap);
        void *block = fl_alloc(thread, SIZE);
        assert_non_null(block);
        assert_in_range(count_mappings(), before, before + 6 + 2 * defers + heap->is_placed);
        fl_free(thread, block);
        fl_thread_detach(thread);
        end_heap(heap);
        end_heap(warm);
    }
}

/* Fills a heap beyond what it begins with, and frees all of it with `untyped` frees or typed ones. */
static void outgrow(struct fl_heap *heap, bool untyped)
{
    enum { COUNT = 40000, WORDS = 8 };
    struct fl_thread *thread = fl_thread_attach(heap);
    void **blocks = calloc(COUNT, sizeof *blocks);
    assert_non_null(thread);
    assert_non_null(blocks);
    for (unsigned round = 0; round < 2; round++) {
        for (size_t i = 0; i < COUNT; i++) {
            blocks[i] = fl_alloc(thread, i % 2 != 0 ? SIZE : 2 * SIZE);
            assert_non_null(blocks[i]);
            *(size_t *)blocks[i] = i;
        }
        assert_sound(heap);
        for (size_t i = 0; i < COUNT; i++) {
            assert_int_equal(*(size_t *)blocks[i], i);
            if (untyped)
                fl_free(thread, blocks[i]);
            else
                fl_free_sized(thread, blocks[i], i % 2 != 0 ? SIZE : 2 * SIZE);
        }
    }
    free(blocks);
    fl_thread_detach(thread);
}

static void a_heap_that_outgrows_a_small_start_has_as_much_as_others(void **state)
{
    (void)state;
    static struct crowd crowd;
    crowd = (struct crowd){0};
    make(&crowd);
    for (unsigned i = 0; i < 2; i++) {
        outgrow(crowd.heaps[i], i == 0);
        assert_in_range(stats_of(crowd.heaps[i]).reserved_bytes, FLI_CHUNK_BYTES + FLI_RESERVE_MIN,
                        FLI_CHUNK_BYTES + 2 * FLI_RESERVE_FIRST);
        fl_heap_trim(crowd.heaps[i], 0);
        outgrow(crowd.heaps[i], i != 0);
    }
    end(&crowd);
}

/* Allocates blocks of which each takes a slab, until the heap has so many slabs. */
static unsigned take_slabs(struct fl_thread *thread, void **blocks, unsigned slabs)
{
    unsigned count = 0;
    do {
        blocks[count] = fl_alloc(thread, FL_BLOCK_MAX);
        assert_non_null(blocks[count]);
        memset(blocks[count++], 1, FL_BLOCK_MAX);
    } while (fli_slab_committed(&fli_thread_of(thread)->heap->backing.slabs) < slabs);
    return count;
}

static void a_heap_has_its_first_chunk_in_pieces_that_go_back_to_the_os(void **state)
{
    (void)state;
    enum { SLABS = FLI_CHUNK_SLABS };
    static struct crowd crowd;
    static void *blocks[SLABS * FLI_SLAB_BYTES / FL_BLOCK_MAX];
    const size_t expected[] = {FLI_RESERVE_SMALL, 4 * FLI_RESERVE_SMALL, FLI_CHUNK_BYTES};
    crowd = (struct crowd){0};
    make(&crowd);
    struct fl_heap *heap = crowd.heaps[0];
    struct fl_thread *thread = fl_thread_attach(heap);
    for (unsigned round = 0; round < 2; round++) {
        unsigned count = 0;
        for (unsigned i = 0; i < 3; i++) {
            count += take_slabs(thread, blocks + count, (unsigned)(expected[i] >> FLI_SLAB_SHIFT));
            assert_int_equal(stats_of(heap).reserved_bytes, round == 0 ? expected[i] : FLI_CHUNK_BYTES);
        }
        /* First of a part of the chunk, then of all of it. */
        for (unsigned half = 0; half < 2; half++) {
            for (unsigned i = half; i < count; i += 2)
                fl_free(thread, blocks[i]);
            fl_thread_flush(thread);
            fl_heap_trim(heap, 0);
            assert_sound(heap);
        }
        assert_int_equal(stats_of(heap).slab_bytes, 0);
    }
    fl_thread_detach(thread);
    end(&crowd);
}

/* A number of /proc/self/status, in kB. */
static size_t status_of(const char *name)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    size_t value = 0;
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            value = strtoul(line + strlen(name), NULL, 10);
    fclose(file);
    return value;
}

/* A fork copies each of them, which is most of what it takes. */
static void many_heaps_share_page_tables(void **state)
{
    (void)state;
    if (FLI_SANITIZED)
        skip(); /* sanitizers have page tables of their own */
    static struct crowd crowd;
    crowd = (struct crowd){0};
    size_t before = status_of("VmPTE:");
    make_used(&crowd);
    size_t table = fli_os_page() / 1024, each = fli_os_page() / sizeof(void *) * fli_os_page();
    size_t apart = 8 * FLI_HEAPS_MANY * table, beside = HEAPS * 4 * FLI_RESERVE_SMALL / each * table;
    assert_in_range(status_of("VmPTE:") - before, 0, apart + beside + 8 * table);
    end(&crowd);
}

/* Whether there is memory at an address. */
static bool is_mapped(void *address)
{
    unsigned char resident;
    void *page = (void *)((uintptr_t)address & ~((uintptr_t)fli_os_page() - 1));
    return mincore(page, 1, &resident) == 0 || errno != ENOMEM;
}

static void records_lie_side_by_side_and_their_memory_goes_back(void **state)
{
    (void)state;
    enum { COUNT = FLI_HEAPS_CROWD + 150 };
    static struct fl_heap *heaps[COUNT];
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < COUNT; i++)
            if (heaps[i] == NULL)
                heaps[i] = heap_with(NULL);
        for (unsigned i = FLI_HEAPS_CROWD; i < COUNT; i++) {
            assert_true(heaps[i]->is_placed);
            for (unsigned k = FLI_HEAPS_CROWD; k < i; k++)
                assert_true((size_t)labs((char *)heaps[i] - (char *)heaps[k]) >= sizeof *heaps[i]);
        }
        for (unsigned i = 0; i < COUNT; i++)
            if (i % 3 != 0 && round == 0) {
                end_heap(heaps[i]);
                heaps[i] = NULL;
            }
    }
    for (unsigned i = 0; i < COUNT; i++)
        end_heap(heaps[i]);
    for (unsigned i = FLI_HEAPS_CROWD; i < COUNT; i++)
        assert_false(is_mapped(heaps[i]));
}

/* How many pages of a piece of address space have memory. */
static size_t resident_pages(const char *base, size_t bytes)
{
    unsigned char resident[64];
    size_t pages = bytes / fli_os_page(), count = 0;
    assert_in_range(pages, 1, sizeof resident);
    assert_int_equal(mincore((void *)base, bytes, resident), 0);
    for (size_t i = 0; i < pages; i++)
        count += resident[i] & 1;
    return count;
}

/* A fork copies what the kernel keeps of each. */
static void a_small_heap_touches_a_page_each_of_slabs_table_and_magazines(void **state)
{
    (void)state;
    skip_under_emulator("it does not tell which pages have memory");
    static struct crowd crowd;
    crowd = (struct crowd){0};
    make_used(&crowd);
    for (unsigned i = 0; i < HEAPS; i++)
        assert_in_range(resident_pages(crowd.heaps[i]->mapping, crowd.heaps[i]->mapping_bytes), 1, 3);
    end(&crowd);
}

/* Of all heaps, also of those that are not small. */
static void table_and_magazines_begin_in_one_page_of_the_page_table(void **state)
{
    (void)state;
    struct fl_heap *heap = heap_with(NULL);
    uintptr_t reach = fli_os_page() / sizeof(void *) * fli_os_page();
    uintptr_t table = (uintptr_t)heap->backing.slabs.ranges.at[0].classes;
    uintptr_t magazines = (uintptr_t)fli_magazine_at(&heap->backing.magazines, 1);
    assert_int_equal(table / reach, magazines / reach);
    end_heap(heap);
}

static void use_all(void *argument)
{
    struct crowd *crowd = argument;
    for (unsigned i = 0; i < HEAPS; i++) {
        for (unsigned byte = 0; byte < SIZE; byte++)
            EXPECT(((unsigned char *)crowd->blocks[i])[byte] == i);
        void *block = fl_alloc(crowd->threads[i], SIZE);
        EXPECT(block != NULL && block != crowd->blocks[i]);
        fl_free(crowd->threads[i], block);
        EXPECT_SOUND(crowd->heaps[i]);
    }
}

static void a_child_has_all_of_them(void **state)
{
    (void)state;
    static struct crowd crowd;
    crowd = (struct crowd){0};
    make_used(&crowd);
    assert_child_succeeds(use_all, &crowd);
    use_all(&crowd);
    end(&crowd);
}

static void write_behind(void *argument)
{
    default_signals();
    *(volatile char *)argument = 1;
}

static void nobody_writes_from_the_slabs_of_a_small_heap_into_its_metadata(void **state)
{
    (void)state;
    skip_under_emulator("it does not guard pages inside mappings");
    static struct crowd crowd;
    crowd = (struct crowd){0};
    make(&crowd);
    use(&crowd, 0);
    struct child_end ended = run_child(write_behind, crowd.heaps[0]->mapping + FLI_RESERVE_SMALL);
    assert_true(WIFSIGNALED(ended.status) || WEXITSTATUS(ended.status) != 0);
    end(&crowd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_heaps_share_mappings),
        cmocka_unit_test(a_heap_has_six_mappings_and_two_more_if_it_defers),
        cmocka_unit_test(a_heap_that_outgrows_a_small_start_has_as_much_as_others),
        cmocka_unit_test(a_heap_has_its_first_chunk_in_pieces_that_go_back_to_the_os),
        cmocka_unit_test(many_heaps_share_page_tables),
        cmocka_unit_test(a_small_heap_touches_a_page_each_of_slabs_table_and_magazines),
        cmocka_unit_test(table_and_magazines_begin_in_one_page_of_the_page_table),
        cmocka_unit_test(records_lie_side_by_side_and_their_memory_goes_back),
        cmocka_unit_test(a_child_has_all_of_them),
        cmocka_unit_test(nobody_writes_from_the_slabs_of_a_small_heap_into_its_metadata),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
