/* SPDX-License-Identifier: MIT
 *
 * An object's life with a reference count: allocation, one incref and two decrefs, the last of which frees it. An
 * object is a count, a type and a double, 24 bytes. An iteration does so 1000 times.
 *
 *     decref/plain      Freelane: objects of object.h, by their owner. Other allocators: an atomic count, and their
 *                       malloc and free
 *     decref/single     Freelane's allocation with a count that only one thread may use: what any count takes
 *     decref/atomic     Freelane's allocation with an atomic count
 *     decref/other      one incref and one decref of an object that another thread owns
 *
 *         atomic        an atomic count
 *         called        the same in functions of their own, as Freelane's slow halves are
 *         swapped       an atomic count that is looked at before it is changed, and lowered by compare-and-swap: so do
 *                       counts with objects that are not counted, and with a last reference that is not simply dropped
 *
 * The atomic count is what C++'s std::shared_ptr and Rust's Arc do: a relaxed addition, and a subtraction that releases
 * and, when it was the last, acquires.
 */
#include "time/harness.h"

#include <freelane/object.h>

#include <atomic>
#include <new>
#include <type_traits>

namespace bench
{

namespace
{

constexpr unsigned kChunk = 1000;

struct Counted {
    struct fl_object head;
    double value;
};

struct Atomic {
    std::atomic<intptr_t> references;
    const void *type;
    double value;

    void incref()
    {
        references.fetch_add(1, std::memory_order_relaxed);
    }
    bool decref()
    {
        return references.fetch_sub(1, std::memory_order_acq_rel) == 1;
    }
};

struct Called {
    Atomic count;

    __attribute__((noinline)) void incref()
    {
        count.incref();
    }
    __attribute__((noinline)) bool decref()
    {
        return count.decref();
    }
};

struct Swapped {
    static constexpr intptr_t kUncounted = INTPTR_MAX / 2;
    std::atomic<intptr_t> references;

    void incref()
    {
        if (references.load(std::memory_order_relaxed) < kUncounted)
            references.fetch_add(1, std::memory_order_relaxed);
    }
    bool decref()
    {
        intptr_t count = references.load(std::memory_order_relaxed);
        do {
            if (count >= kUncounted)
                return false;
        } while (!references.compare_exchange_weak(count, count - 1, std::memory_order_acq_rel,
                                                   std::memory_order_relaxed));
        return count == 1;
    }
};

const struct fl_type *ready_type()
{
    static struct fl_type type;
    static const int result = [] {
        type.name = "counted";
        type.size = sizeof(Counted);
        type.kind = FL_DEALLOC_PLAIN;
        return fl_object_type_ready(&type, nullptr, nullptr, 0);
    }();
    return result == 0 ? &type : nullptr;
}

void run_owner(benchmark::State &state)
{
    Freelane backend;
    struct fl_thread *const thread = backend.thread();
    const struct fl_type *const type = opaque(ready_type());
    for (auto _ : state) {
        for (unsigned i = 0; i < kChunk; i++) {
            auto *object = reinterpret_cast<Counted *>(fl_object_alloc(thread, type));
            object->value = i;
            keep(object);
            fl_incref(thread, &object->head);
            keep(object);
            fl_decref(thread, &object->head);
            keep(object);
            fl_decref(thread, &object->head);
        }
    }
    report(state, kChunk);
}

void drop_single(struct fl_thread *thread, Counted *object)
{
    if (--object->head.counts.local == 0)
        fl_dealloc(thread, object, object->head.type);
}

void run_single(benchmark::State &state)
{
    Freelane backend;
    struct fl_thread *const thread = backend.thread();
    const struct fl_type *const type = opaque(ready_type());
    for (auto _ : state) {
        for (unsigned i = 0; i < kChunk; i++) {
            auto *object = static_cast<Counted *>(fl_type_alloc(thread, type));
            object->head.counts.local = 1;
            object->head.type = type;
            object->value = i;
            keep(object);
            object->head.counts.local++;
            keep(object);
            drop_single(thread, object);
            keep(object);
            drop_single(thread, object);
        }
    }
    report(state, kChunk);
}

/* An atomic count in a block of the backend. */
template <class B> void run_atomic(benchmark::State &state)
{
    B backend;
    backend.supply(sizeof(Atomic), 1);
    alignas(16) unsigned char was[sizeof(Atomic)];
    for (auto _ : state) {
        for (unsigned i = 0; i < kChunk; i++) {
            auto *object = new (backend.alloc(sizeof(Atomic), was)) Atomic{{1}, nullptr, static_cast<double>(i)};
            keep(object);
            object->incref();
            keep(object);
            if (object->decref())
                fail(state, "an object died early");
            keep(object);
            if (object->decref())
                backend.free(object, sizeof(Atomic));
        }
    }
    report(state, kChunk);
}

void run_other(benchmark::State &state)
{
    Freelane owner, other;
    auto *object = reinterpret_cast<Counted *>(fl_object_alloc(owner.thread(), ready_type()));
    for (auto _ : state) {
        for (unsigned i = 0; i < kChunk; i++) {
            fl_incref(other.thread(), &object->head);
            keep(object);
            fl_decref(other.thread(), &object->head);
            keep(object);
        }
    }
    report(state, kChunk);
    fl_decref(owner.thread(), &object->head);
}

template <class Count> void run_other_count(benchmark::State &state)
{
    Count object{};
    object.incref();
    for (auto _ : state) {
        for (unsigned i = 0; i < kChunk; i++) {
            object.incref();
            keep(&object);
            if (object.decref())
                fail(state, "an object died early");
            keep(&object);
        }
    }
    report(state, kChunk);
}

struct Add {
    template <class B> void visit()
    {
        bool ours = std::is_same<B, Freelane>::value;
        add_workload<B>("decref/plain", ours ? run_owner : run_atomic<B>);
    }
};

void add()
{
    AllBackends::visit(Add());
    add_workload<Freelane>("decref/single", run_single);
    add_workload<Freelane>("decref/atomic", run_atomic<Freelane>);
    add_workload<Freelane>("decref/other", run_other);
    auto nothing = [](const benchmark::State &) {};
    bench::add("decref/other", "atomic", run_other_count<Atomic>, nothing);
    bench::add("decref/other", "called", run_other_count<Called>, nothing);
    bench::add("decref/other", "swapped", run_other_count<Swapped>, nothing);
}

const ReportTable kDecref = {8, "Reference counts",
                             "An object of 24 bytes from its creation over one incref to its last decref."};
const Workloads registered(kDecref, add);

} // namespace

} // namespace bench
