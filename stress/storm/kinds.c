/* SPDX-License-Identifier: MIT
 *
 * The kinds of blocks, and how each ends. Types of every kind of deallocation, whose callbacks verify the object and
 * drop its children, some of which end at once, some later, some after a grace period. Some objects are resurrected,
 * once: they go to a mailbox, where another thread may find and end them before the callback has returned.
 *
 * What a callback does depends on the object's serial number alone.
 */
#include "storm.h"

#include <errno.h>
#include <stdio.h>

enum { BELOW_MAX = 3000 };

static const char *const names[KINDS] = {"block",   "plain", "clear",          "some", "finalize",
                                         "legacy",  "later", "later finalize", "any",  "variable",
                                         "at once", "large", "aligned"};

const char *storm_kind_name(const struct cargo *cargo)
{
    return names[storm_kind(cargo)];
}

size_t storm_skip(const struct cargo *cargo)
{
    return storm_kind(cargo) == KIND_BLOCK ? sizeof(struct cargo) : sizeof(struct node);
}

/* ---- Callbacks. */

/* The node of a callback, which is as it was left. */
static struct node *node_of(void *object)
{
    struct node *node = object;
    storm_verify(&node->cargo, sizeof *node);
    return node;
}

static bool drop_child(struct fl_thread *thread, struct node *node, unsigned i)
{
    storm_ref child = node->children[i];
    node->children[i] = 0;
    if (child)
        storm_drop(node->site, thread, child, false);
    return child != 0;
}

static void drop_children(struct fl_thread *thread, struct node *node)
{
    for (unsigned i = 0; i < CHILDREN; i++)
        drop_child(thread, node, i);
}

static void break_unless_read(struct node *node)
{
    if (!node->deferred)
        storm_break(&node->cargo);
}

static void clear(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct node *node = node_of(object);
    (void)type;
    drop_children(thread, node);
    break_unless_read(node);
}

static bool clear_some(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct node *node = node_of(object);
    (void)type;
    for (unsigned i = 0; i < CHILDREN; i++) {
        if (drop_child(thread, node, i))
            return true;
    }
    break_unless_read(node);
    return false;
}

static bool finalize(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct node *node = node_of(object);
    (void)type;
    STRESS_REQUIRE(node->finalized == 1);
    if (node->deferred || storm_serial(&node->cargo) % 4 != 0)
        return false;
    struct site *site = node->site;
    uint64_t serial = storm_serial(&node->cargo);
    storm_ref ref = (uint64_t)(uintptr_t)node | serial << 48;
    ref = atomic_exchange_explicit(&site->mailboxes[serial / 4 % MAILBOXES], ref, memory_order_acq_rel);
    if (ref)
        storm_drop(site, thread, ref, false);
    tally(TALLY_RESURRECTED, 1);
    return true;
}

static void dealloc(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct node *node = node_of(object);
    drop_children(thread, node);
    if (node->deferred) {
        fl_type_free_deferred(thread, node, type);
        return;
    }
    storm_break(&node->cargo);
    fl_type_free(thread, node, type);
}

/* ---- Types. */

struct fl_type storm_types[KINDS][VARIANTS];

static struct fl_type description(enum storm_kind kind)
{
    struct fl_type type = {.name = names[kind], .flags = FL_TYPE_HAS_WORDS};
    type.words_offset = offsetof(struct node, words);
    type.finalized_offset = offsetof(struct node, finalized);
    type.finalized_mask = 1;
    switch (kind) {
    case KIND_PLAIN:
    case KIND_LARGE:
        type.kind = FL_DEALLOC_PLAIN;
        break;
    case KIND_SOME:
        type.clear_some = clear_some;
        break;
    case KIND_ANY:
        type.flags |= FL_TYPE_ANY_KIND;
        /* fall through */
    case KIND_FINALIZE:
    case KIND_LATER_FINALIZE:
        type.clear = clear;
        type.finalize = finalize;
        break;
    case KIND_LEGACY:
        type.dealloc = dealloc;
        break;
    default:
        type.clear = clear;
        break;
    }
    if (kind == KIND_LATER || kind == KIND_LATER_FINALIZE)
        type.flags |= FL_TYPE_LATER;
    if (kind == KIND_VARIABLE)
        type.flags |= FL_TYPE_VARIABLE;
    if (kind == KIND_AT_ONCE)
        type.flags = FL_TYPE_AT_ONCE;
    return type;
}

void storm_types_ready(void)
{
    static const size_t more[VARIANTS] = {0, 48, 700};
    char error[256] = "";
    for (unsigned kind = KIND_PLAIN; kind < KINDS; kind++) {
        for (unsigned variant = 0; variant < VARIANTS; variant++) {
            struct fl_type *type = &storm_types[kind][variant];
            *type = description((enum storm_kind)kind);
            type->size = sizeof(struct node) + more[variant];
            if (kind == KIND_LARGE)
                type->size += FL_BLOCK_MAX << variant;
            if (kind == KIND_ALIGNED)
                type->alignment = (size_t)256 << variant;
            if (fl_type_ready(type, NULL, error, sizeof error) != 0)
                stress_fail("fl_type_ready: %s", error);
        }
    }
}

/* ---- Birth. */

