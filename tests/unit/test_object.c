/* SPDX-License-Identifier: MIT
 *
 * Reference counts of objects. Two handles of one OS thread stand for two threads: what one does is ordered before what
 * the other does next, and each owns what it creates.
 */
#include "two.h"

#include <freelane/object.h>

#include "object/slots.h"

struct number {
    struct fl_object head;
    double value;
};

static struct fl_type number_type = {.name = "number", .size = sizeof(struct number), .kind = FL_DEALLOC_PLAIN};

struct pair {
    struct fl_object head;
    struct fl_object *held;
};

static unsigned cleared;

static void clear_pair(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct pair *pair = object;
    (void)type;
    cleared++;
    if (pair->held != NULL)
        fl_decref(thread, pair->held);
}

static struct fl_type pair_type = {.name = "pair", .size = sizeof(struct pair), .clear = clear_pair};

static void ready_types(void)
{
    char error[256] = "";
    if (!number_type.ready && fl_object_type_ready(&number_type, NULL, error, sizeof error) != 0)
        fail_msg("%s", error);
    if (!pair_type.ready && fl_object_type_ready(&pair_type, NULL, error, sizeof error) != 0)
        fail_msg("%s", error);
}

static int two_up(void **state)
{
    ready_types();
    two_begin(state);
    cleared = 0;
    return 0;
}

static int two_down(void **state)
{
    two_detach(*state);
    two_end(*state);
    return 0;
}

static struct fl_object *new_number(struct fl_thread *thread)
{
    struct fl_object *object = fl_object_alloc(thread, &number_type);
    assert_non_null(object);
    return object;
}

static size_t live(const struct two *two)
{
    return stats_of(two->heap).live_blocks;
}

/* ---- The owner. */

static void an_object_dies_with_its_last_reference(void **state)
{
    struct two *two = *state;
    struct fl_object *object = new_number(two->owner);
    assert_ptr_equal(object->type, &number_type);
    fl_incref(two->owner, object);
    fl_decref(two->owner, object);
    assert_int_equal(live(two), 1);
    fl_decref(two->owner, object);
    assert_int_equal(live(two), 0);
}

static void a_dead_object_drops_what_it_holds(void **state)
{
    struct two *two = *state;
    struct fl_object *last = new_number(two->owner);
    for (int i = 0; i < 1000; i++) {
        struct pair *pair = (struct pair *)fl_object_alloc(two->owner, &pair_type);
        assert_non_null(pair);
        pair->held = last;
        last = &pair->head;
    }
    fl_decref(two->owner, last);
    assert_int_equal(cleared, 1000);
    assert_int_equal(live(two), 0);
}

static void an_owner_has_as_many_references_as_it_likes(void **state)
{
    struct two *two = *state;
    struct fl_object *object = new_number(two->owner);
    for (int i = 0; i < 200000; i++)
        fl_incref(two->owner, object);
    for (int i = 0; i < 200000; i++)
        fl_decref(two->owner, object);
    assert_int_equal(live(two), 1);
    fl_decref(two->owner, object);
    assert_int_equal(live(two), 0);
}

/* ---- Other threads. */

static void a_reference_of_another_thread_keeps_an_object(void **state)
{
    struct two *two = *state;
    struct fl_object *object = new_number(two->owner);
    fl_incref(two->other, object);
    fl_decref(two->owner, object);
    assert_int_equal(live(two), 1);
    fl_incref(two->owner, object);
    fl_decref(two->other, object);
    assert_int_equal(live(two), 1);
    fl_decref(two->owner, object);
    assert_int_equal(live(two), 0);
}

static void merge_all(const struct two *two)
{
    fl_merge(two->other);
    fl_merge(two->owner);
}

static void the_last_reference_of_another_thread_goes_to_the_owner(void **state)
{
    struct two *two = *state;
    struct fl_object *object = new_number(two->owner);
    const unsigned char *handed = fl_thread_handed(two->owner);
    assert_int_equal(*handed, 0);
    fl_decref(two->other, object);
    fl_merge(two->owner);
    assert_int_equal(live(two), 1);
    assert_int_equal(*handed, 0);
    assert_int_equal(*fl_thread_handed(two->other), 1);
    fl_merge(two->other);
    assert_int_equal(*fl_thread_handed(two->other), 0);
    assert_int_equal(live(two), 1);
    assert_int_equal(*handed, 1);
    fl_merge(two->owner);
    assert_int_equal(live(two), 0);
    assert_int_equal(*handed, 0);
}

