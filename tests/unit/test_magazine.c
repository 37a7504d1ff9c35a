/* SPDX-License-Identifier: MIT */
#include "support.h"

#include "heap/options.h"
#include "memory/chain.h"

enum { MAGAZINES = 512 };

/* Magazines that fill a page. */
static uint32_t per_page(void)
{
    return (uint32_t)(fli_os_page() / FLI_MAGAZINE_BYTES);
}

/* Magazines for few enough blocks that they can all be carved. */
struct room {
    struct fli_magazines magazines;
    char *base;
    size_t bytes;
};

static int room_up_for(void **state, size_t magazines)
{
    struct room *room = malloc(sizeof *room);
    assert_non_null(room);
    room->bytes = fli_magazines_reserve_bytes(4 * magazines * FLI_MAGAZINE_BYTES);
    room->base = fli_os_reserve(room->bytes, fli_os_page());
    assert_non_null(room->base);
    assert_int_equal(fli_magazines_init(&room->magazines, room->base, room->bytes, 0, 0), 0);
    *state = room;
    return 0;
}

static int room_up(void **state)
{
    return room_up_for(state, MAGAZINES);
}

/* So many that their states do not fit in the place of magazine 0. */
static int large_room_up(void **state)
{
    return room_up_for(state, 2 * FLI_MAGAZINE_BYTES);
}

static int room_down(void **state)
{
    struct room *room = *state;
    fli_magazines_close(&room->magazines);
    fli_os_release(room->base, room->bytes);
    free(room);
    return 0;
}

static void address_space_for_magazines_is_whole_pages(void **state)
{
    (void)state;
    for (size_t slab_bytes = FLI_RESERVE_MIN; slab_bytes <= FLI_RESERVE_MAX; slab_bytes *= 2)
        assert_int_equal(fli_magazines_reserve_bytes(slab_bytes) % fli_os_page(), 0);
}

/* Makes a list of the magazines first, first + step, .. below `end`. */
static struct fli_chain chain_of(struct fli_magazines *magazines, uint32_t first, uint32_t end, uint32_t step)
{
    struct fli_chain chain = {0};
    for (uint32_t i = first; i < end; i += step) {
        fli_store_relaxed(&fli_magazine_at(magazines, i)->count, 0);
        fli_chain_put(&chain, magazines, fli_magazine_at(magazines, i));
    }
    return chain;
}

/* Returns the magazines from `first` up to `end`, each `step`th. Returns the bytes, and how many are left in `*kept`. */
static size_t return_some(struct fli_magazines *magazines, uint32_t first, uint32_t end, uint32_t step, size_t *kept)
{
    struct fli_chain chain = chain_of(magazines, first, end, step);
    size_t bytes = fli_magazines_return(magazines, &chain);
    *kept = fli_chain_blocks(&chain, magazines);
    return bytes;
}

static uint32_t carve_all(struct fli_magazines *magazines)
{
    uint32_t carved = 0;
    while (fli_magazine_carve(magazines) != NULL)
        carved++;
    return carved;
}

static void carved_magazines_are_empty_distinct_and_named_by_their_index(void **state)
{
    struct fli_magazines *magazines = &((struct room *)*state)->magazines;
    for (uint32_t i = 1; i <= 10; i++) {
        struct fli_magazine *magazine = fli_magazine_carve(magazines);
        assert_non_null(magazine);
        assert_int_equal(fli_magazine_index(magazines, magazine), i);
        assert_ptr_equal(fli_magazine_at(magazines, i), magazine);
        assert_int_equal(fli_load_relaxed(&magazine->count), 0);
        memset(magazine->slots, 0xff, sizeof magazine->slots);
    }
    assert_int_equal(fli_magazines_count(magazines), 10);
}

static void when_the_space_is_used_up_there_are_no_more(void **state)
{
    struct fli_magazines *magazines = &((struct room *)*state)->magazines;
    uint32_t carved = carve_all(magazines);
    assert_in_range(carved, MAGAZINES - per_page(), MAGAZINES);
    assert_int_equal(fli_magazines_count(magazines), carved);
    assert_null(fli_magazine_carve(magazines));
}

