/* SPDX-License-Identifier: MIT */
#include "grace_support.h"

/* An object that tells what is done to it. */
struct object {
    unsigned char header[16]; /* the finalized byte is header[7] */
    struct object *held;
    uint64_t payload;
};

enum { FINALIZED_AT = 7, FINALIZED_BIT = 0x20 };

/* What the callbacks did, in order: d, c, f; upper case for those of the base. */
static const char *const kind_names[] = {"LEGACY", "PLAIN", "CLEAR", "FINALIZE"};

static char calls[64];
static bool resurrect;
static struct fl_thread *called_on;
static const struct fl_type *called_with;

static void note(char letter, struct fl_thread *thread, const struct fl_type *type)
{
    size_t length = strlen(calls);
    if (length < sizeof calls - 1) {
        calls[length] = letter;
        calls[length + 1] = '\0';
    }
    called_on = thread;
    called_with = type;
}

static void note_clear(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    note('c', thread, type);
    struct object *self = object;
    struct object *held = self->held;
    self->held = NULL;
    if (held != NULL)
        fl_dealloc(thread, held, type);
}

static void note_base_clear(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)object;
    note('C', thread, type);
}

static bool note_finalize(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)object;
    note('f', thread, type);
    return resurrect;
}

static bool note_base_finalize(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)object;
    note('F', thread, type);
    return false;
}

static void note_dealloc(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    note('d', thread, type);
    fl_type_free(thread, object, type);
}

static void note_base_dealloc(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    note('D', thread, type);
    fl_type_free(thread, object, type);
}

static int forget_calls(void **state)
{
    (void)state;
    memset(calls, 0, sizeof calls);
    resurrect = false;
    return 0;
}

static int type_up(void **state)
{
    forget_calls(state);
    return bed_up(state);
}

static void make_ready(struct fl_type *type, const struct fl_type *base)
{
    char error[256] = "";
    if (fl_type_ready(type, base, error, sizeof error) != 0)
        fail_msg("fl_type_ready: %s", error);
    assert_true(type->ready);
    assert_ptr_equal(type->base, base);
}

static struct object *make(struct bed *bed, const struct fl_type *type)
{
    struct object *object = fl_type_alloc(bed->thread, type);
    assert_non_null(object);
    memset(object, 0, sizeof *object);
    return object;
}

static size_t live_blocks(struct bed *bed)
{
    return stats_of(bed->heap).live_blocks;
}

/* ---- Dispatch. */

static void plain_frees_and_calls_nothing(void **state)
{
    struct bed *bed = *state;
    struct fl_type type = {.name = "plain", .size = sizeof(struct object), .kind = FL_DEALLOC_PLAIN};
    make_ready(&type, NULL);
    assert_int_equal(type.kind, FL_DEALLOC_PLAIN);
    struct object *object = make(bed, &type);
    fl_dealloc(bed->thread, object, &type);
    assert_string_equal(calls, "");
    assert_int_equal(live_blocks(bed), 0);
    assert_ptr_equal(fl_type_alloc(bed->thread, &type), object);
    fl_type_free(bed->thread, object, &type);
}

static void clear_runs_before_the_block_is_freed(void **state)
{
    struct bed *bed = *state;
    struct fl_type type = {.name = "clear", .size = sizeof(struct object), .clear = note_clear};
    make_ready(&type, NULL);
    assert_int_equal(type.kind, FL_DEALLOC_CLEAR);
    struct object *outer = make(bed, &type);
    outer->held = make(bed, &type);
    fl_dealloc(bed->thread, outer, &type);
    assert_string_equal(calls, "cc");
    assert_ptr_equal(called_on, bed->thread);
    assert_ptr_equal(called_with, &type);
    assert_int_equal(live_blocks(bed), 0);
}

