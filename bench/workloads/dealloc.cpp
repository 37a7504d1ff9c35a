/* SPDX-License-Identifier: MIT
 *
 * An object's way from its last reference to the freelist and out again, by kind of deallocation. An object is a float
 * as in CPython: a reference count, a pointer to its type and a double, 24 bytes. Each operation allocates one, fills
 * in all three, and deallocates it by the type that the object points to, as when its reference count has just reached
 * zero. An iteration does so 1000 times.
 *
 *     dealloc/plain      fl_type_alloc and fl_dealloc of a PLAIN type
 *     dealloc/clear      CLEAR: `clear` drops a reference that the object holds
 *     dealloc/finalize   FINALIZE: `finalize` counts, `clear` drops a reference; no resurrection
 *     dealloc/legacy     LEGACY: the type's `dealloc`, which ends in fl_type_free
 *     dealloc/pyobject   what CPython 3.11 does, the real allocator at its end: the type's dealloc pointer, which
 *                        calls the type's free pointer, which is PyObject_Free; from PyObject_Malloc
 *
 * dealloc/plain/none only fills in one object.
 */
#include "time/harness.h"

namespace bench
{

namespace
{

constexpr unsigned kChunk = 1000;

template <class Type> struct Object {
    intptr_t references;
    const Type *type;
    union {
        double value;
        intptr_t *held; /* the reference count of what a CLEAR or FINALIZE object holds */
    };
};

using FreelaneObject = Object<struct fl_type>;

void drop_held(struct fl_thread *, void *object, const struct fl_type *)
{
    --*static_cast<FreelaneObject *>(object)->held;
}

bool count_finalized(struct fl_thread *, void *object, const struct fl_type *)
{
    ++*static_cast<FreelaneObject *>(object)->held;
    return false;
}

void free_legacy(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    fl_type_free(thread, object, type);
}

/* A type of its own kind, made ready once. */
template <enum fl_dealloc_kind Kind> const struct fl_type *ready_type()
{
    static struct fl_type type;
    static const int result = [] {
        type.name = "float";
        type.size = sizeof(FreelaneObject);
        type.kind = Kind;
        if (Kind == FL_DEALLOC_LEGACY)
            type.dealloc = free_legacy;
        if (Kind == FL_DEALLOC_CLEAR || Kind == FL_DEALLOC_FINALIZE)
            type.clear = drop_held;
        if (Kind == FL_DEALLOC_FINALIZE)
            type.finalize = count_finalized;
        char error[200];
        int failure = fl_type_ready(&type, nullptr, error, sizeof error);
        if (failure)
            std::fprintf(stderr, "fl_bench: %s\n", error);
        return failure;
    }();
    return result == 0 ? &type : nullptr;
}

template <enum fl_dealloc_kind Kind> void run_freelane(benchmark::State &state)
{
    Freelane backend;
    struct fl_thread *const thread = backend.thread();
    const struct fl_type *const type = opaque(ready_type<Kind>());
    if (!type) {
        fail(state, "the type was refused");
        return;
    }
    intptr_t held = 0;
    for (auto _ : state) {
        for (unsigned i = 0; i < kChunk; i++) {
            auto *object = static_cast<FreelaneObject *>(fl_type_alloc(thread, type));
            object->references = 1;
            object->type = type;
            if (Kind == FL_DEALLOC_CLEAR || Kind == FL_DEALLOC_FINALIZE)
                object->held = &held;
            else
                object->value = i;
            keep(object);
            fl_dealloc(thread, object, object->type);
        }
    }
    report(state, kChunk);
    if (Kind == FL_DEALLOC_CLEAR && held != -static_cast<intptr_t>(state.iterations() * kChunk))
        fail(state, "not every object was cleared");
    if (Kind == FL_DEALLOC_FINALIZE && held != 0)
        fail(state, "not every object was finalized and cleared");
}

struct PythonType {
    void (*dealloc)(void *object);
    void (*free)(void *object);
};

using PythonObject = Object<PythonType>;

__attribute__((noinline)) void dealloc_float(void *object)
{
    static_cast<PythonObject *>(object)->type->free(object);
}

void run_pyobject(benchmark::State &state)
{
    PythonAllocator python;
    std::string error;
    if (!load_python(&python, &error)) {
        fail(state, error);
        return;
    }
    PythonType float_type = {dealloc_float, python.free};
    const PythonType *const type = opaque(&float_type);
    for (auto _ : state) {
        for (unsigned i = 0; i < kChunk; i++) {
            auto *object = static_cast<PythonObject *>(python.malloc(sizeof(PythonObject)));
            object->references = 1;
            object->type = type;
            object->value = i;
            keep(object);
            object->type->dealloc(object);
        }
    }
    report(state, kChunk);
}

void run_none(benchmark::State &state)
{
    FreelaneObject storage;
    struct fl_type unused = {};
    const struct fl_type *const type = opaque(&unused);
    for (auto _ : state) {
        for (unsigned i = 0; i < kChunk; i++) {
            storage.references = 1;
            storage.type = type;
            storage.value = i;
            keep(&storage);
        }
    }
    report(state, kChunk);
}

void add()
{
    add_workload<Freelane>("dealloc/plain", run_freelane<FL_DEALLOC_PLAIN>);
    add_workload<Freelane>("dealloc/clear", run_freelane<FL_DEALLOC_CLEAR>);
    add_workload<Freelane>("dealloc/finalize", run_freelane<FL_DEALLOC_FINALIZE>);
    add_workload<Freelane>("dealloc/legacy", run_freelane<FL_DEALLOC_LEGACY>);
    add_workload<None>("dealloc/plain", run_none);
    bench::add("dealloc/pyobject", "libpython3.11", run_pyobject, [](const benchmark::State &) {});
}

const ReportTable kDealloc = {3, "By kind of deallocation",
                              "From the last reference to the freelist and out again, an object of 24 bytes."};
const Workloads registered(kDealloc, add);

} // namespace

} // namespace bench
