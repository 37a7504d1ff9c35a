/* SPDX-License-Identifier: MIT
 *
 * What fl_heap_check verifies of a profile: the equations of profile.h.
 */
#include "base/check.h"
#include "heap/profile.h"
#include "memory/block.h"

#include <errno.h>

struct walk {
    struct fl_heap *heap;
    struct fli_profile *profile;
    const uint64_t *seen;
    size_t samples;
    char *error;
    size_t error_size;
};

/* Whether the block starts in a slab, at a block that is not free. One above FL_BLOCK_MAX is not looked up. */
static bool may_be_live(const struct walk *walk, const void *block)
{
    struct fli_slabs *slabs = &walk->heap->backing.slabs;
    unsigned class_index = fli_slab_class_of(slabs, block);
    if (class_index == 0)
        return true;
    size_t index = fli_slab_block_index(slabs, class_index, block);
    size_t word = (size_t)fli_slab_number(slabs, block) * FLI_SLAB_BIT_WORDS + index / 64;
    return fli_block_is_start(slabs, class_index, block) && (walk->seen[word] >> index % 64 & 1) == 0;
}

static int see(struct walk *walk, const struct fli_sample *sample, size_t head)
{
    walk->samples++;
    sample->site->found++;
    if (fli_sampled_head(sample->block) != head)
        return fli_complain(-EUCLEAN, walk->error, walk->error_size,
                            "the sample %p of the profile is in a wrong place", sample->block);
    if (fli_load_own(&walk->profile->mean) != 0 && !may_be_live(walk, sample->block))
        return fli_complain(-EUCLEAN, walk->error, walk->error_size, "%p is a sample of the profile, but is not live",
                            sample->block);
    return 0;
}

static int walk_samples(struct walk *walk)
{
    int failed = 0;
    for (size_t i = 0; i < FLI_SAMPLED_HEADS && failed == 0; i++) {
        const struct fli_sample *sample = fli_load_own(&walk->profile->sampled.heads[i]);
        for (; sample != NULL && failed == 0; sample = sample->next)
            failed = see(walk, sample, i);
    }
    return failed;
}

static int check_counts(struct walk *walk)
{
    struct fli_profile *profile = walk->profile;
    if (walk->samples != profile->sampled.count)
        return fli_complain(-EUCLEAN, walk->error, walk->error_size, "the profile has %zu samples, but counts %zu",
                            walk->samples, profile->sampled.count);
    for (const struct fli_site *site = profile->sites.newest; site != NULL; site = site->older)
        if (site->found != site->live || site->live > site->allocated)
            return fli_complain(-EUCLEAN, walk->error, walk->error_size,
                                "a site of the profile has %zu samples, but counts %zu of %zu", site->found,
                                site->live, site->allocated);
    return 0;
}

static int check_locked(struct walk *walk)
{
    for (struct fli_site *site = walk->profile->sites.newest; site != NULL; site = site->older)
        site->found = 0;
    int failed = walk_samples(walk);
    return failed == 0 ? check_counts(walk) : failed;
}

int fli_profile_check(struct fl_heap *heap, const uint64_t *seen, char *error, size_t error_size)
{
    struct walk walk = {.heap = heap, .seen = seen, .error = error, .error_size = error_size};
    fli_lock(&heap->profile_lock);
    walk.profile = heap->profile;
    int failed = walk.profile != NULL ? check_locked(&walk) : 0;
    fli_unlock(&heap->profile_lock);
    return failed;
}