static void finalize_runs_then_clear_then_the_block_is_freed(void **state)
{
    struct bed *bed = *state;
    struct fl_type type = {
        .name = "both", .size = sizeof(struct object), .finalize = note_finalize, .clear = note_clear};
    make_ready(&type, NULL);
    assert_int_equal(type.kind, FL_DEALLOC_FINALIZE);
    fl_dealloc(bed->thread, make(bed, &type), &type);
    assert_string_equal(calls, "fc");
    assert_int_equal(live_blocks(bed), 0);
}

static void finalize_needs_no_clear(void **state)
{
    struct bed *bed = *state;
    struct fl_type type = {.name = "finalize", .size = sizeof(struct object), .finalize = note_finalize};
    make_ready(&type, NULL);
    fl_dealloc(bed->thread, make(bed, &type), &type);
    assert_string_equal(calls, "f");
    assert_int_equal(live_blocks(bed), 0);
}

static void legacy_leaves_everything_to_the_type(void **state)
{
    struct bed *bed = *state;
    struct fl_type type = {.name = "legacy", .size = sizeof(struct object), .dealloc = note_dealloc};
    make_ready(&type, NULL);
    assert_int_equal(type.kind, FL_DEALLOC_LEGACY);
    fl_dealloc(bed->thread, make(bed, &type), &type);
    assert_string_equal(calls, "d");
    assert_int_equal(live_blocks(bed), 0);
}

static void a_resurrected_object_stays_and_is_not_cleared(void **state)
{
    struct bed *bed = *state;
    struct fl_type type = {
        .name = "phoenix", .size = sizeof(struct object), .finalize = note_finalize, .clear = note_clear};
    make_ready(&type, NULL);
    struct object *object = make(bed, &type);
    object->payload = 77;
    resurrect = true;
    fl_dealloc(bed->thread, object, &type);
    assert_string_equal(calls, "f");
    assert_int_equal(live_blocks(bed), 1);
    assert_int_equal(object->payload, 77);
    /* With no finalized byte every deallocation finalizes. */
    fl_dealloc(bed->thread, object, &type);
    assert_string_equal(calls, "ff");
    resurrect = false;
    fl_dealloc(bed->thread, object, &type);
    assert_string_equal(calls, "fffc");
    assert_int_equal(live_blocks(bed), 0);
}

static bool note_finalize_that_sees_its_byte(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct object *self = object;
    note((self->header[FINALIZED_AT] & FINALIZED_BIT) != 0 ? 'f' : '!', thread, type);
    return resurrect;
}

static void an_object_with_a_finalized_byte_is_finalized_once(void **state)
{
    struct bed *bed = *state;
    struct fl_type type = {.name = "once",
                           .size = sizeof(struct object),
                           .finalize = note_finalize_that_sees_its_byte,
                           .clear = note_clear,
                           .finalized_offset = FINALIZED_AT,
                           .finalized_mask = FINALIZED_BIT};
    make_ready(&type, NULL);
    struct object *object = make(bed, &type);
    memset(object->header, 0x41, sizeof object->header);
    resurrect = true;
    fl_dealloc(bed->thread, object, &type);
    assert_string_equal(calls, "f");
    for (size_t i = 0; i < sizeof object->header; i++)
        assert_int_equal(object->header[i], i == FINALIZED_AT ? 0x41 | FINALIZED_BIT : 0x41);
    fl_dealloc(bed->thread, object, &type);
    assert_string_equal(calls, "fc");
    assert_int_equal(live_blocks(bed), 0);
}

static void a_host_may_keep_the_two_bits_itself(void **state)
{
    struct bed *bed = *state;
    struct fl_type types[] = {
        {.name = "legacy", .size = sizeof(struct object), .dealloc = note_dealloc},
        {.name = "plain", .size = sizeof(struct object), .kind = FL_DEALLOC_PLAIN},
        {.name = "clear", .size = sizeof(struct object), .clear = note_clear},
        {.name = "finalize", .size = sizeof(struct object), .finalize = note_finalize, .clear = note_clear},
    };
    static const char *const expected[] = {"dd", "", "cc", "fcfc"};
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        make_ready(&types[i], NULL);
        assert_int_equal(types[i].kind, i);
        memset(calls, 0, sizeof calls);
        fl_dealloc_as(bed->thread, make(bed, &types[i]), &types[i], types[i].kind);
        assert_int_equal(fl_tag_kind(fl_type_tag(&types[i])), i);
        fl_dealloc_tagged(bed->thread, make(bed, &types[i]), &types[i], fl_type_tag(&types[i]));
        assert_string_equal(calls, expected[i]);
    }
    assert_int_equal(live_blocks(bed), 0);
}

