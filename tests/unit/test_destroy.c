/* SPDX-License-Identifier: MIT
 *
 * Destruction: graphs of dead objects die on a small stack, in the order that the contract names, whatever memory is
 * refused, and however a callback is left.
 */
/* link: -Wl,--wrap=mmap -Wl,--wrap=mprotect */
#include "fiber.h"
#include "grace_support.h"
#include "graph.h"
#include "refusal.h"

#include "heap/dead.h"

enum {
    SMALL_STACK = FLI_SANITIZED ? 1 << 20 : 64 << 10,
    /* As many levels of hand-written recursion need more than the small stack. */
    DEEP = FLI_SANITIZED ? 50000 : 10000,
    MANY = FLI_RARE_PATHS ? DEEP : 1000000,
};

_Static_assert((int)DEEP * 32 > (int)SMALL_STACK, "recursion would be noticed");

/* ---- Graphs. */

/* What the callbacks saw. */
static struct {
    uint64_t ended;
    uint64_t order[64]; /* the numbers of the first that ended */
    void (*act)(struct fl_thread *thread, struct node *node);
} seen;

static int forget(void **state)
{
    memset(&seen, 0, sizeof seen);
    refuses = false;
    refused = 0;
    return bed_up(state);
}

#define DESTROY_TEST(test) cmocka_unit_test_setup_teardown(test, forget, bed_down)

static void end_node(struct fl_thread *thread, struct node *node)
{
    struct node *next = node->next, *other = node->other;
    if (seen.ended < COUNT_OF(seen.order))
        seen.order[seen.ended] = node->number;
    seen.ended++;
    if (seen.act != NULL)
        seen.act(thread, node);
    node->next = node->other = NULL;
    drop(thread, next);
    drop(thread, other);
}

static void clear_node(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    assert_ptr_equal(((struct node *)object)->type, type);
    assert_int_equal(((struct node *)object)->count, 0);
    end_node(thread, object);
}

static bool finalize_node(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread, (void)type;
    return ((struct node *)object)->count != 0; /* never, but of a node that was told to live on */
}

static void dealloc_node(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    end_node(thread, object);
    fl_type_free(thread, object, type);
}

#define WORDS .flags = FL_TYPE_HAS_WORDS, .words_offset = offsetof(struct node, count)

static struct fl_type cleared = {.name = "cleared", .size = sizeof(struct node), .clear = clear_node, WORDS};
static struct fl_type finalized = {
    .name = "finalized", .size = sizeof(struct node), .finalize = finalize_node, .clear = clear_node, WORDS};
static struct fl_type legacy = {.name = "legacy", .size = sizeof(struct node), .dealloc = dealloc_node};
static struct fl_type plain = {.name = "plain", .size = sizeof(struct node), .kind = FL_DEALLOC_PLAIN};
static struct fl_type wordless = {.name = "wordless", .size = sizeof(struct node), .clear = clear_node};
static struct fl_type at_once = {
    .name = "at once", .size = sizeof(struct node), .clear = clear_node, .flags = FL_TYPE_AT_ONCE};
static struct fl_type huge = {.name = "huge", .size = 40000, .clear = clear_node, WORDS};

static int make_types_ready(void **state)
{
    (void)state;
    struct fl_type *const types[] = {&cleared, &finalized, &legacy, &plain, &wordless, &at_once, &huge};
    for (size_t i = 0; i < COUNT_OF(types); i++)
        assert_int_equal(fl_type_ready(types[i], NULL, NULL, 0), 0);
    return 0;
}

/* A chain whose nodes have the types in turns. */
static struct node *new_chain(struct fl_thread *thread, size_t length, const struct fl_type *const *types,
                              size_t count)
{
    struct node *chain = NULL;
    for (size_t i = length; i-- > 0;)
        chain = new_node(thread, types[i % count], i, chain);
    return chain;
}

static struct node *new_tree(struct fl_thread *thread, uint64_t number, uint64_t size)
{
    if (number > size)
        return NULL;
    struct node *node = new_node(thread, number % 3 == 0 ? &finalized : &cleared, number, NULL);
    node->next = new_tree(thread, 2 * number, size);
    node->other = new_tree(thread, 2 * number + 1, size);
    return node;
}

