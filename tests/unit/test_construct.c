/* SPDX-License-Identifier: MIT
 *
 * Constructed objects: arrays of references, whose tables stay when they die. Two handles of one OS thread stand for two
 * threads, as in test_object.c.
 */
/* link: -Wl,--wrap=aligned_alloc */
#include "two.h"

#include <freelane/object.h>

#include "object/keep.h"
#include "object/slots.h"

enum { FIRST_CAPACITY = 8, TABLE = FIRST_CAPACITY * sizeof(void *) };

struct array {
    struct fl_object head;
    size_t used, capacity;
    struct fl_object **items;
};

/* What the callbacks have done, and where. */
static struct {
    unsigned constructed, reset, renewed, cleared;
    pthread_t os_thread;
    struct fl_thread *thread;
} seen;

static bool refuses;

void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    if (!refuses)
        return __real_aligned_alloc(alignment, size);
    errno = ENOMEM;
    return NULL;
}

/* Notes where a callback runs. A lock of the library that were held would be noticed: statistics take them. */
static void note(struct fl_thread *thread, unsigned *times)
{
    struct fl_stats stats;
    fl_heap_stats(fl_thread_heap(thread), &stats);
    seen.os_thread = pthread_self();
    seen.thread = thread;
    ++*times;
}

static bool construct(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct array *array = object;
    EXPECT(array->head.type == type);
    array->items = fl_alloc(thread, TABLE);
    array->used = 0;
    array->capacity = FIRST_CAPACITY;
    seen.constructed++;
    return array->items != NULL;
}

static size_t reset(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct array *array = object;
    (void)type;
    while (array->used > 0)
        fl_decref(thread, array->items[--array->used]);
    seen.reset++;
    return array->capacity * sizeof(void *);
}

static void renew(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct array *array = object;
    (void)thread;
    EXPECT(array->head.type == type && array->used == 0 && array->items != NULL);
    seen.renewed++;
}

static void clear(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct array *array = object;
    (void)type;
    EXPECT(array->used == 0);
    note(thread, &seen.cleared);
    fl_free_sized(thread, array->items, array->capacity * sizeof(void *));
}

enum { ROOM = 3, BOUND = ROOM * (sizeof(struct array) + TABLE) };

#define ARRAY_TYPE(its_name, ...)                                                                                    \
    {                                                                                                                \
        .type = {.name = (its_name), .size = sizeof(struct array), .clear = clear}, .construct = construct,          \
        .reset = reset, .renew = renew, __VA_ARGS__                                                                  \
    }

static struct fl_constructed_type array_type = ARRAY_TYPE("array", .keep_bytes = 1 << 20);
static struct fl_constructed_type few_type = ARRAY_TYPE("few", .keep_bytes = BOUND);
static struct fl_type number_type = {.name = "number", .size = 24, .kind = FL_DEALLOC_PLAIN};

static void ready(struct fl_constructed_type *type, const struct fl_type *base)
{
    char error[256] = "";
    if (!type->type.ready && fl_constructed_type_ready(type, base, error, sizeof error) != 0)
        fail_msg("%s", error);
}

static int two_up(void **state)
{
    ready(&array_type, NULL);
    ready(&few_type, NULL);
    if (!number_type.ready)
        assert_int_equal(fl_object_type_ready(&number_type, NULL, NULL, 0), 0);
    memset(&seen, 0, sizeof seen);
    two_begin(state);
    return 0;
}

static int two_down(void **state)
{
    struct two *two = *state;
    two_detach(two);
    assert_int_equal(stats_of(two->heap).live_blocks, 0);
    two_end(two);
    return 0;
}

static struct array *new_array(struct fl_thread *thread, const struct fl_constructed_type *type)
{
    struct array *array = (struct array *)fl_object_alloc(thread, &type->type);
    assert_non_null(array);
    assert_true(array->used == 0 && array->items != NULL);
    return array;
}

/* Creates so many arrays, and then drops them. */
static void keep_some(struct fl_thread *thread, const struct fl_constructed_type *type, size_t count)
{
    struct array **arrays = malloc(count * sizeof *arrays);
    assert_non_null(arrays);
    for (size_t i = 0; i < count; i++)
        arrays[i] = new_array(thread, type);
    for (size_t i = 0; i < count; i++)
        fl_decref(thread, &arrays[i]->head);
    free(arrays);
}

static void append(struct fl_thread *thread, struct array *array, struct fl_object *item)
{
    assert_true(array->used < array->capacity);
    fl_incref(thread, item);
    array->items[array->used++] = item;
}

/* Makes room in an array for so many items more. */
static void grow_table(struct fl_thread *thread, struct array *array, size_t more)
{
    size_t before = array->capacity * sizeof(void *), bytes = before + more * sizeof(void *);
    array->items = fl_realloc(thread, array->items, before, bytes);
    assert_non_null(array->items);
    array->capacity += more;
}

static size_t bytes_of(const struct array *array)
{
    return sizeof *array + array->capacity * sizeof(void *);
}

static struct fl_object_stats kept_of(struct fl_heap *heap)
{
    struct fl_object_stats stats;
    fl_heap_object_stats(heap, &stats);
    return stats;
}

static size_t live(const struct two *two)
{
    return stats_of(two->heap).live_blocks;
}

/* ---- Many lives. */

