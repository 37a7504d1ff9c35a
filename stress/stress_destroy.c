/* SPDX-License-Identifier: MIT
 *
 * Graphs that die while everything happens to those who destroy them.
 *
 * Each worker lives many lives, each on a thread and a handle of its own, with a few fibers. In a life every fiber builds
 * graphs of CLEAR, FINALIZE, LEGACY and PLAIN nodes, and drops them. Now and then a callback
 *
 *     switches to the next fiber, so that drains are parked on several stacks at once
 *     allocates, drops another graph, flushes, goes offline for a moment, or trims the heap
 *     is left by longjmp, after which the host says so
 *     ends its thread by pthread_exit, so that what waits is left to the heap, and another thread destroys it
 *     runs some of what is pending: nodes of some types end later
 *
 * Every node carries a stamp that says whether it is alive, and is destroyed once: in the end as many nodes have ended as
 * were made, and no block of the heap is live.
 *
 * Smoke: 1 second. Pre-merge: 30 seconds (--seconds 30). Soak: one hour (--seconds 3600 --threads 16).
 */
#include "stress.h"

#include <setjmp.h>
#include <stdlib.h>
#include <ucontext.h>

/* Not in every C library: then there are no fibers. */
extern __typeof__(getcontext) getcontext __attribute__((weak));
extern __typeof__(makecontext) makecontext __attribute__((weak));
extern __typeof__(setcontext) setcontext __attribute__((weak));
extern __typeof__(swapcontext) swapcontext __attribute__((weak));

enum {
    FIBERS = 4,
    STACK_BYTES = 256 << 10,
    GRAPHS = 40,
    NODES = 600,
    ALIVE = 0x600d,
    DEAD = 0xdead,
};

struct node {
    uintptr_t words[2];
    struct node *first, *second;
    const struct fl_type *type;
    unsigned stamp;
};

struct fiber {
    ucontext_t context;
    jmp_buf out;
    bool may_leave;       /* it is inside a drop that longjmp may leave */
    unsigned depth;       /* callbacks inside each other */
    struct node *in_hand; /* the object whose callback was left */
    char *stack;
};

/* A life of a worker. */
struct life {
    struct fl_thread *thread;
    struct stress_rng rng;
    struct fiber fibers[FIBERS];
    unsigned count; /* of fibers; 1: it runs on the thread's own stack */
    unsigned running, ended;
    ucontext_t home;
};

static struct fl_heap *heap;
static atomic_ulong made, gone, lives, switches, leaps, exits, runs;

/* ---- Fibers. */

static void switch_to(struct life *life, unsigned next)
{
    unsigned before = life->running;
    if (next == before)
        return;
    life->running = next;
    fl_thread_set_stack(life->thread, &life->fibers[next]);
    atomic_fetch_add_explicit(&switches, 1, memory_order_relaxed);
    STRESS_REQUIRE(swapcontext(&life->fibers[before].context, &life->fibers[next].context) == 0);
}

/* ---- Nodes. */

static void drop(struct life *life, struct node *node)
{
    if (node)
        fl_dealloc(life->thread, node, node->type);
}

static struct node *build(struct life *life, unsigned nodes);

static int run_some(struct life *life)
{
    atomic_fetch_add_explicit(&runs, 1, memory_order_relaxed);
    return fl_run_pending(life->thread, fl_budget_objects(1 + stress_below(&life->rng, 50)));
}

static struct life *life_of(struct fl_thread *thread)
{
    return fl_thread_context(thread);
}

static void meddle(struct life *life, struct node *node)
{
    struct fiber *fiber = &life->fibers[life->running];
    switch (stress_below(&life->rng, 1000)) {
    case 0:
        fl_thread_flush(life->thread);
        break;
    case 1:
        fl_heap_trim(heap, 0);
        break;
    case 2:
        fl_thread_offline(life->thread);
        fl_thread_online(life->thread);
        break;
    case 3:
        drop(life, build(life, 20));
        break;
    case 4:
        if (!fiber->may_leave || fiber->depth > 1)
            break;
        fiber->in_hand = node;
        longjmp(fiber->out, 1);
    case 5:
        if (life->count > 1 || fiber->depth > 1 || !stress_one_in(&life->rng, 20))
            break;
        atomic_fetch_add_explicit(&exits, 1, memory_order_relaxed);
        fiber->in_hand = node;
        pthread_exit(NULL);
    case 6:
        run_some(life);
        break;
    default:
        if (stress_one_in(&life->rng, 50))
            switch_to(life, (unsigned)stress_below(&life->rng, life->count));
    }
}

