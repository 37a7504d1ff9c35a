/* SPDX-License-Identifier: MIT
 *
 * Reference counts: objects whose references wander from thread to thread while owners come and go.
 *
 * Each worker does one of these at random:
 *
 *     place      creates an object, publishes it and stores it in a random place of a shared table; drops what was there
 *     look       takes a reference to what lies in a random place, without a lock (fl_try_incref)
 *     post       gives one of its references to a mailbox, and takes the one that lay there
 *     play       takes and drops references to an object that it has, or to one of its own
 *     rest       goes offline and online, merges, or detaches and attaches: another worker may take its slot
 *
 * An object is PLAIN or CLEAR. A worker that has a reference knows the object's key, and verifies its payload by it
 * before it drops the reference. `clear` verifies the payload, too, and destroys it, so that nobody takes a dead object
 * for a live one. A CLEAR object may hold a reference to another.
 *
 * The program is built twice: with the header of object.h (count_object.h), and as stress_count_own with one of the
 * host's own (count_own.h).
 *
 * Smoke: 1 second. Pre-merge: 30 seconds (--seconds 30). Soak: one hour (--seconds 3600 --threads 16).
 */
#include STRESS_HEAD

#include <stdio.h>
#include <string.h>

enum { PLACES = 32, MAILBOXES = 16, HAND = 16, PAYLOAD = 40 };

struct node {
    struct head head;
    uint64_t key;
    unsigned char payload[PAYLOAD];
    struct node *held; /* CLEAR objects alone have it */
};

struct world {
    struct fl_heap *heap;
    _Atomic(struct node *) places[PLACES];
    _Atomic(struct node *) mailboxes[MAILBOXES];
};

/* A reference that a worker has. */
struct reference {
    struct node *node;
    uint64_t key;
};

struct actor {
    struct world *world;
    struct fl_thread *thread;
    struct stress_rng *rng;
    uint64_t owner, sequence;
    struct reference hand[HAND];
};

static atomic_ulong taken, missed;

/* ---- Objects ------------------------------------------------------------------------------------------------ */

static void verify(const struct node *node, uint64_t key)
{
    STRESS_REQUIRE(node->key == key);
    stress_verify(node->payload, PAYLOAD, key);
}

static void clear(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct node *node = object;
    (void)type;
    verify(node, node->key);
    memset(node->payload, 0xdd, PAYLOAD);
    if (node->held != NULL)
        head_decref(thread, &node->held->head);
}

static struct fl_type plain_type = {
    .name = "plain", .size = sizeof(struct node), .kind = FL_DEALLOC_PLAIN, .header = &head_header};
static struct fl_type clear_type = {
    .name = "clear", .size = sizeof(struct node), .clear = clear, .header = &head_header};

static struct reference create(struct actor *actor)
{
    bool plain = stress_one_in(actor->rng, 2);
    struct node *node = head_new(actor->thread, plain ? &plain_type : &clear_type);
    STRESS_REQUIRE(node != NULL);
    node->key = stress_key((unsigned)actor->owner, actor->sequence++);
    stress_fill(node->payload, PAYLOAD, node->key);
    node->held = NULL;
    return (struct reference){node, node->key};
}

static void drop(struct actor *actor, struct reference reference)
{
    if (reference.node == NULL)
        return;
    verify(reference.node, reference.key);
    head_decref(actor->thread, &reference.node->head);
}

/* A reference to a node that the caller has one of. Another thread may have written its key before. */
static struct reference reference_to(struct node *node)
{
    return (struct reference){node, node != NULL ? node->key : 0};
}

/* Puts a reference into a random place of the worker's hand, and drops what it had there. */
static void take(struct actor *actor, struct reference reference)
{
    struct reference *place = &actor->hand[stress_below(actor->rng, HAND)], before = *place;
    *place = reference;
    drop(actor, before);
}

/* ---- What workers do ---------------------------------------------------------------------------------------- */

