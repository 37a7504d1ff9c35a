/* SPDX-License-Identifier: MIT */
#include "heap/profile.h"
#include "base/callback.h"
#include "base/check.h"
#include "base/watch.h"
#include "heap/trace.h"

#include <errno.h>

enum { TIMEOUT_MS = 1000 };

#define MEAN_MOST ((size_t)1 << 40)

/* ---- When the next sample is due. */

/* An OS thread's way to its next sample. */
struct pace {
    uint64_t run;    /* of the profile whose seed it has drawn from */
    uint64_t random; /* the state of its generator */
    double left;     /* bytes until the next sample, as a multiple of the mean */
};

static __thread struct pace pace;

/* How often profiles were started. */
static FLI_ATOMIC(uint64_t) runs;

/* splitmix64 (G. L. Steele, D. Lea, C. H. Flood, Fast Splittable Pseudorandom Number Generators, OOPSLA 2014). */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Uniform in [0, 1). */
static double next_uniform(uint64_t *state)
{
    return (double)(next_random(state) >> 11) * 0x1p-53;
}

/* Exponentially distributed, of mean 1, by comparisons alone (J. von Neumann, Various Techniques Used in Connection with
 * Random Digits, 1951): the first of a falling run of uniform numbers, if that is odd in length; else 1 more than the
 * next try. */
static double next_gap(uint64_t *state)
{
    for (double whole = 0;; whole++) {
        double first = next_uniform(state), last = first, next;
        bool is_odd = true;
        while ((next = next_uniform(state)) < last) {
            last = next;
            is_odd = !is_odd;
        }
        if (is_odd)
            return whole + first;
    }
}

/* Draws from the seed of a profile that has begun since the thread last drew from one. */
FLI_COLD static void begin_pace(struct fli_profile *profile, uint64_t run)
{
    uint64_t state = fli_load_hint(&profile->seed) + fli_add_count(&profile->threads, 1);
    pace.run = run;
    pace.random = next_random(&state);
    pace.left = next_gap(&pace.random);
}

/* Counts an allocation. Returns whether it is a sample. */
static bool is_due(struct fli_profile *profile, size_t size, uint64_t mean)
{
    uint64_t run = fli_load_hint(&profile->run);
    if (FLI_UNLIKELY(pace.run < run))
        begin_pace(profile, run);
    pace.left -= (double)fli_max(size, 1) / (double)mean;
    if (FLI_LIKELY(pace.left > 0))
        return false;
    pace.left = next_gap(&pace.random);
    return true;
}

/* ---- Samples. */

struct sampling {
    struct fl_profile_options options;
    uint64_t run;
    bool is_complete; /* the host has been asked for the stack */
    size_t depth;
    void *frames[FL_PROFILE_FRAMES_MAX];
};

/* Notes what the profile asks for now. Returns false if it takes no samples any more. */
static bool prepare(struct fl_heap *heap, struct fli_profile *profile, struct sampling *sampling)
{
    fli_lock(&heap->profile_lock);
    bool is_on = fli_load_own(&profile->mean) != 0;
    sampling->options = profile->options;
    sampling->run = fli_load_own(&profile->run);
    fli_unlock(&heap->profile_lock);
    sampling->depth = 0;
    sampling->is_complete = false;
    return is_on;
}

static void call_stack(void *argument)
{
    struct sampling *sampling = (struct sampling *)argument;
    const struct fl_profile_options *options = &sampling->options;
    fli_watch_pass(NULL, 0);
    size_t depth = options->stack(options->context, sampling->frames, FL_PROFILE_FRAMES_MAX);
    sampling->depth = fli_min(depth, FL_PROFILE_FRAMES_MAX);
    sampling->is_complete = true;
}

/* Has the host give the call stack, unless that is what it is doing. Returns whether it has. */
static bool complete(struct fl_heap *heap, struct sampling *sampling)
{
    static __thread struct fli_callback giving;
    return sampling->options.stack == NULL ||
           (fli_callback_call(&giving, "stack", heap, call_stack, sampling) && sampling->is_complete);
}

/* Removes a block that is freed, or whose free was never told. */
static void remove_locked(struct fli_profile *profile, const void *block)
{
    struct fli_site *site = fli_sampled_remove(&profile->sampled, block);
    if (site != NULL)
        site->live--;
}

static void enter_locked(struct fli_profile *profile, const void *block, const struct fli_site_key *key)
{
    struct fli_site *site = fli_sites_find(&profile->sites, key);
    remove_locked(profile, block);
    if (site == NULL || !fli_sampled_enter(&profile->sampled, block, site)) {
        profile->dropped++;
        return;
    }
    site->live++;
    site->allocated++;
}

/* Takes an allocation as a sample. What the host allocates while it gives the call stack is none. */
FLI_COLD static void take(struct fl_heap *heap, struct fli_profile *profile, const struct fl_trace_event *event)
{
    struct sampling sampling;
    if (!prepare(heap, profile, &sampling) || !complete(heap, &sampling))
        return;
    const struct fli_site_key key = {event->type, event->size, sampling.depth, sampling.frames};
    fli_lock(&heap->profile_lock);
    if (fli_load_own(&profile->mean) != 0 && fli_load_own(&profile->run) == sampling.run)
        enter_locked(profile, event->block, &key);
    fli_unlock(&heap->profile_lock);
}

FLI_COLD static void forget(struct fl_heap *heap, struct fli_profile *profile, const void *block)
{
    fli_lock(&heap->profile_lock);
    if (fli_load_own(&profile->mean) != 0)
        remove_locked(profile, block);
    fli_unlock(&heap->profile_lock);
}

