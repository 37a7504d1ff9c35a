/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1 /* sched_setaffinity */

#include "ground.h"

#include "heap/thread.h"
#include "pool/begin.h"

#include <sched.h>

enum { MOST = FLI_SLAB_BLOCKS_MAX };

/* Two homes, and all blocks of a slab of a class at the first. */
struct town {
    struct ground *ground;
    struct fli_slabs *slabs;
    struct fli_homes *homes;
    struct fli_home *home, *other;
    struct fli_pool_counters counters;
};

static struct town settle(void **state)
{
    struct ground *ground = *state;
    struct town town = {.ground = ground, .slabs = &ground->slabs, .homes = &ground->homes};
    town.home = fli_homes_enter(town.homes);
    town.other = fli_homes_enter(town.homes);
    assert_non_null(town.home);
    assert_true(town.other != NULL && town.other != town.home);
    return town;
}

static uint32_t take_in(struct town *town, struct fli_home *home, unsigned class_index)
{
    uint32_t slab = ground_begin(town->slabs, class_index);
    assert_true(slab != 0);
    fli_home_wait(home);
    fli_home_take_in(town->homes, home, slab);
    fli_home_unlock(home);
    return slab;
}

static unsigned take(struct town *town, struct fli_home *home, unsigned class_index, unsigned count, void **blocks)
{
    fli_home_wait(home);
    unsigned taken = fli_home_take(town->homes, home, class_index, count, blocks);
    fli_home_unlock(home);
    return taken;
}

static unsigned put(struct town *town, struct fli_home *home, unsigned class_index, void **blocks, unsigned count)
{
    fli_home_wait(home);
    unsigned left = fli_deliver(town->homes, home, class_index, blocks, count);
    fli_home_unlock(home);
    return left;
}

static unsigned free_of(const struct fli_home *home, unsigned class_index)
{
    return fli_load_relaxed(&home->classes[class_index].free);
}

static void turn_round(void **blocks, unsigned count)
{
    for (unsigned i = 0; i < count / 2; i++) {
        void *swapped = blocks[i];
        blocks[i] = blocks[count - 1 - i];
        blocks[count - 1 - i] = swapped;
    }
}

static void shuffle(void **blocks, unsigned count, uint64_t *seed)
{
    for (unsigned i = count; i > 1; i--) {
        unsigned j = (unsigned)(next_random(seed) % i);
        void *swapped = blocks[i - 1];
        blocks[i - 1] = blocks[j];
        blocks[j] = swapped;
    }
}

/* ---- Blocks. */

static void the_lowest_block_is_taken_first_and_stands_last_in_the_array(void **state)
{
    struct town town = settle(state);
    unsigned c = fl_size_class(48);
    uint32_t slab = take_in(&town, town.home, c);
    void *blocks[MOST];
    unsigned all = fli_slab_at(town.slabs, slab)->blocks;
    for (unsigned done = 0, count; done < all; done += count) {
        count = take(&town, town.home, c, 100, blocks);
        assert_int_equal(count, fli_min(100, all - done));
        for (unsigned i = 0; i < count; i++)
            assert_ptr_equal(blocks[count - 1 - i], block_at(town.slabs, slab, done + i));
    }
    assert_int_equal(take(&town, town.home, c, 1, blocks), 0);
    assert_int_equal(free_of(town.home, c), 0);
}

static void of_some_free_blocks_the_lowest_are_taken_first(void **state)
{
    struct town town = settle(state);
    unsigned c = fl_size_class(48);
    uint64_t seed = 3;
    take_in(&town, town.home, c);
    void *blocks[MOST], *some[MOST];
    unsigned all = take(&town, town.home, c, MOST, blocks);
    for (unsigned in = 1; in <= 64; in *= 2) {
        unsigned count = 0, done = 0;
        for (unsigned i = all; i-- > 0;) /* the lowest is last */
            if (next_random(&seed) % 64 < in)
                some[count++] = blocks[i];
        assert_int_equal(put(&town, town.home, c, some, count), 0);
        while (done < count) {
            void *taken[100];
            unsigned wanted = (unsigned)fli_min(1 + next_random(&seed) % COUNT_OF(taken), count - done);
            assert_int_equal(take(&town, town.home, c, wanted, taken), wanted);
            for (unsigned i = wanted; i-- > 0; done++)
                assert_ptr_equal(taken[i], some[done]);
        }
        assert_int_equal(free_of(town.home, c), 0);
    }
}

enum order { UP, DOWN, SHUFFLED, PAIRS, ORDERS };

static void arrange(void **blocks, unsigned count, enum order order, uint64_t *seed)
{
    if (order == UP)
        turn_round(blocks, count); /* as they come, the lowest is last */
    if (order == SHUFFLED)
        shuffle(blocks, count, seed);
    for (unsigned i = 0; order == PAIRS && i + 1 < count; i += 2)
        turn_round(blocks + i, 2);
}

