/* SPDX-License-Identifier: MIT
 *
 * Heaps with stale readers: what of a freed object they may look at, until when, and what such a heap refuses.
 */
#include "grace_support.h"

enum { MANY = 2000, LARGE = 100000 };

/* The words of an object of free-threaded CPython that its lock-free readers look at. */
struct object {
    uint64_t owner;
    uint16_t flags;
    uint8_t mutex, bits;
    uint32_t local;
    uint64_t shared, type;
    uint64_t payload[2];
};

static const struct fl_header cleared = {
    .bytes = 32,
    .words = 4,
    .clear = {{0, 8}, {offsetof(struct object, bits), 1}, {offsetof(struct object, local), 4}, {16, 8}}};
static const struct fl_header kept = {.bytes = 32};
static const struct fl_header other = {.bytes = 16, .words = 1, .clear = {{8, 2}}};

static struct fl_type type_of(const char *name, size_t size, const struct fl_header *header)
{
    struct fl_type type = {.name = name, .size = size, .kind = FL_DEALLOC_PLAIN, .header = header};
    char error[256] = "";
    if (fl_type_ready(&type, NULL, error, sizeof error) != 0)
        fail_msg("fl_type_ready: %s", error);
    return type;
}

static struct bed bed_with_header(struct played_host *host, const struct fl_header *header)
{
    return bed_of_host(host,
                       &(struct fl_options){.header = header, .retain_bytes = SIZE_MAX, .magazine_blocks = 254});
}

static struct object *make(struct fl_thread *thread, const struct fl_type *type)
{
    struct object *object = fl_type_alloc(thread, type);
    assert_non_null(object);
    memset(object, 0xff, type->size);
    return object;
}

static void make_many(struct fl_thread *thread, const struct fl_type *type, size_t count, void **objects)
{
    for (size_t i = 0; i < count; i++)
        objects[i] = make(thread, type);
}

static void dealloc_many(struct fl_thread *thread, const struct fl_type *type, size_t count, void *const *objects)
{
    for (size_t i = 0; i < count; i++)
        fl_dealloc(thread, objects[i], type);
}

/* Makes objects that die, and lets the heap have their blocks. */
static void spend_many(struct fl_thread *thread, const struct fl_type *type, size_t count, void **objects)
{
    make_many(thread, type, count, objects);
    dealloc_many(thread, type, count, objects);
    fl_thread_flush(thread);
}

/* ---- The header of a dead object. */

/* Only the words of the header are cleared. */
static void assert_cleared(const struct object *object)
{
    assert_int_equal(object->owner, 0);
    assert_int_equal(object->flags, 0xffff);
    assert_int_equal(object->mutex, 0xff);
    assert_int_equal(object->bits, 0);
    assert_int_equal(object->local, 0);
    assert_int_equal(object->shared, 0);
    assert_int_equal(object->type, UINT64_MAX);
}

static void assert_untouched(const struct object *object)
{
    const unsigned char *bytes = (const unsigned char *)object;
    for (size_t i = 0; i < 32; i++)
        assert_int_equal(bytes[i], 0xff);
}

static void free_raw(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)type;
    fl_free(thread, object);
}

static void free_for_unattached(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)type;
    fl_heap_free(fl_thread_heap(thread), object);
}

static void free_many_raw(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    fl_free_many(thread, type->size, 1, &object);
}

static void free_sized(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    fl_free_sized(thread, object, type->size);
}

static void dealloc_as(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    fl_dealloc_as(thread, object, type, FL_DEALLOC_PLAIN);
}

static void the_words_of_the_header_are_cleared_however_an_object_is_freed(void **state)
{
    (void)state;
    void (*const frees[])(struct fl_thread *, void *, const struct fl_type *) = {
        fl_dealloc,    fl_type_free, fl_dealloc_deferred, fl_type_free_deferred, free_raw, free_for_unattached,
        free_many_raw, free_sized,   dealloc_as};
    struct played_host host = {0};
    struct bed bed = bed_with_header(&host, &cleared);
    struct fl_type type = type_of("object", sizeof(struct object), &cleared);
    for (size_t i = 0; i < COUNT_OF(frees); i++) {
        /* With caches of all fills. */
        for (unsigned round = 0; round < 600; round++) {
            struct object *object = make(bed.thread, &type);
            frees[i](bed.thread, object, &type);
            assert_cleared(object);
        }
        assert_int_equal(stats_of(bed.heap).live_blocks, 0);
        let_all_go(&host, bed.thread);
        assert_sound(bed.heap);
    }
    end_bed(&bed);
}