static void an_object_is_used_again_with_its_parts(void **state)
{
    struct two *two = *state;
    struct array *array = new_array(two->owner, &array_type);
    struct fl_object **items = array->items;
    fl_decref(two->owner, &array->head);
    assert_int_equal(seen.reset, 1);
    assert_int_equal(seen.renewed, 0);
    for (unsigned i = 1; i <= 10; i++) {
        assert_ptr_equal(new_array(two->owner, &array_type), array);
        assert_ptr_equal(array->items, items);
        assert_int_equal(seen.renewed, i);
        fl_incref(two->owner, &array->head);
        fl_decref(two->owner, &array->head);
        assert_int_equal(seen.reset, i);
        fl_decref(two->owner, &array->head);
        assert_int_equal(seen.reset, i + 1);
    }
    assert_int_equal(seen.constructed, 1);
    assert_int_equal(seen.cleared, 0);
}

static void what_an_object_holds_is_dropped_at_its_death(void **state)
{
    struct two *two = *state;
    struct array *array = new_array(two->owner, &array_type);
    struct fl_object *number = fl_object_alloc(two->owner, &number_type);
    append(two->owner, array, number);
    fl_decref(two->owner, number);
    assert_int_equal(live(two), 3);
    fl_decref(two->owner, &array->head);
    assert_int_equal(live(two), 2);
}

static void the_last_one_is_the_first_to_be_used_again(void **state)
{
    struct two *two = *state;
    struct array *first = new_array(two->owner, &array_type), *second = new_array(two->owner, &array_type);
    fl_decref(two->owner, &first->head);
    fl_decref(two->owner, &second->head);
    assert_ptr_equal(new_array(two->owner, &array_type), second);
    assert_ptr_equal(new_array(two->owner, &array_type), first);
    fl_decref(two->owner, &first->head);
    fl_decref(two->owner, &second->head);
}

static void more_objects_are_kept_than_one_magazine_has_room_for(void **state)
{
    struct two *two = *state;
    enum { MANY = 1000 };
    for (unsigned i = 1; i <= 3; i++) {
        keep_some(two->owner, &array_type, MANY);
        assert_int_equal(kept_of(two->heap).kept, MANY);
        assert_sound(two->heap);
    }
    keep_some(two->owner, &array_type, MANY / 2 + 7);
    assert_int_equal(kept_of(two->heap).kept, MANY);
    assert_int_equal(seen.constructed, MANY);
    assert_int_equal(kept_of(two->heap).renewed, seen.renewed);
}

static void types_have_objects_of_their_own(void **state)
{
    struct two *two = *state;
    static struct fl_constructed_type types[20];
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        if (!types[i].type.ready)
            types[i] = (struct fl_constructed_type)ARRAY_TYPE("one of many", .keep_bytes = 0);
        ready(&types[i], NULL);
        assert_int_equal(types[i].keep_bytes, FL_KEEP_BYTES);
        keep_some(two->owner, &types[i], i + 1);
    }
    assert_int_equal(kept_of(two->heap).kept, 20 * 21 / 2);
    for (size_t i = 0; i < COUNT_OF(types); i++)
        keep_some(two->owner, &types[i], i + 1);
    assert_int_equal(seen.constructed, 20 * 21 / 2);
}

static void threads_keep_objects_of_their_own(void **state)
{
    struct two *two = *state;
    struct array *array = new_array(two->owner, &array_type);
    fl_decref(two->owner, &array->head);
    struct array *others = new_array(two->other, &array_type);
    assert_ptr_not_equal(others, array);
    assert_int_equal(seen.constructed, 2);
    fl_decref(two->other, &others->head);
    assert_int_equal(kept_of(two->heap).kept, 2);
}

static void an_object_that_another_thread_drops_is_kept_by_its_owner(void **state)
{
    struct two *two = *state;
    struct array *array = new_array(two->owner, &array_type);
    fl_decref(two->other, &array->head);
    fl_merge(two->other);
    assert_int_equal(seen.reset, 0);
    fl_merge(two->owner);
    assert_int_equal(seen.reset, 1);
    assert_ptr_equal(new_array(two->owner, &array_type), array);
    fl_decref(two->other, &array->head);
    fl_merge(two->other);
    assert_ptr_equal(new_array(two->owner, &array_type), array); /* its allocation merges */
    fl_incref(two->other, &array->head);
    fl_decref(two->owner, &array->head);
    fl_decref(two->other, &array->head);
    assert_ptr_equal(new_array(two->other, &array_type), array);
    fl_decref(two->other, &array->head);
}

enum { SMALL_STACK = FLI_SANITIZED ? 1 << 20 : 64 << 10, LONG = 100000 };

struct chain {
    struct fl_thread *thread;
    struct array *last;
};

static void *drop_chain(void *argument)
{
    struct chain *chain = argument;
    fl_decref(chain->thread, &chain->last->head); /* the thread that waits for this one lends its handle */
    return NULL;
}

