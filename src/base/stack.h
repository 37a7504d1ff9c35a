/* SPDX-License-Identifier: MIT
 *
 * Tells whether a function that has called the host is still on the calling stack. A longjmp leaves functions without
 * notice, so stack.c reads the return addresses on the stack, with the tables that exceptions use. A library built
 * without these tables has stack_none.c instead, whose answer is always FLI_NOT_KNOWN.
 */
#ifndef FLI_STACK_H
#define FLI_STACK_H

#include "base/base.h"

/* A call in progress: an address within the frame of a function, and the address to which the function returns. */
struct fli_frame {
    uintptr_t address;
    uintptr_t returns_to;
};

/* The frame of the function that uses this macro, which must not be inlined. */
#define FLI_FRAME_HERE                                                                                               \
    ((struct fli_frame){.address = (uintptr_t)__builtin_frame_address(0),                                            \
                        .returns_to = (uintptr_t)__builtin_extract_return_addr(__builtin_return_address(0))})

enum fli_on_stack { FLI_NOT_ON_STACK, FLI_ON_STACK, FLI_NOT_KNOWN };

/* Whether the frame is on the calling stack. The answer is FLI_NOT_KNOWN if a function in between has no tables. */
enum fli_on_stack fli_stack_find(struct fli_frame frame);

#endif