static void a_header_without_words_to_clear_is_left_to_the_host(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_with_header(&host, &kept);
    struct fl_type type = type_of("object", sizeof(struct object), &kept);
    for (unsigned round = 0; round < 600; round++) {
        struct object *object = make(bed.thread, &type);
        fl_dealloc(bed.thread, object, &type);
        assert_untouched(object);
        object = make(bed.thread, &type);
        fl_dealloc_deferred(bed.thread, object, &type);
        assert_untouched(object);
    }
    let_all_go(&host, bed.thread);
    end_bed(&bed);
}

static const struct object *cleared_object;

static void see_the_header(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread, (void)type;
    assert_untouched(object);
    cleared_object = object;
}

static void callbacks_run_before_the_words_are_cleared(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_with_header(&host, &cleared);
    struct fl_type type = {
        .name = "object", .size = sizeof(struct object), .clear = see_the_header, .header = &cleared};
    assert_int_equal(fl_type_ready(&type, NULL, NULL, 0), 0);
    fl_dealloc(bed.thread, make(bed.thread, &type), &type);
    assert_cleared(cleared_object);
    fl_dealloc_deferred(bed.thread, make(bed.thread, &type), &type);
    assert_cleared(cleared_object);
    let_all_go(&host, bed.thread);
    end_bed(&bed);
}

/* ---- Slabs. */

static void a_slab_keeps_its_class_and_its_memory_until_a_grace_period_has_passed(void **state)
{
    (void)state;
    static void *objects[MANY];
    struct played_host host = {0};
    struct bed bed = bed_with_header(&host, &cleared);
    struct fl_type type = type_of("object", sizeof(struct object), &cleared);
    spend_many(bed.thread, &type, MANY, objects);
    assert_int_equal(host.begun, 0);
    size_t returned = fl_heap_trim(bed.heap, 0);
    assert_true(returned < FLI_SLAB_BYTES); /* pages of magazines */
    assert_int_equal(host.begun, 1);
    struct fl_stats stats = stats_of(bed.heap);
    assert_int_equal(stats.slabs, 0);
    assert_true(stats.retired_bytes >= MANY * sizeof(struct object));
    assert_int_equal(stats.trimmed_bytes, returned);
    assert_sound(bed.heap);
    for (unsigned i = 0; i < MANY; i++) {
        assert_cleared(objects[i]);
        assert_int_equal(fl_usable_size(bed.heap, objects[i]), sizeof(struct object));
    }
    assert_int_equal(count_resident(objects, MANY), MANY);
    /* What is retired serves nobody meanwhile, of whatever class. */
    struct fl_type larger = type_of("larger", 1024, &cleared);
    void *found[64];
    make_many(bed.thread, &larger, COUNT_OF(found), found);
    for (unsigned i = 0; i < MANY; i++)
        assert_cleared(objects[i]);
    dealloc_many(bed.thread, &larger, COUNT_OF(found), found);

    end_periods(&host);
    assert_true(fl_heap_trim(bed.heap, SIZE_MAX) >= stats.retired_bytes);
    assert_int_equal(stats_of(bed.heap).retired_bytes, 0);
    assert_int_equal(count_resident(objects, MANY), 0);
    assert_int_equal(fl_usable_size(bed.heap, objects[0]), 0);
    assert_true(stats_of(bed.heap).trimmed_bytes >= stats.retired_bytes);
    let_all_go(&host, bed.thread);
    end_bed(&bed);
}

