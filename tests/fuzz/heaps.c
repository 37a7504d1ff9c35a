/* SPDX-License-Identifier: MIT */
#include "heaps.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct heap heaps[MODEL_HEAPS];

void heaps_begin(void)
{
    memset(heaps, 0, sizeof heaps);
}

/* ---- Callbacks. */

static void on_refill(struct fl_thread *thread, size_t bytes)
{
    const struct heap *heap = &heaps[model_number(fl_thread_heap(thread))];
    FUZZ_REQUIRE(bytes > 0, "a refill brings nothing");
    if (heap->options.header != NULL)
        return;
    void *block = fl_alloc(thread, 32);
    if (block != NULL)
        fl_free_sized(thread, block, 32);
}

static bool is_untyped(const struct block *block)
{
    return block->type == NULL;
}

static bool on_pressure(struct fl_heap *of, size_t bytes, void *context)
{
    struct heap *heap = context;
    FUZZ_REQUIRE(heap->heap == of && bytes <= heap->options.limit_bytes, "pressure of another heap");
    struct block *block = model_pick(heap->number, 0, is_untyped);
    if (block == NULL)
        return false;
    void *start = block->start;
    model_verify(block);
    model_remove(block);
    fl_heap_free(of, start);
    return true;
}

static void on_deferred(struct fl_heap *of, size_t bytes, void *context)
{
    FUZZ_REQUIRE(((struct heap *)context)->heap == of && bytes > 0, "deferred bytes of another heap");
    if ((bytes & 16) != 0)
        world.ended = world.begun;
}

static void on_stall(struct fl_heap *of, const struct fl_stall *stall, void *context)
{
    FUZZ_REQUIRE(((struct heap *)context)->heap == of && stall->seconds > 0, "a stall of another heap");
}

static void see_event(struct fl_heap *of, const struct fl_trace_event *event, void *context)
{
    struct heap *heap = context;
    FUZZ_REQUIRE(heap->heap == of && event->block != NULL, "an event of another heap");
    heap->allocs += event->kind == FL_TRACE_ALLOC;
    heap->frees += event->kind == FL_TRACE_FREE;
}

/* ---- Options. */

/* Options from three bytes; returns whether they make sense. */
static bool make_options(struct fl_options *options, unsigned char a, unsigned char b, unsigned char c)
{
    static const size_t reserves[] = {0, 4 << 20, 1 << 20, 64 << 20}, defers[] = {0, 4096, 65536, 1 << 20};
    static const unsigned decays[] = {FL_DECAY_NEVER, 10, 0, FL_DECAY_NEVER};
    bool has_grace = (a & 1) != 0;
    if (has_grace) {
        options->grace = FL_GRACE_HOST;
        options->grace_host = &world_grace[a >> 1 & 1];
    }
    options->header = (a & 4) != 0 ? &fl_object_header : NULL;
    options->later = (enum fl_later)(a >> 3 & 3);
    options->on_refill = (a & 32) != 0 ? on_refill : NULL;
    options->on_pressure = (a & 64) != 0 ? on_pressure : NULL;
    options->on_deferred = on_deferred;
    options->on_stall = on_stall;
    options->stall_seconds = 1;
    options->retain_bytes = (a & 128) != 0 ? 1 : 0;
    options->magazine_blocks = b % 16;
    options->limit_bytes = (size_t)(b >> 4) << 18;
    options->decay_ms = decays[c & 3];
    options->defer_bytes = defers[c >> 2 & 3];
    options->huge = (enum fl_huge)(c >> 4 & 3);
    options->reserve_bytes = reserves[c >> 6];
    options->hardened = getenv("HARDENED") != NULL; /* the programs are the same for hardened heaps */
    return options->magazine_blocks != 1 && options->later <= FL_LATER_ALL && options->huge <= FL_HUGE_NEVER &&
           c >> 6 != 2 && (has_grace || options->header == NULL);
}

