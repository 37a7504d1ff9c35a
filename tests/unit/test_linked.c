/* SPDX-License-Identifier: MIT
 *
 * Dead objects that are linked through words at which stale readers look: they die on a small stack whatever memory is
 * refused, and no reader takes one of them for live.
 */
/* link: -Wl,--wrap=mmap -Wl,--wrap=mprotect */
#include "refusal.h"
#include "support.h"

#include "object/slots.h"

#include <freelane/object.h>

enum {
    SMALL_STACK = FLI_SANITIZED ? 1 << 20 : 64 << 10,
    /* As many levels of recursion need more than the small stack. */
    DEEP = FLI_SANITIZED ? 50000 : 10000,
    /* As many objects need more magazines than a trimmed heap has. */
    WIDE = FLI_RARE_PATHS ? 50000 : 400000,
};

/* ---- A graph: a wide object whose items are linked by their `other`, and hold chains by their `next`. */

struct item {
    struct fl_object head;
    struct item *next, *other;
    uintptr_t words[2];
};

static unsigned ended;

static void clear_item(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct item *item = object;
    assert_ptr_equal(item->head.type, type);
    ended++;
    if (item->next != NULL)
        fl_decref(thread, &item->next->head);
}

static void clear_wide(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)type;
    for (struct item *item = ((struct item *)object)->other, *next; item != NULL; item = next) {
        next = item->other;
        fl_decref(thread, &item->head);
    }
}

static unsigned revives; /* how many objects are to live on */
static struct item *revived;

static bool finalize_item(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)type;
    if (revives == 0)
        return false;
    revives--;
    revived = object;
    fl_revive(thread, object);
    return true;
}

#define ITEM .size = sizeof(struct item), .header = &fl_object_header

static struct fl_type wide = {.name = "wide", ITEM, .clear = clear_wide};
static struct fl_type cleared = {.name = "cleared", ITEM, .clear = clear_item};
static struct fl_type finalized = {.name = "finalized", ITEM, .clear = clear_item, .finalize = finalize_item};
static struct fl_type behind = {.name = "words behind",
                                ITEM,
                                .clear = clear_item,
                                .flags = FL_TYPE_HAS_WORDS,
                                .words_offset = offsetof(struct item, words)};
static struct fl_type later = {.name = "later", ITEM, .clear = clear_item, .flags = FL_TYPE_LATER};

static int make_types_ready(void **state)
{
    (void)state;
    struct fl_type *const types[] = {&wide, &cleared, &finalized, &behind, &later};
    for (size_t i = 0; i < COUNT_OF(types); i++)
        assert_int_equal(fl_object_type_ready(types[i], NULL, NULL, 0), 0);
    return 0;
}

static struct item *new_item(struct fl_thread *thread, const struct fl_type *type, struct item *next)
{
    struct item *item = (struct item *)fl_object_alloc(thread, type);
    assert_non_null(item);
    item->next = next;
    item->other = NULL;
    return item;
}

static const struct fl_type *const kinds[] = {&cleared, &finalized, &behind};

/* The items that are dropped last find no place but their words, and hold long chains. */
static struct item *new_graph(struct fl_thread *thread, const struct fl_type *const *types, size_t count)
{
    struct item *root = new_item(thread, &wide, NULL);
    for (int i = 0; i < WIDE; i++) {
        struct item *chain = NULL;
        for (int depth = i < 3 ? DEEP : 1; depth-- > 0;)
            chain = new_item(thread, types[(size_t)(i + depth) % count], chain);
        chain->other = root->other;
        root->other = chain;
    }
    return root;
}

enum { ALL = WIDE + 3 * (DEEP - 1) };

static struct bed stale_bed(enum fl_later option)
{
    ended = refused = revives = 0;
    return bed_with(&(struct fl_options){.grace = FL_GRACE_BP, .header = &fl_object_header, .later = option});
}

static void end_stale_bed(struct bed *bed)
{
    assert_sound(bed->heap);
    assert_int_equal(fl_heap_barrier(bed->heap), 0);
    assert_int_equal(stats_of(bed->heap).live_blocks, 0);
    end_bed(bed);
}