static bool dies(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread;
    (void)object;
    (void)type;
    return false;
}

static void an_object_with_a_finalizer_goes_to_the_owner_at_once(void **state)
{
    struct two *two = *state;
    static struct fl_type type = {.name = "closing", .size = 32, .finalize = dies};
    if (!type.ready)
        assert_int_equal(fl_object_type_ready(&type, NULL, NULL, 0), 0);
    fl_decref(two->other, fl_object_alloc(two->owner, &type));
    assert_int_equal(*fl_thread_handed(two->owner), 1);
    fl_merge(two->owner);
    assert_int_equal(live(two), 0);
}

/* More owners than a thread collects objects for. */
static void objects_of_many_owners_are_handed_over(void **state)
{
    struct two *two = *state;
    enum { OWNERS = 20, EACH = 5 };
    struct fl_thread *owners[OWNERS];
    struct fl_object *objects[OWNERS][EACH];
    for (int o = 0; o < OWNERS; o++) {
        owners[o] = fl_thread_attach(two->heap);
        for (int i = 0; i < EACH; i++)
            objects[o][i] = new_number(owners[o]);
    }
    for (int i = 0; i < EACH; i++)
        for (int o = 0; o < OWNERS; o++)
            fl_decref(two->other, objects[o][i]);
    assert_sound(two->heap);
    fl_merge(two->other);
    assert_int_equal(live(two), OWNERS * EACH);
    for (int o = 0; o < OWNERS; o++) {
        fl_merge(owners[o]);
        assert_int_equal(live(two), (OWNERS - 1 - o) * EACH);
        assert_int_equal(fl_thread_detach(owners[o]), 0);
    }
}

static void what_a_thread_has_collected_is_handed_over_when_it_leaves(void **state)
{
    struct two *two = *state;
    fl_decref(two->other, new_number(two->owner));
    fl_thread_offline(two->other);
    assert_int_equal(*fl_thread_handed(two->owner), 1);
    fl_merge(two->owner);
    assert_int_equal(live(two), 0);
    fl_thread_online(two->other);
    fl_decref(two->other, new_number(two->owner));
    assert_int_equal(fl_thread_detach(two->other), 0);
    two->other = NULL;
    fl_merge(two->owner);
    assert_int_equal(live(two), 0);
}

static void an_object_that_was_handed_over_may_live_on(void **state)
{
    struct two *two = *state;
    struct fl_object *object = new_number(two->owner);
    fl_incref(two->owner, object);
    fl_incref(two->owner, object);
    fl_decref(two->other, object);
    fl_decref(two->other, object);
    merge_all(two);
    assert_int_equal(live(two), 1);
    fl_incref(two->owner, object);
    fl_decref(two->owner, object);
    fl_decref(two->owner, object);
    assert_int_equal(live(two), 0);
}

static void many_objects_are_handed_over(void **state)
{
    struct two *two = *state;
    enum { MANY = 1000 };
    struct fl_object *objects[MANY];
    for (int i = 0; i < MANY; i++)
        objects[i] = fl_object_alloc(two->owner, i % 3 == 0 ? &pair_type : &number_type);
    for (int i = 0; i < MANY; i += 3)
        ((struct pair *)objects[i])->held = NULL;
    for (int i = 0; i < MANY; i++)
        fl_decref(two->other, objects[i]);
    assert_int_equal(live(two), MANY);
    assert_sound(two->heap);
    merge_all(two);
    assert_int_equal(live(two), 0);
    assert_int_equal(cleared, (MANY + 2) / 3);
}

/* ---- Owners that are not there. */

static void objects_of_an_offline_owner_end_where_they_are_dropped(void **state)
{
    struct two *two = *state;
    struct fl_object *object = new_number(two->owner), *kept = new_number(two->owner);
    fl_thread_offline(two->owner);
    fl_decref(two->other, object);
    assert_int_equal(live(two), 1);
    fl_thread_online(two->owner);
    fl_decref(two->owner, kept);
    assert_int_equal(live(two), 0);
}

static void an_owner_that_leaves_merges_first(void **state)
{
    struct two *two = *state;
    fl_decref(two->other, new_number(two->owner));
    fl_merge(two->other);
    fl_thread_offline(two->owner);
    assert_int_equal(live(two), 0);
    fl_thread_online(two->owner);
    fl_decref(two->other, new_number(two->owner));
    fl_merge(two->other);
    assert_int_equal(live(two), 1);
    assert_int_equal(fl_thread_detach(two->owner), 0);
    two->owner = NULL;
    assert_int_equal(live(two), 0);
}

