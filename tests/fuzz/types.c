/* SPDX-License-Identifier: MIT */
#include "types.h"

#include <errno.h>
#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

enum { FINALIZED = 1, PART_BYTES = 40, BIG = 40000 };

jmp_buf *types_leave;
bool types_has_grace[MODEL_HEAPS];

/* ---- Callbacks. */

static struct block *dying(const void *object, const struct fl_type *type)
{
    struct block *block = model_find(object);
    FUZZ_REQUIRE(block != NULL && (block->state == DEAD || block->state == KEPT), "%p, a %s, ends (state %d)", object,
                 type->name, block != NULL ? (int)block->state : -1);
    model_verify(block);
    return block;
}

/* Ends the child with the highest number. Returns whether there was one. */
static bool end_child(struct fl_thread *thread, struct block *block)
{
    for (unsigned i = MODEL_CHILDREN; i-- > 0;) {
        struct block *child = block->children[i];
        if (child == NULL)
            continue;
        block->children[i] = NULL;
        types_end(thread, child, block->defers ? BY_DEFERRED : (enum how)(i % HOWS));
        return true;
    }
    return false;
}

static void end_children(struct fl_thread *thread, struct block *block)
{
    while (end_child(thread, block))
        ;
}

static void leave(struct block *block)
{
    if (types_leave == NULL || !block->leaves || block->is_object)
        return;
    jmp_buf *to = types_leave;
    types_leave = NULL;
    block->leaves = block->defers = false;
    block->state = LIVE;
    block->held = block->references = 1;
    longjmp(*to, 1);
}

/* The callbacks of an object are over. */
static void lose(struct block *block)
{
    if (block->defers)
        model_defer(block);
    else
        model_remove(block);
}

static void free_part(struct fl_thread *thread, const struct block *block)
{
    void *start = *(void **)(void *)(block->start + 16);
    struct block *part = model_find(start);
    FUZZ_REQUIRE(part != NULL && part->state == LIVE, "the part of %p is gone", (void *)block->start);
    model_verify(part);
    model_remove(part);
    fl_free_sized(thread, start, PART_BYTES);
}

static void clear(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct block *block = dying(object, type);
    leave(block);
    if (types_is_constructed(type))
        free_part(thread, block);
    end_children(thread, block);
    lose(block);
}

static bool clear_some(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct block *block = dying(object, type);
    leave(block);
    if (end_child(thread, block))
        return true;
    lose(block);
    return false;
}

static bool finalize(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct block *block = dying(object, type);
    FUZZ_REQUIRE(!block->finalized || type->finalized_mask == 0, "%p is finalized again", object);
    block->finalized = true;
    bool resurrects = block->resurrects;
    block->resurrects = false;
    if (resurrects) {
        block->state = LIVE;
        block->held = block->references = 1;
        block->defers = false;
    }
    if (resurrects && block->is_object) {
        fl_revive(thread, object);
        fl_incref(thread, object);
        return !fl_drop(thread, object);
    }
    if (!resurrects && type->clear == NULL && type->clear_some == NULL)
        lose(block);
    return resurrects;
}

static void dealloc(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct block *block = dying(object, type);
    leave(block);
    end_children(thread, block);
    block->defers = block->resurrects && types_has_grace[block->heap];
    if (block->defers) {
        lose(block);
        fl_type_free_deferred(thread, object, type);
        return;
    }
    lose(block);
    fl_type_free(thread, object, type);
}

static bool construct(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    void *part = model_has_room(2) ? fl_alloc(thread, PART_BYTES) : NULL;
    (void)type;
    if (part == NULL)
        return false;
    model_add(model_number(fl_thread_heap(thread)), part, PART_BYTES, NULL)->held = 0;
    *(void **)(void *)((char *)object + 16) = part;
    return true;
}

static size_t reset(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct block *block = dying(object, type);
    FUZZ_REQUIRE(block->state == DEAD, "%p is reset again", object);
    block->state = KEPT;
    end_children(thread, block);
    return PART_BYTES;
}

static void renew(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct block *block = dying(object, type);
    (void)thread;
    FUZZ_REQUIRE(block->state == KEPT, "%p is renewed", object);
    block->state = MAYBE; /* the allocation returns it */
}

/* ---- Types. */

#define FINALIZES .finalize = finalize, .finalized_offset = 16, .finalized_mask = FINALIZED
#define WORDS     FL_TYPE_HAS_WORDS

