/* SPDX-License-Identifier: MIT
 *
 * The size of the system's pages is read. Other tests run with pages of 16 and 64 KiB, by page_shim.c.
 */
#include "support.h"

#include "base/os.h"

static void the_page_size_is_the_systems(void **state)
{
    (void)state;
    const char *given = getenv("PAGE_BYTES");
    assert_int_equal(fli_os_page(), given != NULL ? (size_t)atol(given) : (size_t)getpagesize());
}

static void blocks_of_all_sizes_keep_what_is_written_across_trims(void **state)
{
    struct bed *bed = *state;
    enum { MANY = 4000 };
    static unsigned char *blocks[MANY];
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < MANY; i++) {
            size_t size = 16 + (size_t)i * 37 % 70000;
            blocks[i] = fl_alloc(bed->thread, size);
            assert_non_null(blocks[i]);
            memset(blocks[i], (int)i, size);
        }
        for (unsigned i = 0; i < MANY; i++)
            if (i % 7 != 0)
                fl_free(bed->thread, blocks[i]);
        fl_thread_flush(bed->thread);
        fl_heap_trim(bed->heap, 0);
        assert_sound(bed->heap);
        for (unsigned i = 0; i < MANY; i += 7) {
            size_t size = 16 + (size_t)i * 37 % 70000;
            for (size_t b = 0; b < size; b += 61)
                assert_int_equal(blocks[i][b], i & 0xff);
            fl_free(bed->thread, blocks[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_page_size_is_the_systems),
        BED_TEST(blocks_of_all_sizes_keep_what_is_written_across_trims),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