static void objects_of_an_owner_that_is_gone_end_where_they_are_dropped(void **state)
{
    struct two *two = *state;
    struct fl_object *object = new_number(two->owner);
    fl_incref(two->owner, object);
    assert_int_equal(fl_thread_detach(two->owner), 0);
    two->owner = NULL;
    fl_decref(two->other, object);
    assert_int_equal(live(two), 1);
    fl_decref(two->other, object);
    assert_int_equal(live(two), 0);
}

static void who_takes_a_slot_owns_its_objects(void **state)
{
    struct two *two = *state;
    struct fl_object *object = new_number(two->owner);
    uint32_t local = object->counts.local;
    assert_int_equal(fl_thread_detach(two->owner), 0);
    two->owner = fl_thread_attach(two->heap);
    struct fl_object *second = new_number(two->owner);
    assert_int_equal(second->counts.local, local);
    fl_incref(two->owner, object);
    assert_int_equal(object->counts.local, local + 1);
    fl_decref(two->owner, object);
    fl_decref(two->owner, object);
    fl_decref(two->owner, second);
    assert_int_equal(live(two), 0);
}

static void *drop_and_exit(void *argument)
{
    struct two *two = argument;
    struct fl_thread *thread = fl_thread_attach(two->heap);
    EXPECT(thread != NULL);
    struct fl_object *object = fl_object_alloc(thread, &number_type);
    EXPECT(object != NULL);
    fl_decref(two->other, object); /* the thread that waits for this one lends its handle */
    fl_merge(two->other);
    return NULL;
}

static void a_thread_that_exits_merges_first(void **state)
{
    struct two *two = *state;
    run_on_thread(drop_and_exit, two);
    assert_int_equal(live(two), 0);
}

static void handles_without_a_slot_count_in_the_shared_word(void **state)
{
    struct two *two = *state;
    enum { MANY = FLI_SLOTS_MOST };
    static struct fl_thread *threads[MANY + 1];
    for (int i = 0; i <= MANY; i++) {
        threads[i] = fl_thread_attach(two->heap);
        assert_non_null(threads[i]);
        fl_decref(threads[i], new_number(threads[i]));
    }
    struct fl_object *object = new_number(threads[MANY]);
    assert_int_equal(object->counts.local, 0);
    fl_incref(two->other, object);
    fl_decref(threads[MANY], object);
    fl_decref(two->other, object);
    for (int i = 0; i <= MANY; i++)
        assert_int_equal(fl_thread_detach(threads[i]), 0);
    assert_int_equal(live(two), 0);
}

/* ---- Immortal objects. */

static struct fl_object none = FL_OBJECT_IMMORTAL(&number_type);

static void an_immortal_object_stays(void **state)
{
    struct two *two = *state;
    struct fl_object *object = new_number(two->owner);
    assert_false(fl_is_uncounted(two->owner, object));
    fl_make_immortal(object);
    assert_int_equal(fl_is_uncounted(two->owner, object), !FLI_CHECKED);
    for (int i = 0; i < 10; i++) {
        fl_incref(two->owner, object);
        fl_incref(two->other, object);
        fl_incref(two->owner, &none);
    }
    for (int i = 0; i < 10; i++) {
        fl_decref(two->other, object);
        fl_decref(two->owner, object);
        fl_decref(two->other, &none);
    }
    assert_int_equal(live(two), 1);
}

static void a_full_shared_count_makes_an_object_immortal(void **state)
{
    struct two *two = *state;
    struct fl_object *object = new_number(two->owner);
    object->counts.shared = (uint32_t)(FLI_SHARED_MOST - 1) * FL_SHARED_ONE;
    fl_incref(two->other, object);
    struct fl_object_stats stats;
    fl_heap_object_stats(two->heap, &stats);
    assert_int_equal(stats.overflows, 0);
    fl_incref(two->other, object);
    fl_heap_object_stats(two->heap, &stats);
    assert_int_equal(stats.overflows, 1);
    fl_incref(two->other, object);
    fl_decref(two->other, object);
    fl_decref(two->owner, object);
    fl_decref(two->owner, object);
    assert_int_equal(live(two), 1);
    fl_heap_object_stats(two->heap, &stats);
    assert_int_equal(stats.overflows, 1);
}