static void whoever_comes_by_after_the_grace_period_gives_retired_slabs_back(void **state)
{
    (void)state;
    void (*const visits[])(struct fl_thread *) = {fl_quiescent, fl_thread_flush};
    static void *objects[MANY];
    struct played_host host = {0};
    struct bed bed = bed_with_header(&host, &cleared);
    struct fl_type type = type_of("object", sizeof(struct object), &cleared);
    for (size_t i = 0; i < COUNT_OF(visits); i++) {
        spend_many(bed.thread, &type, MANY, objects);
        fl_heap_trim(bed.heap, 0);
        assert_true(stats_of(bed.heap).retired_bytes > 0);
        visits[i](bed.thread);
        assert_true(stats_of(bed.heap).retired_bytes > 0);
        end_periods(&host);
        visits[i](bed.thread);
        assert_int_equal(stats_of(bed.heap).retired_bytes, 0);
        assert_int_equal(count_resident(objects, MANY), 0);
        assert_sound(bed.heap);
    }
    end_bed(&bed);
}

static void as_many_slabs_as_are_wanted_stay_warm_after_their_grace_period(void **state)
{
    (void)state;
    static void *objects[MANY];
    struct played_host host = {0};
    struct bed bed = bed_with_header(&host, &cleared);
    struct fl_type type = type_of("object", sizeof(struct object), &cleared);
    spend_many(bed.thread, &type, MANY, objects);
    fl_heap_trim(bed.heap, 0);
    assert_int_equal(fli_retired_keep_warm(bed.heap, FLI_SLAB_BYTES), 0);
    end_periods(&host);
    fl_heap_trim(bed.heap, SIZE_MAX);
    assert_int_equal(stats_of(bed.heap).retired_bytes, 0);
    assert_int_equal(stats_of(bed.heap).idle_bytes, FLI_SLAB_BYTES);
    assert_int_equal(fli_retired_keep_warm(bed.heap, 0), FLI_SLAB_BYTES);
    assert_int_equal(count_resident(objects, MANY), 0);
    end_bed(&bed);
}

static void slabs_that_are_retired_later_wait_for_a_later_grace_period(void **state)
{
    (void)state;
    static void *early[MANY], *late[MANY];
    struct played_host host = {0};
    struct bed bed = bed_with_header(&host, &cleared);
    struct fl_type type = type_of("object", sizeof(struct object), &cleared);
    struct fl_type larger = type_of("larger", 256, &cleared);
    make_many(bed.thread, &type, MANY, early);
    make_many(bed.thread, &larger, MANY, late);
    dealloc_many(bed.thread, &type, MANY, early);
    fl_thread_flush(bed.thread);
    fl_heap_trim(bed.heap, 0);
    size_t first = stats_of(bed.heap).retired_bytes;
    dealloc_many(bed.thread, &larger, MANY, late);
    fl_thread_flush(bed.thread);
    fl_heap_trim(bed.heap, 0);
    size_t both = stats_of(bed.heap).retired_bytes;
    assert_true(both > first && first > 0);
    host.ended = 1;
    fl_quiescent(bed.thread);
    assert_int_equal(stats_of(bed.heap).retired_bytes, both - first);
    assert_int_equal(count_resident(early, MANY), 0);
    assert_int_equal(count_resident(late, MANY), MANY);
    assert_cleared(late[0]);
    host.ended = 2;
    fl_quiescent(bed.thread);
    assert_int_equal(stats_of(bed.heap).retired_bytes, 0);
    assert_int_equal(count_resident(late, MANY), 0);
    end_bed(&bed);
}

