/* SPDX-License-Identifier: MIT
 *
 * A heap: what its caches stand on, the threads attached to it, and what it is asked to do by itself.
 *
 * Locks, in the order in which they are taken:
 *
 *     default               the default heap's creation
 *     registry (registry.h) the list of heaps, the threads of each heap, their bindings to OS threads
 *     service               the thread that serves unattached and exited threads
 *     trim                  one trim at a time
 *     deferred              one step of the deferred blocks at a time
 *     homes                 who lives where
 *     a home (home.h)       of several at a time only the first is waited for
 *     slabs, magazines, large, and the locks inside the grace periods
 *
 * The host's callbacks and its misuse handler are called with no lock held.
 */
#ifndef FLI_HEAP_H
#define FLI_HEAP_H

#include "base/list.h"
#include "heap/bound.h"
#include "heap/retired.h"
#include "pool/deferred.h"

struct fli_thread;

/* Held while the default heap is made. */
extern struct fli_mutex fli_default_lock;

/* Counters of threads that have detached. */
struct fli_totals {
    uint64_t exchanges, updates, cas_failures, home_visits;
};

struct fl_heap {
    struct fli_backing backing;

    /* Constant once made. */
    char *mapping;
    size_t mapping_bytes;
    struct fl_options options;
    struct fli_grace grace;
    bool is_default;

    struct fli_deferred deferred;
    FLI_ATOMIC(int64_t) stall_told; /* the grace period whose stalled readers have been named */

    /* Under the registry lock. */
    FLI_LINKS(struct fl_heap) in_registry;
    struct fli_thread *threads;
    size_t thread_count;
    size_t leaving; /* of these, flushed for the last time */
    struct fli_totals detached;
    size_t lost[FL_CLASS_COUNT]; /* blocks in caches of threads that a fork left behind */
    size_t lost_magazines;
    bool world_stopped; /* the host says so, for the next fork */
    bool has_lost;      /* a fork has left threads behind: what they had in hand is not known */
    struct fli_mutex service_lock;
    struct fli_thread *service;

    struct fli_mutex trim_lock;
    struct fli_bound bound;
    struct fli_retired retired;
    struct fli_pool_counters trim_counters;
    FLI_ATOMIC(uint64_t) flushes;
    FLI_ATOMIC(uint64_t) trims;
    FLI_ATOMIC(uint64_t) trimmed_bytes;
};

/* Whether retired slabs wait. A hint. */
static inline bool fli_retired_is_waiting(struct fl_heap *heap)
{
    return fli_load_hint(&heap->backing.slabs.retired) > 0;
}

/* Makes a heap, of options that are resolved first. NULL with errno set, and a message. */
struct fl_heap *fli_heap_create(const struct fl_options *options, bool is_default, char *error, size_t error_size);

#endif