static void whole_pages_are_given_back_and_their_magazines_carved_again(void **state)
{
    struct fli_magazines *magazines = &((struct room *)*state)->magazines;
    uint32_t carved = carve_all(magazines);
    size_t kept;
    uint32_t page = per_page();
    assert_int_equal(return_some(magazines, page, 6 * page, 1, &kept), 5 * fli_os_page());
    assert_int_equal(kept, 0);
    assert_int_equal(fli_magazines_count(magazines), carved - 5 * page);
    assert_int_equal(carve_all(magazines), 5 * page);
    assert_int_equal(fli_magazines_count(magazines), carved);
    /* Lower ones than those carved again last are found too. */
    return_some(magazines, page, 3 * page, 1, &kept);
    assert_int_equal(carve_all(magazines), 2 * page);
    assert_int_equal(fli_magazines_count(magazines), carved);
}

static void magazines_of_a_page_of_which_one_is_in_use_are_kept(void **state)
{
    struct fli_magazines *magazines = &((struct room *)*state)->magazines;
    uint32_t carved = carve_all(magazines);
    uint32_t page = per_page();
    size_t kept;
    assert_int_equal(return_some(magazines, page, 6 * page, 2, &kept), 0);
    assert_int_equal(kept, 5 * page / 2);
    assert_int_equal(fli_magazines_count(magazines), carved);
    assert_null(fli_magazine_carve(magazines));

    assert_int_equal(return_some(magazines, page, 6 * page, 1, &kept), 5 * fli_os_page());
    assert_int_equal(kept, 0);
}

static void the_first_page_needs_no_magazine_0(void **state)
{
    struct fli_magazines *magazines = &((struct room *)*state)->magazines;
    carve_all(magazines);
    size_t kept;
    assert_int_equal(return_some(magazines, 1, per_page(), 1, &kept), fli_os_page());
    assert_int_equal(kept, 0);
    struct fli_magazine *again = fli_magazine_carve(magazines);
    assert_non_null(again);
    assert_int_equal(fli_magazine_index(magazines, again), 1);
}

static void states_in_the_place_of_magazine_0_keep_their_page(void **state)
{
    struct room *room = *state;
    struct fli_magazines *magazines = &room->magazines;
    assert_ptr_equal(fli_magazine_at(magazines, 1), room->base + FLI_MAGAZINE_BYTES);
    uint32_t carved = carve_all(magazines);
    size_t kept;
    assert_int_equal(return_some(magazines, 1, 2 * per_page(), 1, &kept), fli_os_page());
    assert_int_equal(kept, per_page() - 1);
    assert_int_equal(fli_magazines_count(magazines), carved - per_page());
    assert_int_equal(carve_all(magazines), per_page());
}

static void a_returned_magazine_reads_as_zeros(void **state)
{
    struct fli_magazines *magazines = &((struct room *)*state)->magazines;
    carve_all(magazines);
    struct fli_magazine *magazine = fli_magazine_at(magazines, per_page());
    magazine->slots[7] = magazine;
    size_t kept;
    return_some(magazines, per_page(), 2 * per_page(), 1, &kept);
    assert_null(magazine->slots[7]);
    assert_int_equal(fli_load_relaxed(&magazine->next), 0);
}

static void a_chain_knows_how_many_blocks_it_has(void **state)
{
    struct fli_magazines *magazines = &((struct room *)*state)->magazines;
    struct fli_chain chain = {0};
    carve_all(magazines);
    assert_null(fli_chain_take(&chain, magazines));
    for (uint16_t i = 1; i <= 3; i++) {
        fli_store_relaxed(&fli_magazine_at(magazines, i)->count, 10 * i);
        fli_chain_put(&chain, magazines, fli_magazine_at(magazines, i));
    }
    assert_int_equal(fli_chain_blocks(&chain, magazines), 60);
    assert_ptr_equal(fli_chain_behind(fli_chain_first(&chain, magazines), magazines), fli_magazine_at(magazines, 2));
    assert_ptr_equal(fli_chain_take(&chain, magazines), fli_magazine_at(magazines, 3));
    assert_int_equal(fli_chain_blocks(&chain, magazines), 30);
    fli_chain_begin(&chain, 1);
    assert_int_equal(fli_chain_blocks(&chain, magazines), 10);
    assert_null(fli_chain_behind(fli_chain_first(&chain, magazines), magazines));
}

