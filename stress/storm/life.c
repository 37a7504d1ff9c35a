/* SPDX-License-Identifier: MIT
 *
 * The lives. A line raises one thread after the other. Each attaches to some of the sites, or takes over a handle that
 * another one has left, works there for a number of steps, visits sites that come and go, and leaves in a way drawn at
 * random: it detaches, exits with its handles attached, with what it has deferred and what is pending, in a read-side
 * section, or leaves a handle offline to a later life. Blocks that it leaves to a destructor are freed in its exit.
 *
 * What the n-th life of a line does in its k-th step is drawn from the seed, the line, n and k.
 */
#include "storm.h"

#include <stdlib.h>
#include <string.h>

enum { STEPS_MAX = STRESS_SANITIZED ? 400 : 1200, VISIT_STEPS_MAX = 150, LATE_MAX = 8, STACK_BYTES = 512 << 10 };

/* Blocks of a site that a destructor frees. */
struct late {
    struct fl_heap *heap;
    struct cargo *block;
};

struct life {
    uint64_t seed;
    struct seat seats[SITES + 1]; /* the last is that of a visit */
    struct late late[LATE_MAX];
};

static _Thread_local struct life *here;
static pthread_key_t late_key;
static pthread_once_t late_once = PTHREAD_ONCE_INIT;
static atomic_uint forks_asked;

void storm_fork_ask(void)
{
    atomic_store_explicit(&forks_asked, 1, memory_order_relaxed);
}

struct seat *storm_seat_here(const struct site *site)
{
    for (unsigned i = 0; here && i <= SITES; i++) {
        if (here->seats[i].site == site)
            return &here->seats[i];
    }
    return NULL;
}

/* ---- Beginning. */

static struct fl_thread *find_handle(struct site *site, struct stress_rng *rng)
{
    _Atomic(struct fl_thread *) *place = &site->handles[stress_below(rng, HANDLES)];
    struct fl_thread *thread = NULL;
    uint64_t choice = stress_below(rng, 8);
    if (choice < 4)
        thread = atomic_exchange_explicit(place, NULL, memory_order_acquire);
    if (!thread)
        return stress_attach(site->heap);
    if (choice == 0) {
        stress_detach(thread);
        return stress_attach(site->heap);
    }
    fl_thread_online(thread);
    tally(TALLY_HANDED, 1);
    return thread;
}

static void begin(struct life *life, struct stress_rng *rng)
{
    uint64_t always = stress_below(rng, SITES);
    for (unsigned i = 0; i < SITES; i++) {
        struct site *site = &storm_sites[i];
        if (i != always && stress_one_in(rng, 4))
            continue;
        storm_seat_begin(&life->seats[i], site, site->is_default ? NULL : find_handle(site, rng));
    }
}

/* ---- Visits. */

static void visit(struct life *life, struct stress_rng *rng)
{
    struct seat *seat = &life->seats[SITES];
    struct site *site = storm_visited_enter(stress_random(rng));
    uint64_t steps = stress_below(rng, VISIT_STEPS_MAX), seed = stress_random(rng);
    if (!site)
        return;
    storm_seat_begin(seat, site, stress_attach(site->heap));
    for (uint64_t step = 0; step < steps; step++) {
        struct stress_rng own = stress_rng_make(seed, step);
        storm_work(seat, &own);
    }
    storm_seat_empty(seat, rng);
    stress_detach(seat->thread);
    seat->site = NULL;
    storm_visited_leave(site);
    tally(TALLY_VISITS, 1);
}

/* ---- Work. */

static void work(struct life *life, struct stress_rng *rng)
{
    struct seat *seat = &life->seats[stress_below(rng, SITES)];
    if (stress_one_in(rng, 200))
        visit(life, rng);
    else if (seat->site && seat->site->counted)
        storm_object_work(seat, rng);
    else if (seat->site)
        storm_work(seat, rng);
}

static struct seat *qsbr_seat(struct life *life)
{
    struct seat *seat = &life->seats[SITE_LATER];
    return seat->site ? seat : NULL;
}

/* Stops while the gate is closed. Nothing waits for it meanwhile. */
static void pass_gate(struct life *life)
{
    struct seat *seat = qsbr_seat(life);
    if (seat)
        fl_thread_offline(seat->thread);
    gate_leave(PART_LIFE);
    gate_enter(PART_LIFE);
    if (seat)
        fl_thread_online(seat->thread);
}

static void attend(struct life *life, uint64_t step)
{
    struct seat *seat = qsbr_seat(life);
    if (gate_is_closed(PART_LIFE))
        pass_gate(life);
    if (step % 8 == 0 && seat)
        fl_quiescent(seat->thread);
    if (atomic_load_explicit(&forks_asked, memory_order_relaxed) &&
        atomic_exchange_explicit(&forks_asked, 0, memory_order_relaxed))
        storm_fork_beside(life->seats, SITES);
}

