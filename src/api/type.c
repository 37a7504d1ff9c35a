/* SPDX-License-Identifier: MIT
 *
 * Type descriptors: the kind of a type, in two bits. fl_type_ready finds the kind from what the type says and from what
 * its base demands.
 *
 *     kind       callbacks it must have    it must not have
 *     LEGACY     dealloc
 *     PLAIN                                any
 *     CLEAR      clear or clear_some       dealloc, finalize
 *     FINALIZE   finalize                  dealloc
 *
 * A type inherits from its base the callbacks that it leaves out. fl_type_ready settles all of this once per type.
 * Per object there is one test, and for PLAIN no call. PLAIN never runs code of the host: it drains no queue and
 * polls nothing.
 */
#include "api/instance.h"
#include "base/check.h"
#include "base/watch.h"
#include "memory/block.h"

#include <errno.h>
#include <stddef.h>

const char *fli_kind_name(enum fl_dealloc_kind kind)
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
        type->alignment = base != NULL ? base->alignment : FLI_ALIGNMENT;
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
    if (type->clear != NULL || type->clear_some != NULL)
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
    if (type->clear != NULL && type->clear_some != NULL)
        return REFUSE(complaint, "has both a 'clear' and a 'clear_some'", complaint->name);
    const char *excess = NULL;
    if ((type->flags & FL_TYPE_ANY_KIND) != 0)
        return 0;
    if (type->kind != FL_DEALLOC_LEGACY && type->dealloc != NULL)
        excess = "dealloc";
    else if (type->kind == FL_DEALLOC_PLAIN && type->clear != NULL)
        excess = "clear";
    else if (type->kind == FL_DEALLOC_PLAIN && type->clear_some != NULL)
        excess = "clear_some";
    else if (type->kind != FL_DEALLOC_FINALIZE && type->kind != FL_DEALLOC_LEGACY && type->finalize != NULL)
        excess = "finalize";
    if (excess != NULL)
        return REFUSE(complaint, "is %s but has a '%s'", complaint->name, fli_kind_name(type->kind), excess);
    return 0;
}

/* Whether objects of the type may end as their kind, or as another one that needs the same callbacks. */
static bool may_be(const struct fl_type *type, enum fl_dealloc_kind kind)
{
    return type->kind == kind || (type->flags & FL_TYPE_ANY_KIND) != 0;
}

static void inherit_callbacks(struct fl_type *type)
{
    const struct fl_type *base = type->base;
    if (base == NULL)
        return;
    if (may_be(type, FL_DEALLOC_LEGACY) && type->dealloc == NULL)
        type->dealloc = base->dealloc;
    bool may_clear = may_be(type, FL_DEALLOC_CLEAR) || may_be(type, FL_DEALLOC_FINALIZE);
    if (may_clear && type->clear == NULL && type->clear_some == NULL) {
        type->clear = base->clear;
        type->clear_some = base->clear_some;
    }
    if (!may_be(type, FL_DEALLOC_FINALIZE))
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
    else if (type->kind == FL_DEALLOC_CLEAR && type->clear == NULL && type->clear_some == NULL)
        missing = "clear";
    else if (type->kind == FL_DEALLOC_FINALIZE && type->finalize == NULL)
        missing = "finalize";
    if (missing != NULL)
        return REFUSE(complaint, "is %s but has no '%s'%s%s%s", complaint->name, fli_kind_name(type->kind), missing,
                      type->base != NULL ? ", nor has its base '" : "", type->base != NULL ? type->base->name : "",
                      type->base != NULL ? "'" : "");
    if (type->finalized_mask != 0 && type->finalized_offset >= type->size)
        return REFUSE(complaint, "has its finalized byte at %u, outside of its %zu bytes", complaint->name,
                      (unsigned)type->finalized_offset, type->size);
    return 0;
}

enum { WHEN = FL_TYPE_AT_ONCE | FL_TYPE_LATER | FL_TYPE_NOT_LATER };

/* A subtype has what its base asks for. Its own words replace those of the base, and so does what it says of when its
 * objects end. PLAIN ones wait for nothing. */
static void inherit_flags(struct fl_type *type)
{
    const struct fl_type *base = type->base;
    if (base == NULL)
        return;
    if ((type->flags & FL_TYPE_HAS_WORDS) == 0)
        type->words_offset = base->words_offset;
    bool says_when = (type->flags & WHEN) != 0 || type->kind == FL_DEALLOC_PLAIN;
    type->flags |= base->flags & ~(says_when ? (uint32_t)(FL_TYPE_LATER | FL_TYPE_NOT_LATER) : 0);
}

static bool has_finalized_byte_at(const struct fl_type *type, uint32_t offset, uint32_t bytes)
{
    return type->finalized_mask != 0 && type->finalized_offset - offset < bytes;
}

/* Whether the header says how the words at an offset may hold a link, though stale readers look at them. */
static bool may_link_header(const struct fl_header *header, uint32_t offset)
{
    return header->link.bits != 0 && header->link.offset == offset;
}

static int check_words(const struct fl_type *type, const struct complaint *complaint)
{
    uint32_t at = type->words_offset;
    if ((type->flags & FL_TYPE_HAS_WORDS) == 0)
        return 0;
    if (at % sizeof(void *) != 0)
        return REFUSE(complaint, "has its two words at %u, which is no multiple of %zu", complaint->name,
                      (unsigned)at, sizeof(void *));
    if (type->size < FLI_WORDS_BYTES || at > type->size - FLI_WORDS_BYTES)
        return REFUSE(complaint, "has its two words at %u, outside of its %zu bytes", complaint->name, (unsigned)at,
                      type->size);
    if (type->header != NULL && at < type->header->bytes && !may_link_header(type->header, at))
        return REFUSE(complaint, "has its two words at %u, in the header of %u bytes that stale readers look at",
                      complaint->name, (unsigned)at, (unsigned)type->header->bytes);
    if (has_finalized_byte_at(type, at, FLI_WORDS_BYTES))
        return REFUSE(complaint, "has its finalized byte at %u, in its two words at %u", complaint->name,
                      (unsigned)type->finalized_offset, (unsigned)at);
    return 0;
}