/* A reader that went away empty-handed would look at the place for ever. */
static void a_reader_makes_an_object_with_a_full_count_immortal(void **state)
{
    struct two *two = *state;
    struct fl_object *object = new_number(two->owner), *place = object;
    object->counts.shared = (uint32_t)(FLI_SHARED_MOST - 1) * FL_SHARED_ONE;
    fl_publish(object);
    struct fl_object_stats stats;
    for (unsigned overflows = 0; overflows < 2; overflows++) {
        assert_true(fl_try_incref(two->other, object, &place));
        fl_heap_object_stats(two->heap, &stats);
        assert_int_equal(stats.overflows, overflows);
    }
    assert_true(fl_try_incref(two->other, object, &place));
    fl_heap_object_stats(two->heap, &stats);
    assert_int_equal(stats.overflows, 1);
    fl_decref(two->owner, object);
    assert_int_equal(live(two), 1);
}

/* ---- Readers without locks. */

static void a_reader_takes_no_reference_to_a_dead_object(void **state)
{
    (void)state;
    struct two two = {.heap = heap_with(&(struct fl_options){.grace = FL_GRACE_BP, .header = &fl_object_header})};
    two.owner = fl_thread_attach(two.heap);
    two.other = fl_thread_attach(two.heap);
    static struct fl_type type = {.name = "read", .size = 64, .kind = FL_DEALLOC_PLAIN, .header = &fl_object_header};
    if (!type.ready)
        assert_int_equal(fl_object_type_ready(&type, NULL, NULL, 0), 0);
    struct fl_object *object = fl_object_alloc(two.owner, &type), *place = object;
    assert_non_null(object);
    assert_false(fl_try_incref(two.other, object, &place)); /* it is not published */
    fl_publish(object);
    assert_true(fl_try_incref(two.other, object, &place));
    assert_true(fl_try_incref(two.owner, object, &place));
    fl_decref(two.owner, object);
    place = NULL;
    assert_false(fl_try_incref(two.other, object, &place)); /* it has left its place */
    assert_false(fl_try_incref(two.owner, object, &place));
    fl_decref(two.owner, object);
    assert_int_equal(live(&two), 1);
    fl_decref(two.other, object);
    assert_int_equal(live(&two), 0);
    place = object;
    assert_false(fl_try_incref(two.other, object, &place));
    assert_false(fl_try_incref(two.owner, object, &place));
    object = fl_object_alloc(two.owner, &type);
    fl_decref(two.owner, object);
    place = object;
    assert_false(fl_try_incref(two.owner, object, &place)); /* its slot is mine, its count is 0 */
    assert_false(fl_try_incref(two.other, object, &place));
    assert_int_equal(fl_thread_detach(two.owner), 0);
    assert_int_equal(fl_thread_detach(two.other), 0);
    end_heap(two.heap);
}

/* ---- Finalizers. */

static struct fl_object *saved;
static unsigned finalized;

static bool finalize(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)type;
    fl_revive(thread, object);
    fl_incref(thread, object);
    if (finalized++ == 0)
        saved = object;
    else
        fl_decref(thread, object);
    return !fl_drop(thread, object);
}

static void a_finalizer_may_resurrect(void **state)
{
    struct two *two = *state;
    static struct fl_type type = {.name = "finalized", .size = 32, .finalize = finalize};
    if (!type.ready)
        assert_int_equal(fl_object_type_ready(&type, NULL, NULL, 0), 0);
    finalized = 0;
    fl_decref(two->owner, fl_object_alloc(two->owner, &type));
    assert_int_equal(live(two), 1);
    fl_decref(two->other, saved);
    assert_int_equal(finalized, 1);
    fl_merge(two->owner);
    assert_int_equal(finalized, 2);
    assert_int_equal(live(two), 0);
}

/* ---- A callback that is left. */

static jmp_buf away;
static struct fl_object *in_hand;
static uint32_t slot_at_clear; /* whose objects the handle took for its own when the last one was cleared */

static void leave_once(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)type;
    cleared++;
    slot_at_clear = thread->slot;
    if (in_hand != NULL)
        return;
    in_hand = object;
    longjmp(away, 1);
}

static struct fl_type left_type = {.name = "left", .size = sizeof(struct pair), .clear = leave_once};