static struct fl_type plain_types[] = {
    {.name = "plain", .size = 24, .kind = FL_DEALLOC_PLAIN},
    {.name = "clear", .size = 48, .kind = FL_DEALLOC_CLEAR, .clear = clear, .flags = WORDS},
    {.name = "finalize", .size = 64, .kind = FL_DEALLOC_FINALIZE, .clear = clear, FINALIZES, .flags = WORDS},
    {.name = "legacy", .size = 80, .kind = FL_DEALLOC_LEGACY, .dealloc = dealloc, .flags = WORDS},
    {.name = "variable", .size = 40, .clear = clear, .kind = FL_DEALLOC_CLEAR, .flags = WORDS | FL_TYPE_VARIABLE},
    {.name = "variable plain", .size = 8, .kind = FL_DEALLOC_PLAIN, .flags = FL_TYPE_VARIABLE},
    {.name = "any",
     .size = 96,
     .kind = FL_DEALLOC_CLEAR,
     .clear = clear,
     FINALIZES,
     .dealloc = dealloc,
     .flags = WORDS | FL_TYPE_ANY_KIND},
    {.name = "big", .size = BIG, .kind = FL_DEALLOC_PLAIN},
    {.name = "big clear", .size = BIG, .kind = FL_DEALLOC_CLEAR, .clear = clear, .flags = WORDS},
    {.name = "later", .size = 56, .kind = FL_DEALLOC_FINALIZE, FINALIZES, .flags = WORDS | FL_TYPE_LATER},
    {.name = "later legacy", .size = 56, .dealloc = dealloc, .flags = WORDS | FL_TYPE_LATER},
    {.name = "at once", .size = 48, .kind = FL_DEALLOC_CLEAR, .clear = clear, .flags = FL_TYPE_AT_ONCE},
    {.name = "some", .size = 72, .kind = FL_DEALLOC_CLEAR, .clear_some = clear_some, .flags = WORDS},
    {.name = "without words", .size = 32, .kind = FL_DEALLOC_CLEAR, .clear = clear},
    {.name = "aligned", .size = 200, .alignment = 128, .kind = FL_DEALLOC_PLAIN},
    {.name = "stale", .size = 48, .kind = FL_DEALLOC_PLAIN, .header = &fl_object_header},
    {.name = "stale clear", .size = 48, .kind = FL_DEALLOC_CLEAR, .clear = clear, .header = &fl_object_header},
    {.name = "stale big", .size = BIG, .kind = FL_DEALLOC_PLAIN, .header = &fl_object_header},
};

static struct fl_type object_types[] = {
    {.name = "plain object", .size = 40, .kind = FL_DEALLOC_PLAIN},
    {.name = "clear object", .size = 64, .kind = FL_DEALLOC_CLEAR, .clear = clear},
    {.name = "finalize object", .size = 48, .kind = FL_DEALLOC_FINALIZE, .clear = clear, FINALIZES},
    {.name = "legacy object", .size = 80, .kind = FL_DEALLOC_LEGACY, .dealloc = dealloc},
    {.name = "some object", .size = 72, .kind = FL_DEALLOC_CLEAR, .clear_some = clear_some},
    {.name = "big object", .size = BIG, .kind = FL_DEALLOC_CLEAR, .clear = clear},
    {.name = "later object", .size = 56, .kind = FL_DEALLOC_CLEAR, .clear = clear, .flags = WORDS | FL_TYPE_LATER},
    {.name = "stale object", .size = 48, .kind = FL_DEALLOC_PLAIN, .header = &fl_object_header},
    {.name = "stale clear object", .size = 48, .kind = FL_DEALLOC_CLEAR, .clear = clear, .header = &fl_object_header},
};

#define CONSTRUCTED .kind = FL_DEALLOC_CLEAR, .clear = clear

static struct fl_constructed_type constructed_types[] = {
    {.type = {.name = "constructed", .size = 64, CONSTRUCTED},
     .construct = construct,
     .reset = reset,
     .renew = renew},
    {.type = {.name = "kept little", .size = 48, CONSTRUCTED},
     .construct = construct,
     .reset = reset,
     .renew = renew,
     .keep_bytes = 200},
};

static struct fl_type made[TYPES_MADE];
static bool made_are_objects[TYPES_MADE];
static unsigned made_count;

