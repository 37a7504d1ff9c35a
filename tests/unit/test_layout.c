/* SPDX-License-Identifier: MIT
 *
 * Objects with a header of the host's own: what leads to their type comes first, and the counts lie elsewhere, at a
 * multiple of 4. Two handles of one OS thread stand for two threads.
 */
#include "two.h"

#include <freelane/object.h>

#include "object/slots.h"

#include <stddef.h>

/* What a host knows of objects of a kind. */
struct kind {
    struct fl_type type;
    unsigned ended; /* objects of it that were taken apart */
};

struct value {
    struct kind *kind;
    uint32_t hash;
    struct fl_counts counts;
    uint32_t flags;
};

struct pair {
    struct value head;
    struct value *held;
};

static const struct fl_object_layout layout = {
    .bytes = sizeof(struct value), .counts = offsetof(struct value, counts), .type = offsetof(struct value, kind)};
static const struct fl_header header = {.bytes = sizeof(struct value)};

_Static_assert(offsetof(struct value, counts) == 12, "the counts are at no multiple of 8");

static void drop(struct fl_thread *thread, struct value *value)
{
    if (fl_counts_drop(thread, &value->counts))
        fl_dealloc(thread, value, &value->kind->type);
}

static void clear_pair(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct pair *pair = object;
    assert_ptr_equal(pair->head.kind, type);
    pair->head.kind->ended++;
    if (pair->held != NULL)
        drop(thread, pair->held);
}

static struct value *saved;

/* Resurrects the first object. */
static bool finalize(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct value *value = object;
    assert_ptr_equal(value->kind, type);
    fl_counts_revive(thread, &value->counts);
    if (value->kind->ended++ == 0) {
        fl_counts_incref(thread, &value->counts);
        saved = value;
    }
    return !fl_counts_drop(thread, &value->counts);
}

static struct kind number_kind = {.type = {.name = "number", .size = 32, .kind = FL_DEALLOC_PLAIN}};
static struct kind pair_kind = {.type = {.name = "pair", .size = sizeof(struct pair), .clear = clear_pair}};
static struct kind handle_kind = {.type = {.name = "handle", .size = 32, .finalize = finalize}};
static struct kind read_kind = {.type = {.name = "read", .size = 48, .kind = FL_DEALLOC_PLAIN, .header = &header}};

static void ready(struct kind *kind)
{
    char error[256] = "";
    kind->ended = 0;
    if (!kind->type.ready && fl_object_layout_type_ready(&kind->type, NULL, &layout, error, sizeof error) != 0)
        fail_msg("%s", error);
}

static void set_layout(struct fl_heap *heap)
{
    char error[256] = "";
    if (fl_heap_set_object_layout(heap, &layout, error, sizeof error) != 0)
        fail_msg("%s", error);
}

static int two_up(void **state)
{
    ready(&number_kind);
    ready(&pair_kind);
    ready(&handle_kind);
    ready(&read_kind);
    two_begin(state);
    struct two *two = *state;
    set_layout(two->heap);
    return 0;
}

static int two_down(void **state)
{
    two_detach(*state);
    two_end(*state);
    return 0;
}

static void *new_value(struct fl_thread *thread, struct kind *kind)
{
    struct value *value = fl_type_alloc(thread, &kind->type);
    assert_non_null(value);
    value->kind = kind;
    value->hash = value->flags = 0x600d600d;
    fl_counts_init(thread, &value->counts);
    return value;
}

static struct pair *new_pair(struct fl_thread *thread, struct value *held)
{
    struct pair *pair = new_value(thread, &pair_kind);
    pair->held = held;
    return pair;
}

static void assert_untouched(const struct value *value)
{
    assert_int_equal(value->hash, 0x600d600d);
    assert_int_equal(value->flags, 0x600d600d);
}

static size_t live(const struct two *two)
{
    return stats_of(two->heap).live_blocks;
}

static void the_owner_counts_wherever_the_counts_are(void **state)
{
    struct two *two = *state;
    enum { MANY = 3 * FL_LOCAL_MOST };
    struct value *value = new_value(two->owner, &number_kind);
    for (int i = 0; i < MANY; i++)
        fl_counts_incref(two->owner, &value->counts);
    for (int i = 0; i < MANY; i++)
        drop(two->owner, value);
    assert_int_equal(live(two), 1);
    assert_untouched(value);
    drop(two->owner, value);
    struct pair *pair = new_pair(two->owner, new_value(two->owner, &number_kind));
    assert_int_equal(live(two), 2);
    fl_counts_decref(two->owner, &pair->head.counts);
    assert_int_equal(pair_kind.ended, 1);
    assert_int_equal(live(two), 0);
}