/* Has two objects wait in the owner's queue, and leaves the callback of the first that dies. */
static void leave_a_merge(struct two *two)
{
    if (!left_type.ready)
        assert_int_equal(fl_object_type_ready(&left_type, NULL, NULL, 0), 0);
    for (unsigned i = 0; i < 2; i++)
        fl_decref(two->other, fl_object_alloc(two->owner, &left_type));
    fl_merge(two->other);
    cleared = 0;
    in_hand = NULL;
    if (setjmp(away) == 0)
        fl_merge(two->owner);
    fl_thread_unwound(two->owner);
    assert_int_equal(cleared, 1);
    assert_sound(two->heap);
}

static void what_a_merge_found_dead_when_it_was_left_ends_in_the_next_one(void **state)
{
    struct two *two = *state;
    leave_a_merge(two);
    assert_int_not_equal(*fl_thread_handed(two->owner), 0);
    fl_merge(two->owner);
    assert_int_equal(cleared, 2);
    fl_merge(two->owner);
    assert_int_equal(*fl_thread_handed(two->owner), 0);
    fl_dealloc(two->owner, in_hand, &left_type);
    leave_a_merge(two);
    fl_merge(two->other); /* any handle goes on */
    assert_int_equal(cleared, 2);
    fl_dealloc(two->owner, in_hand, &left_type);
    leave_a_merge(two);
    assert_int_equal(fl_thread_detach(two->owner), 0); /* as it also does when it leaves, and owns nothing then */
    two->owner = NULL;
    assert_int_equal(cleared, 2);
    assert_int_equal(slot_at_clear, 0);
    fl_dealloc(two->other, in_hand, &left_type);
    assert_int_equal(live(two), 0);
}

/* ---- Misuse. */

static void a_decref_below_zero_is_reported(void **state)
{
    struct two *two = *state;
    struct fl_object *object = new_number(two->owner);
    fl_decref(two->other, object);
    fl_incref(two->other, object); /* a reference that it takes without having one: the queue's is all there is */
    fl_decref(two->other, object);
    fl_decref(two->other, object);
    merge_all(two);
    assert_misuse("fl_decref", object, "no reference");
    assert_int_equal(live(two), 1);
    fl_type_free(two->owner, object, &number_type);
}

static void a_decref_through_a_handle_of_another_heap_is_reported(void **state)
{
    struct two *two = *state;
    struct bed other = bed_with(NULL);
    struct fl_object *object = new_number(two->owner);
    fl_decref(other.thread, object);
    char told[64];
    snprintf(told, sizeof told, "no reference in heap %p, of which", (void *)other.heap);
    assert_misuse("fl_decref", object, told);
    fl_decref(two->owner, object);
    assert_int_equal(live(two), 0);
    end_bed(&other);
}

static void a_type_that_is_not_ready_has_no_objects(void **state)
{
    struct two *two = *state;
    const struct fl_type early = {.name = "early", .size = 32, .kind = FL_DEALLOC_PLAIN};
    errno = 0;
    assert_null(fl_object_alloc(two->owner, &early));
    assert_int_equal(errno, EINVAL);
    assert_misuse("fl_object_alloc", NULL, "'early'");
}

static void an_incref_of_a_dead_object_is_reported(void **state)
{
    struct two *two = *state;
    if (FLI_ADDRESS_SANITIZER)
        skip(); /* it reports first that a dead object is looked at */
    struct fl_object *object = new_number(two->owner);
    fl_decref(two->owner, object);
    fl_incref(two->owner, object);
    assert_misuse("fl_incref", object, "is dead");
    object = new_number(two->owner);
    fl_publish(object);
    fl_decref(two->owner, object); /* merges */
    if (!FLI_CHECKED)
        return;
    fl_incref(two->other, object);
    assert_misuse("fl_incref", object, "is dead");
    fl_decref(two->other, object);
    assert_misuse("fl_decref", object, "has no reference");
}

static void a_decref_too_many_of_an_immortal_object_is_reported(void **state)
{
    struct two *two = *state;
    if (!FLI_CHECKED)
        skip();
    fl_incref(two->owner, &none);
    fl_decref(two->owner, &none);
    assert_int_equal(misuse.count, 0);
    fl_decref(two->owner, &none);
    assert_misuse("fl_decref", &none, "is immortal");
    struct fl_object *object = new_number(two->owner);
    fl_make_immortal(object);
    fl_decref(two->owner, object);
    assert_misuse("fl_decref", object, "is immortal");
    fl_decref(two->other, object);
    assert_misuse("fl_decref", object, "is immortal");
    assert_int_equal(live(two), 1);
}

