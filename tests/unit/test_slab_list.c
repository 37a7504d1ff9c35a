/* SPDX-License-Identifier: MIT */
#include "ground.h"

enum { MANY = 100 };

static void begin_many(struct fli_slabs *slabs)
{
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(ground_begin(slabs, 1), i + 1);
}

/* Whether the list is these slabs, there and back again. */
static void assert_list(const struct fli_slabs *slabs, uint32_t first, const uint32_t *expected, size_t count)
{
    uint32_t before = 0, slab = first;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(slab, expected[i]);
        assert_int_equal(fli_slab_at(slabs, slab)->previous, before);
        before = slab;
        slab = fli_slab_at(slabs, slab)->next;
    }
    assert_int_equal(slab, 0);
}

static void the_slab_that_was_added_last_is_taken_first(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    uint32_t list = 0;
    begin_many(slabs);
    for (uint32_t slab = 1; slab <= 3; slab++)
        fli_slab_list_add(slabs, &list, slab);
    for (uint32_t slab = 3; slab >= 1; slab--)
        assert_int_equal(fli_slab_list_take(slabs, &list), slab);
    assert_int_equal(fli_slab_list_take(slabs, &list), 0);
}

static void a_slab_is_removed_from_anywhere(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    uint32_t list = 0;
    begin_many(slabs);
    for (uint32_t slab = 1; slab <= 5; slab++)
        fli_slab_list_add(slabs, &list, slab);
    fli_slab_list_remove(slabs, &list, 3);
    assert_list(slabs, list, (const uint32_t[]){5, 4, 2, 1}, 4);
    fli_slab_list_remove(slabs, &list, 5);
    fli_slab_list_remove(slabs, &list, 1);
    assert_list(slabs, list, (const uint32_t[]){4, 2}, 2);
    assert_list(slabs, 5, (const uint32_t[]){5}, 1);
    fli_slab_list_remove(slabs, &list, 4);
    fli_slab_list_remove(slabs, &list, 2);
    assert_int_equal(list, 0);
}

static void a_sorted_list_has_the_highest_number_first(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    uint32_t expected[MANY];
    begin_many(slabs);
    for (unsigned step = 1; step < MANY; step += 2) { /* odd steps but 5 and its multiples come to every number */
        uint32_t list = 0;
        if (step % 5 == 0)
            continue;
        for (uint32_t i = 0; i < MANY; i++) {
            fli_slab_list_add(slabs, &list, i * step % MANY + 1);
            expected[i] = MANY - i;
        }
        fli_slab_list_sort(slabs, &list);
        assert_list(slabs, list, expected, MANY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GROUND_TEST(the_slab_that_was_added_last_is_taken_first),
        GROUND_TEST(a_slab_is_removed_from_anywhere),
        GROUND_TEST(a_sorted_list_has_the_highest_number_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