static void blocks_of_every_class_come_home_in_any_order_each_once(void **state)
{
    struct town town = settle(state);
    uint64_t seed = 5;
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++) {
        uint32_t slab = take_in(&town, town.home, c);
        unsigned all = fli_slab_at(town.slabs, slab)->blocks;
        for (enum order order = UP; order < ORDERS; order++) {
            void *blocks[MOST];
            assert_int_equal(take(&town, town.home, c, all, blocks), all);
            assert_int_equal(fli_slab_at(town.slabs, slab)->free, 0);
            arrange(blocks, all, order, &seed);
            for (unsigned at = 0, part; at < all; at += part) {
                part = (unsigned)fli_min(1 + next_random(&seed) % 300, all - at);
                assert_int_equal(put(&town, town.home, c, blocks + at, part), 0);
                assert_int_equal(free_of(town.home, c), at + part);
            }
            assert_no_stray(town.slabs);
            for (unsigned i = 0; i < all; i++)
                assert_true(fli_block_is_free(town.slabs, c, block_at(town.slabs, slab, i)));
        }
    }
}

static void putting_and_taking_at_random_loses_no_block_and_makes_none(void **state)
{
    struct town town = settle(state);
    unsigned c = fl_size_class(512);
    enum { SLABS = 5, BLOCKS = SLABS * FLI_SLAB_BYTES / 512 };
    void *held[BLOCKS];
    unsigned count = 0;
    uint64_t seed = 11;
    for (unsigned i = 0; i < SLABS; i++)
        take_in(&town, town.home, c);
    for (unsigned round = 0; round < 3000; round++) {
        unsigned some = (unsigned)(next_random(&seed) % 40);
        if (next_random(&seed) % 2 == 0) {
            some = (unsigned)fli_min(some, count);
            shuffle(held, count, &seed);
            assert_int_equal(put(&town, town.home, c, held + count - some, some), 0);
            count -= some;
        } else {
            count += take(&town, town.home, c, (unsigned)fli_min(some, BLOCKS - count), held + count);
        }
        assert_int_equal(count + free_of(town.home, c), BLOCKS);
    }
    assert_no_stray(town.slabs);
}

static void blocks_of_another_home_are_left_over(void **state)
{
    struct town town = settle(state);
    unsigned c = fl_size_class(64);
    take_in(&town, town.home, c);
    take_in(&town, town.other, c);
    void *mine[20], *theirs[20], *mixed[40];
    assert_int_equal(take(&town, town.home, c, 20, mine), 20);
    assert_int_equal(take(&town, town.other, c, 20, theirs), 20);
    for (unsigned i = 0; i < 20; i++) {
        mixed[2 * i] = mine[i];
        mixed[2 * i + 1] = theirs[i];
    }
    unsigned before = free_of(town.home, c);
    assert_int_equal(put(&town, town.home, c, mixed, 40), 20);
    assert_int_equal(free_of(town.home, c), before + 20);
    assert_memory_equal(mixed, theirs, sizeof theirs);
    before = free_of(town.other, c);
    assert_int_equal(fli_homes_return(town.homes, c, mixed, 20, false, &town.counters), 0);
    assert_int_equal(free_of(town.other, c), before + 20);
}

static void what_a_busy_home_would_get_is_left_over(void **state)
{
    struct town town = settle(state);
    unsigned c = fl_size_class(64);
    take_in(&town, town.home, c);
    take_in(&town, town.other, c);
    void *mine[3], *theirs[3];
    take(&town, town.home, c, 3, mine);
    take(&town, town.other, c, 3, theirs);
    void *mixed[] = {theirs[0], mine[0], mine[1], theirs[1], mine[2], theirs[2]};
    fli_home_wait(town.other);
    assert_int_equal(fli_homes_return(town.homes, c, mixed, COUNT_OF(mixed), false, &town.counters), 3);
    assert_memory_equal(mixed, theirs, sizeof theirs);
    fli_home_unlock(town.other);
    assert_int_equal(fli_homes_return(town.homes, c, mixed, 3, false, &town.counters), 0);
}

static void what_is_no_block_or_was_free_is_noted_and_the_rest_goes_home(void **state)
{
    struct town town = settle(state);
    const size_t sizes[] = {48, 1024};
    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        unsigned c = fl_size_class(sizes[s]);
        uint32_t slab = take_in(&town, town.home, c);
        void *blocks[8];
        int outside;
        for (unsigned scattered = 0; scattered < 2; scattered++) {
            assert_int_equal(take(&town, town.home, c, 8, blocks), 8);
            unsigned before = free_of(town.home, c);
            char *free_block = block_at(town.slabs, slab, 20), *far = block_at(town.slabs, slab, 60);
            void *some[] = {blocks[0], scattered ? far : blocks[1], (char *)blocks[2] + 16, blocks[3], blocks[0]};
            assert_int_equal(put(&town, town.home, c, some, COUNT_OF(some)), 0);
            struct fli_stray stray;
            unsigned strays = 0;
            while (fli_stray_take(town.slabs, &stray))
                strays++;
            assert_int_equal(strays, scattered ? 3 : 2);
            assert_int_equal(free_of(town.home, c), before + (scattered ? 2 : 3));
            void *twice[] = {free_block};
            assert_int_equal(put(&town, town.home, c, twice, 1), 0);
            assert_stray(town.slabs, free_block, true);
            void *foreign[] = {&outside, blocks[4], NULL,
                               slab == 1 ? town.slabs->ranges.at[0].base - 16 : town.slabs->ranges.at[0].base};
            assert_int_equal(fli_homes_return(town.homes, c, foreign, 3, false, &town.counters), 0);
            strays = 0;
            while (fli_stray_take(town.slabs, &stray))
                strays++;
            assert_int_equal(strays, 2);
            assert_int_equal(put(&town, town.home, c, blocks + 5, 3), 0);
            if (!scattered)
                put(&town, town.home, c, blocks + 2, 1);
            else
                put(&town, town.home, c, blocks + 1, 2);
            assert_no_stray(town.slabs);
            assert_int_equal(free_of(town.home, c), before + 8);
        }
    }
}