/* Ends a node, once. What it holds is dropped. */
static void end(struct fl_thread *thread, struct node *node)
{
    struct life *life = life_of(thread);
    struct fiber *fiber = &life->fibers[life->running];
    STRESS_REQUIRE(node->stamp == ALIVE);
    fiber->depth++;
    meddle(life, node);
    node->stamp = DEAD;
    atomic_fetch_add_explicit(&gone, 1, memory_order_relaxed);
    struct node *first = node->first, *second = node->second;
    node->first = node->second = NULL;
    drop(life, first);
    drop(life, second);
    fiber->depth--;
}

static void clear_node(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)type;
    end(thread, object);
}

static bool finalize_node(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread, (void)type;
    STRESS_REQUIRE(((struct node *)object)->stamp == ALIVE);
    return false;
}

static void dealloc_node(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    end(thread, object);
    fl_type_free(thread, object, type);
}

static struct fl_type types[] = {
    {.name = "cleared", .size = 48, .clear = clear_node},
    {.name = "with words", .size = 64, .clear = clear_node, .flags = FL_TYPE_HAS_WORDS},
    {.name = "finalized", .size = 80, .finalize = finalize_node, .clear = clear_node},
    {.name = "at once", .size = 48, .clear = clear_node, .flags = FL_TYPE_AT_ONCE},
    {.name = "legacy", .size = 96, .dealloc = dealloc_node},
    {.name = "later", .size = 64, .clear = clear_node, .flags = FL_TYPE_HAS_WORDS | FL_TYPE_LATER},
    {.name = "legacy later", .size = 48, .dealloc = dealloc_node, .flags = FL_TYPE_HAS_WORDS | FL_TYPE_LATER},
};

enum { TYPES = sizeof types / sizeof *types };

static struct node *build_node(struct life *life, const struct fl_type *type)
{
    struct node *node = fl_type_alloc(life->thread, type);
    STRESS_REQUIRE(node);
    *node = (struct node){.type = type, .stamp = ALIVE};
    atomic_fetch_add_explicit(&made, 1, memory_order_relaxed);
    return node;
}

static struct node *build(struct life *life, unsigned nodes)
{
    struct node *graph = NULL, *other = NULL;
    for (unsigned i = 0; i < nodes; i++) {
        struct node *node = build_node(life, &types[stress_below(&life->rng, TYPES)]);
        node->first = graph;
        if (stress_one_in(&life->rng, 2)) {
            node->second = other;
            other = NULL;
        }
        graph = node;
        if (!other && stress_one_in(&life->rng, 3)) {
            other = graph;
            graph = NULL;
        }
    }
    if (other) {
        struct node *root = build_node(life, &types[0]);
        root->first = graph;
        root->second = other;
        graph = root;
    }
    return graph;
}

/* ---- Lives. */

/* Ends the node whose callback was left. Its stamp says that it is alive still. */
static void end_in_hand(struct life *life, struct fiber *fiber)
{
    struct node *node = fiber->in_hand;
    fiber->in_hand = NULL;
    fiber->depth = 0;
    atomic_fetch_add_explicit(&leaps, 1, memory_order_relaxed);
    drop(life, node);
    fl_thread_unwound(life->thread);
}

/* Drops a graph, and what a callback has in hand that is left meanwhile. */
__attribute__((noinline)) static void run_graph(struct life *life, struct fiber *fiber, struct node *graph)
{
    if (setjmp(fiber->out) == 0) {
        fiber->may_leave = true;
        drop(life, graph);
        fiber->may_leave = false;
    } else {
        fiber->may_leave = false;
        end_in_hand(life, fiber);
    }
}