static void dead_objects_that_were_handed_over_are_found_by_their_counts(void **state)
{
    struct two *two = *state;
    enum { MANY = 600 };
    for (int i = 0; i < MANY; i++) {
        struct pair *pair = new_pair(two->owner, new_value(two->owner, &number_kind));
        struct value *number = new_value(two->owner, &number_kind);
        drop(two->other, number);
        if (i % 2 == 0)
            drop(two->other, &pair->head);
        else
            fl_counts_decref(two->other, &pair->head.counts);
    }
    fl_merge(two->other);
    fl_merge(two->owner);
    assert_int_equal(pair_kind.ended, MANY);
    assert_int_equal(live(two), 0);
    struct value *handle = new_value(two->owner, &handle_kind);
    drop(two->other, handle);
    fl_merge(two->owner);
    assert_int_equal(handle_kind.ended, 1);
    assert_int_equal(live(two), 1);
    assert_ptr_equal(saved, handle);
    drop(two->owner, saved);
    assert_int_equal(handle_kind.ended, 2);
    assert_int_equal(live(two), 0);
}

static void objects_of_an_owner_that_is_gone_end_where_they_are_dropped(void **state)
{
    struct two *two = *state;
    struct pair *first = new_pair(two->owner, NULL), *second = new_pair(two->owner, &first->head);
    fl_thread_offline(two->owner);
    drop(two->other, &second->head);
    assert_int_equal(pair_kind.ended, 2);
    fl_thread_online(two->owner);
    first = new_pair(two->owner, NULL);
    assert_int_equal(fl_thread_detach(two->owner), 0);
    two->owner = NULL;
    fl_counts_decref(two->other, &first->head.counts);
    assert_int_equal(pair_kind.ended, 3);
    assert_int_equal(live(two), 0);
}

static void a_reader_finds_an_object_by_its_start_and_its_counts(void **state)
{
    (void)state;
    struct two two = {.heap = heap_with(&(struct fl_options){.grace = FL_GRACE_BP, .header = &header})};
    ready(&read_kind);
    set_layout(two.heap);
    two.owner = fl_thread_attach(two.heap);
    two.other = fl_thread_attach(two.heap);
    struct value *value = new_value(two.owner, &read_kind), *place = value;
    assert_false(fl_counts_try_incref(two.other, &value->counts, value, &place));
    fl_counts_publish(&value->counts);
    assert_true(fl_counts_try_incref(two.other, &value->counts, value, &place));
    assert_true(fl_counts_try_incref(two.owner, &value->counts, value, &place));
    drop(two.owner, value);
    place = NULL;
    assert_false(fl_counts_try_incref(two.other, &value->counts, value, &place));
    assert_false(fl_counts_try_incref(two.owner, &value->counts, value, &place));
    drop(two.owner, value);
    assert_int_equal(live(&two), 1);
    drop(two.other, value);
    assert_int_equal(live(&two), 0);
    place = value;
    assert_false(fl_counts_try_incref(two.owner, &value->counts, value, &place));
    assert_false(fl_counts_try_incref(two.other, &value->counts, value, &place));
    assert_int_equal(fl_thread_detach(two.owner), 0);
    assert_int_equal(fl_thread_detach(two.other), 0);
    end_heap(two.heap);
}

static struct value none = {.kind = &number_kind, .counts = FL_COUNTS_IMMORTAL};

static void an_immortal_object_stays(void **state)
{
    struct two *two = *state;
    struct value *value = new_value(two->owner, &number_kind);
    fl_counts_make_immortal(&value->counts);
    assert_int_equal(fl_counts_are_fixed(two->owner, &value->counts), !FLI_CHECKED);
    for (int i = 0; i < 10; i++) {
        fl_counts_incref(two->owner, &value->counts);
        fl_counts_incref(two->other, &none.counts);
        drop(two->owner, value);
        drop(two->owner, &none);
    }
    assert_int_equal(live(two), 1);
}

/* ---- Misuse. */

static void the_object_is_named_by_its_start(void **state)
{
    struct two *two = *state;
    struct value *value = new_value(two->owner, &number_kind);
    fl_counts_incref(two->other, &value->counts); /* so that the memory stays */
    drop(two->owner, value);
    value->counts.shared -= FL_SHARED_ONE;
    drop(two->other, value);
    assert_misuse("fl_decref", value, "has no reference");
    assert_string_equal(misuse.type, "number");
    value->counts.shared += FL_SHARED_ONE;
    drop(two->other, value);
    assert_int_equal(live(two), 0);
}

static void objects_with_another_header_are_refused(void **state)
{
    struct two *two = *state;
    static struct fl_type type = {.name = "other", .size = 32, .kind = FL_DEALLOC_PLAIN};
    if (!type.ready)
        assert_int_equal(fl_object_type_ready(&type, NULL, NULL, 0), 0);
    errno = 0;
    assert_null(fl_object_alloc(two->owner, &type));
    assert_int_equal(errno, EINVAL);
    assert_misuse("fl_object_alloc", NULL, "another");
    assert_string_equal(misuse.type, "other");
}