static void a_tag_says_kind_and_class(void **state)
{
    struct bed *bed = *state;
    for (size_t size = 1; size <= FL_BLOCK_MAX + 1; size = size * 3 / 2 + 1) {
        struct fl_type plain = {.name = "plain", .size = size, .kind = FL_DEALLOC_PLAIN};
        struct fl_type clear = {.name = "clear", .size = size, .clear = note_base_clear};
        make_ready(&plain, NULL);
        make_ready(&clear, NULL);
        assert_true(fl_type_tag(&plain) < 1u << FL_TAG_BITS);
        assert_int_equal(fl_tag_kind(fl_type_tag(&plain)), FL_DEALLOC_PLAIN);
        assert_int_not_equal(fl_type_tag(&plain), fl_type_tag(&clear));
        fl_dealloc_tagged(bed->thread, fl_type_alloc(bed->thread, &plain), &plain, fl_type_tag(&plain));
        fl_dealloc_tagged(bed->thread, fl_type_alloc(bed->thread, &clear), &clear, fl_type_tag(&clear));
    }
    assert_int_equal(live_blocks(bed), 0);
}

static void types_of_every_size_are_allocated_and_freed(void **state)
{
    struct bed *bed = *state;
    static const size_t sizes[] = {1, 16, 48, 257, 4096, FL_BLOCK_MAX, FL_BLOCK_MAX + 1, 1000000};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct fl_type plain = {.name = "plain", .size = sizes[i], .kind = FL_DEALLOC_PLAIN};
        struct fl_type clear = {.name = "clear", .size = sizes[i], .clear = note_base_clear};
        make_ready(&plain, NULL);
        make_ready(&clear, NULL);
        for (unsigned round = 0; round < 3; round++) {
            void *first = fl_type_alloc(bed->thread, &plain), *second = fl_type_alloc(bed->thread, &clear);
            memset(first, 1, sizes[i]);
            memset(second, 2, sizes[i]);
            assert_true(fl_usable_size(bed->heap, first) >= sizes[i]);
            fl_dealloc(bed->thread, first, &plain);
            fl_dealloc(bed->thread, second, &clear);
        }
    }
    assert_int_equal(live_blocks(bed), 0);
    assert_string_equal(calls, "CCCCCCCCCCCCCCCCCCCCCCCC");
}

static void a_type_too_large_for_any_machine_is_refused_memory(void **state)
{
    struct bed *bed = *state;
    struct fl_type type = {.name = "monster", .size = SIZE_MAX, .kind = FL_DEALLOC_PLAIN};
    make_ready(&type, NULL);
    errno = 0;
    assert_null(fl_type_alloc(bed->thread, &type));
    assert_int_equal(errno, ENOMEM);
}

/* ---- The kind that a type gets: from what it says, under each base. */

static const struct fl_type nothing = {.name = "sub"};

/* What stands for a base of each kind; [4] is none. */
static const struct fl_type *base_of(unsigned kind)
{
    static struct fl_type bases[] = {
        {.name = "legacy-base", .size = sizeof(struct object), .dealloc = note_base_dealloc},
        {.name = "plain-base", .size = sizeof(struct object), .kind = FL_DEALLOC_PLAIN},
        {.name = "clear-base", .size = sizeof(struct object), .clear = note_base_clear},
        {.name = "finalize-base",
         .size = sizeof(struct object),
         .finalize = note_base_finalize,
         .clear = note_base_clear,
         .finalized_offset = FINALIZED_AT,
         .finalized_mask = FINALIZED_BIT},
    };
    if (kind == 4)
        return NULL;
    if (!bases[kind].ready)
        make_ready(&bases[kind], NULL);
    return &bases[kind];
}