static void run_on_small_stack(void *(*body)(void *), void *argument)
{
    pthread_t thread;
    pthread_attr_t attributes;
    small_stack_init(&attributes, SMALL_STACK);
    assert_int_equal(pthread_create(&thread, &attributes, body, argument), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    pthread_attr_destroy(&attributes);
}

static void a_long_chain_dies_on_a_small_stack(void **state)
{
    struct two *two = *state;
    keep_some(two->owner, &few_type, 1); /* from now on its objects may end the quick way */
    struct chain chain = {two->owner, new_array(two->owner, &few_type)};
    for (int i = 1; i < LONG; i++) {
        struct array *array = new_array(two->owner, &few_type);
        append(two->owner, array, &chain.last->head);
        fl_decref(two->owner, &chain.last->head);
        chain.last = array;
    }
    run_on_small_stack(drop_chain, &chain);
    assert_int_equal(seen.reset, 1 + LONG);
    assert_int_equal(seen.cleared, LONG - ROOM);
    assert_int_equal(live(two), 2 * ROOM);
}

/* ---- Evictions. */

static void a_bound_limits_what_is_kept(void **state)
{
    struct two *two = *state;
    keep_some(two->owner, &few_type, ROOM + 2);
    assert_int_equal(seen.reset, ROOM + 2);
    assert_int_equal(seen.cleared, 2);
    assert_int_equal(live(two), 2 * ROOM);
    assert_int_equal(kept_of(two->heap).kept_bytes, BOUND);
    struct array *array = new_array(two->owner, &few_type);
    array->items = fl_realloc(two->owner, array->items, TABLE, TABLE + sizeof(void *));
    array->capacity++;
    fl_decref(two->owner, &array->head);
    assert_int_equal(seen.cleared, 3);
    assert_int_equal(kept_of(two->heap).kept, ROOM - 1);
}

/* Objects of many sizes fill some magazines, leave, and come back larger. */
static void the_bytes_of_what_is_kept_are_known(void **state)
{
    struct two *two = *state;
    enum { MANY = 400 };
    struct array *arrays[MANY];
    size_t bytes = 0;
    for (unsigned i = 0; i < MANY; i++)
        arrays[i] = new_array(two->owner, &array_type);
    for (unsigned i = 0; i < MANY; i++) {
        grow_table(two->owner, arrays[i], i % 5);
        bytes += bytes_of(arrays[i]);
        fl_decref(two->owner, &arrays[i]->head);
        assert_int_equal(kept_of(two->heap).kept_bytes, bytes);
    }
    assert_sound(two->heap);
    for (unsigned i = 0; i < MANY - 20; i++) {
        arrays[i] = new_array(two->owner, &array_type);
        bytes -= bytes_of(arrays[i]);
        assert_int_equal(kept_of(two->heap).kept_bytes, bytes);
    }
    assert_sound(two->heap);
    for (unsigned i = 0; i < MANY - 20; i++) {
        grow_table(two->owner, arrays[i], i % 3);
        bytes += bytes_of(arrays[i]);
        fl_decref(two->owner, &arrays[i]->head);
        assert_int_equal(kept_of(two->heap).kept_bytes, bytes);
    }
    assert_int_equal(kept_of(two->heap).kept, MANY);
    assert_sound(two->heap);
    fl_thread_flush(two->owner);
    assert_int_equal(kept_of(two->heap).kept_bytes, 0);
}

static void bytes_that_are_wrong_are_noticed(void **state)
{
    struct two *two = *state;
    char error[256];
    keep_some(two->owner, &array_type, 2);
    struct fl_kept *kept = &two->owner->kept[array_type.number];
    fli_store_own(&kept->top[-1].bytes, kept->top[-1].bytes + 1);
    assert_int_equal(fl_heap_check(two->heap, error, sizeof error), 0); /* the last one may be larger */
    fli_store_own(&kept->top[-1].bytes, kept->top[-2].bytes + sizeof(struct array) - 1);
    assert_int_equal(fl_heap_check(two->heap, error, sizeof error), -EUCLEAN);
    assert_contains(error, "'array'");
    fli_store_own(&kept->top[-1].bytes, 2 * kept->top[-2].bytes);
    fli_store_own(&kept->top[-3].bytes, 1);
    assert_int_equal(fl_heap_check(two->heap, error, sizeof error), -EUCLEAN);
    assert_contains(error, "1 bytes of 'array' are kept without objects");
    fli_store_own(&kept->top[-3].bytes, 0);
    assert_sound(two->heap);
}

static void an_object_whose_parts_exceed_the_bound_is_cleared(void **state)
{
    struct two *two = *state;
    struct array *array = new_array(two->owner, &few_type);
    array->items = fl_realloc(two->owner, array->items, TABLE, BOUND);
    array->capacity = BOUND / sizeof(void *);
    fl_decref(two->owner, &array->head);
    assert_int_equal(seen.reset, 1);
    assert_int_equal(seen.cleared, 1);
    assert_int_equal(live(two), 0);
}

static void a_flush_evicts_what_its_thread_keeps(void **state)
{
    struct two *two = *state;
    keep_some(two->owner, &array_type, 300);
    keep_some(two->owner, &few_type, 2);
    fl_thread_flush(two->other);
    assert_int_equal(seen.cleared, 0);
    fl_thread_flush(two->owner);
    assert_int_equal(seen.cleared, 302);
    assert_ptr_equal(seen.thread, two->owner);
    assert_int_equal(live(two), 0);
    assert_int_equal(kept_of(two->heap).kept, 0);
    assert_int_equal(kept_of(two->heap).evicted, 302);
    keep_some(two->owner, &array_type, 1);
    assert_int_equal(kept_of(two->heap).kept, 1);
    assert_int_equal(kept_of(two->heap).evicted, 302);
}

static void *trim(void *heap)
{
    fl_heap_trim(heap, 0);
    return NULL;
}

static void a_trim_evicts_what_its_thread_keeps(void **state)
{
    struct two *two = *state;
    keep_some(two->owner, &array_type, 10);
    keep_some(two->other, &array_type, 5);
    run_on_thread(trim, two->heap);
    assert_int_equal(seen.cleared, 0);
    fl_heap_trim(two->heap, 0);
    assert_int_equal(seen.cleared, 15);
    assert_true(pthread_equal(seen.os_thread, pthread_self()));
    assert_int_equal(live(two), 0);
}

static void an_allocation_that_would_fail_evicts_first(void **state)
{
    (void)state;
    struct bed bed = bed_with(&(struct fl_options){.limit_bytes = 1 << 20});
    memset(&seen, 0, sizeof seen);
    keep_some(bed.thread, &array_type, 1500);
    assert_int_equal(kept_of(bed.heap).kept, 1500);
    void *blocks[64];
    size_t count = 0;
    while (count < COUNT_OF(blocks) && (blocks[count] = fl_alloc(bed.thread, 32768)) != NULL)
        count++;
    assert_int_equal(seen.cleared, 1500);
    assert_ptr_equal(seen.thread, bed.thread);
    assert_int_equal(kept_of(bed.heap).kept, 0);
    assert_true(count >= 28);
    while (count > 0)
        fl_free_sized(bed.thread, blocks[--count], 32768);
    end_bed(&bed);
}

static void a_handle_that_goes_offline_keeps_nothing(void **state)
{
    struct two *two = *state;
    keep_some(two->owner, &array_type, 10);
    struct array *array = new_array(two->owner, &array_type);
    fl_thread_offline(two->owner);
    assert_int_equal(seen.cleared, 9);
    fl_decref(two->other, &array->head);
    fl_merge(two->other);
    assert_int_equal(kept_of(two->heap).kept, 1);
    fl_thread_online(two->owner);
    keep_some(two->owner, &array_type, 10);
    assert_int_equal(kept_of(two->heap).kept, 11);
    assert_int_equal(fl_thread_detach(two->owner), 0);
    two->owner = NULL;
    assert_int_equal(seen.cleared, 19);
    assert_int_equal(kept_of(two->heap).kept, 1);
    assert_int_equal(kept_of(two->heap).evicted, 19);
}

/* Goes offline and comes back, as a host does around what blocks. Then an array lives and dies. */
static void rest_and_keep_one(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)object, (void)type;
    fl_thread_offline(thread);
    fl_thread_online(thread);
    struct fl_object *array = fl_object_alloc(thread, &array_type.type);
    EXPECT(array != NULL);
    fl_decref(thread, array);
}

