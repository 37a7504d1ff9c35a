/* SPDX-License-Identifier: MIT
 *
 * C++ exceptions that callbacks throw pass through the library; the handle goes on working, and the callbacks are
 * called again.
 */
#include "require.h"

#include <freelane/object.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <pthread.h>
#include <vector>

namespace
{

constexpr size_t kSize = 64;
constexpr size_t kMany = 500;

struct Thrown {
    int number;
};

bool throws = false;
int calls = 0;

void act()
{
    calls++;
    if (throws)
        throw Thrown{calls};
}

void on_refill(fl_thread *, size_t)
{
    act();
}

bool on_pressure(fl_heap *, size_t, void *)
{
    act();
    return false;
}

void on_deferred(fl_heap *, size_t, void *)
{
    act();
}

void *cleared_last_in_vain = nullptr; /* the object whose `clear` threw last */

void clear(fl_thread *, void *object, const fl_type *)
{
    if (throws)
        cleared_last_in_vain = object;
    act();
}

bool finalize(fl_thread *, void *, const fl_type *)
{
    act();
    return false;
}

void on_misuse(const fl_misuse *)
{
    act();
}

/* Whether `body` throws, with what the latest callback has thrown. */
bool is_thrown(const std::function<void()> &body)
{
    try {
        body();
    } catch (const Thrown &thrown) {
        REQUIRE(thrown.number == calls);
        return true;
    }
    return false;
}

/* The same with the stack longer by some frames. */
bool is_thrown_deeper(int depth, const std::function<void()> &body)
{
    std::function<bool(int)> descend = [&](int left) { return left == 0 ? is_thrown(body) : descend(left - 1); };
    return descend(depth);
}

/* Each test begins with callbacks that do not throw. */
struct Bed {
    explicit Bed(const fl_options &options)
    {
        throws = false;
        calls = 0;
        heap = fl_heap_create(&options, nullptr, 0);
        REQUIRE(heap != nullptr);
        thread = fl_thread_attach(heap);
        REQUIRE(thread != nullptr);
    }

    ~Bed()
    {
        throws = false;
        char error[256] = "";
        if (fl_heap_check(heap, error, sizeof error) != 0)
            fprintf(stderr, "fl_heap_check: %s\n", error);
        REQUIRE(error[0] == '\0');
        REQUIRE(fl_thread_detach(thread) == 0);
        REQUIRE(fl_heap_destroy(heap) == 0);
    }

    size_t live() const
    {
        fl_stats stats;
        fl_heap_stats(heap, &stats);
        return stats.live_blocks;
    }

    fl_heap *heap = nullptr;
    fl_thread *thread = nullptr;
};

void allocations_that_throw_have_not_happened()
{
    fl_options options = {};
    options.on_refill = on_refill;
    Bed bed(options);
    for (int round = 0; round < 20; round++) {
        throws = true;
        int before = calls;
        REQUIRE(is_thrown_deeper(round, [&] { fl_alloc(bed.thread, kSize); }));
        REQUIRE(calls == before + 1);
        REQUIRE(bed.live() == 0);
        fl_thread_flush(bed.thread);
    }
}

void pressure_is_asked_for_each_time()
{
    fl_options options = {};
    options.limit_bytes = 4 * 65536;
    options.on_pressure = on_pressure;
    Bed bed(options);
    for (int round = 0; round < 20; round++) {
        std::vector<void *> blocks;
        throws = true;
        int before = calls;
        REQUIRE(is_thrown_deeper(round, [&] {
            for (void *block; (block = fl_alloc(bed.thread, kSize)) != nullptr;)
                blocks.push_back(block);
        }));
        REQUIRE(calls == before + 1);
        for (void *block : blocks)
            fl_free_sized(bed.thread, block, kSize);
        REQUIRE(bed.live() == 0);
    }
}

int64_t begin(void *context)
{
    return ++*static_cast<int64_t *>(context);
}

bool elapsed(void *, int64_t)
{
    return true;
}

void deferred_blocks_are_deferred()
{
    int64_t periods = 0;
    fl_grace_host host = {begin, elapsed, nullptr, &periods};
    fl_options options = {};
    options.grace = FL_GRACE_HOST;
    options.grace_host = &host;
    options.defer_bytes = kSize;
    options.on_deferred = on_deferred;
    Bed bed(options);
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < kMany; i++)
            is_thrown([&] { fl_free_deferred(bed.thread, fl_alloc(bed.thread, kSize), kSize); });
        throws = true;
        is_thrown([&] { fl_thread_flush(bed.thread); });
        throws = false;
        for (int i = 0; i < 4; i++)
            fl_quiescent(bed.thread);
        REQUIRE(bed.live() == 0);
        REQUIRE(*fl_heap_pressure(bed.heap) == 0);
    }
    REQUIRE(calls >= 4);
}

