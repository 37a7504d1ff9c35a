/* SPDX-License-Identifier: MIT
 *
 * The dead objects that wait on a thread, and the objects that it keeps, as the child of a fork may find them
 * (snapshot.h): whatever counts there is an object that waits or is kept, with its own type or bytes, and it is there
 * once. What does not count in the child lives there for ever, so objects may be missing. What is done to an object
 * that was taken is left out: it happens in callbacks, before which a compiler stores what the library has changed.
 *
 * usage: snapshot_dead stack|under|spill|refill|linked|pile|adopted|placed|kept
 */
#include "snapshot.h"

#include "heap/dead.h"
#include "heap/thread.h"
#include "object/keep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OBJECTS = 32 };

/* An object with a type of its own, so that it is seen when the two do not belong together. */
struct node {
    _Alignas(16) uintptr_t words[2];
    bool has_died;
};

static struct node nodes[OBJECTS];
static struct fl_type types[OBJECTS];
static struct fl_heap *heap;
static struct fli_thread *thread;
static struct fli_dead *list;
static unsigned came; /* objects that have come */

static const struct fli_magazines *magazines(void)
{
    return &heap->backing.magazines;
}

static struct fli_dead_object object(unsigned number)
{
    return (struct fli_dead_object){(uintptr_t)&nodes[number], &types[number]};
}

static void begin(void)
{
    struct fl_options options = {.decay_ms = FL_DECAY_NEVER};
    char error[256];
    heap = fl_heap_create(&options, error, sizeof error);
    struct fl_thread *face = heap != NULL ? fl_thread_attach(heap) : NULL;
    SNAPSHOT_ASSERT(face != NULL);
    thread = fli_thread_of(face);
    list = thread->dead;
    for (unsigned i = 0; i < OBJECTS; i++)
        types[i] = (struct fl_type){
            .name = "node", .size = sizeof(struct node), .flags = FL_TYPE_HAS_WORDS, .words_offset = 0};
}

/* ---- What counts. */

static unsigned seen[OBJECTS];

static void see(struct fli_dead_object found)
{
    unsigned number = (unsigned)((struct node *)fli_dead_address(found.entry) - nodes);
    SNAPSHOT_ASSERT(number < OBJECTS);
    SNAPSHOT_ASSERT(found.type == &types[number]);
    SNAPSHOT_ASSERT(nodes[number].has_died);
    SNAPSHOT_ASSERT(seen[number]++ == 0);
}

static void see_pile(struct fli_pile *pile)
{
    struct fli_magazine *magazine = fli_chain_first(&pile->magazines, magazines());
    uintptr_t link = fli_load_own(&pile->linked);
    for (; magazine != NULL; magazine = fli_chain_behind(magazine, magazines()))
        for (unsigned i = 0; i < fli_magazine_count(magazine); i++)
            see(fli_pair_get(&fli_pile_pairs(magazine)[i]));
    while (link != 0)
        see(fli_pile_behind(&link));
}

static void look(void *context)
{
    (void)context;
    memset(seen, 0, sizeof seen);
    for (size_t i = 0; i < fli_load_own(&list->places.count); i++)
        see(fli_dead_at(&list->places, i));
    see_pile(&list->places.pile);
}

/* ---- The stack. */

static void put(struct fli_thread *server)
{
    struct fli_dead_object next = object(came);
    nodes[came++].has_died = true;
    SNAPSHOT_ASSERT(fli_dead_put(list, next) || fli_dead_put_full(list, next, server));
}

static void put_many(unsigned objects, struct fli_thread *server)
{
    while (objects-- > 0)
        put(server);
}

static void take(void)
{
    SNAPSHOT_ASSERT(fli_dead_take(list, magazines()).type != NULL);
}

static void put_one(void *context)
{
    put(context);
}

static void take_one(void *context)
{
    (void)context;
    take();
}

static void take_and_put(void *context)
{
    take();
    put(context);
}

static void put_full(void)
{
    put_many(FLI_DEAD_STACK, thread);
    snapshot_each(put_one, look, thread);
}

static void refill(void)
{
    put_many(FLI_DEAD_STACK + 2, thread);
    while (fli_load_own(&list->places.count) > FLI_DEAD_WINDOW)
        take();
    snapshot_each(take_one, look, NULL);
}

static void linked(void)
{
    put_many(FLI_DEAD_STACK, NULL);
    snapshot_each(put_one, look, NULL);
    snapshot_each(take_and_put, look, NULL);
}

/* ---- A list that another thread has left. */

static struct fli_dead *left;

static void adopt(void *context)
{
    (void)context;
    fli_dead_adopt(list, left, thread);
}