static void a_handle_that_comes_back_while_it_leaves_keeps_nothing(void **state)
{
    struct two *two = *state;
    static struct fl_type resting = {.name = "resting", .size = 32, .clear = rest_and_keep_one};
    if (!resting.ready)
        assert_int_equal(fl_object_type_ready(&resting, NULL, NULL, 0), 0);
    for (unsigned detaches = 0; detaches < 2; detaches++) {
        fl_decref(two->other, fl_object_alloc(two->owner, &resting)); /* dies when its owner merges */
        fl_merge(two->other);
        if (detaches) {
            assert_int_equal(fl_thread_detach(two->owner), 0);
            two->owner = NULL;
        } else {
            fl_thread_offline(two->owner);
        }
        assert_int_equal(kept_of(two->heap).kept, 0);
        assert_int_equal(seen.cleared, detaches + 1);
        assert_sound(two->heap);
        if (!detaches)
            fl_thread_online(two->owner);
    }
    assert_int_equal(live(two), 0);
}

static void *keep_and_exit(void *argument)
{
    struct two *two = argument;
    struct fl_thread *thread = fl_thread_attach(two->heap);
    struct fl_object *first = fl_object_alloc(thread, &array_type.type);
    struct fl_object *second = fl_object_alloc(thread, &array_type.type);
    EXPECT(first != NULL && second != NULL);
    fl_decref(two->other, second); /* the thread that waits for this one lends its handle */
    fl_merge(two->other);
    fl_decref(thread, first);
    return NULL;
}

static void the_exit_of_a_thread_evicts_what_it_keeps(void **state)
{
    struct two *two = *state;
    run_on_thread(keep_and_exit, two);
    assert_int_equal(seen.cleared, 2);
    assert_false(pthread_equal(seen.os_thread, pthread_self()));
    assert_int_equal(live(two), 0);
}

static atomic_bool counted_enough;

static void *count_kept(void *heap)
{
    while (!atomic_load(&counted_enough))
        (void)kept_of(heap);
    return NULL;
}

/* The sanitizers' builds see to it. */
static void statistics_count_while_threads_begin_to_keep(void **state)
{
    struct two *two = *state;
    pthread_t id;
    atomic_store(&counted_enough, false);
    assert_int_equal(pthread_create(&id, NULL, count_kept, two->heap), 0);
    for (unsigned i = 0; i < 200; i++) {
        struct fl_thread *thread = fl_thread_attach(two->heap);
        assert_non_null(thread);
        keep_some(thread, &array_type, 2);
        usleep(100);
        assert_int_equal(fl_thread_detach(thread), 0);
    }
    atomic_store(&counted_enough, true);
    assert_int_equal(pthread_join(id, NULL), 0);
    assert_int_equal(kept_of(two->heap).evicted, 400);
}

static void a_stopped_flush_leaves_it_to_fl_run_pending(void **state)
{
    struct two *two = *state;
    keep_some(two->owner, &array_type, 300);
    keep_some(two->other, &array_type, 2);
    assert_int_equal(*fl_thread_pending(two->owner), 0);
    fl_heap_flush_stopped(two->heap);
    assert_int_equal(seen.cleared, 0);
    assert_int_equal(kept_of(two->heap).kept, 0);
    assert_sound(two->heap);
    assert_int_equal(*fl_thread_pending(two->owner), 1);
    assert_int_equal(fl_run_pending(two->owner, fl_budget_objects(100)), 1);
    assert_int_equal(seen.cleared, 100);
    assert_int_equal(fl_run_pending(two->owner, fl_budget_objects(1000)), 0);
    assert_int_equal(seen.cleared, 300);
    assert_ptr_equal(seen.thread, two->owner);
    keep_some(two->owner, &array_type, 1);
    assert_int_equal(fl_run_pending(two->other, fl_budget_objects(1000)), 0);
    assert_int_equal(seen.cleared, 302);
    assert_int_equal(seen.reset, 303);
    assert_int_equal(kept_of(two->heap).evicted, 302);
}

