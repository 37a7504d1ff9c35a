/* SPDX-License-Identifier: MIT
 *
 * Types of objects: fl_type_ready for types whose instances begin with a header, what it must not overlap, and what a
 * constructed type needs (construct.h).
 */
#include "api/instance.h"
#include "base/atomic.h"
#include "base/check.h"
#include "base/watch.h"
#include "object/construct.h"
#include "object/count.h"
#include "object/layout.h"

#include <errno.h>

/* Both counts as the one word that they are for the library (fl_header.link). */
#define COUNTS(local, shared)                                                                                        \
    (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? (uint64_t)(shared) << 32 | (local)                                  \
                                               : (uint64_t)(local) << 32 | (shared))

const struct fl_header fl_object_header = {
    .bytes = sizeof(struct fl_object),
    .link = {.bits = COUNTS(~FLI_LOCAL_LINKED,
                            ~(FLI_SHARED_LINKED | (uint32_t)(FL_SHARED_PUBLISHED | FL_SHARED_IMMORTAL))),
             .others = COUNTS(FLI_LOCAL_LINKED, FLI_SHARED_LINKED),
             .after = COUNTS(0u, (uint32_t)FL_SHARED_MERGED),
             .stays = COUNTS(0u, (uint32_t)FL_SHARED_PUBLISHED)}};

/* Whether the header links dead objects through counts at an offset, and as fl_object_header does it: then stale readers
 * find these dead. */
static bool links_counts(const struct fl_header *header, uint32_t offset)
{
    const struct fl_header_link *link = &header->link, *ours = &fl_object_header.link;
    return link->offset == offset && link->bits == ours->bits && link->others == ours->others &&
           link->after == ours->after && link->stays == ours->stays;
}

/* Whether dead objects of the type may be linked through their counts and their type. */
static bool may_link_counts(const struct fl_type *type, const struct fl_type *base,
                            const struct fl_object_layout *layout)
{
    const struct fl_header *header = type->header == NULL && base != NULL ? base->header : type->header;
    return fli_layout_is_row(layout) && (header == NULL || links_counts(header, layout->counts));
}

/* Whether there is such a type, and its dead objects have words that the library may use. */
static bool has_words(const struct fl_type *type)
{
    return type != NULL && (type->flags & FL_TYPE_HAS_WORDS) != 0;
}

/* What the type uses for something else though its counts or its type lie there; NULL if nothing is. Stores where it
 * begins. Words at the counts serve as a link and the type. Those of the base serve unless the type has its own. */
static const char *find_overlap(const struct fl_type *type, const struct fl_type *base,
                                const struct fl_object_layout *layout, uint32_t *at)
{
    const struct fl_type *has = has_words(type) ? type : base;
    if (has_words(has)) {
        *at = has->words_offset;
        bool may_be_counts = *at == layout->counts && may_link_counts(type, base, layout);
        if (fli_layout_overlaps(layout, *at, FLI_WORDS_BYTES) && !may_be_counts)
            return has == type ? "two words" : "base's two words";
    }
    *at = type->finalized_offset;
    return type->finalized_mask != 0 && fli_layout_overlaps(layout, *at, 1) ? "finalized byte" : NULL;
}

static int make_ready(struct fl_type *type, const struct fl_type *base, const struct fl_object_layout *layout,
                      char *error, size_t error_size)
{
    const char *name = type->name != NULL ? type->name : "(no name)";
    size_t size = type->size == 0 && base != NULL ? base->size : type->size;
    uint32_t at;
    const char *overlap = find_overlap(type, base, layout, &at);
    if (size < layout->bytes)
        return fli_complain(-EINVAL, error, error_size, "type '%s' has %zu bytes, less than the header of %u", name,
                            size, (unsigned)layout->bytes);
    if (overlap != NULL)
        return fli_complain(-EINVAL, error, error_size,
                            "type '%s' has its %s at %u, in the header of %u bytes: the counts or the type lie there",
                            name, overlap, (unsigned)at, (unsigned)layout->bytes);
    struct fl_type ready = *type;
    if (!has_words(type) && may_link_counts(type, base, layout)) {
        ready.flags |= FL_TYPE_HAS_WORDS;
        ready.words_offset = has_words(base) ? base->words_offset : layout->counts;
    }
    int failed = fl_type_ready(&ready, base, error, error_size);
    if (failed == 0)
        *type = ready;
    fli_watch_wrote(type, sizeof *type);
    return failed;
}

int fl_object_layout_type_ready(struct fl_type *type, const struct fl_type *base,
                                const struct fl_object_layout *layout, char *error, size_t error_size)
{
    const char *name = type->name != NULL ? type->name : "(no name)";
    int failed = fli_layout_check(layout, name, error, error_size);
    if (failed != 0)
        return failed;
    if (base != NULL && fli_construct_inherits(base))
        return fli_complain(-EINVAL, error, error_size,
                            "type '%s' has the constructed base '%s': fl_constructed_type_ready makes it ready", name,
                            base->name);
    return make_ready(type, base, layout, error, error_size);
}

int fl_object_type_ready(struct fl_type *type, const struct fl_type *base, char *error, size_t error_size)
{
    return fl_object_layout_type_ready(type, base, &fli_layout_own, error, error_size);
}

/* ---- Constructed types. */

/* A type in the making, and where to complain. */
struct making {
    struct fl_constructed_type type;
    const struct fl_type *base;
    const char *name;
    char *error;
    size_t error_size;
};