static void where_no_grace_period_can_be_had_retired_slabs_serve_their_class_again(void **state)
{
    (void)state;
    static void *objects[MANY];
    struct played_host host = {.refusal = -ENOMEM};
    struct bed bed = bed_with_header(&host, &cleared);
    struct fl_type type = type_of("object", sizeof(struct object), &cleared);
    make_many(bed.thread, &type, MANY, objects);
    size_t carved = stats_of(bed.heap).classes[fl_size_class(sizeof(struct object))].carved,
           slabs = stats_of(bed.heap).slabs;
    /* One stays, so that a slab that is part-full is among them. */
    dealloc_many(bed.thread, &type, MANY - 1, objects);
    fl_thread_flush(bed.thread);
    fl_heap_trim(bed.heap, 0);
    struct fl_stats stats = stats_of(bed.heap);
    assert_int_equal(stats.retired_bytes, 0);
    assert_int_equal(stats.slabs, slabs);
    assert_int_equal(stats.classes[fl_size_class(sizeof(struct object))].carved, carved);
    assert_int_equal(stats.classes[fl_size_class(sizeof(struct object))].parked, carved - 1);
    assert_true(stats.grace_refusals > 0);
    assert_cleared(objects[0]);
    assert_sound(bed.heap);
    make_many(bed.thread, &type, MANY - 1, objects);
    assert_int_equal(stats_of(bed.heap).slabs, slabs);
    dealloc_many(bed.thread, &type, MANY, objects);
    fl_thread_flush(bed.thread);
    host.refusal = 0;
    fl_heap_trim(bed.heap, 0);
    assert_int_equal(stats_of(bed.heap).slabs, 0);
    end_periods(&host);
    fl_quiescent(bed.thread);
    assert_int_equal(stats_of(bed.heap).retired_bytes, 0);
    end_bed(&bed);
}

static void at_its_limit_a_heap_takes_retired_slabs_of_the_class_back(void **state)
{
    (void)state;
    enum { SLABS = 4, ROOM = SLABS * FLI_SLAB_BYTES / sizeof(struct object) };
    static void *objects[ROOM], *again[ROOM];
    struct played_host host = {0};
    struct bed bed = bed_of_host(
        &host,
        &(struct fl_options){.header = &cleared, .limit_bytes = SLABS * FLI_SLAB_BYTES, .retain_bytes = SIZE_MAX});
    struct fl_type type = type_of("object", sizeof(struct object), &cleared);
    struct fl_type larger = type_of("larger", 1024, &cleared);
    size_t count = 0;
    while ((objects[count] = fl_type_alloc(bed.thread, &type)) != NULL)
        memset(objects[count++], 0xff, sizeof(struct object));
    assert_true(count > ROOM / 2);
    /* One slab or two collect while the others wait: of both, any may be taken back. */
    dealloc_many(bed.thread, &type, count / 2, objects);
    fl_thread_flush(bed.thread);
    fl_heap_trim(bed.heap, 0);
    dealloc_many(bed.thread, &type, count - count / 2, objects + count / 2);
    fl_thread_flush(bed.thread);
    fl_heap_trim(bed.heap, 0);
    assert_int_equal(stats_of(bed.heap).slabs, 0);
    assert_int_equal(stats_of(bed.heap).retired_bytes, SLABS * FLI_SLAB_BYTES);
    /* Another class has to wait for the grace period. */
    assert_null(fl_type_alloc(bed.thread, &larger));
    assert_int_equal(errno, ENOMEM);
    for (size_t i = 0; i < count; i++)
        assert_cleared(objects[i]);

    again[0] = make(bed.thread, &type);
    assert_int_equal(stats_of(bed.heap).retired_bytes, (SLABS - 1) * FLI_SLAB_BYTES);
    make_many(bed.thread, &type, count - 1, again + 1);
    assert_int_equal(stats_of(bed.heap).retired_bytes, 0);
    assert_null(fl_type_alloc(bed.thread, &type));
    assert_sound(bed.heap);
    dealloc_many(bed.thread, &type, count, again);
    let_all_go(&host, bed.thread);
    end_bed(&bed);
}