/* An array holds its nodes by their `other`. */
static void clear_array(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)type;
    struct node *array = object;
    for (struct node *node = array->other, *next; node != NULL; node = next) {
        next = node->other;
        node->other = NULL;
        drop(thread, node);
    }
}

static struct fl_type array_type = {.name = "array", .size = sizeof(struct node), .clear = clear_array};

static struct node *new_array(struct fl_thread *thread, const struct fl_type *type, size_t length)
{
    if (!array_type.ready)
        assert_int_equal(fl_type_ready(&array_type, NULL, NULL, 0), 0);
    return new_holder(thread, &array_type, type, length);
}

/* ---- On a small stack. */

static struct {
    struct fl_heap *heap;
    struct node *root;
} small;

static void *destroy_root(void *thread)
{
    struct fl_thread *own = thread != NULL ? thread : fl_thread_attach(small.heap);
    drop(own, small.root);
    if (thread == NULL)
        fl_thread_detach(own);
    return NULL;
}

static void run_on_small_stack(void *(*body)(void *), void *argument)
{
    pthread_t id;
    pthread_attr_t attributes;
    small_stack_init(&attributes, SMALL_STACK);
    assert_int_equal(pthread_create(&id, &attributes, body, argument), 0);
    assert_int_equal(pthread_join(id, NULL), 0);
    pthread_attr_destroy(&attributes);
}

static void assert_dies_on_small_stack(struct bed *bed, struct node *root)
{
    small.heap = bed->heap;
    small.root = root;
    run_on_small_stack(destroy_root, NULL);
    assert_int_equal(stats_of(bed->heap).live_blocks, 0);
    assert_sound(bed->heap);
}

static void a_chain_dies_on_a_small_stack(void **state)
{
    struct bed *bed = *state;
    assert_dies_on_small_stack(bed, new_chain(bed->thread, MANY, (const struct fl_type *[]){&cleared}, 1));
    assert_int_equal(seen.ended, MANY);
}

static void a_chain_that_alternates_the_kinds_dies_on_a_small_stack(void **state)
{
    struct bed *bed = *state;
    const struct fl_type *const types[] = {&cleared, &legacy, &finalized, &legacy, &wordless};
    assert_dies_on_small_stack(bed, new_chain(bed->thread, MANY, types, COUNT_OF(types)));
    assert_int_equal(seen.ended, MANY);
    /* It may begin with any of them. */
    assert_dies_on_small_stack(bed, new_chain(bed->thread, MANY, types + 1, 2));
}

static void a_tree_dies_on_a_small_stack(void **state)
{
    struct bed *bed = *state;
    assert_dies_on_small_stack(bed, new_tree(bed->thread, 1, MANY));
    assert_int_equal(seen.ended, MANY);
}

static void an_array_dies_on_a_small_stack(void **state)
{
    struct bed *bed = *state;
    assert_dies_on_small_stack(bed, new_array(bed->thread, &wordless, MANY));
    assert_int_equal(seen.ended, MANY);
    assert_dies_on_small_stack(bed, new_array(bed->thread, &plain, MANY));
    assert_int_equal(seen.ended, MANY);
}

static void all_of_them_die_with_every_mapping_refused(void **state)
{
    struct bed *bed = *state;
    const struct fl_type *const types[] = {&cleared, &legacy, &finalized};
    struct node *roots[] = {new_tree(bed->thread, 1, MANY), new_chain(bed->thread, MANY, types, 3),
                            new_array(bed->thread, &finalized, MANY),
                            new_chain(bed->thread, 100, &(const struct fl_type *){&huge}, 1)};
    for (size_t i = 0; i < COUNT_OF(roots); i++) {
        refuses = true;
        small.root = roots[i];
        run_on_thread(destroy_root, bed->thread);
        refuses = false;
        assert_sound(bed->heap);
    }
    assert_int_equal(seen.ended, 3 * MANY + 100);
    assert_true(refused > 0);
    assert_int_equal(stats_of(bed->heap).live_blocks, 0);
}

static void deep_children_of_a_wide_array_are_linked_if_memory_is_refused(void **state)
{
    struct bed *bed = *state;
    enum { WIDTH = MANY };
    struct node *array = new_array(bed->thread, &cleared, WIDTH);
    for (struct node *node = array->other; node != NULL; node = node->other)
        if (node->number >= WIDTH - 2)
            node->next = new_chain(bed->thread, DEEP, &(const struct fl_type *){&cleared}, 1);
    fl_thread_flush(bed->thread);
    fl_heap_trim(bed->heap, 0);
    refuses = true;
    small.root = array;
    run_on_small_stack(destroy_root, bed->thread);
    refuses = false;
    assert_true(refused > 0);
    assert_int_equal(seen.ended, WIDTH + 2 * DEEP);
}