void objects_stay_and_can_be_deallocated_again()
{
    fl_type types[2] = {};
    types[0].name = "cleared";
    types[0].size = kSize;
    types[0].clear = clear;
    types[1].name = "finalized";
    types[1].size = kSize;
    types[1].finalize = finalize;
    Bed bed(fl_options{});
    for (fl_type &type : types) {
        REQUIRE(fl_type_ready(&type, nullptr, nullptr, 0) == 0);
        for (size_t i = 0; i < kMany; i++) {
            void *object = fl_type_alloc(bed.thread, &type);
            throws = true;
            REQUIRE(is_thrown([&] { fl_dealloc(bed.thread, object, &type); }));
            REQUIRE(bed.live() == 1);
            throws = false;
            REQUIRE(!is_thrown([&] { fl_dealloc(bed.thread, object, &type); }));
            REQUIRE(bed.live() == 0);
        }
    }
}

/* An array that holds objects of a type. */
struct Array {
    fl_type *of;
    std::vector<void *> *held;
};

void clear_array(fl_thread *thread, void *object, const fl_type *)
{
    const Array *array = static_cast<Array *>(object);
    for (void *held : *array->held)
        fl_dealloc(thread, held, array->of);
}

/* An exception ends the drain. The next one goes on. */
void what_waits_is_destroyed_later()
{
    fl_type cleared = {}, array = {};
    cleared.name = "cleared";
    cleared.size = kSize;
    cleared.clear = clear;
    array.name = "array";
    array.size = sizeof(Array);
    array.clear = clear_array;
    REQUIRE(fl_type_ready(&cleared, nullptr, nullptr, 0) == 0);
    REQUIRE(fl_type_ready(&array, nullptr, nullptr, 0) == 0);
    Bed bed(fl_options{});
    for (int round = 0; round < 20; round++) {
        std::vector<void *> held;
        for (size_t i = 0; i < kMany; i++)
            held.push_back(fl_type_alloc(bed.thread, &cleared));
        void *object = fl_type_alloc(bed.thread, &array);
        *static_cast<Array *>(object) = {&cleared, &held};
        throws = true;
        int before = calls;
        REQUIRE(is_thrown_deeper(round, [&] { fl_dealloc(bed.thread, object, &array); }));
        REQUIRE(calls == before + 1);
        REQUIRE(bed.live() == kMany);
        throws = false;
        REQUIRE(!is_thrown_deeper(20 - round,
                                  [&] { fl_dealloc(bed.thread, fl_type_alloc(bed.thread, &cleared), &cleared); }));
        REQUIRE(calls == before + 1 + 1 + static_cast<int>(kMany) - 1);
        REQUIRE(bed.live() == 1);
        fl_type_free(bed.thread, cleared_last_in_vain, &cleared);
        REQUIRE(bed.live() == 0);
    }
}

/* An exception ends a run. The rest stays pending, and what dies then has a drain of its own again. */
void what_is_pending_stays_pending()
{
    fl_type later = {}, cleared = {};
    later.name = "later";
    later.size = kSize;
    later.clear = clear;
    later.flags = FL_TYPE_HAS_WORDS | FL_TYPE_LATER;
    cleared.name = "cleared";
    cleared.size = kSize;
    cleared.clear = clear;
    REQUIRE(fl_type_ready(&later, nullptr, nullptr, 0) == 0);
    REQUIRE(fl_type_ready(&cleared, nullptr, nullptr, 0) == 0);
    Bed bed(fl_options{});
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < kMany; i++)
            fl_dealloc(bed.thread, fl_type_alloc(bed.thread, &later), &later);
        throws = true;
        REQUIRE(is_thrown_deeper(round, [&] { fl_run_pending(bed.thread, fl_budget_objects(kMany)); }));
        throws = false;
        REQUIRE(*fl_thread_pending(bed.thread) != 0);
        int before = calls;
        fl_dealloc(bed.thread, fl_type_alloc(bed.thread, &cleared), &cleared);
        REQUIRE(calls == before + 1);
        REQUIRE(fl_run_pending(bed.thread, fl_budget_objects(kMany)) == 0);
        REQUIRE(bed.live() == 1);
        fl_type_free(bed.thread, cleared_last_in_vain, &later);
        REQUIRE(bed.live() == 0);
    }
}

/* An object of the default heap that holds others. */
struct Holder {
    Holder *held[kMany];
    bool throws;
};
fl_type holder = {};

void clear_holder(fl_thread *thread, void *object, const fl_type *)
{
    Holder *self = static_cast<Holder *>(object);
    for (Holder *held : self->held)
        if (held != nullptr)
            fl_dealloc(thread, held, &holder);
    if (self->throws)
        throw Thrown{calls};
    calls++;
}