/* Puts blocks of which one, at `position`, is an address inside it; it alone is a stray. */
static void put_with_stray(struct town *town, unsigned class_index, void **blocks, unsigned count, unsigned position,
                           size_t offset)
{
    unsigned before = free_of(town->home, class_index);
    void *block = blocks[position], *inside = (char *)block + offset;
    blocks[position] = inside;
    assert_int_equal(put(town, town->home, class_index, blocks, count), 0);
    assert_stray(town->slabs, inside, false);
    assert_int_equal(free_of(town->home, class_index), before + count - 1);
    assert_false(fli_block_is_free(town->slabs, class_index, block));
    assert_int_equal(put(town, town->home, class_index, &block, 1), 0);
    assert_no_stray(town->slabs);
    assert_int_equal(free_of(town->home, class_index), before + count);
}

static void an_address_inside_a_block_is_noted_wherever_it_stands_among_others(void **state)
{
    struct town town = settle(state);
    enum { COUNT = 8 };
    uint64_t seed = 9;
    for (unsigned c = 1; c < FL_CLASS_COUNT && fli_class_bytes(c) <= FLI_SLAB_BYTES / COUNT; c++) {
        const size_t offsets[] = {1, fli_class_bytes(c) / 2, fli_class_bytes(c) - 1};
        take_in(&town, town.home, c);
        for (unsigned position = 0; position < COUNT; position++)
            for (size_t i = 0; i < COUNT_OF(offsets); i++)
                for (enum order order = 0; order < ORDERS; order++) {
                    void *blocks[COUNT];
                    assert_int_equal(take(&town, town.home, c, COUNT, blocks), COUNT);
                    arrange(blocks, COUNT, order, &seed);
                    put_with_stray(&town, c, blocks, COUNT, position, offsets[i]);
                }
    }
}

static void a_row_of_addresses_inside_blocks_is_no_row_of_blocks(void **state)
{
    struct town town = settle(state);
    enum { COUNT = 8 };
    uint64_t seed = 4;
    for (unsigned c = 1; c < FL_CLASS_COUNT && fli_class_bytes(c) <= FLI_SLAB_BYTES / COUNT; c++) {
        take_in(&town, town.home, c);
        for (enum order order = UP; order < ORDERS; order++) {
            void *blocks[COUNT], *inside[COUNT];
            assert_int_equal(take(&town, town.home, c, COUNT, blocks), COUNT);
            unsigned before = free_of(town.home, c);
            arrange(blocks, COUNT, order, &seed);
            for (unsigned i = 0; i < COUNT; i++)
                inside[i] = (char *)blocks[i] + 8;
            assert_int_equal(put(&town, town.home, c, inside, COUNT), 0);
            assert_int_equal(free_of(town.home, c), before);
            struct fli_stray stray;
            for (unsigned i = COUNT; i-- > 0; assert_ptr_equal(stray.block, inside[i]))
                assert_true(fli_stray_take(town.slabs, &stray));
            assert_false(fli_stray_take(town.slabs, &stray));
            assert_int_equal(put(&town, town.home, c, blocks, COUNT), 0);
        }
    }
}

static void a_block_that_is_there_twice_goes_home_once(void **state)
{
    struct town town = settle(state);
    enum { COUNT = 8 };
    unsigned c = fl_size_class(48);
    take_in(&town, town.home, c);
    uint64_t seed = 6;
    for (enum order order = UP; order < ORDERS; order++)
        for (unsigned position = 0; position < COUNT; position++)
            for (unsigned other = 0; other < COUNT; other++) {
                void *blocks[COUNT], *missing;
                if (position == other)
                    continue;
                assert_int_equal(take(&town, town.home, c, COUNT, blocks), COUNT);
                unsigned before = free_of(town.home, c);
                arrange(blocks, COUNT, order, &seed);
                missing = blocks[position];
                blocks[position] = blocks[other];
                assert_int_equal(put(&town, town.home, c, blocks, COUNT), 0);
                assert_stray(town.slabs, blocks[other], true);
                assert_int_equal(free_of(town.home, c), before + COUNT - 1);
                assert_int_equal(put(&town, town.home, c, &missing, 1), 0);
                assert_no_stray(town.slabs);
            }
}

