/* SPDX-License-Identifier: MIT
 *
 * Type descriptors: the kind of a type, in two bits, and the dispatch on it when an object dies. fl_type_ready finds
 * the kind from what the type says and from what its base demands.
 *
 *     kind       callbacks it must have    it must not have
 *     LEGACY     dealloc
 *     PLAIN                                any
 *     CLEAR      clear                     dealloc, finalize
 *     FINALIZE   finalize                  dealloc
 *
 * A type inherits from its base the callbacks that it leaves out. fl_type_ready settles all of this once per type.
 * Per object there is one test, and for PLAIN no call. PLAIN never runs code of the host: it drains no queue and
 * polls nothing.
 */
#include "api/alloc.h"
#include "api/free.h"
#include "base/check.h"

#include <errno.h>
#include <stddef.h>

/* The alignment of every block. */
enum { ALIGNMENT_DEFAULT = 16 };

static const char *kind_name(enum fl_dealloc_kind kind)
{
    static const char *const names[] = {"LEGACY", "PLAIN", "CLEAR", "FINALIZE"};
    return (unsigned)kind < sizeof names / sizeof *names ? names[kind] : "unknown";
}

/* ---- Making a type ready. */

/* The error text of one call. */
struct complaint {
    const char *name;
    char *text;
    size_t size;
};

#define REFUSE(complaint, ...) fli_complain(-EINVAL, (complaint)->text, (complaint)->size, "type '%s' " __VA_ARGS__)

static int inherit_size(struct fl_type *type, const struct complaint *complaint)
{
    const struct fl_type *base = type->base;
    if (type->size == 0 && base != NULL)
        type->size = base->size;
    if (type->size == 0)
        return REFUSE(complaint, "has a size of 0", complaint->name);
    if (base != NULL && type->size < base->size)
        return REFUSE(complaint, "has %zu bytes, fewer than the %zu of its base '%s'", complaint->name, type->size,
                      base->size, base->name);
    return 0;
}

/* A subtype's alignment is never less than its base's. */
static int inherit_alignment(struct fl_type *type, const struct complaint *complaint)
{
    const struct fl_type *base = type->base;
    if (type->alignment == 0)
        type->alignment = base != NULL ? base->alignment : ALIGNMENT_DEFAULT;
    if (!fli_is_alignment(type->alignment))
        return REFUSE(complaint, "has an alignment of %zu, which is no power of two up to %d", complaint->name,
                      type->alignment, FL_ALIGNMENT_MAX);
    if (base != NULL && type->alignment < base->alignment)
        return REFUSE(complaint, "has an alignment of %zu, less than the %zu of its base '%s'", complaint->name,
                      type->alignment, base->alignment, base->name);
    return 0;
}

/* A subtype has its base's header, and the header lies inside the object. */
static int inherit_header(struct fl_type *type, const struct complaint *complaint)
{
    const struct fl_type *base = type->base;
    if (type->header == NULL && base != NULL)
        type->header = base->header;
    if (base != NULL && base->header != NULL && type->header != base->header)
        return REFUSE(complaint, "has another header than its base '%s'", complaint->name, base->name);
    if (type->header != NULL && type->size < type->header->bytes)
        return REFUSE(complaint, "has %zu bytes, fewer than the %u of its header", complaint->name, type->size,
                      (unsigned)type->header->bytes);
    return 0;
}

/* The kind that a type asks for by its own fields. */
static enum fl_dealloc_kind own_kind(const struct fl_type *type)
{
    const struct fl_type *base = type->base;
    if (type->kind != FL_DEALLOC_LEGACY || type->dealloc != NULL || (base != NULL && base->kind == FL_DEALLOC_LEGACY))
        return type->kind;
    if (type->finalize != NULL)
        return FL_DEALLOC_FINALIZE;
    if (type->clear != NULL)
        return FL_DEALLOC_CLEAR;
    return base != NULL ? base->kind : FL_DEALLOC_LEGACY;
}

/* The kind of a subtype, which is never weaker than its base's. A LEGACY base does not restrict a subtype with a
 * kind. */