struct rule {
    enum fl_dealloc_kind says;
    const char *has;     /* its own callbacks: d, c, f */
    const char *becomes; /* its kind under a base LEGACY, PLAIN, CLEAR, FINALIZE and none: l p c f; - is refused */
    const char *runs[5]; /* what deallocating an instance then runs */
};

static const struct rule rules[] = {
    {FL_DEALLOC_LEGACY, "", "lpcf-", {"D", "", "C", "FC", NULL}},
    {FL_DEALLOC_LEGACY, "d", "lllll", {"d", "d", "d", "d", "d"}},
    {FL_DEALLOC_LEGACY, "c", "lccfc", {"D", "c", "c", "Fc", "c"}},
    {FL_DEALLOC_LEGACY, "f", "lffff", {"D", "f", "fC", "fC", "f"}},
    {FL_DEALLOC_LEGACY, "cf", "lffff", {"D", "fc", "fc", "fc", "fc"}},
    {FL_DEALLOC_LEGACY, "dcf", "lllll", {"d", "d", "d", "d", "d"}},
    {FL_DEALLOC_PLAIN, "", "ppcfp", {"", "", "C", "FC", ""}},
    {FL_DEALLOC_PLAIN, "c", "-----", {NULL}},
    {FL_DEALLOC_PLAIN, "f", "-----", {NULL}},
    {FL_DEALLOC_PLAIN, "d", "-----", {NULL}},
    {FL_DEALLOC_CLEAR, "", "--cf-", {NULL, NULL, "C", "FC", NULL}},
    {FL_DEALLOC_CLEAR, "c", "cccfc", {"c", "c", "c", "Fc", "c"}},
    {FL_DEALLOC_CLEAR, "cf", "-----", {NULL}},
    {FL_DEALLOC_CLEAR, "dc", "-----", {NULL}},
    {FL_DEALLOC_FINALIZE, "", "---f-", {NULL, NULL, NULL, "FC", NULL}},
    {FL_DEALLOC_FINALIZE, "c", "---f-", {NULL, NULL, NULL, "Fc", NULL}},
    {FL_DEALLOC_FINALIZE, "f", "fffff", {"f", "f", "fC", "fC", "f"}},
    {FL_DEALLOC_FINALIZE, "cf", "fffff", {"fc", "fc", "fc", "fc", "fc"}},
    {FL_DEALLOC_FINALIZE, "df", "-----", {NULL}},
};

static struct fl_type type_by(const struct rule *rule)
{
    struct fl_type type = {.name = "sub", .size = sizeof(struct object), .kind = rule->says};
    type.dealloc = strchr(rule->has, 'd') != NULL ? note_dealloc : NULL;
    type.clear = strchr(rule->has, 'c') != NULL ? note_clear : NULL;
    type.finalize = strchr(rule->has, 'f') != NULL ? note_finalize : NULL;
    return type;
}

static void check_rule(struct bed *bed, const struct rule *rule, unsigned base)
{
    char error[256] = "";
    struct fl_type type = type_by(rule), before;
    memcpy(&before, &type, sizeof type); /* padding included */
    int failed = fl_type_ready(&type, base_of(base), error, sizeof error);
    if (rule->becomes[base] == '-') {
        assert_int_equal(failed, -EINVAL);
        assert_contains(error, "'sub'");
        assert_memory_equal(&type, &before, sizeof type);
        return;
    }
    if (failed != 0)
        fail_msg("says %s, has '%s', base %u: %s", kind_names[rule->says], rule->has, base, error);
    if ("lpcf"[type.kind] != rule->becomes[base])
        fail_msg("says %s, has '%s', base %u: became %s", kind_names[rule->says], rule->has, base,
                 kind_names[type.kind]);
    memset(calls, 0, sizeof calls);
    fl_dealloc(bed->thread, make(bed, &type), &type);
    if (strcmp(calls, rule->runs[base]) != 0)
        fail_msg("says %s, has '%s', base %u: ran '%s'", kind_names[rule->says], rule->has, base, calls);
    assert_int_equal(live_blocks(bed), 0);
}