static void many_blocks_of_some_slabs_come_home_in_any_order_but_not_what_is_none(void **state)
{
    struct town town = settle(state);
    enum { PART = 250, SLABS = 3 };
    unsigned c = fl_size_class(48);
    uint64_t seed = 12;
    void *foreign, *blocks[MOST + MOST];
    for (unsigned i = 0; i < SLABS; i++)
        take_in(&town, town.home, c);
    take_in(&town, town.other, c);
    assert_int_equal(take(&town, town.other, c, 1, &foreign), 1);
    for (enum order order = UP; order < ORDERS; order++) {
        unsigned all = take(&town, town.home, c, COUNT_OF(blocks), blocks), at = 0;
        arrange(blocks, all, order, &seed);
        for (; at + PART <= all; at += PART) {
            void **part = blocks + at, *missing[] = {part[10], part[100], part[240]};
            void *inside = (char *)part[10] + 16, *twice = part[101];
            part[10] = inside;
            part[100] = twice;
            part[240] = foreign;
            assert_int_equal(put(&town, town.home, c, part, PART), 1);
            assert_ptr_equal(part[0], foreign);
            assert_int_equal(free_of(town.home, c), at + PART - 3);
            struct fli_stray stray;
            for (unsigned strays = 0; strays < 2; strays++) {
                assert_true(fli_stray_take(town.slabs, &stray));
                assert_ptr_equal(stray.block, stray.was_free ? twice : inside);
            }
            assert_false(fli_stray_take(town.slabs, &stray));
            assert_int_equal(put(&town, town.home, c, missing, COUNT_OF(missing)), 0);
            assert_no_stray(town.slabs);
        }
        assert_int_equal(put(&town, town.home, c, blocks + at, all - at), 0);
        assert_int_equal(free_of(town.home, c), all);
    }
}

static void of_bits_those_that_are_set_already_are_noted_and_the_rest_comes_home(void **state)
{
    struct town town = settle(state);
    unsigned c = fl_size_class(48);
    uint32_t slab = take_in(&town, town.home, c);
    void *blocks[100];
    uint64_t bits[FLI_SLAB_BIT_WORDS] = {UINT64_MAX, 1};
    assert_int_equal(take(&town, town.home, c, COUNT_OF(blocks), blocks), COUNT_OF(blocks));
    void *already = block_at(town.slabs, slab, 17);
    assert_int_equal(put(&town, town.home, c, &already, 1), 0);
    unsigned before = free_of(town.home, c);
    fli_home_wait(town.home);
    fli_deliver_bits(town.homes, town.home, slab, bits);
    fli_home_unlock(town.home);
    assert_stray(town.slabs, block_at(town.slabs, slab, 17), true);
    assert_int_equal(free_of(town.home, c), before + 64);
    for (unsigned i = 0; i < COUNT_OF(blocks); i++)
        assert_int_equal(fli_block_is_free(town.slabs, c, block_at(town.slabs, slab, i)), i < 65);
}

static void bits_come_home_as_blocks_do(void **state)
{
    struct town town = settle(state);
    unsigned c = fl_size_class(48);
    uint32_t slab = take_in(&town, town.home, c);
    unsigned all = fli_slab_at(town.slabs, slab)->blocks;
    void *blocks[MOST];
    uint64_t bits[FLI_SLAB_BIT_WORDS] = {0};
    take(&town, town.home, c, all, blocks);
    bits[0] = 5;
    bits[3] = UINT64_MAX;
    fli_home_wait(town.home);
    fli_deliver_bits(town.homes, town.home, slab, bits);
    assert_int_equal(free_of(town.home, c), 66);
    bits[3] = 0;
    fli_deliver_bits(town.homes, town.home, slab, bits);
    fli_home_unlock(town.home);
    assert_int_equal(free_of(town.home, c), 66);
    struct fli_stray stray;
    for (unsigned i = 0; i < 2; i++) {
        assert_true(fli_stray_take(town.slabs, &stray));
        assert_true(stray.was_free);
    }
    assert_false(fli_stray_take(town.slabs, &stray));
}

/* ---- Slabs. */

static void one_slab_is_used_up_before_another_is_begun(void **state)
{
    struct town town = settle(state);
    unsigned c = fl_size_class(512);
    enum { SLABS = 4, EACH = FLI_SLAB_BYTES / 512 };
    void *blocks[SLABS * EACH];
    uint64_t seed = 3;
    for (unsigned i = 0; i < SLABS; i++)
        take_in(&town, town.home, c);
    take(&town, town.home, c, SLABS * EACH, blocks);
    shuffle(blocks, SLABS * EACH, &seed);
    assert_int_equal(put(&town, town.home, c, blocks, SLABS * EACH), 0);
    /* All free: each slab as a whole, its neighbour next. */
    uint32_t slab = 0;
    for (unsigned i = 0; i < SLABS * EACH; i++) {
        void *block;
        assert_int_equal(take(&town, town.home, c, 1, &block), 1);
        if (i % EACH == 0) {
            uint32_t next = fli_slab_number(town.slabs, block);
            assert_true(slab == 0 || next == slab + 1);
            slab = next;
        }
        assert_ptr_equal(block, block_at(town.slabs, slab, i % EACH));
    }
}

static void a_slab_that_is_partly_free_is_used_before_one_that_is_all_free(void **state)
{
    struct town town = settle(state);
    unsigned c = fl_size_class(1024);
    void *blocks[64], *block;
    uint32_t used = take_in(&town, town.home, c);
    take(&town, town.home, c, 64, blocks);
    take_in(&town, town.home, fl_size_class(48)); /* the one is not the other's neighbour */
    uint32_t all_free = take_in(&town, town.home, c);
    put(&town, town.home, c, blocks, 40);
    assert_int_equal(fli_load_relaxed(&town.homes->free_slabs), 2);
    for (unsigned i = 0; i < 40; i++) {
        take(&town, town.home, c, 1, &block);
        assert_int_equal(fli_slab_number(town.slabs, block), used);
    }
    take(&town, town.home, c, 1, &block);
    assert_int_equal(fli_slab_number(town.slabs, block), all_free);
}