static void adopted(void)
{
    left = list;
    put_many(3, NULL);
    list = fli_dead_create(FLI_WAITS);
    SNAPSHOT_ASSERT(list != NULL);
    /* With an allocator of its own, so that its bytes stay when it is freed. */
    snapshot_each(adopt, look, NULL);
}

/* ---- A pile. */

static void pile_put(void *context)
{
    struct fli_dead_object next = object(came);
    (void)context;
    nodes[came++].has_died = true;
    SNAPSHOT_ASSERT(fli_pile_put(&list->places.pile, next, thread));
}

static void pile_take(void *context)
{
    (void)context;
    (void)fli_pile_take(&list->places.pile, magazines());
}

static void pile_take_and_put(void *context)
{
    pile_take(context);
    pile_put(context);
}

static void pile(void)
{
    for (unsigned i = 0; i < FLI_PILE_PAIRS - 1; i++)
        pile_put(NULL);
    snapshot_each(pile_put, look, NULL);
    snapshot_each(pile_take, look, NULL);
    snapshot_each(pile_take_and_put, look, NULL);
}

/* ---- A queue. */

static void look_at_queue(void *context)
{
    struct fli_queue *queue = thread->queue;
    const struct fli_dead_places *places = fli_load_own(&queue->places);
    (void)context;
    memset(seen, 0, sizeof seen);
    for (size_t i = 0; i < fli_queue_placed(queue); i++)
        see(fli_dead_at(places, i));
    see_pile(&queue->pile);
}

static void prepare(void *context)
{
    (void)context;
    fli_queue_prepare_owner(thread);
}

/* What the next magazine has held. */
static void soil_magazine(void)
{
    struct fli_magazine *magazine = fli_pile_obtain_empty(thread);
    SNAPSHOT_ASSERT(magazine != NULL);
    memset(magazine->slots, 1, sizeof magazine->slots);
    fli_stack_push_mpmc(&heap->backing.pool.empty, magazines(), magazine, &thread->owner.counters);
}

static void placed(void)
{
    struct fli_dead_object next = object(came);
    nodes[came++].has_died = true;
    SNAPSHOT_ASSERT(fli_queue_put_owner(thread, next));
    soil_magazine();
    snapshot_each(prepare, look_at_queue, NULL);
}

/* ---- Kept objects. */

static struct fl_constructed_type kept_type = {.type = {.name = "kept"}, .keep_bytes = 1 << 20};

static void keep(void *context)
{
    (void)context;
    nodes[came].has_died = true;
    SNAPSHOT_ASSERT(fli_keep_put(thread, &kept_type, &nodes[came], came + 1));
    came++;
}

static void use_again(void *context)
{
    (void)context;
    SNAPSHOT_ASSERT(fli_keep_take(thread, thread->face.kept) != NULL);
}

static void use_again_and_keep(void *context)
{
    use_again(context);
    keep(context);
}

static void look_at_kept(void *context)
{
    (void)context;
    memset(seen, 0, sizeof seen);
    const struct fli_keep_pair *top = fli_load_own(&thread->face.kept->top);
    while (((uintptr_t)top & (FL_MAGAZINE_BYTES - 1)) != FLI_KEEP_FLOOR) {
        struct node *found = (struct node *)fli_load_own(&(--top)->object);
        see((struct fli_dead_object){(uintptr_t)found, &types[found - nodes]});
    }
}

static void kept(void)
{
    keep(NULL);
    keep(NULL);
    snapshot_each(keep, look_at_kept, NULL);
    snapshot_each(use_again, look_at_kept, NULL);
    snapshot_each(use_again_and_keep, look_at_kept, NULL);
}

/* ---- The scenarios. */

static void stack(void)
{
    put_many(2, NULL);
    snapshot_each(put_one, look, NULL);
    snapshot_each(take_one, look, NULL);
    snapshot_each(take_and_put, look, NULL);
}

static void under(void)
{
    put_many(5, NULL);
    snapshot_each(take_one, look, NULL);
    snapshot_each(take_and_put, look, NULL);
}

static const struct {
    const char *name;
    void (*run)(void);
} scenarios[] = {{"stack", stack}, {"under", under},     {"spill", put_full}, {"refill", refill}, {"linked", linked},
                 {"pile", pile},   {"adopted", adopted}, {"placed", placed},  {"kept", kept}};

int main(int argc, char **argv)
{
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
        if (argc == 2 && strcmp(argv[1], scenarios[i].name) == 0) {
            begin();
            scenarios[i].run();
            return 0;
        }
    return 2;
}
