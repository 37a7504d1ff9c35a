/* SPDX-License-Identifier: MIT
 *
 * A batch by itself: its owner counts what collects, waits and has been released.
 */
#include "grace_support.h"

#include "grace/batch.h"

struct pile {
    struct played_host host;
    struct fli_grace grace;
    struct fli_mutex lock;
    struct fli_batch batch;
    size_t collecting, waiting, released;
    size_t at_once; /* how much one release takes */
    bool gives_up;  /* a batch whose grace period cannot be had */
    unsigned closes;
};

static bool close_pile(void *owner)
{
    struct pile *pile = owner;
    pile->closes++;
    pile->waiting = pile->collecting;
    pile->collecting = 0;
    return pile->waiting > 0;
}

static bool release_pile(void *owner, size_t *bytes)
{
    struct pile *pile = owner;
    size_t part = fli_min(pile->waiting, pile->at_once);
    pile->waiting -= part;
    pile->released += part;
    *bytes += part;
    return pile->waiting == 0;
}

static bool refuse_pile(void *owner)
{
    struct pile *pile = owner;
    if (pile->gives_up)
        pile->waiting = 0;
    return pile->gives_up;
}

static const struct fli_batch_calls calls = {.close = close_pile, .release = release_pile, .refuse = refuse_pile};

static int pile_up(void **state)
{
    struct pile *pile = calloc(1, sizeof *pile);
    assert_non_null(pile);
    struct fl_grace_host host = {
        .begin = played_begin, .elapsed = played_elapsed, .wait = played_wait, .context = &pile->host};
    assert_int_equal(fli_grace_init(&pile->grace, FL_GRACE_HOST, &host), 0);
    fli_mutex_init(&pile->lock, FLI_RANK_DEFERRED);
    fli_batch_init(&pile->batch, &calls, pile, &pile->grace, &pile->lock);
    pile->at_once = SIZE_MAX;
    *state = pile;
    return 0;
}

static int pile_down(void **state)
{
    struct pile *pile = *state;
    fli_mutex_close(&pile->lock);
    free(pile);
    return 0;
}

static size_t advance(struct pile *pile)
{
    fli_lock(&pile->lock);
    size_t bytes = fli_batch_advance_locked(&pile->batch);
    fli_unlock(&pile->lock);
    return bytes;
}

static void wait_a_while(void *context, int64_t token)
{
    fli_grace_wait(context, token, 1);
}

static int drain(struct pile *pile, size_t *bytes)
{
    *bytes = 0;
    return fli_batch_drain(&pile->batch, wait_a_while, &pile->grace, bytes);
}

static void what_comes_while_a_batch_waits_is_of_the_next_one(void **state)
{
    struct pile *pile = *state;
    pile->collecting = 3;
    assert_int_equal(advance(pile), 0);
    pile->collecting = 5;
    assert_int_equal(advance(pile), 0);
    assert_int_equal(pile->waiting, 3);
    end_periods(&pile->host);
    assert_int_equal(advance(pile), 3);
    assert_int_equal(pile->waiting, 5);
    assert_int_equal(advance(pile), 0); /* its own grace period has only begun */
    end_periods(&pile->host);
    assert_int_equal(advance(pile), 5);
    assert_int_equal(pile->batch.number, 2);
    assert_int_equal(fli_load_relaxed(&pile->batch.grace_periods), 2);
}

static void without_anything_collected_no_grace_period_begins(void **state)
{
    struct pile *pile = *state;
    assert_int_equal(advance(pile), 0);
    assert_int_equal(pile->host.begun, 0);
    assert_false(pile->batch.is_waiting);
}

static void what_is_not_released_at_once_needs_no_other_grace_period(void **state)
{
    struct pile *pile = *state;
    pile->collecting = 3;
    pile->at_once = 2;
    advance(pile);
    end_periods(&pile->host);
    assert_int_equal(advance(pile), 2);
    pile->collecting = 4;
    assert_int_equal(advance(pile), 1);
    assert_int_equal(pile->waiting, 4);
    assert_int_equal(pile->host.begun, 2);
}

static void a_batch_without_a_grace_period_waits_on_and_asks_again(void **state)
{
    struct pile *pile = *state;
    size_t bytes;
    pile->collecting = 3;
    pile->host.refusal = -ENOMEM;
    advance(pile);
    assert_int_equal(pile->waiting, 3);
    assert_true(fli_batch_may_advance(&pile->batch));
    assert_int_equal(drain(pile, &bytes), -ENOMEM);
    assert_int_equal(fli_load_relaxed(&pile->batch.grace_refusals), 2);
    pile->host.refusal = 0;
    advance(pile);
    assert_false(fli_batch_may_advance(&pile->batch));
    end_periods(&pile->host);
    assert_true(fli_batch_may_advance(&pile->batch));
    assert_int_equal(advance(pile), 3);
}