static void a_row_of_slabs_that_are_partly_free_is_used_from_its_start(void **state)
{
    struct town town = settle(state);
    unsigned c = fl_size_class(1024), per_slab = FLI_SLAB_BYTES / 1024;
    enum { ROW = 4, FAR = 9 };
    void *blocks[FAR][FLI_SLAB_BYTES / 1024];
    for (uint32_t slab = 1; slab <= FAR; slab++) {
        assert_int_equal(take_in(&town, town.home, c), slab);
        assert_int_equal(take(&town, town.home, c, per_slab, blocks[slab - 1]), per_slab);
    }
    /* One block of each stays in use. The last that gets free blocks is the first that is found. */
    for (uint32_t slab = 1; slab <= ROW; slab++)
        assert_int_equal(put(&town, town.home, c, blocks[slab - 1], per_slab - 1), 0);
    for (uint32_t slab = 1; slab <= ROW; slab++)
        for (unsigned i = 1; i < per_slab; i++) {
            void *block;
            assert_int_equal(take(&town, town.home, c, 1, &block), 1);
            assert_int_equal(fli_slab_number(town.slabs, block), slab);
        }
}

static void homes_that_grow_side_by_side_get_slabs_in_rows(void **state)
{
    struct town town = settle(state);
    unsigned c = fl_size_class(1024), per_slab = FLI_SLAB_BYTES / 1024;
    enum { SLABS = 96, ROWS_MOST = SLABS / 4 };
    struct fli_home *homes[] = {town.home, town.other};
    uint32_t last[2] = {0}, rows[2] = {0};
    for (unsigned i = 0; i < SLABS; i++)
        for (unsigned h = 0; h < 2; h++) {
            void *blocks[FLI_SLAB_BYTES / 1024];
            fli_home_wait(homes[h]);
            assert_true(fli_begin_slab(town.homes, homes[h], c));
            assert_int_equal(fli_home_take(town.homes, homes[h], c, per_slab, blocks), per_slab);
            fli_home_unlock(homes[h]);
            uint32_t slab = fli_slab_number(town.slabs, blocks[0]);
            rows[h] += slab != last[h] + 1;
            last[h] = slab;
        }
    assert_in_range(rows[0], 1, ROWS_MOST);
    assert_in_range(rows[1], 1, ROWS_MOST);
    assert_in_range(town.slabs->committed, 2 * SLABS, 2 * SLABS * 4 / 3);
}

static void a_home_alone_skips_no_slab(void **state)
{
    struct town town = settle(state);
    unsigned c = fl_size_class(1024), other = fl_size_class(512);
    for (uint32_t slab = 1; slab <= 64; slab++) {
        void *blocks[FLI_SLAB_BYTES / 512];
        unsigned class_index = slab % 2 == 0 ? c : other;
        fli_home_wait(town.home);
        assert_true(fli_begin_slab(town.homes, town.home, class_index));
        assert_true(fli_home_take(town.homes, town.home, class_index, COUNT_OF(blocks), blocks) > 0);
        fli_home_unlock(town.home);
        assert_int_equal(town.slabs->committed, slab);
    }
    assert_int_equal(fli_idle_cold_count(town.slabs), 0);
}

static uint32_t begin(struct town *town, struct fli_home *home, unsigned class_index)
{
    void *block;
    fli_home_wait(home);
    assert_true(fli_begin_slab(town->homes, home, class_index));
    assert_int_equal(fli_home_take(town->homes, home, class_index, 1, &block), 1);
    fli_home_unlock(home);
    return fli_slab_number(town->slabs, block);
}

static void a_slab_that_is_all_free_serves_another_class_of_its_home_alone(void **state)
{
    struct town town = settle(state);
    unsigned c = fl_size_class(1024), other = fl_size_class(512);
    uint32_t first = take_in(&town, town.home, c), second = take_in(&town, town.home, c);
    uint32_t elsewhere = begin(&town, town.other, other);
    assert_int_not_equal(elsewhere, first);
    assert_int_not_equal(elsewhere, second);
    /* The first of the row comes first. */
    assert_int_equal(begin(&town, town.home, other), fli_min(first, second));
    assert_int_equal(begin(&town, town.home, fl_size_class(256)), fli_max(first, second));
    assert_int_equal(fli_slab_at(town.slabs, first)->blocks, FLI_SLAB_BYTES / (first < second ? 512 : 256));
    assert_int_equal(fli_load_relaxed(&town.homes->free_slabs), 0);
    /* Those that are in use keep their classes. */
    uint32_t committed = town.slabs->committed;
    assert_int_equal(begin(&town, town.home, c), committed + 1);
}

enum { ROW = 16 };

/* A row of slabs of the class that are all free at the other home. Returns the first. */
static uint32_t make_row(struct town *town, unsigned class_index)
{
    uint32_t first = take_in(town, town->other, class_index);
    for (unsigned i = 1; i < ROW; i++)
        assert_int_equal(take_in(town, town->other, class_index), first + i);
    return first;
}