static void without_words_or_memory_an_object_ends_where_it_is_dropped(void **state)
{
    struct bed *bed = *state;
    struct node *array = new_array(bed->thread, &wordless, MANY);
    refuses = true;
    drop(bed->thread, array);
    refuses = false;
    assert_int_equal(seen.ended, MANY);
    assert_true(refused > 0);
}

/* ---- The order. */

static void assert_order(const uint64_t *numbers, size_t count)
{
    assert_int_equal(seen.ended, count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(seen.order[i], numbers[i]);
}

static size_t live_at[8];

static void note_live(struct fl_thread *thread, struct node *node)
{
    if (node->number < COUNT_OF(live_at))
        live_at[node->number] = stats_of(fl_thread_heap(thread)).live_blocks;
}

static void a_parent_is_freed_before_its_children_are_destroyed(void **state)
{
    struct bed *bed = *state;
    seen.act = note_live;
    drop(bed->thread, new_chain(bed->thread, 3, (const struct fl_type *[]){&cleared, &finalized, &cleared}, 3));
    assert_order((uint64_t[]){0, 1, 2}, 3);
    assert_int_equal(live_at[0], 3);
    assert_int_equal(live_at[1], 2);
    assert_int_equal(live_at[2], 1);
}

static void a_type_may_ask_for_children_that_end_before_their_parent_is_freed(void **state)
{
    struct bed *bed = *state;
    seen.act = note_live;
    drop(bed->thread, new_chain(bed->thread, 3, (const struct fl_type *[]){&at_once}, 1));
    assert_order((uint64_t[]){0, 1, 2}, 3);
    assert_int_equal(live_at[1], 3);
    assert_int_equal(live_at[2], 3);
    /* Also inside the drain of another object. */
    seen.ended = 0;
    drop(bed->thread, new_chain(bed->thread, 3, (const struct fl_type *[]){&cleared, &at_once, &cleared}, 3));
    assert_int_equal(live_at[1], 3);
    assert_int_equal(live_at[2], 1);
}

static void the_last_that_was_dropped_ends_first_but_for_a_window(void **state)
{
    struct bed *bed = *state;
    enum { COUNT = FLI_DEAD_WINDOW + 2 };
    uint64_t expected[COUNT] = {1, 0};
    for (uint64_t i = 2; i < FLI_DEAD_WINDOW; i++)
        expected[i] = FLI_DEAD_WINDOW + 1 - i;
    expected[COUNT - 2] = COUNT - 1;
    expected[COUNT - 1] = COUNT - 2;
    drop(bed->thread, new_array(bed->thread, &cleared, COUNT));
    assert_order(expected, COUNT);
}

static void what_came_into_the_window_first_leaves_it_first(void **state)
{
    struct bed *bed = *state;
    enum { COUNT = FLI_DEAD_WINDOW + 2 };
    struct node *array = new_array(bed->thread, &cleared, COUNT);
    for (struct node *node = array->other; node != NULL; node = node->other)
        if (node->number == 1) /* the first that ends: what it drops moves object 2 out of the window */
            node->next = new_node(bed->thread, &cleared, COUNT, NULL);
    drop(bed->thread, array);
    assert_int_equal(seen.ended, COUNT + 1);
    assert_int_equal(seen.order[0], 1);
    assert_int_equal(seen.order[1], 2);
    assert_int_equal(seen.order[2], 0);
}

/* ---- Finalizers. */

static struct node *risen;

static bool resurrect(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread, (void)type;
    risen = object;
    return true;
}

static void a_resurrected_object_keeps_its_children(void **state)
{
    struct bed *bed = *state;
    struct fl_type phoenix = {.name = "phoenix",
                              .size = sizeof(struct node),
                              .finalize = resurrect,
                              .clear = clear_node,
                              .finalized_offset = offsetof(struct node, number),
                              .finalized_mask = 1};
    assert_int_equal(fl_type_ready(&phoenix, NULL, NULL, 0), 0);
    struct node *child = new_node(bed->thread, &cleared, 1, NULL);
    drop(bed->thread, new_node(bed->thread, &cleared, 0, new_node(bed->thread, &phoenix, 2, child)));
    assert_order((uint64_t[]){0}, 1);
    assert_int_equal(stats_of(bed->heap).live_blocks, 2);
    assert_ptr_equal(risen->next, child);
    drop(bed->thread, risen);
    assert_int_equal(seen.ended, 3);
}

/* ---- Deferred ones. */

static void defer_next(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct node *next = ((struct node *)object)->next;
    seen.ended++;
    if (next != NULL)
        fl_dealloc_deferred(thread, next, type);
}

static void *defer_root(void *thread)
{
    fl_thread_online(thread);
    fl_dealloc_deferred(thread, small.root, small.root->type);
    fl_thread_offline(thread);
    return NULL;
}

static void a_chain_of_deferred_objects_dies_on_a_small_stack(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, NULL);
    struct fl_type deferred = {.name = "deferred", .size = sizeof(struct node), .clear = defer_next};
    assert_int_equal(fl_type_ready(&deferred, NULL, NULL, 0), 0);
    seen.ended = 0;
    small.root = new_chain(bed.thread, DEEP, &(const struct fl_type *){&deferred}, 1);
    fl_thread_offline(bed.thread);
    run_on_small_stack(defer_root, bed.thread);
    fl_thread_online(bed.thread);
    assert_int_equal(seen.ended, DEEP);
    let_all_go(&host, bed.thread);
    assert_int_equal(stats_of(bed.heap).live_blocks, 0);
    end_bed(&bed);
}