static void assert_refused(struct fl_type type, const struct fl_type *base, const char *what)
{
    char error[256] = "";
    assert_int_equal(fl_object_type_ready(&type, base, error, sizeof error), -EINVAL);
    assert_contains(error, type.name);
    assert_contains(error, what);
    assert_false(type.ready);
}

static void a_type_whose_words_overlap_the_header_is_refused(void **state)
{
    (void)state;
    struct fl_type type = {.name = "odd", .size = 64, .kind = FL_DEALLOC_CLEAR, .clear = clear_pair};
    type.flags = FL_TYPE_HAS_WORDS;
    type.words_offset = 8;
    assert_refused(type, NULL, "its two words at 8, in the header of 16 bytes");
    static const struct fl_header own = {.bytes = 16};
    type.words_offset = 0;
    type.header = &own;
    assert_refused(type, NULL, "at 0, in the header of 16 bytes");
    type = (struct fl_type){.name = "odd", .size = 64, .finalize = finalize};
    type.finalized_mask = 1;
    type.finalized_offset = 7;
    assert_refused(type, NULL, "its finalized byte at 7, in the header of 16 bytes");
    type = (struct fl_type){.name = "odd", .size = 8, .kind = FL_DEALLOC_PLAIN};
    assert_refused(type, NULL, "8 bytes, less than the header of 16");
    type.size = 64;
    type.words_offset = 0;
    assert_int_equal(fl_object_type_ready(&type, NULL, NULL, 0), 0);
    assert_true((type.flags & FL_TYPE_HAS_WORDS) != 0);
    type = (struct fl_type){.name = "seen", .size = 64, .clear = clear_pair, .header = &fl_object_header};
    assert_int_equal(fl_object_type_ready(&type, NULL, NULL, 0), 0);
    assert_true((type.flags & FL_TYPE_HAS_WORDS) != 0);
}

/* ---- Forks. */

static void use_child(void *argument)
{
    struct two *two = argument;
    struct fl_object *object = fl_object_alloc(two->owner, &number_type);
    EXPECT(object != NULL);
    fl_decref(two->other, object);
    merge_all(two);
    EXPECT(stats_of(two->heap).live_blocks == 0);
    EXPECT_SOUND(two->heap);
}

static void a_child_counts_as_before(void **state)
{
    struct two *two = *state;
    fl_decref(two->owner, new_number(two->owner));
    assert_child_succeeds(use_child, two);
}

struct stranger {
    struct two *two;
    struct fl_object *theirs;
    pthread_barrier_t created, ended;
};

static void *live_beside(void *argument)
{
    struct stranger *stranger = argument;
    struct fl_thread *thread = fl_thread_attach(stranger->two->heap);
    EXPECT(thread != NULL);
    stranger->theirs = fl_object_alloc(thread, &number_type);
    pthread_barrier_wait(&stranger->created);
    pthread_barrier_wait(&stranger->ended);
    fl_decref(thread, stranger->theirs);
    fl_thread_detach(thread);
    return NULL;
}

static void drop_theirs(void *argument)
{
    struct stranger *stranger = argument;
    size_t before = stats_of(stranger->two->heap).live_blocks;
    fl_decref(stranger->two->owner, stranger->theirs);
    EXPECT(stats_of(stranger->two->heap).live_blocks == before - 1);
    EXPECT_SOUND(stranger->two->heap);
}

static struct fl_object *new_empty_pair(struct fl_thread *thread)
{
    struct pair *pair = (struct pair *)fl_object_alloc(thread, &pair_type);
    EXPECT(pair != NULL);
    pair->held = NULL;
    return &pair->head;
}

/* Collects an object for its owner, and has one in its own queue, when the world is stopped. */
static void *hand_and_stop(void *argument)
{
    struct stranger *stranger = argument;
    struct fl_thread *thread = fl_thread_attach(stranger->two->heap);
    EXPECT(thread != NULL);
    fl_decref(thread, stranger->theirs);
    stranger->theirs = new_empty_pair(thread);
    pthread_barrier_wait(&stranger->created);
    pthread_barrier_wait(&stranger->ended);
    fl_merge(thread);
    fl_thread_detach(thread);
    return NULL;
}