#define REFUSE(making, ...) fli_complain(-EINVAL, (making)->error, (making)->error_size, "type '%s' " __VA_ARGS__)

/* What the type leaves out it takes from its base, if that is constructed. */
static void inherit(struct fl_constructed_type *type, const struct fl_type *base)
{
    if (base == NULL || !fli_construct_is(base))
        return;
    const struct fl_constructed_type *constructed = fli_construct_of(base);
    if (type->construct == NULL)
        type->construct = constructed->construct;
    if (type->reset == NULL) {
        type->reset = constructed->reset;
        type->renew = constructed->renew;
    }
    if (type->keep_bytes == 0)
        type->keep_bytes = constructed->keep_bytes;
}

static int check_callbacks(struct making *making)
{
    struct fl_constructed_type *type = &making->type;
    if ((type->renew == NULL) != (type->reset == NULL))
        return REFUSE(making, "has a '%s' but no '%s'", making->name, type->renew != NULL ? "renew" : "reset",
                      type->renew != NULL ? "reset" : "renew");
    inherit(type, making->base);
    if (type->reset == NULL)
        return REFUSE(making, "has neither a 'reset' nor a 'renew', which a constructed type needs", making->name);
    if (type->construct == NULL)
        return REFUSE(making, "has no 'construct', which a constructed type needs", making->name);
    return 0;
}

/* Verifies what fl_type_ready cannot know. */
static int check_kind(const struct making *making)
{
    const struct fl_type *type = &making->type.type, *base = making->base;
    bool clears = type->clear != NULL || type->clear_some != NULL;
    bool inherits = base != NULL && (base->clear != NULL || base->clear_some != NULL);
    bool ends = base != NULL && !fli_construct_inherits(base) && base->kind != FL_DEALLOC_CLEAR &&
                base->kind != FL_DEALLOC_PLAIN;
    if (type->finalize != NULL || type->dealloc != NULL)
        return REFUSE(making, "has a '%s', which a constructed type cannot have", making->name,
                      type->finalize != NULL ? "finalize" : "dealloc");
    if (ends)
        return REFUSE(making, "is constructed, which its base '%s' does not allow: it is neither PLAIN nor CLEAR",
                      making->name, base->name);
    if (type->kind != 0 && type->kind != FL_DEALLOC_CLEAR)
        return REFUSE(making, "is constructed, and therefore CLEAR: its kind cannot be %u", making->name,
                      (unsigned)type->kind);
    if (!clears && !inherits)
        return REFUSE(making, "has no 'clear' to take apart what its 'construct' has made", making->name);
    if ((type->flags & (FL_TYPE_VARIABLE | FL_TYPE_ANY_KIND)) != 0)
        return REFUSE(making, "is constructed, and cannot have FL_TYPE_VARIABLE or FL_TYPE_ANY_KIND", making->name);
    return 0;
}

/* Verifies that an object of the type can be kept. */
static int check_bytes(struct making *making)
{
    struct fl_constructed_type *type = &making->type;
    size_t size = type->type.size == 0 && making->base != NULL ? making->base->size : type->type.size;
    if (type->keep_bytes == 0)
        type->keep_bytes = FL_KEEP_BYTES;
    if (size > FL_BLOCK_MAX)
        return REFUSE(making, "is constructed, and cannot have %zu bytes, above FL_BLOCK_MAX", making->name, size);
    if (type->keep_bytes < size)
        return REFUSE(making, "keeps %zu bytes, less than the %zu of one object", making->name, type->keep_bytes,
                      size);
    return 0;
}

/* Has a ready CLEAR type end by fli_construct_end, and its objects be allocated in the slow half. What says when its
 * objects end later stays that of a CLEAR type, though its base may be a constructed one. */
static void divert(struct fl_type *type)
{
    type->kind = FL_DEALLOC_FINALIZE;
    type->finalize = fli_construct_end;
    type->alloc_cache = FLI_CONSTRUCT_CACHE;
    bool waits = (type->waits & (FLI_WAITS | FLI_WAITS_NEVER)) == FLI_WAITS;
    type->waits |= waits ? FLI_WAITS_WHOLE : 0;
    type->dealloc_cache = waits ? FLI_CONSTRUCT_CACHE : 0;
    if ((type->flags & FL_TYPE_LATER) == 0)
        type->later &= (uint8_t)(1u << FL_LATER_ALL);
}

int fl_constructed_type_ready(struct fl_constructed_type *type, const struct fl_type *base, char *error,
                              size_t error_size)
{
    static FLI_ATOMIC(uint32_t) numbers;
    struct making making = {*type, base, type->type.name != NULL ? type->type.name : "(no name)", error, error_size};
    if (type->type.ready)
        return REFUSE(&making, "is ready already", making.name);
    int failed = check_callbacks(&making);
    if (failed == 0)
        failed = check_kind(&making);
    if (failed == 0)
        failed = check_bytes(&making);
    making.type.type.flags |= FL_TYPE_NOT_DEFERRED;
    if (failed == 0)
        failed = make_ready(&making.type.type, base, &fli_layout_own, error, error_size);
    if (failed != 0)
        return failed;
    divert(&making.type.type);
    making.type.number = fli_add_count(&numbers, 1);
    *type = making.type;
    fli_watch_wrote(type, sizeof *type);
    return 0;
}