/* ---- Death on a small stack, without memory. */

struct death {
    struct bed *bed;
    const struct fl_type *const *types;
    size_t count;
    void (*body)(struct fl_thread *thread, struct item *root);
};

static void *make_and_end(void *argument)
{
    const struct death *death = argument;
    struct fl_thread *thread = fl_thread_attach(death->bed->heap);
    struct item *root = new_graph(thread, death->types, death->count);
    fl_thread_flush(thread);
    fl_heap_trim(death->bed->heap, 0);
    refuses = true;
    death->body(thread, root);
    refuses = false;
    fl_thread_detach(thread);
    return NULL;
}

static void assert_ends(struct bed *bed, const struct fl_type *const *types, size_t count,
                        void (*body)(struct fl_thread *, struct item *))
{
    struct death death = {bed, types, count, body};
    pthread_t id;
    pthread_attr_t attributes;
    small_stack_init(&attributes, SMALL_STACK);
    assert_int_equal(pthread_create(&id, &attributes, make_and_end, &death), 0);
    assert_int_equal(pthread_join(id, NULL), 0);
    pthread_attr_destroy(&attributes);
    assert_int_equal(ended, ALL);
    assert_true(refused > 0);
}

static void drop_root(struct fl_thread *thread, struct item *root)
{
    fl_decref(thread, &root->head);
}

static void objects_that_stale_readers_see_die_on_a_small_stack_without_memory(void **state)
{
    (void)state;
    for (size_t first = 0; first < COUNT_OF(kinds); first++) {
        struct bed bed = stale_bed(FL_LATER_NONE);
        assert_ends(&bed, kinds + first, 1, drop_root);
        end_stale_bed(&bed);
    }
    struct bed bed = stale_bed(FL_LATER_NONE);
    assert_ends(&bed, kinds, COUNT_OF(kinds), drop_root);
    end_stale_bed(&bed);
}

static void run_and_drop(struct fl_thread *thread, struct item *root)
{
    fl_decref(thread, &root->head);
    assert_int_equal(ended, 0);
    assert_sound(fl_thread_heap(thread));
    for (int left = 1; left != 0;)
        left = fl_run_pending(thread, fl_budget_objects(1000));
}

static void objects_that_stale_readers_see_end_later_without_memory(void **state)
{
    (void)state;
    struct bed bed = stale_bed(FL_LATER_ALL);
    assert_ends(&bed, kinds, COUNT_OF(kinds), run_and_drop);
    end_stale_bed(&bed);
    bed = stale_bed(FL_LATER_NONE);
    fl_decref(bed.thread, &new_item(bed.thread, &later, NULL)->head);
    assert_int_equal(ended, 0);
    assert_int_equal(fl_run_pending(bed.thread, fl_budget_objects(10)), 0);
    assert_int_equal(ended, 1);
    end_stale_bed(&bed);
}

/* ---- What readers see. */

/* An object that waits, linked, while the callback of another looks at it. */
static struct item *watched;
static struct fl_thread *reader;
static unsigned links; /* how often it was linked */

static void look(struct fl_thread *thread)
{
    struct item *place = watched;
    if (watched == revived)
        return;
    assert_false(fl_try_incref(reader, &watched->head, &place));
    assert_false(fl_try_incref(thread, &watched->head, &place));
    uint32_t local = __atomic_load_n(&watched->head.counts.local, __ATOMIC_RELAXED);
    links += local >= FLI_LOCAL_LINKED;
}

static void clear_and_look(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)object, (void)type;
    ended++;
    look(thread);
}

static struct fl_type looking = {.name = "looking", ITEM, .clear = clear_and_look};

