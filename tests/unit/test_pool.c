/* SPDX-License-Identifier: MIT */
#include "support.h"

#include "pool/pool.h"

enum { MAGAZINES = 256 };

/* A pool and magazines of its own, outside of any heap. */
struct basin {
    struct fli_pool pool;
    struct fli_magazines magazines;
    struct fli_pool_counters counters;
    char *base;
    size_t bytes;
};

static int basin_up(void **state)
{
    struct basin *basin = aligned_alloc(FLI_CACHE_LINE, fli_round_up(sizeof *basin, FLI_CACHE_LINE));
    assert_non_null(basin);
    memset(basin, 0, sizeof *basin);
    basin->bytes = fli_magazines_reserve_bytes((size_t)4 * MAGAZINES * FLI_MAGAZINE_BYTES);
    basin->base = fli_os_reserve(basin->bytes, fli_os_page());
    assert_non_null(basin->base);
    assert_int_equal(fli_magazines_init(&basin->magazines, basin->base, basin->bytes, 0, 0), 0);
    fli_pool_init(&basin->pool);
    *state = basin;
    return 0;
}

static int basin_down(void **state)
{
    struct basin *basin = *state;
    fli_magazines_close(&basin->magazines);
    fli_os_release(basin->base, basin->bytes);
    free(basin);
    return 0;
}

static struct fli_magazine *magazine_of(struct basin *basin, uint32_t count)
{
    struct fli_magazine *magazine = fli_magazine_carve(&basin->magazines);
    assert_non_null(magazine);
    fli_store_relaxed(&magazine->count, count);
    return magazine;
}

static uint64_t push(struct basin *basin, struct fli_stack *stack, struct fli_magazine *magazine)
{
    return fli_stack_push_mpmc(stack, &basin->magazines, magazine, &basin->counters);
}

static struct fli_magazine *pop(struct basin *basin, struct fli_stack *stack)
{
    return fli_stack_pop_mpmc(stack, &basin->magazines, &basin->counters);
}

static void an_empty_stack_gives_nothing(void **state)
{
    struct basin *basin = *state;
    struct fli_stack *stack = &basin->pool.filled[1];
    assert_null(pop(basin, stack));
    assert_int_equal(fli_stack_take_all_mpmc(stack, &basin->counters), 0);
    assert_int_equal(fli_stack_blocks(stack, &basin->magazines), 0);
    assert_int_equal(fli_load_relaxed(&basin->counters.updates), 0);
}

static void the_last_magazine_pushed_is_popped_first(void **state)
{
    struct basin *basin = *state;
    struct fli_stack *stack = &basin->pool.filled[1];
    struct fli_magazine *magazines[10];
    for (uint32_t i = 0; i < 10; i++)
        push(basin, stack, magazines[i] = magazine_of(basin, i + 1));
    for (uint32_t i = 10; i-- > 0;)
        assert_ptr_equal(pop(basin, stack), magazines[i]);
    assert_null(pop(basin, stack));
    assert_int_equal(fli_load_relaxed(&basin->counters.updates), 20);
    assert_int_equal(fli_load_relaxed(&basin->counters.cas_failures), 0);
}

static void a_stack_knows_how_many_blocks_lie_on_it(void **state)
{
    struct basin *basin = *state;
    struct fli_stack *stack = &basin->pool.filled[1];
    assert_int_equal(push(basin, stack, magazine_of(basin, 7)), 7);
    assert_int_equal(push(basin, stack, magazine_of(basin, 252)), 259);
    assert_int_equal(push(basin, stack, magazine_of(basin, 1)), 260);
    assert_int_equal(fli_stack_blocks(stack, &basin->magazines), 260);
    pop(basin, stack);
    assert_int_equal(fli_stack_blocks(stack, &basin->magazines), 259);
    pop(basin, stack);
    pop(basin, stack);
    assert_int_equal(fli_stack_blocks(stack, &basin->magazines), 0);
}

static void empty_magazines_count_as_one_each(void **state)
{
    struct basin *basin = *state;
    for (uint32_t i = 1; i <= 5; i++)
        assert_int_equal(push(basin, &basin->pool.empty, magazine_of(basin, 0)), i);
}

static void stacks_do_not_know_each_other(void **state)
{
    struct basin *basin = *state;
    push(basin, &basin->pool.filled[1], magazine_of(basin, 3));
    assert_null(pop(basin, &basin->pool.filled[2]));
    assert_null(pop(basin, &basin->pool.empty));
    assert_non_null(pop(basin, &basin->pool.filled[1]));
}