static void returning_nothing_changes_nothing(void **state)
{
    struct fli_magazines *magazines = &((struct room *)*state)->magazines;
    fli_magazine_carve(magazines);
    struct fli_chain none = {0};
    assert_int_equal(fli_magazines_return(magazines, &none), 0);
    assert_int_equal(fli_magazines_count(magazines), 1);
}

/* ---- Several ranges. */

enum { MOST = 8 * MAGAZINES };

static int growing_room_up(void **state)
{
    assert_int_equal(room_up(state), 0);
    struct room *room = *state;
    fli_magazines_close(&room->magazines);
    return fli_magazines_init(&room->magazines, room->base, room->bytes, 0, (size_t)4 * MOST * FLI_MAGAZINE_BYTES);
}

static void indexes_go_on_from_range_to_range(void **state)
{
    struct fli_magazines *magazines = &((struct room *)*state)->magazines;
    for (uint32_t i = 1; i < MOST; i++) {
        struct fli_magazine *magazine = fli_magazine_carve(magazines);
        assert_non_null(magazine);
        assert_ptr_equal(fli_magazine_at(magazines, i), magazine);
        assert_int_equal(fli_magazine_index(magazines, magazine), i);
        memset(magazine->slots, (int)i, sizeof magazine->slots);
    }
    assert_null(fli_magazine_carve(magazines));
    assert_int_equal(fli_magazines_count(magazines), MOST - 1);
    for (uint32_t i = 1; i < MOST; i++)
        assert_int_equal(*(unsigned char *)fli_magazine_at(magazines, i)->slots, i & 0xff);
}

static void pages_of_all_ranges_are_given_back_and_carved_again(void **state)
{
    struct fli_magazines *magazines = &((struct room *)*state)->magazines;
    size_t kept;
    assert_int_equal(carve_all(magazines), MOST - 1);
    assert_int_equal(return_some(magazines, per_page(), MOST, 1, &kept), (MOST / per_page() - 1) * fli_os_page());
    assert_int_equal(kept, 0);
    assert_int_equal(carve_all(magazines), MOST - per_page());
    assert_int_equal(return_some(magazines, per_page(), MOST, 2, &kept), 0);
    assert_int_equal(kept, (MOST - per_page()) / 2);
}

#define GROWING_TEST(test) cmocka_unit_test_setup_teardown(test, growing_room_up, room_down)
#define ROOM_TEST(test)    cmocka_unit_test_setup_teardown(test, room_up, room_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(address_space_for_magazines_is_whole_pages),
        ROOM_TEST(carved_magazines_are_empty_distinct_and_named_by_their_index),
        ROOM_TEST(when_the_space_is_used_up_there_are_no_more),
        ROOM_TEST(whole_pages_are_given_back_and_their_magazines_carved_again),
        ROOM_TEST(magazines_of_a_page_of_which_one_is_in_use_are_kept),
        cmocka_unit_test_setup_teardown(the_first_page_needs_no_magazine_0, large_room_up, room_down),
        ROOM_TEST(states_in_the_place_of_magazine_0_keep_their_page),
        ROOM_TEST(a_returned_magazine_reads_as_zeros),
        ROOM_TEST(a_chain_knows_how_many_blocks_it_has),
        ROOM_TEST(returning_nothing_changes_nothing),
        GROWING_TEST(indexes_go_on_from_range_to_range),
        GROWING_TEST(pages_of_all_ranges_are_given_back_and_carved_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