/* Of a type whose `clear` has its thread keep others. */
static void clear_and_keep(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    clear(thread, object, type);
    struct fl_object *another = fl_object_alloc(thread, type);
    EXPECT(another != NULL);
    fl_decref(thread, another);
}

static void an_eviction_ends_though_callbacks_keep_others(void **state)
{
    (void)state;
    static struct fl_constructed_type type = ARRAY_TYPE("again", .keep_bytes = 1 << 20);
    type.type.clear = clear_and_keep;
    ready(&type, NULL);
    memset(&seen, 0, sizeof seen);
    struct bed bed = bed_with(NULL);
    keep_some(bed.thread, &type, 10);
    fl_thread_flush(bed.thread);
    fl_heap_trim(bed.heap, 0);
    assert_true(kept_of(bed.heap).kept > 0);
    assert_sound(bed.heap);
    assert_int_equal(fl_thread_detach(bed.thread), 0);
    assert_int_equal(kept_of(bed.heap).kept, 0);
    assert_int_equal(fl_heap_destroy(bed.heap), -EBUSY); /* what the last callbacks kept is pending */
    type.type.clear = clear;
    bed.thread = fl_thread_attach(bed.heap);
    assert_int_equal(fl_run_pending(bed.thread, fl_budget_objects(1000)), 0);
    end_bed(&bed);
}

/* ---- What others see of it. */

struct walk {
    struct fl_object *object;
    unsigned blocks;
    bool found;
};

static bool see(void *context, const struct fl_block *block)
{
    struct walk *walk = context;
    walk->blocks++;
    walk->found |= block->start == walk->object;
    return true;
}

static struct walk walk_for(struct fl_heap *heap, struct array *array)
{
    struct walk walk = {.object = &array->head};
    struct fl_block block;
    assert_int_equal(fl_heap_walk_begin(heap), 0);
    assert_int_equal(fl_heap_walk(heap, see, &walk), 0);
    assert_true(fl_block_at(heap, &array->used, &block));
    assert_int_equal(block.state, walk.found ? FL_BLOCK_LIVE : FL_BLOCK_FREE);
    assert_true(fl_block_at(heap, array->items, &block));
    assert_int_equal(block.state, FL_BLOCK_LIVE);
    assert_int_equal(fl_heap_walk_end(heap), 0);
    return walk;
}

static void a_walk_does_not_see_a_kept_object(void **state)
{
    struct two *two = *state;
    struct array *array = new_array(two->owner, &array_type);
    keep_some(two->owner, &array_type, 300);
    assert_true(walk_for(two->heap, array).found);
    fl_decref(two->owner, &array->head);
    struct walk walk = walk_for(two->heap, array);
    assert_false(walk.found);
    assert_int_equal(walk.blocks, 301); /* the tables */
    assert_ptr_equal(new_array(two->owner, &array_type), array);
    assert_true(walk_for(two->heap, array).found);
    fl_decref(two->owner, &array->head);
}

static void kept_objects_are_counted(void **state)
{
    struct two *two = *state;
    struct fl_object_stats stats = kept_of(two->heap);
    assert_true(stats.kept == 0 && stats.kept_bytes == 0 && stats.renewed == 0 && stats.evicted == 0);
    keep_some(two->owner, &array_type, 4);
    keep_some(two->other, &few_type, 1);
    keep_some(two->owner, &array_type, 2);
    stats = kept_of(two->heap);
    assert_int_equal(stats.kept, 5);
    assert_int_equal(stats.kept_bytes, 5 * (sizeof(struct array) + TABLE));
    assert_int_equal(stats.renewed, 2);
    assert_int_equal(stats.evicted, 0);
    assert_int_equal(fl_thread_detach(two->owner), 0);
    two->owner = NULL;
    stats = kept_of(two->heap);
    assert_int_equal(stats.kept, 1);
    assert_int_equal(stats.renewed, 2);
    assert_int_equal(stats.evicted, 4);
}

/* The block and the table stay what they were when they were made, whatever lives the object has. */
static void a_profile_has_a_kept_object_as_it_was_made(void **state)
{
    struct two *two = *state;
    char *json = NULL;
    size_t size = 0;
    assert_int_equal(fl_profile_start(two->heap, &(struct fl_profile_options){.mean_bytes = 1}), 0);
    for (unsigned lives = 0; lives < 3; lives++)
        keep_some(two->owner, &array_type, 2);
    FILE *stream = open_memstream(&json, &size);
    assert_int_equal(fl_profile_print(two->heap, stream, FL_PROFILE_JSON), 0);
    fclose(stream);
    assert_contains(json, "\"type\": \"array\", \"live_samples\": 2, \"live_count\": 2,");
    free(json);
    fl_thread_flush(two->owner);
    stream = open_memstream(&json, &size);
    assert_int_equal(fl_profile_print(two->heap, stream, FL_PROFILE_JSON), 0);
    fclose(stream);
    assert_contains(
        json, "\"type\": \"array\", \"live_samples\": 0, \"live_count\": 0, \"live_bytes\": 0, \"samples\": 2,");
    free(json);
    assert_int_equal(fl_profile_stop(two->heap), 0);
}

