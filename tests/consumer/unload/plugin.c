/* SPDX-License-Identifier: MIT
 *
 * A plug-in that carries the static library. Its functions return 0 where all is well.
 */
#include <freelane/freelane.h>

#define EXPORT __attribute__((visibility("default")))

enum { SIZE = 48, MANY = 1000 };

EXPORT int plugin_use(enum fl_grace grace);
EXPORT int plugin_keep(void);
EXPORT size_t plugin_kept_blocks(void);

static struct fl_heap *kept;

static int use(struct fl_heap *heap, enum fl_grace grace)
{
    struct fl_thread *thread = fl_thread_attach(heap);
    if (thread == NULL)
        return -1;
    for (int i = 0; i < MANY; i++) {
        void *block = fl_alloc(thread, SIZE);
        if (block == NULL)
            return -2;
        if (grace != FL_GRACE_NONE)
            fl_free_deferred(thread, block, SIZE);
        else
            fl_free(thread, block);
    }
    if (grace != FL_GRACE_NONE && fl_heap_barrier(heap) != 0)
        return -3;
    return fl_thread_detach(thread);
}

/* A heap that comes and goes. */
int plugin_use(enum fl_grace grace)
{
    char error[256];
    struct fl_heap *heap = fl_heap_create(&(struct fl_options){.grace = grace}, error, sizeof error);
    if (heap == NULL) {
        fprintf(stderr, "%s\n", error);
        return -10;
    }
    int failed = use(heap, grace);
    if (failed == 0 && fl_heap_check(heap, error, sizeof error) != 0) {
        fprintf(stderr, "%s\n", error);
        failed = -11;
    }
    int destroyed = fl_heap_destroy(heap);
    return failed != 0 ? failed : destroyed;
}

/* A block more in a heap that stays, by a handle that the thread's exit detaches. */
int plugin_keep(void)
{
    if (kept == NULL)
        kept = fl_heap_create(NULL, NULL, 0);
    struct fl_thread *thread = kept != NULL ? fl_thread_attach(kept) : NULL;
    void *block = thread != NULL ? fl_alloc(thread, SIZE) : NULL;
    fl_free(fl_thread_self(), fl_alloc(fl_thread_self(), SIZE));
    return block != NULL ? 0 : -1;
}

size_t plugin_kept_blocks(void)
{
    struct fl_stats stats;
    if (kept == NULL)
        return 0;
    fl_heap_stats(kept, &stats);
    return stats.live_blocks;
}

#if defined(USE_IN_CONSTRUCTOR)
__attribute__((constructor)) static void construct(void)
{
    if (plugin_use(FL_GRACE_NONE) != 0)
        __builtin_abort();
}
#endif