static void half_a_row_of_slabs_that_are_all_free_goes_over_to_a_home_that_needs_one(void **state)
{
    struct town town = settle(state);
    unsigned c = fl_size_class(1024), other = fl_size_class(512), theirs = 0, last_theirs = 0;
    uint32_t first = make_row(&town, c), committed = town.slabs->committed;
    uint32_t slab = begin(&town, town.home, other);
    assert_in_range(slab, first, first + ROW - 1);
    assert_int_equal(fli_load_relaxed(&town.homes->free_slabs), ROW - 1);
    for (unsigned i = 0; i < ROW; i++)
        if (fli_home_of(town.slabs, fli_slab_start(town.slabs, first + i)) == town.home)
            theirs++, last_theirs = i;
    assert_int_equal(theirs, ROW / 2);
    assert_int_equal(first + last_theirs, slab + ROW / 2 - 1); /* one row, from its start */
    /* They serve the home first, and no new slab is begun. */
    for (unsigned i = 1; i < ROW / 2; i++)
        assert_int_equal(begin(&town, town.home, fl_size_class(2048 * i)), slab + i);
    assert_int_equal(town.slabs->committed, committed);
    assert_int_equal(free_of(town.other, c), ROW / 2 * 64);
}

static void a_row_of_slabs_stays_with_a_home_that_is_busy_and_where_readers_may_be_stale(void **state)
{
    struct town town = settle(state);
    uint32_t first = make_row(&town, fl_size_class(1024));
    fli_home_wait(town.other);
    assert_in_range(begin(&town, town.home, fl_size_class(512)), first + ROW, GROUND_SLABS);
    fli_home_unlock(town.other);
    town.slabs->stale_bytes = 8;
    assert_in_range(begin(&town, town.home, fl_size_class(256)), first + ROW, GROUND_SLABS);
    town.slabs->stale_bytes = 0;
    assert_in_range(begin(&town, town.home, fl_size_class(128)), first, first + ROW - 1);
}

static void slabs_that_are_all_free_are_counted_and_can_be_given_up(void **state)
{
    struct town town = settle(state);
    unsigned c = fl_size_class(FL_BLOCK_MAX);
    uint32_t first = take_in(&town, town.home, c), second = take_in(&town, town.home, c);
    void *blocks[4];
    assert_int_equal(fli_load_relaxed(&town.homes->free_slabs), 2);
    take(&town, town.home, c, 3, blocks);
    assert_int_equal(fli_load_relaxed(&town.homes->free_slabs), 0);
    fli_home_wait(town.home);
    assert_int_equal(fli_home_give_up_free(town.homes, town.home, c), 0);
    fli_home_unlock(town.home);
    /* The current one, all of whose blocks have come home, can be given up too. */
    put(&town, town.home, c, blocks, 3);
    fli_home_wait(town.home);
    uint32_t one = fli_home_give_up_free(town.homes, town.home, c);
    uint32_t other = fli_home_give_up_free(town.homes, town.home, c);
    assert_int_equal(fli_home_give_up_free(town.homes, town.home, c), 0);
    fli_home_unlock(town.home);
    assert_true((one == first && other == second) || (one == second && other == first));
    assert_int_equal(free_of(town.home, c), 0);
    assert_int_equal(fli_load_relaxed(&town.homes->free_slabs), 0);
}

static bool adopt(struct town *town, unsigned class_index, bool pressed)
{
    fli_home_wait(town->home);
    bool adopted = fli_homes_adopt(town->homes, town->home, class_index, pressed);
    fli_home_unlock(town->home);
    return adopted;
}

static void a_slab_that_is_all_free_is_adopted_from_any_home(void **state)
{
    struct town town = settle(state);
    unsigned c = fl_size_class(1024);
    uint32_t slab = take_in(&town, town.other, c);
    assert_false(adopt(&town, fl_size_class(48), false));
    assert_true(adopt(&town, c, false));
    assert_int_equal(free_of(town.other, c), 0);
    assert_int_equal(free_of(town.home, c), 64);
    assert_ptr_equal(fli_home_of(town.slabs, fli_slab_start(town.slabs, slab)), town.home);
    assert_int_equal(fli_load_relaxed(&town.homes->free_slabs), 1);
}

static void a_slab_that_is_partly_free_is_adopted_from_homes_that_are_away(void **state)
{
    struct town town = settle(state);
    unsigned c = fl_size_class(1024);
    void *block, *more[64];
    uint32_t slab = take_in(&town, town.other, c);
    take(&town, town.other, c, 1, &block);
    assert_false(adopt(&town, c, false));
    fli_store_relaxed(&town.other->away, true);
    assert_true(adopt(&town, c, false));
    assert_int_equal(free_of(town.home, c), 63);
    /* What was out comes to the new home. */
    assert_int_equal(put(&town, town.other, c, &block, 1), 1);
    assert_int_equal(fli_homes_return(town.homes, c, &block, 1, false, &town.counters), 0);
    assert_int_equal(free_of(town.home, c), 64);
    assert_int_equal(take(&town, town.home, c, 64, more), 64);
    assert_ptr_equal(more[63], fli_slab_start(town.slabs, slab));
}

static void under_pressure_a_slab_is_adopted_from_a_home_at_work_too(void **state)
{
    struct town town = settle(state);
    unsigned c = fl_size_class(1024);
    void *block;
    take_in(&town, town.other, c);
    take(&town, town.other, c, 1, &block);
    assert_false(adopt(&town, c, false));
    assert_true(adopt(&town, c, true));
    assert_int_equal(free_of(town.home, c), 63);
    fli_homes_return(town.homes, c, &block, 1, true, &town.counters);
}