static void they_are_reported(void **state)
{
    struct two *two = *state;
    char text[512] = "", *end = NULL;
    size_t size = 0;
    keep_some(two->owner, &array_type, 4);
    keep_some(two->owner, &array_type, 3);
    FILE *stream = fmemopen(text, sizeof text, "w");
    assert_int_equal(fl_heap_print_object_stats(two->heap, stream, FL_STATS_TEXT), 0);
    fclose(stream);
    assert_contains(text, "kept                                4\n");
    assert_contains(text, "renewed                             3\n");
    stream = open_memstream(&end, &size);
    assert_int_equal(fl_heap_print_object_stats(two->heap, stream, FL_STATS_JSON), 0);
    fclose(stream);
    assert_string_equal(end, "{\n  \"overflows\": 0,\n  \"refused\": 0,\n  \"kept\": 4,\n  \"kept_bytes\": 416,\n"
                             "  \"renewed\": 3,\n  \"evicted\": 0\n}\n");
    free(end);
    stream = fopen("/dev/full", "w");
    assert_int_equal(fl_heap_print_object_stats(two->heap, stream, FL_STATS_TEXT), -EIO);
    fclose(stream);
}

/* ---- Forks. */

static void use_the_child(void *argument)
{
    struct two *two = argument;
    EXPECT(kept_of(two->heap).kept == 10);
    struct fl_object *object = fl_object_alloc(two->owner, &array_type.type);
    EXPECT(object != NULL && seen.renewed == 1);
    fl_decref(two->owner, object);
    EXPECT_SOUND(two->heap);
    EXPECT(*fl_thread_pending(two->owner) != 0);
    EXPECT(fl_run_pending(two->owner, fl_budget_objects(1000)) == 0);
    EXPECT(seen.cleared == 200);
    EXPECT_SOUND(two->heap);
    EXPECT(fl_thread_detach(two->owner) == 0 && fl_thread_detach(two->other) == 0);
    EXPECT(seen.cleared == 210);
    EXPECT(fl_heap_destroy(two->heap) == 0);
}

/* What the thread of the test forks beside. */
struct beside {
    struct two *two;
    pthread_barrier_t ready, done;
};

static void *keep_beside(void *argument)
{
    struct beside *beside = argument;
    struct fl_thread *thread = fl_thread_attach(beside->two->heap);
    struct fl_object *objects[200];
    for (size_t i = 0; i < COUNT_OF(objects); i++)
        EXPECT((objects[i] = fl_object_alloc(thread, &array_type.type)) != NULL);
    for (size_t i = 0; i < COUNT_OF(objects); i++)
        fl_decref(thread, objects[i]);
    pthread_barrier_wait(&beside->ready);
    pthread_barrier_wait(&beside->done);
    return NULL;
}

static void a_child_keeps_its_own_and_is_left_what_others_kept(void **state)
{
    struct beside beside = {.two = *state};
    pthread_t thread;
    keep_some(beside.two->owner, &array_type, 10);
    pthread_barrier_init(&beside.ready, NULL, 2);
    pthread_barrier_init(&beside.done, NULL, 2);
    assert_int_equal(pthread_create(&thread, NULL, keep_beside, &beside), 0);
    pthread_barrier_wait(&beside.ready);
    assert_int_equal(kept_of(beside.two->heap).kept, 210);
    assert_child_succeeds(use_the_child, beside.two);
    fl_heap_fork_stopped(beside.two->heap);
    assert_child_succeeds(use_the_child, beside.two);
    pthread_barrier_wait(&beside.done);
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&beside.ready);
    pthread_barrier_destroy(&beside.done);
    assert_int_equal(seen.cleared, 200);
}

/* ---- Objects that end later, and stale readers. */

static void objects_that_end_later_are_reset_later(void **state)
{
    (void)state;
    struct bed of_code = bed_with(&(struct fl_options){.later = FL_LATER_CODE});
    memset(&seen, 0, sizeof seen);
    keep_some(of_code.thread, &array_type, 3);
    assert_int_equal(seen.reset, 3); /* the type is CLEAR, and so is a subtype */
    static struct fl_constructed_type sub = {.type = {.name = "sub of code"}};
    ready(&sub, &array_type.type);
    keep_some(of_code.thread, &sub, 2);
    assert_int_equal(seen.reset, 5);
    end_bed(&of_code);
    struct bed bed = bed_with(&(struct fl_options){.later = FL_LATER_ALL});
    memset(&seen, 0, sizeof seen);
    keep_some(bed.thread, &array_type, 3);
    assert_int_equal(seen.reset, 0);
    assert_int_equal(fl_run_pending(bed.thread, fl_budget_objects(10)), 0);
    assert_int_equal(seen.reset, 3);
    assert_int_equal(kept_of(bed.heap).kept, 3);
    fl_thread_flush(bed.thread);
    assert_int_equal(seen.cleared, 0);
    assert_int_equal(fl_run_pending(bed.thread, fl_budget_objects(10)), 0);
    assert_int_equal(seen.cleared, 3);
    assert_int_equal(stats_of(bed.heap).live_blocks, 0);
    end_bed(&bed);
}

/* On a heap with stale readers all blocks are objects of types: these have no parts. */
static bool construct_alone(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread, (void)object, (void)type;
    return true;
}

static size_t reset_alone(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread, (void)object, (void)type;
    return 0;
}

static void nothing(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread, (void)object, (void)type;
}

static void a_reader_takes_no_reference_to_a_kept_object(void **state)
{
    (void)state;
    struct bed bed = bed_with(&(struct fl_options){.grace = FL_GRACE_BP, .header = &fl_object_header});
    struct fl_thread *reader = fl_thread_attach(bed.heap);
    static struct fl_constructed_type type = {
        .type = {.name = "read", .size = 64, .clear = nothing, .header = &fl_object_header},
        .construct = construct_alone,
        .reset = reset_alone,
        .renew = nothing};
    ready(&type, NULL);
    struct fl_object *object = fl_object_alloc(bed.thread, &type.type), *place = object;
    assert_non_null(object);
    fl_publish(object);
    assert_true(fl_try_incref(reader, object, &place));
    fl_decref(reader, object);
    fl_decref(bed.thread, object);
    assert_int_equal(kept_of(bed.heap).kept, 1);
    assert_false(fl_try_incref(reader, object, &place));
    assert_false(fl_try_incref(bed.thread, object, &place));
    assert_ptr_equal(fl_object_alloc(bed.thread, &type.type), object);
    assert_false(fl_try_incref(reader, object, &place)); /* it is not published anew */
    fl_decref(bed.thread, object);
    assert_int_equal(fl_thread_detach(reader), 0);
    end_bed(&bed);
}