static enum fl_dealloc_kind demanded_kind(enum fl_dealloc_kind own, const struct fl_type *base)
{
    if (base == NULL || own == FL_DEALLOC_LEGACY)
        return own;
    return own < base->kind ? base->kind : own;
}

static int check_own_callbacks(const struct fl_type *type, const struct complaint *complaint)
{
    if ((unsigned)type->kind > FL_DEALLOC_FINALIZE)
        return REFUSE(complaint, "has the unknown dealloc kind %u", complaint->name, (unsigned)type->kind);
    const char *excess = NULL;
    if (type->kind != FL_DEALLOC_LEGACY && type->dealloc != NULL)
        excess = "dealloc";
    else if (type->kind == FL_DEALLOC_PLAIN && type->clear != NULL)
        excess = "clear";
    else if (type->kind != FL_DEALLOC_FINALIZE && type->kind != FL_DEALLOC_LEGACY && type->finalize != NULL)
        excess = "finalize";
    if (excess != NULL)
        return REFUSE(complaint, "is %s but has a '%s'", complaint->name, kind_name(type->kind), excess);
    return 0;
}

static void inherit_callbacks(struct fl_type *type)
{
    const struct fl_type *base = type->base;
    if (base == NULL)
        return;
    if (type->kind == FL_DEALLOC_LEGACY) {
        if (type->dealloc == NULL)
            type->dealloc = base->dealloc;
        return;
    }
    if (type->kind == FL_DEALLOC_PLAIN)
        return;
    if (type->clear == NULL)
        type->clear = base->clear;
    if (type->kind != FL_DEALLOC_FINALIZE)
        return;
    if (type->finalize == NULL)
        type->finalize = base->finalize;
    if (type->finalized_mask == 0) {
        type->finalized_mask = base->finalized_mask;
        type->finalized_offset = base->finalized_offset;
    }
}

static int check_needed_callbacks(const struct fl_type *type, const struct complaint *complaint)
{
    const char *missing = NULL;
    if (type->kind == FL_DEALLOC_LEGACY && type->dealloc == NULL)
        missing = "dealloc";
    else if (type->kind == FL_DEALLOC_CLEAR && type->clear == NULL)
        missing = "clear";
    else if (type->kind == FL_DEALLOC_FINALIZE && type->finalize == NULL)
        missing = "finalize";
    if (missing != NULL)
        return REFUSE(complaint, "is %s but has no '%s'%s%s%s", complaint->name, kind_name(type->kind), missing,
                      type->base != NULL ? ", nor has its base '" : "", type->base != NULL ? type->base->name : "",
                      type->base != NULL ? "'" : "");
    if (type->finalized_mask != 0 && type->finalized_offset >= type->size)
        return REFUSE(complaint, "has its finalized byte at %u, outside of its %zu bytes", complaint->name,
                      (unsigned)type->finalized_offset, type->size);
    return 0;
}

/* The size of the blocks that hold instances. */
static size_t block_size(const struct fl_type *type)
{
    return type->alignment > ALIGNMENT_DEFAULT ? fl_aligned_size(type->alignment, type->size) : type->size;
}

static unsigned class_of(const struct fl_type *type)
{
    return (unsigned)fl_size_class(block_size(type));
}

/* Cache 0, and place 0 of the deferred blocks, have neither blocks nor room. An offset of 0 therefore sends every
 * call to its slow half. */
static void find_caches(struct fl_type *type)
{
    unsigned class_index = class_of(type);
    bool is_plain = type->kind == FL_DEALLOC_PLAIN;
    bool is_cleared = type->header != NULL && type->header->words > 0;
    unsigned first = type->header != NULL ? FL_CLASS_COUNT : 0;
    type->alloc_cache = class_index != 0 ? (uint32_t)((first + class_index) * sizeof(struct fl_cache)) : 0;
    type->free_cache = is_cleared ? 0 : type->alloc_cache;
    type->dealloc_cache = is_plain ? type->free_cache : 0;
    type->deferred_cache = (uint32_t)offsetof(struct fl_thread, deferred);
    if (is_plain && !is_cleared && class_index != 0)
        type->deferred_cache += (uint32_t)((first + class_index) * sizeof(void **));
}

