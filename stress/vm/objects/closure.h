/* SPDX-License-Identifier: MIT
 *
 * Closures: a function of a program, and the values of outer variables that it uses, as they were when the closure was
 * made. They are CLEAR.
 */
#ifndef VM_CLOSURE_H
#define VM_CLOSURE_H

#include "objects/object.h"

struct function;

struct closure {
    struct container container;
    const struct function *function;
    object_t *captured[];
};

void closures_open(void);

/* Takes over the references to what is captured. */
object_t *closure_new(lane_t *lane, const struct function *function, object_t *const *captured, size_t count);

#endif
