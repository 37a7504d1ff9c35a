/* SPDX-License-Identifier: MIT
 *
 * Types whose objects differ: in their size, and in the kind that they end as.
 */
#include "grace_support.h"

enum { SIZES = 60 };

static uint64_t dealloced, cleared, finalized;

static void forget_counts(void)
{
    dealloced = cleared = finalized = 0;
}

static void dealloc_object(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    dealloced++;
    fl_type_free(thread, object, type);
}

static void clear_object(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread, (void)object, (void)type;
    cleared++;
}

static bool finalize_object(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread, (void)object, (void)type;
    finalized++;
    return false;
}

static struct fl_type ready_type(struct fl_type type)
{
    char error[256] = "";
    if (fl_type_ready(&type, NULL, error, sizeof error) != 0)
        fail_msg("%s", error);
    return type;
}

/* ---- Sizes. */

/* From a few bytes to several slabs. */
static size_t size_at(unsigned i)
{
    return 24 + ((size_t)1 << i / 4) * (i % 4 + 1);
}

static void assert_all_sizes_return(struct bed *bed, const struct fl_type *type)
{
    static void *objects[SIZES][3];
    for (unsigned i = 0; i < SIZES; i++)
        for (unsigned k = 0; k < 3; k++) {
            objects[i][k] = fl_type_alloc_sized(bed->thread, type, size_at(i));
            assert_non_null(objects[i][k]);
            assert_true(fl_usable_size(bed->heap, objects[i][k]) >= size_at(i));
            assert_int_equal((uintptr_t)objects[i][k] % type->alignment, 0);
            memset(objects[i][k], 0, size_at(i));
        }
    for (unsigned i = 0; i < SIZES; i++)
        for (unsigned k = 0; k < 3; k++)
            fl_dealloc(bed->thread, objects[i][k], type);
    assert_sound(bed->heap);
    assert_int_equal(fl_run_pending(bed->thread, fl_budget_objects(SIZE_MAX)), 0);
    assert_int_equal(stats_of(bed->heap).live_blocks, 0);
    assert_sound(bed->heap);
}

static void objects_of_any_size_return_to_their_class(void **state)
{
    struct bed *bed = *state;
    const uint32_t flags = FL_TYPE_VARIABLE;
    const struct fl_type types[] = {
        ready_type((struct fl_type){.name = "plain", .size = 24, .kind = FL_DEALLOC_PLAIN, .flags = flags}),
        ready_type((struct fl_type){.name = "cleared", .size = 24, .clear = clear_object, .flags = flags}),
        ready_type((struct fl_type){.name = "finalized", .size = 24, .finalize = finalize_object, .flags = flags}),
        ready_type((struct fl_type){.name = "legacy", .size = 24, .dealloc = dealloc_object, .flags = flags}),
        ready_type(
            (struct fl_type){.name = "aligned", .size = 24, .alignment = 64, .clear = clear_object, .flags = flags}),
        ready_type((struct fl_type){
            .name = "later", .size = 24, .clear = clear_object, .flags = flags | FL_TYPE_LATER | FL_TYPE_HAS_WORDS}),
    };
    forget_counts();
    for (size_t i = 0; i < COUNT_OF(types); i++)
        assert_all_sizes_return(bed, &types[i]);
    assert_int_equal(cleared, 3 * 3 * SIZES);
    assert_int_equal(finalized, 3 * SIZES);
    assert_int_equal(dealloced, 3 * SIZES);
}

/* A node that holds the one before. */
static void clear_node(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    void *held = *(void **)object;
    cleared++;
    if (held != NULL)
        fl_dealloc(thread, held, type);
}

static void chains_of_many_sizes_die(void **state)
{
    struct bed *bed = *state;
    struct fl_type type = ready_type(
        (struct fl_type){.name = "node", .size = 24, .clear = clear_node, .flags = FL_TYPE_VARIABLE});
    void *chain = NULL;
    forget_counts();
    for (unsigned i = 0; i < 10000; i++) {
        void **node = fl_type_alloc_sized(bed->thread, &type, size_at(i % 40));
        *node = chain;
        chain = node;
    }
    fl_dealloc(bed->thread, chain, &type);
    assert_int_equal(cleared, 10000);
    assert_int_equal(stats_of(bed->heap).live_blocks, 0);
}

static void objects_of_any_size_can_be_deferred(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, NULL);
    struct fl_type type = ready_type(
        (struct fl_type){.name = "plain", .size = 1, .kind = FL_DEALLOC_PLAIN, .flags = FL_TYPE_VARIABLE});
    for (unsigned i = 0; i < SIZES; i++)
        fl_dealloc_deferred(bed.thread, fl_type_alloc_sized(bed.thread, &type, size_at(i)), &type);
    for (unsigned i = 0; i < SIZES; i++)
        fl_type_free_deferred(bed.thread, fl_type_alloc_sized(bed.thread, &type, size_at(i)), &type);
    let_all_go(&host, bed.thread);
    assert_int_equal(stats_of(bed.heap).live_blocks, 0);
    end_bed(&bed);
}

