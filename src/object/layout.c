/* SPDX-License-Identifier: MIT */
#include "object/layout.h"
#include "base/check.h"
#include "heap/registry.h"
#include "object/slots.h"

#include <errno.h>

/* A layout that is verified, and where to complain. */
struct layout_check {
    const struct fl_object_layout *layout;
    const char *type; /* whose it is; NULL: a heap's */
    char *error;
    size_t error_size;
};

static int refuse(const struct layout_check *check, const char *what, uint32_t at, const char *why)
{
    const char *type = check->type;
    return fli_complain(-EINVAL, check->error, check->error_size, "%s%s%s header of %u bytes has its %s at %u, %s",
                        type != NULL ? "type '" : "a", type != NULL ? type : "", type != NULL ? "': its" : "",
                        (unsigned)check->layout->bytes, what, (unsigned)at, why);
}

/* Verifies one of the two. */
static int check_word(const struct layout_check *check, const char *what, uint32_t at, uint32_t bytes,
                      uint32_t alignment)
{
    if (at % alignment != 0)
        return refuse(check, what, at, "which is not aligned");
    if ((uint64_t)at + bytes > check->layout->bytes)
        return refuse(check, what, at, "beyond its end");
    return 0;
}

int fli_layout_check(const struct fl_object_layout *layout, const char *type, char *error, size_t error_size)
{
    struct layout_check check = {layout, type, error, error_size};
    int failed = check_word(&check, "counts", layout->counts, sizeof(struct fl_counts), _Alignof(struct fl_counts));
    if (failed == 0)
        failed = check_word(&check, "type", layout->type, sizeof(void *), sizeof(void *));
    if (failed == 0 && fli_layout_overlaps_counts(layout, layout->type, sizeof(void *)))
        failed = refuse(&check, "type", layout->type, "where it overlaps the counts");
    return failed;
}

int fl_heap_set_object_layout(struct fl_heap *heap, const struct fl_object_layout *layout, char *error,
                              size_t error_size)
{
    int failed = fli_layout_check(layout, NULL, error, error_size);
    if (failed != 0)
        return failed;
    struct fli_slots *slots = fli_slots_obtain(heap);
    if (slots == NULL)
        return fli_complain(-ENOMEM, error, error_size, "no memory for the table of those who own objects");
    fli_registry_lock();
    if (slots->used == 0)
        slots->layout = *layout;
    else
        failed = -EBUSY;
    fli_registry_unlock();
    return failed == 0 ? 0
                       : fli_complain(failed, error, error_size,
                                      "heap %p has had objects already, or a handle has asked for its byte: their "
                                      "layout cannot change",
                                      (void *)heap);
}