static void make_fixed(void)
{
    char error[256] = "";
    for (unsigned i = 0; i < COUNT_OF(plain_types); i++) {
        plain_types[i].words_offset = 0;
        FUZZ_REQUIRE(fl_type_ready(&plain_types[i], NULL, error, sizeof error) == 0, "%s", error);
    }
    for (unsigned i = 0; i < COUNT_OF(object_types); i++)
        FUZZ_REQUIRE(fl_object_type_ready(&object_types[i], NULL, error, sizeof error) == 0, "%s", error);
    for (unsigned i = 0; i < COUNT_OF(constructed_types); i++)
        FUZZ_REQUIRE(fl_constructed_type_ready(&constructed_types[i], NULL, error, sizeof error) == 0, "%s", error);
}

void types_begin(void)
{
    if (!plain_types[0].ready)
        make_fixed();
    made_count = 0;
    types_leave = NULL;
}

static struct fl_type *fixed(unsigned n, bool objects)
{
    if (!objects)
        return n < COUNT_OF(plain_types) ? &plain_types[n] : NULL;
    if (n < COUNT_OF(object_types))
        return &object_types[n];
    return n - COUNT_OF(object_types) < COUNT_OF(constructed_types)
               ? &constructed_types[n - COUNT_OF(object_types)].type
               : NULL;
}

void types_make(unsigned char a, unsigned char b, unsigned char c)
{
    static const unsigned sizes[] = {0, 8, 24, 40, 64, 200, 600, 33000}, alignments[] = {0, 16, 64, 3};
    bool is_object = (a & 1) != 0;
    if (made_count == TYPES_MADE)
        return;
    const struct fl_type *base = (a & 2) != 0 ? fixed(a >> 4, is_object) : NULL;
    if ((a & 4) != 0 && made_count > 0)
        base = &made[(a >> 4) % made_count];
    struct fl_type *type = &made[made_count], before;
    *type = (struct fl_type){.name = "made", .size = sizes[b & 7], .alignment = alignments[b >> 3 & 3]};
    type->kind = (enum fl_dealloc_kind)(b >> 5 & 3);
    type->flags = (c & 1 ? WORDS : 0u) | (c & 2 ? FL_TYPE_LATER : 0u) | (c & 4 ? FL_TYPE_AT_ONCE : 0u);
    type->flags |= (c & 8 ? FL_TYPE_VARIABLE : 0u) | (c & 16 ? FL_TYPE_ANY_KIND : 0u);
    type->words_offset = (a & 8) != 0 ? 8 : 0;
    type->clear = (c & 32) != 0 ? clear : NULL;
    type->clear_some = (c & 64) != 0 ? clear_some : NULL;
    type->finalize = (c & 128) != 0 ? finalize : NULL;
    type->dealloc = (b & 128) != 0 ? dealloc : NULL;
    if (type->finalize != NULL && (a & 8) == 0) {
        type->finalized_offset = 16;
        type->finalized_mask = FINALIZED;
    }
    before = *type;
    char error[256] = "";
    int failed = is_object ? fl_object_type_ready(type, base, error, sizeof error)
                           : fl_type_ready(type, base, error, sizeof error);
    if (failed == 0) {
        FUZZ_REQUIRE(fl_tag_kind(fl_type_tag(type)) == type->kind, "a tag of another kind");
        made_are_objects[made_count++] = is_object;
        return;
    }
    FUZZ_REQUIRE(failed == -EINVAL && error[0] != 0, "a type is refused with %d", failed);
    FUZZ_REQUIRE(memcmp(type, &before, sizeof before) == 0, "a type that is refused has changed: %s", error);
}

static bool fits(const struct fl_type *type, const struct fl_options *options)
{
    bool is_later = (type->later >> options->later & 1) != 0 ||
                    (options->later != FL_LATER_NONE && (type->flags & FL_TYPE_ANY_KIND) != 0);
    return type->header == options->header && (!is_later || (type->flags & FL_TYPE_HAS_WORDS) != 0) &&
           (type->flags & FL_TYPE_HAS_WORDS ? type->words_offset <= 8 : true);
}

const struct fl_type *types_pick(unsigned n, const struct fl_options *options, bool objects)
{
    const struct fl_type *all[64];
    unsigned count = 0;
    for (unsigned i = 0; fixed(i, objects) != NULL; i++)
        if (fits(fixed(i, objects), options))
            all[count++] = fixed(i, objects);
    for (unsigned i = 0; i < made_count; i++)
        if (made_are_objects[i] == objects && fits(&made[i], options))
            all[count++] = &made[i];
    return all[n % count];
}