int fl_type_ready(struct fl_type *type, const struct fl_type *base, char *error, size_t error_size)
{
    struct complaint complaint = {.name = type->name, .text = error, .size = error_size};
    if (type->name == NULL)
        return fli_complain(-EINVAL, error, error_size, "the type at %p has no name", (void *)type);
    if (type->ready)
        return REFUSE(&complaint, "is ready already", type->name);
    if (base != NULL && !base->ready)
        return REFUSE(&complaint, "has a base, '%s', that is not ready", type->name,
                      base->name != NULL ? base->name : "(no name)");
    struct fl_type ready = *type;
    ready.base = base;
    int failed = check_own_callbacks(type, &complaint);
    if (failed == 0)
        failed = inherit_size(&ready, &complaint);
    if (failed == 0)
        failed = inherit_alignment(&ready, &complaint);
    if (failed == 0)
        failed = inherit_header(&ready, &complaint);
    if (failed != 0)
        return failed;
    ready.kind = demanded_kind(own_kind(&ready), base);
    inherit_callbacks(&ready);
    failed = check_needed_callbacks(&ready, &complaint);
    if (failed != 0)
        return failed;
    find_caches(&ready);
    ready.ready = true;
    *type = ready;
    return 0;
}

/* ---- Allocation and deallocation by type. */

/* Whether a type is ready; reports misuse if not. The offsets of such a type are 0, so every call with it comes to a
 * slow half. */
static bool is_ready(const struct fl_type *type, const void *object, const char *call)
{
    if (FLI_UNLIKELY(!type->ready))
        fli_misuse(call, object, type->name, "was given a type that is not ready");
    return type->ready;
}

void *fl_type_alloc_slow(struct fl_thread *thread, const struct fl_type *type)
{
    if (!is_ready(type, NULL, "fl_type_alloc"))
        return NULL;
    void *object = fli_alloc_quickly(thread, class_of(type), type->header);
    if (FLI_LIKELY(object != NULL))
        return object;
    return fli_alloc(
        thread, &(struct fli_request){
                    .call = "fl_type_alloc", .type = type->name, .size = block_size(type), .header = type->header});
}

static struct fli_free how_to_free(const char *call, const struct fl_type *type)
{
    return (struct fli_free){.call = call,
                             .type = type->name,
                             .size = block_size(type),
                             .sized = true,
                             .typed = true,
                             .header = type->header};
}

static void free_instance(struct fl_thread *thread, void *object, const struct fl_type *type, const char *call)
{
    if (FLI_LIKELY(fli_free_quickly(thread, object, class_of(type), type->header)))
        return;
    struct fli_free how = how_to_free(call, type);
    fli_free(thread, object, &how);
}

static void defer_instance(struct fl_thread *thread, void *object, const struct fl_type *type, const char *call)
{
    if (FLI_LIKELY(fli_defer_quickly(thread, object, class_of(type), type->header)))
        return;
    struct fli_free how = how_to_free(call, type);
    how.deferred = true;
    fli_free(thread, object, &how);
}

void fl_type_free_slow(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    if (!is_ready(type, object, "fl_type_free"))
        return;
    free_instance(thread, object, type, "fl_type_free");
}

void fl_type_free_deferred(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    if (!is_ready(type, object, "fl_type_free_deferred"))
        return;
    defer_instance(thread, object, type, "fl_type_free_deferred");
}

/* Finalizes an object unless that has happened before. Returns whether the object stays allocated: it was
 * resurrected, or `finalize` returned on another OS thread. */
static bool finalize(struct fl_thread *thread, void *object, const struct fl_type *type, const char *call)
{
    if (type->finalized_mask != 0) {
        unsigned char *byte = (unsigned char *)object + type->finalized_offset;
        if ((*byte & type->finalized_mask) != 0)
            return false;
        *byte |= type->finalized_mask;
    }
    uintptr_t caller = fli_calling_thread();
    bool resurrected = type->finalize(thread, object, type);
    return !fli_came_back(caller, call, object, type->name, "has a finalize") || resurrected;
}