void fli_profile_see(struct fl_heap *heap, const struct fl_trace_event *event, void *context)
{
    struct fli_profile *profile = (struct fli_profile *)context;
    uint64_t mean = fli_load_hint(&profile->mean);
    if (FLI_UNLIKELY(mean == 0))
        return;
    if (event->kind == FL_TRACE_FREE) {
        if (FLI_UNLIKELY(fli_sampled_may_have(&profile->sampled, event->block)))
            forget(heap, profile, event->block);
    } else if (FLI_UNLIKELY(is_due(profile, event->size, mean))) {
        take(heap, profile, event);
    }
}

/* ---- Start and stop. */

/* The profile of the heap, which its first use makes. NULL if memory is refused. */
static struct fli_profile *make(struct fl_heap *heap)
{
    fli_lock(&heap->profile_lock);
    struct fli_profile *profile = heap->profile;
    if (profile == NULL) {
        profile = (struct fli_profile *)fli_os_map(sizeof *profile);
        if (profile != NULL)
            profile->trace = (struct fl_trace){.callback = fli_profile_see, .context = profile};
        heap->profile = profile;
    }
    fli_unlock(&heap->profile_lock);
    return profile;
}

static void forget_all_locked(struct fli_profile *profile)
{
    fli_sampled_clear(&profile->sampled);
    fli_sites_clear(&profile->sites);
    profile->dropped = 0;
}

/* Begins to take samples, once all threads tell of what they do. */
static void begin(struct fl_heap *heap, struct fli_profile *profile, const struct fl_profile_options *options)
{
    uint64_t by_chance = fli_grace_now() ^ (uint64_t)(uintptr_t)profile;
    fli_lock(&heap->profile_lock);
    forget_all_locked(profile);
    profile->options = *options;
    fli_store_hint(&profile->seed, options->seed != 0 ? options->seed : next_random(&by_chance));
    fli_store_hint(&profile->threads, 0);
    fli_store_hint(&profile->run, fli_add_count(&runs, 1) + 1);
    fli_store_hint(&profile->mean, options->mean_bytes);
    fli_unlock(&heap->profile_lock);
}

int fl_profile_start(struct fl_heap *heap, const struct fl_profile_options *options)
{
    static const struct fl_profile_options usual = {.mean_bytes = FL_PROFILE_MEAN_BYTES};
    if (options == NULL)
        options = &usual;
    if (options->mean_bytes == 0 || options->mean_bytes > MEAN_MOST) {
        fli_misuse("fl_profile_start", heap, NULL, "was given mean_bytes %zu, which is not from 1 to 2^40",
                   options->mean_bytes);
        return -EINVAL;
    }
    struct fli_profile *profile = make(heap);
    if (profile == NULL)
        return -ENOMEM;
    int failed = fli_trace_begin(heap, &profile->trace, options->timeout_ms != 0 ? options->timeout_ms : TIMEOUT_MS);
    if (failed == 0)
        begin(heap, profile, options);
    return failed;
}

int fl_profile_stop(struct fl_heap *heap)
{
    fli_lock(&heap->profile_lock);
    bool is_on = heap->profile != NULL && fli_load_own(&heap->profile->mean) != 0;
    if (is_on)
        fli_store_hint(&heap->profile->mean, 0);
    fli_unlock(&heap->profile_lock);
    if (!is_on) {
        fli_misuse("fl_profile_stop", heap, NULL, "is not being profiled: fl_profile_start comes before");
        return -EINVAL;
    }
    fli_trace_end(heap, true);
    return 0;
}

/* ---- Copies. */

static struct fli_profile_state *copy_locked(const struct fli_profile *profile)
{
    size_t bytes = sizeof(struct fli_profile_state) + profile->sites.bytes;
    struct fli_profile_state *copy = (struct fli_profile_state *)fli_os_map(bytes);
    if (copy == NULL)
        return NULL;
    *copy = (struct fli_profile_state){.mapped_bytes = bytes,
                                       .site_bytes = profile->sites.bytes,
                                       .mean = profile->options.mean_bytes,
                                       .dropped = profile->dropped,
                                       .is_on = fli_load_own(&profile->mean) != 0};
    struct fli_site *place = (struct fli_site *)(copy + 1);
    for (const struct fli_site *site = profile->sites.newest; site != NULL; site = site->older) {
        fli_site_copy(site, place);
        place = (struct fli_site *)((char *)place + site->bytes);
    }
    return copy;
}

int fli_profile_copy(struct fl_heap *heap, struct fli_profile_state **copy)
{
    fli_lock(&heap->profile_lock);
    bool was_on = heap->profile != NULL && heap->profile->options.mean_bytes != 0;
    *copy = was_on ? copy_locked(heap->profile) : NULL;
    fli_unlock(&heap->profile_lock);
    if (!was_on)
        return -ENOENT;
    return *copy != NULL ? 0 : -ENOMEM;
}

void fli_profile_state_free(struct fli_profile_state *copy)
{
    if (copy != NULL)
        fli_os_unmap(copy, copy->mapped_bytes);
}

/* ---- Forks, and the end. */

void fli_profile_begin_anew_stw(struct fl_heap *heap)
{
    struct fli_profile *profile = heap->profile;
    if (profile != NULL && fli_load_own(&profile->mean) == 0 && fli_load_own(&heap->trace) == &profile->trace)
        fli_store_own(&heap->trace, NULL);
}

void fli_profile_close(struct fl_heap *heap)
{
    if (heap->profile == NULL)
        return;
    forget_all_locked(heap->profile);
    fli_os_unmap(heap->profile, sizeof *heap->profile);
    heap->profile = NULL;
}
