/* SPDX-License-Identifier: MIT
 *
 * The sampled profile of a heap. It is a trace (trace.h) of the library's own: it is told of every allocation and
 * deallocation, counts the bytes of allocations, and now and then takes one as a sample.
 *
 *     allocation    the bytes until the thread's next sample < its size?    the host gives the call stack; the block and
 *                                                                           its site are entered (sampled.h, site.h)
 *     free          may the block be a sample (one load)?                   it is removed, its site counts it as freed
 *
 * Samples are a Poisson process over the bytes that are allocated: each byte is taken with the same probability,
 * whatever came before. So the gap to a thread's next sample is exponentially distributed, in units of the mean gap. One
 * number per OS thread serves all heaps and profiles, because such gaps have no memory. A block is a sample if at least
 * one of its bytes is: of n bytes with the probability 1 - exp(-n / mean), by which its site is unbiased
 * (api/profile.c).
 *
 * The heap's profile lock guards all but `mean`, `run`, `seed` and `threads`, which are read as hints. `mean` is 0 while
 * the profile takes no samples: before fl_profile_start has diverted all threads, and after fl_profile_stop. So no block
 * is entered whose free might go untold. A call that is under way during a stop or start may find old values. It finds
 * the profile, which stays until the heap is destroyed, and looks at `mean` and `run` again under the lock.
 *
 *     samples entered = sum of `live` over the sites        `live` <= `allocated` of each
 *     while the profile is on, each sampled block is live
 *
 * The lock is not held while the host gives a call stack. fork: a profile goes on in the child. One whose start or stop
 * is under way in another thread is off there.
 */
#ifndef FLI_PROFILE_H
#define FLI_PROFILE_H

#include "heap/heap.h"
#include "heap/sampled.h"
#include "heap/site.h"
#include "heap/trace.h"

struct fli_profile {
    FLI_ATOMIC(uint64_t) mean;         /* bytes between two samples; 0: it takes none */
    FLI_ATOMIC(uint64_t) run;          /* the number of its last start, among those of all profiles */
    FLI_ATOMIC(uint64_t) seed;         /* of the random numbers of threads */
    FLI_ATOMIC(uint64_t) threads;      /* that have drawn from the seed */
    struct fl_trace trace;             /* constant */
    struct fl_profile_options options; /* of the last start; its mean is 0 if there was none */
    size_t dropped;                    /* samples for which there was no memory */
    struct fli_sites sites;
    struct fli_sampled sampled;
};

/* What a profile knows at one moment: its sites follow, each as long as it says. */
struct fli_profile_state {
    size_t mapped_bytes;
    size_t site_bytes; /* of all sites */
    size_t mean;
    size_t dropped;
    bool is_on;
};

static inline const struct fli_site *fli_profile_sites(const struct fli_profile_state *copy)
{
    return (const struct fli_site *)(copy + 1);
}

static inline const struct fli_site *fli_profile_sites_end(const struct fli_profile_state *copy)
{
    return (const struct fli_site *)((const char *)fli_profile_sites(copy) + copy->site_bytes);
}

static inline const struct fli_site *fli_profile_next_site(const struct fli_site *site)
{
    return (const struct fli_site *)((const char *)site + site->bytes);
}

/* The callback of a profile's trace: `context` is the profile. Calls the host only to take a sample. No lock may be
 * held. */
void fli_profile_see(struct fl_heap *heap, const struct fl_trace_event *event, void *context);

/* Whether the trace that is on, if there is one, has to be told of the free of a live block: a profile need not be told
 * if the block is no sample. Any thread that may free it. */
static inline bool fli_profile_is_told_of_free(struct fl_heap *heap, const void *block)
{
    const struct fl_trace *trace = fli_trace_of(heap);
    if (heap->watched)
        return true;
    return trace != NULL && (trace->callback != fli_profile_see ||
                             fli_sampled_may_have(&((struct fli_profile *)trace->context)->sampled, block));
}

/* Copies what the profile of a heap knows. Returns 0; -ENOMEM; or -ENOENT if it never was on. */
int fli_profile_copy(struct fl_heap *heap, struct fli_profile_state **copy);
void fli_profile_state_free(struct fli_profile_state *copy);

/* Verifies the equations above. `seen` has a bit for each block of slabs that is free. */
int fli_profile_check(struct fl_heap *heap, const uint64_t *seen, char *error, size_t error_size);

/* In the child of a fork: ends a profile whose start or stop the child does not have. */
void fli_profile_begin_anew_stw(struct fl_heap *heap);

/* Frees the profile of a heap that is not used any more. */
void fli_profile_close(struct fl_heap *heap);

#endif
