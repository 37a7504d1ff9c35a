/* SPDX-License-Identifier: MIT
 *
 * A model check of the acknowledgement of traces: src/heap/trace.c itself, compiled over model_atomic.h, run by Relacy
 * (model_check.h).
 *
 * One thread starts a trace or stops it. Another one makes calls through a handle, whose cache holds one block. It
 * takes the block inline if the cache is where inline calls look, and otherwise in a slow half, as fli_alloc does. The
 * start gives up when it has looked twice.
 *
 * Checked in each execution:
 *
 *     traces are exact           a call that begins after a start has returned 0 is told; one that begins after the
 *                                stop, or after a start that has given up, is not
 *     a cache has one user       where the caches lie, and whether they are diverted, are plain words (FLI_PLAIN): to
 *                                move the caches of a thread that uses them is a data race
 *     no block is lost           the cache that a call works on holds the block; at the end it is back in its place
 *     callbacks are prepared     what the host wrote before the start is a plain variable, which the callback reads
 *
 *     acknowledged    a trace starts while the thread makes calls, of which one takes its slow half anyway
 *     offline         a trace starts while the thread makes a call, is offline, and makes another call
 *     unattached      a trace starts while the thread makes calls without a handle
 *     stopped         a trace ends while the thread makes calls; it was started while the world was stopped
 *
 * The program is run as model_pool is, and built once more so that the registry lock locks nothing.
 *
 * usage: model_trace acknowledged|offline|unattached|stopped [--expect-error]
 */
#include "heap/profile.h"
#include "heap/registry.h"
#include "heap/trace.h"
#include "model_check.h"

void model_registry_pass(void);

namespace
{

enum { CLASS = 1, PATIENCE_MS = 1500 };

/* What is certain of the trace. */
enum certain { NOTHING, ON, OFF };

/* Of one execution. */
struct ground {
    fli_mutex registry;
    unsigned seconds; /* what a clock shows that is read so often */
    bool told;
    rl::var<bool> prepared;
};

ground *now;

void note(fl_heap *, const fl_trace_event *, void *context)
{
    ground *here = static_cast<ground *>(context);
    RL_ASSERT(here->prepared($));
    here->told = true;
}

template <typename scenario> struct trace_model : rl::test_suite<scenario, 2> {
    ground here;
    fl_heap heap;
    fli_thread thread_of_calls;
    fl_trace trace;
    rl::atomic<unsigned> certain;
    void *slots[2];

    void lay_out(bool has_handle)
    {
        now = &here;
        here.seconds = 0;
        here.told = false;
        here.prepared($) = false;
        fli_mutex_init(&here.registry, FLI_RANK_REGISTRY);
        certain.store(NOTHING, rl::mo_relaxed, $);
        trace.callback = note;
        trace.context = &here;
        heap.threads = has_handle ? &thread_of_calls : nullptr;
        heap.world_stopped = false;
        fli_store_relaxed(&heap.trace, nullptr);
        fli_store_relaxed(&heap.walk, nullptr);
        lay_out_thread();
    }

    void lay_out_thread()
    {
        fli_thread *thread = &thread_of_calls;
        std::memset(&thread->face, 0, sizeof thread->face);
        thread->header = nullptr;
        thread->heap = &heap;
        thread->in_heap.next = nullptr;
        thread->detacher = nullptr;
        thread->offline = false;
        thread->diverted = false;
        thread->caches = fli_thread_place(thread, false);
        thread->deferred = fli_thread_deferred_place(thread, false);
        fli_store_relaxed(&thread->is_quick, true);
        thread->face.cache[CLASS] = {&slots[1], &slots[0]};
        slots[0] = slots;
    }

    void clear_up()
    {
        fli_mutex_close(&here.registry);
    }

    /* Takes the block out of the cache, and puts it back. */
    void use(fl_cache *cache)
    {
        RL_ASSERT(fl_cache_top(cache) == &slots[1] && cache->floor == &slots[0]);
        void *block = fl_cache_take(cache, fl_cache_top(cache));
        fl_cache_put(cache, fl_cache_top(cache), block);
    }

    /* Looks for a trace in the code of the mutant. */
    void tell()
    {
        fli_trace_tell(&heap, {FL_TRACE_ALLOC, slots[0], 1, nullptr});
    }

    fl_cache *slow_half()
    {
        if (fli_trace_calls(&thread_of_calls))
            fli_trace_attend(&thread_of_calls);
        tell();
        return &static_cast<fl_cache *>(thread_of_calls.caches)[CLASS];
    }

    /* An inline call uses the caches as a slow half does: who moves them meanwhile races with it. */
    fl_cache *inline_half()
    {
        (void)static_cast<fl_cache *>(thread_of_calls.caches);
        return &thread_of_calls.face.cache[CLASS];
    }

    void call(bool is_large)
    {
        fl_cache *cache = inline_half();
        if (is_large || fl_cache_top(cache) == cache->floor)
            cache = slow_half();
        use(cache);
    }

    /* What is done is told, or is not, where that is certain. */
    template <typename call> void expect_exact(call what)
    {
        unsigned before = certain.load(rl::mo_acquire, $);
        here.told = false;
        what();
        RL_ASSERT(before == NOTHING || here.told == (before == ON));
    }

    void start()
    {
        here.prepared($) = true;
        int failed = fl_trace_start(&heap, &trace, PATIENCE_MS);
        RL_ASSERT(failed == 0 || failed == -ETIMEDOUT);
        certain.store(failed == 0 ? ON : OFF, rl::mo_release, $);
    }

    void stop()
    {
        fl_trace_stop(&heap);
        certain.store(OFF, rl::mo_release, $);
    }

    /* A slow half after the end brings the cache back to its place. */
    void after()
    {
        stop();
        expect_exact([&] { call(true); });
        RL_ASSERT(!fli_trace_calls(&thread_of_calls));
        RL_ASSERT(static_cast<fl_cache *>(thread_of_calls.caches) == &thread_of_calls.face.cache[0]);
        clear_up();
    }
};

struct acknowledged : trace_model<acknowledged> {
    void before()
    {
        lay_out(true);
    }
    void thread(unsigned self)
    {
        if (self == 1)
            return start();
        for (unsigned i = 0; i < 3; i++)
            expect_exact([&] { call(i == 1); });
    }
};

struct offline : trace_model<offline> {
    void before()
    {
        lay_out(true);
    }
    void go(bool is_offline)
    {
        fli_registry_lock();
        thread_of_calls.offline = is_offline;
        fli_registry_unlock();
    }
    void thread(unsigned self)
    {
        if (self == 1)
            return start();
        expect_exact([&] { call(false); });
        go(true);
        go(false);
        expect_exact([&] { call(false); });
    }
};

struct unattached : trace_model<unattached> {
    void before()
    {
        lay_out(false);
    }
    void thread(unsigned self)
    {
        if (self == 1)
            return start();
        for (unsigned i = 0; i < 2; i++)
            expect_exact([&] { tell(); });
    }
};

struct stopped : trace_model<stopped> {
    void before()
    {
        lay_out(true);
        heap.world_stopped = true;
        start();
        RL_ASSERT(certain.load(rl::mo_relaxed, $) == ON);
        certain.store(NOTHING, rl::mo_relaxed, $);
        heap.world_stopped = false;
    }
    void thread(unsigned self)
    {
        if (self == 1)
            return stop();
        for (unsigned i = 0; i < 3; i++)
            expect_exact([&] { call(i == 1); });
    }
};

} // namespace