Holder *new_holder(bool throws_then, bool holds)
{
    Holder *self = static_cast<Holder *>(fl_type_alloc(fl_thread_self(), &holder));
    *self = {};
    self->throws = throws_then;
    for (size_t i = 0; holds && i < kMany; i++)
        self->held[i] = new_holder(false, false);
    return self;
}

constexpr int kLate = 6;
Holder *late[kLate];
pthread_key_t late_key;
thread_local int late_rounds;

/* Memory that a callback left is used again. */
__attribute__((noinline)) void overwrite_stack()
{
    volatile char bytes[16384];
    for (volatile char &byte : bytes)
        byte = 0x5a;
}

/* Runs again until the thread has no handle any more. Every other object throws. */
void drop_late(void *)
{
    if (++late_rounds < 3) {
        pthread_setspecific(late_key, &late_key);
        return;
    }
    for (Holder *object : late) {
        is_thrown([&] { fl_dealloc(fl_thread_self(), object, &holder); });
        overwrite_stack();
    }
}

void *exit_with_late_drops(void *)
{
    fl_free(fl_thread_self(), fl_alloc(fl_thread_self(), kSize));
    pthread_setspecific(late_key, &late_key);
    return nullptr;
}

/* An exception leaves the drain of a thread that exits. What waits there is left to the heap. */
void a_thread_that_exits_can_be_left_by_exceptions()
{
    holder.name = "holder";
    holder.size = sizeof(Holder);
    holder.clear = clear_holder;
    REQUIRE(fl_type_ready(&holder, nullptr, nullptr, 0) == 0);
    REQUIRE(pthread_key_create(&late_key, drop_late) == 0);
    for (int i = 0; i < kLate; i++)
        late[i] = new_holder(i % 2 == 1, true);
    calls = 0;
    pthread_t thread;
    REQUIRE(pthread_create(&thread, nullptr, exit_with_late_drops, nullptr) == 0);
    REQUIRE(pthread_join(thread, nullptr) == 0);
    fl_dealloc(fl_thread_self(), new_holder(false, false), &holder);
    REQUIRE(calls == kLate / 2 + kLate * static_cast<int>(kMany) + 1);
    char error[256] = "";
    REQUIRE(fl_heap_check(fl_heap_default(), error, sizeof error) == 0);
    REQUIRE(pthread_key_delete(late_key) == 0);
}

bool construct(fl_thread *, void *, const fl_type *)
{
    act();
    return true;
}

size_t reset(fl_thread *, void *, const fl_type *)
{
    return 0;
}

void renew(fl_thread *, void *, const fl_type *)
{
}

/* What was not constructed is no object: only `construct` could have told the host of it. */
void an_exception_that_leaves_construct_frees_the_block()
{
    fl_constructed_type type = {};
    type.type.name = "constructed";
    type.type.size = kSize;
    type.type.clear = clear;
    type.construct = construct;
    type.reset = reset;
    type.renew = renew;
    REQUIRE(fl_constructed_type_ready(&type, nullptr, nullptr, 0) == 0);
    Bed bed(fl_options{});
    for (size_t i = 0; i < kMany; i++) {
        throws = true;
        REQUIRE(is_thrown([&] { fl_object_alloc(bed.thread, &type.type); }));
        REQUIRE(bed.live() == 0);
    }
    throws = false;
    fl_decref(bed.thread, fl_object_alloc(bed.thread, &type.type));
    fl_thread_flush(bed.thread);
    REQUIRE(bed.live() == 0);
}

void misuse_can_be_an_exception()
{
    Bed bed(fl_options{});
    fl_set_misuse_handler(on_misuse);
    throws = true;
    for (int round = 0; round < 3; round++) {
        int foreign;
        REQUIRE(is_thrown([&] { fl_free(bed.thread, &foreign); }));
        REQUIRE(is_thrown([&] { fl_heap_free(bed.heap, &foreign); }));
        REQUIRE(is_thrown([&] { fl_read_lock(bed.thread); }));
    }
    REQUIRE(calls == 9);
    fl_set_misuse_handler(nullptr);
    fl_free(bed.thread, fl_alloc(bed.thread, kSize));
}

} // namespace

int main()
{
    allocations_that_throw_have_not_happened();
    pressure_is_asked_for_each_time();
    deferred_blocks_are_deferred();
    objects_stay_and_can_be_deallocated_again();
    what_waits_is_destroyed_later();
    what_is_pending_stays_pending();
    a_thread_that_exits_can_be_left_by_exceptions();
    an_exception_that_leaves_construct_frees_the_block();
    misuse_can_be_an_exception();
}