static void automatic_trims_wait_for_grace_periods_too(void **state)
{
    (void)state;
    enum { CROWD = 60000 };
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host,
                                 &(struct fl_options){.header = &cleared, .retain_bytes = 1, .magazine_blocks = 254});
    struct fl_type type = type_of("object", sizeof(struct object), &cleared);
    void **objects = calloc(CROWD, sizeof *objects);
    assert_non_null(objects);
    spend_many(bed.thread, &type, CROWD, objects);
    struct fl_stats stats = stats_of(bed.heap);
    assert_true(stats.trims > 0);
    assert_true(stats.retired_bytes > CROWD * sizeof(struct object) / 2);
    assert_true(stats.trimmed_bytes < CROWD * sizeof(struct object) / 2);
    assert_int_equal(count_resident(objects, CROWD), CROWD);
    for (unsigned i = 0; i < CROWD; i++)
        assert_cleared(objects[i]);
    assert_sound(bed.heap);
    let_all_go(&host, bed.thread);
    stats = stats_of(bed.heap);
    assert_int_equal(stats.retired_bytes, 0);
    assert_true(stats.trimmed_bytes > CROWD * sizeof(struct object) / 2);
    assert_true(count_resident(objects, CROWD) < CROWD / 4);
    free(objects);
    end_bed(&bed);
}

static void a_trim_waits_for_readers(enum fl_grace grace)
{
    struct bed bed = bed_with(&(struct fl_options){.header = &cleared, .grace = grace, .retain_bytes = SIZE_MAX});
    struct fl_type type = type_of("object", sizeof(struct object), &cleared);
    void *objects[MANY];
    spend_many(bed.thread, &type, MANY, objects);
    assert_true(fl_heap_trim(bed.heap, 0) >= MANY * sizeof(struct object));
    assert_int_equal(count_resident(objects, MANY), 0);
    assert_int_equal(stats_of(bed.heap).retired_bytes, 0);
    end_bed(&bed);
}

static void a_trim_waits_for_a_grace_period_of_qsbr(void **state)
{
    (void)state;
    a_trim_waits_for_readers(FL_GRACE_QSBR);
}

static void a_trim_waits_for_a_grace_period_of_bp(void **state)
{
    (void)state;
    a_trim_waits_for_readers(FL_GRACE_BP);
}

/* ---- Reading while others trim and destroy. */

struct trimmer {
    struct fl_heap *heap;
    size_t returned;
    bool done, destroys;
    pthread_t thread;
};

static void *trim_there(void *argument)
{
    struct trimmer *trimmer = argument;
    trimmer->returned = trimmer->destroys ? (size_t)fl_heap_destroy(trimmer->heap) : fl_heap_trim(trimmer->heap, 0);
    __atomic_store_n(&trimmer->done, true, __ATOMIC_RELAXED);
    return NULL;
}

/* A reader in a section, through a handle of another heap of the kind. */
static void nothing_goes_while_a_reader_looks(enum fl_grace grace, bool destroys)
{
    struct bed bed = bed_with(&(struct fl_options){.header = &cleared, .grace = grace, .retain_bytes = SIZE_MAX});
    struct fl_heap *readers = heap_with(&(struct fl_options){.grace = grace});
    struct fl_type type = type_of("object", sizeof(struct object), &cleared);
    void *objects[MANY];
    make_many(bed.thread, &type, MANY, objects);
    struct lingerer lingerer = {0};
    begin_lingering(&lingerer, readers, grace);
    dealloc_many(bed.thread, &type, MANY, objects);
    assert_int_equal(fl_thread_detach(bed.thread), 0);
    struct trimmer trimmer = {.heap = bed.heap, .destroys = destroys};
    assert_int_equal(pthread_create(&trimmer.thread, NULL, trim_there, &trimmer), 0);
    sleep_ms(400);
    assert_false(__atomic_load_n(&trimmer.done, __ATOMIC_RELAXED));
    for (unsigned i = 0; i < MANY; i++)
        assert_cleared(objects[i]);
    end_lingering(&lingerer);
    assert_int_equal(pthread_join(trimmer.thread, NULL), 0);
    if (destroys)
        assert_int_equal(trimmer.returned, 0);
    else
        assert_true(trimmer.returned >= MANY * sizeof(struct object));
    if (!destroys)
        end_heap(bed.heap);
    end_heap(readers);
}

static void a_trim_leaves_what_a_reader_of_qsbr_looks_at(void **state)
{
    (void)state;
    nothing_goes_while_a_reader_looks(FL_GRACE_QSBR, false);
}