const struct fl_type *types_stranger(const struct fl_options *options)
{
    unsigned n = 0;
    while (plain_types[n].header == options->header)
        n++;
    return &plain_types[n];
}

const struct fl_type *types_wordless(void)
{
    static struct fl_type type = {.name = "no words", .size = 32, .kind = FL_DEALLOC_CLEAR, .clear = clear};
    if (!type.ready)
        FUZZ_REQUIRE(fl_type_ready(&type, NULL, NULL, 0) == 0, "a type without words is refused");
    return &type;
}

bool types_has_children(const struct fl_type *type)
{
    if (type->kind == FL_DEALLOC_LEGACY)
        return true;
    return type->kind != FL_DEALLOC_PLAIN && (type->clear != NULL || type->clear_some != NULL);
}

bool types_is_constructed(const struct fl_type *type)
{
    for (unsigned i = 0; i < COUNT_OF(constructed_types); i++)
        if (type == &constructed_types[i].type)
            return true;
    return false;
}

size_t types_size(const struct fl_type *type, unsigned extra)
{
    return type->size + ((type->flags & FL_TYPE_VARIABLE) != 0 ? extra * extra : 0);
}

struct block *types_add(unsigned heap, void *start, size_t size, const struct fl_type *type, bool is_object)
{
    size_t from = is_object ? 16 : 0, to = size < HEADER_BYTES ? size : HEADER_BYTES;
    struct block *block = model_add(heap, start, size, type);
    block->is_object = is_object;
    if (from < to && !types_is_constructed(type))
        memset((char *)start + from, 0, to - from);
    return block;
}

/* ---- Ends. */

enum block_state types_dead_state(const struct block *block, enum fl_dealloc_kind kind)
{
    const struct fl_type *type = block->type;
    bool was_finalized = kind == FL_DEALLOC_FINALIZE && block->finalized && type->finalized_mask != 0;
    bool calls = kind != FL_DEALLOC_PLAIN && !(was_finalized && type->clear == NULL && type->clear_some == NULL);
    return calls ? DEAD : MAYBE;
}

static void drop_reference(struct fl_thread *thread, struct block *block)
{
    struct fl_object *object = (struct fl_object *)(void *)block->start;
    if (--block->references == 0)
        block->state = types_dead_state(block, block->type->kind);
    fl_decref(thread, object);
}

static bool may_defer(const struct block *block, enum fl_dealloc_kind kind)
{
    const struct fl_type *type = block->type;
    return types_has_grace[block->heap] && kind != FL_DEALLOC_LEGACY && kind == type->kind &&
           (type->flags & FL_TYPE_NOT_DEFERRED) == 0;
}

void types_end(struct fl_thread *thread, struct block *block, enum how how)
{
    FUZZ_REQUIRE(block->state == LIVE && block->references > 0, "%p ends (state %d)", (void *)block->start,
                 (int)block->state);
    model_verify(block);
    if (block->is_object) {
        drop_reference(thread, block);
        return;
    }
    const struct fl_type *type = block->type;
    enum fl_dealloc_kind kind = type->kind;
    if (how == BY_KIND && (type->flags & FL_TYPE_ANY_KIND) != 0) {
        kind = (enum fl_dealloc_kind)(block->seed % 4);
        if ((kind == FL_DEALLOC_LEGACY && type->dealloc == NULL) ||
            (kind == FL_DEALLOC_CLEAR && type->clear == NULL && type->clear_some == NULL) ||
            (kind == FL_DEALLOC_FINALIZE && type->finalize == NULL) ||
            (kind == FL_DEALLOC_PLAIN && block->children[0] != NULL))
            kind = type->kind;
    }
    if (how == BY_DEFERRED && !may_defer(block, kind))
        how = BY_DEALLOC;
    void *start = block->start;
    block->defers = how == BY_DEFERRED;
    block->held = 0;
    block->state = types_dead_state(block, kind);
    if (kind == FL_DEALLOC_PLAIN)
        lose(block);
    if (how == BY_DEFERRED)
        fl_dealloc_deferred(thread, start, type);
    else if (how == BY_KIND)
        fl_dealloc_as(thread, start, type, kind);
    else if (how == BY_TAG)
        fl_dealloc_tagged(thread, start, type, fl_type_tag(type));
    else
        fl_dealloc(thread, start, type);
}