static struct node *node_alloc(struct site *site, struct fl_thread *thread, const struct fl_type *type, size_t size)
{
    struct node *node = type->flags & FL_TYPE_VARIABLE ? fl_type_alloc_sized(thread, type, size)
                                                       : fl_type_alloc(thread, type);
    if (!node) {
        if (!site_is_limited(site) || errno != ENOMEM)
            stress_fail("site %s refuses an object of type %s, errno %d", site->name, type->name, errno);
        tally(TALLY_REFUSED, 1);
    } else if ((uintptr_t)node % (type->alignment ? type->alignment : 16)) {
        stress_fail("object %p of type %s is not aligned to %zu", (void *)node, type->name, type->alignment);
    }
    return node;
}

storm_ref storm_node_make(struct site *site, struct fl_thread *thread, enum storm_kind kind, struct stress_rng *rng)
{
    unsigned variant = (unsigned)stress_below(rng, VARIANTS);
    const struct fl_type *type = &storm_types[kind][variant];
    size_t size = type->size;
    if (kind == KIND_VARIABLE)
        size += stress_below(rng, stress_one_in(rng, 32) ? 2 * FL_BLOCK_MAX : 2000);
    struct node *node = node_alloc(site, thread, type, size);
    if (!node)
        return 0;
    node->site = site;
    node->finalized = 0;
    node->deferred = false;
    node->below = 0;
    for (unsigned i = 0; i < CHILDREN; i++)
        node->children[i] = 0;
    return storm_seal(&node->cargo, kind, variant, size, sizeof *node, rng);
}

static bool is_leaf(const struct cargo *cargo)
{
    enum storm_kind kind = storm_kind(cargo);
    return kind == KIND_BLOCK || kind == KIND_PLAIN || kind == KIND_LARGE;
}

/* Chains of objects that end where they are dropped would recurse: these have leaves only. */
static bool may_hang(const struct node *parent, const struct cargo *child)
{
    enum storm_kind kind = storm_kind(&parent->cargo);
    if (is_leaf(&parent->cargo))
        return false;
    if (is_leaf(child))
        return true;
    return kind != KIND_LEGACY && kind != KIND_AT_ONCE;
}

bool storm_node_adopt(storm_ref parent_ref, storm_ref child_ref)
{
    struct node *parent = (struct node *)storm_open(parent_ref);
    struct cargo *child = storm_open(child_ref);
    if (!may_hang(parent, child))
        return false;
    unsigned below = 1u + (is_leaf(child) ? 0 : ((struct node *)child)->below), i = 0;
    while (i < CHILDREN && parent->children[i])
        i++;
    if (i == CHILDREN || parent->below + below > BELOW_MAX)
        return false;
    parent->children[i] = child_ref;
    parent->below = (uint16_t)(parent->below + below);
    return true;
}

/* ---- Death. */

static void drop_block(struct site *site, struct fl_thread *thread, struct cargo *block, bool deferred)
{
    uint64_t choice = storm_serial(block) % 8;
    size_t size = storm_size(block);
    if (deferred || (choice < 2 && site_has_grace(site))) {
        tally(TALLY_DEFERRED, 1);
        fl_free_deferred(thread, block, size);
        return;
    }
    storm_break(block);
    if (choice == 3)
        fl_heap_free(site->heap, block);
    else if (choice == 4)
        fl_free(thread, block);
    else
        fl_free_sized(thread, block, size);
}

static void drop_any_kind(struct fl_thread *thread, struct node *node, const struct fl_type *type)
{
    enum fl_dealloc_kind kind = (enum fl_dealloc_kind)(1 + storm_serial(&node->cargo) / 64 % 3);
    if (node->below > 0 && kind == FL_DEALLOC_PLAIN)
        kind = FL_DEALLOC_CLEAR;
    if (kind == FL_DEALLOC_PLAIN)
        storm_break(&node->cargo);
    fl_dealloc_as(thread, node, type, kind);
}

static void drop_node(struct site *site, struct fl_thread *thread, struct node *node, bool deferred)
{
    enum storm_kind kind = storm_kind(&node->cargo);
    const struct fl_type *type = &storm_types[kind][storm_variant(&node->cargo)];
    uint64_t choice = storm_serial(&node->cargo) / 4 % 8;
    STRESS_REQUIRE(node->site == site);
    node->deferred = deferred || (choice < 2 && site_has_grace(site));
    if (node->deferred)
        tally(TALLY_DEFERRED, 1);
    if (kind == KIND_LATER || kind == KIND_LATER_FINALIZE)
        tally(TALLY_LATER, 1);
    if (node->deferred && kind != KIND_LEGACY) {
        fl_dealloc_deferred(thread, node, type);
        return;
    }
    if (kind == KIND_ANY) {
        drop_any_kind(thread, node, type);
        return;
    }
    if (is_leaf(&node->cargo))
        storm_break(&node->cargo);
    if (choice == 3)
        fl_dealloc_tagged(thread, node, type, fl_type_tag(type));
    else if (choice == 4)
        fl_dealloc_as(thread, node, type, fl_tag_kind(fl_type_tag(type)));
    else
        fl_dealloc(thread, node, type);
}

void storm_drop(struct site *site, struct fl_thread *thread, storm_ref ref, bool deferred)
{
    struct cargo *cargo = storm_open(ref);
    storm_verify(cargo, storm_skip(cargo));
    if (storm_kind(cargo) == KIND_BLOCK)
        drop_block(site, thread, cargo, deferred);
    else
        drop_node(site, thread, (struct node *)cargo, deferred);
}