static void a_trim_leaves_what_a_reader_of_bp_looks_at(void **state)
{
    (void)state;
    nothing_goes_while_a_reader_looks(FL_GRACE_BP, false);
}

static void a_destroyed_heap_leaves_what_a_reader_of_qsbr_looks_at(void **state)
{
    (void)state;
    nothing_goes_while_a_reader_looks(FL_GRACE_QSBR, true);
}

static void a_destroyed_heap_leaves_what_a_reader_of_bp_looks_at(void **state)
{
    (void)state;
    nothing_goes_while_a_reader_looks(FL_GRACE_BP, true);
}

/* ---- Large objects. */

static void a_large_object_is_freed_only_after_a_grace_period(void **state)
{
    (void)state;
    void (*const frees[])(struct fl_thread *, void *, const struct fl_type *) = {
        fl_dealloc, fl_type_free, fl_dealloc_deferred, fl_type_free_deferred, free_raw, free_for_unattached};
    struct played_host host = {0};
    struct bed bed = bed_with_header(&host, &cleared);
    struct fl_type type = type_of("large", LARGE, &cleared);
    for (size_t i = 0; i < COUNT_OF(frees); i++) {
        struct object *object = make(bed.thread, &type);
        assert_int_equal(stats_of(bed.heap).large_blocks, 1);
        frees[i](bed.thread, object, &type);
        assert_int_equal(stats_of(bed.heap).large_blocks, 0);
        assert_int_equal(stats_of(bed.heap).deferred_bytes, LARGE);
        assert_cleared(object);
        assert_int_equal(((unsigned char *)object)[LARGE - 1], 0xff);
        let_all_go(&host, bed.thread);
        assert_int_equal(stats_of(bed.heap).deferred_bytes, 0);
        assert_sound(bed.heap);
    }
    /* An offline thread may free one too. */
    struct object *object = make(bed.thread, &type);
    fl_thread_offline(bed.thread);
    fl_heap_free(bed.heap, object);
    assert_cleared(object);
    fl_thread_online(bed.thread);
    let_all_go(&host, bed.thread);
    end_bed(&bed);
}

/* ---- What is refused. */

static int stale_up(void **state)
{
    (void)state;
    misuse = (struct recorded_misuse){0};
    fl_set_misuse_handler(record_misuse);
    return 0;
}

static int stale_down(void **state)
{
    (void)state;
    fl_set_misuse_handler(NULL);
    return 0;
}

static void assert_refused(const char *call)
{
    assert_int_equal(misuse.count, 1);
    assert_string_equal(misuse.call, call);
    misuse.count = 0;
}

static void assert_allocs_refused(struct fl_thread *thread, size_t size, const struct fl_type *bare)
{
    void *blocks[3];
    errno = 0;
    assert_null(fl_alloc(thread, size));
    assert_int_equal(errno, EINVAL);
    assert_refused("fl_alloc");
    assert_null(fl_alloc_zeroed(thread, size));
    assert_refused("fl_alloc_zeroed");
    assert_int_equal(fl_alloc_many(thread, size, COUNT_OF(blocks), blocks), -EINVAL);
    assert_refused("fl_alloc_many");
    assert_null(fl_type_alloc(thread, bare));
    assert_refused("fl_type_alloc");
    assert_string_equal(misuse.type, bare->name);
}

