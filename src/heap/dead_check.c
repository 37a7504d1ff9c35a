/* SPDX-License-Identifier: MIT
 *
 * What fl_heap_check verifies of dead objects that wait: they are counted, and each lies in a live block of its type.
 */
#include "base/check.h"
#include "heap/dead.h"
#include "heap/registry.h"
#include "heap/thread.h"
#include "memory/block.h"

#include <errno.h>

struct walk {
    struct fl_heap *heap;
    size_t magazines, objects;
    char *error;
    size_t error_size;
};

/* Verifies an object. A block above FL_BLOCK_MAX is not looked up. */
static int see(struct walk *walk, struct fli_dead_object object)
{
    struct fli_slabs *slabs = &walk->heap->backing.slabs;
    const void *address = fli_dead_address(object.entry);
    unsigned class_index = fli_slab_class_of(slabs, address);
    walk->objects++;
    bool is_of_class = class_index == object.type->class_index || (object.type->flags & FL_TYPE_VARIABLE) != 0;
    if (is_of_class && (class_index == 0 || fli_block_is_start(slabs, class_index, address)) &&
        (class_index == 0 || !fli_block_is_free(slabs, class_index, address)))
        return 0;
    return fli_complain(-EUCLEAN, walk->error, walk->error_size, "%p waits as a dead '%s', but is none", address,
                        object.type->name);
}

static int see_all(struct walk *walk, const struct fli_pair *pairs, size_t count)
{
    int failed = 0;
    for (size_t i = 0; i < count && failed == 0; i++)
        failed = see(walk, fli_pair_get(&pairs[i]));
    return failed;
}

static int walk_stack(struct walk *walk, const struct fli_dead_places *places)
{
    int failed = 0;
    for (size_t i = 0; i < fli_load_own(&places->count) && failed == 0; i++)
        failed = see(walk, fli_dead_at(places, i));
    return failed;
}

static int walk_chain(struct walk *walk, struct fli_chain chain)
{
    const struct fli_magazines *magazines = &walk->heap->backing.magazines;
    int failed = 0;
    for (struct fli_magazine *magazine; failed == 0 && (magazine = fli_chain_take(&chain, magazines)) != NULL;) {
        walk->magazines++;
        failed = see_all(walk, fli_pile_pairs(magazine), fli_magazine_count(magazine));
    }
    return failed;
}

static int walk_linked(struct walk *walk, struct fli_pile *pile)
{
    int failed = 0;
    for (uintptr_t link = fli_load_own(&pile->linked); link != 0 && failed == 0;) {
        struct fli_dead_object object = fli_pile_behind(&link);
        failed = see(walk, object);
    }
    return failed;
}

static int walk_pile(struct walk *walk, struct fli_pile *pile)
{
    walk->objects = 0;
    int failed = walk_chain(walk, pile->magazines);
    if (failed == 0)
        failed = walk_linked(walk, pile);
    size_t count = fli_load_own(&pile->count);
    if (failed == 0 && walk->objects != count)
        failed = fli_complain(-EUCLEAN, walk->error, walk->error_size,
                              "%zu dead objects are on a pile, but counted are %zu", walk->objects, count);
    return failed == 0 ? walk_chain(walk, pile->empties) : failed;
}

static int walk_list(struct walk *walk, struct fli_dead *list)
{
    walk->magazines += list->holder != NULL;
    int failed = walk_pile(walk, &list->places.pile);
    return failed == 0 ? walk_stack(walk, &list->places) : failed;
}

static int walk_queue(struct walk *walk, struct fli_queue *queue)
{
    const struct fli_dead_places *places = fli_load_own(&queue->places);
    walk->magazines += places != NULL;
    int failed = walk_pile(walk, &queue->pile);
    return failed == 0 && places != NULL ? walk_stack(walk, places) : failed;
}

/* Verifies the queue of the service thread, and those that threads have left. */
static int walk_left_pending(struct walk *walk)
{
    int failed = walk_queue(walk, walk->heap->service->queue);
    struct fli_queue *left = fli_load_own(&walk->heap->left_queues);
    for (; left != NULL && failed == 0; left = left->next)
        failed = walk_queue(walk, left);
    return failed;
}

static int walk_lists(struct walk *walk, struct fli_dead *list)
{
    int failed = 0;
    for (; list != NULL && failed == 0; list = list->next)
        failed = walk_list(walk, list);
    return failed;
}

int fli_dead_check_locked(struct fl_heap *heap, size_t *magazines, char *error, size_t error_size)
{
    struct walk walk = {.heap = heap, .error = error, .error_size = error_size};
    fli_registry_assert_held();
    int failed = walk_lists(&walk, fli_load_own(&heap->left_dead));
    if (failed == 0)
        failed = walk_left_pending(&walk);
    for (struct fli_thread *thread = heap->threads; thread != NULL && failed == 0; thread = thread->in_heap.next) {
        failed = walk_list(&walk, thread->dead);
        if (failed == 0)
            failed = walk_queue(&walk, thread->queue);
        if (failed == 0)
            failed = walk_lists(&walk, thread->other_dead);
    }
    *magazines += walk.magazines;
    return failed;
}