static void a_home_at_work_spares_slabs_of_which_a_quarter_is_free_if_it_has_many_free_blocks(void **state)
{
    struct town town = settle(state);
    unsigned c = fl_size_class(1024), per_slab = FLI_SLAB_BYTES / 1024;
    enum { SLABS = 3 };
    void *blocks[SLABS][FLI_SLAB_BYTES / 1024];
    for (unsigned i = 0; i < SLABS; i++) {
        take_in(&town, town.other, c);
        assert_int_equal(take(&town, town.other, c, per_slab, blocks[i]), per_slab);
    }
    /* As many as a slab and a half has: not enough. */
    for (unsigned i = 0; i < SLABS; i++)
        assert_int_equal(put(&town, town.other, c, blocks[i], per_slab / 2), 0);
    assert_false(adopt(&town, c, false));
    /* One more of the third: all of it but one, and half of the others. */
    assert_int_equal(put(&town, town.other, c, blocks[SLABS - 1] + per_slab / 2, per_slab / 2 - 1), 0);
    assert_false(adopt(&town, c, false));
    assert_int_equal(put(&town, town.other, c, blocks[0] + per_slab / 2, 1), 0);
    assert_true(adopt(&town, c, false));
    assert_int_equal(free_of(town.home, c), per_slab - 1);
    assert_int_equal(free_of(town.other, c), per_slab + 1);
    assert_false(adopt(&town, c, false)); /* what is left is not many */
}

static void nothing_is_adopted_from_a_home_that_is_busy(void **state)
{
    struct town town = settle(state);
    unsigned c = fl_size_class(1024);
    take_in(&town, town.other, c);
    fli_home_wait(town.other);
    assert_false(adopt(&town, c, false));
    assert_false(adopt(&town, c, true));
    fli_home_unlock(town.other);
    assert_true(adopt(&town, c, false));
}

/* However many homes there are, each is looked at in its turn. */
static void the_homes_of_many_dead_threads_are_looked_at_in_turn(void **state)
{
    struct town town = settle(state);
    unsigned c = fl_size_class(1024);
    enum { HOMES = 60 };
    struct fli_home *homes[HOMES];
    for (unsigned i = 0; i < HOMES; i++) {
        homes[i] = fli_homes_enter(town.homes);
        take_in(&town, homes[i], c);
    }
    for (unsigned i = 0; i < HOMES; i++)
        fli_homes_leave(town.homes, homes[i]);
    unsigned adopted = 0;
    for (unsigned tries = 0; tries < 2 * HOMES; tries++)
        adopted += adopt(&town, c, false);
    assert_int_equal(adopted, HOMES);
}

/* ---- Homes. */

static void the_next_thread_moves_into_a_vacant_home(void **state)
{
    struct town town = settle(state);
    unsigned c = fl_size_class(1024);
    take_in(&town, town.other, c);
    fli_homes_leave(town.homes, town.other);
    assert_true(fli_load_relaxed(&town.other->away));
    struct fli_home *next = fli_homes_enter(town.homes);
    assert_ptr_equal(next, town.other);
    assert_false(fli_load_relaxed(&next->away));
    assert_int_equal(free_of(next, c), 64);
    assert_true(fli_homes_enter(town.homes) != next);
}

/* Keeps the calling thread on the processor where it is. */
static void stay_on_processor(void)
{
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET((size_t)fli_os_processor(), &here);
    assert_int_equal(sched_setaffinity(0, sizeof here, &here), 0);
}

static void of_vacant_homes_one_left_on_this_processor_is_taken(void **state)
{
    struct town town = settle(state);
    cpu_set_t before;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    stay_on_processor();
    struct fli_home *const homes[] = {town.home, town.other};
    for (unsigned i = 0; i < 2; i++) {
        fli_homes_leave(town.homes, town.home);
        fli_homes_leave(town.homes, town.other);
        homes[i]->processor++;
        assert_ptr_equal(fli_homes_enter(town.homes), homes[1 - i]);
        assert_ptr_equal(fli_homes_enter(town.homes), homes[i]);
    }
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
}

static void a_lock_that_is_held_is_not_had(void **state)
{
    struct town town = settle(state);
    assert_true(fli_home_try(town.home));
    assert_false(fli_home_try(town.home));
    assert_false(fli_home_try_briefly(town.home));
    fli_home_unlock(town.home);
    assert_true(fli_home_try_briefly(town.home));
    fli_home_unlock(town.home);
}

/* ---- A thread whose home is held. */

enum { SIZE = 48 };

static struct fli_owner *owner_of(struct fl_thread *thread)
{
    return &((struct fli_thread *)(void *)thread)->owner;
}

static void a_thread_that_cannot_come_home_moves_to_another(void **state)
{
    struct bed *bed = *state;
    struct fli_home *held = owner_of(bed->thread)->home;
    void *block = fl_alloc(bed->thread, SIZE), *more[3000];
    fli_home_wait(held); /* as if somebody had stopped inside */
    assert_int_equal(fl_alloc_many(bed->thread, SIZE, COUNT_OF(more), more), 0);
    assert_true(owner_of(bed->thread)->home != held);
    fl_free_many(bed->thread, SIZE, COUNT_OF(more), more);
    fl_free_sized(bed->thread, block, SIZE);
    fli_home_unlock(held);
    assert_sound(bed->heap);
}