static void merge_theirs(void *argument)
{
    struct two *two = argument;
    EXPECT_SOUND(two->heap);
    EXPECT(*fl_thread_handed(two->owner) != 0);
    fl_merge(two->owner);
    EXPECT(cleared == 2);
    EXPECT(stats_of(two->heap).live_blocks == 0);
    EXPECT_SOUND(two->heap);
}

static void the_child_of_a_stopped_world_merges_what_was_handed_to_threads_that_it_lacks(void **state)
{
    struct two *two = *state;
    struct stranger stranger = {.two = two, .theirs = new_empty_pair(two->owner)};
    pthread_t thread;
    pthread_barrier_init(&stranger.created, NULL, 2);
    pthread_barrier_init(&stranger.ended, NULL, 2);
    assert_int_equal(pthread_create(&thread, NULL, hand_and_stop, &stranger), 0);
    pthread_barrier_wait(&stranger.created);
    fl_decref(two->other, stranger.theirs);
    fl_merge(two->other);
    fl_heap_fork_stopped(two->heap);
    assert_child_succeeds(merge_theirs, two);
    pthread_barrier_wait(&stranger.ended);
    pthread_join(thread, NULL);
    fl_merge(two->owner);
    assert_int_equal(cleared, 2);
    assert_int_equal(live(two), 0);
}

static void a_child_owns_what_threads_had_that_it_lacks(void **state)
{
    struct two *two = *state;
    struct stranger stranger = {.two = two};
    pthread_t thread;
    pthread_barrier_init(&stranger.created, NULL, 2);
    pthread_barrier_init(&stranger.ended, NULL, 2);
    fl_decref(two->owner, new_number(two->owner));
    assert_int_equal(pthread_create(&thread, NULL, live_beside, &stranger), 0);
    pthread_barrier_wait(&stranger.created);
    assert_child_succeeds(drop_theirs, &stranger);
    pthread_barrier_wait(&stranger.ended);
    pthread_join(thread, NULL);
    assert_int_equal(live(two), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TWO_TEST(an_object_dies_with_its_last_reference),
        TWO_TEST(a_dead_object_drops_what_it_holds),
        TWO_TEST(an_owner_has_as_many_references_as_it_likes),
        TWO_TEST(a_reference_of_another_thread_keeps_an_object),
        TWO_TEST(the_last_reference_of_another_thread_goes_to_the_owner),
        TWO_TEST(an_object_with_a_finalizer_goes_to_the_owner_at_once),
        TWO_TEST(objects_of_many_owners_are_handed_over),
        TWO_TEST(what_a_thread_has_collected_is_handed_over_when_it_leaves),
        TWO_TEST(an_object_that_was_handed_over_may_live_on),
        TWO_TEST(many_objects_are_handed_over),
        TWO_TEST(objects_of_an_offline_owner_end_where_they_are_dropped),
        TWO_TEST(an_owner_that_leaves_merges_first),
        TWO_TEST(objects_of_an_owner_that_is_gone_end_where_they_are_dropped),
        TWO_TEST(who_takes_a_slot_owns_its_objects),
        TWO_TEST(a_thread_that_exits_merges_first),
        TWO_TEST(handles_without_a_slot_count_in_the_shared_word),
        TWO_TEST(an_immortal_object_stays),
        TWO_TEST(a_full_shared_count_makes_an_object_immortal),
        TWO_TEST(a_reader_makes_an_object_with_a_full_count_immortal),
        cmocka_unit_test(a_reader_takes_no_reference_to_a_dead_object),
        TWO_TEST(a_finalizer_may_resurrect),
        TWO_TEST(what_a_merge_found_dead_when_it_was_left_ends_in_the_next_one),
        TWO_TEST(a_decref_below_zero_is_reported),
        TWO_TEST(a_decref_through_a_handle_of_another_heap_is_reported),
        TWO_TEST(a_type_that_is_not_ready_has_no_objects),
        TWO_TEST(an_incref_of_a_dead_object_is_reported),
        TWO_TEST(a_decref_too_many_of_an_immortal_object_is_reported),
        cmocka_unit_test(a_type_whose_words_overlap_the_header_is_refused),
        TWO_TEST(a_child_counts_as_before),
        TWO_TEST(a_child_owns_what_threads_had_that_it_lacks),
        TWO_TEST(the_child_of_a_stopped_world_merges_what_was_handed_to_threads_that_it_lacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