/* ---- In place of the files that trace.c uses. */

void fli_registry_lock(void)
{
    fli_lock(&now->registry);
}

void fli_registry_unlock(void)
{
    fli_unlock(&now->registry);
}

/* In place of these two, in one mutant. */
void model_registry_pass(void)
{
}

void fli_registry_assert_held(void)
{
}

/* The one that starts the trace has no handle. */
bool fli_os_thread_is_ours_locked(const fli_thread *)
{
    return false;
}

/* As of a thread that sleeps for a second between two looks. */
uint64_t fli_grace_now(void)
{
    return 1000000000u * (uint64_t)now->seconds++;
}

void fli_model_sleep(const timespec *)
{
    rl::yield(1, $);
}

/* The trace is the host's. */
void fli_profile_see(fl_heap *, const fl_trace_event *, void *)
{
    RL_ASSERT(!"no profile is on");
}

void fli_misuse(const char *, const void *, const char *, const char *, ...)
{
    RL_ASSERT(!"the trace has a callback");
}

bool fli_callback_call(fli_callback *, const char *, const void *, void (*body)(void *argument), void *argument)
{
    body(argument);
    return true;
}

int main(int argc, char **argv)
{
    bool expect_error;
    if (is_asked_for("stopped", argc, argv, &expect_error))
        return check<stopped>(expect_error);
    if (is_asked_for("acknowledged", argc, argv, &expect_error))
        return check<acknowledged>(expect_error);
    if (is_asked_for("offline", argc, argv, &expect_error))
        return check<offline>(expect_error);
    if (is_asked_for("unattached", argc, argv, &expect_error))
        return check<unattached>(expect_error);
    std::cerr << "usage: " << argv[0] << " acknowledged|offline|unattached|stopped [--expect-error]" << std::endl;
    return 2;
}