/* ---- Refused memory, bad input, misuse. */

static bool construct_nothing(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread, (void)object, (void)type;
    return false;
}

static void an_object_that_is_not_constructed_is_none(void **state)
{
    struct two *two = *state;
    static struct fl_constructed_type type = ARRAY_TYPE("refused", .keep_bytes = 0);
    type.construct = construct_nothing;
    ready(&type, NULL);
    errno = 0;
    assert_null(fl_object_alloc(two->owner, &type.type));
    assert_int_equal(errno, ENOMEM);
    assert_int_equal(live(two), 0);
    assert_int_equal(seen.reset + seen.cleared, 0);
}

static void without_memory_nothing_is_kept(void **state)
{
    struct two *two = *state;
    refuses = true;
    errno = 7;
    keep_some(two->owner, &array_type, 2);
    assert_int_equal(errno, 7);
    refuses = false;
    assert_int_equal(seen.cleared, 2);
    assert_int_equal(live(two), 0);
    keep_some(two->owner, &array_type, 2);
    assert_int_equal(seen.cleared, 2);
}

/* The type is refused with a message that names it and says `what`. */
static void assert_refused(struct fl_constructed_type type, const struct fl_type *base, const char *what)
{
    char error[256] = "";
    struct fl_constructed_type before = type;
    assert_int_equal(fl_constructed_type_ready(&type, base, error, sizeof error), -EINVAL);
    assert_memory_equal(&type, &before, sizeof type);
    assert_contains(error, "'array'");
    assert_contains(error, what);
}

static bool finalize(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread, (void)object, (void)type;
    return false;
}

static void a_type_that_makes_no_sense_is_refused(void **state)
{
    (void)state;
    static struct fl_type final = {.name = "final", .size = 32, .finalize = finalize};
    if (!final.ready)
        assert_int_equal(fl_object_type_ready(&final, NULL, NULL, 0), 0);
    const struct fl_constructed_type good = ARRAY_TYPE("array", .keep_bytes = 0);
    struct fl_constructed_type bad = good;
    bad.reset = NULL;
    assert_refused(bad, NULL, "has a 'renew' but no 'reset'");
    assert_refused(bad, &array_type.type, "has a 'renew' but no 'reset'");
    bad.renew = NULL;
    assert_refused(bad, NULL, "neither a 'reset' nor a 'renew'");
    bad.reset = reset;
    assert_refused(bad, NULL, "has a 'reset' but no 'renew'");
    bad = good;
    bad.construct = NULL;
    assert_refused(bad, NULL, "has no 'construct'");
    bad = good;
    bad.type.clear = NULL;
    assert_refused(bad, NULL, "has no 'clear'");
    bad = good;
    bad.type.finalize = finalize;
    assert_refused(bad, NULL, "has a 'finalize'");
    bad = good;
    bad.type.kind = FL_DEALLOC_PLAIN;
    assert_refused(bad, NULL, "is constructed, and therefore CLEAR");
    assert_refused(good, &final, "its base 'final' does not allow");
    bad = good;
    bad.type.flags = FL_TYPE_VARIABLE;
    assert_refused(bad, NULL, "FL_TYPE_VARIABLE");
    bad.type.flags = 0x4000;
    assert_refused(bad, NULL, "unknown flags");
    bad = good;
    bad.type.size = FL_BLOCK_MAX + 1;
    assert_refused(bad, NULL, "above FL_BLOCK_MAX");
    bad.type.size = 8;
    assert_refused(bad, NULL, "less than the header");
    bad = good;
    bad.keep_bytes = sizeof(struct array) - 1;
    assert_refused(bad, NULL, "keeps 39 bytes, less than the 40 of one object");
}

static void a_subtype_takes_what_it_leaves_out(void **state)
{
    struct two *two = *state;
    static struct fl_constructed_type sub = {.type = {.name = "sub", .size = sizeof(struct array) + 8}};
    static struct fl_type plain = {.name = "plain sub", .size = sizeof(struct array)};
    char error[256] = "";
    ready(&sub, &few_type.type);
    assert_int_equal(sub.keep_bytes, BOUND);
    keep_some(two->owner, &sub, 2);
    keep_some(two->owner, &few_type, 1);
    keep_some(two->owner, &sub, 2);
    assert_int_equal(seen.constructed, 3);
    assert_int_equal(fl_object_type_ready(&plain, &few_type.type, error, sizeof error), -EINVAL);
    assert_contains(error, "'plain sub' has the constructed base 'few'");
}

static void a_kept_object_has_no_reference(void **state)
{
    struct two *two = *state;
    struct array *array = new_array(two->owner, &array_type);
    fl_decref(two->owner, &array->head);
    fl_decref(two->owner, &array->head);
    assert_misuse("fl_decref", array, "has no reference");
    assert_int_equal(kept_of(two->heap).kept, 1);
    assert_ptr_equal(new_array(two->owner, &array_type), array);
    fl_decref(two->owner, &array->head);
}