/* ---- What a callback may do. */

static int detached;

static void detach(struct fl_thread *thread, struct node *node)
{
    (void)node;
    detached = fl_thread_detach(thread);
}

static void a_callback_cannot_detach_its_handle(void **state)
{
    if (!stacks_can_be_read())
        skip();
    struct bed *bed = *state;
    misuse.count = 0;
    fl_set_misuse_handler(record_misuse);
    seen.act = detach;
    drop(bed->thread, new_node(bed->thread, &cleared, 0, NULL));
    assert_int_equal(detached, -EINVAL);
    assert_misuse("fl_thread_detach", bed->thread, "destroying");
    fl_set_misuse_handler(NULL);
}

static void allocate_flush_and_trim(struct fl_thread *thread, struct node *node)
{
    void *block = fl_alloc(thread, 100 + node->number % 1000);
    fl_thread_flush(thread);
    fl_heap_trim(fl_thread_heap(thread), 0);
    assert_sound(fl_thread_heap(thread));
    fl_free(thread, block);
    fl_thread_offline(thread);
    fl_thread_online(thread);
}

static void a_callback_may_allocate_flush_and_trim(void **state)
{
    struct bed *bed = *state;
    seen.act = allocate_flush_and_trim;
    drop(bed->thread, new_tree(bed->thread, 1, 600));
    assert_int_equal(seen.ended, 600);
}

static struct fl_thread *elsewhere;
static struct node *of_elsewhere;

static void drop_elsewhere(struct fl_thread *thread, struct node *node)
{
    struct node *root = of_elsewhere;
    of_elsewhere = NULL;
    if (root == NULL)
        return;
    assert_ptr_not_equal(thread, elsewhere);
    uint64_t before = seen.ended;
    drop(elsewhere, root);
    assert_int_equal(seen.ended, before + DEEP);
    assert_int_equal(node->number, 0);
}

static void each_handle_has_a_drain_of_its_own(void **state)
{
    struct bed *bed = *state, other = bed_with(NULL);
    elsewhere = other.thread;
    of_elsewhere = new_chain(other.thread, DEEP, &(const struct fl_type *){&cleared}, 1);
    seen.act = drop_elsewhere;
    assert_dies_on_small_stack(bed, new_chain(bed->thread, DEEP, &(const struct fl_type *){&cleared}, 1));
    assert_int_equal(seen.ended, 2 * DEEP);
    end_bed(&other);
}

static void *destroy_by_self(void *unused)
{
    (void)unused;
    struct fl_thread *self = fl_thread_self();
    drop(self, new_chain(self, DEEP, (const struct fl_type *[]){&cleared, &legacy}, 2));
    return NULL;
}

static pthread_key_t late_key;

