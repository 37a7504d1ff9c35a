/* SPDX-License-Identifier: MIT
 *
 * A heap: the memory behind its caches, the threads attached to it, its deferred blocks and its trims. heap.c
 * creates and destroys it; the other files of this folder each own a part of struct fl_heap.
 *
 * Locks, in the order in which they are taken:
 *
 *     default               the default heap's creation
 *     registry (registry.h) the list of heaps, the threads of each heap, their bindings to OS threads
 *     caretaker             the heaps that a thread of the library looks after (caretaker.h)
 *     service               the thread that serves unattached and exited threads
 *     trim                  one trim at a time
 *     deferred              one step of the deferred blocks at a time
 *     homes                 which thread lives in which home
 *     a home (home.h)       of several at a time only the first is waited for
 *     slabs, magazines, large, profile, and the locks inside the grace periods
 *
 * No lock is held while a callback of the host or its misuse handler runs.
 */
#ifndef FLI_HEAP_H
#define FLI_HEAP_H

#include "base/list.h"
#include "heap/bound.h"
#include "heap/decay.h"
#include "heap/retired.h"
#include "pool/deferred.h"

struct fli_dead;
struct fli_guest;
struct fli_profile;
struct fli_queue;
struct fli_thread;
struct fli_walk;

/* Held while the default heap is created. */
extern struct fli_mutex fli_default_lock;

struct fl_heap {
    struct fli_backing backing;

    /* Constant once made. */
    char *mapping;
    size_t mapping_bytes;
    struct fl_options options;
    struct fli_grace grace;
    bool is_default;
    bool is_placed;  /* among other heaps' records (record.h) */
    bool watched;    /* by a tool that looks at memory (base/watch.h) */
    bool hardened;   /* the option, where every call looks */
    bool is_in_care; /* of the caretaker */

    struct fli_deferred deferred;
    FLI_ATOMIC(const struct fl_trace *) trace; /* the one that is on (trace.h); written under the registry lock */
    FLI_ATOMIC(int64_t) stall_told;            /* the grace period whose stalled readers have been named */

    /* Under the registry lock. Those behind the counters share a line with locks: a fork reads them. */
    struct fli_pool_counters detached; /* of threads that are gone */
    size_t lost[FL_CLASS_COUNT];       /* blocks in caches of threads that a fork left behind */
    size_t lost_magazines;
    FLI_ON_OWN_LINE size_t in_registry; /* its place (registry.h) */
    FLI_PLAIN(struct fli_thread *) threads;
    FLI_PLAIN(size_t) thread_count;
    size_t racks_most;         /* bytes that all racks together may hold; 0: what the options say */
    size_t levelled;           /* the share of a rack when racks were last looked at, see share.h */
    FLI_PLAIN(size_t) leaving; /* how many threads have been flushed for the last time */
    bool world_stopped;        /* the host says so, for the next fork */
    bool is_aside;             /* during a fork: what its threads share without a lock */
    bool has_lost;             /* a fork has left threads behind: the blocks that they had in hand are not known */
    FLI_ATOMIC(struct fli_dead *)
    left_dead; /* dead objects that threads have left; drains look whether there are any */
    FLI_ATOMIC(struct fli_queue *)
    left_queues; /* likewise those that end later; fl_run_pending looks */

    FLI_ATOMIC(struct fli_guest *) guest; /* what a layer above keeps of the heap; NULL at first (guest.h) */

    struct fli_mutex profile_lock;
    struct fli_profile *profile; /* NULL until the first start (profile.h); under this lock */

    struct fli_mutex service_lock;
    struct fli_thread *service;

    struct fli_mutex trim_lock;
    FLI_ATOMIC(struct fli_walk *) walk; /* the one that is under way; written under this lock */
    struct fli_bound bound;
    struct fli_decay decay;
    FLI_LINKS(struct fl_heap) in_care; /* under the caretaker's lock */
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

/* Creates a heap with the options, whose defaults it fills in. NULL with errno set, and a message in `error`. */
struct fl_heap *fli_heap_create(const struct fl_options *options, bool is_default, char *error, size_t error_size);

#endif