static void a_thread_takes_no_note_of_use_into_another_home(void **state)
{
    struct bed *bed = *state;
    enum { OTHER_SIZE = 1000 };
    struct fli_owner *owner = owner_of(bed->thread);
    void *more[3000];
    fl_free_sized(bed->thread, fl_alloc(bed->thread, OTHER_SIZE), OTHER_SIZE);
    struct fl_thread *other = fl_thread_attach(bed->heap);
    struct fli_home *held = owner->home, *next = owner_of(other)->home;
    for (unsigned w = 0; w < FLI_CLASS_SET_WORDS; w++)
        next->quiet.words[w] = UINT32_MAX; /* as if that had not used any class */
    assert_int_equal(fl_thread_detach(other), 0);
    fli_home_wait(held);
    assert_int_equal(fl_alloc_many(bed->thread, SIZE, COUNT_OF(more), more), 0);
    assert_ptr_equal(owner->home, next);
    if (!FLI_RARE_PATHS) /* where it judges the classes anew with each slab */
        assert_true(class_stats_of(bed->heap, OTHER_SIZE).cached > 0);
    fl_free_many(bed->thread, SIZE, COUNT_OF(more), more);
    fli_home_unlock(held);
    assert_sound(bed->heap);
}

static void what_a_busy_home_cannot_take_goes_through_the_pool(void **state)
{
    struct bed *bed = *state;
    struct fl_thread *other = fl_thread_attach(bed->heap);
    void *blocks[3000];
    assert_int_equal(fl_alloc_many(bed->thread, SIZE, COUNT_OF(blocks), blocks), 0);
    struct fli_home *home = owner_of(bed->thread)->home;
    fli_home_wait(home);
    fl_free_many(other, SIZE, COUNT_OF(blocks), blocks);
    fl_thread_flush(other);
    struct fl_class_stats class = class_stats_of(bed->heap, SIZE);
    assert_int_equal(class.pooled, COUNT_OF(blocks));
    assert_int_equal(class.live, 0);
    fli_home_unlock(home);
    assert_int_equal(fl_alloc_many(other, SIZE, COUNT_OF(blocks), blocks), 0);
    assert_true(class_stats_of(bed->heap, SIZE).pooled < COUNT_OF(blocks));
    fl_free_many(other, SIZE, COUNT_OF(blocks), blocks);
    assert_int_equal(fl_thread_detach(other), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GROUND_TEST(the_lowest_block_is_taken_first_and_stands_last_in_the_array),
        GROUND_TEST(of_some_free_blocks_the_lowest_are_taken_first),
        GROUND_TEST(blocks_of_every_class_come_home_in_any_order_each_once),
        GROUND_TEST(putting_and_taking_at_random_loses_no_block_and_makes_none),
        GROUND_TEST(blocks_of_another_home_are_left_over),
        GROUND_TEST(what_a_busy_home_would_get_is_left_over),
        GROUND_TEST(what_is_no_block_or_was_free_is_noted_and_the_rest_goes_home),
        GROUND_TEST(an_address_inside_a_block_is_noted_wherever_it_stands_among_others),
        GROUND_TEST(a_row_of_addresses_inside_blocks_is_no_row_of_blocks),
        GROUND_TEST(a_block_that_is_there_twice_goes_home_once),
        GROUND_TEST(many_blocks_of_some_slabs_come_home_in_any_order_but_not_what_is_none),
        GROUND_TEST(of_bits_those_that_are_set_already_are_noted_and_the_rest_comes_home),
        GROUND_TEST(bits_come_home_as_blocks_do),
        GROUND_TEST(one_slab_is_used_up_before_another_is_begun),
        GROUND_TEST(a_slab_that_is_partly_free_is_used_before_one_that_is_all_free),
        GROUND_TEST(a_row_of_slabs_that_are_partly_free_is_used_from_its_start),
        GROUND_TEST(homes_that_grow_side_by_side_get_slabs_in_rows),
        GROUND_TEST(a_home_alone_skips_no_slab),
        GROUND_TEST(a_slab_that_is_all_free_serves_another_class_of_its_home_alone),
        GROUND_TEST(half_a_row_of_slabs_that_are_all_free_goes_over_to_a_home_that_needs_one),
        GROUND_TEST(a_row_of_slabs_stays_with_a_home_that_is_busy_and_where_readers_may_be_stale),
        GROUND_TEST(slabs_that_are_all_free_are_counted_and_can_be_given_up),
        GROUND_TEST(a_slab_that_is_all_free_is_adopted_from_any_home),
        GROUND_TEST(a_slab_that_is_partly_free_is_adopted_from_homes_that_are_away),
        GROUND_TEST(under_pressure_a_slab_is_adopted_from_a_home_at_work_too),
        GROUND_TEST(a_home_at_work_spares_slabs_of_which_a_quarter_is_free_if_it_has_many_free_blocks),
        GROUND_TEST(nothing_is_adopted_from_a_home_that_is_busy),
        GROUND_TEST(the_homes_of_many_dead_threads_are_looked_at_in_turn),
        GROUND_TEST(the_next_thread_moves_into_a_vacant_home),
        GROUND_TEST(of_vacant_homes_one_left_on_this_processor_is_taken),
        GROUND_TEST(a_lock_that_is_held_is_not_had),
        BED_TEST(a_thread_that_cannot_come_home_moves_to_another),
        BED_TEST(a_thread_takes_no_note_of_use_into_another_home),
        BED_TEST(what_a_busy_home_cannot_take_goes_through_the_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