/* Clears an object. Returns false, reported as misuse, if `clear` returned on another OS thread. */
static bool clear(struct fl_thread *thread, void *object, const struct fl_type *type, const char *call)
{
    if (type->clear == NULL)
        return true;
    uintptr_t caller = fli_calling_thread();
    type->clear(thread, object, type);
    return fli_came_back(caller, call, object, type->name, "has a clear");
}

/* Whether the object can be one of the type in the thread's heap; reports misuse if not. */
static bool is_live(struct fl_thread *thread, const void *object, const struct fl_type *type, const char *call,
                    bool deferred)
{
    const struct fl_heap *heap = fli_thread_of(thread)->heap;
    if (!FLI_CHECKED && !deferred && FLI_LIKELY(heap != NULL && class_of(type) != 0) &&
        heap->options.header == type->header && fli_slab_class_of(&heap->backing.slabs, object) == class_of(type))
        return true;
    struct fli_free how = how_to_free(call, type);
    how.deferred = deferred;
    return fli_check_live(thread, object, &how);
}

/* Runs the callbacks of a CLEAR or FINALIZE object. Returns whether its memory is to be freed. */
static bool end_object(struct fl_thread *thread, void *object, const struct fl_type *type, const char *call,
                       bool deferred)
{
    /* This comes before the host's callbacks run on the object. */
    if (!is_live(thread, object, type, call, deferred))
        return false;
    if (type->kind == FL_DEALLOC_FINALIZE && finalize(thread, object, type, call))
        return false;
    return clear(thread, object, type, call);
}

/* Ends an object of a kind other than PLAIN, or a PLAIN object whose cache has no room. */
void fl_dealloc_slow(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    if (!is_ready(type, object, "fl_dealloc"))
        return;
    if (type->kind == FL_DEALLOC_LEGACY)
        type->dealloc(thread, object, type);
    else if (type->kind == FL_DEALLOC_PLAIN)
        free_instance(thread, object, type, "fl_dealloc");
    else if (end_object(thread, object, type, "fl_dealloc", false))
        fl_type_free(thread, object, type);
}

void fl_dealloc_deferred_slow(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    if (!is_ready(type, object, "fl_dealloc_deferred"))
        return;
    if (type->kind == FL_DEALLOC_LEGACY)
        fli_misuse("fl_dealloc_deferred", object, type->name,
                   "is LEGACY, whose dealloc frees by itself; it may end in fl_type_free_deferred");
    else if (type->kind == FL_DEALLOC_PLAIN || end_object(thread, object, type, "fl_dealloc_deferred", true))
        defer_instance(thread, object, type, "fl_dealloc_deferred");
}

void fl_dealloc_as_slow(struct fl_thread *thread, void *object, const struct fl_type *type, enum fl_dealloc_kind kind)
{
    if (!is_ready(type, object, "fl_dealloc_as"))
        return;
    if (kind != type->kind) {
        fli_misuse("fl_dealloc_as", object, type->name, "is %s, not %s", kind_name(type->kind), kind_name(kind));
        return;
    }
    fl_dealloc_slow(thread, object, type);
}

_Static_assert(2 * FL_CLASS_COUNT * sizeof(struct fl_cache) <= 1 << FL_TAG_BITS, "a tag is small");
_Static_assert(offsetof(struct fl_thread, cache) == 0 && offsetof(struct fl_cache, top) == 0, "a tag is a place");

void fl_dealloc_tagged_slow(struct fl_thread *thread, void *object, const struct fl_type *type, size_t tag)
{
    if (!is_ready(type, object, "fl_dealloc_tagged"))
        return;
    if (tag != fl_type_tag(type)) {
        fli_misuse("fl_dealloc_tagged", object, type->name, "has the tag %u, not %zu", fl_type_tag(type), tag);
        return;
    }
    fl_dealloc_slow(thread, object, type);
}
