/* SPDX-License-Identifier: MIT
 *
 * What the child of a fork finds of dead objects on another thread: its memory as it was between two instructions of
 * that thread. Here one process destroys objects, and another stops it after every instruction and looks at its lists
 * and its queue as the child of a fork would.
 */
#define _GNU_SOURCE 1 /* process_vm_readv */
#include "support.h"

#include "heap/thread.h"

#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

enum { NODES = FLI_RARE_PATHS ? 40 : 150, SINGLE = NODES - 1, CHILDREN = 30, LISTS = 8 };

/* ---- A wide tree, whose neighbours are of different types, and a single node, the last. */

struct node {
    uint64_t words[2];
    unsigned number;
};

static struct node *nodes[NODES]; /* in the order of their addresses */
static bool *begun;               /* whether their callbacks have; both processes share this */
static bool leaves;               /* whether the thread exits in the callback of the root */

static void clear_node(struct fl_thread *thread, void *object, const struct fl_type *type);

#define NODE_TYPE(label)                                                                                             \
    {                                                                                                                \
        .name = label, .size = sizeof(struct node), .clear = clear_node, .flags = FL_TYPE_HAS_WORDS                  \
    }

static struct fl_type types[] = {NODE_TYPE("red"), NODE_TYPE("green"), NODE_TYPE("blue"), NODE_TYPE("grey")};
static const struct fl_type *(*type_of)(unsigned number);

static const struct fl_type *one_of_two(unsigned number)
{
    return &types[number % 2];
}

/* Which end later. */
static const struct fl_type *other_two(unsigned number)
{
    return &types[2 + number % 2];
}

static void drop(struct fl_thread *thread, unsigned number)
{
    fl_dealloc(thread, nodes[number], type_of(number));
}

/* Drops the children, some of them on another stack. */
static void clear_node(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    unsigned number = ((struct node *)object)->number, first = CHILDREN * number + 1;
    (void)type;
    begun[number] = true;
    for (unsigned i = first; i < first + CHILDREN && i < SINGLE; i++) {
        fl_thread_set_stack(thread, i % 29 == 0 ? nodes : NULL);
        drop(thread, i);
    }
    fl_thread_set_stack(thread, NULL);
    if (leaves && number == 0)
        pthread_exit(NULL);
}

static int compare(const void *a, const void *b)
{
    uintptr_t first = *(const uintptr_t *)a, second = *(const uintptr_t *)b;
    return first < second ? -1 : first > second;
}

static void plant(struct fl_thread *thread, const struct fl_type *(*types_of)(unsigned))
{
    type_of = types_of;
    for (unsigned i = 0; i < NODES; i++)
        assert_non_null(nodes[i] = fl_type_alloc(thread, &types[0]));
    qsort(nodes, NODES, sizeof *nodes, compare);
    for (unsigned i = 0; i < NODES; i++)
        nodes[i]->number = i;
    memset(begun, false, NODES);
}

