/* SPDX-License-Identifier: MIT
 *
 * Attachments of threads to heaps: attach, detach, flush, offline, online.
 *
 *     struct fli_thread, the whole behind a struct fl_thread
 *     +--------------------------------+
 *     | face: caches as fast paths see |  ABI (inline.h)
 *     +--------------------------------+
 *     | the first range of slabs       |  what fl_free looks up a block's class with
 *     | heap, home                     |
 *     | checked caches                 |  checked builds: the real ones; the face's stay without capacity
 *     | what is deferred               |  which places of the face are in use
 *     | dead objects                   |  those that wait for their callbacks (dead.h)
 *     | links                          |  under the registry lock
 *     +--------------------------------+
 *
 * The handle's thread alone uses the face, the caches and what is deferred (`_owner`). Other threads read counters and
 * sizes for statistics, and flush the handle while it is offline.
 *
 * Two constant handles stand in where an OS thread has none: `unattached` until it first uses the default heap, and
 * `exited` from its exit on. Their caches have no capacity, so every call on them takes its slow half. That enters
 * through fli_serve_enter (serve.h).
 *
 * A handle is left once the exit of its OS thread has detached it. Later destructors of that thread may still use it.
 * Like a stand-in it has no capacity, but its heap serves its calls. It is freed when the OS thread is gone.
 */
#ifndef FLI_THREAD_H
#define FLI_THREAD_H

#include "base/list.h"
#include "heap/dead.h"
#include "heap/heap.h"
#include "heap/os_thread.h"
#include "heap/queue.h"

/* What `later` is where the heap is not known: a type that may end later on some heap is looked at. */
enum { FLI_LATER_UNKNOWN = 0xff };

struct fli_thread {
    struct fl_thread face;

    /* Of one range of the heap (memory/range.h): the first, or a larger one. Only the owner uses them. */
    uintptr_t slabs_base;
    size_t slabs_span; /* 0 in the stand-ins: they own no block */
    FLI_ATOMIC(uint8_t) * slab_classes;

    const struct fl_header *header;      /* of the heap, where there are stale readers */
    FLI_PLAIN(struct fl_cache *) caches; /* the caches, by class: where slow halves find them */
    void ***deferred;                    /* the same of its magazines of deferred blocks */
    FLI_ATOMIC(unsigned) sections;       /* read-side sections begun and not ended through this handle */
    FLI_ATOMIC(bool) is_quick;           /* it is attached, and slow halves need not look for a trace (trace.h) */
    FLI_ATOMIC(uint8_t) is_pending;      /* the byte for the host's eval breaker; other threads set it, too */
    uint8_t later;        /* the bit of the heap's option in fl_type.later; all bits in the stand-ins */
    uint8_t timed;        /* a constant of api/pending.h: whether fl_run_pending runs with a budget of time */
    struct fl_heap *heap; /* NULL in the stand-ins, and once the handle is left */
    struct fli_owner owner;
    void *context;
    struct fli_callback refilling; /* on_refill */
    union {
        const void *stack; /* the host's name for the stack that the thread is on */
        struct fl_heap
            *left; /* `heap` is NULL: the heap that it was of, if the exit of its OS thread has detached it */
    };
    struct fli_dead *dead;       /* dead objects of a stack, if it is the present one */
    struct fli_dead *quick_dead; /* the same if it is that of the present stack; else FLI_DEAD_NONE */
    struct fli_dead *other_dead; /* those of other stacks */
    struct fli_queue *queue;     /* those that end later */
    struct fl_cache checked[FLI_CHECKED ? FL_CLASS_COUNT : 0];
    void **checked_deferred[FLI_CHECKED ? FL_CLASS_COUNT : 0];
    struct fli_class_set deferring; /* classes of which it has a magazine of deferred blocks */

    /* Under the registry lock. */
    FLI_LINKS(struct fli_thread) in_heap;        /* the heap's threads */
    FLI_PLAIN(struct fli_os_thread *) os_thread; /* NULL while offline */
    FLI_LINKS(struct fli_thread) in_os_thread;   /* the handles bound to it */
    bool is_self;                                /* what fl_thread_self returns on its OS thread */
    FLI_PLAIN(bool) leaves;                      /* has been flushed for the last time */
    FLI_PLAIN(bool) offline;                     /* no thread uses it */
    FLI_PLAIN(bool) diverted;                    /* it is traced; also read by the owning thread */
    uint32_t guest; /* what a layer above keeps of the handle, or 0 (guest.h); the owning thread's */
    FLI_PLAIN(const void *) detacher; /* the OS thread that detaches it (self.h); NULL: none does */
    struct fli_callback detaching;    /* the call of fl_thread_detach, if it is one that detaches it */
};

/* Caches and magazines of deferred blocks, where no fast path looks for them. */
struct fli_aside {
    struct fl_cache caches[FL_CLASS_COUNT];
    void **deferred[FL_CLASS_COUNT];
};

/* The whole behind a handle. */
static inline struct fli_thread *fli_thread_of(const struct fl_thread *face)
{
    return (struct fli_thread *)(void *)face;
}

/* Has a thread call fl_run_pending at its next safepoint, if its host looks at the byte. Any thread. */
static inline void fli_thread_alert(struct fli_thread *thread)
{
    /* Q1: release, pairs with Q2 in fli_queue_settle_owner: what there is to do can be seen. */
    fli_store_release(&thread->is_pending, 1);
}

/* Whether a handle is a stand-in, or is left. */
static inline bool fli_thread_is_stand_in(const struct fl_thread *face)
{
    return fli_thread_of(face)->heap == NULL;
}