static void destroy_late(void *round)
{
    if ((uintptr_t)round < 4)
        pthread_setspecific(late_key, (void *)((uintptr_t)round + 1));
    struct node *root = new_chain(fl_thread_self(), DEEP, &(const struct fl_type *){&cleared}, 1);
    root->other = new_array(fl_thread_self(), &wordless, DEEP);
    drop(fl_thread_self(), root);
}

static void *destroy_in_every_round(void *unused)
{
    (void)unused;
    pthread_setspecific(late_key, (void *)1);
    return NULL;
}

static void a_thread_without_a_handle_destroys_on_a_small_stack(void **state)
{
    (void)state;
    if (__tsan_init != NULL)
        skip(); /* which is gone itself in the last rounds of destructors */
    run_on_small_stack(destroy_by_self, NULL);
    assert_int_equal(seen.ended, DEEP);
    assert_int_equal(pthread_key_create(&late_key, destroy_late), 0);
    seen.ended = 0;
    run_on_small_stack(destroy_in_every_round, NULL);
    pthread_key_delete(late_key);
    assert_int_equal(seen.ended, 4 * 2 * DEEP);
    assert_int_equal(stats_of(fl_heap_default()).live_blocks, 0);
    assert_sound(fl_heap_default());
}

static struct fl_thread *second;
static struct node *of_second;

/* Each heap's objects drop some of the other's. */
static void drop_of_second(struct fl_thread *thread, struct node *node)
{
    struct node *chain = of_second;
    if (node->number % 100 != 0)
        return;
    of_second = NULL;
    drop(second, chain);
    if (thread == second)
        drop(fl_thread_self(), new_chain(fl_thread_self(), 10, &(const struct fl_type *){&cleared}, 1));
}

static void destroy_two_late(void *round)
{
    if ((uintptr_t)round < 4) {
        pthread_setspecific(late_key, (void *)((uintptr_t)round + 1));
        return;
    }
    seen.act = drop_of_second;
    drop(fl_thread_self(), new_chain(fl_thread_self(), DEEP, &(const struct fl_type *){&cleared}, 1));
}

static void *have_two_heaps(void *heap)
{
    second = fl_thread_attach(heap);
    of_second = new_chain(second, DEEP, &(const struct fl_type *){&cleared}, 1);
    pthread_setspecific(late_key, (void *)1);
    return NULL;
}

static void a_thread_that_exits_destroys_objects_of_two_heaps_on_a_small_stack(void **state)
{
    struct bed *bed = *state;
    if (__tsan_init != NULL)
        skip(); /* as above */
    assert_int_equal(pthread_key_create(&late_key, destroy_two_late), 0);
    run_on_small_stack(have_two_heaps, bed->heap);
    pthread_key_delete(late_key);
    assert_int_equal(seen.ended, 2 * DEEP + DEEP / 100 * 10);
    assert_int_equal(stats_of(bed->heap).live_blocks, 0);
    assert_int_equal(stats_of(fl_heap_default()).live_blocks, 0);
    assert_sound(fl_heap_default());
}

/* ---- Other stacks. */

static ucontext_t home, fiber;
static char stack[1 << 18], copied[sizeof stack];
static struct fl_thread *fibers;
static struct node *of_fiber;

static void park(struct fl_thread *thread, struct node *node)
{
    (void)thread;
    if (node->number == 0)
        swapcontext(&fiber, &home);
}

static void run_fiber(void)
{
    drop(fibers, of_fiber);
    swapcontext(&fiber, &home);
}

static void prepare_fiber(struct node *root)
{
    of_fiber = root;
    assert_int_equal(getcontext(&fiber), 0);
    fiber.uc_stack.ss_sp = stack;
    fiber.uc_stack.ss_size = sizeof stack;
    makecontext(&fiber, run_fiber, 0);
}

static void switch_to(const void *name)
{
    fl_thread_set_stack(fibers, name);
    assert_int_equal(swapcontext(&home, &fiber), 0);
    fl_thread_set_stack(fibers, NULL);
}

static struct node *new_short_chain(uint64_t number)
{
    struct node *chain = new_chain(fibers, 100, &(const struct fl_type *){&cleared}, 1);
    chain->number = number;
    return chain;
}

