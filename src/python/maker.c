/* SPDX-License-Identifier: MIT */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/maker.h"

#include "heap/options.h"
#include "heap/share.h"
#include "python/stop.h"

#include <errno.h>

/* How often threads do without a heap, once the OS has refused the memory for it. */
enum { DO_WITHOUT = FLI_RARE_PATHS ? 2 : 1023 };

static struct fli_mutex making = FLI_MUTEX_INITIALIZER(FLI_RANK_DEFAULT);

/* With stale readers, slabs can be retired at stops only, so the heap retains everything between these (pace.h). */
static struct fl_options options_of(const struct fli_py_maker *maker, const struct fl_py_options *given)
{
    struct fl_options options = {.retain_bytes = given->retain_bytes,
                                 .limit_bytes = given->limit_bytes,
                                 .reserve_bytes = given->reserve_bytes,
                                 .header = maker->header};
    if (options.header != NULL) {
        options.retain_bytes = SIZE_MAX;
        options.grace = FL_GRACE_HOST;
        options.grace_host = &fli_py_stop_grace;
    }
    return options;
}

/* Creates the heap, with a smaller range if the OS refuses the address space. */
static struct fl_heap *create_heap(const struct fli_py_maker *maker, const struct fl_py_options *given)
{
    struct fl_options options = options_of(maker, given);
    struct fl_heap *heap = fl_heap_create(&options, NULL, 0);
    while (heap == NULL && errno == ENOMEM && options.reserve_bytes / 2 >= FLI_RESERVE_MIN) {
        options.reserve_bytes /= 2;
        heap = fl_heap_create(&options, NULL, 0);
    }
    if (heap != NULL)
        fli_share_bound_racks(heap, given->retain_bytes);
    return heap;
}

/* Tells the fast paths where the slabs lie. A thread that has got a block of these sees it. */
static void show_slabs(struct fl_py_slabs *slabs, const struct fl_heap *heap)
{
    const struct fli_range *range = &heap->backing.slabs.ranges.at[0];
    fli_store_public(&slabs->base, (uintptr_t)range->base);
    fli_store_public(&slabs->bytes, range->span);
}

static void make_locked(struct fli_py_maker *maker, const struct fl_py_options *options)
{
    fli_assert_held(&making);
    bool prepared = maker->prepare == NULL || maker->prepare() == 0;
    struct fl_heap *heap = prepared ? create_heap(maker, options) : NULL;
    if (heap == NULL) {
        fli_store_hint(&maker->do_without, DO_WITHOUT);
        return;
    }
    show_slabs(maker->slabs, heap);
    /* O3: release, pairs with O4 in fli_py_maker_get: the heap is whole, and so is what `prepare` has made. */
    fli_store_release(&maker->heap, heap);
}

struct fl_heap *fli_py_maker_get(const struct fli_py_maker *maker)
{
    /* O4: acquire, pairs with O3 in make_locked. */
    return fli_load_acquire(&maker->heap);
}

struct fl_heap *fli_py_maker_make(struct fli_py_maker *maker, const struct fl_py_options *options)
{
    struct fl_heap *heap = fli_py_maker_get(maker);
    unsigned without = fli_load_hint(&maker->do_without);
    if (heap != NULL)
        return heap;
    if (without > 0) {
        fli_store_hint(&maker->do_without, without - 1);
        return NULL;
    }
    int saved = errno;
    fli_lock(&making);
    if (fli_load_own(&maker->heap) == NULL)
        make_locked(maker, options);
    heap = fli_load_own(&maker->heap);
    fli_unlock(&making);
    errno = saved;
    return heap;
}

#endif