static int check_when(const struct fl_type *type, const struct complaint *complaint)
{
    if ((type->flags & FL_TYPE_LATER) == 0)
        return 0;
    if (type->kind == FL_DEALLOC_PLAIN && !may_be(type, FL_DEALLOC_CLEAR))
        return REFUSE(complaint, "is PLAIN, which waits for nothing, but has FL_TYPE_LATER", complaint->name);
    if ((type->flags & WHEN) != FL_TYPE_LATER)
        return REFUSE(complaint, "has FL_TYPE_LATER, and FL_TYPE_AT_ONCE or FL_TYPE_NOT_LATER", complaint->name);
    if ((type->flags & FL_TYPE_HAS_WORDS) == 0)
        return REFUSE(complaint, "has FL_TYPE_LATER, but no words for when memory is refused: FL_TYPE_HAS_WORDS",
                      complaint->name);
    return 0;
}

static int check_flags(const struct fl_type *type, const struct complaint *complaint)
{
    enum { KNOWN = WHEN | FL_TYPE_HAS_WORDS | FL_TYPE_VARIABLE | FL_TYPE_ANY_KIND | FL_TYPE_NOT_DEFERRED };
    uint32_t unknown = type->flags & ~(uint32_t)KNOWN;
    if (unknown != 0)
        return REFUSE(complaint, "has unknown flags, 0x%x", complaint->name, (unsigned)unknown);
    int failed = check_when(type, complaint);
    return failed == 0 ? check_words(type, complaint) : failed;
}

/* On which heaps dead objects of the type end later: a bit for each value of the heap's option. */
static uint8_t find_later(const struct fl_type *type)
{
    enum { ALL = 1 << FL_LATER_ALL, CODE = ALL | 1 << FL_LATER_CODE, ALWAYS = CODE | 1 << FL_LATER_NONE };
    if ((type->flags & FL_TYPE_LATER) != 0)
        return ALWAYS;
    if ((type->flags & WHEN) != 0)
        return 0;
    if ((type->flags & FL_TYPE_ANY_KIND) != 0)
        return CODE;
    if (type->kind == FL_DEALLOC_PLAIN)
        return 0;
    return type->kind == FL_DEALLOC_CLEAR ? ALL : CODE;
}

/* The size class of objects that can take a quick way, if there is one: their type says all that it needs to know. */
static uint32_t quick_class(const struct fl_type *type, bool may)
{
    may = may && (type->flags & (FL_TYPE_VARIABLE | FL_TYPE_ANY_KIND)) == 0;
    return may && type->class_index != 0 ? type->class_index : FL_CLASS_COUNT;
}

/* How objects that end now wait inside callbacks (heap/dead.h). */
static uint32_t find_waits(const struct fl_type *type)
{
    bool may = type->kind >= FL_DEALLOC_CLEAR && (type->flags & FL_TYPE_LATER) == 0;
    if (quick_class(type, may) == FL_CLASS_COUNT)
        return 0;
    uint32_t waits = type->header != NULL ? FLI_WAITS | FLI_WAITS_HEADER : FLI_WAITS;
    if ((type->flags & FL_TYPE_AT_ONCE) != 0)
        return waits | FLI_WAITS_NEVER;
    return type->finalize == NULL && type->clear != NULL ? waits : waits | FLI_WAITS_WHOLE;
}

/* Cache 0, and place 0 of the deferred blocks, have neither blocks nor room. An offset of 0 therefore sends every
 * call to its slow half. */
static void find_caches(struct fl_type *type)
{
    unsigned class_index = (unsigned)fl_size_class(fli_instance_size(type));
    bool is_plain = type->kind == FL_DEALLOC_PLAIN;
    /* Not the cache of the class alone: the library clears the header, or has to find the class. */
    bool is_slow = (type->header != NULL && type->header->words > 0) || fli_instance_varies(type);
    unsigned first = type->header != NULL ? FL_CLASS_COUNT : 0;
    type->class_index = class_index;
    type->alloc_cache = class_index != 0 ? (uint32_t)((first + class_index) * sizeof(struct fl_cache)) : 0;
    type->free_cache = is_slow ? 0 : type->alloc_cache;
    type->dealloc_cache = is_plain ? type->free_cache : 0;
    type->deferred_cache = (uint32_t)offsetof(struct fl_thread, deferred);
    if (is_plain && !is_slow && class_index != 0 && (type->flags & FL_TYPE_NOT_DEFERRED) == 0)
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
    inherit_flags(&ready);
    inherit_callbacks(&ready);
    failed = check_needed_callbacks(&ready, &complaint);
    if (failed == 0)
        failed = check_flags(&ready, &complaint);
    if (failed != 0)
        return failed;
    find_caches(&ready);
    ready.later = find_later(&ready);
    ready.waits = find_waits(&ready);
    ready.later_class = quick_class(&ready, ready.later != 0 && (ready.flags & FL_TYPE_HAS_WORDS) != 0);
    ready.ready = true;
    *type = ready;
    fli_watch_wrote(type, sizeof *type);
    return 0;
}