/* Whether a handle is that of a real-time thread. The owning thread. */
static inline bool fli_thread_is_realtime(const struct fl_thread *face)
{
    return FLI_UNLIKELY(fli_thread_of(face)->owner.realtime);
}

/* The heap that a handle was of, if it is left, or NULL. */
static inline struct fl_heap *fli_thread_left(const struct fl_thread *face)
{
    const struct fli_thread *thread = fli_thread_of(face);
    return thread->heap == NULL ? thread->left : NULL;
}

/* The cache that the slow halves work on. */
static inline struct fl_cache *fli_thread_cache(struct fli_thread *thread, unsigned class_index)
{
    return &thread->caches[class_index];
}

/* Where the thread keeps its magazine of deferred blocks of a class. */
static inline void ***fli_thread_deferred(struct fli_thread *thread, unsigned class_index)
{
    return &thread->deferred[class_index];
}

/* Bytes of a handle of the heap: with stale readers, and of a hardened heap, a struct fli_aside lies behind it. */
static inline size_t fli_thread_bytes(const struct fl_heap *heap)
{
    bool has_aside = heap->options.header != NULL || heap->hardened;
    return sizeof(struct fli_thread) + (has_aside ? sizeof(struct fli_aside) : 0);
}

/* Whether the caches lie in the aside: with stale readers while the thread is traced; in a hardened heap always. */
static inline bool fli_thread_is_aside(const struct fli_thread *thread, bool traced)
{
    return traced && (thread->header != NULL || thread->heap->hardened);
}

/* The half of the face where they lie otherwise. While a thread is traced, it is the half where only types of other
 * heaps would look. With stale readers, untyped frees look there. */
static inline size_t fli_thread_half(const struct fli_thread *thread, bool traced)
{
    return thread->header != NULL || traced ? FL_CLASS_COUNT : 0;
}

/* Where the caches of a thread lie, by class, and its magazines of deferred blocks. */
static inline struct fl_cache *fli_thread_place(struct fli_thread *thread, bool traced)
{
    if (FLI_CHECKED)
        return thread->checked;
    return fli_thread_is_aside(thread, traced) ? ((struct fli_aside *)(thread + 1))->caches
                                               : &thread->face.cache[fli_thread_half(thread, traced)];
}

static inline void ***fli_thread_deferred_place(struct fli_thread *thread, bool traced)
{
    if (FLI_CHECKED)
        return thread->checked_deferred;
    return fli_thread_is_aside(thread, traced) ? ((struct fli_aside *)(thread + 1))->deferred
                                               : &thread->face.deferred[fli_thread_half(thread, traced)];
}

/* The OS thread that an online handle is bound to, as a reader. */
static inline struct fli_reader *fli_thread_reader(struct fli_thread *thread)
{
    return &thread->os_thread->readers[thread->heap->grace.kind];
}

/* Read-side sections begun and not ended through the handle. The owning thread. */
static inline unsigned fli_thread_sections(const struct fli_thread *thread)
{
    return fli_load_own(&thread->sections);
}

/* Whether the handle is inside a read-side section, or its OS thread is inside one of the same kind of grace
 * periods. */
bool fli_thread_is_inside(const struct fli_thread *thread);

/* Attaches the calling OS thread to a heap, as its fl_thread_self. NULL if memory is refused or the thread exits. */
struct fli_thread *fli_thread_attach_self(struct fl_heap *heap);

/* Creates a handle that is not attached, with a home. Returns NULL if memory is refused. */
struct fli_thread *fli_thread_create(struct fl_heap *heap);

/* Tells a thread of a range whose blocks fl_free then judges without a look at the heap. Not on a watched or hardened
 * heap. */
void fli_thread_know_range_owner(struct fli_thread *thread, const struct fli_range *range);

/* Frees one that never was attached. Its home goes with the others. */
void fli_thread_destroy(struct fli_thread *thread);

/* fli_large_alloc and fli_large_alloc_page for the thread. */
static inline void *fli_thread_alloc_large(struct fli_thread *thread, size_t size, bool zeroed)
{
    struct fli_large *large = &thread->heap->backing.large;
    const struct fli_owner *owner = &thread->owner;
    return FLI_UNLIKELY(owner->realtime) ? fli_large_alloc_realtime(large, owner->large_shard, size, zeroed)
                                         : fli_large_alloc(large, owner->large_shard, size, zeroed);
}

static inline void *fli_thread_alloc_large_page(struct fli_thread *thread, size_t size)
{
    const struct fli_owner *owner = &thread->owner;
    return fli_large_alloc_page(&thread->heap->backing.large, owner->large_shard, size, owner->realtime);
}

/* Sends all blocks in the thread's caches home. The owning thread, or any other while that is stopped. */
void fli_thread_flush_owner(struct fli_thread *thread);

/* Whether the calling OS thread is inside a read-side section that a grace period of the heap waits for. */
bool fli_thread_caller_is_inside(struct fl_heap *heap);

/* Flushes the handles of a heap that no thread uses now: those that are offline, and if the world is stopped all. */
void fli_thread_flush_unused(struct fl_heap *heap, bool stopped);

/* Ends the attachment of a handle that has been claimed (os_thread.h). The caller frees the handle. */
void fli_thread_end_claimed(struct fli_thread *thread);

/* Notes that the calling OS thread exits: fl_thread_self returns the stand-in `exited` from now on. */
void fli_thread_note_exit(void);

/* Removes a thread from the registry. Under the registry lock. */
void fli_thread_remove_locked(struct fli_thread *thread);

#endif