void heaps_create(unsigned number, unsigned char a, unsigned char b, unsigned char c)
{
    struct heap *heap = &heaps[number];
    char error[256] = "";
    if (heap->heap != NULL)
        return;
    *heap = (struct heap){.number = number, .options = {.context = heap}};
    bool make_sense = make_options(&heap->options, a, b, c);
    heap->heap = fl_heap_create(&heap->options, error, sizeof error);
    FUZZ_REQUIRE(heap->heap == NULL || make_sense, "options without sense were taken");
    FUZZ_REQUIRE(heap->heap != NULL || error[0] != 0, "a heap is refused without a reason");
    FUZZ_REQUIRE(heap->heap != NULL || !make_sense || world.refuses, "a heap is refused: %s", error);
    model_heaps[number] = heap->heap;
    types_has_grace[number] = heap->options.grace != FL_GRACE_NONE;
}

/* ---- Handles. */

/* A call on an OS thread of the world. */
struct call {
    struct heap *heap;
    struct handle *handle;
    int result;
};

static void call_attach(void *argument)
{
    struct call *call = argument;
    call->handle->thread = fl_thread_attach(call->heap->heap);
}

struct handle *heaps_attach(struct heap *heap, unsigned os_thread)
{
    struct call call = {.heap = heap};
    for (unsigned i = 0; i < HANDLES && call.handle == NULL; i++)
        if (heap->handles[i].thread == NULL)
            call.handle = &heap->handles[i];
    if (call.handle == NULL)
        return NULL;
    *call.handle = (struct handle){.os_thread = os_thread};
    world_run(os_thread, call_attach, &call);
    return call.handle->thread != NULL ? call.handle : NULL;
}

static struct handle *find(struct heap *heap, unsigned n, bool is_offline)
{
    struct handle *last = NULL;
    for (unsigned round = 0; round < 2; round++)
        for (unsigned i = 0; i < HANDLES; i++) {
            struct handle *handle = &heap->handles[i];
            if (handle->thread == NULL || handle->is_offline != is_offline)
                continue;
            last = handle;
            if (n-- == 0)
                return last;
        }
    return last;
}

struct handle *heaps_handle(struct heap *heap, unsigned n)
{
    struct handle *handle = find(heap, n, false);
    return handle != NULL ? handle : heaps_attach(heap, n & 1);
}

struct handle *heaps_offline(struct heap *heap, unsigned n)
{
    return find(heap, n, true);
}

static void call_detach(void *argument)
{
    struct call *call = argument;
    call->result = fl_thread_detach(call->handle->thread);
}

void heaps_detach(struct handle *handle, unsigned os_thread)
{
    struct call call = {.handle = handle};
    if (!handle->is_offline)
        heaps_leave_sections(handle->os_thread);
    heaps_leave_sections(os_thread);
    world_run(os_thread, call_detach, &call);
    FUZZ_REQUIRE(call.result == 0, "a handle is not detached: %d", call.result);
    *handle = (struct handle){0};
}

/* ---- Sections. */

static void call_unlock(void *argument)
{
    struct handle *handle = argument;
    for (; handle->sections > 0; handle->sections--)
        fl_read_unlock(handle->thread);
}

void heaps_leave_sections(unsigned os_thread)
{
    for (unsigned h = 0; h < MODEL_HEAPS; h++)
        for (unsigned i = 0; i < HANDLES; i++) {
            struct handle *handle = &heaps[h].handles[i];
            if (handle->thread != NULL && handle->os_thread == os_thread && handle->sections > 0)
                world_run(os_thread, call_unlock, handle);
        }
}

bool heaps_are_read(unsigned os_thread)
{
    unsigned sections = 0;
    for (unsigned h = 0; h < MODEL_HEAPS; h++)
        for (unsigned i = 0; i < HANDLES; i++)
            if (heaps[h].handles[i].os_thread == os_thread)
                sections += heaps[h].handles[i].sections;
    return sections > 0;
}

void heaps_end_worker(void)
{
    heaps_leave_sections(WORKER);
    world_end_worker();
    for (unsigned h = 0; h < MODEL_HEAPS; h++)
        for (unsigned i = 0; i < HANDLES; i++) {
            struct handle *handle = &heaps[h].handles[i];
            if (handle->thread != NULL && handle->os_thread == WORKER && !handle->is_offline)
                *handle = (struct handle){0};
        }
}