static void a_constructed_object_cannot_be_deferred(void **state)
{
    (void)state;
    struct bed bed = bed_with(&(struct fl_options){.grace = FL_GRACE_BP});
    struct array *array = new_array(bed.thread, &array_type);
    fl_dealloc_deferred(bed.thread, array, &array_type.type);
    assert_misuse("fl_dealloc_deferred", array, "cannot be deferred");
    fl_decref(bed.thread, &array->head);
    end_bed(&bed);
}

static void a_walk_and_an_allocation_do_not_go_together(void **state)
{
    struct two *two = *state;
    if (!FLI_CHECKED)
        skip(); /* checked builds notice */
    keep_some(two->owner, &array_type, 2);
    assert_int_equal(fl_heap_walk_begin(two->heap), 0);
    assert_null(fl_object_alloc(two->owner, &array_type.type));
    assert_misuse("fl_type_alloc", NULL, "while it is walked");
    assert_int_equal(fl_heap_walk_end(two->heap), 0);
    assert_int_equal(kept_of(two->heap).kept, 2);
}

static void clear_and_detach(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    clear(thread, object, type);
    EXPECT(fl_thread_detach(thread) == -EINVAL);
}

static size_t reset_and_detach(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    EXPECT(fl_thread_detach(thread) == -EINVAL);
    return reset(thread, object, type);
}

static void a_callback_must_not_detach_its_handle(void **state)
{
    if (!stacks_can_be_read())
        skip();
    struct two *two = *state;
    static struct fl_constructed_type type = ARRAY_TYPE("detaching", .keep_bytes = 1 << 20);
    ready(&type, NULL);
    type.reset = reset_and_detach;
    for (unsigned i = 0; i < 2; i++) { /* the second time, it ends the quick way */
        keep_some(two->owner, &type, 1);
        assert_misuse("fl_thread_detach", two->owner, "is destroying an object");
    }
    type.reset = reset;
    type.type.clear = clear_and_detach;
    fl_thread_flush(two->owner);
    assert_misuse("fl_thread_detach", two->owner, "is destroying an object");
    type.type.clear = clear;
    assert_int_equal(live(two), 0);
}

/* ---- Callbacks that are left. */

static jmp_buf away;

static size_t leave(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread, (void)object, (void)type;
    longjmp(away, 1);
}

static void a_reset_that_is_left_leaves_the_object(void **state)
{
    struct two *two = *state;
    static struct fl_constructed_type type = ARRAY_TYPE("left", .keep_bytes = 1 << 20);
    ready(&type, NULL);
    keep_some(two->owner, &type, 2);
    struct array *volatile array = new_array(two->owner, &type);
    type.reset = leave;
    if (setjmp(away) == 0)
        fl_decref(two->owner, &array->head);
    type.reset = reset;
    fl_thread_unwound(two->owner);
    assert_int_equal(kept_of(two->heap).kept, 1);
    assert_sound(two->heap);
    fl_dealloc(two->owner, array, &type.type);
    assert_int_equal(kept_of(two->heap).kept, 2);
    keep_some(two->owner, &type, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TWO_TEST(an_object_is_used_again_with_its_parts),
        TWO_TEST(what_an_object_holds_is_dropped_at_its_death),
        TWO_TEST(the_last_one_is_the_first_to_be_used_again),
        TWO_TEST(more_objects_are_kept_than_one_magazine_has_room_for),
        TWO_TEST(types_have_objects_of_their_own),
        TWO_TEST(threads_keep_objects_of_their_own),
        TWO_TEST(an_object_that_another_thread_drops_is_kept_by_its_owner),
        TWO_TEST(a_long_chain_dies_on_a_small_stack),
        TWO_TEST(a_bound_limits_what_is_kept),
        TWO_TEST(the_bytes_of_what_is_kept_are_known),
        TWO_TEST(bytes_that_are_wrong_are_noticed),
        TWO_TEST(an_object_whose_parts_exceed_the_bound_is_cleared),
        TWO_TEST(a_flush_evicts_what_its_thread_keeps),
        TWO_TEST(a_trim_evicts_what_its_thread_keeps),
        TWO_TEST(an_allocation_that_would_fail_evicts_first),
        TWO_TEST(a_handle_that_goes_offline_keeps_nothing),
        TWO_TEST(a_handle_that_comes_back_while_it_leaves_keeps_nothing),
        TWO_TEST(the_exit_of_a_thread_evicts_what_it_keeps),
        TWO_TEST(statistics_count_while_threads_begin_to_keep),
        TWO_TEST(a_stopped_flush_leaves_it_to_fl_run_pending),
        TWO_TEST(an_eviction_ends_though_callbacks_keep_others),
        TWO_TEST(a_walk_does_not_see_a_kept_object),
        TWO_TEST(kept_objects_are_counted),
        TWO_TEST(a_profile_has_a_kept_object_as_it_was_made),
        TWO_TEST(they_are_reported),
        TWO_TEST(a_child_keeps_its_own_and_is_left_what_others_kept),
        TWO_TEST(objects_that_end_later_are_reset_later),
        TWO_TEST(a_reader_takes_no_reference_to_a_kept_object),
        TWO_TEST(an_object_that_is_not_constructed_is_none),
        TWO_TEST(without_memory_nothing_is_kept),
        TWO_TEST(a_type_that_makes_no_sense_is_refused),
        TWO_TEST(a_subtype_takes_what_it_leaves_out),
        TWO_TEST(a_kept_object_has_no_reference),
        TWO_TEST(a_constructed_object_cannot_be_deferred),
        TWO_TEST(a_walk_and_an_allocation_do_not_go_together),
        TWO_TEST(a_callback_must_not_detach_its_handle),
        TWO_TEST(a_reset_that_is_left_leaves_the_object),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
