/* SPDX-License-Identifier: MIT
 *
 * A heap with two handles, for tests of objects that two threads have. The thread of the test uses both.
 */
#ifndef TESTS_TWO_H
#define TESTS_TWO_H

#include "support.h"

struct two {
    struct fl_heap *heap;
    struct fl_thread *owner, *other; /* NULL: the test has detached it */
};

/* Makes it the state of a test, in which misuse is recorded. */
static inline void two_begin(void **state)
{
    struct two *two = malloc(sizeof *two);
    assert_non_null(two);
    misuse = (struct recorded_misuse){0};
    fl_set_misuse_handler(record_misuse);
    two->heap = heap_with(NULL);
    two->owner = fl_thread_attach(two->heap);
    two->other = fl_thread_attach(two->heap);
    assert_true(two->owner != NULL && two->other != NULL);
    *state = two;
}

/* Verifies the heap and detaches the handles. */
static inline void two_detach(const struct two *two)
{
    assert_sound(two->heap);
    if (two->owner != NULL)
        assert_int_equal(fl_thread_detach(two->owner), 0);
    if (two->other != NULL)
        assert_int_equal(fl_thread_detach(two->other), 0);
}

/* Ends the heap of a state whose handles are detached. All misuse must have been asserted. */
static inline void two_end(struct two *two)
{
    end_heap(two->heap);
    assert_int_equal(misuse.count, 0);
    fl_set_misuse_handler(NULL);
    free(two);
}

#define TWO_TEST(test) cmocka_unit_test_setup_teardown(test, two_up, two_down)

#endif