static void a_whole_stack_is_taken_with_one_update_and_put_back_as_it_was(void **state)
{
    struct basin *basin = *state;
    struct fli_stack *stack = &basin->pool.filled[1];
    for (uint32_t i = 1; i <= 10; i++)
        push(basin, stack, magazine_of(basin, i));
    uint32_t list = fli_stack_take_all_mpmc(stack, &basin->counters);
    assert_int_equal(fli_load_relaxed(&basin->counters.updates), 11);
    assert_null(pop(basin, stack));
    fli_stack_put_back_mpmc(stack, &basin->magazines, list, &basin->counters);
    assert_int_equal(fli_stack_blocks(stack, &basin->magazines), 55);
    for (uint32_t i = 10; i > 0; i--)
        assert_int_equal(fli_load_relaxed(&pop(basin, stack)->count), i);
}

static void a_list_put_back_on_others_counts_them_too(void **state)
{
    struct basin *basin = *state;
    struct fli_stack *stack = &basin->pool.filled[1];
    for (uint32_t i = 1; i <= 4; i++)
        push(basin, stack, magazine_of(basin, i));
    uint32_t list = fli_stack_take_all_mpmc(stack, &basin->counters);
    push(basin, stack, magazine_of(basin, 100));
    fli_stack_put_back_mpmc(stack, &basin->magazines, list, &basin->counters);
    assert_int_equal(fli_stack_blocks(stack, &basin->magazines), 110);
    uint32_t blocks = 0;
    for (struct fli_magazine *magazine; (magazine = pop(basin, stack)) != NULL;)
        blocks += fli_load_relaxed(&magazine->count);
    assert_int_equal(blocks, 110);
}

static void a_tag_counts_every_change_and_wraps_without_touching_the_index(void **state)
{
    (void)state;
    uint64_t last_tag = ((uint64_t)1 << FLI_TAG_BITS) - 1;
    fli_tagged word = fli_tagged_empty(last_tag);
    assert_int_equal(fli_tagged_index(word), 0);
    fli_tagged wrapped = fli_tagged_next(word, FLI_INDEX_MAX);
    assert_int_equal(fli_tagged_index(wrapped), FLI_INDEX_MAX);
    assert_int_equal(wrapped >> FLI_INDEX_BITS, 0);
    assert_int_not_equal(fli_tagged_next(wrapped, FLI_INDEX_MAX), wrapped);
}

static void every_push_and_every_pop_is_a_change_of_the_tag(void **state)
{
    struct basin *basin = *state;
    struct fli_stack *stack = &basin->pool.filled[1];
    fli_store_relaxed(&stack->head, fli_tagged_empty(7));
    for (uint64_t tag = 8; tag < 16; tag += 2) {
        push(basin, stack, magazine_of(basin, 1));
        assert_int_equal(fli_load_relaxed(&stack->head) >> FLI_INDEX_BITS, tag);
        pop(basin, stack);
        assert_int_equal(fli_load_relaxed(&stack->head) >> FLI_INDEX_BITS, tag + 1);
    }
    push(basin, stack, magazine_of(basin, 1));
    uint32_t list = fli_stack_take_all_mpmc(stack, &basin->counters);
    fli_stack_put_back_mpmc(stack, &basin->magazines, list, &basin->counters);
    assert_int_equal(fli_load_relaxed(&stack->head) >> FLI_INDEX_BITS, 18);
}

static void a_stack_works_across_the_wrap_of_its_tag(void **state)
{
    struct basin *basin = *state;
    struct fli_stack *stack = &basin->pool.filled[1];
    fli_store_relaxed(&stack->head, fli_tagged_empty(((uint64_t)1 << FLI_TAG_BITS) - 3));
    struct fli_magazine *first = magazine_of(basin, 1), *second = magazine_of(basin, 2);
    for (unsigned round = 0; round < 5; round++) {
        push(basin, stack, first);
        push(basin, stack, second);
        assert_int_equal(fli_stack_blocks(stack, &basin->magazines), 3);
        assert_ptr_equal(pop(basin, stack), second);
        assert_ptr_equal(pop(basin, stack), first);
    }
    assert_true(fli_load_relaxed(&stack->head) >> FLI_INDEX_BITS < 100);
}