static void kinds_are_resolved_by_the_rules_under_every_base(void **state)
{
    for (size_t i = 0; i < COUNT_OF(rules); i++)
        for (unsigned base = 0; base <= 4; base++)
            check_rule(*state, &rules[i], base);
}

static void kinds_are_inherited_through_several_generations(void **state)
{
    struct bed *bed = *state;
    struct fl_type child = nothing, grandchild = {.name = "grandchild", .clear = note_clear};
    make_ready(&child, base_of(FL_DEALLOC_FINALIZE));
    make_ready(&grandchild, &child);
    assert_int_equal(grandchild.kind, FL_DEALLOC_FINALIZE);
    fl_dealloc(bed->thread, make(bed, &grandchild), &grandchild);
    assert_string_equal(calls, "Fc");
}

static void the_size_and_the_finalized_byte_are_inherited(void **state)
{
    struct bed *bed = *state;
    struct fl_type type = nothing;
    make_ready(&type, base_of(FL_DEALLOC_FINALIZE));
    assert_int_equal(type.size, sizeof(struct object));
    assert_int_equal(type.finalized_offset, FINALIZED_AT);
    assert_int_equal(type.finalized_mask, FINALIZED_BIT);
    struct object *object = make(bed, &type);
    object->header[FINALIZED_AT] = FINALIZED_BIT;
    fl_dealloc(bed->thread, object, &type);
    assert_string_equal(calls, "C");
}

static void a_larger_subtype_gets_the_class_of_its_own_size(void **state)
{
    struct bed *bed = *state;
    struct fl_type type = {.name = "larger", .size = 1000};
    make_ready(&type, base_of(FL_DEALLOC_PLAIN));
    void *object = fl_type_alloc(bed->thread, &type);
    assert_int_equal(fl_usable_size(bed->heap, object), 1024);
    fl_dealloc(bed->thread, object, &type);
}

/* ---- Contradictions. */

static void refused(struct fl_type type, const struct fl_type *base, const char *const *named)
{
    char error[256] = "";
    struct fl_type before;
    memcpy(&before, &type, sizeof type); /* padding included */
    assert_int_equal(fl_type_ready(&type, base, error, sizeof error), -EINVAL);
    assert_memory_equal(&type, &before, sizeof type);
    for (; *named != NULL; named++)
        assert_contains(error, *named);
    /* The message may be asked for or not, and may not fit. */
    char small[8];
    assert_int_equal(fl_type_ready(&type, base, NULL, 0), -EINVAL);
    assert_int_equal(fl_type_ready(&type, base, small, sizeof small), -EINVAL);
    assert_true(memchr(small, '\0', sizeof small) != NULL);
}

#define REFUSED(type, base, ...) refused(type, base, (const char *const[]){__VA_ARGS__, NULL})