/* What one type of the heap warms, another may not use. */
static void only_objects_of_types_with_its_header_live_on_the_heap(const struct fl_header *header)
{
    struct played_host host = {0};
    struct bed bed = bed_with_header(&host, header);
    struct fl_type type = type_of("object", sizeof(struct object), header);
    struct fl_type bare = type_of("bare", sizeof(struct object), NULL);
    struct fl_type stranger = type_of("stranger", sizeof(struct object), &other);
    for (unsigned round = 0; round < 3; round++) {
        assert_allocs_refused(bed.thread, sizeof(struct object), &bare);
        assert_allocs_refused(bed.thread, LARGE, &bare);
        /* Of types with headers a release build looks at the header where it comes to a slow half. */
        if (round == 0 || FLI_CHECKED) {
            assert_null(fl_type_alloc(bed.thread, &stranger));
            assert_refused("fl_type_alloc");
        }
        /* Warm caches: one with free objects, one with deferred ones that has room for more. */
        struct object *object = make(bed.thread, &type), *held = make(bed.thread, &type);
        fl_dealloc(bed.thread, make(bed.thread, &type), &type);
        fl_dealloc_deferred(bed.thread, object, &type);
        assert_allocs_refused(bed.thread, sizeof(struct object), &bare);
        struct fl_stats before = stats_of(bed.heap);
        fl_free_deferred(bed.thread, held, sizeof(struct object));
        assert_refused("fl_free_deferred");
        fl_dealloc_deferred(bed.thread, held, &bare);
        assert_refused("fl_dealloc_deferred");
        fl_dealloc_deferred(bed.thread, held, &stranger);
        assert_refused("fl_dealloc_deferred");
        fl_type_free_deferred(bed.thread, held, &stranger);
        assert_refused("fl_type_free_deferred");
        fl_dealloc(bed.thread, held, &stranger);
        assert_refused("fl_dealloc");
        fl_type_free(bed.thread, held, &bare);
        assert_refused("fl_type_free");
        assert_untouched(held);
        struct fl_stats after = stats_of(bed.heap);
        assert_int_equal(after.live_blocks, before.live_blocks);
        assert_int_equal(after.deferred_bytes, before.deferred_bytes);
        fl_dealloc_deferred(bed.thread, held, &type);
    }
    let_all_go(&host, bed.thread);
    end_bed(&bed);
}

static void a_heap_that_clears_headers_takes_only_its_types(void **state)
{
    (void)state;
    only_objects_of_types_with_its_header_live_on_the_heap(&cleared);
}

static void a_heap_that_leaves_headers_alone_takes_only_its_types(void **state)
{
    (void)state;
    only_objects_of_types_with_its_header_live_on_the_heap(&kept);
}

static void a_heap_without_stale_readers_refuses_types_with_a_header(void **state)
{
    (void)state;
    const struct fl_header *const headers[] = {&kept, &cleared};
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, NULL);
    struct fl_type plain = type_of("plain", sizeof(struct object), NULL);
    for (size_t i = 0; i < COUNT_OF(headers); i++) {
        struct fl_type type = type_of("object", sizeof(struct object), headers[i]);
        assert_null(fl_type_alloc(bed.thread, &type));
        assert_refused("fl_type_alloc");
        struct object *object = make(bed.thread, &plain), *held = make(bed.thread, &plain);
        fl_dealloc(bed.thread, make(bed.thread, &plain), &plain);
        fl_dealloc_deferred(bed.thread, object, &plain);
        assert_null(fl_type_alloc(bed.thread, &type));
        assert_refused("fl_type_alloc");
        fl_dealloc_deferred(bed.thread, held, &type);
        assert_refused("fl_dealloc_deferred");
        fl_dealloc(bed.thread, held, &type);
        assert_refused("fl_dealloc");
        assert_untouched(held);
        fl_dealloc(bed.thread, held, &plain);
    }
    let_all_go(&host, bed.thread);
    end_bed(&bed);
}

static unsigned cleared_times;

static void note_clear(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread, (void)object, (void)type;
    cleared_times++;
}

static void no_callback_of_a_type_that_is_refused_runs(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_with_header(&host, &cleared);
    struct fl_type type = type_of("object", sizeof(struct object), &cleared);
    struct fl_type stranger = {
        .name = "stranger", .size = sizeof(struct object), .clear = note_clear, .header = &other};
    assert_int_equal(fl_type_ready(&stranger, NULL, NULL, 0), 0);
    struct object *held = make(bed.thread, &type);
    cleared_times = 0;
    fl_dealloc(bed.thread, held, &stranger);
    assert_refused("fl_dealloc");
    fl_dealloc_deferred(bed.thread, held, &stranger);
    assert_refused("fl_dealloc_deferred");
    assert_int_equal(cleared_times, 0);
    assert_untouched(held);
    fl_dealloc(bed.thread, held, &type);
    end_bed(&bed);
}

