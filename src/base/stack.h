/* SPDX-License-Identifier: MIT
 *
 * Whether a function that has called the host is still on the calling stack. A longjmp tells nobody that it leaves a
 * function, so this is found by reading the return addresses on the stack, with the tables that exceptions need.
 * A library built without these has stack_none.c in its place, which never knows.
 */
#ifndef FLI_STACK_H
#define FLI_STACK_H

#include "base/base.h"

/* A call in progress: an address within the frame of a function, and where it returns to. */
struct fli_frame {
    uintptr_t address;
    uintptr_t returns_to;
};

/* The frame of the function that this stands in, which must not be inlined. */
#define FLI_FRAME_HERE                                                                                               \
    ((struct fli_frame){.address = (uintptr_t)__builtin_frame_address(0),                                            \
                        .returns_to = (uintptr_t)__builtin_extract_return_addr(__builtin_return_address(0))})

enum fli_on_stack { FLI_NOT_ON_STACK, FLI_ON_STACK, FLI_NOT_KNOWN };

/* Whether the frame is on the calling stack. Not known where a function between has no tables to read it by. */
enum fli_on_stack fli_stack_find(struct fli_frame frame);

#endif