static void what_dies_on_one_stack_does_not_wait_for_a_drain_on_another(void **state)
{
    if (!stacks_can_be_switched())
        skip();
    struct bed *bed = *state;
    fibers = bed->thread;
    prepare_fiber(new_short_chain(0));
    seen.act = park;
    switch_to("first");
    assert_int_equal(seen.ended, 1);
    for (unsigned round = 1; round <= 50; round++) {
        drop(bed->thread, new_short_chain(1000));
        assert_int_equal(seen.ended, 1 + 100 * round);
        assert_sound(bed->heap);
    }
    seen.ended = 0;
    switch_to("first");
    assert_int_equal(seen.ended, 99);
}

/* The parked drain lies above the other stack, as a caller's frame would. */
static void run_a_fiber(struct fl_thread *thread, struct node *node)
{
    seen.act = NULL;
    assert_int_equal(node->number, 0);
    prepare_fiber(new_short_chain(1000));
    switch_to("fiber");
    assert_int_equal(seen.ended, 1 + 100);
    assert_sound(fl_thread_heap(thread));
}

static void a_fiber_does_not_wait_for_the_drain_that_runs_it(void **state)
{
    if (!stacks_can_be_switched())
        skip();
    struct bed *bed = *state;
    fibers = bed->thread;
    seen.act = run_a_fiber;
    drop(bed->thread, new_short_chain(0));
    assert_int_equal(seen.ended, 200);
}

/* Greenlets copy their slices of one stack away, and back. Here the second runs where the first is parked. */
static void stacks_that_reuse_a_range_of_addresses_are_told_apart(void **state)
{
    if (!stacks_can_be_switched() || FLI_SANITIZED || __tsan_init != NULL)
        skip(); /* sanitizers know one stack at an address */
    struct bed *bed = *state;
    fibers = bed->thread;
    seen.act = park;
    ucontext_t parked;
    prepare_fiber(new_short_chain(0));
    switch_to("first");
    assert_int_equal(seen.ended, 1);
    memcpy(copied, stack, sizeof stack);
    parked = fiber;
    for (unsigned round = 1; round <= 50; round++) {
        prepare_fiber(new_short_chain(1000));
        switch_to("second");
        assert_int_equal(seen.ended, 1 + 100 * round);
    }
    memcpy(stack, copied, sizeof stack);
    fiber = parked;
    seen.ended = 0;
    switch_to("first");
    assert_int_equal(seen.ended, 99);
}

static void a_stack_that_ends_leaves_what_waits_to_be_destroyed(void **state)
{
    if (!stacks_can_be_switched())
        skip();
    struct bed *bed = *state;
    fibers = bed->thread;
    prepare_fiber(new_tree(bed->thread, 1, 100));
    of_fiber->number = 0;
    seen.act = park;
    switch_to("ends");
    struct node *in_hand = of_fiber;
    assert_int_equal(seen.ended, 1);
    fl_thread_set_stack(fibers, "ends");
    fl_thread_unwound(fibers);
    fl_thread_set_stack(fibers, NULL);
    assert_int_equal(seen.ended, 1); /* the root's children were not dropped yet */
    seen.act = NULL;
    drop(bed->thread, in_hand);
    assert_int_equal(seen.ended, 101);
}

/* ---- Callbacks that are left. */

static jmp_buf out;

static void leave_at_ten(struct fl_thread *thread, struct node *node)
{
    (void)thread;
    if (node->number == 10) {
        node->number = 0;
        risen = node;
        longjmp(out, 1);
    }
}

__attribute__((noinline)) static void drop_and_be_left(struct fl_thread *thread, struct node *root)
{
    if (setjmp(out) == 0)
        drop(thread, root);
}

__attribute__((noinline)) static void call_deeper(void (*body)(struct fl_thread *), struct fl_thread *thread)
{
    volatile char room[4096] = {0};
    body(thread);
    room[0] = room[1];
}

static void drop_a_node(struct fl_thread *thread)
{
    drop(thread, new_node(thread, &cleared, 1, NULL));
}

static void what_waits_after_a_longjmp_is_destroyed_when_the_host_says_so(void **state)
{
    struct bed *bed = *state;
    seen.act = leave_at_ten;
    drop_and_be_left(bed->thread, new_array(bed->thread, &cleared, 100));
    assert_in_range(seen.ended, 1, 99);
    call_deeper(drop_a_node, bed->thread);
    assert_sound(bed->heap);
    call_deeper(fl_thread_unwound, bed->thread);
    assert_int_equal(seen.ended, 101);
    assert_int_equal(stats_of(bed->heap).live_blocks, 1);
    drop(bed->thread, risen);
    assert_int_equal(stats_of(bed->heap).live_blocks, 0);
}

