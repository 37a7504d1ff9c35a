/* SPDX-License-Identifier: MIT
 *
 * The lives of objects that consist of more than a header: an object is made, used, and dropped; 1000 times per
 * iteration.
 *
 *     construct/array     an array of pointers: a table of 8 places, which is doubled when it is full; 20 are appended
 *     construct/object    a hash table: 8 buckets, which are doubled when there are as many pairs; a block for each
 *                         pair; 20 keys are entered
 *     construct/frame     a stack of 45 values in a block of its own, which are nil at first, and a block of 64 bytes
 *                         for a call; 8 are set
 *     construct/tuple     4 pointers in the object itself
 *
 *     freelane    a constructed type (object.h): tables and pairs stay, as large as they have become
 *     made        Freelane without that: a life makes all this and takes it apart
 *     others      the same with malloc and free, a plain count, and no callbacks
 *
 * These are the sizes with which jansson's arrays and objects and Lua's threads start. The pointers are not counted, so
 * that the object's own life is measured. A reset undoes what the life has used, and no more.
 */
#include "time/harness.h"

#include <freelane/object.h>

#include <cstring>

namespace bench
{

namespace
{

constexpr unsigned kChunk = 1000;

/* Where the parts come from: a handle, or a backend. */
struct OfThread {
    struct fl_thread *thread;

    void *alloc(size_t size)
    {
        return fl_alloc(thread, size);
    }
    void free(void *block, size_t size)
    {
        fl_free_sized(thread, block, size);
    }
};

template <class B> struct OfBackend {
    B &backend;

    void *alloc(size_t size)
    {
        return backend.alloc(size, nullptr);
    }
    void free(void *block, size_t size)
    {
        backend.free(block, size);
    }
};

/* ---- The objects, behind a header of 16 bytes. */

constexpr unsigned kItems = 20;

struct Array {
    struct fl_object head;
    size_t used, capacity;
    void **items;

    template <class From> void make(From from)
    {
        used = 0;
        capacity = 8;
        items = static_cast<void **>(from.alloc(capacity * sizeof(void *)));
    }
    template <class From> __attribute__((noinline)) void grow(From from)
    {
        auto **larger = static_cast<void **>(from.alloc(2 * capacity * sizeof(void *)));
        std::memcpy(larger, items, capacity * sizeof(void *));
        from.free(items, capacity * sizeof(void *));
        items = larger;
        capacity *= 2;
    }
    template <class From> void use(From from)
    {
        for (unsigned i = 0; i < kItems; i++) {
            if (used == capacity)
                grow(from);
            items[used++] = this;
        }
    }
    size_t reset()
    {
        used = 0;
        return capacity * sizeof(void *);
    }
    template <class From> void clear(From from)
    {
        from.free(items, capacity * sizeof(void *));
    }
};

struct Object {
    struct Pair {
        Pair *next_in_bucket, *next;
        const void *key;
        void *value;
    };
    struct fl_object head;
    Pair *pairs, *spare; /* those entered last, and those of earlier lives */
    Pair **buckets;
    size_t used, mask, made;

    template <class From> void take_buckets(From from, size_t count)
    {
        mask = count - 1;
        buckets = static_cast<Pair **>(from.alloc(count * sizeof(Pair *)));
        std::memset(buckets, 0, count * sizeof(Pair *));
    }
    Pair **bucket_of(const void *key)
    {
        return &buckets[(reinterpret_cast<uintptr_t>(key) * 0x9e3779b97f4a7c15u >> 32) & mask];
    }
    void link(Pair *pair)
    {
        Pair **bucket = bucket_of(pair->key);
        pair->next_in_bucket = *bucket;
        *bucket = pair;
    }
    template <class From> void make(From from)
    {
        pairs = spare = nullptr;
        used = made = 0;
        take_buckets(from, 8);
    }
    template <class From> __attribute__((noinline)) void grow(From from)
    {
        from.free(buckets, (mask + 1) * sizeof(Pair *));
        take_buckets(from, 2 * (mask + 1));
        for (Pair *pair = pairs; pair != nullptr; pair = pair->next)
            link(pair);
    }
    template <class From> Pair *obtain_pair(From from)
    {
        Pair *pair = spare;
        if (pair == nullptr) {
            made++;
            return static_cast<Pair *>(from.alloc(sizeof(Pair)));
        }
        spare = pair->next;
        return pair;
    }
    template <class From> void enter(From from, const void *key)
    {
        if (used > mask)
            grow(from);
        Pair *pair = obtain_pair(from);
        pair->key = key;
        pair->value = this;
        pair->next = pairs;
        pairs = pair;
        used++;
        link(pair);
    }
    template <class From> void use(From from)
    {
        static const char keys[kItems][16] = {};
        for (const auto &key : keys)
            enter(from, key);
    }
    size_t reset()
    {
        for (Pair *pair = pairs, *next; pair != nullptr; pair = next) {
            next = pair->next;
            *bucket_of(pair->key) = nullptr;
            pair->next = spare;
            spare = pair;
        }
        pairs = nullptr;
        used = 0;
        return (mask + 1) * sizeof(Pair *) + made * sizeof(Pair);
    }
    template <class From> static void free_pairs(From from, Pair *pair)
    {
        for (Pair *next; pair != nullptr; pair = next) {
            next = pair->next;
            from.free(pair, sizeof(Pair));
        }
    }
    template <class From> void clear(From from)
    {
        free_pairs(from, pairs);
        free_pairs(from, spare);
        from.free(buckets, (mask + 1) * sizeof(Pair *));
    }
};

struct Frame {
    static constexpr size_t kValues = 45, kCallBytes = 64;
    struct Value {
        void *pointer;
        int tag;
    };
    struct fl_object head;
    size_t set;
    Value *stack;
    void *call;