static void place_one(struct actor *actor)
{
    struct reference reference = create(actor);
    struct reference *other = &actor->hand[stress_below(actor->rng, HAND)];
    if (head_type(&reference.node->head) == &clear_type) {
        reference.node->held = other->node;
        *other = (struct reference){NULL, 0};
    }
    head_publish(&reference.node->head);
    _Atomic(struct node *) *place = &actor->world->places[stress_below(actor->rng, PLACES)];
    drop(actor, reference_to(atomic_exchange_explicit(place, reference.node, memory_order_acq_rel)));
}

static void look(struct actor *actor)
{
    _Atomic(struct node *) *place = &actor->world->places[stress_below(actor->rng, PLACES)];
    fl_read_lock(actor->thread);
    struct node *node = atomic_load_explicit(place, memory_order_acquire);
    bool has = node != NULL && head_try_incref(actor->thread, &node->head, place);
    fl_read_unlock(actor->thread);
    atomic_fetch_add_explicit(has ? &taken : &missed, 1, memory_order_relaxed);
    if (has)
        take(actor, reference_to(node));
}

static void post(struct actor *actor)
{
    _Atomic(struct node *) *mailbox = &actor->world->mailboxes[stress_below(actor->rng, MAILBOXES)];
    struct reference *mine = &actor->hand[stress_below(actor->rng, HAND)];
    *mine = reference_to(atomic_exchange_explicit(mailbox, mine->node, memory_order_acq_rel));
}

static void play(struct actor *actor)
{
    struct reference reference = actor->hand[stress_below(actor->rng, HAND)];
    uint64_t count = stress_below(actor->rng, 20);
    if (reference.node == NULL)
        return take(actor, create(actor));
    for (uint64_t i = 0; i < count; i++)
        head_incref(actor->thread, &reference.node->head);
    for (uint64_t i = 0; i < count; i++)
        drop(actor, reference);
}

static void rest(struct actor *actor)
{
    switch (stress_below(actor->rng, 4)) {
    case 0:
        fl_thread_offline(actor->thread);
        fl_thread_online(actor->thread);
        break;
    case 1:
        stress_detach(actor->thread);
        actor->thread = stress_attach(actor->world->heap);
        break;
    default:
        fl_merge(actor->thread);
    }
}

static void work(struct stress_worker *worker)
{
    struct actor actor = {.world = worker->shared, .rng = &worker->rng, .owner = worker->index};
    actor.thread = stress_attach(actor.world->heap);
    while (!stress_stopped()) {
        uint64_t choice = stress_below(actor.rng, 100);
        if (choice < 25)
            place_one(&actor);
        else if (choice < 60)
            look(&actor);
        else if (choice < 80)
            post(&actor);
        else if (choice < 97)
            play(&actor);
        else
            rest(&actor);
    }
    for (unsigned i = 0; i < HAND; i++)
        drop(&actor, actor.hand[i]);
    stress_detach(actor.thread);
}

int main(int argc, char **argv)
{
    struct stress_args args = stress_parse(argc, argv, "stress_count");
    static struct world world;
    STRESS_REQUIRE(head_type_ready(&plain_type) == 0);
    STRESS_REQUIRE(head_type_ready(&clear_type) == 0);
    world.heap = stress_heap_create(&(struct fl_options){.grace = args.grace, .header = &head_header});
    head_prepare(world.heap);
    stress_run(&args, work, &world);

    struct stress_rng rng = stress_rng_make(args.seed, args.threads);
    struct actor actor = {.world = &world, .thread = stress_attach(world.heap), .rng = &rng};
    for (unsigned i = 0; i < PLACES; i++)
        drop(&actor, reference_to(atomic_load(&world.places[i])));
    for (unsigned i = 0; i < MAILBOXES; i++)
        drop(&actor, reference_to(atomic_load(&world.mailboxes[i])));
    stress_detach(actor.thread);
    printf("taken without a lock: %lu, missed: %lu\n", atomic_load(&taken), atomic_load(&missed));
    stress_heap_finish(world.heap);
    return 0;
}