static void sizes_that_the_type_does_not_have_are_misuse(void **state)
{
    struct bed *bed = *state;
    struct fl_type type = ready_type(
        (struct fl_type){.name = "plain", .size = 24, .kind = FL_DEALLOC_PLAIN, .flags = FL_TYPE_VARIABLE});
    struct fl_type fixed = ready_type((struct fl_type){.name = "fixed", .size = 24, .kind = FL_DEALLOC_PLAIN});
    errno = 0;
    assert_null(fl_type_alloc_sized(bed->thread, &type, 23));
    assert_int_equal(errno, EINVAL);
    assert_misuse("fl_type_alloc_sized", NULL, "asked for 23 bytes");
    assert_null(fl_type_alloc_sized(bed->thread, &fixed, 24));
    assert_misuse("fl_type_alloc_sized", NULL, "FL_TYPE_VARIABLE");
    assert_null(fl_type_alloc_sized(bed->thread, &type, SIZE_MAX - 100));
    assert_int_equal(errno, ENOMEM);
    int foreign;
    fl_dealloc(bed->thread, &foreign, &type);
    assert_misuse("fl_dealloc", &foreign, "not a block");
}

/* ---- Kinds. */

static void assert_ends(struct bed *bed, const struct fl_type *type, enum fl_dealloc_kind kind, bool later)
{
    forget_counts();
    void *object = fl_type_alloc(bed->thread, type);
    memset(object, 0, type->size);
    fl_dealloc_as(bed->thread, object, type, kind);
    assert_int_equal(__atomic_load_n(fl_thread_pending(bed->thread), __ATOMIC_RELAXED) != 0, later);
    assert_int_equal(fl_run_pending(bed->thread, fl_budget_objects(1)), 0);
    assert_int_equal(dealloced, kind == FL_DEALLOC_LEGACY);
    assert_int_equal(finalized, kind == FL_DEALLOC_FINALIZE);
    assert_int_equal(cleared, kind == FL_DEALLOC_FINALIZE || kind == FL_DEALLOC_CLEAR);
    assert_int_equal(stats_of(bed->heap).live_blocks, 0);
}

static void an_object_ends_as_the_kind_that_the_call_says(void **state)
{
    (void)state;
    for (enum fl_later option = FL_LATER_NONE; option <= FL_LATER_ALL; option++) {
        struct bed bed = bed_with(&(struct fl_options){.later = option});
        for (enum fl_dealloc_kind own = FL_DEALLOC_LEGACY; own <= FL_DEALLOC_FINALIZE; own++) {
            struct fl_type type = ready_type((struct fl_type){.name = "any",
                                                              .size = 40,
                                                              .kind = own,
                                                              .dealloc = dealloc_object,
                                                              .clear = clear_object,
                                                              .finalize = finalize_object,
                                                              .flags = FL_TYPE_ANY_KIND | FL_TYPE_HAS_WORDS});
            assert_int_equal(type.kind, own);
            for (enum fl_dealloc_kind kind = FL_DEALLOC_LEGACY; kind <= FL_DEALLOC_FINALIZE; kind++)
                assert_ends(&bed, &type, kind, option != FL_LATER_NONE && kind != FL_DEALLOC_PLAIN);
            forget_counts();
            fl_dealloc(bed.thread, fl_type_alloc(bed.thread, &type), &type);
            assert_int_equal(fl_run_pending(bed.thread, fl_budget_objects(1)), 0);
            assert_int_equal(finalized, own == FL_DEALLOC_FINALIZE);
        }
        end_bed(&bed);
    }
}

static void a_kind_without_its_callback_is_misuse(void **state)
{
    struct bed *bed = *state;
    struct fl_type type = ready_type(
        (struct fl_type){.name = "few", .size = 40, .kind = FL_DEALLOC_PLAIN, .flags = FL_TYPE_ANY_KIND});
    void *object = fl_type_alloc(bed->thread, &type);
    const enum fl_dealloc_kind kinds[] = {FL_DEALLOC_LEGACY, FL_DEALLOC_CLEAR, FL_DEALLOC_FINALIZE,
                                          (enum fl_dealloc_kind)7};
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        fl_dealloc_as(bed->thread, object, &type, kinds[i]);
        assert_misuse("fl_dealloc_as", object, "no callback");
    }
    fl_dealloc_as(bed->thread, object, &type, FL_DEALLOC_PLAIN);
    assert_int_equal(misuse.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BED_TEST(objects_of_any_size_return_to_their_class),
        BED_TEST(chains_of_many_sizes_die),
        cmocka_unit_test(objects_of_any_size_can_be_deferred),
        MISUSE_TEST(sizes_that_the_type_does_not_have_are_misuse),
        cmocka_unit_test(an_object_ends_as_the_kind_that_the_call_says),
        MISUSE_TEST(a_kind_without_its_callback_is_misuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