static void live(struct life *life, struct stress_rng *rng)
{
    uint64_t steps = stress_below(rng, stress_one_in(rng, 3) ? 20 : STEPS_MAX), step = 0;
    for (; step < steps && !storm_is_over(); step++) {
        struct stress_rng own = stress_rng_make(life->seed, step + 1);
        work(life, &own);
        attend(life, step);
    }
    tally(TALLY_STEPS, step);
}

/* ---- Leaving. */

static void free_late(void *argument)
{
    struct life *life = argument;
    for (unsigned i = 0; i < LATE_MAX; i++) {
        struct late *late = &life->late[i];
        if (!late->block)
            continue;
        storm_verify(late->block, sizeof *late->block);
        storm_break(late->block);
        fl_heap_free(late->heap, late->block);
        late->block = NULL;
        tally(TALLY_LATE, 1);
    }
}

static void make_late_key(void)
{
    STRESS_REQUIRE(pthread_key_create(&late_key, free_late) == 0);
}

static void leave_to_destructor(struct life *life, struct seat *seat, struct late *late)
{
    for (unsigned i = 0; i < HELD && !late->block; i++) {
        if (!seat->held[i])
            continue;
        struct cargo *cargo = storm_open(seat->held[i]);
        if (storm_kind(cargo) != KIND_BLOCK)
            continue;
        *late = (struct late){seat->site->heap, cargo};
        seat->held[i] = 0;
    }
    STRESS_REQUIRE(pthread_setspecific(late_key, life) == 0);
}

static void leave_handle(struct seat *seat, struct stress_rng *rng)
{
    struct fl_thread *thread = seat->thread;
    fl_thread_offline(thread);
    thread = atomic_exchange_explicit(&seat->site->handles[stress_below(rng, HANDLES)], thread, memory_order_acq_rel);
    if (thread)
        stress_detach(thread);
}

static void leave_seat(struct seat *seat, struct stress_rng *rng)
{
    uint64_t choice = stress_below(rng, 8);
    storm_seat_empty(seat, rng);
    if (seat->site->is_default)
        return;
    if (choice < 2)
        stress_detach(seat->thread);
    else if (choice == 2)
        leave_handle(seat, rng);
    else
        return;
    seat->site = NULL;
}

/* Exits in a read-side section. */
static void leave_reading(struct life *life)
{
    for (unsigned i = 0; i < SITES; i++) {
        struct seat *seat = &life->seats[i];
        if (seat->site && seat->site->options.grace == FL_GRACE_BP)
            fl_read_lock(storm_seat_thread(seat));
    }
}

static void *live_and_leave(void *argument)
{
    struct life *life = argument;
    struct stress_rng rng = stress_rng_make(life->seed, 0);
    here = life;
    begin(life, &rng);
    live(life, &rng);
    for (unsigned i = 0; i < LATE_MAX; i++) {
        struct seat *seat = &life->seats[stress_below(&rng, SITES)];
        if (seat->site && stress_one_in(&rng, 2))
            leave_to_destructor(life, seat, &life->late[i]);
    }
    for (unsigned i = 0; i < SITES; i++) {
        struct stress_rng own = stress_rng_make(life->seed, UINT64_MAX - i);
        if (life->seats[i].site)
            leave_seat(&life->seats[i], &own);
    }
    if (stress_one_in(&rng, 8))
        leave_reading(life);
    here = NULL;
    gate_become_exiting();
    return NULL;
}

/* ---- Lines. */

/* The calling thread is inside the gate for the life until that has ended. */
static void raise(uint64_t seed, const pthread_attr_t *attributes)
{
    pthread_t id;
    struct life *life = calloc(1, sizeof *life);
    STRESS_REQUIRE(life);
    life->seed = seed;
    int error = pthread_create(&id, attributes, live_and_leave, life);
    if (error)
        stress_fail("pthread_create: %s", strerror(error));
    stress_thread_join(id);
    free(life);
    tally(TALLY_LIVES, 1);
}

void *storm_line(void *argument)
{
    struct stress_worker *worker = argument;
    pthread_attr_t attributes;
    pthread_once(&late_once, make_late_key);
    STRESS_REQUIRE(pthread_attr_init(&attributes) == 0);
    STRESS_REQUIRE(pthread_attr_setstacksize(&attributes, STACK_BYTES) == 0);
    for (;;) {
        gate_enter(PART_LIFE);
        if (storm_is_over())
            break;
        raise(stress_random(&worker->rng), &attributes);
        gate_leave(PART_EXIT);
    }
    gate_leave(PART_LIFE);
    pthread_attr_destroy(&attributes);
    return NULL;
}
