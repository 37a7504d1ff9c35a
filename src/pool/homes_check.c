/* SPDX-License-Identifier: MIT
 *
 * What fl_heap_check verifies of homes: each slab at home is where it says, on the list that fits its free blocks, full,
 * or current. No other thread uses the heap meanwhile, so the atomics are relaxed.
 */
#include "base/check.h"
#include "pool/homes.h"

#include <errno.h>

/* A look at the homes' slabs of one class. */
struct look {
    const struct fli_slabs *slabs;
    unsigned class_index;
    uint32_t listed;      /* slabs on lists */
    size_t free_slabs;    /* how many of these are all free */
    uint32_t free_blocks; /* of one home */
    char *error;
    size_t error_size;
};

int fli_homes_check_place(const struct fli_slabs *slabs, unsigned class_index, uint32_t slab, char *error,
                          size_t error_size)
{
    const struct fli_slab *record = fli_slab_at(slabs, slab);
    const struct fli_home_class *class = &fli_load_relaxed(&record->home)->classes[class_index];
    unsigned quarter = record->free == 0 ? FLI_HOME_FULL : record->free * FLI_HOME_QUARTERS / record->blocks;
    bool right = class->current == slab ? record->list == FLI_HOME_CURRENT : record->list == quarter;
    if (record->class_index == class_index && right)
        return 0;
    return fli_complain(-EUCLEAN, error, error_size,
                        "slab %u of class %u with %u of %u blocks free is in place %u of its home", slab,
                        record->class_index, record->free, record->blocks, record->list);
}

/* Verifies that a slab is at home where the home has it, and adds its free blocks. */
static int check_named(struct look *look, const struct fli_home *home, uint32_t slab, unsigned list)
{
    const struct fli_slab *record = slab <= look->slabs->committed ? fli_slab_at(look->slabs, slab) : NULL;
    if (record == NULL || record->class_index != look->class_index || record->list != list ||
        fli_load_relaxed(&record->home) != home)
        return fli_complain(-EUCLEAN, look->error, look->error_size,
                            "place %u of class %u of a home names slab %u, which is not there", list,
                            look->class_index, slab);
    look->free_blocks += record->free;
    return 0;
}

/* Looks at the slabs on one list of a home. */
static int check_list(struct look *look, const struct fli_home *home, unsigned list)
{
    uint32_t before = 0, slab = home->classes[look->class_index].lists[list];
    for (; slab != 0; look->listed++) {
        int failed = check_named(look, home, slab, list);
        if (failed != 0)
            return failed;
        const struct fli_slab *record = fli_slab_at(look->slabs, slab);
        if (record->previous != before)
            return fli_complain(-EUCLEAN, look->error, look->error_size,
                                "slab %u of class %u on a list of its home does not follow slab %u", slab,
                                look->class_index, before);
        look->free_slabs += list == FLI_HOME_FREE;
        before = slab;
        slab = record->next;
    }
    return 0;
}

/* Looks at what a home has of the class. The free blocks that it counts are those of its slabs: full ones have none. */
static int check_home(struct look *look, const struct fli_home *home)
{
    const struct fli_home_class *class = &home->classes[look->class_index];
    uint32_t counted = fli_load_relaxed(&class->free);
    int failed = 0;
    look->free_blocks = 0;
    if (class->current != 0)
        failed = check_named(look, home, class->current, FLI_HOME_CURRENT);
    for (unsigned list = 0; list < FLI_HOME_LISTS && failed == 0; list++)
        failed = check_list(look, home, list);
    if (failed == 0 && counted != look->free_blocks)
        failed = fli_complain(-EUCLEAN, look->error, look->error_size,
                              "a home has %u free blocks of class %u, but counts %u", look->free_blocks,
                              look->class_index, counted);
    return failed;
}

/* No home lists a slab twice, because each slab says which one is before it. So if there are as many on lists as say so,
 * these are the same. */
int fli_homes_check_lists(struct fli_homes *homes, unsigned class_index, uint32_t on_lists, size_t *free_slabs,
                          char *error, size_t error_size)
{
    struct look look = {.slabs = homes->slabs, .class_index = class_index, .error = error, .error_size = error_size};
    int failed = 0;
    for (const struct fli_home *home = fli_homes_first(homes); home != NULL && failed == 0; home = home->next)
        failed = check_home(&look, home);
    *free_slabs += look.free_slabs;
    if (failed == 0 && look.listed != on_lists)
        failed = fli_complain(-EUCLEAN, error, error_size,
                              "%u slabs of class %u are on the lists of homes, but %u say so", look.listed,
                              class_index, on_lists);
    return failed;
}