/* A linked object is looked at, and revived. It is published then if it was so when it died. */
static void look_at_a_linked_object(bool is_published)
{
    if (!looking.ready)
        assert_int_equal(fl_object_type_ready(&looking, NULL, NULL, 0), 0);
    struct bed bed = stale_bed(FL_LATER_NONE);
    reader = fl_thread_attach(bed.heap);
    links = 0;
    revived = NULL;
    struct item *root = new_item(bed.thread, &wide, NULL);
    for (int i = 0; i < WIDE; i++) {
        struct item *item = new_item(bed.thread, i == WIDE / 2 ? &finalized : &looking, NULL);
        if (is_published)
            fl_publish(&item->head);
        if (i == WIDE / 2)
            watched = item;
        item->other = root->other;
        root->other = item;
    }
    fl_thread_flush(bed.thread);
    fl_heap_trim(bed.heap, 0);
    refuses = true;
    revives = 1;
    fl_decref(bed.thread, &root->head);
    refuses = false;
    assert_true(refused > 0);
    assert_int_equal(ended, WIDE - 1);
    assert_true(links > 0);
    assert_ptr_equal(revived, watched);
    struct item *place = revived;
    assert_int_equal(fl_try_incref(reader, &revived->head, &place), is_published);
    if (is_published)
        fl_decref(reader, &revived->head);
    assert_int_equal(stats_of(bed.heap).live_blocks, 1);
    fl_decref(bed.thread, &revived->head);
    assert_int_equal(fl_thread_detach(reader), 0);
    end_stale_bed(&bed);
}

static void no_reader_takes_a_linked_object_for_live(void **state)
{
    (void)state;
    look_at_a_linked_object(true);
}

static void an_object_that_was_linked_and_revived_is_not_published_by_that(void **state)
{
    (void)state;
    look_at_a_linked_object(false);
}

/* ---- A header of the host's own. */

struct own {
    uint64_t owner, count;
    const struct fl_type *type;
    struct own *next;
};

/* Readers heed the two lowest bits of the count, and the highest fourteen. */
static const struct fl_header own_header = {
    .bytes = 24,
    .words = 1,
    .clear = {{0, 8}},
    .link = {.bits = 0x0003fffffffffffcu, .others = 0xabcc000000000001u, .after = 2, .offset = 8}};

static unsigned own_linked;

static void clear_own(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct own *own = object;
    own_linked += own->count == 2;
    assert_true(own->count == 2 || own->count == 77);
    assert_ptr_equal(own->type, type);
    ended++;
    for (struct own *next = own->next, *after; next != NULL; next = after) {
        assert_int_equal(next->count & 3, 1);
        after = own->owner == 1 ? next->next : NULL;
        if (own->owner == 1)
            next->next = NULL;
        next->count = 77;
        fl_dealloc_deferred(thread, next, type);
    }
}

static void a_host_says_how_objects_are_linked_by_its_header(void **state)
{
    (void)state;
    struct fl_type type = {.name = "own",
                           .size = sizeof(struct own),
                           .header = &own_header,
                           .clear = clear_own,
                           .flags = FL_TYPE_HAS_WORDS,
                           .words_offset = offsetof(struct own, owner)};
    char error[256];
    assert_int_equal(fl_type_ready(&type, NULL, error, sizeof error), -EINVAL);
    assert_contains(error, "at 0, in the header of 24 bytes");
    type.words_offset = offsetof(struct own, count);
    assert_int_equal(fl_type_ready(&type, NULL, NULL, 0), 0);
    ended = refused = 0;
    struct bed bed = bed_with(&(struct fl_options){.grace = FL_GRACE_BP, .header = &own_header});
    struct own *root = fl_type_alloc(bed.thread, &type);
    assert_non_null(root);
    *root = (struct own){.owner = 1, .count = 77, .type = &type};
    for (int i = 0; i < WIDE; i++) {
        struct own *own = fl_type_alloc(bed.thread, &type);
        assert_non_null(own);
        *own = (struct own){.count = 1, .type = &type, .next = root->next};
        root->next = own;
    }
    fl_thread_flush(bed.thread);
    fl_heap_trim(bed.heap, 0);
    refuses = true;
    fl_dealloc(bed.thread, root, &type);
    refuses = false;
    assert_true(refused > 0);
    assert_int_equal(ended, WIDE + 1);
    assert_true(own_linked > 0);
    end_stale_bed(&bed);
}

/* ---- Counts that lie elsewhere, followed by the type. */