static void contradictions_are_refused_with_a_message_that_names_the_types(void **state)
{
    (void)state;
    struct fl_type unready = {.name = "half-made", .size = 16, .kind = FL_DEALLOC_PLAIN};
    const struct fl_type *finalize = base_of(FL_DEALLOC_FINALIZE);
    REFUSED(((struct fl_type){.size = 16, .kind = FL_DEALLOC_PLAIN}), NULL, "no name");
    REFUSED(((struct fl_type){.name = "hollow", .kind = FL_DEALLOC_PLAIN}), NULL, "'hollow'", "size of 0");
    REFUSED(((struct fl_type){.name = "small", .size = sizeof(struct object) - 1}), finalize, "'small'",
            "'finalize-base'", "31", "32");
    REFUSED(((struct fl_type){.name = "both", .size = 16, .kind = FL_DEALLOC_PLAIN, .clear = note_clear}), NULL,
            "'both'", "PLAIN", "'clear'");
    REFUSED(((struct fl_type){.name = "both", .size = 16, .kind = FL_DEALLOC_PLAIN, .finalize = note_finalize}), NULL,
            "'both'", "PLAIN", "'finalize'");
    REFUSED(((struct fl_type){.name = "both", .size = 16, .kind = FL_DEALLOC_PLAIN, .dealloc = note_dealloc}), NULL,
            "'both'", "PLAIN", "'dealloc'");
    REFUSED(
        ((struct fl_type){
            .name = "both", .size = 16, .kind = FL_DEALLOC_CLEAR, .clear = note_clear, .finalize = note_finalize}),
        NULL, "'both'", "CLEAR", "'finalize'");
    REFUSED(((struct fl_type){.name = "lacks", .size = 16, .kind = FL_DEALLOC_CLEAR}), NULL, "'lacks'", "CLEAR",
            "'clear'");
    REFUSED(((struct fl_type){.name = "lacks", .size = 16, .kind = FL_DEALLOC_FINALIZE}), NULL, "'lacks'", "FINALIZE",
            "'finalize'");
    REFUSED(((struct fl_type){.name = "lacks", .size = 16}), NULL, "'lacks'", "LEGACY", "'dealloc'");
    REFUSED(((struct fl_type){.name = "lacks", .size = 64, .kind = FL_DEALLOC_CLEAR}), base_of(FL_DEALLOC_PLAIN),
            "'lacks'", "'plain-base'");
    REFUSED(((struct fl_type){.name = "odd", .size = 16, .kind = (enum fl_dealloc_kind)4}), NULL, "'odd'", "4");
    REFUSED(((struct fl_type){.name = "early", .size = 16}), &unready, "'early'", "'half-made'", "not ready");
    REFUSED(
        ((struct fl_type){
            .name = "outside", .size = 16, .finalize = note_finalize, .finalized_offset = 16, .finalized_mask = 1}),
        NULL, "'outside'", "16");
    REFUSED(((struct fl_type){.name = "outside",
                              .size = 16,
                              .finalize = note_finalize,
                              .finalized_offset = UINT32_MAX,
                              .finalized_mask = 1}),
            NULL, "'outside'");
}

static void a_type_cannot_be_its_own_base(void **state)
{
    (void)state;
    struct fl_type type = {.name = "ouroboros", .size = 16, .kind = FL_DEALLOC_PLAIN};
    assert_int_equal(fl_type_ready(&type, &type, NULL, 0), -EINVAL);
}

#define TYPE_TEST(test) cmocka_unit_test_setup_teardown(test, type_up, bed_down)

/* ---- Deferred deallocation. */

/* The object's memory waits, and comes back. */
static void assert_waits(struct bed *bed, struct played_host *host)
{
    assert_int_equal(stats_of(bed->heap).live_blocks, 0);
    assert_int_equal(class_stats_of(bed->heap, sizeof(struct object)).deferred, 1);
    assert_sound(bed->heap);
    let_all_go(host, bed->thread);
    assert_int_equal(class_stats_of(bed->heap, sizeof(struct object)).deferred, 0);
    assert_int_equal(stats_of(bed->heap).live_blocks, 0);
}

