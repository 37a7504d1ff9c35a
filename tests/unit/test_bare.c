/* SPDX-License-Identifier: MIT
 *
 * Destruction on a thread that has no handle, because the C library refuses memory for one.
 */
/* link: -Wl,--wrap=mmap -Wl,--wrap=mprotect -Wl,--wrap=calloc */
#include "graph.h"
#include "refusal.h"

enum {
    SMALL_STACK = FLI_SANITIZED ? 1 << 20 : 64 << 10,
    /* As many levels of recursion need more than the small stack. */
    DEEP = FLI_SANITIZED ? 50000 : 10000,
};

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

void *__wrap_calloc(size_t count, size_t size)
{
    if (!refuses)
        return __real_calloc(count, size);
    refused++;
    errno = ENOMEM;
    return NULL;
}

/* ---- Graphs. */

static unsigned ended;
static void (*act)(struct fl_thread *thread, struct node *node);

static void clear_node(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct node *node = object, *next = node->next, *other = node->other;
    assert_ptr_equal(node->type, type);
    ended++;
    if (act != NULL)
        act(thread, node);
    node->next = node->other = NULL;
    drop(thread, next);
    drop(thread, other);
}

static bool finalize_node(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread, (void)object, (void)type;
    return false;
}

#define WORDS .size = sizeof(struct node), .flags = FL_TYPE_HAS_WORDS, .words_offset = offsetof(struct node, count)

static struct fl_type cleared = {.name = "cleared", WORDS, .clear = clear_node};
static struct fl_type finalized = {.name = "finalized", WORDS, .clear = clear_node, .finalize = finalize_node};
static struct fl_type wordless = {.name = "wordless", .size = sizeof(struct node), .clear = clear_node};

static int make_types_ready(void **state)
{
    (void)state;
    struct fl_type *const types[] = {&cleared, &finalized, &wordless};
    for (size_t i = 0; i < COUNT_OF(types); i++)
        assert_int_equal(fl_type_ready(types[i], NULL, NULL, 0), 0);
    return 0;
}

/* A chain with a leaf at each node. */
static struct node *new_chain(size_t length, const struct fl_type *type)
{
    struct node *chain = NULL;
    for (size_t i = length; i-- > 0;) {
        chain = new_node(fl_thread_self(), type, i, chain);
        chain->other = new_node(fl_thread_self(), i % 2 == 0 ? &finalized : type, i, NULL);
    }
    return chain;
}

/* ---- On a thread of its own. */

static void run_without_memory(void *(*body)(void *), void *argument)
{
    pthread_t id;
    pthread_attr_t attributes;
    size_t before = stats_of(fl_heap_default()).threads;
    ended = refused = 0;
    small_stack_init(&attributes, SMALL_STACK);
    assert_int_equal(pthread_create(&id, &attributes, body, argument), 0);
    assert_int_equal(pthread_join(id, NULL), 0);
    pthread_attr_destroy(&attributes);
    assert_true(refused > 0);
    act = NULL;
    assert_int_equal(stats_of(fl_heap_default()).live_blocks, 0);
    assert_int_equal(stats_of(fl_heap_default()).threads, before);
    assert_sound(fl_heap_default());
}

static void *drop_root(void *root)
{
    refuses = true;
    drop(fl_thread_self(), root);
    refuses = false;
    return NULL;
}

static void a_chain_dies_on_a_thread_that_cannot_be_attached(void **state)
{
    (void)state;
    run_without_memory(drop_root, new_chain(DEEP, &cleared));
    assert_int_equal(ended, 2 * DEEP);
    run_without_memory(drop_root, new_chain(DEEP, &finalized));
    assert_int_equal(ended, 2 * DEEP);
}

static void without_words_an_object_ends_where_it_is_dropped(void **state)
{
    (void)state;
    run_without_memory(drop_root, new_chain(10, &wordless));
    assert_int_equal(ended, 20);
}

static void grant(struct fl_thread *thread, struct node *node)
{
    (void)thread;
    refuses = refuses && node->number != DEEP / 2;
}

/* From then on the thread has a handle, whose list takes what is dropped. */
static void memory_may_come_back_in_between(void **state)
{
    (void)state;
    act = grant;
    run_without_memory(drop_root, new_chain(DEEP, &cleared));
    assert_int_equal(ended, 2 * DEEP);
}

/* ---- Callbacks that are left. */

static jmp_buf out;
static struct node *left;

static void leave_at_ten(struct fl_thread *thread, struct node *node)
{
    (void)thread;
    if (node->number == 10 && node->next == NULL && left == NULL) { /* the leaf: the rest of the chain waits */
        left = node;
        longjmp(out, 1);
    }
}

__attribute__((noinline)) static void drop_and_be_left(struct node *root)
{
    if (setjmp(out) == 0)
        drop(fl_thread_self(), root);
}

static void *leave_and_say_so(void *root)
{
    refuses = true;
    left = NULL;
    drop_and_be_left(root);
    assert_in_range(ended, 1, 2 * DEEP - 1);
    drop(fl_thread_self(), left); /* which ends what waits */
    refuses = false;
    return NULL;
}

static void *leave_and_unwind(void *root)
{
    refuses = true;
    left = NULL;
    drop_and_be_left(root);
    unsigned before = ended;
    fl_thread_unwound(fl_thread_self());
    assert_true(ended > before);
    drop(fl_thread_self(), left);
    refuses = false;
    return NULL;
}

static void what_waits_after_a_longjmp_is_destroyed(void **state)
{
    (void)state;
    act = leave_at_ten;
    run_without_memory(leave_and_say_so, new_chain(DEEP, &cleared));
    assert_int_equal(ended, 2 * DEEP + 1);
    act = leave_at_ten;
    run_without_memory(leave_and_unwind, new_chain(DEEP, &cleared));
    assert_int_equal(ended, 2 * DEEP + 1);
}

static void unwind_inside(struct fl_thread *thread, struct node *node)
{
    unsigned before = ended;
    if (node->number % 100 == 0)
        fl_thread_unwound(thread);
    assert_int_equal(ended, before);
}

static void a_drain_that_runs_is_not_taken_for_left(void **state)
{
    (void)state;
    act = unwind_inside;
    run_without_memory(drop_root, new_chain(1000, &cleared));
    assert_int_equal(ended, 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chain_dies_on_a_thread_that_cannot_be_attached),
        cmocka_unit_test(without_words_an_object_ends_where_it_is_dropped),
        cmocka_unit_test(memory_may_come_back_in_between),
        cmocka_unit_test(what_waits_after_a_longjmp_is_destroyed),
        cmocka_unit_test(a_drain_that_runs_is_not_taken_for_left),
    };
    return cmocka_run_group_tests(tests, make_types_ready, NULL);
}