/* ---- Traces. */

static size_t live_blocks(const struct heap *heap)
{
    struct fl_stats stats;
    fl_heap_stats(heap->heap, &stats);
    return stats.live_blocks;
}

void heaps_trace_start(struct heap *heap)
{
    heap->trace = (struct fl_trace){.callback = see_event, .context = heap};
    int failed = fl_trace_start(heap->heap, &heap->trace, 0);
    if (heap->is_traced || heap->is_profiled) {
        FUZZ_REQUIRE(failed == -EBUSY, "a second trace starts: %d", failed);
        return;
    }
    FUZZ_REQUIRE(failed == 0 || failed == -ETIMEDOUT, "a trace does not start: %d", failed);
    heap->is_traced = failed == 0;
    heap->allocs = heap->frees = 0;
    heap->traced_live = live_blocks(heap);
}

void heaps_trace_stop(struct heap *heap)
{
    if (!heap->is_traced)
        return;
    fl_trace_stop(heap->heap);
    heap->is_traced = false;
    FUZZ_REQUIRE(heap->traced_live + heap->allocs - heap->frees == live_blocks(heap),
                 "%zu blocks lived, and a trace has told of %zu allocations and %zu frees: %zu live",
                 heap->traced_live, (size_t)heap->allocs, (size_t)heap->frees, live_blocks(heap));
}

/* ---- Profiles. */

static size_t call_stack(void *context, void **frames, size_t max)
{
    const struct heap *heap = context;
    FUZZ_REQUIRE(max == FL_PROFILE_FRAMES_MAX, "a stack of %zu frames is asked for", max);
    for (size_t i = 0; i < 1 + world.now_ns % 3; i++)
        frames[i] = (void *)&heap->handles[i];
    return 1 + world.now_ns % 3;
}

static void profile_start(struct heap *heap, unsigned n)
{
    struct fl_profile_options options = {
        .mean_bytes = (size_t)1 << n % 13, .stack = call_stack, .context = heap, .timeout_ms = 1, .seed = 1 + n};
    int failed = fl_profile_start(heap->heap, &options);
    bool is_busy = heap->is_traced || heap->is_profiled;
    FUZZ_REQUIRE((failed == -EBUSY) == is_busy, "a profile is started: %d", failed);
    FUZZ_REQUIRE(is_busy || failed == 0 || failed == -ETIMEDOUT || (failed == -ENOMEM && world.refuses),
                 "a profile does not start: %d", failed);
    heap->is_profiled |= failed == 0;
    heap->was_profiled |= failed == 0;
}

static void profile_stop(struct heap *heap)
{
    if (heap->is_profiled)
        FUZZ_REQUIRE(fl_profile_stop(heap->heap) == 0, "a profile does not end");
    heap->is_profiled = false;
}

static void profile_print(struct heap *heap, enum fl_profile_format format)
{
    static char text[1 << 22];
    if (!heap->was_profiled)
        return;
    FILE *stream = fmemopen(text, sizeof text, "w");
    FUZZ_REQUIRE(stream != NULL, "no stream");
    int failed = fl_profile_print(heap->heap, stream, format);
    FUZZ_REQUIRE(failed == 0 || (failed == -ENOMEM && world.refuses), "a profile is not printed: %d", failed);
    fclose(stream);
}

void heaps_profile(struct heap *heap, unsigned n)
{
    switch (n & 3) {
    case 0:
        profile_stop(heap);
        break;
    case 1:
        profile_print(heap, (n & 4) != 0 ? FL_PROFILE_JSON : FL_PROFILE_PPROF);
        break;
    default:
        profile_start(heap, n >> 2);
    }
}

/* ---- The end of a heap. */

void heaps_verify(struct heap *heap, bool walks)
{
    if (heap->heap != NULL)
        model_verify_heap(heap->number, walks);
}