static void refuse(struct fl_heap *heap, struct fl_object_layout wrong, const char *what)
{
    char error[256] = "";
    assert_int_equal(fl_heap_set_object_layout(heap, &wrong, error, sizeof error), -EINVAL);
    assert_contains(error, what);
    struct fl_type type = {.name = "odd", .size = 64, .kind = FL_DEALLOC_PLAIN};
    assert_int_equal(fl_object_layout_type_ready(&type, NULL, &wrong, error, sizeof error), -EINVAL);
    assert_contains(error, what);
    assert_contains(error, "'odd'");
    assert_false(type.ready);
}

static void a_layout_that_makes_no_sense_is_refused(void **state)
{
    struct two *two = *state;
    refuse(two->heap, (struct fl_object_layout){.bytes = 24, .counts = 4, .type = 8},
           "24 bytes has its type at 8, where it overlaps the counts");
    refuse(two->heap, (struct fl_object_layout){.bytes = 24, .counts = 12, .type = 8},
           "its type at 8, where it overlaps");
    refuse(two->heap, (struct fl_object_layout){.bytes = 24, .counts = 2, .type = 16},
           "its counts at 2, which is not aligned");
    refuse(two->heap, (struct fl_object_layout){.bytes = 24, .counts = 0, .type = 12},
           "its type at 12, which is not aligned");
    refuse(two->heap, (struct fl_object_layout){.bytes = 16, .counts = 0, .type = 16},
           "its type at 16, beyond its end");
    refuse(two->heap, (struct fl_object_layout){.bytes = 16, .counts = 12, .type = 0},
           "its counts at 12, beyond its end");
    refuse(two->heap, (struct fl_object_layout){.bytes = 24, .counts = UINT32_MAX - 3, .type = 0},
           "its counts at 4294967292, beyond its end");
    drop(two->owner, new_value(two->owner, &number_kind));
    char error[256] = "";
    assert_int_equal(fl_heap_set_object_layout(two->heap, &layout, error, sizeof error), -EBUSY);
    assert_contains(error, "has had objects");
}

static void refuse_type(struct fl_type type, const struct fl_object_layout *with, const char *what)
{
    char error[256] = "";
    assert_int_equal(fl_object_layout_type_ready(&type, NULL, with, error, sizeof error), -EINVAL);
    assert_contains(error, what);
    assert_contains(error, "'odd'");
    assert_false(type.ready);
}

static void a_type_whose_words_overlap_the_counts_is_refused(void **state)
{
    (void)state;
    struct fl_type type = {.name = "odd", .size = 64, .clear = clear_pair, .flags = FL_TYPE_HAS_WORDS};
    refuse_type(type, &layout, "has its two words at 0, in the header of 24 bytes");
    type.words_offset = 16;
    refuse_type(type, &layout, "at 16, in the header of 24 bytes");
    type.words_offset = 24;
    assert_int_equal(fl_object_layout_type_ready(&type, NULL, &layout, NULL, 0), 0);
    /* Nor do words of a base serve there. */
    struct fl_type base = {.name = "base", .size = 64, .clear = clear_pair, .flags = FL_TYPE_HAS_WORDS};
    assert_int_equal(fl_type_ready(&base, NULL, NULL, 0), 0);
    struct fl_type sub = {.name = "odd"};
    char error[256] = "";
    assert_int_equal(fl_object_layout_type_ready(&sub, &base, &layout, error, sizeof error), -EINVAL);
    assert_contains(error, "has its base's two words at 0, in the header of 24 bytes");
    struct fl_object_layout row = {.bytes = 32, .counts = 8, .type = 16};
    type = (struct fl_type){.name = "odd", .size = 64, .finalize = finalize};
    type.finalized_mask = 1;
    type.finalized_offset = 15;
    refuse_type(type, &row, "has its finalized byte at 15, in the header of 32 bytes");
    type.finalized_offset = 24; /* in the header, where the host has room */
    assert_int_equal(fl_object_layout_type_ready(&type, NULL, &row, NULL, 0), 0);
    assert_int_equal(type.words_offset, 8); /* a dead object is linked through its counts and its type */
    refuse_type((struct fl_type){.name = "odd", .size = 16, .kind = FL_DEALLOC_PLAIN}, &layout,
                "16 bytes, less than the header of 24");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TWO_TEST(the_owner_counts_wherever_the_counts_are),
        TWO_TEST(dead_objects_that_were_handed_over_are_found_by_their_counts),
        TWO_TEST(objects_of_an_owner_that_is_gone_end_where_they_are_dropped),
        cmocka_unit_test(a_reader_finds_an_object_by_its_start_and_its_counts),
        TWO_TEST(an_immortal_object_stays),
        TWO_TEST(the_object_is_named_by_its_start),
        TWO_TEST(objects_with_another_header_are_refused),
        TWO_TEST(a_layout_that_makes_no_sense_is_refused),
        TWO_TEST(a_type_whose_words_overlap_the_counts_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