static void run_graphs(struct life *life, struct fiber *fiber)
{
    for (unsigned i = 0; i < GRAPHS && !stress_stopped(); i++) {
        run_graph(life, fiber, build(life, 1 + (unsigned)stress_below(&life->rng, NODES)));
        if (stress_one_in(&life->rng, 2))
            run_some(life);
    }
}

static _Thread_local struct life *own;

/* A fiber that has ended switches to the others until all have. */
static void run_fiber(void)
{
    struct life *life = own;
    run_graphs(life, &life->fibers[life->running]);
    life->ended++;
    while (life->ended < life->count)
        switch_to(life, (life->running + 1) % life->count);
    setcontext(&life->home);
}

__attribute__((noinline)) static void make_fiber(struct fiber *fiber)
{
    STRESS_REQUIRE(getcontext(&fiber->context) == 0);
    fiber->stack = malloc(STACK_BYTES);
    STRESS_REQUIRE(fiber->stack);
    fiber->context.uc_stack.ss_sp = fiber->stack;
    fiber->context.uc_stack.ss_size = STACK_BYTES;
    makecontext(&fiber->context, run_fiber, 0);
}

static void run_fibers(struct life *life)
{
    for (unsigned i = 0; i < life->count; i++)
        make_fiber(&life->fibers[i]);
    fl_thread_set_stack(life->thread, &life->fibers[0]);
    STRESS_REQUIRE(swapcontext(&life->home, &life->fibers[0].context) == 0);
    fl_thread_set_stack(life->thread, NULL);
    for (unsigned i = 0; i < life->count; i++)
        free(life->fibers[i].stack);
}

static void *live(void *argument)
{
    struct life *life = own = argument;
    life->thread = stress_attach(heap);
    fl_thread_set_context(life->thread, life);
    if (life->count > 1)
        run_fibers(life);
    else
        run_graphs(life, &life->fibers[0]);
    if (stress_one_in(&life->rng, 2))
        stress_detach(life->thread);
    return NULL;
}

/* Drops what a thread had in hand when it ended, and a node more, so that what it has left is destroyed too. */
static void clean_up(struct life *life)
{
    struct node *in_hand = life->fibers[0].in_hand;
    *life = (struct life){.rng = life->rng, .count = 1, .thread = stress_attach(heap)};
    life->fibers[0].depth = 2; /* no callback is left */
    fl_thread_set_context(life->thread, life);
    drop(life, in_hand);
    drop(life, build_node(life, &types[0]));
    while (run_some(life) == 1)
        ;
    stress_detach(life->thread);
}

static void work(struct stress_worker *worker)
{
    struct life *life = malloc(sizeof *life);
    STRESS_REQUIRE(life);
    for (uint64_t number = 0; !stress_stopped(); number++) {
        pthread_t id;
        *life = (struct life){.rng = worker->rng};
        (void)stress_random(&worker->rng);
        /* ThreadSanitizer would have to be told of fibers. */
        life->count = STRESS_THREAD_SANITIZED || swapcontext == NULL || stress_one_in(&worker->rng, 2) ? 1 : FIBERS;
        stress_thread_start(&id, live, life);
        stress_thread_join(id);
        clean_up(life);
        atomic_fetch_add_explicit(&lives, 1, memory_order_relaxed);
    }
    free(life);
}

int main(int argc, char **argv)
{
    struct stress_args args = stress_parse(argc, argv, "stress_destroy");
    for (unsigned i = 0; i < TYPES; i++)
        STRESS_REQUIRE(fl_type_ready(&types[i], NULL, NULL, 0) == 0);
    heap = stress_heap_create(NULL);
    stress_run(&args, work, NULL);
    printf("%lu lives, %lu nodes, %lu switches, %lu callbacks left by longjmp, %lu by exit, %lu runs\n", lives, made,
           switches, leaps, exits, runs);
    if (made != gone)
        stress_fail("%lu nodes were made, %lu have ended", made, gone);
    stress_heap_finish(heap);
    return 0;
}
