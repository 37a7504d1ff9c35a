/* SPDX-License-Identifier: MIT
 *
 *     typed        one thread, 24 types of an interpreter's sizes, each with a constructor and a destructor of its own
 *                  that are called through pointers, as tp_new and tp_dealloc are. With 4096 live objects: destroy the
 *                  one at a random place, construct one of a random type there; 1000 times per iteration
 *     typed/one    the same objects in the same order, allocated and freed at one place in the code
 */
#include "time/harness.h"

#include <array>
#include <type_traits>
#include <utility>

namespace bench
{

namespace
{

constexpr std::array<size_t, 24> kTypeSizes = {32,  48, 48, 32,  64, 56, 40, 32,  80, 96,  48, 64,
                                               128, 32, 72, 160, 48, 24, 32, 256, 56, 112, 64, 512};
constexpr uint32_t kLive = 4096, kSequence = 1 << 18;
constexpr unsigned kChunk = 1000;

struct Object {
    uint64_t references, type;
};

/* The two functions of a type. `was` is what `none` gives back. */
template <class B> struct Type {
    Object *(*construct)(B &backend, void *was);
    void (*destroy)(B &backend, Object *object);
};

template <class B, size_t kType> __attribute__((noinline)) Object *construct(B &backend, void *was)
{
    Object *object = static_cast<Object *>(backend.alloc(kTypeSizes[kType], was));
    *object = {1, kType};
    return object;
}

template <class B, size_t kType> __attribute__((noinline)) void destroy(B &backend, Object *object)
{
    backend.free(object, kTypeSizes[kType]);
}

template <class B, size_t... kTypes> constexpr std::array<Type<B>, 24> types_of(std::index_sequence<kTypes...>)
{
    return {{{construct<B, kTypes>, destroy<B, kTypes>}...}};
}

/* Every type has functions of its own. */
template <class B> struct ByType {
    static constexpr std::array<Type<B>, 24> kTypes = types_of<B>(std::make_index_sequence<24>());

    static Object *construct(B &backend, size_t type, void *was)
    {
        return kTypes[type].construct(backend, was);
    }
    static void destroy(B &backend, Object *object)
    {
        kTypes[object->type].destroy(backend, object);
    }
};

/* One pair of functions serves all types. */
template <class B> struct AtOnePlace {
    __attribute__((noinline)) static Object *construct(B &backend, size_t type, void *was)
    {
        Object *object = static_cast<Object *>(backend.alloc(kTypeSizes[type], was));
        *object = {1, type};
        return object;
    }
    __attribute__((noinline)) static void destroy(B &backend, Object *object)
    {
        backend.free(object, kTypeSizes[object->type]);
    }
};

/* What happens: which place, and what type comes there. */
struct Step {
    uint16_t place;
    uint16_t type;
};

const std::vector<Step> &sequence()
{
    static const std::vector<Step> steps = [] {
        std::vector<Step> made(kSequence);
        uint64_t random = 24;
        for (Step &step : made) {
            step.place = static_cast<uint16_t>(random_below(&random, kLive));
            step.type = static_cast<uint16_t>(random_below(&random, kTypeSizes.size()));
        }
        return made;
    }();
    return steps;
}

template <class B, template <class> class How> void run_typed(benchmark::State &state)
{
    const std::vector<Step> &steps = sequence();
    B backend;
    for (size_t size = 16; size <= 512; size += 16)
        backend.supply(size, kLive);
    std::vector<Object *> objects(kLive);
    for (uint32_t i = 0; i < kLive; i++) {
        void *was = nullptr;
        if constexpr (std::is_same_v<B, None>)
            was = backend.first(64); /* more is not written */
        objects[i] = How<B>::construct(backend, steps[i].type, was);
    }
    size_t at = 0;
    auto replace = [&](unsigned count) {
        for (unsigned i = 0; i < count; i++, at = (at + 1) % kSequence) {
            Object *&object = objects[steps[at].place];
            How<B>::destroy(backend, object);
            object = How<B>::construct(backend, steps[at].type, object);
            keep(object);
        }
    };
    replace(4 * kLive);
    for (auto _ : state)
        replace(kChunk);
    report(state, kChunk);
    for (Object *object : objects)
        How<B>::destroy(backend, object);
}

struct Add {
    template <class B> void visit()
    {
        add_workload<B>("typed", run_typed<B, ByType>);
        add_workload<B>("typed/one", run_typed<B, AtOnePlace>);
    }
};

void add()
{
    AllBackends::visit(Add());
}

const Workloads registered(kOneThread, add);

} // namespace

} // namespace bench