struct row {
    uint64_t hash;
    struct fl_counts counts;
    const struct fl_type *type;
    struct row *others; /* the next one of those that the first one holds */
};

static const struct fl_object_layout row_layout = {
    .bytes = 24, .counts = offsetof(struct row, counts), .type = offsetof(struct row, type)};
static unsigned rows_linked;

/* Drops the rows that the first one holds, and looks at them while they wait. */
static void clear_row(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct row *row = object;
    assert_ptr_equal(row->type, type);
    assert_int_equal(row->hash, 0x600d);
    if (ended++ > 0)
        return;
    for (struct row *other = row->others; other != NULL; other = other->others)
        fl_counts_decref(thread, &other->counts);
    if (type->header == NULL)
        return; /* the heap has no stale readers */
    for (struct row *other = row->others; other != NULL; other = other->others) {
        struct row *place = other;
        assert_false(fl_counts_try_incref(thread, &other->counts, other, &place));
        rows_linked += __atomic_load_n(&other->counts.local, __ATOMIC_RELAXED) >= FLI_LOCAL_LINKED;
    }
}

static struct row *new_row(struct fl_thread *thread, const struct fl_type *type, struct row *others)
{
    struct row *row = fl_type_alloc(thread, type);
    assert_non_null(row);
    row->hash = 0x600d;
    row->type = type;
    row->others = others;
    fl_counts_init(thread, &row->counts);
    return row;
}

/* Makes a wide object, and has it end without memory. */
static void end_rows(const struct fl_header *header)
{
    struct fl_type type = {.name = "row", .size = sizeof(struct row), .header = header, .clear = clear_row};
    assert_int_equal(fl_object_layout_type_ready(&type, NULL, &row_layout, NULL, 0), 0);
    assert_int_equal(type.words_offset, offsetof(struct row, counts));
    ended = refused = rows_linked = 0;
    struct fl_options options = {.grace = header != NULL ? FL_GRACE_BP : FL_GRACE_NONE, .header = header};
    struct bed bed = bed_with(&options);
    assert_int_equal(fl_heap_set_object_layout(bed.heap, &row_layout, NULL, 0), 0);
    struct row *others = NULL;
    for (int i = 0; i < WIDE; i++) {
        others = new_row(bed.thread, &type, others);
        if (header != NULL)
            fl_counts_publish(&others->counts);
    }
    struct row *root = new_row(bed.thread, &type, others);
    fl_thread_flush(bed.thread);
    fl_heap_trim(bed.heap, 0);
    refuses = true;
    fl_counts_decref(bed.thread, &root->counts);
    refuses = false;
    assert_true(refused > 0);
    assert_int_equal(ended, WIDE + 1);
    assert_int_equal(rows_linked > 0, header != NULL);
    assert_sound(bed.heap);
    assert_int_equal(stats_of(bed.heap).live_blocks, 0);
    end_bed(&bed);
}

static void objects_are_linked_through_counts_that_lie_elsewhere(void **state)
{
    (void)state;
    static struct fl_header header;
    header = fl_object_header;
    header.bytes = row_layout.bytes;
    struct fl_type type = {.name = "row", .size = sizeof(struct row), .header = &header, .clear = clear_row};
    assert_int_equal(fl_object_layout_type_ready(&type, NULL, &row_layout, NULL, 0), 0);
    assert_false((type.flags & FL_TYPE_HAS_WORDS) != 0); /* the header is for counts at 0 */
    header.link.offset = row_layout.counts;
    end_rows(&header);
    end_rows(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_that_stale_readers_see_die_on_a_small_stack_without_memory),
        cmocka_unit_test(objects_that_stale_readers_see_end_later_without_memory),
        cmocka_unit_test(no_reader_takes_a_linked_object_for_live),
        cmocka_unit_test(an_object_that_was_linked_and_revived_is_not_published_by_that),
        cmocka_unit_test(a_host_says_how_objects_are_linked_by_its_header),
        cmocka_unit_test(objects_are_linked_through_counts_that_lie_elsewhere),
    };
    return cmocka_run_group_tests(tests, make_types_ready, NULL);
}