    template <class From> void make(From from)
    {
        set = 0;
        call = from.alloc(kCallBytes);
        stack = static_cast<Value *>(from.alloc(kValues * sizeof(Value)));
        for (size_t i = 0; i < kValues; i++)
            stack[i].tag = 0;
    }
    template <class From> void use(From)
    {
        while (set < 8)
            stack[set++] = {this, 1};
    }
    size_t reset()
    {
        while (set > 0)
            stack[--set].tag = 0;
        return kValues * sizeof(Value) + kCallBytes;
    }
    template <class From> void clear(From from)
    {
        from.free(stack, kValues * sizeof(Value));
        from.free(call, kCallBytes);
    }
};

struct Tuple {
    struct fl_object head;
    size_t count;
    void *items[4];

    template <class From> void make(From)
    {
        count = 4;
    }
    template <class From> void use(From)
    {
        for (auto &item : items)
            item = this;
    }
    size_t reset()
    {
        return 0;
    }
    template <class From> void clear(From)
    {
    }
};

/* ---- Freelane. */

template <class O> bool construct(struct fl_thread *thread, void *object, const struct fl_type *)
{
    static_cast<O *>(object)->make(OfThread{thread});
    return true;
}

template <class O> size_t reset(struct fl_thread *, void *object, const struct fl_type *)
{
    return static_cast<O *>(object)->reset();
}

void renew(struct fl_thread *, void *, const struct fl_type *)
{
}

template <class O> void clear(struct fl_thread *thread, void *object, const struct fl_type *)
{
    static_cast<O *>(object)->clear(OfThread{thread});
}

/* The type of the objects: with and without their lives in one. */
template <class O, bool kKept> const struct fl_type *ready_type()
{
    static struct fl_constructed_type type;
    static const int result = [] {
        type.type.name = "part of a life";
        type.type.size = sizeof(O);
        type.type.clear = clear<O>;
        type.construct = construct<O>;
        type.reset = reset<O>;
        type.renew = renew;
        return kKept ? fl_constructed_type_ready(&type, nullptr, nullptr, 0)
                     : fl_object_type_ready(&type.type, nullptr, nullptr, 0);
    }();
    return opaque<struct fl_type>(result == 0 ? &type.type : nullptr);
}

template <class O, bool kKept> void run(benchmark::State &state)
{
    Freelane backend;
    struct fl_thread *const thread = backend.thread();
    const struct fl_type *const type = ready_type<O, kKept>();
    for (auto _ : state) {
        for (unsigned i = 0; i < kChunk; i++) {
            auto *object = reinterpret_cast<O *>(fl_object_alloc(thread, type));
            if (!kKept)
                object->make(OfThread{thread});
            object->use(OfThread{thread});
            keep(object);
            fl_decref(thread, &object->head);
        }
    }
    report(state, kChunk);
}

/* ---- Other allocators. The count lies where Freelane has its own. */

template <class O, class B> void run_other(benchmark::State &state)
{
    B backend;
    for (auto _ : state) {
        for (unsigned i = 0; i < kChunk; i++) {
            auto *object = static_cast<O *>(backend.alloc(sizeof(O), nullptr));
            object->head.counts.local = 1;
            object->make(OfBackend<B>{backend});
            object->use(OfBackend<B>{backend});
            keep(object);
            if (--object->head.counts.local == 0) {
                object->clear(OfBackend<B>{backend});
                backend.free(object, sizeof(O));
            }
        }
    }
    report(state, kChunk);
}

template <class O> struct AddOther {
    const char *name;

    template <class B> void visit()
    {
        add_workload<B>(name, run_other<O, B>);
    }
};

template <class O> void add_kind(const char *name)
{
    auto purge = [](const benchmark::State &) { Freelane::purge(); };
    bench::add(name, "freelane", run<O, true>, purge);
    bench::add(name, "made", run<O, false>, purge);
    Backends<Pointers<kGlibc>, Pointers<kMimalloc>, Pointers<kMimallocNew>, Pointers<kJemalloc>,
             Pointers<kJemallocNew>, Pointers<kTcmalloc>, Pointers<kTcmallocNew>>::visit(AddOther<O>{name});
}

void add()
{
    add_kind<Array>("construct/array");
    add_kind<Object>("construct/object");
    add_kind<Frame>("construct/frame");
    add_kind<Tuple>("construct/tuple");
}

const ReportTable kConstruct = {9, "Constructed objects",
                                "An object and its tables, from its creation to its last reference."};
const Workloads registered(kConstruct, add);

} // namespace

} // namespace bench