static void leave_thread_at_ten(struct fl_thread *thread, struct node *node)
{
    (void)thread;
    if (node->number == 10) {
        risen = node;
        pthread_exit(NULL);
    }
}

static void what_a_thread_leaves_is_destroyed_by_another(void **state)
{
    struct bed *bed = *state;
    seen.act = leave_thread_at_ten;
    small.heap = bed->heap;
    small.root = new_array(bed->thread, &cleared, 1000);
    run_on_thread(destroy_root, NULL);
    assert_in_range(seen.ended, 1, 999);
    assert_sound(bed->heap);
    seen.act = NULL;
    drop(bed->thread, new_node(bed->thread, &cleared, 1, NULL));
    assert_int_equal(seen.ended, 1001);
    fl_type_free(bed->thread, risen, &cleared);
}

static void a_heap_with_dead_objects_cannot_be_destroyed(void **state)
{
    struct bed *bed = *state, other = bed_with(NULL);
    seen.act = leave_thread_at_ten;
    small.heap = other.heap;
    small.root = new_array(other.thread, &cleared, 1000);
    run_on_thread(destroy_root, NULL);
    assert_int_equal(fl_thread_detach(other.thread), 0);
    assert_int_equal(fl_heap_destroy(other.heap), -EBUSY);
    other.thread = fl_thread_attach(other.heap);
    seen.act = NULL;
    drop(other.thread, new_node(other.thread, &cleared, 1, NULL));
    assert_int_equal(seen.ended, 1001);
    end_bed(&other);
    assert_sound(bed->heap);
}

/* ---- Forks. */

static int is_parked[2], may_go_on[2];

static void wait_at_ten(struct fl_thread *thread, struct node *node)
{
    (void)thread;
    char byte = 0;
    if (node->number != 10)
        return;
    assert_int_equal(write(is_parked[1], &byte, 1), 1);
    assert_int_equal(read(may_go_on[0], &byte, 1), 1);
}

static void destroy_what_is_left(void *heap)
{
    seen.act = NULL;
    struct fl_thread *thread = fl_thread_attach(heap);
    EXPECT(thread != NULL);
    EXPECT(seen.ended < 1000);
    fl_dealloc(thread, new_node(thread, &cleared, 1, NULL), &cleared);
    EXPECT(seen.ended == 1001);
    EXPECT_SOUND(heap);
    fl_thread_detach(thread);
}

static void the_child_of_a_fork_destroys_what_threads_left_behind_had_waiting(void **state)
{
    if (__tsan_init != NULL)
        skip(); /* which does not follow a fork with threads */
    struct bed *bed = *state;
    assert_int_equal(pipe(is_parked), 0);
    assert_int_equal(pipe(may_go_on), 0);
    seen.act = wait_at_ten;
    small.heap = bed->heap;
    small.root = new_array(bed->thread, &cleared, 1000);
    pthread_t id;
    char byte = 0;
    assert_int_equal(pthread_create(&id, NULL, destroy_root, NULL), 0);
    assert_int_equal(read(is_parked[0], &byte, 1), 1);
    struct child_end end = run_child(destroy_what_is_left, bed->heap);
    if (end.status != 0)
        fail_msg("%s", end.output);
    assert_int_equal(write(may_go_on[1], &byte, 1), 1);
    assert_int_equal(pthread_join(id, NULL), 0);
    assert_int_equal(seen.ended, 1000);
}

/* ---- Words. */

static void assert_refused(struct fl_type type, const struct fl_type *base, const char *what)
{
    char error[256] = "";
    assert_int_equal(fl_type_ready(&type, base, error, sizeof error), -EINVAL);
    assert_contains(error, "'bad'");
    assert_contains(error, what);
    assert_false(type.ready);
}