static void the_header_of_a_large_object_whose_free_is_refused_stays(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_with_header(&host, &cleared);
    struct fl_type type = type_of("large", LARGE, &cleared), larger = type_of("larger", LARGE + 1, &cleared);
    struct object *object = make(bed.thread, &type);
    fl_dealloc(bed.thread, object, &larger);
    assert_refused("fl_dealloc");
    fl_dealloc_deferred(bed.thread, object, &larger);
    assert_refused("fl_dealloc_deferred");
    assert_untouched(object);
    fl_dealloc(bed.thread, object, &type);
    /* It waits: a second free is seen. */
    fl_dealloc(bed.thread, object, &type);
    assert_refused("fl_dealloc");
    fl_heap_free(bed.heap, object);
    assert_refused("fl_heap_free");
    let_all_go(&host, bed.thread);
    end_bed(&bed);
}

/* ---- The limit. */

static void at_the_limit_what_unattached_threads_freed_serves_its_class(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, &(struct fl_options){.header = &cleared, .limit_bytes = FLI_SLAB_BYTES});
    struct fl_type type = type_of("object", FL_BLOCK_MAX, &cleared);
    void *objects[FLI_SLAB_BYTES / FL_BLOCK_MAX]; /* one magazine holds them all */
    make_many(bed.thread, &type, COUNT_OF(objects), objects);
    assert_null(fl_type_alloc(bed.thread, &type));
    for (size_t i = 0; i < COUNT_OF(objects); i++)
        fl_heap_free(bed.heap, objects[i]);
    make_many(bed.thread, &type, COUNT_OF(objects), objects);
    dealloc_many(bed.thread, &type, COUNT_OF(objects), objects);
    end_bed(&bed);
}

#define STALE_TEST(test) cmocka_unit_test_setup_teardown(test, stale_up, stale_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_words_of_the_header_are_cleared_however_an_object_is_freed),
        cmocka_unit_test(a_header_without_words_to_clear_is_left_to_the_host),
        cmocka_unit_test(callbacks_run_before_the_words_are_cleared),
        cmocka_unit_test(a_slab_keeps_its_class_and_its_memory_until_a_grace_period_has_passed),
        cmocka_unit_test(whoever_comes_by_after_the_grace_period_gives_retired_slabs_back),
        cmocka_unit_test(as_many_slabs_as_are_wanted_stay_warm_after_their_grace_period),
        cmocka_unit_test(slabs_that_are_retired_later_wait_for_a_later_grace_period),
        cmocka_unit_test(where_no_grace_period_can_be_had_retired_slabs_serve_their_class_again),
        cmocka_unit_test(at_its_limit_a_heap_takes_retired_slabs_of_the_class_back),
        cmocka_unit_test(automatic_trims_wait_for_grace_periods_too),
        cmocka_unit_test(a_trim_waits_for_a_grace_period_of_qsbr),
        cmocka_unit_test(a_trim_waits_for_a_grace_period_of_bp),
        cmocka_unit_test(a_trim_leaves_what_a_reader_of_qsbr_looks_at),
        cmocka_unit_test(a_trim_leaves_what_a_reader_of_bp_looks_at),
        cmocka_unit_test(a_destroyed_heap_leaves_what_a_reader_of_qsbr_looks_at),
        cmocka_unit_test(a_destroyed_heap_leaves_what_a_reader_of_bp_looks_at),
        cmocka_unit_test(a_large_object_is_freed_only_after_a_grace_period),
        STALE_TEST(a_heap_that_clears_headers_takes_only_its_types),
        STALE_TEST(a_heap_that_leaves_headers_alone_takes_only_its_types),
        STALE_TEST(a_heap_without_stale_readers_refuses_types_with_a_header),
        STALE_TEST(no_callback_of_a_type_that_is_refused_runs),
        STALE_TEST(the_header_of_a_large_object_whose_free_is_refused_stays),
        cmocka_unit_test(at_the_limit_what_unattached_threads_freed_serves_its_class),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