static void an_owner_may_give_such_a_batch_up(void **state)
{
    struct pile *pile = *state;
    size_t bytes;
    pile->collecting = 3;
    pile->gives_up = true;
    pile->host.refusal = -ENOMEM;
    assert_int_equal(drain(pile, &bytes), 0);
    assert_int_equal(bytes, 0);
    assert_false(pile->batch.is_waiting);
    pile->host.refusal = 0;
    pile->collecting = 2;
    assert_int_equal(drain(pile, &bytes), 0);
    assert_int_equal(bytes, 2);
}

static void a_drain_waits_for_the_batch_and_for_the_next(void **state)
{
    struct pile *pile = *state;
    size_t bytes;
    pile->collecting = 3;
    advance(pile);
    pile->collecting = 5;
    errno = EDOM;
    assert_int_equal(drain(pile, &bytes), 0);
    assert_int_equal(errno, EDOM);
    assert_int_equal(bytes, 8);
    assert_int_equal(pile->host.waits, 2);
}

/* More is collected in each wait. */
static void add_and_wait(void *context, int64_t token)
{
    struct pile *pile = context;
    pile->collecting++;
    fli_grace_wait(&pile->grace, token, 1);
}

static void a_drain_does_not_wait_for_what_comes_after_it(void **state)
{
    struct pile *pile = *state;
    size_t bytes = 0;
    pile->collecting = 3;
    assert_int_equal(fli_batch_drain(&pile->batch, add_and_wait, pile, &bytes), 0);
    assert_int_equal(pile->host.waits, 2);
    assert_true(bytes >= 3);
}

static void a_drain_says_that_nothing_can_be_waited_for(void **state)
{
    struct pile *pile = *state;
    size_t bytes;
    pile->grace.calls.wait = NULL;
    pile->collecting = 3;
    assert_int_equal(drain(pile, &bytes), -EAGAIN);
    assert_false(fli_batch_wait(&pile->batch, 1));
}

static void a_batch_that_was_taken_back_makes_room_for_the_next(void **state)
{
    struct pile *pile = *state;
    pile->collecting = 3;
    advance(pile);
    fli_lock(&pile->lock);
    pile->waiting = 0;
    fli_batch_forget_locked(&pile->batch);
    fli_unlock(&pile->lock);
    pile->collecting = 5;
    advance(pile);
    assert_int_equal(pile->waiting, 5);
    assert_int_equal(advance(pile), 0); /* not by the first one's grace period */
    end_periods(&pile->host);
    assert_int_equal(advance(pile), 5);
}

static void after_a_fork_only_the_hosts_grace_periods_count(void **state)
{
    struct pile *pile = *state;
    static const struct fli_reader_calls readers;
    pile->collecting = 3;
    advance(pile);
    fli_batch_wait_anew_stw(&pile->batch);
    assert_int_equal(fli_load_relaxed(&pile->batch.token), 1);
    pile->grace.readers = &readers;
    fli_batch_wait_anew_stw(&pile->batch);
    end_periods(&pile->host);
    assert_int_equal(advance(pile), 0);
    assert_int_equal(pile->host.begun, 2);
    end_periods(&pile->host);
    assert_int_equal(advance(pile), 3);
}

#define PILE_TEST(test) cmocka_unit_test_setup_teardown(test, pile_up, pile_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PILE_TEST(what_comes_while_a_batch_waits_is_of_the_next_one),
        PILE_TEST(without_anything_collected_no_grace_period_begins),
        PILE_TEST(what_is_not_released_at_once_needs_no_other_grace_period),
        PILE_TEST(a_batch_without_a_grace_period_waits_on_and_asks_again),
        PILE_TEST(an_owner_may_give_such_a_batch_up),
        PILE_TEST(a_drain_waits_for_the_batch_and_for_the_next),
        PILE_TEST(a_drain_does_not_wait_for_what_comes_after_it),
        PILE_TEST(a_drain_says_that_nothing_can_be_waited_for),
        PILE_TEST(a_batch_that_was_taken_back_makes_room_for_the_next),
        PILE_TEST(after_a_fork_only_the_hosts_grace_periods_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