static void words_that_cannot_serve_are_refused(void **state)
{
    (void)state;
    static const struct fl_header header = {.bytes = 16};
    const struct fl_type bad = {.name = "bad", .size = 40, .clear = clear_node, .flags = FL_TYPE_HAS_WORDS};
    struct fl_type type = bad;
    for (type.words_offset = 32; type.words_offset < 400; type.words_offset += 8)
        assert_refused(type, NULL, "outside of its 40 bytes");
    type.words_offset = UINT32_MAX - 7;
    assert_refused(type, NULL, "outside");
    type.words_offset = 12;
    assert_refused(type, NULL, "no multiple of 8");
    type = bad;
    type.size = 8;
    assert_refused(type, NULL, "outside of its 8 bytes");
    type = bad;
    type.header = &header;
    type.words_offset = 8;
    assert_refused(type, NULL, "stale readers");
    type = bad;
    type.finalize = finalize_node;
    type.finalized_mask = 1;
    type.finalized_offset = 15;
    assert_refused(type, NULL, "finalized byte");
    type = bad;
    type.flags = 1u << 31;
    assert_refused(type, NULL, "unknown flags, 0x80000000");
}

static void a_subtype_has_the_words_of_its_base(void **state)
{
    (void)state;
    struct fl_type base = {
        .name = "base", .size = 40, .clear = clear_node, .flags = FL_TYPE_HAS_WORDS, .words_offset = 24};
    struct fl_type sub = {.name = "sub", .flags = FL_TYPE_AT_ONCE};
    struct fl_type other = {.name = "other", .flags = FL_TYPE_HAS_WORDS, .words_offset = 8};
    assert_int_equal(fl_type_ready(&base, NULL, NULL, 0), 0);
    assert_int_equal(fl_type_ready(&sub, &base, NULL, 0), 0);
    assert_int_equal(fl_type_ready(&other, &base, NULL, 0), 0);
    assert_int_equal(sub.flags, FL_TYPE_AT_ONCE | FL_TYPE_HAS_WORDS);
    assert_int_equal(sub.words_offset, 24);
    assert_int_equal(other.words_offset, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DESTROY_TEST(a_chain_dies_on_a_small_stack),
        DESTROY_TEST(a_chain_that_alternates_the_kinds_dies_on_a_small_stack),
        DESTROY_TEST(a_tree_dies_on_a_small_stack),
        DESTROY_TEST(an_array_dies_on_a_small_stack),
        DESTROY_TEST(all_of_them_die_with_every_mapping_refused),
        DESTROY_TEST(deep_children_of_a_wide_array_are_linked_if_memory_is_refused),
        DESTROY_TEST(without_words_or_memory_an_object_ends_where_it_is_dropped),
        DESTROY_TEST(a_parent_is_freed_before_its_children_are_destroyed),
        DESTROY_TEST(a_type_may_ask_for_children_that_end_before_their_parent_is_freed),
        DESTROY_TEST(the_last_that_was_dropped_ends_first_but_for_a_window),
        DESTROY_TEST(what_came_into_the_window_first_leaves_it_first),
        DESTROY_TEST(a_resurrected_object_keeps_its_children),
        DESTROY_TEST(a_chain_of_deferred_objects_dies_on_a_small_stack),
        DESTROY_TEST(a_callback_cannot_detach_its_handle),
        DESTROY_TEST(a_callback_may_allocate_flush_and_trim),
        DESTROY_TEST(each_handle_has_a_drain_of_its_own),
        DESTROY_TEST(a_thread_that_exits_destroys_objects_of_two_heaps_on_a_small_stack),
        DESTROY_TEST(a_thread_without_a_handle_destroys_on_a_small_stack),
        DESTROY_TEST(what_dies_on_one_stack_does_not_wait_for_a_drain_on_another),
        DESTROY_TEST(a_fiber_does_not_wait_for_the_drain_that_runs_it),
        DESTROY_TEST(stacks_that_reuse_a_range_of_addresses_are_told_apart),
        DESTROY_TEST(a_stack_that_ends_leaves_what_waits_to_be_destroyed),
        DESTROY_TEST(what_waits_after_a_longjmp_is_destroyed_when_the_host_says_so),
        DESTROY_TEST(what_a_thread_leaves_is_destroyed_by_another),
        DESTROY_TEST(a_heap_with_dead_objects_cannot_be_destroyed),
        DESTROY_TEST(the_child_of_a_fork_destroys_what_threads_left_behind_had_waiting),
        DESTROY_TEST(words_that_cannot_serve_are_refused),
        DESTROY_TEST(a_subtype_has_the_words_of_its_base),
    };
    return cmocka_run_group_tests(tests, make_types_ready, NULL);
}