static int nodes_up(void **state)
{
    types[2].flags |= FL_TYPE_LATER;
    types[3].flags |= FL_TYPE_LATER;
    for (size_t i = 0; i < COUNT_OF(types); i++)
        assert_true(types[i].ready || fl_type_ready(&types[i], NULL, NULL, 0) == 0);
    begun = mmap(NULL, NODES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(begun != MAP_FAILED);
    leaves = false;
    return bed_up(state);
}

static int nodes_down(void **state)
{
    munmap(begun, NODES);
    return bed_down(state);
}

#define NODES_TEST(test) cmocka_unit_test_setup_teardown(test, nodes_up, nodes_down)

/* ---- A process that is looked at. */

struct watch {
    pid_t process;
    struct fli_thread *thread;
    char wrong[128]; /* what was found to be wrong */
    unsigned look, looks[NODES];
    const struct fli_dead *lists[LISTS];
    unsigned list_count;
};

#define READ(watch, address, value) read_memory((watch), (address), (value), sizeof *(value))

static bool can_read(const struct watch *watch, const void *address, void *value, size_t bytes)
{
    struct iovec to = {value, bytes}, from = {(void *)address, bytes};
    return process_vm_readv(watch->process, &to, 1, &from, 1, 0) == (ssize_t)bytes;
}

static void read_memory(struct watch *watch, const void *address, void *value, size_t bytes)
{
    if (!can_read(watch, address, value, bytes))
        snprintf(watch->wrong, sizeof watch->wrong, "%p cannot be read", address);
}

/* Each object that waits is a node of its type whose callbacks have not begun, and waits once. */
static void see(struct watch *watch, struct fli_dead_object object)
{
    uintptr_t address = (uintptr_t)fli_dead_address(object.entry);
    struct node **place = bsearch(&address, nodes, NODES, sizeof *nodes, compare);
    unsigned number = place != NULL ? (unsigned)(place - nodes) : 0;
    const char *what = place == NULL                         ? "no node"
                       : object.type != type_of(number)      ? "of another type"
                       : begun[number]                       ? "begun"
                       : watch->looks[number] == watch->look ? "there twice"
                                                             : NULL;
    watch->looks[number] = watch->look;
    if (what != NULL)
        snprintf(watch->wrong, sizeof watch->wrong, "a waiting object, node %u, is %s", number, what);
}

static void see_pile(struct watch *watch, struct fli_pile *pile)
{
    static struct fli_magazine copy;
    const struct fli_magazines *magazines = &watch->thread->heap->backing.magazines;
    for (uint32_t index = fli_load_own(&pile->magazines.first); index != 0; index = fli_load_own(&copy.next)) {
        READ(watch, fli_magazine_at(magazines, index), &copy);
        for (uint32_t i = 0; i < fli_magazine_count(&copy); i++)
            see(watch, fli_pair_get(&fli_pile_pairs(&copy)[i]));
    }
}

static void see_places(struct watch *watch, struct fli_dead_places *places)
{
    for (uint32_t i = 0; i < fli_load_own(&places->count); i++)
        see(watch, fli_dead_at(places, i));
    see_pile(watch, &places->pile);
}

static void see_queue(struct watch *watch, struct fli_queue *queue)
{
    const struct fli_dead_places *places = fli_load_own(&queue->places);
    struct fli_dead_places copy;
    see_pile(watch, &queue->pile);
    if (places == NULL)
        return;
    READ(watch, places, &copy);
    copy.pile = (struct fli_pile){0};
    see_places(watch, &copy);
}

/* Returns the list behind it. */
static const struct fli_dead *see_list(struct watch *watch, const struct fli_dead *list)
{
    struct fli_dead copy;
    READ(watch, list, &copy);
    for (unsigned i = 0; i < watch->list_count; i++)
        if (watch->lists[i] == list)
            snprintf(watch->wrong, sizeof watch->wrong, "a thread has a list twice");
    watch->lists[watch->list_count++] = list;
    if (watch->list_count == LISTS)
        snprintf(watch->wrong, sizeof watch->wrong, "a thread has too many lists");
    see_places(watch, &copy.places);
    return copy.next;
}

static void look(struct watch *watch)
{
    struct fli_dead *list;
    struct fli_queue pending;
    watch->look++;
    watch->list_count = 0;
    READ(watch, &watch->thread->dead, &list);
    see_list(watch, list);
    READ(watch, &watch->thread->other_dead, &list);
    for (const struct fli_dead *other = list; other != NULL && watch->wrong[0] == '\0';)
        other = see_list(watch, other);
    READ(watch, watch->thread->queue, &pending);
    see_queue(watch, &pending);
}

static void be_looked_at(void (*body)(struct fl_thread *), struct bed *bed)
{
    default_signals();
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        _exit(0);
    raise(SIGSTOP);
    body(bed->thread);
    raise(SIGSTOP);
    EXPECT(memchr(begun, false, NODES) == NULL);
    EXPECT_SOUND(bed->heap);
    _exit(0);
}

static int next_stop(struct watch *watch, int request)
{
    int status;
    assert_int_equal(ptrace(request, watch->process, NULL, NULL), 0);
    assert_int_equal(waitpid(watch->process, &status, 0), watch->process);
    return status;
}

/* Runs `body` in another process and looks at it after every instruction, if the system allows that. */
static void watch_steps(void (*body)(struct fl_thread *), struct bed *bed)
{
    struct watch watch = {.thread = fli_thread_of(bed->thread)};
    struct fli_thread copy;
    int status;
    if (FLI_THREAD_SANITIZER)
        return; /* whose instructions are too many */
    fflush(NULL);
    watch.process = fork();
    assert_true(watch.process >= 0);
    if (watch.process == 0)
        be_looked_at(body, bed);
    assert_int_equal(waitpid(watch.process, &status, 0), watch.process);
    if (WIFEXITED(status))
        return;
    if (!can_read(&watch, watch.thread, &copy, sizeof copy)) {
        kill(watch.process, SIGKILL);
        return;
    }
    while (watch.wrong[0] == '\0' && (status = next_stop(&watch, PTRACE_SINGLESTEP), WIFSTOPPED(status)) &&
           WSTOPSIG(status) == SIGTRAP)
        look(&watch);
    if (watch.wrong[0] != '\0') {
        kill(watch.process, SIGKILL);
        fail_msg("after %u instructions: %s", watch.look, watch.wrong);
    }
    assert_int_equal(next_stop(&watch, PTRACE_CONT), 0);
}

/* ---- What a fork finds. */

static void destroy(struct fl_thread *thread)
{
    drop(thread, 0);
    drop(thread, SINGLE);
}

static void a_drain_is_in_order_after_each_instruction(void **state)
{
    struct bed *bed = *state;
    plant(bed->thread, one_of_two);
    watch_steps(destroy, bed);
    destroy(bed->thread);
}

static void *leave(void *heap)
{
    drop(fl_thread_attach(heap), 0);
    return NULL;
}

/* A drain of another object takes what a thread has left. */
static void adopt(struct fl_thread *thread)
{
    drop(thread, SINGLE);
}

static void so_is_one_that_adopts(void **state)
{
    struct bed *bed = *state;
    plant(bed->thread, one_of_two);
    leaves = true;
    run_on_thread(leave, bed->heap);
    leaves = false;
    fl_type_free(bed->thread, nodes[0], type_of(0));
    watch_steps(adopt, bed);
    adopt(bed->thread);
}

static void run_queue(struct fl_thread *thread)
{
    destroy(thread);
    while (fl_run_pending(thread, fl_budget_objects(7)) != 0)
        continue;
}

static void so_is_a_queue_while_it_is_run(void **state)
{
    struct bed *bed = *state;
    plant(bed->thread, other_two);
    watch_steps(run_queue, bed);
    run_queue(bed->thread);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        NODES_TEST(a_drain_is_in_order_after_each_instruction),
        NODES_TEST(so_is_one_that_adopts),
        NODES_TEST(so_is_a_queue_while_it_is_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