static void rare_path_builds_start_their_tags_below_the_wrap(void **state)
{
    struct basin *basin = *state;
    uint64_t tag = fli_load_relaxed(&basin->pool.empty.head) >> FLI_INDEX_BITS;
    if (FLI_RARE_PATHS)
        assert_in_range(((uint64_t)1 << FLI_TAG_BITS) - tag, 1, 1000);
    else
        assert_int_equal(tag, 0);
}

/* A pop that looked at the head long ago must not succeed although the head names the same magazine again. */
static void a_head_that_names_the_same_magazine_again_is_another_head(void **state)
{
    struct basin *basin = *state;
    struct fli_stack *stack = &basin->pool.filled[1];
    struct fli_magazine *first = magazine_of(basin, 1), *second = magazine_of(basin, 1);
    push(basin, stack, first);
    push(basin, stack, second);
    fli_tagged seen = fli_load_relaxed(&stack->head);
    assert_ptr_equal(pop(basin, stack), second);
    assert_ptr_equal(pop(basin, stack), first);
    push(basin, stack, second);
    fli_tagged now = fli_load_relaxed(&stack->head);
    assert_int_equal(fli_tagged_index(now), fli_tagged_index(seen));
    assert_true(now != seen);
}

enum { ROUNDS = 20000, WORKERS = 3 };

struct worker {
    struct basin *basin;
    struct fli_pool_counters counters;
    pthread_t thread;
};

/* Takes magazines, writes their slots, and gives them to the other stack. */
static void *exchange(void *argument)
{
    struct worker *worker = argument;
    struct basin *basin = worker->basin;
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct fli_stack *from = &basin->pool.filled[1 + i % 2], *to = &basin->pool.filled[1 + (i + 1) % 2];
        struct fli_magazine *magazine = fli_stack_pop_mpmc(from, &basin->magazines, &worker->counters);
        if (magazine == NULL)
            continue;
        uint32_t count = fli_load_relaxed(&magazine->count);
        for (uint32_t slot = 0; slot < count; slot++) {
            if (magazine->slots[slot] != magazine)
                return magazine;
            magazine->slots[slot] = worker;
        }
        for (uint32_t slot = 0; slot < count; slot++) {
            if (magazine->slots[slot] != worker)
                return magazine;
            magazine->slots[slot] = magazine;
        }
        fli_stack_push_mpmc(to, &basin->magazines, magazine, &worker->counters);
    }
    return NULL;
}

static void a_magazine_has_one_owner_at_a_time_whatever_the_threads_do(void **state)
{
    struct basin *basin = *state;
    enum { TOGETHER = 4 };
    for (uint32_t i = 0; i < TOGETHER; i++) {
        struct fli_magazine *magazine = magazine_of(basin, 8);
        for (unsigned slot = 0; slot < 8; slot++)
            magazine->slots[slot] = magazine;
        push(basin, &basin->pool.filled[1], magazine);
    }
    static struct worker workers[WORKERS];
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){.basin = basin};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, exchange, &workers[i]), 0);
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        void *shared;
        assert_int_equal(pthread_join(workers[i].thread, &shared), 0);
        assert_null(shared);
    }
    assert_int_equal(fli_stack_blocks(&basin->pool.filled[1], &basin->magazines) +
                         fli_stack_blocks(&basin->pool.filled[2], &basin->magazines),
                     8 * TOGETHER);
}

#define BASIN_TEST(test) cmocka_unit_test_setup_teardown(test, basin_up, basin_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BASIN_TEST(an_empty_stack_gives_nothing),
        BASIN_TEST(the_last_magazine_pushed_is_popped_first),
        BASIN_TEST(a_stack_knows_how_many_blocks_lie_on_it),
        BASIN_TEST(empty_magazines_count_as_one_each),
        BASIN_TEST(stacks_do_not_know_each_other),
        BASIN_TEST(a_whole_stack_is_taken_with_one_update_and_put_back_as_it_was),
        BASIN_TEST(a_list_put_back_on_others_counts_them_too),
        cmocka_unit_test(a_tag_counts_every_change_and_wraps_without_touching_the_index),
        BASIN_TEST(every_push_and_every_pop_is_a_change_of_the_tag),
        BASIN_TEST(a_stack_works_across_the_wrap_of_its_tag),
        BASIN_TEST(rare_path_builds_start_their_tags_below_the_wrap),
        BASIN_TEST(a_head_that_names_the_same_magazine_again_is_another_head),
        BASIN_TEST(a_magazine_has_one_owner_at_a_time_whatever_the_threads_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
