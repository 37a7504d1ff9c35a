/* SPDX-License-Identifier: MIT */
#include "support.h"

#include "base/os.h"

static void a_reservation_starts_at_its_alignment(void **state)
{
    (void)state;
    for (size_t alignment = fli_os_page(); alignment <= 64 * FLI_MIB; alignment *= 4) {
        void *base = fli_os_reserve(FLI_MIB, alignment);
        assert_non_null(base);
        assert_int_equal((uintptr_t)base % alignment, 0);
        fli_os_release(base, FLI_MIB);
    }
}

static void a_reservation_that_no_machine_has_is_refused_and_errno_kept(void **state)
{
    (void)state;
    errno = EILSEQ;
    assert_null(fli_os_reserve((size_t)1 << 60, fli_os_page()));
    assert_int_equal(errno, EILSEQ);
}

static void touch(void *address)
{
    *(volatile char *)address = 1;
}

static void reserved_space_cannot_be_touched_before_it_is_committed(void **state)
{
    (void)state;
    char *base = fli_os_reserve(FLI_MIB, fli_os_page());
    struct fli_region region = {.base = base, .reserved = FLI_MIB};
    assert_int_equal(fli_region_reach(&region, fli_os_page(), 0), 0);
    touch(base);
    struct child_end end = run_child(touch, base + FLI_MIB - 1);
    assert_false(WIFEXITED(end.status) && WEXITSTATUS(end.status) == 0);
    fli_region_close(&region);
    fli_os_release(base, FLI_MIB);
}

static void a_region_grows_by_its_step_and_not_past_its_end(void **state)
{
    (void)state;
    char *base = fli_os_reserve(FLI_MIB, fli_os_page());
    struct fli_region region = {.base = base, .reserved = FLI_MIB};
    assert_int_equal(fli_region_reach(&region, 1, 0), 0);
    assert_int_equal(region.committed, fli_os_page());
    assert_int_equal(fli_region_reach(&region, fli_os_page(), 8 * fli_os_page()), 0);
    assert_int_equal(region.committed, fli_os_page());
    assert_int_equal(fli_region_reach(&region, fli_os_page() + 1, 8 * fli_os_page()), 0);
    assert_int_equal(region.committed, 9 * fli_os_page());
    assert_int_equal(fli_region_reach(&region, FLI_MIB, FLI_MIB), 0);
    assert_int_equal(region.committed, FLI_MIB);
    memset(base, 1, FLI_MIB);
    assert_int_equal(fli_region_reach(&region, FLI_MIB + 1, 0), -ENOMEM);
    assert_int_equal(region.committed, FLI_MIB);
    fli_region_close(&region);
    assert_int_equal(region.committed, 0);
    fli_os_release(base, FLI_MIB);
}

static void decommitted_pages_read_as_zeros_and_can_be_written_again(void **state)
{
    (void)state;
    char *base = fli_os_reserve(FLI_MIB, fli_os_page());
    struct fli_region region = {.base = base, .reserved = FLI_MIB};
    assert_int_equal(fli_region_reach(&region, FLI_MIB, 0), 0);
    memset(base, 1, FLI_MIB);
    assert_int_equal(fli_os_decommit(base + fli_os_page(), FLI_MIB - 2 * fli_os_page()), 0);
    assert_int_equal(base[fli_os_page() - 1], 1);
    assert_int_equal(base[FLI_MIB - fli_os_page()], 1);
    for (size_t i = fli_os_page(); i < FLI_MIB - fli_os_page(); i++)
        assert_int_equal(base[i], 0);
    base[fli_os_page()] = 2;
    assert_int_equal(base[fli_os_page()], 2);
    fli_region_close(&region);
    fli_os_release(base, FLI_MIB);
}

static void decommitting_what_is_not_mapped_is_an_error(void **state)
{
    (void)state;
    char *base = fli_os_reserve(FLI_MIB, fli_os_page());
    fli_os_release(base, FLI_MIB);
    assert_true(fli_os_decommit(base + 1, fli_os_page()) < 0);
}

static void growing_and_decommitting_split_no_mapping(void **state)
{
    (void)state;
    struct bed *bed = *state;
    void *blocks[512];
    assert_int_equal(fl_alloc_many(bed->thread, 32768, 512, blocks), 0);
    fl_free_many(bed->thread, 32768, 512, blocks);
    fl_thread_flush(bed->thread);
    fl_heap_trim(bed->heap, 0);
    unsigned before = count_mappings();
    for (unsigned round = 0; round < 20; round++) {
        void *many[512];
        size_t size = 32768 >> (round % 4);
        assert_int_equal(fl_alloc_many(bed->thread, size, 512, many), 0);
        for (unsigned i = 0; i < 512; i++)
            memset(many[i], 1, size);
        fl_free_many(bed->thread, size, 512, many);
        fl_thread_flush(bed->thread);
        fl_heap_trim(bed->heap, 0);
    }
    /* The program's own heap and streams may have brought a few. */
    assert_true(count_mappings() <= before + 8);
}

static void mappings_have_names_where_the_system_gives_them(void **state)
{
    (void)state;
    char *base = fli_os_reserve(FLI_MIB, fli_os_page());
    struct fli_region region = {.base = base, .reserved = FLI_MIB};
    assert_int_equal(fli_region_reach(&region, FLI_MIB / 2, 0), 0);
    char line[512], start[32];
    unsigned named = 0;
    if (FLI_NAME_MAPPING(base, FLI_MIB, "freelane") == 0) {
        FILE *maps = fopen("/proc/self/maps", "r");
        assert_non_null(maps);
        snprintf(start, sizeof start, "%lx-", (unsigned long)base);
        while (fgets(line, sizeof line, maps) != NULL)
            named += strncmp(line, start, strlen(start)) == 0 && strstr(line, "[anon:freelane]") != NULL;
        fclose(maps);
        assert_int_equal(named, 1);
    }
    fli_region_close(&region);
    fli_os_release(base, FLI_MIB);
    if (named == 0) {
        print_message("this kernel gives mappings no names\n");
        skip();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reservation_starts_at_its_alignment),
        cmocka_unit_test(a_reservation_that_no_machine_has_is_refused_and_errno_kept),
        cmocka_unit_test(reserved_space_cannot_be_touched_before_it_is_committed),
        cmocka_unit_test(a_region_grows_by_its_step_and_not_past_its_end),
        cmocka_unit_test(decommitted_pages_read_as_zeros_and_can_be_written_again),
        cmocka_unit_test(decommitting_what_is_not_mapped_is_an_error),
        BED_TEST(growing_and_decommitting_split_no_mapping),
        cmocka_unit_test(mappings_have_names_where_the_system_gives_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
