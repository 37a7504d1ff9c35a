/* SPDX-License-Identifier: MIT
 *
 * Verifies what handles keep (keep.h): that each object is dead and lies in a block of its type, and that the bytes are
 * right.
 */
#include "base/check.h"
#include "heap/registry.h"
#include "memory/block.h"
#include "object/keep.h"

#include <errno.h>

struct check {
    const struct fli_slabs *slabs;
    size_t magazines;
    size_t bytes; /* of what is kept of a type, without the magazines that were looked at */
    char *error;
    size_t error_size;
};

/* Verifies that an object lies in a block that is allocated, and is dead. */
static int check_object(const struct check *check, const struct fl_type *type, const struct fl_object *object)
{
    unsigned class_index = fli_slab_class_of(check->slabs, object);
    if (class_index == type->class_index && fli_block_is_start(check->slabs, class_index, object) &&
        !fli_block_is_free(check->slabs, class_index, object) && fli_load_public(&object->type) == type &&
        (fli_load_public(&object->counts.local) & FL_LOCAL_MOST) == 0)
        return 0;
    return fli_complain(-EUCLEAN, check->error, check->error_size, "%p is kept as a dead '%s', but is none",
                        (const void *)object, type->name);
}

/* Verifies the bytes of a magazine: those of each object are its size at least. */
static int check_bytes(struct check *check, const struct fl_constructed_type *type, const struct fli_keep_pair *pairs,
                       size_t count)
{
    size_t bytes = fli_load_own(&pairs[-1].bytes);
    bool right = fli_keep_is_empty(pairs);
    for (size_t i = 0; i < count; i++) {
        size_t next = fli_load_own(&pairs[i].bytes);
        right = right && next >= bytes && next - bytes >= type->type.size;
        bytes = next;
    }
    if (!right || bytes != check->bytes || bytes > type->keep_bytes)
        return fli_complain(-EUCLEAN, check->error, check->error_size,
                            "the bytes that are kept of '%s' are not what they were", type->type.name);
    check->bytes = fli_load_own(&pairs[-1].bytes);
    return 0;
}

static int check_magazine(void *context, const struct fl_kept *kept, const struct fli_keep_pair *pairs, size_t count)
{
    struct check *check = context;
    int failed = check_bytes(check, kept->type, pairs, count);
    check->magazines++;
    for (size_t i = 0; i < count && failed == 0; i++)
        failed = check_object(check, &kept->type->type, (const struct fl_object *)fli_load_own(&pairs[i].object));
    return failed;
}

static int check_type(struct check *check, struct fl_heap *heap, struct fl_kept *kept)
{
    check->bytes = fli_load_own(&fli_load_own(&kept->top)[-1].bytes);
    check->magazines += fli_chain_blocks(&kept->empty, &heap->backing.magazines);
    int failed = fli_keep_visit_type(heap, kept, check_magazine, check);
    if (failed == 0 && check->bytes != 0)
        failed = fli_complain(-EUCLEAN, check->error, check->error_size, "%zu bytes of '%s' are kept without objects",
                              check->bytes, kept->type->type.name);
    return failed;
}

static int check_thread(struct check *check, const struct fli_thread *thread)
{
    int failed = 0;
    if (!FLI_CHECKED && thread->face.kept_types > 0 && thread->face.slot == 0)
        failed = fli_complain(-EUCLEAN, check->error, check->error_size, "a handle without a slot keeps objects");
    for (uint32_t number = 0; number < thread->face.kept_types && failed == 0; number++)
        failed = check_type(check, thread->heap, &thread->face.kept[number]);
    return failed;
}

int fli_keep_check_locked(struct fl_heap *heap, size_t *magazines, char *error, size_t error_size)
{
    struct check check = {.slabs = &heap->backing.slabs, .error = error, .error_size = error_size};
    int failed = 0;
    fli_registry_assert_held();
    for (const struct fli_thread *thread = heap->threads; thread != NULL && failed == 0;
         thread = thread->in_heap.next)
        failed = check_thread(&check, thread);
    *magazines += check.magazines;
    return failed;
}