static void call_settle(void *argument)
{
    struct call *call = argument;
    struct fl_thread *thread = call->handle->thread;
    fl_thread_unwound(thread);
    fl_merge(thread);
    int left = fl_run_pending(thread, fl_budget_objects(SIZE_MAX));
    FUZZ_REQUIRE(left == 0, "%d is left of what is pending", left);
    world.ended = world.begun;
    if (call->heap->options.grace != FL_GRACE_NONE)
        fl_quiescent(thread);
}

static void call_end(void *argument)
{
    struct call *call = argument;
    struct fl_thread *thread = call->handle->thread;
    struct block *block;
    while ((block = model_pick(call->heap->number, 0, NULL)) != NULL) {
        void *start = block->start;
        if (block->type != NULL) {
            block->held -= block->is_object;
            types_end(thread, block, BY_DEALLOC);
            continue;
        }
        model_verify(block);
        model_remove(block);
        fl_free(thread, start);
    }
}

static void on_each(struct heap *heap, void (*body)(void *))
{
    for (unsigned i = 0; i < HANDLES; i++)
        if (heap->handles[i].thread != NULL)
            world_run(heap->handles[i].os_thread, body, &(struct call){.heap = heap, .handle = &heap->handles[i]});
}

static void call_online(void *argument)
{
    struct call *call = argument;
    fl_thread_online(call->handle->thread);
}

static void all_online(struct heap *heap)
{
    struct handle *handle;
    while ((handle = heaps_offline(heap, 0)) != NULL) {
        handle->is_offline = false;
        handle->os_thread = MAIN;
        world_run(MAIN, call_online, &(struct call){.handle = handle});
    }
}

/* The death of an object by which a thread comes to what others have left. */
static void adopt(struct heap *heap, struct fl_thread *thread)
{
    for (unsigned i = 0; i < 32; i++) {
        const struct fl_type *type = types_pick(i, &heap->options, false);
        if (type->kind != FL_DEALLOC_CLEAR)
            continue;
        void *object = fl_type_alloc(thread, type);
        FUZZ_REQUIRE(object != NULL || heap->options.limit_bytes != 0, "no memory for a last object");
        if (object == NULL)
            return;
        types_end(thread, types_add(heap->number, object, type->size, type, false), BY_DEALLOC);
        return;
    }
}

static void settle_all(struct heap *heap)
{
    for (unsigned i = 0; i < 3; i++) {
        on_each(heap, call_end);
        on_each(heap, call_settle);
    }
}

void heaps_destroy(struct heap *heap)
{
    struct fl_object_stats stats;
    if (heap->heap == NULL)
        return;
    world.refuses = world.keeps = false;
    world.begin_refusal = 0;
    heaps_leave_sections(MAIN);
    heaps_leave_sections(WORKER);
    all_online(heap);
    heaps_handle(heap, 0);
    settle_all(heap);
    heaps_trace_stop(heap);
    profile_stop(heap);
    heaps_verify(heap, true);
    for (unsigned i = 0; i < HANDLES; i++)
        if (heap->handles[i].thread != NULL)
            heaps_detach(&heap->handles[i], heap->handles[i].os_thread);
    struct handle *last = heaps_attach(heap, MAIN);
    FUZZ_REQUIRE(last != NULL, "no last handle");
    settle_all(heap);
    adopt(heap, last->thread);
    settle_all(heap);
    heaps_detach(last, MAIN);
    world.ended = world.begun;
    fl_heap_object_stats(heap->heap, &stats);
    FUZZ_REQUIRE(model_count(heap->number, DEAD) <= stats.refused + stats.overflows,
                 "%zu dead objects have not ended, and %zu are immortal", model_count(heap->number, DEAD),
                 (size_t)(stats.refused + stats.overflows));
    FUZZ_REQUIRE(model_count(heap->number, KEPT) == 0 && stats.kept == 0, "%zu objects are kept", stats.kept);
    heaps_verify(heap, false);
    int failed = fl_heap_destroy(heap->heap);
    FUZZ_REQUIRE(failed == 0, "a heap is not destroyed: %d", failed);
    model_remove_heap(heap->number);
    model_heaps[heap->number] = NULL;
    heap->heap = NULL;
}