static void deferred_callbacks_run_at_once_and_the_memory_waits(void **state)
{
    (void)state;
    static const struct {
        struct fl_type type;
        const char *calls;
    } cases[] = {
        {{.name = "plain", .kind = FL_DEALLOC_PLAIN}, ""},
        {{.name = "clear", .clear = note_clear}, "c"},
        {{.name = "finalize", .finalize = note_finalize}, "f"},
        {{.name = "both", .finalize = note_finalize, .clear = note_clear}, "fc"},
    };
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, NULL);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct fl_type type = cases[i].type;
        type.size = sizeof(struct object);
        make_ready(&type, NULL);
        struct object *object = make(&bed, &type);
        object->payload = 77;
        called_on = NULL;
        memset(calls, 0, sizeof calls);
        fl_dealloc_deferred(bed.thread, object, &type);
        assert_string_equal(calls, cases[i].calls);
        assert_int_equal(object->payload, 77);
        if (*calls != '\0') {
            assert_ptr_equal(called_on, bed.thread);
            assert_ptr_equal(called_with, &type);
        }
        assert_waits(&bed, &host);
        assert_string_equal(calls, cases[i].calls);
    }
    end_bed(&bed);
}

static void what_an_object_held_may_be_freed_at_once_while_it_waits(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, NULL);
    struct fl_type type = {.name = "holder", .size = sizeof(struct object), .clear = note_clear};
    make_ready(&type, NULL);
    struct object *object = make(&bed, &type);
    object->held = make(&bed, &type);
    fl_dealloc_deferred(bed.thread, object, &type);
    assert_string_equal(calls, "cc");
    assert_waits(&bed, &host);
    end_bed(&bed);
}

static void an_object_that_is_resurrected_is_not_deferred(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, NULL);
    struct fl_type type = {.name = "phoenix",
                           .size = sizeof(struct object),
                           .finalize = note_finalize,
                           .clear = note_clear,
                           .finalized_offset = FINALIZED_AT,
                           .finalized_mask = FINALIZED_BIT};
    make_ready(&type, NULL);
    struct object *object = make(&bed, &type);
    resurrect = true;
    fl_dealloc_deferred(bed.thread, object, &type);
    assert_string_equal(calls, "f");
    assert_int_equal(stats_of(bed.heap).live_blocks, 1);
    assert_int_equal(stats_of(bed.heap).deferred_bytes, 0);
    /* It was finalized. */
    fl_dealloc_deferred(bed.thread, object, &type);
    assert_string_equal(calls, "fc");
    assert_waits(&bed, &host);
    end_bed(&bed);
}

static void note_deferring_dealloc(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    note('d', thread, type);
    fl_type_free_deferred(thread, object, type);
}

static void a_legacy_object_defers_its_memory_itself(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, NULL);
    struct fl_type type = {.name = "legacy", .size = sizeof(struct object), .dealloc = note_deferring_dealloc};
    make_ready(&type, NULL);
    struct object *object = make(&bed, &type);
    misuse = (struct recorded_misuse){0};
    fl_set_misuse_handler(record_misuse);
    fl_dealloc_deferred(bed.thread, object, &type);
    assert_misuse("fl_dealloc_deferred", object, "LEGACY");
    assert_string_equal(misuse.type, "legacy");
    fl_set_misuse_handler(NULL);
    assert_string_equal(calls, "");
    assert_int_equal(stats_of(bed.heap).live_blocks, 1);
    fl_dealloc(bed.thread, object, &type);
    assert_string_equal(calls, "d");
    assert_waits(&bed, &host);
    end_bed(&bed);
}

static void memory_that_is_freed_deferred_runs_no_callback(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, NULL);
    struct fl_type type = {
        .name = "both", .size = sizeof(struct object), .finalize = note_finalize, .clear = note_clear};
    make_ready(&type, NULL);
    fl_type_free_deferred(bed.thread, make(&bed, &type), &type);
    assert_string_equal(calls, "");
    assert_waits(&bed, &host);
    end_bed(&bed);
}

static void a_type_that_is_not_ready_cannot_be_deferred(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, NULL);
    struct fl_type type = {.name = "raw", .size = sizeof(struct object), .kind = FL_DEALLOC_PLAIN};
    void *block = fl_alloc(bed.thread, sizeof(struct object));
    misuse = (struct recorded_misuse){0};
    fl_set_misuse_handler(record_misuse);
    fl_dealloc_deferred(bed.thread, block, &type);
    assert_misuse("fl_dealloc_deferred", block, "not ready");
    fl_type_free_deferred(bed.thread, block, &type);
    assert_misuse("fl_type_free_deferred", block, "not ready");
    fl_set_misuse_handler(NULL);
    assert_int_equal(stats_of(bed.heap).live_blocks, 1);
    fl_free(bed.thread, block);
    end_bed(&bed);
}

