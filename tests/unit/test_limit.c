/* SPDX-License-Identifier: MIT */
#include "support.h"

#include "memory/limit.h"

static void what_is_left_can_be_taken_to_the_last_byte(void **state)
{
    (void)state;
    struct fli_limit limit = {.most = 100};
    assert_true(fli_limit_take(&limit, 60));
    assert_false(fli_limit_take(&limit, 41));
    assert_true(fli_limit_take(&limit, 40));
    assert_false(fli_limit_take(&limit, 1));
    assert_true(fli_limit_take(&limit, 0));
    fli_limit_give(&limit, 30);
    assert_true(fli_limit_take(&limit, 30));
    assert_false(fli_limit_take(&limit, 1));
}

static void more_than_all_is_refused_without_wrapping(void **state)
{
    (void)state;
    struct fli_limit limit = {.most = SIZE_MAX - 1};
    assert_true(fli_limit_take(&limit, 100));
    assert_false(fli_limit_take(&limit, SIZE_MAX));
    assert_false(fli_limit_take(&limit, SIZE_MAX - 100));
    assert_int_equal(fli_load_relaxed(&limit.used), 100);
}

enum { ROUNDS = 20000 };

static void *take_and_give(void *argument)
{
    struct fli_limit *limit = argument;
    uintptr_t most_seen = 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        if (!fli_limit_take(limit, 3))
            continue;
        most_seen = fli_max(most_seen, fli_load_relaxed(&limit->used));
        fli_limit_give(limit, 3);
    }
    return (void *)most_seen;
}

static void threads_never_take_more_than_there_is_together(void **state)
{
    (void)state;
    struct fli_limit limit = {.most = 7};
    pthread_t threads[3];
    for (unsigned i = 0; i < COUNT_OF(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, &limit), 0);
    for (unsigned i = 0; i < COUNT_OF(threads); i++) {
        void *most_seen;
        assert_int_equal(pthread_join(threads[i], &most_seen), 0);
        assert_in_range((uintptr_t)most_seen, 0, 7);
    }
    assert_int_equal(fli_load_relaxed(&limit.used), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_left_can_be_taken_to_the_last_byte),
        cmocka_unit_test(more_than_all_is_refused_without_wrapping),
        cmocka_unit_test(threads_never_take_more_than_there_is_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