/* ---- Headers. */

static void a_header_is_the_bases_and_lies_inside_of_the_object(void **state)
{
    (void)state;
    static const struct fl_header header = {.bytes = 32}, other = {.bytes = 16};
    char error[256] = "";
    struct fl_type base = {.name = "base", .size = 32, .kind = FL_DEALLOC_PLAIN, .header = &header};
    make_ready(&base, NULL);
    struct fl_type heir = {.name = "heir", .size = 48};
    make_ready(&heir, &base);
    assert_ptr_equal(heir.header, &header);
    struct fl_type rebel = {.name = "rebel", .size = 48, .header = &other}, was = rebel;
    assert_int_equal(fl_type_ready(&rebel, &base, error, sizeof error), -EINVAL);
    assert_contains(error, "'rebel'");
    assert_contains(error, "'base'");
    assert_memory_equal(&rebel, &was, sizeof rebel);
    struct fl_type small = {.name = "small", .size = 31, .kind = FL_DEALLOC_PLAIN, .header = &header};
    assert_int_equal(fl_type_ready(&small, NULL, error, sizeof error), -EINVAL);
    assert_contains(error, "'small'");
    assert_contains(error, "32");
    /* A subtype may be the first to have one. */
    struct fl_type bare = {.name = "bare", .size = 32, .kind = FL_DEALLOC_PLAIN};
    make_ready(&bare, NULL);
    struct fl_type first = {.name = "first", .size = 48, .header = &header};
    make_ready(&first, &bare);
    assert_ptr_equal(first.header, &header);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TYPE_TEST(plain_frees_and_calls_nothing),
        TYPE_TEST(clear_runs_before_the_block_is_freed),
        TYPE_TEST(finalize_runs_then_clear_then_the_block_is_freed),
        TYPE_TEST(finalize_needs_no_clear),
        TYPE_TEST(legacy_leaves_everything_to_the_type),
        TYPE_TEST(a_resurrected_object_stays_and_is_not_cleared),
        TYPE_TEST(an_object_with_a_finalized_byte_is_finalized_once),
        TYPE_TEST(a_host_may_keep_the_two_bits_itself),
        TYPE_TEST(a_tag_says_kind_and_class),
        TYPE_TEST(types_of_every_size_are_allocated_and_freed),
        TYPE_TEST(a_type_too_large_for_any_machine_is_refused_memory),
        TYPE_TEST(kinds_are_resolved_by_the_rules_under_every_base),
        TYPE_TEST(kinds_are_inherited_through_several_generations),
        TYPE_TEST(the_size_and_the_finalized_byte_are_inherited),
        TYPE_TEST(a_larger_subtype_gets_the_class_of_its_own_size),
        cmocka_unit_test(contradictions_are_refused_with_a_message_that_names_the_types),
        cmocka_unit_test(a_type_cannot_be_its_own_base),
        cmocka_unit_test_setup(deferred_callbacks_run_at_once_and_the_memory_waits, forget_calls),
        cmocka_unit_test_setup(what_an_object_held_may_be_freed_at_once_while_it_waits, forget_calls),
        cmocka_unit_test_setup(an_object_that_is_resurrected_is_not_deferred, forget_calls),
        cmocka_unit_test_setup(a_legacy_object_defers_its_memory_itself, forget_calls),
        cmocka_unit_test_setup(memory_that_is_freed_deferred_runs_no_callback, forget_calls),
        cmocka_unit_test_setup(a_type_that_is_not_ready_cannot_be_deferred, forget_calls),
        cmocka_unit_test_setup(a_header_is_the_bases_and_lies_inside_of_the_object, forget_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
